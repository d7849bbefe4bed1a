"""Fine-tuning of tiny encoders: a NumPy reference, the grid, statistics, views and errors."""

import dataclasses

import chex
import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import parameterized

from ssl_jax.evaluation.probes import fine_tuning as module
from ssl_jax.evaluation.probes.fine_tuning import FineTuneRecipe, fine_tune


def problem(count=60, classes=3, seed=0):
  rng = np.random.default_rng(seed)
  labels = np.arange(count) % classes
  patterns = rng.integers(0, 256, (classes, 4, 4, 3))
  images = np.clip(patterns[labels] + rng.normal(0, 60, (count, 4, 4, 3)), 0, 255)
  half = count // 2
  images = images.astype(np.uint8)
  return images[:half], labels[:half], images[half:], labels[half:]


def plain(images):
  return images.astype(jnp.float32) / 127.5 - 1


def linear(params, batch_stats, images, train):
  """One layer, and statistics that count the training batches."""
  features = images.reshape(len(images), -1) @ params['kernel']
  return features, {'batches': batch_stats['batches'] + train}


def convolutional(params, batch_stats, images, train):
  features = jax.lax.conv_general_dilated(
    images, params['kernel'], (1, 1), 'SAME', dimension_numbers=('NHWC', 'HWIO', 'NHWC')
  )
  mean = jnp.mean(features, axis=(0, 1, 2)) if train else batch_stats['mean']
  new_mean = 0.9 * batch_stats['mean'] + 0.1 * mean if train else batch_stats['mean']
  return jnp.mean(jax.nn.relu(features - mean), axis=(1, 2)), {'mean': new_mean}


def linear_variables():
  kernel = np.random.default_rng(1).normal(0, 0.1, (48, 8)).astype(np.float32)
  return {'params': {'kernel': kernel}, 'batch_stats': {'batches': np.int32(0)}}


ONE = FineTuneRecipe(learning_rates=(0.02,), head_multipliers=(10.0,), epochs=5, batch_size=8)


class FineTuneTest(chex.TestCase):
  def test_recipe_is_the_protocol(self):
    recipe = FineTuneRecipe()
    self.assertLen(recipe.members, 9)
    self.assertEqual(recipe.members[5], (0.01, 100.0))
    factors = [recipe.learning_rate_factor(epoch) for epoch in range(20)]
    np.testing.assert_allclose(factors, [1.0] * 12 + [0.2] * 4 + [0.04] * 4)

  def test_equals_numpy_reference(self):
    train, labels, test, test_labels = problem()
    variables = linear_variables()
    tuner = module._Tuner(linear, variables, ONE, plain, None, 3, 2)
    params, _, _ = tuner._initial(train[:1])
    kernel, head = np.float64(variables['params']['kernel']), np.float64(params['head']['weights'])
    weights = [kernel, head, np.zeros(3)]
    moments = [np.zeros_like(part) for part in weights]
    inputs = train.reshape(30, -1) / 127.5 - 1
    for epoch in range(5):
      order = np.argsort(np.random.PCG64([2, epoch]).random_raw(30), kind='stable')
      rate = 0.02 * (1, 1, 1, 0.2, 0.04)[epoch]
      for batch in np.concatenate([order, order[:2]]).reshape(4, 8):
        features = inputs[batch] @ weights[0]
        shares = np.exp(features @ weights[1] + weights[2])
        error = (shares / shares.sum(1, keepdims=True) - np.eye(3)[labels[batch]]) / 8
        back = inputs[batch].T @ (error @ weights[1].T)
        for index, gradient in enumerate((back, features.T @ error, error.sum(0))):
          moments[index] = 0.9 * moments[index] + gradient + 5e-4 * weights[index]
        weights = [
          part - rate * scale * moment
          for part, moment, scale in zip(weights, moments, (1, 10, 10), strict=True)
        ]
    params, batch_stats, _ = tuner.train((0.02, 10.0), train, labels, np.arange(30))
    np.testing.assert_allclose(params['encoder']['kernel'], weights[0], rtol=1e-3, atol=1e-5)
    np.testing.assert_allclose(params['head']['weights'], weights[1], rtol=1e-3, atol=1e-5)
    self.assertEqual(batch_stats['batches'], 20)

    found = fine_tune(
      linear, variables, train, labels, test, test_labels, recipe=ONE, unaugmented=plain, seed=2
    )
    scores = (test.reshape(30, -1) / 127.5 - 1) @ weights[0] @ weights[1] + weights[2]
    np.testing.assert_array_equal(found.predictions, scores.argmax(1))
    self.assertEqual(found.accuracy, np.mean(scores.argmax(1) == test_labels))
    self.assertIsNone(found.held_out_accuracy)

  def test_convolutions_and_statistics(self):
    train, labels, test, test_labels = problem()
    kernel = np.random.default_rng(0).normal(0, 0.3, (3, 3, 3, 8)).astype(np.float32)
    variables = {'params': {'kernel': kernel}, 'batch_stats': {'mean': np.zeros(8, np.float32)}}
    recipe = dataclasses.replace(ONE, epochs=20)
    found = fine_tune(
      convolutional, variables, train, labels, test, test_labels, recipe=recipe, unaugmented=plain
    )
    self.assertGreater(found.accuracy, 0.8)
    np.testing.assert_array_equal(variables['batch_stats']['mean'], np.zeros(8))

  def test_former_keyword(self):
    train, labels, test, test_labels = problem()
    arguments = linear, linear_variables(), train[:0], labels, test, test_labels
    with (
      self.assertWarnsRegex(DeprecationWarning, 'fine_tune: plain is now unaugmented'),
      self.assertRaisesRegex(ValueError, 'train_images: found 0 images'),
    ):
      fine_tune(*arguments, recipe=ONE, plain=plain)
    with self.assertRaisesRegex(TypeError, 'found plain and unaugmented'):
      fine_tune(*arguments, recipe=ONE, plain=plain, unaugmented=plain)

  def test_chooses_on_held_out_images(self):
    train, labels, test, test_labels = problem()
    recipe = dataclasses.replace(ONE, learning_rates=(1e-6, 0.02, 1e30), head_multipliers=(1.0, 10))
    arguments = linear, linear_variables(), train, labels, test
    found = fine_tune(*arguments, test_labels, recipe=recipe, unaugmented=plain)
    other = fine_tune(*arguments, (test_labels + 1) % 3, recipe=recipe, unaugmented=plain)
    self.assertEqual(found.learning_rate, 0.02)
    self.assertEqual(found.held_out_accuracy, np.nanmax(found.member_accuracies))
    self.assertEqual(found.diverged, ((1e30, 1.0), (1e30, 10)))
    np.testing.assert_array_equal(np.isnan(found.member_accuracies), [0, 0, 0, 0, 1, 1])
    np.testing.assert_array_equal(found.predictions, other.predictions)
    np.testing.assert_array_equal(found.member_accuracies, other.member_accuracies)
    self.assertGreater(found.accuracy, 0.8)

  def test_an_only_image_of_a_class_takes_the_middle(self):
    train, labels, test, test_labels = problem()
    found = fine_tune(
      linear, linear_variables(), train[:4], labels[:4], test, test_labels,
      recipe=dataclasses.replace(FineTuneRecipe(), epochs=1), unaugmented=plain,
    )  # fmt: skip
    self.assertEqual((found.learning_rate, found.head_multiplier), (0.01, 10.0))
    self.assertIsNone(found.held_out_accuracy)

  def test_views_are_of_training_alone_and_differ_by_step(self):
    train, labels, test, test_labels = problem()
    seen = []

    def augment(key, images):
      jax.debug.callback(lambda number: seen.append(float(number)), jax.random.uniform(key))
      return plain(images) * 0

    found = fine_tune(
      linear, linear_variables(), train, labels, test, test_labels,
      recipe=ONE, unaugmented=plain, augment=augment,
    )  # fmt: skip
    jax.effects_barrier()
    self.assertLen(set(seen), 20)
    blank = linear_variables()
    tuner = module._Tuner(linear, blank, ONE, plain, augment, 3, 0)
    params, _, _ = tuner.train((0.02, 10.0), train, labels, np.arange(30))
    self.assertLess(
      np.abs(params['encoder']['kernel']).max(), np.abs(blank['params']['kernel']).max()
    )
    self.assertLen(found.predictions, 30)

  def test_one_compiled_step(self):
    train, labels, test, test_labels = problem()
    traced = []

    def counted(params, batch_stats, images, train):
      if train:
        traced.append(images.shape)
      return linear(params, batch_stats, images, train)

    recipe = dataclasses.replace(ONE, learning_rates=(0.01, 0.02), epochs=3)
    fine_tune(
      counted,
      linear_variables(),
      train,
      labels,
      test,
      test_labels,
      recipe=recipe,
      unaugmented=plain,
    )
    self.assertLen(traced, 1)

  @parameterized.parameters(
    ({'learning_rates': ()}, r'^learning_rates: found \(\)'),
    ({'head_multipliers': (0.0,)}, r'^head_multipliers: found 0\.0'),
    ({'momentum': 1.0}, r'^momentum: found 1\.0, must be >= 0'),
    ({'weight_decay': -1.0}, r'^weight_decay: found -1\.0'),
    ({'decay_points': (1.5,)}, r'^decay_points: found 1\.5'),
    ({'epochs': 0}, r'^epochs: found 0'),
  )
  def test_recipe_errors(self, change, message):
    with self.assertRaisesRegex(ValueError, message):
      FineTuneRecipe(**change)

  def test_errors(self):
    train, labels, test, test_labels = problem()
    run = lambda *data, **options: fine_tune(
      linear, linear_variables(), *data, **({'recipe': ONE, 'unaugmented': plain} | options)
    )
    for data, options, message in (
      ((train, labels[:3], test, test_labels), {}, r'^train_labels: found'),
      ((train, labels, test, None), {}, r'^test_labels: found None'),
      ((train[:0], labels[:0], test, test_labels), {}, r'^train_images: found 0 images'),
      ((train, labels, test, test_labels), {'num_classes': 2}, r'^num_classes: found 2'),
      ((train, labels, test, test_labels), {'held_out_fraction': 0.0}, r'^held_out_fraction'),
      (
        (train, labels, test, test_labels),
        {'recipe': dataclasses.replace(ONE, learning_rates=(1e30,))},
        r'^recipe: found learning rates \(1e\+30,\) of which all diverge',
      ),
    ):
      with self.assertRaisesRegex(ValueError, message):
        run(*data, **options)
