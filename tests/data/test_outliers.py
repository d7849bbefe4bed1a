"""Planted outliers: how many, which, and that nothing else changes."""

import chex
import numpy as np
from absl.testing import parameterized

from ssl_jax import data
from ssl_jax.data.outliers import plant_outliers
from tests.data.temporary_folder import TemporaryFolderTest

IMAGES = np.arange(40, dtype=np.uint8)[:, None, None, None] * np.ones((12, 12, 3), np.uint8)
LABELS = np.arange(40, dtype=np.int32) % 4
SOURCE = data.ArraySource(IMAGES, LABELS, tuple(map(str, range(40))))


class OutliersTest(TemporaryFolderTest):
  @parameterized.parameters((0.1, 4), (0.5, 20), (0.99, 40 - 1))
  def test_their_number_and_labels(self, share, count):
    if count == 39:
      with self.assertRaisesRegex(ValueError, 'outlier_share: found 0.99 of 40 images, must be'):
        plant_outliers(SOURCE, share, 0)
      return
    found = plant_outliers(SOURCE, share, 0)
    planted = found.labels == -1
    self.assertEqual(planted.sum(), count)
    np.testing.assert_array_equal(found.labels[~planted], LABELS[~planted])
    np.testing.assert_array_equal(found.images[~planted], IMAGES[~planted])
    self.assertTrue((found.images[planted] != IMAGES[planted]).any((1, 2, 3)).all())
    self.assertEqual(found.names, SOURCE.names)
    # Colors of different outliers are independent.
    means = found.images[planted].mean((1, 2))
    self.assertLen(np.unique(means, axis=0), count)

  def test_a_function_of_the_seed(self):
    chex.assert_trees_all_equal(
      plant_outliers(SOURCE, 0.2, 3).images, plant_outliers(SOURCE, 0.2, 3).images
    )
    other = plant_outliers(SOURCE, 0.2, 4).labels
    self.assertTrue((plant_outliers(SOURCE, 0.2, 3).labels != other).any())

  def test_grids_of_several_sides(self):
    found = plant_outliers(data.ArraySource(IMAGES), 0.9, 0)
    self.assertIsNone(found.labels)
    self.assertIs(plant_outliers(SOURCE, 0.0, 0), SOURCE)
    colors = {len(np.unique(image.reshape(-1, 3), axis=0)) for image in found.images}
    # One image color in those that are left; grids of 2 x 2, 4 x 4 and 8 x 8 otherwise.
    self.assertEqual(colors, {1, 4, 16, 64})

  def test_images_of_another_source(self):
    others = 255 - IMAGES[:7]
    found = plant_outliers(SOURCE, 0.5, 0, others)
    planted = found.labels == -1
    self.assertEqual(planted.sum(), 20)
    self.assertSameElements(found.images[planted][:, 0, 0, 0], others[:, 0, 0, 0])
    red = np.zeros((5, 8, 8, 3), np.uint8)
    red[..., 0] = 255
    np.savez(self.folder / 'red.npz', train_images=red)
    source = f'npz:{self.folder}/red.npz'
    loaded = data.load(
      'digits', image_size=8, outlier_share=0.2, outliers=source, log=lambda line: None
    ).train
    is_red = (loaded.images == red[0]).all((1, 2, 3))
    np.testing.assert_array_equal(is_red, loaded.labels < 0)
    self.assertAlmostEqual(is_red.mean(), 0.2, delta=0.001)

  def test_load_plants_them_in_the_training_images_alone(self):
    plain = data.load('digits', image_size=8, log=lambda line: None)
    found = data.load('digits', image_size=8, outlier_share=0.25, log=lambda line: None)
    self.assertEqual((found.train.labels == -1).mean().round(2), 0.25)
    np.testing.assert_array_equal(found.test.images, plain.test.images)
    np.testing.assert_array_equal(found.test.labels, plain.test.labels)
