"""What holds of every loss, whatever the embeddings."""

import functools
import inspect

import chex
import jax
import jax.numpy as jnp
import jax.test_util
import numpy as np
from absl.testing import parameterized
from hypothesis import given, settings
from hypothesis import strategies as st

from ssl_jax import losses
from tests.losses import batches
from tests.losses.batches import SIZE, random_batch
from tests.losses.cases import all_cases, themes

THEMES = themes()
CASES = all_cases()
HALVES = (np.float16, jnp.bfloat16)
seeds = st.integers(0, 2**32 - 1)
few_examples = settings(max_examples=10, deadline=None, derandomize=True)
# Of each, every kind of degenerate batch is made.
fewer_examples = settings(max_examples=3, deadline=None, derandomize=True)


def temperatures(case):
  """What the loss that takes the case's options calls its temperatures."""
  names = inspect.signature(getattr(losses, case.names[0])).parameters
  return [name for name in names if name.endswith('temperature') and 'adaptive' not in name]


def every_case(condition=lambda case: True):
  """A test for each case that meets the condition."""
  names = [name for name, case in CASES.items() if condition(case)]
  return parameterized.named_parameters(zip(names, names, strict=True))


def every_case_in(dtypes, condition=lambda case: True):
  """A test for each case that meets the condition, and each of the dtypes."""
  return parameterized.named_parameters(
    (f'{name}_{dtype.__name__}', name, dtype)
    for name, case in CASES.items()
    if condition(case)
    for dtype in dtypes
  )


@functools.cache
def _program(names, block_size, temperature):
  """Of several cases: a program each would take most of the suite's time to compile."""

  def every_value(fields, labels):
    results = {}
    for name in names:
      case = CASES[name]
      options = {} if block_size is None else {'block_size': block_size}
      if temperature is not None:
        options |= dict.fromkeys(temperatures(case), temperature)

      def value(fields, case=case, options=options):
        return case.call(batches.join(fields, labels), **options)

      (loss, metrics), grads = jax.value_and_grad(value, has_aux=True)(fields)
      exact = {key: x for key, x in metrics.items() if key not in case.discontinuous}
      results[name] = loss, exact, grads
    return results

  return jax.jit(every_value)


def evaluate(name, batch, *, block_size=None, temperature=None):
  """Loss, metrics, and gradients by field of the batch.

  The case is compiled with the others of its theme that run in the same tier.
  """
  size = len(batch.labels)
  (theme,) = (cases for cases in THEMES.values() if name in cases)
  together = tuple(
    key
    for key, case in theme.items()
    if case.representative == CASES[name].representative
    and (size == SIZE or size == case.minimum)
    and (block_size is None or case.blocks)
    and (temperature is None or temperatures(case))
  )
  return _results(_Inputs(batch), together, block_size, temperature, jax.config.jax_enable_x64)[
    name
  ]


class _Inputs:
  """A batch by its contents: hypothesis draws the same ones for each case of a theme."""

  def __init__(self, batch):
    self.batch = batch
    self.contents = tuple((str(x.dtype), x.shape, x.tobytes()) for x in map(np.asarray, batch))

  def __hash__(self):
    return hash(self.contents)

  def __eq__(self, other):
    return self.contents == other.contents


@functools.lru_cache(maxsize=256)
def _results(inputs, names, block_size, temperature, _x64):
  program = _program(names, block_size, temperature)
  return jax.device_get(program(*batches.split(inputs.batch)))


def assert_close(found, expected, tolerance):
  """Within `tolerance` of a scalar, or of 1 if that is more, and of the greatest gradient.

  Gradients all below 0.01 are what remains of terms that cancel, whose rounding is seen.
  """
  steepest = max(0.01, *(np.max(np.abs(grad)) for grad in expected[2].values()))
  for (path, a), b in zip(jax.tree.leaves_with_path(found), jax.tree.leaves(expected), strict=True):
    scale = np.maximum(1, np.abs(b)) if np.ndim(b) == 0 else steepest
    name = jax.tree_util.keystr(path)
    np.testing.assert_allclose(a, b, rtol=0, atol=tolerance * scale, err_msg=name)


class SymmetryTest(chex.TestCase):
  @every_case(lambda case: case.permutable)
  @few_examples
  @given(seed=seeds)
  def test_permutation_(self, name, seed):
    batch = random_batch(SIZE, seed)
    order = np.random.default_rng(seed).permutation(SIZE)
    with jax.enable_x64(True):
      loss, metrics, grads = evaluate(name, batch)
      found = evaluate(name, jax.tree.map(lambda x: x[order], batch))
    assert_close(found, (loss, metrics, {k: g[order] for k, g in grads.items()}), 1e-12)

  @every_case(lambda case: case.scale_free)
  @few_examples
  @given(seed=seeds)
  def test_positive_scaling_(self, name, seed):
    batch = random_batch(SIZE, seed)
    random = np.random.default_rng(seed)
    factors = {k: np.exp(random.normal(size=(SIZE, 1))) for k in batches.EMBEDDINGS}
    stretched = batch._replace(**{k: getattr(batch, k) * x for k, x in factors.items()})
    with jax.enable_x64(True):
      expected = evaluate(name, batch)
      loss, metrics, grads = evaluate(name, stretched)
    grads |= {k: grads[k] * x for k, x in factors.items()}
    assert_close((loss, metrics, grads), expected, 1e-11)


class GradientTest(chex.TestCase):
  @every_case()
  @few_examples
  @given(seed=seeds)
  def test_stopped_is_exactly_zero_(self, name, seed):
    with jax.enable_x64(True):
      _, _, grads = evaluate(name, random_batch(SIZE, seed))
    for field in CASES[name].stopped:
      np.testing.assert_array_equal(grads[field], 0, err_msg=field)
    self.assertTrue(any(np.any(grads[field]) for field in batches.EMBEDDINGS))

  @every_case()
  def test_metrics_carry_none_(self, name):
    fields, labels = batches.split(random_batch(SIZE, dtype=np.float32))

    def total(fields):
      _, metrics = CASES[name].call(batches.join(fields, labels))
      return sum(metrics.values())

    for field, grad in jax.jit(jax.grad(total))(fields).items():
      np.testing.assert_array_equal(grad, 0, err_msg=field)

  @every_case(lambda case: case.smooth)
  @few_examples
  @given(seed=seeds)
  def test_is_the_derivative_(self, name, seed):
    """`jax.test_util.check_grads` in reverse mode, on the one program that the others use."""
    batch = random_batch(SIZE, seed)
    free = tuple(field for field in batches.EMBEDDINGS if field not in CASES[name].stopped)

    def value(*arrays):
      return evaluate(name, batch._replace(**dict(zip(free, arrays, strict=True))))[0]

    def value_and_pullback(*arrays):
      loss, _, grads = evaluate(name, batch._replace(**dict(zip(free, arrays, strict=True))))
      return loss, lambda cotangent: tuple(cotangent * grads[field] for field in free)

    with jax.enable_x64(True):
      arrays = tuple(getattr(batch, field) for field in free)
      jax.test_util.check_vjp(value, value_and_pullback, arrays, atol=1e-6, rtol=1e-6, eps=1e-5)


class FiniteTest(chex.TestCase):
  @every_case()
  @fewer_examples
  @given(seed=seeds)
  def test_degenerate_embeddings_(self, name, seed):
    self.check(name, random_batch(SIZE, seed, np.float32))

  @every_case()
  @fewer_examples
  @given(seed=seeds)
  def test_smallest_batch_(self, name, seed):
    self.check(name, random_batch(CASES[name].minimum, seed, np.float32))

  @every_case(temperatures)
  @fewer_examples
  @given(seed=seeds)
  def test_low_temperature_(self, name, seed):
    batch = random_batch(SIZE, seed, np.float32)
    self.check(name, batch, temperature=0.005)
    if CASES[name].blocks:
      self.check(name, batch, temperature=0.005, block_size=4)

  @every_case_in(HALVES)
  @fewer_examples
  @given(seed=seeds)
  def test_half_precision_(self, name, dtype, seed):
    self.check(name, random_batch(SIZE, seed, dtype))

  def check(self, name, batch, **options):
    for change in (lambda batch: batch, *batches.DEGENERATE):
      found = evaluate(name, change(batch), **options)
      for path, x in jax.tree.leaves_with_path(found):
        self.assertTrue(np.all(np.isfinite(x)), f'{change.__name__}{jax.tree_util.keystr(path)}')


class NotFiniteTest(chex.TestCase):
  @every_case()
  @fewer_examples
  @given(seed=seeds, value=st.sampled_from((np.nan, np.inf, -np.inf)))
  def test_reaches_loss_and_gradient_(self, name, seed, value):
    batch, random = random_batch(SIZE, seed, np.float32), np.random.default_rng(seed)
    # Rows that no case takes for padding, or leaves without a positive.
    rows = np.flatnonzero(batch.labels == 0) if CASES[name].derived else np.arange(SIZE)
    for field in fields_read(name):
      array = np.array(getattr(batch, field))
      array[random.choice(rows), random.integers(batches.DIM)] = value
      for block_size in (None, 4) if CASES[name].blocks else (None,):
        spoilt = batch._replace(**{field: array})
        loss, _, grads = evaluate(name, spoilt, block_size=block_size)
        self.assertTrue(np.isnan(loss), (field, block_size))
        finite = all(np.all(np.isfinite(grads[key])) for key in batches.EMBEDDINGS)
        self.assertFalse(finite, (field, block_size))


@functools.cache
def fields_read(name):
  """The embeddings that a case reads."""
  jaxpr = jax.make_jaxpr(CASES[name].call)(random_batch(SIZE, dtype=np.float32)).jaxpr
  read = {id(variable) for equation in jaxpr.eqns for variable in equation.invars}
  fields = zip(batches.Batch._fields, jaxpr.invars, strict=True)
  return [field for field, v in fields if id(v) in read and field in batches.EMBEDDINGS]


class HalfPrecisionTest(chex.TestCase):
  @every_case_in(HALVES)
  @fewer_examples
  @given(seed=seeds)
  def test_rounds_once_(self, name, dtype, seed):
    """Embeddings are rounded by the caller and nothing is rounded after that.

    So the loss and metrics of half-precision embeddings are those of the same values in float32 to
    1e-6, and a gradient is that of float32 within 4 units in the last place of the greatest.
    Against embeddings that were never rounded, the loss differs by at most 4 `finfo(dtype).eps`
    (eps is 2⁻¹⁰ in float16, 2⁻⁷ in bfloat16) times itself, or times 1 if it is less than 1.
    """
    batch = random_batch(SIZE, seed, dtype)
    *values, grads = evaluate(name, batch)
    *expected_values, expected_grads = evaluate(name, batches.in_dtype(batch, np.float32))
    self.assertEqual({grad.dtype for grad in grads.values()}, {np.dtype(dtype)})
    chex.assert_trees_all_equal_dtypes(values, expected_values)
    assert_close((*values, expected_grads), (*expected_values, expected_grads), 1e-6)
    unrounded, *_ = evaluate(name, random_batch(SIZE, seed, np.float32))
    bound = 4 * float(jnp.finfo(dtype).eps) * max(1, abs(unrounded))
    self.assertLess(abs(values[0] - unrounded), bound)
    grads = {field: grad.astype(np.float32) for field, grad in grads.items()}
    assert_close((*values, grads), (*expected_values, expected_grads), 4 * jnp.finfo(dtype).eps)


class BlocksTest(chex.TestCase):
  @every_case_in((np.float64, np.float32), lambda case: case.blocks)
  @fewer_examples
  @given(seed=seeds)
  def test_equal_to_the_whole_(self, name, dtype, seed):
    # A block size that does not divide the batch, and one that does.
    block_size, tolerance = (5, 1e-12) if dtype is np.float64 else (4, 1e-5)
    for change in (lambda batch: batch, *batches.DEGENERATE):
      with jax.enable_x64(dtype is np.float64), self.subTest(batch=change.__name__):
        batch = change(random_batch(SIZE, seed, dtype))
        expected = evaluate(name, batch)
        found = evaluate(name, batch, block_size=block_size)
        assert_close(found, expected, tolerance)
