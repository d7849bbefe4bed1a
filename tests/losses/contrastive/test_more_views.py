"""Losses of any number of views: of two the loss of the pair, of more the documented mean."""

import functools
import itertools

import chex
import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import parameterized

from ssl_jax import losses
from tests.losses.batches import random_batch

BATCH, TAU = 5, 0.3
LABELS = np.array([0, 1, 0, -1, -1])
OF_VIEWS = {
  'nt_xent': losses.nt_xent,
  'balanced_contrastive': functools.partial(
    losses.balanced_contrastive,
    attract_weight=0.8,
    repel_weight=2.0,
    positive_in_denominator=0.5,
    negative_weights=np.linspace(0, 2, BATCH),
  ),
  'decoupled_contrastive': losses.decoupled_contrastive,
  'decoupled_contrastive, weighted': functools.partial(
    losses.decoupled_contrastive, weight_temperature=0.5
  ),
  'debiased_contrastive': losses.debiased_contrastive,
  'hard_negative_contrastive': losses.hard_negative_contrastive,
  'generalized_contrastive': losses.generalized_contrastive,
  'alignment': functools.partial(losses.alignment, exponent=1.5),
  'supervised_contrastive': functools.partial(losses.supervised_contrastive, labels=LABELS),
  'negatives_supervised_contrastive': functools.partial(
    losses.negatives_supervised_contrastive, labels=LABELS
  ),
}


def random_views(count, seed=0):
  batch = random_batch(BATCH, seed)
  return np.stack([batch.view1, batch.view2, batch.target1])[:count]


def contrast(views, *, anchor_term):
  """The mean of `anchor_term(positives, negatives)` over all embeddings, by loops, of logits."""
  unit = views / np.linalg.norm(views, axis=-1, keepdims=True)
  places = list(itertools.product(range(len(views)), range(BATCH)))
  terms = []
  for view, image in places:
    logits = {place: unit[view, image] @ unit[place] / TAU for place in places}
    positives = [logits[other, image] for other in range(len(views)) if other != view]
    negatives = [logits[place] for place in places if place[1] != image]
    terms.append(anchor_term(np.array(positives), np.array(negatives), 1 / TAU))
  return np.mean(terms)


# Of the logits of an anchor's positives, of its negatives, and of itself.
FORMULAS = {
  'nt_xent': lambda p, n, itself: np.mean(-p + np.log(np.exp(p) + np.sum(np.exp(n)))),
  'decoupled_contrastive': lambda p, n, itself: np.mean(-p) + np.log(np.sum(np.exp(n))),
  'generalized_contrastive': lambda p, n, itself: (
    np.mean(1 - TAU * p) / 6
    + np.log(np.exp(itself) + np.sum(np.exp(p)) + np.sum(np.exp(n)))
    - np.log(6)
  ),
  'debiased_contrastive': lambda p, n, itself: np.mean(
    np.log1p(
      np.maximum((np.sum(np.exp(n)) - 0.1 * len(n) * np.exp(p)) / 0.9, len(n) * np.exp(-1 / TAU))
      / np.exp(p)
    )
  ),
}


class MoreViewsTest(chex.TestCase):
  def test_two_views_in_one_array(self):
    views = random_views(2)

    def values(views):
      stacked = {name: loss(views) for name, loss in OF_VIEWS.items()}
      return stacked, {name: loss(*views) for name, loss in OF_VIEWS.items()}

    with jax.enable_x64(True):
      found, expected = jax.jit(values)(views)
    chex.assert_trees_all_close(found, expected, rtol=1e-13)

  @parameterized.parameters(*FORMULAS)
  def test_three_views_by(self, name):
    views = random_views(3)
    with jax.enable_x64(True):
      found, _ = jax.jit(functools.partial(getattr(losses, name), temperature=TAU))(views)
    np.testing.assert_allclose(found, contrast(views, anchor_term=FORMULAS[name]), rtol=1e-12)

  def test_pairs_of_views(self):
    """Losses without negatives of other views are means over pairs."""
    views = random_views(3)

    def values(views):
      pairs = list(itertools.permutations(views, 2))
      return [
        (loss(views), jax.tree.map(lambda *x: sum(x) / len(x), *[loss(*pair) for pair in pairs]))
        for loss in (losses.info_nce, losses.alignment)
      ]

    with jax.enable_x64(True):
      for found, expected in jax.jit(values)(views):
        chex.assert_trees_all_close(found, expected, rtol=1e-13)


class LabelsTest(chex.TestCase):
  """The value by loops, for one view and for three; -1 is no label."""

  @parameterized.parameters(1, 3)
  def test_supervised(self, count):
    views = random_views(count)
    labels = np.array([0, 1, 0, -1, -1])
    with jax.enable_x64(True):
      loss = functools.partial(losses.supervised_contrastive, temperature=TAU)
      found, metrics = jax.jit(lambda views, labels: loss(views, labels=labels))(views, labels)
      if count == 1:
        alone, _ = loss(views[0], labels=labels)
        np.testing.assert_allclose(alone, found, rtol=1e-13)
    unit = views / np.linalg.norm(views, axis=-1, keepdims=True)
    places = list(itertools.product(range(count), range(BATCH)))
    terms, means = [], []
    for view, image in places:
      others = [place for place in places if place != (view, image)]
      positives = [
        place for place in others if place[1] == image or labels[place[1]] == labels[image] != -1
      ]
      logits = {place: unit[view, image] @ unit[place] / TAU for place in others}
      if positives:
        means.append(np.mean([logits[place] for place in positives]))
        terms.append(-means[-1] + np.log(sum(np.exp(list(logits.values())))))
    np.testing.assert_allclose(found, np.mean(terms), rtol=1e-12)
    np.testing.assert_allclose(metrics['positive_similarity'], TAU * np.mean(means), rtol=1e-12)

  def test_without_a_label_an_image_is_a_class_of_its_own(self):
    views, some, own = random_views(2), np.array([3, -1, 3, -1, -1]), np.array([3, 4, 3, 5, 6])

    def values(views, labels):
      return [
        loss(*views, labels)
        for loss in (losses.supervised_contrastive, losses.negatives_supervised_contrastive)
      ]

    values = jax.jit(jax.jacrev(values, has_aux=False))
    with jax.enable_x64(True):
      chex.assert_trees_all_close(values(views, some), values(views, own), rtol=1e-13)

  def test_one_view_of_different_classes_has_nothing_to_attract(self):
    loss = lambda view: losses.supervised_contrastive(view, labels=np.arange(BATCH))
    (value, metrics), grad = jax.jit(jax.value_and_grad(loss, has_aux=True))(random_views(1)[0])
    chex.assert_trees_all_equal(
      (value, metrics, grad), jax.tree.map(jnp.zeros_like, (value, metrics, grad))
    )

  def test_weights_without_a_label(self):
    found = losses.class_balancing_weights(np.array([0, 1, -1]), np.array([3, 1]))
    np.testing.assert_allclose(found, [2 / 3, 2, 1], rtol=1e-6)

  @parameterized.parameters(2**31, 2**40, -(2**31) - 1)
  def test_labels_beyond_the_dtype_are_refused(self, label):
    labels = np.array([0, 1, 2, 3, label])
    for loss in (losses.supervised_contrastive, losses.negatives_supervised_contrastive):
      with self.assertRaisesRegex(ValueError, f'labels: found {label}, must be from'):
        loss(*random_views(2), labels)
      with jax.enable_x64(True):  # int64 is kept
        jax.eval_shape(lambda *views, loss=loss: loss(*views, labels), *random_views(2))

  def test_labels_of_other_kinds_are_refused(self):
    for labels in (LABELS * 1.0, LABELS > 0, None, list(LABELS)):
      with self.assertRaisesRegex(ValueError, 'labels: found'):
        losses.supervised_contrastive(*random_views(2), labels)
