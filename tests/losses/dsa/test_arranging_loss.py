"""The arranging loss of DSA against golden values, and what defines it."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from absl.testing import parameterized
from hypothesis import given, settings
from hypothesis import strategies as st

from ssl_jax.losses.dsa.arranging_loss import arranging_loss
from ssl_jax.losses.dsa.pairs import VIEW_PAIRS
from ssl_jax.losses.dsa.semantic_prior import prior_similarity
from tests.losses.dsa.goldens import MATRICES, PRIORS, RELEASED, SCORES, VIEWS, as_dtype, rows
from tests.losses.golden_tolerance import assert_golden
from tests.losses.precision import by_precision

PAIRS = ((0, 0), (1, 1), (0, 1), (1, 0))
DISTANCES_12 = rows(
  '0.3203644860 0.7653668647 1.4142135624; 0.3203644860 0.1417780402 1.7888543820; '
  '1.4142135624 1.7013016167 0.3203644860'
)
DTYPES = (np.float64, np.float32)
ASYMMETRIC = rows('1 1.5; 1.5 1; -1 0.5'), rows('0.5 1; 2 1; -1.5 1')


@functools.cache
def priors() -> list[np.ndarray]:
  with jax.enable_x64(True):
    return [np.asarray(prior_similarity(PRIORS[a], PRIORS[b])) for a, b in PAIRS]


def same_image_target() -> list[np.ndarray]:
  first, second, *across = priors()
  return [first, second, *(np.where(np.eye(3, dtype=bool), 1, x) for x in across)]


def constant(value: float) -> np.ndarray:
  return np.full((4, 3, 3), value)


class ArrangingLossTest(chex.TestCase):
  @parameterized.named_parameters(
    ('prior', priors, SCORES, 0.5055542326),
    ('neutral_matrix', lambda: constant(0.5), SCORES, 0.6061358036),
    ('no_anchor', priors, 0 * SCORES, np.log(2 - 1 / 6)),
    ('attract', lambda: constant(1.0), SCORES**0, 2.5790433842),
    ('repel', lambda: constant(0.0), SCORES**0, 0.1827858425),
    ('same_image_target', same_image_target, SCORES, 0.5294551726),
    ('module', lambda: MATRICES, SCORES, 1.0515459279),
    ('released', lambda: (*RELEASED, *RELEASED), SCORES, 0.7699909108),
  )
  def test_golden(self, matrices, scores, expected):
    for dtype in DTYPES:
      with jax.enable_x64(dtype is np.float64):
        arrays = as_dtype(dtype, (VIEWS, np.stack(matrices()), scores))
        for block_size in (None, 2):
          assert_golden(_loss(*arrays, block_size), expected, dtype)

  @by_precision(dtype=DTYPES)
  def test_golden_distances(self, dtype):
    """They are the gradient where M is 1/2, but for a factor: of 36 pairs 6 are themselves."""
    with jax.enable_x64(dtype is np.float64):
      arrays = as_dtype(dtype, (VIEWS, constant(0.5), np.ones(3)))
      _, (_, by_matrices) = _loss_and_gradients(*arrays)
    loss_argument, slope = 1 + 30 / 36, 2 / 0.5
    found = np.asarray(by_matrices)[2] * np.asarray(36 * loss_argument / slope, dtype)
    assert_golden(found, DISTANCES_12, dtype)

  @parameterized.named_parameters(
    ('prior', None, priors, (0.4855810114, 0.4688589500, 0.8193565288, 0.8578200311)),
    ('same_image', None, same_image_target, (None, None, 0.8995621400, 0.9380256423)),
    ('asymmetric', ASYMMETRIC, priors, (0.4855810114, 0.4688589500, 0.8099952467, 0.8304555141)),
    ('module', None, lambda: MATRICES, (1.2523534227, 2.2056907013, 2.0901313973, 1.9001135070)),
    (
      'released',
      None,
      lambda: (*RELEASED, *RELEASED),
      (0.8761250156, 1.1927145737, 1.2329282967, 1.3372186070),
    ),
  )
  def test_golden_blocks(self, compared, matrices, expected):
    for dtype in DTYPES:
      with jax.enable_x64(dtype is np.float64):
        arrays = as_dtype(dtype, (VIEWS, compared, np.stack(matrices()), SCORES))
        loss, metrics = jax.device_get(_loss_and_metrics(*arrays))
      for block, value in zip(VIEW_PAIRS, expected, strict=True):
        if value is not None:
          assert_golden(np.exp(metrics[f'log_mean_{block}']), value, dtype)
      if compared is not None:
        assert_golden(loss, 0.5000008551, dtype)
      assert_golden(metrics['score'], 0.5, dtype)
      assert_golden(metrics['zero_scores'], 1 / 3, dtype)

  @by_precision(block_size=(None, 2), dtype=DTYPES)
  def test_golden_gradient(self, block_size, dtype):
    with jax.enable_x64(dtype is np.float64):
      arrays = as_dtype(dtype, (VIEWS, np.stack(priors()), SCORES))
      _, gradients = _loss_and_gradients(*arrays, block_size)
    by_views, (by11, _, by12, by21) = gradients
    expected = (
      (
        by_views[0],
        '-0.0115477554 0.0057738777; 0.0030830423 -0.0061660846;0.0043070637 0.0043070637',
      ),
      (
        by_views[1],
        '0.0069608234 -0.0069608234; -0.0014840151 0.0044520453;0.0011517108 0.0023034215',
      ),
      (by11, '0 0.0423091746 0.0094032472; 0.0211739224 0 0.0137546006; 0 0 0'),
      (
        by12,
        '0.0279446030 0.0278362584 0.0086328575; 0.0122472956 0.0048782384 0.0162605274;0 0 0',
      ),
      (
        by21,
        '0.0279446030 0.0279446030 0.0078261879; 0.0188933644 0.0048782384 0.0154651404;0 0 0',
      ),
    )
    for found, text in expected:
      assert_golden(found, rows(text), dtype)

  @parameterized.parameters('scores', 'matrix')
  def test_neutral_pairs_feel_no_force(self, zero):
    random = np.random.default_rng(0)
    views = tuple(random.normal(size=(2, 5, 3)))
    scores = np.zeros(5) if zero == 'scores' else random.uniform(size=5)
    matrices = random.uniform(size=(4, 5, 5)) if zero == 'scores' else np.full((4, 5, 5), 0.5)
    with jax.enable_x64(True):
      loss, (by_views, by_matrices) = jax.device_get(
        _loss_and_gradients(views, jnp.asarray(matrices), scores)
      )
    np.testing.assert_allclose(loss, np.log(2 - 1 / 10), rtol=1e-14)
    np.testing.assert_array_equal(by_views, 0)
    assert np.any(by_matrices) == (zero == 'matrix')

  @settings(max_examples=20, deadline=None, derandomize=True)
  @given(seed=st.integers(0, 2**32 - 1))
  def test_properties(self, seed):
    """Gradients of M are not negative, 0 where s is; rotation and scaling of z change nothing."""
    random = np.random.default_rng(seed)
    views, matrices = random.normal(size=(2, 6, 4)), random.uniform(size=(4, 6, 6))
    scores = random.integers(0, 3, 6) / 2
    rotation = np.linalg.qr(random.normal(size=(4, 4)))[0]
    scale = random.uniform(0.1, 9, (2, 6, 1))
    with jax.enable_x64(True):
      loss, (_, by_matrices) = _loss_and_gradients(tuple(views), matrices, scores)
      moved = _loss(tuple(scale * (views @ rotation)), matrices, scores, None)
      loss, by_matrices, moved = jax.device_get((loss, by_matrices, moved))
    assert np.min(by_matrices) >= 0
    np.testing.assert_array_equal(by_matrices[:, scores == 0], 0)
    np.testing.assert_allclose(moved, loss, rtol=1e-12)

  @pytest.mark.slow
  def test_symmetric_scores(self):
    scores = np.array([1, 0.25, 0.0])
    with jax.enable_x64(True):
      loss, metrics = arranging_loss(VIEWS, None, MATRICES, scores, score_mode='symmetric')
      unit = [x / np.linalg.norm(x, axis=1, keepdims=True) for x in VIEWS]
      distances = np.linalg.norm(unit[0][:, None] - unit[1][None], axis=-1)
    weights = np.sqrt(np.outer(scores, scores))
    expected = np.mean(np.exp(weights * distances * (2 * MATRICES[2] - 1) / 0.5))
    np.testing.assert_allclose(np.exp(metrics['log_mean_12']), expected, rtol=1e-12)
    assert np.isfinite(loss)

  @parameterized.product(dtype=(jnp.float32, jnp.bfloat16), view=('same', 'zero', 'random'))
  @pytest.mark.slow
  def test_finite_at_low_temperature(self, dtype, view):
    z = {'same': jnp.ones((4, 3)), 'zero': jnp.zeros((4, 3)), 'random': jnp.eye(4, 3)}[view]

    def loss(z, matrices):
      return arranging_loss((z, z), None, matrices, jnp.ones(4), temperature=0.005)[0]

    value, grads = _jit_grad(loss)(z.astype(dtype), jnp.full((4, 4, 4), 0.9, dtype))
    assert value.dtype == jnp.float32 and grads[0].dtype == dtype
    chex.assert_tree_all_finite((value, grads))


class ErrorTest(chex.TestCase):
  @parameterized.named_parameters(
    ('blocks', {'matrices': constant(1)[:3]}, 'matrices: found 3 blocks, must be 4'),
    ('square', {'matrices': np.ones((4, 2, 3))}, r'matrices\[0\]: found shape \(2, 3\), .*\(3, 3'),
    ('no_matrices', {'matrices': None}, 'matrices: found NoneType, must be 4 blocks'),
    ('above', {'matrices': constant(1.01)}, r'matrices\[0\]: found 1.01, must be from 0 to 1'),
    ('below', {'matrices': constant(-0.5)}, r'matrices\[0\]: found -0.5, must be from 0 to 1'),
    ('nan', {'matrices': constant(np.nan)}, r'matrices\[0\]: found nan, must be from 0 to 1'),
    ('scores', {'scores': np.ones(2)}, r'scores: found shape \(2,\), must be \(3,\)'),
    ('large_scores', {'scores': np.array([1, 2.5, 0])}, 'scores: found 2.5, must be from 0 to 1'),
    ('pair', {'online': VIEWS[0]}, 'online: found ndarray, must be a pair'),
    ('compared', {'compared': (VIEWS[0], VIEWS[1][:2])}, r'compared\[1\]: found shape \(2, 2\)'),
    ('mode', {'score_mode': 'both'}, "score_mode: found 'both', must be one of row, symmetric"),
    ('temperature', {'temperature': -1}, 'temperature: found -1, must be > 0'),
    ('integers', {'online': (np.ones((3, 2), int),) * 2}, r'online\[0\]: found dtype int'),
  )
  def test_arranging_loss(self, change, pattern):
    arguments = {'online': VIEWS, 'compared': None, 'matrices': constant(1.0), 'scores': SCORES}
    with self.assertRaisesRegex(ValueError, pattern):
      arranging_loss(**{**arguments, **change})

  @pytest.mark.slow
  def test_shares_may_be_rounded(self):
    above = np.float32(1 + 2**-23)
    loss, _ = arranging_loss(VIEWS, None, constant(above), np.full(3, above))
    chex.assert_tree_all_finite(loss)


@functools.partial(jax.jit, static_argnums=3)
def _loss(views, matrices, scores, block_size):
  return arranging_loss(views, None, matrices, scores, block_size=block_size)[0]


@jax.jit
def _loss_and_metrics(views, compared, matrices, scores):
  return arranging_loss(views, compared, matrices, scores)


@functools.partial(jax.jit, static_argnames='block_size')
def _loss_and_gradients(views, matrices, scores, block_size=None):
  return jax.value_and_grad(_loss, (0, 1))(views, matrices, scores, block_size)


def _jit_grad(loss):
  return jax.jit(jax.value_and_grad(loss, (0, 1)))
