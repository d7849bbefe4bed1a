"""What a caller can get wrong is refused while tracing, in one line that names the argument.

Arrays are spoilt one at a time in every call of the catalog, and so is every keyword argument;
one that `BAD_VALUES` does not know fails a test.
"""

import functools
import inspect
import math
from collections.abc import Callable, Iterable
from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import parameterized

from ssl_jax import losses
from tests.losses.bad_values import BAD_VALUES, PLAIN_CALLS, UNCHECKED, WRONG_ARRAYS
from tests.losses.batches import EMBEDDINGS, SIZE, random_batch
from tests.losses.cases import Batch, all_cases

CASES = all_cases()

NO_CHECKS = {'l2_normalize': 'takes any float array'}
WITHOUT_A_BATCH = {
  'cosine_temperature',
  'fade_weight',
  'init_arranging',
  'prior_regularizer',
  'update_temperature',
}
FUNCTIONS = {
  name: inspect.signature(getattr(losses, name)).parameters
  for name in losses.__all__
  if inspect.isfunction(getattr(losses, name)) and name not in NO_CHECKS
}
CALLS = {
  name: case.call
  for name, case in CASES.items()
  if case.names[0] not in PLAIN_CALLS and not case.derived
}
CALLS |= {name: call for name, call in PLAIN_CALLS.items() if name in FUNCTIONS}
LOSSES = {case.names[0] for case in CASES.values()}


def functions_in(name: str) -> tuple[str, ...]:
  """The public functions that a call calls, first of them the one that takes the options."""
  return (name,) if name in PLAIN_CALLS else CASES[name].names


def arguments_of(name: str) -> set[str]:
  public = FUNCTIONS.keys() & set(functions_in(name))
  return {argument for function in public for argument in FUNCTIONS[function]}


@functools.cache
def call_of(function: str) -> Callable[..., Any]:
  """The plainest call of a function: that of its own name, or else its first."""
  calls = {name: call for name, call in CALLS.items() if functions_in(name)[0] == function}
  assert calls, f'{function}: no call; add a case, or if it is no loss a call to PLAIN_CALLS'
  return calls.get(function, next(iter(calls.values())))


def keywords(function: str) -> list[str]:
  return [p.name for p in FUNCTIONS[function].values() if p.kind is p.KEYWORD_ONLY]


def numbers(function: str) -> list[str]:
  """The keyword arguments that are finite numbers."""
  return [k for k in keywords(function) if any(v is math.inf for v in BAD_VALUES.get(k, ()))]


def batch_of(size: int = SIZE) -> Batch:
  return random_batch(size, dtype=np.float32)


def fields_used(call: Callable[..., Any]) -> set[str]:
  """The fields of the batch that a call reads."""
  jaxpr = jax.make_jaxpr(call)(batch_of()).jaxpr
  read = {id(variable) for equation in jaxpr.eqns for variable in equation.invars}
  return {name for name, v in zip(Batch._fields, jaxpr.invars, strict=True) if id(v) in read}


def spoilt(batch: Batch, field: str, used: set[str]) -> dict[str, Batch]:
  """The batch with one field made wrong, by what is wrong with it."""
  array = getattr(batch, field)
  arrays = {
    'one row more': np.concatenate([array, array[:1]]),
    'one rank more': array[..., None],
    'one rank less': array[..., 0],
  }
  if field in EMBEDDINGS:
    arrays['empty'] = array[:0]
    arrays['integers'] = array.astype(np.int32)
    arrays['one dimension more'] = np.concatenate([array, array[:, :1]], axis=1)
  elif field == 'labels':
    arrays['floats'] = array.astype(np.float32)
  if len(used) == 1:  # any batch and any dimension will do
    del arrays['one row more']
    arrays.pop('one dimension more', None)
  return {what: batch._replace(**{field: array}) for what, array in arrays.items()}


def named(names: Iterable[str]) -> Callable[..., Any]:
  return parameterized.named_parameters(*((name, name) for name in names))


class BadInputTest(chex.TestCase):
  def assert_refused(self, call, *arrays, names):
    with self.assertRaises(ValueError) as caught:
      jax.eval_shape(call, *arrays)
    # No newline, since '.' matches none.
    self.assertRegex(
      str(caught.exception), rf'\A({"|".join(sorted(names))})(\.\w+|\[\d+\])*: found .+ must .+\Z'
    )

  @named(CALLS)
  def test_arrays(self, name):
    batch, used = batch_of(), fields_used(CALLS[name])
    self.assertEqual(not used, name in WITHOUT_A_BATCH)
    for field in sorted(used):
      for what, wrong in spoilt(batch, field, used).items():
        with self.subTest(f'{field}: {what}'):
          self.assert_refused(CALLS[name], wrong, names=arguments_of(name))

  @named(sorted(FUNCTIONS))
  def test_keyword_arguments(self, function):
    call = call_of(function)
    for keyword in set(keywords(function)) - UNCHECKED.keys():
      for value in BAD_VALUES[keyword]:
        with self.subTest(f'{keyword}={value!r}'):
          wrong = functools.partial(call, **{keyword: value})
          self.assert_refused(wrong, batch_of(), names=[keyword])

  @named(filter(numbers, sorted(FUNCTIONS)))
  def test_a_traced_number_passes_or_is_refused(self, function):
    """Never an error of JAX's own about a value that is not there."""
    call = call_of(function)
    for keyword in numbers(function):
      traced = lambda value, keyword=keyword: call(batch_of(), **{keyword: value})
      with self.subTest(keyword):
        try:
          jax.eval_shape(traced, jnp.float32(0.5))
        except ValueError as error:
          self.assertRegex(str(error), rf'\A{keyword}: found .+, must be a Python number\Z')
        self.assert_refused(traced, jnp.ones(2), names=[keyword])

  @named(name for name in CALLS if functions_in(name)[0] in LOSSES - WITHOUT_A_BATCH)
  def test_one_image(self, name):
    if name in CASES and CASES[name].one_image:
      loss, _ = jax.eval_shape(CALLS[name], batch_of(1))
      self.assertEqual(loss.shape, ())
    else:
      self.assert_refused(CALLS[name], batch_of(1), names=arguments_of(name))

  @named(WRONG_ARRAYS)
  def test_arrays_beside_the_batch(self, name):
    for what, call in WRONG_ARRAYS[name].items():
      with self.subTest(what):
        self.assert_refused(call, batch_of(), names=[what.split()[0]])

  def test_every_function_and_keyword_is_tried(self):
    self.assertEmpty(PLAIN_CALLS.keys() - FUNCTIONS.keys(), 'not public any more')
    called = {functions_in(name)[0] for name in CALLS}
    self.assertEmpty(FUNCTIONS.keys() - called, 'no call: add a case, or if no loss to PLAIN_CALLS')
    pairs = {(function, keyword) for function in FUNCTIONS for keyword in keywords(function)}
    known = BAD_VALUES.keys() | UNCHECKED.keys()
    self.assertEmpty({pair for pair in pairs if pair[1] not in known}, 'add to BAD_VALUES')
