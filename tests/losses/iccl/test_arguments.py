"""What ICCL refuses, by the name of the argument."""

import chex
import numpy as np
from absl.testing import parameterized

from ssl_jax.losses.iccl.similarity_clustering import similarity_clustering
from tests.losses.iccl.inputs import P1, P2, Q1, Q2


class ErrorTest(chex.TestCase):
  @parameterized.parameters(
    ({'fade': 1.5}, r'fade: found 1.5, must be from 0 to 1'),
    ({'fade': -0.1}, r'fade: found -0.1, must be from 0 to 1'),
    ({'fade': np.zeros(2)}, r'fade: found'),
    ({'uniformity_weight': -1}, r'uniformity_weight: found -1, must be >= 0'),
    ({'prediction_temperature': 0}, r'prediction_temperature: found 0, must be > 0'),
    ({'target_temperature': -1}, r'target_temperature: found -1, must be > 0'),
    ({'adaptive_temperature': 'on'}, r"adaptive_temperature: found 'on', must be one of off, clip"),
    ({'uniformity_gradient_scale': -1}, r'uniformity_gradient_scale: found -1, must be >= 0'),
    ({'similarity': 'cos'}, r"similarity: found 'cos', must be one of byol, simsiam"),
    ({'similarity_weight_after': -1}, r'similarity_weight_after: found -1'),
    ({'assignments': 'hard'}, r"assignments: found 'hard', must be one of softmax, sinkhorn"),
    ({'assignments': 'centered'}, r"center: found None and assignments='centered'"),
    ({'center': np.zeros(4)}, r"center: found an array and assignments='softmax'"),
    (
      {'assignments': 'centered', 'center': np.zeros(3)},
      r'center: found float32 of shape \(3,\), must be floats of shape \(4,\)',
    ),
    ({'sinkhorn_iterations': 0}, r'sinkhorn_iterations: found 0'),
    ({'pca_dim': 0}, r'pca_dim: found 0, must be a whole number >= 1'),
    ({'pca_dim': 5}, r'pca_dim: found 5, must be at most 4'),
    ({'pca_dim': 4, 'assignments': 'centered'}, r"pca_dim: found 4 with assignments='centered'"),
    ({'pca_rows': P1}, r'pca_rows: found an array, must be None unless pca_dim is given'),
    ({'pca_dim': 2, 'pca_rows': P1[:, :3]}, r'pca_rows: found shape \(3, 3\), must be \[rows, 4\]'),
  )
  def test_option(self, options, pattern):
    with self.assertRaisesRegex(ValueError, pattern) as caught:
      similarity_clustering((P1, P2), (Q1, Q2), **{'fade': 0.5, **options})
    self.assertNotIn('\n', str(caught.exception))

  @parameterized.parameters(
    (None, (Q1, Q2), 'predictions: found NoneType, must be a sequence of arrays, one a view'),
    ((P1, P2), 0.5, 'targets: found float, must be a sequence of arrays, one a view'),
    ((P1, P2), Q1, r'targets\[0\]: found shape \(4,\)'),
    ((P1,), (Q1, Q2), 'predictions: found 1 arrays, must be two'),
    ((P1, P2), (), 'targets: found none, must be a sequence of arrays'),
    ((P1, P2[:2]), (Q1, Q2), r'predictions\[1\]: found shape \(2, 4\), must be \(3, 4\)'),
    ((P1, P2), (Q1[:2], Q2[:2]), r'targets: found shape \(2, 4\), must be \(3, 4\)'),
    ((P1, P2), (np.ones((3, 4), int),) * 2, r'targets\[0\]: found dtype int'),
  )
  def test_arrays(self, predictions, targets, pattern):
    with self.assertRaisesRegex(ValueError, pattern):
      similarity_clustering(predictions, targets, fade=0.5)
