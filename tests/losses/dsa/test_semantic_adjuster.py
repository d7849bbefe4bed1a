"""DSA as a whole: presets, ablations, groups, devices and memory."""

import dataclasses
import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from absl.testing import parameterized

from ssl_jax.losses import anchor_scores
from ssl_jax.losses.dsa.arranging_loss import arranging_loss, prior_regularizer
from ssl_jax.losses.dsa.arranging_module import arranging_matrix, init_arranging
from ssl_jax.losses.dsa.semantic_adjuster import semantic_adjuster
from ssl_jax.losses.dsa.semantic_prior import calibrated_temperature, prior_similarity
from ssl_jax.losses.dsa.settings import PRESETS
from tests.losses import ways

PAIRS = ((0, 0), (1, 1), (0, 1), (1, 0))
PAPER = dataclasses.replace(PRESETS['paper'], num_neighbors=3)
SIZE, DIM = 24, 4


@functools.cache
def inputs() -> tuple:
  """Parameters, online pair, compared pair, prior pair, plain prior: float64."""
  random = np.random.default_rng(0)
  image, *noise = random.normal(size=(8, SIZE, DIM))
  arrays = [image + x for x in noise]
  params = {
    'hidden_kernel': random.normal(size=(2 * DIM, 5)),
    'hidden_bias': random.normal(size=5),
    'output_kernel': random.normal(size=5),
    'output_bias': np.array(0.1),
  }
  return params, tuple(arrays[:2]), tuple(arrays[2:4]), tuple(arrays[4:6]), arrays[6]


@functools.cache
def value_and_grad(preset=PAPER, **options):
  """With respect to the parameters, the online and the compared pair."""

  def loss(params, online, compared, priors, plain):
    return semantic_adjuster(params, online, compared, priors, plain, preset=preset, **options)

  with jax.enable_x64(True):
    return jax.device_get(jax.jit(jax.value_and_grad(loss, (0, 1, 2), has_aux=True))(*inputs()))


@functools.cache
def evaluate(preset):
  with jax.enable_x64(True):
    loss = functools.partial(semantic_adjuster, preset=preset)
    return jax.device_get(jax.jit(loss)(*inputs()))


class PartsTest(chex.TestCase):
  @parameterized.parameters('paper', 'calibrated')
  def test_is_its_parts(self, preset):
    settings = dataclasses.replace(PRESETS[preset], num_neighbors=3)
    params, online, compared, priors, plain = inputs()
    loss, metrics = evaluate(settings)

    @jax.jit
    def parts():
      tau = 0.5 if preset == 'paper' else calibrated_temperature(plain)
      similar = [prior_similarity(priors[a], priors[b], temperature=tau) for a, b in PAIRS]
      if preset == 'calibrated':
        similar[2:] = [jnp.where(jnp.eye(SIZE, dtype=bool), 1, x) for x in similar[2:]]
      sources = (online[0], online[1], compared[1], compared[0])
      matrices = [
        arranging_matrix(params, online[a], z) for (a, _), z in zip(PAIRS, sources, strict=True)
      ]
      scores = anchor_scores(plain, num_neighbors=3)
      arranging, by_block = arranging_loss(online, compared, matrices, scores)
      regularizer, _ = prior_regularizer(matrices, similar)
      others = ~np.eye(SIZE, dtype=bool)
      shares = [
        jnp.mean(jnp.stack([x[others] for x in found]) > 0.5, dtype=float)
        for found in (matrices, similar)
      ]
      return arranging, regularizer, by_block, shares, [jnp.mean(x[others]) for x in matrices]

    with jax.enable_x64(True):
      arranging, regularizer, by_block, shares, means = jax.device_get(parts())
    weight = {'paper': 0.01, 'calibrated': 0.1}[preset]
    np.testing.assert_allclose(loss, arranging + weight * regularizer, rtol=1e-12)
    np.testing.assert_allclose(metrics['arranging'], arranging, rtol=1e-12)
    np.testing.assert_allclose(metrics['regularizer'], regularizer, rtol=1e-12)
    found = [metrics['matrix_above_half'], metrics['prior_above_half']]
    np.testing.assert_allclose(found, shares, rtol=1e-12)
    found = [metrics[f'matrix_{block}'] for block in ('11', '22', '12', '21')]
    np.testing.assert_allclose(found, means, rtol=1e-12)
    for name, value in by_block.items():
      np.testing.assert_allclose(metrics[name], value, rtol=1e-12)

  def test_calibrated_numbers(self):
    """Of 24 images k is 3; the temperature is the plain images', or what the caller keeps."""
    params, *batch = inputs()

    @jax.jit
    def losses(temperature):
      calibrated = functools.partial(semantic_adjuster, params, *batch, preset='calibrated')
      given, _ = calibrated(prior_temperature=temperature)
      scores = anchor_scores(batch[-1], num_neighbors=3)
      return calibrated(), given, jnp.mean(scores), calibrated_temperature(batch[-1])

    with jax.enable_x64(True):
      (loss, metrics), other, score, tau = jax.device_get(losses(0.3))
      _, given, _, _ = jax.device_get(losses(tau))
    np.testing.assert_allclose(metrics['prior_temperature'], tau, rtol=1e-12)
    np.testing.assert_allclose(metrics['score'], score, rtol=1e-12)
    np.testing.assert_allclose(given, loss, rtol=1e-12)
    assert abs(other - loss) > 1e-3


@pytest.mark.slow
class AblationTest(chex.TestCase):
  @classmethod
  def setUpClass(cls):
    super().setUpClass()
    cls.paper = evaluate(PAPER)

  def test_weights(self):
    _, metrics = self.paper
    no_arranging, _ = evaluate(dataclasses.replace(PAPER, arranging_weight=0))
    (no_regularizer, _), (by_params, _, _) = value_and_grad(
      dataclasses.replace(PAPER, regularizer_weight=0)
    )
    np.testing.assert_allclose(no_arranging, 0.01 * metrics['regularizer'], rtol=1e-12)
    np.testing.assert_allclose(no_regularizer, metrics['arranging'], rtol=1e-12)
    assert by_params['output_bias'] > 0  # alone, the arranging loss lowers M

  def test_stopped_matrix(self):
    settings = dataclasses.replace(PAPER, stop_matrix=True)
    stopped = value_and_grad(dataclasses.replace(settings, regularizer_weight=0))
    (loss, _), (by_params, by_online, _) = stopped
    np.testing.assert_allclose(loss, self.paper[1]['arranging'], rtol=1e-12)
    chex.assert_trees_all_equal(by_params, jax.tree.map(jnp.zeros_like, by_params))
    assert np.abs(by_online[0]).max() > 1e-4
    np.testing.assert_allclose(evaluate(settings)[0], self.paper[0], rtol=1e-12)

  def test_matrix_is_the_prior(self):
    settings = dataclasses.replace(PAPER, matrix='prior')
    (_, metrics), (by_params, by_online, _) = value_and_grad(settings)
    np.testing.assert_array_equal(metrics['regularizer'], 0)
    np.testing.assert_array_equal(metrics['matrix_above_half'], metrics['prior_above_half'])
    chex.assert_trees_all_equal(by_params, jax.tree.map(jnp.zeros_like, by_params))
    assert np.abs(by_online[0]).max() > 1e-4

  @parameterized.parameters(('none', 1.0), ('symmetric', None))
  def test_scores(self, mode, mean):
    loss, metrics = evaluate(dataclasses.replace(PAPER, score_mode=mode))
    expected = self.paper[1]['score'] if mean is None else mean
    np.testing.assert_allclose(metrics['score'], expected)
    assert abs(loss - self.paper[0]) > 1e-4

  def test_same_image_target(self):
    settings = dataclasses.replace(PAPER, same_image_target=True)
    _, metrics = evaluate(settings)
    np.testing.assert_allclose(metrics['arranging'], self.paper[1]['arranging'], rtol=1e-12)
    assert abs(metrics['regularizer'] - self.paper[1]['regularizer']) > 1e-3


class GroupsTest(chex.TestCase):
  @pytest.mark.slow
  def test_mean_over_groups_in_blocks_or_not(self):
    params, *batch = inputs()
    apart = []
    for at in range(3):
      part = jax.tree.map(lambda x, at=at: x[8 * at : 8 * at + 8], batch)
      with jax.enable_x64(True):
        apart.append(_paper(params, *part))
    expected = jax.tree.map(lambda *x: np.mean(x), *apart)
    whole = value_and_grad(group_size=8)
    chex.assert_trees_all_close(whole[0], expected, rtol=1e-12)
    blocked = value_and_grad(group_size=8, block_size=3)
    chex.assert_trees_all_close(blocked, whole, rtol=1e-12, atol=1e-13)

  @pytest.mark.slow
  def test_devices_hold_parts_of_groups(self):
    """Of 3 groups of 8, two devices hold one and a half each."""
    params, *batch = inputs()

    def local(params, batch, axis_name=None):
      def loss(params):
        return semantic_adjuster(
          params, *batch, preset='calibrated', group_size=8, axis_name=axis_name
        )

      result, grads = jax.value_and_grad(loss, has_aux=True)(params)
      return result, jax.lax.pmean(grads, axis_name) if axis_name else grads

    with jax.enable_x64(True):
      found = ways.shard_map(local, params, tuple(batch), ways.make_mesh(2))
    result, (by_params, _, _) = value_and_grad('calibrated', group_size=8)
    chex.assert_trees_all_close(found, (result, by_params), rtol=1e-12, atol=1e-13)


class MemoryTest(chex.TestCase):
  @pytest.mark.slow
  def test_blocks_bound_it(self):
    """Blocks hold a few arrays of block * batch * hidden, the whole some of batch² * hidden."""
    dim = 32

    def bytes_of(size, block_size):
      z = jax.ShapeDtypeStruct((size, dim), jnp.float32)
      params = jax.eval_shape(lambda: init_arranging(jax.random.key(0), dim))

      def loss(params, online, priors, plain):
        return semantic_adjuster(params, online, None, priors, plain, block_size=block_size)

      program = jax.jit(jax.value_and_grad(loss, (0, 1), has_aux=True))
      analysis = program.lower(params, (z, z), (z, z), z).compile().memory_analysis()
      return analysis.temp_size_in_bytes

    whole, small, large = bytes_of(256, None), bytes_of(256, 32), bytes_of(512, 32)
    activations = 32 * 256 * dim * 4
    self.assertLess(small, 6 * activations)
    self.assertGreater(whole, 4 * (256 // 32) * activations)  # else blocks would not be needed
    self.assertLess(large, 2.2 * small)


class ErrorTest(chex.TestCase):
  @parameterized.named_parameters(
    ('preset', {'preset': 'best'}, "preset: found 'best', must be one of 'paper', 'calibrated'"),
    ('presets', {'preset': ['paper']}, r"preset: found \['paper'\], must be one of 'paper'"),
    ('neighbors', {'group_size': 8, 'preset': 'paper'}, 'found 20 in a group of 8, .* most 7'),
    ('group', {'group_size': 5}, 'group_size: found 5, must be a divisor of the batch, 24'),
    ('block', {'block_size': 1.5}, 'block_size: found 1.5, must be a whole number >= 1'),
    ('tau', {'prior_temperature': 0}, 'prior_temperature: found 0, must be > 0'),
    ('params', {'params': None}, r'params: found \[\], must be arrays'),
    ('form', {'preset': 'released'}, r'hidden_kernel: found shape \(8, 5\), must be \(4, 5\)'),
    ('priors', {'priors': inputs()[4]}, 'priors: found ndarray, must be a pair'),
    (
      'images',
      {'priors': (np.ones((3, 2)),) * 2, 'plain_prior': np.ones((3, 2))},
      'priors: found 3 images, must be 24',
    ),
    ('plain', {'plain_prior': np.ones((3, 2))}, r'plain_prior: found shape \(3, 2\)'),
  )
  def test_message(self, change, pattern):
    names = ('params', 'online', 'compared', 'priors', 'plain_prior')
    arguments = dict(zip(names, inputs(), strict=True)) | {'preset': PAPER} | change
    with self.assertRaisesRegex(ValueError, pattern):
      jax.eval_shape(functools.partial(semantic_adjuster, **arguments))


@jax.jit
def _paper(params, online, compared, priors, plain):
  return semantic_adjuster(params, online, compared, priors, plain, preset=PAPER)
