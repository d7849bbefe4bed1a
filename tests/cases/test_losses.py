"""Values that losses accepted and turned into a wrong number, before."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ssl_jax import losses

A, B = jax.random.normal(jax.random.key(0), (2, 16, 16))


@pytest.mark.parametrize(
  'name',
  [
    'nt_xent',
    'info_nce',
    'balanced_contrastive',
    'truncated_triplet',
    'cosine_regression',
    'alignment',
  ],
)
def test_nan_in_an_embedding_is_nan_in_the_loss(name):
  for view in (A.at[0, 0].set(jnp.nan), A * jnp.nan):
    assert not np.isfinite(getattr(losses, name)(view, B)[0])


def test_labels_that_differ_in_their_upper_bits_differ():
  loss = lambda labels: losses.supervised_contrastive(A, B, np.array(labels))[0]
  expected = loss([0] * 8 + [1] * 8)
  try:
    found = loss([0] * 8 + [2**32] * 8)
  except (ValueError, OverflowError):
    return  # a refusal would do as well
  np.testing.assert_allclose(found, expected, rtol=1e-5)
