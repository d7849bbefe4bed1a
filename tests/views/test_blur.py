"""The blur against Pillow's and against the Gaussian it stands for."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import parameterized
from PIL import Image, ImageFilter

from ssl_jax import views
from ssl_jax.views import blur

gaussian_blur = jax.jit(views.gaussian_blur, static_argnames='channel_axis')
SIGMAS = np.linspace(0.1, 2.0, 20, dtype=np.float32)


class BlurTest(chex.TestCase):
  def test_equals_pillow_on_white_noise(self):
    images = np.random.default_rng(0).integers(0, 256, (20, 32, 32, 3), dtype=np.uint8)
    expected = [
      np.asarray(Image.fromarray(image).filter(ImageFilter.GaussianBlur(float(sigma))))
      for image, sigma in zip(images, SIGMAS, strict=True)
    ]
    ours = gaussian_blur(images / np.float32(255), SIGMAS)
    difference = np.abs(np.asarray(ours) * 255 - np.stack(expected))
    self.assertLess(difference[:, 6:-6, 6:-6].max(), 4.0)
    self.assertLess(difference.max(), 40.0)
    self.assertLess(difference.mean(axis=(1, 2, 3)).max(), 1.2)

  def test_weights_have_the_variance_and_sum_asked_for(self):
    weights = np.asarray(blur.blur_weights(SIGMAS, 2.0), np.float64)
    chex.assert_shape(weights, (20, 7))
    offset = np.arange(7)
    np.testing.assert_allclose(2 * weights.sum(1) - weights[:, 0], 1.0, atol=1e-6)
    np.testing.assert_allclose(2 * (weights * offset**2).sum(1), SIGMAS**2, atol=1e-5)

  @parameterized.parameters(1.0, 1.5, 2.0, 4.0)
  def test_weights_are_close_to_the_gaussian(self, sigma):
    weights = np.asarray(blur.blur_weights(jnp.array([sigma]), 4.0))[0]
    gaussian = np.exp(-0.5 * (np.arange(len(weights)) / sigma) ** 2)
    gaussian /= 2 * gaussian.sum() - gaussian[0]
    np.testing.assert_allclose(weights, gaussian, atol=0.02)
    # Beyond the kernel lies less than 1 % of the Gaussian.
    self.assertGreaterEqual(len(weights), 2.5 * sigma)

  def test_sigma_zero_is_the_identity(self):
    images = jax.random.uniform(jax.random.key(0), (2, 9, 11, 3))
    ours = gaussian_blur(images, jnp.array([0.0, 1.0]))
    chex.assert_trees_all_equal(ours[0], images[0])
    self.assertGreater(float(jnp.abs(ours[1] - images[1]).max()), 0.1)

  def test_channel_axis_and_symmetry(self):
    images = jax.random.uniform(jax.random.key(0), (2, 9, 11, 3))
    sigma = jnp.array([0.7, 1.9])
    expected = gaussian_blur(images, sigma)
    planar = gaussian_blur(jnp.moveaxis(images, -1, 2), sigma, channel_axis=2)
    chex.assert_trees_all_close(jnp.moveaxis(planar, 2, -1), expected, atol=1e-6)
    flipped = gaussian_blur(images[:, :, ::-1], sigma)
    chex.assert_trees_all_close(flipped[:, :, ::-1], expected, atol=1e-6)
    transposed = gaussian_blur(jnp.swapaxes(images, 1, 2), sigma)
    chex.assert_trees_all_close(jnp.swapaxes(transposed, 1, 2), expected, atol=1e-6)

  def test_constant_image_stays_constant(self):
    images = jnp.full((20, 8, 8, 3), 0.3)
    chex.assert_trees_all_close(gaussian_blur(images, SIGMAS), images, atol=1e-6)
