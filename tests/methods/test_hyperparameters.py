"""The registry, the declarations flags are made of, and the errors of wrong values."""

import dataclasses
import doctest
import typing

import chex
import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import parameterized

from ssl_jax import losses, methods
from tests.methods import tiny

FLAG_TYPES = (bool, int, float, str, tuple[int, ...], tuple[float, ...])


class RegistryTest(chex.TestCase):
  def test_names(self):
    assert {'simclr', 'byol', 'truncated_triplet', 'iccl', 'simclr+dsa'} <= set(methods.names())
    assert len(set(methods.names())) == len(methods.names())
    for name in methods.names():
      assert methods.get(name).name == methods.create(name).name == name

  def test_unknown_names_give_the_nearest(self):
    with self.assertRaisesRegex(ValueError, "name: found 'simclar', .*; nearest: simclr, "):
      methods.get('simclar')
    with self.assertRaisesRegex(ValueError, "found 'temprature', .* nearest: temperature"):
      methods.create('simclr', temprature=1.0)
    with self.assertRaisesRegex(ValueError, "hyper-parameter: found 'encoder', must be"):
      methods.create('simclr', encoder=None)

  def test_examples(self):
    outcome = doctest.testmod(methods)
    assert outcome.attempted and not outcome.failed


class DeclarationTest(chex.TestCase):
  @parameterized.parameters(*methods.names())
  def test_every_field_can_be_a_flag(self, name):
    hints = typing.get_type_hints(methods.get(name))
    for field in dataclasses.fields(methods.get(name)):
      if field.metadata.get('flag', True):
        assert hints[field.name] in FLAG_TYPES, field.name
        assert field.metadata['help'] and '\n' not in field.metadata['help'], field.name
        assert field.default is not dataclasses.MISSING, field.name
      else:
        assert field.name in ('encoder', 'total_steps', 'class_counts')

  @parameterized.parameters(
    ('simclr', {'temperature': -1}, 'temperature: found -1, must be > 0'),
    ('simclr', {'temperature': 'low'}, "temperature: found 'low', must be "),
    ('simclr', {'temperature': True}, 'temperature: found True, must be '),
    ('simclr', {'temperature': float('nan')}, 'temperature: found nan'),
    ('simclr', {'projector_layers': 0}, 'projector_layers: found 0, must be '),
    ('simclr', {'projector_out': 2.5}, 'projector_out: found 2.5, must be a whole number'),
    ('byol', {'base_momentum': 1.5}, 'base_momentum: found 1.5, must be '),
    ('byol', {'predictor_hidden': 0}, 'predictor_hidden: found 0'),
    ('truncated_triplet', {'deputy': 'mean'}, 'must be one of window, rank, median, hardest'),
    ('truncated_triplet', {'rank_low': 0}, 'rank_low: found 0'),
    ('truncated_triplet', {'rank_high': 1}, 'rank_high: found 1, must be >= rank_low, 2'),
    ('truncated_triplet', {'rank': 0}, 'rank: found 0'),
    ('truncated_triplet', {'gamma': -0.1}, 'gamma: found -0.1'),
    ('truncated_triplet', {'margin': float('inf')}, 'margin: found inf'),
    ('truncated_triplet', {'scale': 0.0}, 'scale: found 0.0'),
    ('truncated_triplet', {'group_size': -1}, 'group_size: found -1'),
    ('truncated_triplet', {'online_sizes': [96]}, 'online_sizes: found .*a tuple'),
    ('truncated_triplet', {'online_sizes': (0,)}, 'online_sizes: found'),
    ('truncated_triplet', {'projector_out': -1}, 'projector_out: found -1'),
  )
  def test_wrong_values(self, name, hyperparameters, pattern):
    with self.assertRaisesRegex(ValueError, pattern) as caught:
      methods.create(name, **hyperparameters)
    assert '\n' not in str(caught.exception)


class TripletHyperparametersTest(chex.TestCase):
  """Each hyper-parameter reaches the loss."""

  @parameterized.parameters(
    ({}, {'deputy': losses.RankWindow(2, 4)}),
    ({'rank_low': 1}, {'deputy': losses.RankWindow(1, 4)}),
    ({'deputy': 'rank', 'rank': 3}, {'deputy': losses.RankWindow(3, 3)}),
    ({'deputy': 'median'}, {'deputy': losses.MedianRank()}),
    ({'deputy': 'hardest'}, {'deputy': losses.RankWindow(1, 1)}),
    (
      {'group_size': 6, 'gamma': 1.0, 'margin': 1.0, 'scale': 3.0},
      {'deputy': losses.RankWindow(2, 4), 'group_size': 6, 'gamma': 1, 'margin': 1, 'scale': 3},
    ),
  )
  def test_sum_of_directions(self, hyperparameters, options):
    method = tiny.method('truncated_triplet', **hyperparameters)
    rows = np.random.default_rng(0).normal(size=(4, 12, 6)).astype(np.float32)
    embeddings = methods.Embeddings((rows[0], rows[1]), (rows[2], rows[3]))
    loss, metrics = method.loss_from_embeddings(embeddings, {}, 0)
    loss1, metrics1 = losses.truncated_triplet(rows[0], rows[3], **options)
    loss2, metrics2 = losses.truncated_triplet(rows[1], rows[2], **options)
    np.testing.assert_allclose(loss, loss1 + loss2, rtol=1e-6)
    for part in ('attract', 'repel', 'offset_free'):
      np.testing.assert_allclose(metrics[part], metrics1[part] + metrics2[part], rtol=1e-6)
    for share in ('positive_similarity', 'negative_similarity', 'active_fraction'):
      np.testing.assert_allclose(metrics[share], (metrics1[share] + metrics2[share]) / 2, rtol=1e-6)

  def test_simclr_projector(self):
    method = tiny.method('simclr', 'float32', projector_layers=3, projector_hidden=9)
    shapes = jax.eval_shape(
      lambda: method.init(jax.random.key(0), jnp.zeros((2, 8, 8, 3)))['params']['projector']
    )
    widths = [shapes[f'linear{i}']['kernel'].shape for i in (1, 2, 3)]
    assert widths == [(7, 9), (9, 9), (9, 6)]
    assert 'norm2' in shapes and 'norm3' not in shapes
