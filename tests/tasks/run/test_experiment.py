"""What is refused before training, and what is done with partly labeled data."""

import numpy as np
from absl.testing import parameterized

from ssl_jax import config as config_lib
from ssl_jax.config.flags import UsageError
from ssl_jax.tasks.run.experiment import build_experiment
from tests.data.temporary_folder import TemporaryFolderTest


class ExperimentTest(TemporaryFolderTest):
  def build(self, images, labels=None, *flags):
    path = self.folder / 'a.npz'
    arrays = {'train_images': np.zeros((images, 8, 8, 3), np.uint8)}
    np.savez(path, **arrays, **({} if labels is None else {'train_labels': np.asarray(labels)}))
    self.lines = []
    flags = (f'--data.source=npz:{path}', '--data.image_size=8', '--model.name=resnet10', *flags)
    return build_experiment(config_lib.parse([*flags, '--steps=1']), self.lines.append)

  @parameterized.parameters(
    (1, (), 'found npz:.*: 1 training and 0 test images .* at least 2 training images: a batch'),
    (
      2,
      ('--data.test_fraction=0.5', '--data.train_limit=1'),
      'images with each other; images are left out by --data.test_fraction 0.5 and '
      '--data.train_limit 1$',
    ),
  )
  def test_one_training_image(self, images, flags, message):
    with self.assertRaisesRegex(UsageError, f'^--data.source: .*{message}'):
      self.build(images, None, '--data.batch_size=8', *flags)

  def test_the_batch_that_is_said_to_be_allowed_is(self):
    with self.assertRaisesRegex(UsageError, 'found 16, but there are only 8 .* must be at most 8$'):
      self.build(8, None, '--data.batch_size=16', '--data.test_fraction=0')
    self.build(8, None, '--data.batch_size=8', '--data.test_fraction=0')

  def test_unlabeled_images_are_of_no_class(self):
    flags = ('--data.batch_size=8', '--data.test_fraction=0')
    built = self.build(9, [0, -1, 2, 2, -1, 0, -1, -1, 0], *flags)
    self.assertEqual(built.method.class_counts, (3, 0, 2))
    self.assertIn('5 of 9 training images are labeled', self.lines[0])
    self.assertEqual(self.build(9, [-1] * 9, *flags).method.class_counts, ())
