"""Which images batch statistics span, against the same networks applied by hand."""

import chex
import jax
import jax.numpy as jnp
import numpy as np

from ssl_jax import losses
from tests.methods import tiny


def _apply(method, name, params, batch_stats, x):
  variables = {'params': params[name], 'batch_stats': batch_stats[name]}
  return method.networks()[name].apply(variables, x, train=True)


class ViewStatisticsTest(chex.TestCase):
  def test_byol_passes_view_after_view(self):
    method, views = tiny.method('byol'), tiny.views()
    state = tiny.variables('byol')
    with jax.enable_x64(True):
      embeddings, new = tiny.embed('byol')(state, views, 0, jax.random.key(0))

      @jax.jit
      def by_hand(state, views):
        params, target, batch_stats = state['params'], state['target'], dict(state['batch_stats'])
        online, projections = [], []
        for view in (views[:, 0], views[:, 1]):
          x = y = view
          for name in ('encoder', 'projector', 'predictor'):
            x, batch_stats[name] = _apply(method, name, params, batch_stats, x)
          for name in ('encoder', 'projector'):
            y, _ = _apply(method, name, target, state['batch_stats'], y)
          online.append(x)
          projections.append(y)
        return tuple(online), tuple(projections), batch_stats

      online, projections, batch_stats = by_hand(state, views)
      chex.assert_trees_all_close(embeddings.online, online, rtol=1e-10)
      chex.assert_trees_all_close(embeddings.target, projections, rtol=1e-10)
      chex.assert_trees_all_close(new['batch_stats'], batch_stats, rtol=1e-9, atol=1e-12)
      assert np.abs(embeddings.target[0] - embeddings.target[1]).max() > 1e-3
      loss, metrics = method.loss_from_embeddings(embeddings, state, 0)
      pairs = [(online[0], projections[1]), (online[1], projections[0])]
      expected = sum(losses.cosine_regression(*pair)[0] for pair in pairs)
      np.testing.assert_allclose(loss, expected, rtol=1e-10)
      similarity = [losses.cosine_regression(*pair)[1]['positive_similarity'] for pair in pairs]
      np.testing.assert_allclose(metrics['positive_similarity'], np.mean(similarity), rtol=1e-9)

  def test_byol_moves_running_statistics_once_a_view(self):
    state, views = tiny.variables('byol'), tiny.views()
    with jax.enable_x64(True):
      _, new = tiny.embed('byol')(state, views, 0, jax.random.key(0))
      kernel = np.array(state['params']['encoder']['linear1']['kernel'])
      mean1, mean2 = ((tiny.quarters(views[:, v]) @ kernel).mean(0) for v in (0, 1))
      found = new['batch_stats']['encoder']['norm1']['mean']
      np.testing.assert_allclose(found, 0.9 * (0.1 * mean1) + 0.1 * mean2, rtol=1e-9)

  def test_simclr_merges_views(self):
    method, state, views = tiny.method('simclr'), tiny.variables('simclr'), tiny.views()
    with jax.enable_x64(True):
      embeddings, new = tiny.embed('simclr')(state, views, 0, jax.random.key(0))

      @jax.jit
      def by_hand(state, views):
        batch_stats = dict(state['batch_stats'])
        x = jnp.concatenate([views[:, 0], views[:, 1]])
        for name in ('encoder', 'projector'):
          x, batch_stats[name] = _apply(method, name, state['params'], batch_stats, x)
        return (x[: tiny.BATCH], x[tiny.BATCH :]), batch_stats

      online, batch_stats = by_hand(state, views)
      chex.assert_trees_all_close(embeddings.online, online, rtol=1e-9)
      chex.assert_trees_all_equal(embeddings.target, embeddings.online)
      chex.assert_trees_all_close(new['batch_stats'], batch_stats, rtol=1e-9, atol=1e-12)
      loss, _ = method.loss_from_embeddings(embeddings, state, 0)
      np.testing.assert_allclose(loss, losses.nt_xent(*online, temperature=0.5)[0], rtol=1e-9)

  def test_simclr_per_view(self):
    method = tiny.method('simclr', batch_norm_per_view=True)
    state, views = tiny.variables('simclr'), tiny.views()
    changed = np.stack([views[:, 0], np.exp(views[:, 1])], axis=1)
    with jax.enable_x64(True):
      embed = jax.jit(method.embed)
      before, _ = embed(state, views, 0, jax.random.key(0))
      after, _ = embed(state, changed, 0, jax.random.key(0))
    chex.assert_trees_all_equal(before.online[0], after.online[0])
    assert np.abs(before.online[1] - after.online[1]).max() > 1e-3

  def test_simclr_per_view_in_the_encoder_alone(self):
    method = tiny.method('simclr', encoder_norm_per_view=True, projector_norm=True)
    with jax.enable_x64(True):
      state = jax.jit(method.init)(jax.random.key(0), jnp.zeros((2, 8, 8, 3)))
      embeddings, new = jax.jit(method.embed)(state, tiny.views(), 0, jax.random.key(0))

      @jax.jit
      def by_hand(state, views):
        params, batch_stats, features = state['params'], dict(state['batch_stats']), []
        for view in (views[:, 0], views[:, 1]):
          x, batch_stats['encoder'] = _apply(method, 'encoder', params, batch_stats, view)
          features.append(x)
        x = jnp.concatenate(features)
        x, batch_stats['projector'] = _apply(method, 'projector', params, batch_stats, x)
        return (x[: tiny.BATCH], x[tiny.BATCH :]), batch_stats

      online, batch_stats = by_hand(state, tiny.views())
      chex.assert_trees_all_close(embeddings.online, online, rtol=1e-9, atol=1e-12)
      chex.assert_trees_all_close(new['batch_stats'], batch_stats, rtol=1e-9, atol=1e-12)
