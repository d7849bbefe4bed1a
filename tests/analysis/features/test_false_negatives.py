"""The false-negative audit: at the bound, at chance, the definitions, batches, errors."""

import dataclasses
import math
from fractions import Fraction

import chex
import numpy as np
from absl.testing import parameterized

from ssl_jax.analysis import deputy_false_negative_probability, false_negative_audit

COUNTS = (40, 30, 20, 10)
LABELS = np.repeat(np.arange(4), COUNTS)


def class_features(seed=0, spread=0.01, labels=LABELS):
  rng = np.random.default_rng(seed)
  return np.eye(labels.max() + 1)[labels] + spread * rng.normal(
    size=(len(labels), labels.max() + 1)
  )


def assert_within(found, expected, errors, slack=1e-3):
  """Each rank within 4.5 standard errors; what is rarer than `slack` may not have been seen."""
  np.testing.assert_array_less(np.abs(found - expected), 4.5 * errors + slack)


class FalseNegativeAuditTest(chex.TestCase):
  def test_classes_apart_meet_the_exact_bound(self):
    found = false_negative_audit(
      class_features(0), class_features(1), LABELS, batch_size=20, batches=2000
    )
    assert_within(found.same_class, found.exact_bound, found.standard_error)
    self.assertGreater(np.max(found.bound - found.exact_bound), 0.02)  # they are told apart

  def test_classes_apart_meet_the_binomial_bound_on_many_images(self):
    labels = np.repeat(np.arange(4), 30 * np.array(COUNTS))
    features = class_features(0, labels=labels)
    found = false_negative_audit(features, features, labels, batch_size=20, batches=2000)
    assert_within(found.same_class, found.bound, found.standard_error, slack=2e-3)
    self.assertGreater(found.same_class[0], 0.95)
    self.assertLess(found.same_class[-1], found.chance / 10)

  def test_features_without_classes_meet_chance(self):
    features = np.random.default_rng(0).normal(size=(100, 8))
    # Over many labelings: any one of them resembles the features a little.
    audits = []
    for seed in range(40):
      labels = np.random.default_rng(seed).permutation(LABELS)
      audits.append(
        false_negative_audit(
          features, features[:, ::-1], labels, batch_size=20, batches=20, seed=seed
        )
      )
    curves = np.stack([audit.same_class for audit in audits])
    errors = np.std(curves, axis=0, ddof=1) / np.sqrt(len(curves))
    assert_within(np.mean(curves, axis=0), audits[0].chance, errors)

  def test_features_that_know_a_little_lie_between(self):
    features = class_features(0, spread=0.5)
    found = false_negative_audit(features, features, LABELS, batch_size=30, batches=200)
    slack = 4 * found.standard_error
    np.testing.assert_array_less(np.cumsum(found.same_class), np.cumsum(found.exact_bound + slack))
    self.assertGreater(found.same_class[0], found.chance + 0.2)
    self.assertLess(found.same_class[-1], found.chance)

  def test_chance_and_bounds_from_their_definitions(self):
    counts, batch = (7, 4, 1), 5
    labels = np.repeat(np.arange(3), counts)
    found = false_negative_audit(np.eye(12), np.eye(12), labels, batch_size=batch, batches=2)
    self.assertAlmostEqual(found.chance, (7 * 6 + 4 * 3) / (12 * 11), places=14)
    for rank, bound, exact_bound in zip(found.ranks, found.bound, found.exact_bound, strict=True):
      binomial = sum(
        n / 12 * deputy_false_negative_probability(batch - 1, int(rank), Fraction(n, 12))
        for n in counts
      )
      self.assertAlmostEqual(bound, binomial, places=13)
      ways = sum(
        n * math.comb(n - 1, k) * math.comb(12 - n, batch - 1 - k)
        for n in counts
        for k in range(rank, batch)
      )
      self.assertAlmostEqual(exact_bound, ways / 12 / math.comb(11, batch - 1), places=13)
    # Each bound is a number of false negatives, summed: the mean is that of random others.
    self.assertAlmostEqual(np.mean(found.exact_bound), found.chance, places=13)

  def test_one_batch_of_all_images_by_hand(self):
    rng = np.random.default_rng(3)
    anchors, candidates = rng.normal(size=(2, 14, 3))
    labels = rng.integers(0, 3, 14)
    expected = np.zeros(13)
    for i in range(14):
      cosines = candidates @ anchors[i] / np.linalg.norm(candidates, axis=1)
      ranked = [j for j in np.argsort(-cosines) if j != i]
      expected += labels[ranked] == labels[i]
    found = false_negative_audit(anchors, candidates, labels, batch_size=14, batches=3)
    np.testing.assert_allclose(found.same_class, expected / 14, rtol=1e-12)
    np.testing.assert_allclose(found.standard_error, 0, atol=1e-15)
    self.assertAlmostEqual(np.mean(found.same_class), found.chance, places=12)
    scaled = false_negative_audit(9 * anchors, candidates, labels, batch_size=14, batches=3)
    np.testing.assert_array_equal(scaled.same_class, found.same_class)

  def test_equal_candidates_are_ranked_at_random(self):
    ones = np.ones((100, 2))
    found = false_negative_audit(ones, ones, LABELS, batch_size=20, batches=500)
    assert_within(found.same_class, found.chance, found.standard_error)

  def test_seed_and_ranks(self):
    features = class_features(0, spread=0.5)
    audit = lambda **changed: false_negative_audit(
      features, features, LABELS, **({'batch_size': 30, 'batches': 5} | changed)
    )
    found, again = audit(), audit()
    chex.assert_trees_all_equal(dataclasses.asdict(found), dataclasses.asdict(again))
    self.assertTrue(np.any(audit(seed=1).same_class != found.same_class))
    some = audit(ranks=(29, 1, 3))
    np.testing.assert_array_equal(some.ranks, [29, 1, 3])
    for name in ('same_class', 'standard_error', 'bound', 'exact_bound'):
      np.testing.assert_array_equal(getattr(some, name), getattr(found, name)[[28, 0, 2]])

  @parameterized.named_parameters(
    ('nan', {'anchors': np.full((6, 2), np.nan)}, r'^anchors: found NaN .* in 6 of 6 rows'),
    ('candidates', {'candidates': np.full((6, 2), np.inf)}, r'^candidates: found NaN or infinite'),
    (
      'shapes',
      {'candidates': np.ones((6, 3))},
      r'^candidates: found shape \(6, 3\), must be \(6, 2',
    ),
    ('none', {'labels': None}, r'^labels: found None'),
    ('single', {'labels': [1] * 6}, r'^labels: found the single class 1'),
    ('batch', {'batch_size': 7}, r'^batch_size: found 7, must be at most 6, the images'),
    ('small', {'batch_size': 1}, r'^batch_size: found 1, must be a whole number >= 2'),
    ('batches', {'batches': 1}, r'^batches: found 1, must be a whole number >= 2'),
    ('seed', {'seed': -1}, r'^seed: found -1'),
    ('rank', {'ranks': (1, 3)}, r'^ranks: found 3, must be at most 2, the negatives'),
    ('rank_0', {'ranks': (0,)}, r'^ranks: found 0, must be a whole number >= 1'),
    ('no_rank', {'ranks': ()}, r'^ranks: found none'),
  )
  def test_errors(self, changed, message):
    valid = {
      'anchors': np.ones((6, 2)),
      'candidates': np.ones((6, 2)),
      'labels': [0, 0, 0, 1, 1, 1],
      'batch_size': 3,
    }
    with self.assertRaisesRegex(ValueError, message):
      false_negative_audit(**(valid | changed))
