"""The regularizer of DSA against golden values, and its gradient where the norm has none."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import parameterized

from ssl_jax.losses.dsa.arranging_loss import prior_regularizer
from ssl_jax.losses.dsa.pairs import VIEW_PAIRS
from tests.losses.dsa.goldens import MATRICES, RELEASED, S11, S12, S22, as_dtype
from tests.losses.golden_tolerance import assert_golden

DTYPES = (np.float64, np.float32)
PRIOR_SIMILARITIES = np.stack([S11, S22, S12, S12.T])


class PriorRegularizerTest(chex.TestCase):
  @parameterized.named_parameters(
    ('module', MATRICES, (1.4067261010, 1.3888898542, 1.1996032159, 1.2876291931), 5.2828483642),
    (
      'released',
      (*RELEASED, *RELEASED),
      (1.8890483751, 1.7487142903, 1.4361761757, 1.4076588106),
      6.4815976516,
    ),
  )
  def test_golden(self, matrices, norms, total):
    for dtype in DTYPES:
      with jax.enable_x64(dtype is np.float64):
        arrays = as_dtype(dtype, (np.stack(matrices), PRIOR_SIMILARITIES))
        loss, metrics = prior_regularizer(*arrays)
        mean, _ = prior_regularizer(*arrays, reduction='mean')
      assert_golden(loss, total, dtype)
      assert_golden(mean, total / 4, dtype)
      for block, norm in zip(VIEW_PAIRS, norms, strict=True):
        assert_golden(metrics[f'norm_{block}'], norm, dtype)

  def test_gradient_is_finite_at_the_prior_and_none_reaches_it(self):
    value, (by_matrices, by_priors) = jax.value_and_grad(
      lambda m, s: prior_regularizer(m, s)[0], (0, 1)
    )(jnp.ones((4, 3, 3)), jnp.ones((4, 3, 3)))
    chex.assert_trees_all_equal((value, by_matrices), (jnp.zeros(()), jnp.zeros((4, 3, 3))))
    grads = jax.grad(lambda m, s: prior_regularizer(m, s)[0], (0, 1))(
      jnp.ones((4, 3, 3)), jnp.zeros((4, 3, 3))
    )
    np.testing.assert_allclose(grads[0], 1 / 3, rtol=1e-6)  # M / ‖M‖
    chex.assert_trees_all_equal(grads[1], by_priors)
    np.testing.assert_array_equal(by_priors, 0)


class ErrorTest(chex.TestCase):
  def test_messages(self):
    ones = np.ones((4, 3, 3))
    with self.assertRaisesRegex(ValueError, "reduction: found 'max', must be one of sum, mean"):
      prior_regularizer(ones, ones, reduction='max')
    with self.assertRaisesRegex(ValueError, 'matrices: found NoneType, must be 4 blocks'):
      prior_regularizer(None, ones)
    with self.assertRaisesRegex(ValueError, r'priors\[0\]: found shape \(2, 2\)'):
      prior_regularizer(ones, np.ones((4, 2, 2)))
