"""Random resizing of the input, and the momentum of the target."""

import dataclasses

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from absl.testing import parameterized

from ssl_jax import methods
from ssl_jax.methods.base.resizing import at_random_side, resize
from tests.methods import tiny

SIDES = (2, 3, 5, 8)
TO_4 = (
  (-0.1040329293, 0.4953405066, 0.5925798157, 0.0918379189),
  (0.3157190831, -0.3260793502, -0.6342104204, -0.3049547436),
  (-0.0829381497, 0.5083781884, 0.5846442646, 0.0706859471),
  (0.2970457247, -0.3441854792, -0.6336781228, -0.2860843918),
)
TO_3 = (
  (-0.3024526745, 0.3085515898, 0.4073399388),
  (0.46922252, 0.1475448244, -0.4190669755),
  (-0.1848711873, -0.4617882964, 0.0278935126),
)


@dataclasses.dataclass(frozen=True)
class SideNetwork:
  """Outputs the side of its input, or its input where that is an embedding."""

  out_features: int = 4

  def apply(self, variables, x, train):
    out = jnp.full((x.shape[0], 4), x.shape[1], jnp.float32) if x.ndim == 4 else x
    return out, variables['batch_stats']


class SideMethod(methods.TruncatedTriplet):
  """The real one with networks that reveal what they are fed."""

  def networks(self):
    return dict.fromkeys(('encoder', 'projector', 'predictor'), SideNetwork())


class ResizeTest(chex.TestCase):
  @parameterized.parameters((4, TO_4), (3, TO_3))
  def test_golden(self, side, expected):
    with jax.enable_x64(True):
      image = jnp.sin(0.7 * jnp.arange(36.0)).reshape(1, 6, 6, 1)
      np.testing.assert_allclose(resize(image, side)[0, :, :, 0], expected, rtol=0, atol=1e-9)

  def test_same_side_is_exact(self):
    images = tiny.views()[:, 0].astype(np.float32)
    chex.assert_trees_all_equal(resize(images, tiny.SIZE), jnp.asarray(images))
    chex.assert_trees_all_equal(
      at_random_side(lambda x: x, images, (), jax.random.key(0)), jnp.asarray(images)
    )


class RandomSideTest(chex.TestCase):
  def _draws(self, online, target, count=64):
    """Sides of (online 1, online 2, target 1, target 2) for each of `count` keys."""
    method = SideMethod(online_sizes=online, target_sizes=target)
    trees = {name: {} for name in ('encoder', 'projector', 'predictor')}
    variables = {'params': trees, 'batch_stats': trees, 'target': trees, 'method_state': {}}
    views = jnp.zeros((2, 2, 8, 8, 3))

    @jax.jit
    def draw(key):
      embeddings, _ = method.embed(variables, views, 0, key)
      return jnp.stack([x[0, 0] for x in (*embeddings.online, *embeddings.target)])

    return np.stack([draw(jax.random.key(i)) for i in range(count)]).astype(int)

  def test_four_independent_uniform_draws_a_batch(self):
    draws = self._draws(SIDES, SIDES, 256)
    for one in range(4):
      counts = [np.sum(draws[:, one] == side) for side in SIDES]
      assert sum(counts) == 256 and min(counts) > 256 / 4 - 30, counts
      for other in range(one):
        assert 30 < np.sum(draws[:, one] == draws[:, other]) < 100

  def test_online_and_target_have_their_own_sides(self):
    draws = self._draws((3,), (5, 8))
    assert set(draws[:, :2].ravel()) == {3} and set(draws[:, 2:].ravel()) == {5, 8}
    assert set(self._draws((), (), 4).ravel()) == {8}

  @pytest.mark.slow
  def test_is_the_method_on_resized_images(self):
    state, views = tiny.variables('truncated_triplet'), tiny.views()
    with jax.enable_x64(True):
      shrinking = tiny.method('truncated_triplet', online_sizes=(6, 6), target_sizes=(6,))
      small = jax.vmap(lambda v: resize(v, 6), 1, 1)(jnp.asarray(views))
      found = jax.jit(shrinking.embed)(state, views, 0, jax.random.key(0))
      plain = tiny.embed('truncated_triplet')
      expected = plain(state, small, 0, jax.random.key(0))
      chex.assert_trees_all_close(found, expected, rtol=1e-9, atol=1e-12)
      unresized, _ = plain(state, views, 0, jax.random.key(0))
      assert np.abs(unresized.online[0] - found[0].online[0]).max() > 1e-3

  def test_gradient_passes_the_branches(self):
    images = jnp.arange(64.0).reshape(1, 8, 8, 1)
    loss = lambda w: at_random_side(
      lambda x: jnp.sum(w * x.mean()), images, (4, 8), jax.random.key(0)
    )
    np.testing.assert_allclose(jax.jit(jax.grad(loss))(2.0), 31.5, rtol=1e-6)

  def test_refuses_sides_beyond_the_view(self):
    method = SideMethod(target_sizes=(4, 9))
    with self.assertRaisesRegex(ValueError, 'target_sizes: found .* at most 8, the side'):
      method.embed({}, jnp.zeros((2, 2, 8, 8, 3)), 0, jax.random.key(0))


class TargetMomentumTest(chex.TestCase):
  GOLDEN = (
    (0, 0.99),
    (3, 0.990022190177),
    (25, 0.991464466094),
    (50, 0.995),
    (75, 0.998535533906),
    (99, 0.999997532802),
  )

  @parameterized.parameters(*GOLDEN)
  def test_golden(self, step, expected):
    with jax.enable_x64(True):
      momentum = tiny.method('truncated_triplet').target_momentum(jnp.asarray(step))
      np.testing.assert_allclose(momentum, expected, rtol=0, atol=1e-12)
    single = jax.jit(tiny.method('byol').target_momentum)(step)
    np.testing.assert_allclose(single, expected, rtol=0, atol=1.2e-7)

  def test_ends_at_one(self):
    for step in (100, 101, 10**6):
      assert float(tiny.method('byol').target_momentum(step)) == 1.0

  def test_needs_an_average_and_a_length(self):
    with self.assertRaisesRegex(ValueError, 'name: found simclr, must be a method with a moving'):
      tiny.method('simclr').target_momentum(0)
    with self.assertRaisesRegex(ValueError, 'total_steps: found 0'):
      methods.create('byol').target_momentum(0)
