"""The loss of K negatives: golden value, slow references, and how negatives are drawn."""

import functools
import itertools
import math
from collections import Counter

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from absl.testing import parameterized
from hypothesis import given, settings
from hypothesis import strategies as st

from ssl_jax.losses.contrastive.info_nce import info_nce
from ssl_jax.losses.contrastive.instance import _draw, instance_contrastive
from tests.losses import spec_goldens as goldens
from tests.losses.contrastive import slow_contrastive as slow
from tests.losses.precision import by_precision

BATCH = 5
few_examples = settings(max_examples=10, deadline=None, derandomize=True)
seeds = st.integers(0, 2**31 - 1)

contrastive = jax.jit(
  instance_contrastive, static_argnames=('num_negatives', 'replacement', 'normalize', 'block_size')
)


@functools.partial(jax.jit, static_argnames=('num_negatives', 'replacement'))
def draw(key, images, num_negatives, replacement=False):
  """Positions 2 * image + view of the negatives of images of a batch of `BATCH`."""
  return _draw(key, images, BATCH - 1, num_negatives, replacement)


def drawn_anchors(views, drawn):
  """Negatives are distinct, and weigh as often as they are drawn."""
  candidates = np.stack(views, axis=1).reshape(2 * len(views[0]), -1)
  counts = [Counter(row.tolist()) for row in np.asarray(drawn)]
  anchors = slow.query_anchors(*views, [candidates[list(count)] for count in counts])
  return [
    anchor._replace(weights=list(map(float, count.values())))
    for anchor, count in zip(anchors, counts, strict=True)
  ]


class GoldenTest(chex.TestCase):
  @goldens.every_way
  def test_k_negatives(self, dtype, block_size):
    """Of the first anchor; those of the others are subtracted."""
    cosines = np.array([goldens.POSITIVE_COSINE, *goldens.NEGATIVE_COSINES])
    candidates = np.stack([cosines, np.sqrt(1 - cosines**2)], axis=1)
    anchors = np.zeros((4, 2))
    anchors[0] = 1, 0
    # A zero anchor has the loss log 4.
    for normalize in (True, False):
      loss_of = functools.partial(contrastive, normalize=normalize, block_size=block_size)
      loss, _ = goldens.evaluate(loss_of, dtype, anchors, candidates)
      goldens.assert_golden(loss, (goldens.K_NEGATIVES + 3 * math.log(4)) / 4)

  @by_precision(dtype=(np.float64, np.float32))
  def test_k_negatives_of_one_anchor_alone(self, dtype):
    cosines = np.array([goldens.POSITIVE_COSINE, *goldens.NEGATIVE_COSINES])
    candidates = np.stack([cosines, np.sqrt(1 - cosines**2)], axis=1)
    queue = jax.jit(lambda a, p, n: info_nce(a, p, negatives=n, temperature=0.5))
    anchor = np.array([[1, 0]])
    loss, _ = goldens.evaluate(queue, dtype, anchor, candidates[:1], candidates[1:])
    goldens.assert_golden(loss, goldens.K_NEGATIVES)


class DefinitionTest(chex.TestCase):
  @few_examples
  @given(seeds, st.floats(0.3, 4), st.booleans())
  def test_all_others(self, seed, temperature, normalize):
    views = slow.random_views(seed)
    with jax.enable_x64(True):
      found = contrastive(*views, temperature=temperature, normalize=normalize)
    anchors, positives = slow.unit(views) if normalize else views
    others = [np.delete(positives, i, axis=0) for i in range(BATCH)]
    expected = slow.contrast(slow.query_anchors(anchors, positives, others), temperature)
    slow.assert_same(found, expected)

  @parameterized.parameters((None, True), (3, False))
  def test_drawn(self, block_size, normalize):
    @few_examples
    @given(seeds, st.floats(0.3, 4), st.sampled_from(((3, False), (6, True))))
    def check(seed, temperature, drawing):
      views, key = slow.random_views(seed), jax.random.key(seed)
      num_negatives, replacement = drawing
      with jax.enable_x64(True):
        drawn = draw(key, np.arange(BATCH), num_negatives, replacement)
        found = contrastive(
          *views,
          num_negatives=num_negatives,
          key=key,
          replacement=replacement,
          temperature=temperature,
          normalize=normalize,
          block_size=block_size,
        )
      anchors = drawn_anchors(slow.unit(views) if normalize else views, drawn)
      slow.assert_same(found, slow.contrast(anchors, temperature))

    check()

  @parameterized.parameters(None, 3)
  def test_all_others_drawn_of_equal_views(self, block_size):
    """Where both views of an image are the same it does not matter which of them is drawn."""
    view = slow.random_views(0)[0]
    options = {'num_negatives': BATCH - 1, 'key': jax.random.key(0), 'block_size': block_size}
    with jax.enable_x64(True):
      drawn, whole = contrastive(view, view, **options), contrastive(view, view)
    chex.assert_trees_all_close(drawn, whole, rtol=1e-13)

  def test_gradient_of_what_is_drawn(self):
    """Negatives that no one has drawn have none but of their own positives."""
    views, key = slow.random_views(0), jax.random.key(4)
    drawn = np.asarray(draw(key, np.arange(BATCH), 1))[:, 0]
    loss = lambda positive: contrastive(
      views[0], positive, num_negatives=1, key=key, normalize=False
    )[0]
    with jax.enable_x64(True):
      gradient = jax.grad(loss)(views[1])
      expected = np.zeros_like(views[1])
      for i, candidate in enumerate(drawn):
        negative = views[candidate % 2][candidate // 2]
        gap = views[0][i] @ (negative - views[1][i]) / 0.5
        pull = views[0][i] / (1 + math.exp(-gap)) / 0.5 / BATCH
        expected[i] -= pull
        if candidate % 2:
          expected[candidate // 2] += pull
    np.testing.assert_allclose(gradient, expected, rtol=1e-11, atol=1e-13)


class DrawTest(chex.TestCase):
  @few_examples
  @given(seeds)
  def test_every_other_image_once(self, seed):
    drawn = np.asarray(draw(jax.random.key(seed), np.arange(BATCH), BATCH - 1)) // 2
    for image, row in enumerate(drawn):
      assert row.tolist() == [other for other in range(BATCH) if other != image]

  @few_examples
  @given(seeds, st.permutations(range(BATCH)), st.booleans())
  def test_by_key_and_position_only(self, seed, order, replacement):
    key = jax.random.key(seed)
    drawn = functools.partial(draw, key, num_negatives=6 if replacement else 3)
    whole = np.asarray(drawn(np.arange(BATCH), replacement=replacement))
    in_order = drawn(np.array(order), replacement=replacement)
    np.testing.assert_array_equal(in_order, whole[np.array(order)])
    with jax.enable_x64(True):
      in_float64 = drawn(np.arange(BATCH), replacement=replacement)
    np.testing.assert_array_equal(in_float64, whole)
    some = drawn(np.array(order[:3]), replacement=replacement)
    np.testing.assert_array_equal(some, whole[np.array(order[:3])])

  def test_every_set_is_as_likely(self):
    """The 6 pairs of 4 other images, within 4 standard deviations of a count."""
    num_keys = 4000
    keys = jax.random.split(jax.random.key(1), num_keys)
    drawn = np.asarray(jax.vmap(lambda key: draw(key, jnp.zeros(1, int), 2))(keys))[:, 0] // 2
    counts = Counter(map(tuple, drawn.tolist()))
    assert set(counts) == set(itertools.combinations(range(1, BATCH), 2))
    tolerance = 4 * math.sqrt(num_keys * 1 / 6 * 5 / 6)
    np.testing.assert_allclose(list(counts.values()), num_keys / 6, atol=tolerance)

  @parameterized.parameters(False, True)
  def test_evenly_among_views_of_other_images(self, replacement):
    """Each of 8 candidates, of which one is drawn: 4 standard deviations of a count."""
    num_keys = 4000
    keys = jax.random.split(jax.random.key(0), num_keys)
    drawn = jax.vmap(lambda key: draw(key, jnp.arange(BATCH), 1, replacement))(keys)
    for image in range(BATCH):
      counts = np.bincount(drawn[:, image, 0], minlength=2 * BATCH)
      assert counts[2 * image] == counts[2 * image + 1] == 0
      others = np.delete(counts, [2 * image, 2 * image + 1])
      tolerance = 4 * math.sqrt(num_keys * 1 / 8 * 7 / 8)
      np.testing.assert_allclose(others, num_keys / 8, atol=tolerance)

  def test_replacement_repeats(self):
    drawn = np.asarray(draw(jax.random.key(0), np.arange(BATCH), 40, True))
    assert drawn.shape == (BATCH, 40)
    for image, row in enumerate(drawn):
      assert set(row // 2) == set(range(BATCH)) - {image} and set(row % 2) == {0, 1}

  @pytest.mark.slow
  def test_mean_over_keys(self):
    """Of K = 1: the mean of log(1 + exp((s - s⁺)/τ)) over all candidates of other images."""
    views, num_keys = slow.unit(slow.random_views(0)), 4000
    keys = jax.random.split(jax.random.key(1), num_keys)
    losses = jax.jit(
      jax.vmap(lambda key: instance_contrastive(*views, num_negatives=1, key=key)[0])
    )(keys)
    per_anchor = np.zeros((BATCH, 2 * BATCH - 2))
    for i in range(BATCH):
      others = [view[j] for j, view in itertools.product(range(BATCH), views) if j != i]
      gaps = [views[0][i] @ (other - views[1][i]) / 0.5 for other in others]
      per_anchor[i] = np.log1p(np.exp(gaps))
    deviation = math.sqrt(per_anchor.var(axis=1).sum()) / BATCH
    # Anchors draw independently, so that variances add up.
    np.testing.assert_allclose(np.std(losses), deviation, rtol=0.06)
    tolerance = 4 * deviation / math.sqrt(num_keys)
    np.testing.assert_allclose(np.mean(losses), per_anchor.mean(), rtol=0, atol=tolerance)


class ErrorTest(chex.TestCase):
  @parameterized.named_parameters(
    ('no_key', {'num_negatives': 2}, 'key: found no key, must be given with num_negatives'),
    ('no_number', {'key': 0}, 'key: found a key without num_negatives, must be given with'),
    ('many', {'num_negatives': 3, 'key': 0}, 'num_negatives: found 3, must be at most 2 without'),
    ('none', {'num_negatives': 0, 'key': 0}, 'num_negatives: found 0, must be a whole number >= 1'),
  )
  def test_options(self, options, pattern):
    if 'key' in options:
      options = options | {'key': jax.random.key(options['key'])}
    with self.assertRaisesRegex(ValueError, pattern):
      instance_contrastive(goldens.VIEW1, goldens.VIEW2, **options)
