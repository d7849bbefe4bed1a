"""NT-Xent and one-way InfoNCE against golden values, slow references, and their properties."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import parameterized
from hypothesis import given, settings
from hypothesis import strategies as st

from ssl_jax.losses.contrastive.info_nce import info_nce, nt_xent
from ssl_jax.losses.contrastive.terms import pair_terms
from tests.losses import spec_goldens as goldens
from tests.losses.contrastive import slow_contrastive as slow
from tests.losses.precision import by_precision
from tests.losses.spec_goldens import VIEW1, VIEW2

few_examples = settings(max_examples=10, deadline=None, derandomize=True)
seeds = st.integers(0, 2**32 - 1)
temperatures = st.floats(0.05, 4)


@functools.partial(jax.jit, static_argnames='block_size')
def nt_xent_and_gradient(view1, view2, temperature, block_size=None):
  value = lambda view1: nt_xent(view1, view2, temperature=temperature, block_size=block_size)
  return jax.value_and_grad(value, has_aux=True)(view1)


@functools.partial(jax.jit, static_argnames='block_size')
def one_way(query, key, temperature, block_size=None):
  return info_nce(query, key, temperature=temperature, block_size=block_size)


@jax.jit
def queued(query, key, negatives, temperature):
  return info_nce(query, key, negatives=negatives, temperature=temperature)


class GoldenTest(chex.TestCase):
  @goldens.every_way
  def test_nt_xent(self, dtype, block_size):
    evaluate = functools.partial(goldens.evaluate, nt_xent_and_gradient, block_size=block_size)
    for temperature, expected in goldens.NT_XENT.items():
      (loss, metrics), _ = evaluate(dtype, VIEW1, VIEW2, temperature)
      goldens.assert_golden(loss, expected)
      goldens.assert_golden(metrics['attract'] + metrics['repel'], expected)
    _, gradient = evaluate(dtype, VIEW1, VIEW2, 0.5)
    goldens.assert_golden(gradient, goldens.BALANCED_GRADIENTS[1, 1, 1])
    for view, values in ((np.eye(3), goldens.ORTHONORMAL), (np.ones((3, 3)), goldens.COLLAPSED)):
      (loss, metrics), _ = evaluate(dtype, view, view, 0.5)
      goldens.assert_golden(loss, values[1, 1, 1])
      goldens.assert_golden(metrics['effective_negatives'], 4)
      softmax_weight = goldens.POSITIVE_WEIGHT if values is goldens.ORTHONORMAL else 1 / 5
      goldens.assert_golden(np.exp(-loss), softmax_weight)
      # An equal is not nearer.
      assert metrics['contrast_accuracy'] == (values is goldens.ORTHONORMAL)
    (loss, _), _ = evaluate(dtype, goldens.FLAT1, goldens.FLAT2, 0.5)
    goldens.assert_digits(loss, goldens.FLAT_NT_XENT)

  @by_precision(dtype=(np.float64, np.float32))
  def test_each_anchor(self, dtype):
    def losses(view1, view2):
      terms = pair_terms(view1, view2, temperature=0.5)
      return jnp.logaddexp(terms.sums.log_sums[0], terms.positives) - terms.positives

    found = goldens.evaluate(jax.jit(losses), dtype, VIEW1, VIEW2)
    goldens.assert_golden(found, goldens.NT_XENT_ANCHORS)

  @goldens.every_way
  def test_info_nce(self, dtype, block_size):
    evaluate = functools.partial(goldens.evaluate, one_way, block_size=block_size)
    forth, _ = evaluate(dtype, VIEW1, VIEW2, 0.5)
    back, _ = evaluate(dtype, VIEW2, VIEW1, 0.5)
    goldens.assert_golden(forth, goldens.INFO_NCE)
    goldens.assert_golden((forth + back) / 2, goldens.INFO_NCE_SYMMETRIC)


class DefinitionTest(chex.TestCase):
  @few_examples
  @given(seeds, temperatures)
  def test_nt_xent(self, seed, temperature):
    views = slow.random_views(seed)
    with jax.enable_x64(True):
      found, _ = nt_xent_and_gradient(*views, temperature)
    slow.assert_same(found, slow.contrast(slow.pair_anchors(*views), temperature))

  @few_examples
  @given(seeds, temperatures)
  def test_info_nce(self, seed, temperature):
    views = slow.random_views(seed)
    with jax.enable_x64(True):
      found = one_way(*views, temperature)
    queries, keys = slow.unit(views)
    others = [np.delete(keys, i, axis=0) for i in range(len(keys))]
    anchors = slow.query_anchors(queries, keys, others)
    slow.assert_same(found, slow.contrast(anchors, temperature))

  @few_examples
  @given(seeds, temperatures)
  def test_queue(self, seed, temperature):
    views, negatives = slow.random_views(seed), slow.random_views(seed + 1)[0][:3]
    with jax.enable_x64(True):
      found = queued(*views, negatives, temperature)
    queries, keys = slow.unit(views)
    anchors = slow.query_anchors(queries, keys, [slow.unit(negatives)] * len(keys))
    slow.assert_same(found, slow.contrast(anchors, temperature))

  @parameterized.parameters(0.2, 1.0)
  def test_one_query_feels_its_key_and_negatives_by_their_softmax(self, temperature):
    """Each candidate at an angle of its own to the query, in which the derivative is taken."""
    angles = jnp.array([0.3, 1.1, 2.0, 2.9])
    at = lambda angle: jnp.stack([jnp.cos(angle), jnp.sin(angle)], axis=-1)
    query = jnp.array([[1.0, 0]])

    def loss(angles):
      return queued(query, at(angles[:1]), at(angles[1:]), temperature)[0]

    slopes = jax.grad(loss)(angles) / -jnp.sin(angles)  # with respect to the cosines
    softmax = np.exp(np.cos(angles) / temperature)
    softmax /= softmax.sum()
    expected = (softmax - np.eye(4)[0]) / temperature
    assert (slopes[1:] > 0).all() and slopes[0] < 0
    np.testing.assert_allclose(slopes, expected, rtol=1e-5)


class PropertyTest(chex.TestCase):
  def setUp(self):
    super().setUp()
    self.view1, self.view2 = slow.random_views(0)

  def test_views_may_swap(self):
    with jax.enable_x64(True):
      (loss, metrics), _ = nt_xent_and_gradient(self.view1, self.view2, 0.2)
      swapped, _ = nt_xent_and_gradient(self.view2, self.view1, 0.2)
    chex.assert_trees_all_close(swapped, (loss, metrics), rtol=1e-13)

  @parameterized.parameters(None, 2)
  def test_groups_are_slices(self, block_size):
    views = slow.random_views(0, batch=6)
    with jax.enable_x64(True):
      found = jax.jit(functools.partial(nt_xent, group_size=3, block_size=block_size))(*views)
      slices = [nt_xent_and_gradient(*views[:, at : at + 3, :], 0.5)[0] for at in (0, 3)]
    mean = jax.tree.map(lambda *x: np.mean(x), *slices)
    chex.assert_trees_all_close(found, mean, rtol=1e-13)

  def test_a_queue_of_the_other_keys(self):
    """One query at a time: other keys as a queue are what they are in the batch."""
    with jax.enable_x64(True):
      expected, _ = one_way(self.view1, self.view2, 0.5)
      losses = [
        queued(self.view1[i : i + 1], self.view2[i : i + 1], np.delete(self.view2, i, 0), 0.5)[0]
        for i in range(len(self.view1))
      ]
    np.testing.assert_allclose(np.mean(losses), expected, rtol=1e-13)

  def test_keys_and_negatives_carry_gradients(self):
    loss = lambda key, negatives: queued(self.view1, key, negatives, 0.5)[0]
    for gradient in jax.grad(loss, (0, 1))(np.float32(self.view2), np.float32(self.view1[:3])):
      assert np.abs(gradient).max() > 1e-3

  def test_identical_negatives_at_a_low_temperature_stay_finite(self):
    view = jnp.ones((4, 3), jnp.bfloat16).at[0].set(0)
    (loss, _), gradient = nt_xent_and_gradient(view, view, 0.01)
    assert loss.dtype == jnp.float32 and gradient.dtype == jnp.bfloat16
    chex.assert_tree_all_finite((loss, gradient))


class ErrorTest(chex.TestCase):
  @parameterized.named_parameters(
    ('zero', {'temperature': 0}, 'temperature: found 0, must be > 0 and finite'),
    ('negative', {'temperature': -0.5}, 'temperature: found -0.5, must be > 0'),
    ('nan', {'temperature': float('nan')}, 'temperature: found nan'),
    ('group_size', {'group_size': 2}, 'group_size: found 2, must be a divisor of the batch, 3'),
    ('block_size', {'block_size': 0}, 'block_size: found 0, must be a whole number >= 1'),
  )
  def test_options(self, options, pattern):
    with self.assertRaisesRegex(ValueError, pattern):
      nt_xent(VIEW1, VIEW2, **options)

  @parameterized.named_parameters(
    ('rank', np.ones(3), np.ones(3), r'view1: found shape \(3,\), must be \[batch, dim\]'),
    ('differ', np.ones((2, 3)), np.ones((3, 3)), r'view2: found shape \(3, 3\), must be \(2, 3\)'),
    ('whole', np.ones((2, 3), int), np.ones((2, 3), int), 'view1: found dtype int'),
    ('one_image', np.ones((1, 3)), np.ones((1, 3)), 'view1: found 1 image, must be at least 2'),
  )
  def test_embeddings(self, view1, view2, pattern):
    with self.assertRaisesRegex(ValueError, pattern):
      nt_xent(view1, view2)
