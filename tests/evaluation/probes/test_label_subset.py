"""Parts of the labels: counts by class, nesting, published lists, held-out rows and errors."""

import pathlib
import tempfile

import chex
import numpy as np
from absl.testing import parameterized

from ssl_jax.evaluation.probes.label_subset import hold_out, read_subset, stratified_subset

LABELS = np.random.default_rng(0).permutation(np.repeat([0, 1, 2, 5], [400, 130, 40, 3]))


class StratifiedSubsetTest(chex.TestCase):
  @parameterized.parameters(
    (0.01, 1, [4, 1, 1, 1]),
    (0.1, 1, [40, 13, 4, 1]),
    (0.01, 5, [5, 5, 5, 3]),
    (1.0, 1, [400, 130, 40, 3]),
  )
  def test_counts(self, fraction, minimum, counts):
    rows = stratified_subset(LABELS, fraction, minimum_per_class=minimum)
    self.assertEqual(rows.dtype, np.int64)
    self.assertTrue((np.diff(rows) > 0).all())
    self.assertEqual(np.unique(LABELS[rows], return_counts=True)[1].tolist(), counts)

  def test_seed_and_nesting(self):
    small, large = (stratified_subset(LABELS, fraction) for fraction in (0.01, 0.1))
    self.assertContainsSubset(small.tolist(), large.tolist())
    np.testing.assert_array_equal(large, stratified_subset(LABELS, 0.1))
    self.assertNotEqual(large.tolist(), stratified_subset(LABELS, 0.1, seed=1).tolist())

  @parameterized.parameters(
    (LABELS, 0.0, r'^fraction: found 0\.0, must be > 0'),
    (LABELS, 1.5, r'^fraction: found 1\.5'),
    (LABELS, float('nan'), r'^fraction: found nan'),
    (LABELS - 1, 0.1, r'^labels: found -1'),
    (LABELS * 1.0, 0.1, r'^labels: found float64'),
    ([], 0.1, r'^labels: found shape \(0,\)'),
  )
  def test_errors(self, labels, fraction, message):
    with self.assertRaisesRegex(ValueError, message):
      stratified_subset(labels, fraction)


class HoldOutTest(chex.TestCase):
  @parameterized.parameters((0.1, [40, 13, 4, 1]), (0.9, [360, 117, 36, 2]))
  def test_divides_every_class(self, fraction, counts):
    fit, held = hold_out(LABELS, fraction)
    np.testing.assert_array_equal(np.sort(np.concatenate([fit, held])), np.arange(len(LABELS)))
    self.assertEqual(np.unique(LABELS[held], return_counts=True)[1].tolist(), counts)

  def test_an_only_image_stays(self):
    fit, held = hold_out([0, 1, 1, 2], 0.5)
    self.assertContainsSubset([0, 3], fit.tolist())
    self.assertLen(held, 1)
    self.assertEmpty(hold_out([0, 1, 2], 0.5)[1])

  @parameterized.parameters(0.0, 1.0)
  def test_errors(self, fraction):
    with self.assertRaisesRegex(ValueError, r'^held_out_fraction: found'):
      hold_out(LABELS, fraction)


class ReadSubsetTest(chex.TestCase):
  def setUp(self):
    super().setUp()
    folder = tempfile.TemporaryDirectory()
    self.addCleanup(folder.cleanup)
    self.path = pathlib.Path(folder.name) / '1percent.txt'

  def read(self, text, names):
    self.path.write_text(text)
    return read_subset(self.path, names).tolist()

  def test_matches_file_names_and_paths(self):
    names = ['cat/n1_1.JPEG', 'cat/n1_2.JPEG', 'dog/n2_1.JPEG', 'dog/n2_9.JPEG']
    self.assertEqual(self.read('n2_1.JPEG\nn1_1.JPEG\n\n', names), [0, 2])
    self.assertEqual(self.read('dog/n2_9.JPEG\r\nother/n1_2.JPEG\r\n', names), [1, 3])

  def test_paths_tell_equal_file_names_apart(self):
    self.assertEqual(self.read('b/1.png', ['a/1.png', 'b/1.png']), [1])

  @parameterized.parameters(
    ('n1\nn7\nn8\n', r'found 2 of 3 names in .*1percent\.txt absent .*\(first: n7\)'),
    ('n1\nx/n1\n', r'found 1 of 2 names .* repeated \(first: x/n1\)'),
    ('same', r'found 1 of 1 names .* of several images \(first: same\)'),
    ('\n \n', r'^path: found no names in '),
  )
  def test_errors(self, text, message):
    with self.assertRaisesRegex(ValueError, message):
      self.read(text, ['n1', 'n2', 'a/same', 'b/same'])
