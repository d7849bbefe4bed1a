"""What `import ssl_jax` offers: training and loading a run from Python."""

import subprocess
import sys

import chex
import numpy as np
import pytest

import ssl_jax
from ssl_jax import config
from ssl_jax.tasks.run import frozen_encoder, stored
from tests.tasks import small_runs


@pytest.fixture(scope='module')
def trained(tmp_path_factory):
  """The folder of a run whose images are gone, its test images, and their features before that."""
  folder = tmp_path_factory.mktemp('package')
  images = small_runs.write_images(folder / 'images.npz')
  run_dir = ssl_jax.pretrain(small_runs.arguments(images, folder / 'run'))
  opened = stored.open_run(config.parse(['--task=evaluate', f'--run_dir={run_dir}']))
  test = opened.experiment.dataset.test
  features = frozen_encoder.of_run(opened).features(test, 'encoder')
  images.unlink()
  return run_dir, test.images, features


class PackageTest(chex.TestCase):
  @pytest.fixture(autouse=True)
  def _run(self, trained):
    self.run_dir, self.images, self.features = trained

  def test_pretrain_returns_the_folder_of_a_finished_run(self):
    self.assertTrue((self.run_dir / 'result.json').is_file())

  def test_the_encoder_gives_the_features_that_evaluation_measures(self):
    encoder = ssl_jax.load_encoder(str(self.run_dir))
    features = encoder(self.images)
    self.assertEqual(features.dtype, np.float32)
    self.assertGreater(features.std(), 0)
    np.testing.assert_array_equal(features, self.features)
    np.testing.assert_array_equal(encoder(self.images[3:5]), self.features[3:5])

  def test_other_sizes_are_cut_to_their_central_square_and_resized(self):
    encoder = ssl_jax.load_encoder(self.run_dir)
    wide = np.zeros((len(self.images), 16, 24, 3), np.uint8)
    wide[:, :, 4:20] = self.images.repeat(2, axis=1).repeat(2, axis=2)
    correlation = np.corrcoef(encoder(wide).ravel(), self.features.ravel())[0, 1]
    self.assertGreater(correlation, 0.99)

  def test_refusals_name_what_was_found(self):
    encoder = ssl_jax.load_encoder(self.run_dir)
    with self.assertRaisesRegex(ValueError, 'images: found float32'):
      encoder(self.images.astype(np.float32))
    with self.assertRaisesRegex(ValueError, 'found 0 images'):
      encoder(self.images[:0])
    with self.assertRaisesRegex(ValueError, 'config.flags, must be the folder of a run'):
      ssl_jax.load_encoder(self.run_dir / 'checkpoints')
    with self.assertRaisesRegex(ValueError, '--task: found evaluate, must be pretrain'):
      ssl_jax.pretrain(['--task=evaluate'])
    with self.assertRaisesRegex(ValueError, '--step: unknown flag'):
      ssl_jax.pretrain(['--step=1'])

  def test_the_import_is_light(self):
    code = 'import sys, ssl_jax; sys.exit(sum(name in sys.modules for name in ("jax", "numpy")))'
    done = subprocess.run([sys.executable, '-c', code], cwd=small_runs.ROOT, check=False)
    self.assertEqual(done.returncode, 0)


def test_a_run_without_checkpoint_is_refused(tmp_path):
  (tmp_path / 'config.flags').write_text('--data.source=photographs\n')
  with pytest.raises(ValueError, match='found no checkpoint'):
    ssl_jax.load_encoder(tmp_path)
