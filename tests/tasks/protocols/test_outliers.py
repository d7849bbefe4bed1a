"""Anchor scores of images that are known to be outliers."""

import types

import chex
import jax
import numpy as np

from ssl_jax.tasks.protocols.outliers import anchor_scores


def context(features, labels):
  source = types.SimpleNamespace(labels=labels)
  return types.SimpleNamespace(features=lambda split: features, source=lambda split: source, seed=0)


class AnchorScoresTest(chex.TestCase):
  def test_isolated_images_are_found(self):
    # Four clusters of 30 images around axes, and 8 images that each have an axis of their own.
    rng = np.random.default_rng(0)
    centers = np.eye(12)[np.r_[np.repeat(np.arange(4), 30), np.arange(4, 12)]]
    features = (centers + 0.01 * rng.normal(size=(128, 12))).astype(np.float32)
    labels = np.r_[np.repeat(np.arange(4), 30), np.full(8, -1)].astype(np.int32)
    found = anchor_scores(context(features, labels))
    scores = {name: score.value for name, score in found.scores.items()}
    self.assertEqual(found.details, {'images': 128, 'outliers': 8})
    self.assertEqual(scores['mean score, unlabeled'], 0)
    self.assertGreater(scores['mean score, labeled'], 0.9)
    self.assertGreater(scores['AUC of a low score'], 0.98)
    np.testing.assert_allclose(
      scores['mean score'], scores['mean score, labeled'] * 120 / 128, rtol=1e-6
    )
    # With the parts exchanged every pair counts the other way, ties half either way.
    swapped = anchor_scores(context(features, -1 - np.minimum(labels, 0))).scores
    self.assertAlmostEqual(
      swapped['AUC of a low score'].value + scores['AUC of a low score'], 1, places=6
    )

  def test_without_outliers_there_is_nothing_to_tell_apart(self):
    features = np.asarray(jax.random.normal(jax.random.key(0), (40, 5)))
    for labels in (None, np.zeros(40, np.int32), np.full(40, -1, np.int32)):
      names = list(anchor_scores(context(features, labels)).scores)
      self.assertEqual(names, ['mean score', 'share of scores 0'])
    with self.assertRaisesRegex(ValueError, 'training images: found 3, must be at least 4'):
      anchor_scores(context(features[:3], None))
