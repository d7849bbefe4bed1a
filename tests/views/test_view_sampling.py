"""What is drawn: the probabilities and ranges of the recipes."""

import functools

import chex
import jax
import numpy as np
from absl.testing import parameterized

from ssl_jax import views

COUNT = 20_000


@functools.cache
def draws(name):
  recipe = views.recipe(name, size=32)
  draw = jax.jit(lambda key: views.draw_parameters(recipe, key, COUNT, 32, 32))
  return jax.tree.map(np.asarray, draw(jax.random.key(3)))


class SamplingTest(chex.TestCase):
  def assert_frequency(self, happened, probability):
    # Four standard deviations of a binomial, and exact where the probability is 0 or 1.
    tolerance = 4 * np.sqrt(probability * (1 - probability) / COUNT)
    self.assertAlmostEqual(happened.mean(), probability, delta=tolerance + 1e-12)

  @parameterized.parameters('byol', 'iccl', 'simclr')
  def test_probabilities(self, name):
    parameters = draws(name)
    for v, view in enumerate(views.recipe(name, size=32).views):
      identity = np.arange(3)
      self.assert_frequency(parameters.flip[:, v], view.flip_prob)
      self.assert_frequency(parameters.brightness[:, v] != 1, view.jitter_prob)
      self.assert_frequency(parameters.hue[:, v] != 0, view.jitter_prob)
      self.assert_frequency(parameters.grayscale[:, v], view.grayscale_prob)
      self.assert_frequency(parameters.sigma[:, v] > 0, view.blur_prob)
      self.assert_frequency(parameters.solarize[:, v], view.solarize_prob)
      permuted = (parameters.permutation[:, v] != identity).any(-1)
      # One of the six permutations is the identity.
      self.assert_frequency(permuted, view.permutation_prob * 5 / 6)

  def test_ranges(self):
    parameters = draws('simclr')
    jittered = parameters.hue != 0
    for name in ('brightness', 'contrast', 'saturation'):
      factor = getattr(parameters, name)
      self.assertTrue(((factor > 0.199) & (factor < 1.801)).all())
      # Uniform in [0.2, 1.8]: the standard deviation of a mean of 32,000 is 0.0026.
      self.assertAlmostEqual(factor[jittered].mean(), 1.0, delta=0.0105)
      self.assertAlmostEqual(factor[jittered].std(), 1.6 / np.sqrt(12), delta=0.01)
      self.assertTrue((factor[~jittered] == 1).all())
    self.assertTrue((np.abs(parameters.hue) <= 0.2).all())
    self.assertAlmostEqual(parameters.hue[jittered].std(), 0.4 / np.sqrt(12), delta=0.003)
    sigma = parameters.sigma[parameters.sigma > 0]
    self.assertTrue(((sigma >= 0.1) & (sigma <= 2.0)).all())
    self.assertAlmostEqual(sigma.mean(), 1.05, delta=0.016)

  def test_orders_and_permutations_are_equally_likely(self):
    for values, kinds in ((draws('iccl').order, 24), (draws('iccl').permutation, 6)):
      rows = values.reshape(-1, values.shape[-1])
      if kinds == 6:
        # The identity also stands for "not permuted", so only the other five are compared.
        rows = rows[(rows != np.arange(3)).any(-1)]
        kinds = 5
      _, counts = np.unique(rows, axis=0, return_counts=True)
      self.assertLen(counts, kinds)
      expected = len(rows) / kinds
      self.assertLess(np.sum((counts - expected) ** 2) / expected, 60.0)  # p < 1e-4 for 23

  def test_views_and_operations_are_drawn_independently(self):
    parameters = draws('simclr')
    columns = [
      *parameters.flip.T,
      *parameters.grayscale.T,
      *(parameters.sigma > 0).T,
      *(parameters.hue != 0).T,
      *parameters.boxes[..., 0].T,
    ]
    correlation = np.corrcoef(np.stack(columns).astype(float)) - np.eye(len(columns))
    self.assertLess(np.abs(correlation).max(), 0.035)  # five standard deviations

  def test_an_image_s_draws_do_not_depend_on_the_batch_size(self):
    recipe = views.recipe('iccl', size=32)
    few = jax.jit(lambda key: views.draw_parameters(recipe, key, 5, 32, 32))(jax.random.key(3))
    chex.assert_trees_all_close(
      jax.tree.map(np.asarray, few), jax.tree.map(lambda x: x[:5], draws('iccl')), atol=1e-6
    )
