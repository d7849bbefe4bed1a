"""DSA as a whole against golden values and gradients."""

import chex
import jax
import numpy as np
from absl.testing import parameterized

from ssl_jax.losses import nt_xent
from ssl_jax.losses.dsa.arranging_loss import arranging_loss, prior_regularizer
from ssl_jax.losses.dsa.arranging_module import arranging_matrix
from ssl_jax.losses.dsa.semantic_adjuster import semantic_adjuster
from ssl_jax.losses.dsa.semantic_prior import prior_similarity
from ssl_jax.losses.dsa.settings import AdjusterSettings
from tests.losses.dsa.goldens import (
  CONCATENATION,
  DIFFERENCE,
  PRIORS,
  SCORES,
  VIEWS,
  as_dtype,
  rows,
)
from tests.losses.golden_tolerance import assert_golden
from tests.losses.precision import by_precision

PAIRS = ((0, 0), (1, 1), (0, 1), (1, 0))


class GoldenTest(chex.TestCase):
  """The scores of the goldens are given, not computed: each loss is joined by hand here."""

  @by_precision(dtype=(np.float64, np.float32))
  def test_total(self, dtype):
    def total(views, params, priors, scores):
      matrices = [arranging_matrix(params, views[a], views[b]) for a, b in PAIRS]
      similar = [prior_similarity(priors[a], priors[b]) for a, b in PAIRS]
      host, _ = nt_xent(*views, temperature=0.5)
      arranging, _ = arranging_loss(views, None, matrices, scores)
      regularizer, _ = prior_regularizer(matrices, similar)
      mean, _ = prior_regularizer(matrices, similar, reduction='mean')
      return host + arranging + 0.01 * regularizer, host + arranging + 0.01 * mean

    with jax.enable_x64(dtype is np.float64):
      arrays = as_dtype(dtype, (VIEWS, CONCATENATION, PRIORS, SCORES))
      program = jax.jit(jax.value_and_grad(total, (0, 1), has_aux=True))
      (value, mean), grads = jax.device_get(program(*arrays))
    assert_golden(value, 1.9045802629, dtype)
    assert_golden(mean, 1.8649589001, dtype)
    by_views, by_params = grads
    expected = (
      (
        by_views[0],
        '0.0577583870 -0.0098111209; -0.0344727592 0.0940552037;0.0192142480 0.0608741983',
      ),
      (
        by_views[1],
        '0.2542425141 -0.1825533417; 0.0015085542 0.0338891035;-0.1038913172 -0.0682516871',
      ),
      (
        by_params['hidden_kernel'],
        '0.3607432030 -0.1404659231; 0.3634809640 -0.1739516559;'
        '-0.3719271477 0.1435985803; 0.2848093312 -0.1326040943',
      ),
      (by_params['hidden_bias'][None], '0.2747397520 -0.1271692048'),
      (by_params['output_kernel'][None], '0.4499263984 0.1103896721'),
      (by_params['output_bias'][None, None], '0.2863801021'),
    )
    for found, text in expected:
      assert_golden(found, rows(text), dtype)

  @parameterized.named_parameters(
    ('paper', 'concatenation', CONCATENATION, 1.0515459279, 5.2828483642,
     (1.9045802629, 1.8649589001)),
    ('released', 'difference', DIFFERENCE, 0.7699909108, 6.4815976516,
     (1.6350127386, 1.5864007563)),
  )  # fmt: skip
  def test_whole(self, matrix, params, golden_arranging, regularizer, totals):
    """Of three images with k = 2 no score exceeds μ = 1: L_arr is log(2 - 1/6) in each total."""

    @jax.jit
    def whole(params, views, priors):
      host, _ = nt_xent(*views, temperature=0.5)
      results = []
      for reduction in ('sum', 'mean'):
        settings = AdjusterSettings(matrix=matrix, reduction=reduction, num_neighbors=2)
        loss, metrics = semantic_adjuster(params, views, None, priors, priors[0], preset=settings)
        results.append((host + loss, metrics))
      return results

    for dtype in (np.float64, np.float32):
      with jax.enable_x64(dtype is np.float64):
        results = jax.device_get(whole(*as_dtype(dtype, (params, VIEWS, PRIORS))))
      for at, total in enumerate(totals):
        found, metrics = results[at]
        assert_golden(metrics['regularizer'], regularizer / (1, 4)[at], dtype)
        assert_golden(metrics['arranging'], 0.6061358036, dtype)
        np.testing.assert_array_equal((metrics['score'], metrics['zero_scores']), (0, 1))
        assert_golden(found, total - golden_arranging + 0.6061358036, dtype)
