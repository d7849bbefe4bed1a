"""Linear probe: NumPy and scikit-learn references, the grid, what test labels may not decide."""

import dataclasses
import functools
import importlib

import chex
import numpy as np
import pytest
from absl.testing import parameterized
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression

from ssl_jax.evaluation.probes.linear_probe import linear_probe
from ssl_jax.evaluation.probes.recipes import PRESETS, ProbeRecipe, learning_rate_factors

# The package has a function of this name.
module = importlib.import_module('ssl_jax.evaluation.probes.linear_probe')


def blobs(seed=0, count=120, dim=6, classes=4, spread=1.0):
  rng = np.random.default_rng(seed)
  labels = np.arange(count) % classes
  features = spread * rng.normal(size=(count, dim)) + rng.normal(size=(classes, dim))[labels]
  return features.astype(np.float32), labels


def problem(**options):
  features, labels = blobs(**options)
  return features[:60], labels[:60], features[60:], labels[60:]


SMALL = ProbeRecipe((0.1, 1.0), (0.0, 0.01), epochs=4, batch_size=16, initial_std=0.0)


def reference(train, labels, test, test_labels, recipe, seed, classes=4):
  """The last predictions and all accuracies of one member, in float64 from loops over rows."""
  train, test = np.float64(train), np.float64(test)
  with_ones = lambda x: np.concatenate([x, np.ones((len(x), 1))], axis=1)
  inputs, queries = with_ones(train), with_ones(test)
  ((rate, decay),) = recipe.members
  weights = np.zeros((inputs.shape[1], classes))
  first = second = np.zeros_like(weights)
  size = min(recipe.batch_size, len(train))
  factors = learning_rate_factors(recipe, -(-len(train) // size))
  accuracies, steps = [], 0
  for epoch in range(recipe.epochs):
    order = np.argsort(np.random.PCG64([seed, epoch]).random_raw(len(train)), kind='stable')
    for index, start in enumerate(range(0, len(train), size)):
      gradient = decay * weights
      rows = order[start : start + size]
      for row in rows:
        scores = inputs[row] @ weights
        shares = np.exp(scores - scores.max())
        shares /= shares.sum()
        shares[labels[row]] -= 1
        gradient = gradient + np.outer(inputs[row], shares) / len(rows)
      steps += 1
      if recipe.optimizer == 'adam':
        first = 0.9 * first + 0.1 * gradient
        second = 0.999 * second + 0.001 * gradient**2
        direction = first / (1 - 0.9**steps)
        direction = direction / (np.sqrt(second / (1 - 0.999**steps)) + 1e-8)
      else:
        first = recipe.momentum * first + gradient
        direction = gradient + recipe.momentum * first if recipe.nesterov else first
      weights = weights - rate * factors[epoch, index] * direction
    accuracies.append(np.mean((queries @ weights).argmax(1) == test_labels))
  return weights, (queries @ weights).argmax(1), accuracies


class LinearProbeTest(chex.TestCase):
  @parameterized.parameters(
    {'optimizer': 'sgd'},
    {'optimizer': 'sgd', 'nesterov': True, 'schedule': 'step', 'decay_epochs': (2,)},
    {'optimizer': 'sgd', 'momentum': 0.0, 'warmup_epochs': 2},
    {'optimizer': 'adam', 'schedule': 'exponential', 'final_ratio': 1e-2},
  )
  def test_equals_numpy_reference(self, **change):
    # 60 rows in batches of 16: the last batch of an epoch is smaller.
    data = problem(spread=2.0)
    recipe = dataclasses.replace(SMALL, learning_rates=(0.2,), weight_decays=(0.01,), **change)
    weights, predictions, accuracies = reference(*data, recipe, seed=3)
    found = linear_probe(*data, recipe=recipe, seed=3)
    np.testing.assert_array_equal(found.predictions, predictions)
    np.testing.assert_allclose(found.per_epoch, accuracies)
    self.assertEqual(found.accuracy, found.per_epoch[-1])
    self.assertEqual(found.best_accuracy, found.per_epoch.max())
    self.assertIsNone(found.held_out_accuracy)

    train, labels, _, _ = data
    everything = np.arange(len(train))
    probe = module._Probe(train[:, None], labels, everything, recipe, recipe.members, 4, 3)
    *_, parameters = probe.epochs()
    np.testing.assert_allclose(parameters[0], weights, rtol=2e-4, atol=2e-5)

  def test_members_equal_the_same_trained_alone(self):
    train, labels, _, _ = problem()
    rows = np.arange(len(train))
    *_, together = module._Probe(train[:, None], labels, rows, SMALL, SMALL.members, 4, 0).epochs()
    for index, member in enumerate(SMALL.members):
      *_, alone = module._Probe(train[:, None], labels, rows, SMALL, (member,), 4, 0).epochs()
      np.testing.assert_allclose(together[index], alone[0], rtol=1e-5, atol=1e-6)

  def test_chooses_on_held_out_rows_of_training_alone(self):
    train, labels, test, test_labels = problem(spread=2.0)
    found = linear_probe(train, labels, test, test_labels, recipe=SMALL)
    other = linear_probe(train, labels, test[::-1], (test_labels + 1) % 4, recipe=SMALL)
    for name in ('learning_rate', 'weight_decay', 'held_out_accuracy'):
      self.assertEqual(getattr(found, name), getattr(other, name))
    np.testing.assert_array_equal(found.member_accuracies, other.member_accuracies)
    np.testing.assert_array_equal(found.predictions, other.predictions[::-1])
    self.assertEqual(found.held_out_accuracy, found.member_accuracies.max())
    chosen = found.members.index((found.learning_rate, found.weight_decay))
    self.assertEqual(found.member_accuracies[chosen], found.held_out_accuracy)
    alone = dataclasses.replace(
      SMALL, learning_rates=(found.learning_rate,), weight_decays=(found.weight_decay,)
    )
    again = linear_probe(train, labels, test, test_labels, recipe=alone)
    np.testing.assert_array_equal(again.per_epoch, found.per_epoch)

  def test_names_of_classes_do_not_matter(self):
    train, labels, test, test_labels = problem(spread=2.0)
    names = np.array([2, 0, 3, 1])
    recipe = dataclasses.replace(SMALL, learning_rates=(0.1,), weight_decays=(0.0,))
    found = linear_probe(train, labels, test, test_labels, recipe=recipe)
    renamed = linear_probe(train, names[labels], test, names[test_labels], recipe=recipe)
    np.testing.assert_array_equal(renamed.predictions, names[found.predictions])
    np.testing.assert_allclose(renamed.per_epoch, found.per_epoch)

  def test_epochs_go_round_the_views(self):
    train, labels, test, test_labels = problem(spread=2.0)
    recipe = dataclasses.replace(SMALL, learning_rates=(0.1,), weight_decays=(0.0,))
    probe = functools.partial(linear_probe, recipe=recipe)
    same = probe(np.stack([train] * 3, axis=1), labels, test, test_labels)
    np.testing.assert_array_equal(
      same.predictions, probe(train, labels, test, test_labels).predictions
    )
    # Of two epochs over [a, b], the first sees a alone.
    useless = np.zeros_like(train)
    mixed = probe(np.stack([train, useless], axis=1), labels, test, test_labels)
    plain = probe(train, labels, test, test_labels)
    self.assertEqual(mixed.per_epoch[0], plain.per_epoch[0])
    blind = probe(np.stack([useless, train], axis=1), labels, test, test_labels)
    self.assertLess(blind.per_epoch[0], 0.3)
    self.assertGreater(blind.per_epoch[1], 0.4)

  @parameterized.parameters('unit', 'standard')
  def test_scaling_is_of_the_training_rows(self, scaling):
    train, labels, test, test_labels = problem()
    recipe = dataclasses.replace(SMALL, learning_rates=(0.1,), scaling=scaling)
    found = linear_probe(train, labels, test, test_labels, recipe=recipe)
    raw = dataclasses.replace(recipe, scaling='raw')
    if scaling == 'unit':
      scale = lambda x: x / np.linalg.norm(x, axis=1, keepdims=True)
      moved = [train * 7, labels, test * 0.1, test_labels]
    else:
      scale = lambda x: (x - train.mean(0)) / train.std(0)
      shift = np.arange(6, dtype=np.float32)
      moved = [train * 9 + shift, labels, test * 9 + shift, test_labels]
      # A column of one value stays out of it.
      moved[::2] = [np.append(x, np.full((60, 1), 0.1, np.float32), axis=1) for x in moved[::2]]
    by_hand = linear_probe(scale(train), labels, scale(test), test_labels, recipe=raw)
    np.testing.assert_array_equal(
      found.predictions, linear_probe(*moved, recipe=recipe).predictions
    )
    if scaling == 'unit':
      np.testing.assert_array_equal(found.predictions, by_hand.predictions)
    else:  # standardized on the rows it trains on: without those held out while choosing
      self.assertGreater(np.mean(found.predictions == by_hand.predictions), 0.95)

  @parameterized.parameters(0, 1)
  @pytest.mark.slow
  def test_digits_as_scikit_learn(self, seed):
    images, labels = load_digits(return_X_y=True)
    order = np.random.default_rng(seed).permutation(len(images))
    images, labels = images[order], labels[order]
    train, test = images[:1200], images[1200:]
    mean, deviation = train.mean(0), np.where(train.std(0) > 0, train.std(0), 1)
    reference = LogisticRegression(tol=1e-7, max_iter=1000).fit(
      (train - mean) / deviation, labels[:1200]
    )
    expected = reference.score((test - mean) / deviation, labels[1200:])
    # The mean over rows of the loss that scikit-learn sums: its penalty of 1, a row.
    recipe = dataclasses.replace(
      PRESETS['grid'], epochs=400, learning_rates=(0.3,), weight_decays=(1 / 1200,)
    )
    found = linear_probe(train, labels[:1200], test, labels[1200:], recipe=recipe)
    self.assertAlmostEqual(found.accuracy, expected, delta=0.003)
    self.assertGreater(found.top5, 0.98)
    self.assertEqual(found.accuracy, np.mean(found.predictions == labels[1200:]))

  @parameterized.parameters('dsa', 'negatives', 'truncated_triplet', 'long_tail')
  def test_recipes_of_papers_learn(self, name):
    train, labels, test, test_labels = problem(spread=0.3)
    recipe = PRESETS[name].shortened(30)
    self.assertGreater(linear_probe(train, labels, test, test_labels, recipe=recipe).accuracy, 0.9)

  def test_divergence_never_wins(self):
    train, labels, test, test_labels = problem()
    train, test = train * 1e18, test * 1e18
    recipe = dataclasses.replace(SMALL, learning_rates=(1e30, 1e-36), weight_decays=(0.0,))
    found = linear_probe(train, labels, test, test_labels, recipe=recipe)
    self.assertEqual(found.learning_rate, 1e-36)
    self.assertEqual(found.diverged, ((1e30, 0.0),))
    self.assertEqual(np.isnan(found.member_accuracies).tolist(), [True, False])
    for rates in ((1e30,), (1e30, 2e30)):
      with self.assertRaisesRegex(ValueError, r'^recipe: found learning rates .* all of which div'):
        linear_probe(
          train, labels, test, test_labels,
          recipe=dataclasses.replace(recipe, learning_rates=rates),
        )  # fmt: skip

  def test_single_rows_of_each_class_take_the_middle(self):
    train, labels, test, test_labels = problem(spread=0.1)
    recipe = dataclasses.replace(SMALL, learning_rates=(0.01, 0.2, 1.0))
    found = linear_probe(train[:4], labels[:4], test, test_labels, recipe=recipe)
    self.assertEqual((found.learning_rate, found.weight_decay), (0.2, 0.0))
    self.assertIsNone(found.held_out_accuracy)
    self.assertTrue(np.isnan(found.member_accuracies).all())

  def test_top5_and_unknown_classes(self):
    train, labels, test, test_labels = problem(spread=0.3)
    recipe = PRESETS['iccl'].shortened(20)
    found = linear_probe(train, labels, test, test_labels + 10, recipe=recipe, num_classes=8)
    self.assertEqual((found.accuracy, found.top5), (0, 0))
    self.assertEqual(
      linear_probe(train, labels, test, test_labels, recipe=recipe, num_classes=8).top5, 1
    )
    self.assertIsNone(linear_probe(train, labels, test, test_labels, recipe=recipe).top5)

  def test_measured_in_chunks(self):
    train, labels, test, test_labels = problem(spread=2.0)
    expected = linear_probe(train, labels, test, test_labels, recipe=SMALL)
    before, module._SCORES = module._SCORES, 7 * 4
    self.addCleanup(setattr, module, '_SCORES', before)
    found = linear_probe(train, labels, test, test_labels, recipe=SMALL)
    np.testing.assert_array_equal(found.predictions, expected.predictions)
    np.testing.assert_array_equal(found.per_epoch, expected.per_epoch)

  @parameterized.named_parameters(
    ('shape', {0: np.zeros(3)}, {}, r'^train: found shape \(3,\), must be \[n, dim\] or'),
    ('nan', {0: np.full((60, 6), np.nan)}, {}, r'^train: found NaN'),
    ('width', {2: np.zeros((60, 5))}, {}, r'^test: found 5 features a row, must be 6'),
    ('labels', {1: None}, {}, r'^train_labels: found None'),
    ('test_labels', {3: np.zeros(3, int)}, {}, r'^test_labels: found int64 of shape \(3,\)'),
    ('classes', {}, {'num_classes': 2}, r'^num_classes: found 2, must be at least 4'),
    ('fraction', {}, {'held_out_fraction': 1.0}, r'^held_out_fraction: found 1\.0'),
  )
  def test_errors(self, arguments, options, message):
    data = list(problem())
    for index, value in arguments.items():
      data[index] = value
    with self.assertRaisesRegex(ValueError, message):
      linear_probe(*data, recipe=SMALL, **options)
