"""Few-shot episodes: scikit-learn's answers, what decides an episode, errors."""

import chex
import jax.numpy as jnp
import numpy as np
from absl.testing import parameterized
from sklearn.linear_model import LogisticRegression

from ssl_jax.evaluation.probes import few_shot as module
from ssl_jax.evaluation.probes.few_shot import few_shot_episodes


def blobs(spread=1.0, count=200, dim=16, classes=8, seed=0):
  rng = np.random.default_rng(seed)
  labels = rng.permutation(np.arange(count) % classes)
  features = spread * rng.normal(size=(count, dim)) + rng.normal(size=(classes, dim))[labels]
  return features.astype(np.float32), labels


def unit(x):
  return x / np.linalg.norm(x, axis=-1, keepdims=True)


class FewShotEpisodesTest(chex.TestCase):
  @parameterized.parameters((5, 1, 1.0), (3, 5, 1.0), (5, 2, 0.01), (4, 1, 100.0), (3, 10, 1.0))
  def test_equals_scikit_learn(self, ways, shots, l2):
    features, labels = blobs(spread=1.5)
    found = few_shot_episodes(
      features, labels, ways=ways, shots=shots, queries=7, episodes=12, seed=4, l2=l2
    )
    classes = [np.flatnonzero(labels == label) for label in range(8)]
    expected = []
    for episode in range(12):
      drawn = module._draw(classes, ways, shots + 7, 4, episode)
      self.assertLen(np.unique(drawn), ways * (shots + 7))
      self.assertTrue((labels[drawn] == labels[drawn[:, :1]]).all())
      rows = unit(np.float64(features[drawn]))
      support, queries = (part.reshape(-1, 16) for part in (rows[:, :shots], rows[:, shots:]))
      reference = LogisticRegression(C=1 / l2, tol=1e-9, max_iter=5000)
      reference.fit(support, np.repeat(np.arange(ways), shots))
      expected.append(reference.score(queries, np.repeat(np.arange(ways), 7)))
    np.testing.assert_allclose(found.accuracies, expected, atol=1e-6)
    self.assertAlmostEqual(found.mean, np.mean(expected), places=6)
    error = np.std(expected, ddof=1) / np.sqrt(12)
    self.assertAlmostEqual(found.interval95, 1.96 * error, places=6)

  @parameterized.parameters(1e-2, 1.0, 1e4)
  def test_weights_of_scikit_learn(self, l2):
    features, labels = blobs(count=40, classes=4)
    rows = unit(features)
    reference = LogisticRegression(C=1 / l2, tol=1e-10, max_iter=20000).fit(rows, labels)
    found = np.asarray(module._solve(jnp.asarray(rows), jnp.asarray(labels), np.float32(l2), 4))
    scale = np.abs(reference.coef_).max()
    np.testing.assert_allclose(found[:-1] / scale, reference.coef_.T / scale, atol=2e-3)

  def test_an_episode_depends_on_seed_and_index_alone(self):
    features, labels = blobs(spread=2.0)
    few = few_shot_episodes(features, labels, episodes=5)
    before, module._GATHERED = module._GATHERED, 3 * 5 * 16 * 16
    self.addCleanup(setattr, module, '_GATHERED', before)
    many = few_shot_episodes(features, labels, episodes=8)
    np.testing.assert_array_equal(many.accuracies[:5], few.accuracies)
    other = few_shot_episodes(features, labels, episodes=5, seed=1)
    self.assertNotEqual(other.accuracies.tolist(), few.accuracies.tolist())

  def test_length_of_features_does_not_matter(self):
    features, labels = blobs(spread=2.0)
    lengths = np.random.default_rng(0).uniform(0.1, 10, (200, 1))
    found = few_shot_episodes(features, labels, episodes=10)
    scaled = few_shot_episodes(features * lengths, labels, episodes=10)
    np.testing.assert_allclose(found.accuracies, scaled.accuracies, atol=0.02)

  def test_chance_and_certainty(self):
    features, labels = blobs(spread=0.01)
    self.assertEqual(few_shot_episodes(features, labels, episodes=50).mean, 1)
    shuffled = np.random.default_rng(0).permutation(labels)
    chance = few_shot_episodes(features, shuffled, episodes=200)
    self.assertAlmostEqual(chance.mean, 0.2, delta=0.03)
    self.assertTrue(np.isfinite(few_shot_episodes(features * 0, labels, episodes=5).mean))

  def test_small_classes_are_left_out(self):
    features, labels = blobs()
    labels[labels == 7] = np.arange(25) % 2 * 93 + 7
    found = few_shot_episodes(features, labels, episodes=3)
    self.assertEqual((found.classes, found.episodes), (7, 3))
    with self.assertRaisesRegex(ValueError, r'^ways: found 8, must be at most 7, the classes with'):
      few_shot_episodes(features, labels, ways=8)

  @parameterized.parameters(
    ({'ways': 1}, r'^ways: found 1, must be a whole number >= 2'),
    ({'shots': 0}, r'^shots: found 0'),
    ({'queries': 0}, r'^queries: found 0'),
    ({'episodes': 1}, r'^episodes: found 1, must be a whole number >= 2'),
    ({'l2': 0.0}, r'^l2: found 0\.0, must be > 0'),
  )
  def test_errors(self, options, message):
    with self.assertRaisesRegex(ValueError, message):
      few_shot_episodes(*blobs(), **options)
