"""The arranging module of DSA against golden values, and what defines it."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import parameterized

from ssl_jax.losses.dsa.arranging_module import (
  arranging_matrix,
  init_arranging,
  released_arranging_matrix,
)
from tests.losses.dsa.goldens import (
  CONCATENATION,
  DIFFERENCE,
  MATRICES,
  RELEASED,
  VIEWS,
  as_dtype,
  rows,
  single,
)
from tests.losses.golden_tolerance import assert_golden
from tests.losses.precision import by_precision

PAIRS = ((0, 0), (1, 1), (0, 1), (1, 0))
DTYPES = (np.float64, np.float32)
# Before rows are scaled to sum 1, of view 1.
RELEASED_OUTPUT = rows('0.12 0.47 1.22; 0.2033333333 0.12 1.12; 0.02 0.245 0.12')


class ModuleTest(chex.TestCase):
  @by_precision(at=(0, 1, 2, 3), block_size=(None, 2), dtype=DTYPES)
  def test_golden(self, at, block_size, dtype):
    a, b = PAIRS[at]
    with jax.enable_x64(dtype is np.float64):
      params, *views = as_dtype(dtype, (CONCATENATION, VIEWS[a], VIEWS[b]))
      found = arranging_matrix(params, *views, block_size=block_size)
    assert_golden(found, MATRICES[at], dtype, 1e-10)

  @by_precision(view=(0, 1), block_size=(None, 2), dtype=DTYPES)
  def test_released_golden(self, view, block_size, dtype):
    with jax.enable_x64(dtype is np.float64):
      arrays = as_dtype(dtype, (DIFFERENCE, VIEWS[view]))
      found = released_arranging_matrix(*arrays, block_size=block_size)
    assert_golden(found, RELEASED[view], dtype, 1e-10)

  @by_precision(dtype=DTYPES)
  def test_released_output(self, dtype):
    """The sum that a row is divided by shows in what a change of the output bias does to it."""
    with jax.enable_x64(dtype is np.float64):
      params, view = as_dtype(dtype, (DIFFERENCE, VIEWS[0]))
      matrix, slope = jax.jvp(
        lambda bias: released_arranging_matrix({**params, 'output_bias': bias}, view),
        (params['output_bias'],),
        (jnp.ones((), dtype),),
      )
    matrix, slope = np.asarray(matrix), np.asarray(slope)
    # With S the sum, the slope is (1 - 3 M) / S.
    sums = np.linalg.norm(1 - 3 * matrix, axis=1) / np.linalg.norm(slope, axis=1)
    assert_golden(matrix * sums[:, None], RELEASED_OUTPUT, dtype)

  def test_released_is_the_network_of_normalized_differences(self):
    random = np.random.default_rng(0)
    z = random.normal(size=(9, 3))
    params = {
      k: 5 * random.normal(size=s)
      for k, s in {'hidden_kernel': (3, 4), 'hidden_bias': (4,), 'output_kernel': (4,)}.items()
    }
    params['output_bias'] = np.array(1.0)
    delta = z[:, None] - z[None, :]
    delta /= np.abs(delta).sum((0, 1))
    hidden = np.maximum(delta @ params['hidden_kernel'] + params['hidden_bias'], 0)
    output = np.maximum(hidden @ params['output_kernel'] + 1, 0)
    with jax.enable_x64(True):
      found = released_arranging_matrix(params, z)
    assert np.ptp(output) > 0
    expected = output / np.maximum(output.sum(1, keepdims=True), 1e-12)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-12)

  def test_released_without_an_active_unit_is_dead(self):
    dead = {**DIFFERENCE, 'output_bias': np.array(-9.0)}

    def total(params):
      return jnp.sum(jnp.square(released_arranging_matrix(params, single(VIEWS[0]))))

    value, grads = jax.value_and_grad(total)(single(dead))
    chex.assert_trees_all_equal((value, grads), jax.tree.map(jnp.zeros_like, (value, grads)))

  def test_starts_neutral(self):
    params = init_arranging(jax.random.key(0), dim=16)
    z = jax.random.normal(jax.random.key(1), (12, 16))
    matrix = arranging_matrix(params, z, z)
    np.testing.assert_allclose(jnp.mean(matrix), 0.5, atol=0.15)
    assert jnp.ptp(matrix) > 0.01
    np.testing.assert_array_equal(arranging_matrix(params, 0 * z, 0 * z), 0.5)

  def test_released_starts_constant_or_dead(self):
    rows = jax.random.normal(jax.random.key(0), (256, 64))
    started = jax.jit(
      lambda key: released_arranging_matrix(init_arranging(key, 64, form='difference'), rows)
    )
    means = []
    for seed in range(6):
      matrix = np.asarray(started(jax.random.key(seed)))
      means.append(matrix.mean())
      np.testing.assert_allclose(matrix, means[-1], rtol=0.01, atol=0)
    np.testing.assert_allclose(sorted(set(np.round(means, 6))), [0, 1 / 256], rtol=1e-3, atol=1e-6)

  def test_biases_of_the_difference_are_drawn(self):
    for form, inputs in (('concatenation', 8), ('difference', 4)):
      params = init_arranging(jax.random.key(0), dim=4, hidden=16, form=form)
      for name, fan_in in (('hidden_bias', inputs), ('output_bias', 16)):
        drawn = np.abs(params[name])
        self.assertEqual(bool(drawn.min() > 0), form == 'difference')
        self.assertLessEqual(drawn.max(), fan_in**-0.5)


class ErrorTest(chex.TestCase):
  @parameterized.named_parameters(
    ('names', {'kernel': np.ones(3)}, r"params: found \['kernel'\], must be arrays of"),
    ('form', DIFFERENCE, r'params.hidden_kernel: found shape \(2, 2\), must be \(4, 2\)'),
    ('width', {**CONCATENATION, 'output_kernel': np.ones(3)}, 'output_kernel: found shape .3,.'),
  )
  def test_params(self, params, pattern):
    with self.assertRaisesRegex(ValueError, pattern):
      arranging_matrix(params, *VIEWS)

  def test_init(self):
    with self.assertRaisesRegex(ValueError, "form: found 'sum', must be one of concatenation"):
      init_arranging(jax.random.key(0), 3, form='sum')
    with self.assertRaisesRegex(ValueError, 'hidden: found 0, must be a whole number >= 1'):
      init_arranging(jax.random.key(0), 3, 0)
