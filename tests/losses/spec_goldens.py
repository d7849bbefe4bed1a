"""Golden values of the contrastive losses: three images of three dimensions, temperature 0.5.

The values were computed in float64 and confirmed with forty-digit arithmetic, independently of this
library. Names give (attract_weight, repel_weight, positive_in_denominator) where they say so.
"""

from typing import Any

import jax
import numpy as np

from tests.losses.precision import by_precision

VIEW1 = np.array([[1.0, 0, 0], [0, 2, 0], [1, 1, 1]])
VIEW2 = np.array([[2.0, 1, 0], [0, 1, 1], [1, 0, 2]])
LABELS = np.array([0, 0, 1])

NT_XENT = {0.5: 1.139783904846404, 0.1: 0.6218845741556606}
# Image by image, view 1 before view 2.
NT_XENT_ANCHORS = (
  0.8213332102210973,
  1.0586080171353183,
  1.0481285604863553,
  1.3367319464791878,
  1.4896301652808182,
  1.0842715294756473,
)
INFO_NCE = 0.7302561472440671
INFO_NCE_SYMMETRIC = 0.7396501247003529
DECOUPLED = {0.5: 0.7380706141387173, 0.1: -0.6704846528679554}

BALANCED = {
  (1, 0.25, 1): -0.9031193445023723,
  (1, 0.5, 1): -0.22215159471944693,
  (1, 1, 1): NT_XENT[0.5],
  (1, 2, 1): 3.8636549039781065,
  (1, 4, 1): 9.311396902241508,
  (1, 0.25, 0.5): -0.9480046103497594,
  (1, 0.5, 0.5): -0.3119221264142209,
  (1, 2, 0.5): 3.50457277719901,
  (1, 4, 0.5): 8.593232648683317,
  (1, 0.25, 0): -1.003547667179294,
  (1, 0.5, 0): -0.42300824007329024,
  (1, 1, 0): DECOUPLED[0.5],
  (1, 2, 0): 3.060228322562733,
  (1, 4, 0): 7.704543739410763,
  (2, 1, 1): -0.44430318943889385,
  (0, 1, 0): 2.3221577084240153,
  (1, 0, 1): -1.5840870942852978,
  (1, 0, 0): -1.5840870942852978,
}
BALANCED_GRADIENTS = {  # with respect to view 1
  (1, 1, 1): (
    (0, -0.021413149562046294, 0.21251839809873158),
    (0.1310364798426113, 0, -0.09936354547349946),
    (0.013326798254532736, 0.17905951099951767, -0.1923863092540504),
  ),
  (1, 1, 0): (
    (0, -0.04138122647837507, 0.34411578611079613),
    (0.20081005066934132, 0, -0.1410046295849014),
    (0.03138796398566288, 0.24590785336094012, -0.2772958173466031),
  ),
  (1, 2, 1): (
    (0, 0.25531609787587933, 0.42503679619746315),
    (0.2620729596852226, 0, 0.03697516944851689),
    (0.026653596509065437, 0.18598642883426117, -0.2126400253433268),
  ),
  (1, 0.5, 1): (
    (0, -0.15977777328100917, 0.10625919904936579),
    (0.06551823992130565, 0, -0.16753290293450762),
    (0.006663399127266408, 0.1755960520821459, -0.18225945120941223),
  ),
}
NT_XENT_OF_LOG_MEAN = -0.4696540075876963  # over the five candidates
CLASS_BALANCED = 1.17262787314689
CLASS_BALANCING_WEIGHTS = (0.75, 0.75, 1.5)
DECOUPLED_WEIGHTED = 0.7625268987256104  # weight_temperature 0.5
DECOUPLED_WEIGHTS = (0.7875999225481678, 1.166431077328377, 1.045969000123455)

# Two views that are both the three unit vectors, and all embeddings one and the same.
ORTHONORMAL = {
  (1, 1, 1): 0.4326529029917916,
  (1, 1, 0): -0.6137056388801093,
  (1, 2, 1): 2.865305805983583,
}
COLLAPSED = {(1, 1, 1): 1.6094379124340998, (1, 1, 0): 1.3862943611198906}
# Of unit vectors: the positive's softmax weight, and the derivative with respect to its similarity.
POSITIVE_WEIGHT = 0.6487856442839393
POSITIVE_SLOPES = {
  (1, 1, 1): -0.7024287114321215,
  (1, 2, 1): 0.595142577135757,
  (1, 2, 0): -2.0,
}

ALIGNMENT = 0.41591290571470213
UNIFORMITY1, UNIFORMITY2 = -2.0475973865371193, -2.0518502898752726
ALIGNMENT_AND_UNIFORMITY = -1.633810932491494  # the latter's mean over views
GENERALIZED = 2.093622535791009

SUPERVISED = 1.6819231454810997
SUPERVISED_BASE = 12.013736753436426  # base_temperature 0.07
NEGATIVES_SUPERVISED = {1: 0.973245543986052, 0: 0.4582737766571647}  # positive_in_denominator

DEBIASED = 1.0656033571146823  # class_prior 0.1
HARD_NEGATIVE = 1.204900106888565  # and hardness 1

# Two dimensions; ten digits are known.
FLAT1 = np.array([[1.0, 2], [2, 1], [-1, 1]])
FLAT2 = np.array([[1.0, 1], [3, 1], [-2, 1]])
FLAT_NT_XENT = 0.8002058514
FLAT_ALIGNMENT = 0.0751226068
FLAT_UNIFORMITY1, FLAT_UNIFORMITY2 = -1.7537181958, -1.5114109625
FLAT_UNIFORMITY = -1.6325645792  # their mean

# One anchor: cosines, and the loss of K negatives.
POSITIVE_COSINE, NEGATIVE_COSINES = 0.9, (0.1, -0.3, 0.5)
K_NEGATIVES = 0.55500140683611655571

TOLERANCES = {np.float64: 1e-12, np.float32: 2e-6}
every_way = by_precision(dtype=(np.float64, np.float32), block_size=(None, 4))


def evaluate(function: Any, dtype: Any, *arrays: Any, **options: Any) -> Any:
  """The function of the arrays in a dtype, which must be that of all that it returns."""
  with jax.enable_x64(dtype is np.float64):
    found = function(*(np.asarray(x, dtype) for x in arrays), **options)
  assert {x.dtype for x in jax.tree.leaves(found)} == {np.dtype(dtype)}
  return jax.device_get(found)


def assert_golden(found: Any, expected: Any) -> None:
  """Relative to the golden value, or to the largest of an array of them."""
  tolerance = TOLERANCES[found.dtype.type] * np.max(np.abs(expected))
  np.testing.assert_allclose(found, expected, rtol=0, atol=tolerance)


def assert_digits(found: Any, expected: float) -> None:
  """As many digits as are known of a value of which ten are."""
  tolerance = 5.1e-11 if found.dtype == np.float64 else 2e-6 * abs(expected)
  np.testing.assert_allclose(found, expected, rtol=0, atol=tolerance)
