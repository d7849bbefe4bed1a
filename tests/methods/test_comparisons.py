"""What each method makes of embeddings, against the loss functions and formulas it is made of."""

import dataclasses

import chex
import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import parameterized

from ssl_jax import losses, methods
from ssl_jax.methods.base import queue
from tests.methods import tiny

BATCH, DIM = 8, 6
RANDOM = np.random.default_rng(0)
P1, P2, T1, T2, LOCAL = RANDOM.normal(size=(5, BATCH, DIM)).astype(np.float32)
LABELS = np.arange(BATCH, dtype=np.int32) % 2


def embeddings(*local, online=(P1, P2), target=(T1, T2), **context):
  return methods.Embeddings((*online, *local), target, context)


def compare(name, found=None, variables=None, step=0, **hyperparameters):
  method = tiny.method(name, 'float32', **hyperparameters)
  return method.loss_from_embeddings(found or embeddings(), variables or {}, step)


def cosine(a, b):
  unit = lambda x: x / np.linalg.norm(x, axis=-1, keepdims=True)
  return np.mean(np.sum(unit(a) * unit(b), axis=-1))


class TwoViewsTest(chex.TestCase):
  @parameterized.parameters(
    ('simclr', lambda: losses.nt_xent(P1, P2, temperature=0.5)),
    ('dcl', lambda: losses.decoupled_contrastive(P1, P2, temperature=0.1)),
    ('balanced', lambda: losses.balanced_contrastive(P1, P2, repel_weight=0.7)),
    ('barlow_twins', lambda: losses.barlow_twins(P1, P2)),
    ('vicreg', lambda: losses.vicreg(P1, P2)),
  )
  def test_symmetric(self, name, expected):
    np.testing.assert_allclose(compare(name)[0], expected()[0], rtol=1e-6)

  def test_supcon(self):
    found, _ = compare('supcon', embeddings(labels=LABELS))
    expected, _ = losses.supervised_contrastive(P1, P2, LABELS, temperature=0.1)
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    found, _ = compare('supcon', embeddings(labels=LABELS), positives='view')
    expected, _ = losses.negatives_supervised_contrastive(P1, P2, LABELS, temperature=0.1)
    np.testing.assert_allclose(found, expected, rtol=1e-6)

  def test_simsiam(self):
    found, metrics = compare('simsiam')
    mean = (cosine(P1, T2) + cosine(P2, T1)) / 2
    np.testing.assert_allclose(found, -mean, rtol=1e-5)
    np.testing.assert_allclose(metrics['positive_similarity'], mean, rtol=1e-5)

  def test_moco_v3(self):
    found, _ = compare('moco_v3', temperature=0.3)
    pairs = ((P1, T2), (P2, T1))
    expected = sum(losses.info_nce(p, t, temperature=0.3)[0] for p, t in pairs)
    np.testing.assert_allclose(found, 2 * 0.3 * expected, rtol=1e-6)

  def test_moco_v2_has_the_queue_alone_for_negatives(self):
    rows = RANDOM.normal(size=(20, DIM)).astype(np.float32)
    found, _ = compare('moco_v2', variables={'method_state': {'queue': rows}})
    pairs = ((P1, T2), (P2, T1))
    expected = [losses.info_nce(p, t, negatives=rows, temperature=0.2)[0] for p, t in pairs]
    np.testing.assert_allclose(found, np.mean(expected), rtol=1e-6)

  def test_nnclr_asks_the_neighbor(self):
    found, _ = compare('nnclr')
    pairs = ((P1, T2), (P2, T1))
    expected = [losses.info_nce(t, p, temperature=0.1)[0] for p, t in pairs]
    np.testing.assert_allclose(found, np.mean(expected), rtol=1e-6)

  def test_instance_discrimination_draws_by_the_key(self):
    key = jax.random.key(3)
    found, _ = compare('instance_discrimination', embeddings(key=key))
    expected, _ = losses.instance_contrastive(P1, P2, num_negatives=5, key=key)
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    other, _ = compare('instance_discrimination', embeddings(key=jax.random.key(4)))
    self.assertNotEqual(float(found), float(other))
    # Without a number all other images of the group, and no key.
    whole, _ = compare('instance_discrimination', num_negatives=0, group_size=4)
    expected, _ = losses.instance_contrastive(P1, P2, group_size=4)
    np.testing.assert_allclose(whole, expected, rtol=1e-6)

  @parameterized.parameters((49, 0.0), (55, 0.5), (60, 1.0))
  def test_iccl_fades_over_the_run(self, step, fade):
    found, metrics = compare('iccl', step=step, fade_start=0.5)
    expected, _ = losses.similarity_clustering(
      (P1, P2), (T1, T2), fade=fade, uniformity_gradient_scale=0.125
    )
    np.testing.assert_allclose(metrics['fade'], fade, atol=1e-6)
    np.testing.assert_allclose(found, expected, rtol=1e-5)

  def test_iccl_without_a_moving_average(self):
    settings = {'target': 'stop_gradient', 'adaptive_temperature': 'free', 'uniformity_weight': 1.0}
    found, _ = compare('iccl', step=100, **settings)
    expected, _ = losses.similarity_clustering(
      (P1, P2), (T1, T2), fade=1.0, similarity='simsiam', adaptive_temperature='free',
      uniformity_weight=1.0,
    )  # fmt: skip
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    method = tiny.method('iccl', **settings)
    self.assertEqual((method.target_network, method.averaged_networks), ('stop_gradient', ()))
    rcc, metrics = compare('iccl', step=100, variant='rcc')
    np.testing.assert_allclose(rcc, metrics['cross_entropy'], rtol=1e-6)

  @parameterized.parameters(
    ('auto', 'ema', 'byol'),
    ('auto', 'stop_gradient', 'simsiam'),
    ('simsiam', 'ema', 'simsiam'),
    ('byol', 'stop_gradient', 'byol'),
  )
  def test_similarity_of_iccl(self, similarity, target, expected):
    # Before clustering fades in it is the whole loss.
    found, _ = compare('iccl', fade_start=0.5, similarity=similarity, target=target)
    loss = {'byol': losses.cosine_regression, 'simsiam': losses.negative_cosine}[expected]
    total = loss(P1, T2)[0] + loss(P2, T1)[0]
    np.testing.assert_allclose(found, total / (1 if expected == 'byol' else 2), rtol=1e-5)

  def test_rcc_of_imagenet_has_the_networks_of_its_released_code(self):
    method = tiny.method('iccl', 'float32', target='ema', variant='rcc', similarity='simsiam')
    params = method.init(jax.random.key(0), jnp.zeros((2, 8, 8, 3)))['params']
    self.assertEqual(method.averaged_networks, ('encoder', 'projector'))
    self.assertNotIn('norm2', params['projector'])
    self.assertNotIn('bias', params['projector']['linear2'])
    np.testing.assert_array_equal(params['predictor']['linear2']['bias'], 0)
    for head in ('projector', 'predictor'):
      kernel = np.abs(params[head]['linear1']['kernel'])
      limit = (3 / len(kernel)) ** 0.5
      self.assertBetween(kernel.max(), 0.8 * limit, limit)

  def test_iccl_counts_momentum_from_one(self):
    momentum = tiny.method('iccl', base_momentum=0.9).target_momentum
    for step in (0, 49, 99):
      expected = methods.cosine_momentum(step + 1, tiny.TOTAL_STEPS, 0.9)
      np.testing.assert_allclose(momentum(step), expected, rtol=1e-6)
    self.assertEqual(float(momentum(99)), 1.0)

  def test_balanced_oracle_and_schedule(self):
    method = tiny.method('balanced', 'float32', class_prior_weights=True)
    self.assertTrue(method.needs_labels)
    method = dataclasses.replace(method, class_counts=(30, 10))
    found, _ = method.loss_from_embeddings(embeddings(labels=LABELS), {}, 0)
    weights = losses.class_balancing_weights(LABELS, np.array([30, 10]))
    expected, _ = losses.balanced_contrastive(P1, P2, repel_weight=0.7, negative_weights=weights)
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    schedule = {'temperature_schedule': 'cosine', 'temperature_half_period': 0.5}
    for step, temperature in ((0, 1.0), (25, 0.55), (50, 0.1), (100, 1.0)):
      _, metrics = compare('balanced', step=step, **schedule)
      np.testing.assert_allclose(metrics['temperature'], temperature, rtol=1e-5)

  def test_swav_against_numpy(self):
    kernel = RANDOM.normal(size=(DIM, 5)).astype(np.float32)
    variables = {'params': {'prototypes': {'linear1': {'kernel': kernel}}}}
    found, _ = compare('swav', variables=variables)
    unit = lambda x, axis: x / np.linalg.norm(x, axis=axis, keepdims=True)
    scores = [unit(view, 1) @ unit(kernel, 0) for view in (P1, P2)]
    assigned = []
    for score in scores:
      table = np.exp(score / 0.3)
      for _ in range(3):
        table /= table.sum(0)
        table /= table.sum(1, keepdims=True)
      assigned.append(table)
    log_softmax = lambda x: x - np.log(np.exp(x).sum(1, keepdims=True))
    cross = lambda q, s: -np.mean(np.sum(q * log_softmax(s / 0.1), axis=1))
    expected = (cross(assigned[0], scores[1]) + cross(assigned[1], scores[0])) / 2
    np.testing.assert_allclose(found, expected, rtol=1e-5)

  def test_supervised(self):
    logits = RANDOM.normal(size=(2, BATCH, 2)).astype(np.float32)
    found, metrics = compare('supervised', embeddings(logits=tuple(logits), labels=LABELS))
    log_probs = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    expected = -np.mean(log_probs[:, np.arange(BATCH), LABELS])
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    right = np.mean(logits.argmax(-1) == LABELS)
    np.testing.assert_allclose(metrics['train_accuracy'], right, rtol=1e-6)

  def test_supervised_of_partly_labeled_images(self):
    logits = RANDOM.normal(size=(2, BATCH, 2)).astype(np.float32)
    loss = lambda logits, labels: compare(
      'supervised', embeddings(logits=tuple(logits), labels=labels)
    )
    some = np.where(np.arange(BATCH) % 2, -1, LABELS)
    found, metrics = loss(logits, some)
    expected, expected_metrics = loss(logits[:, ::2], LABELS[::2])
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    right = expected_metrics['train_accuracy']
    np.testing.assert_allclose(metrics['train_accuracy'], right, rtol=1e-6)
    nothing, metrics = loss(logits, np.full(BATCH, -1))
    np.testing.assert_array_equal([nothing, metrics['train_accuracy']], 0)


class LocalCropsTest(chex.TestCase):
  def test_symmetric_pairs_hold_one_of_the_views(self):
    found, _ = compare('simclr', embeddings(LOCAL))
    pairs = ((P1, P2), (P1, LOCAL), (P2, LOCAL))
    expected = np.mean([losses.nt_xent(*pair)[0] for pair in pairs])
    np.testing.assert_allclose(found, expected, rtol=1e-6)

  def test_crops_are_never_targets(self):
    found, metrics = compare('byol', embeddings(LOCAL))
    cosines = [cosine(*pair) for pair in ((P1, T2), (P2, T1), (LOCAL, T1), (LOCAL, T2))]
    np.testing.assert_allclose(found, 2 * (2 - 2 * np.mean(cosines)), rtol=1e-5)
    np.testing.assert_allclose(metrics['positive_similarity'], np.mean(cosines), rtol=1e-5)

  @parameterized.parameters('simclr', 'byol', 'swav', 'supervised')
  def test_pass_through_the_networks(self, name):
    method, state, batch = tiny.method(name), tiny.variables(name), tiny.batch()
    local = np.random.default_rng(1).normal(size=(tiny.BATCH, 3, 4, 4, 3))
    with jax.enable_x64(True):
      cropped = dataclasses.replace(batch, local_crops=jnp.asarray(local))
      found, _ = jax.jit(method.embed)(state, cropped, 0, jax.random.key(0))
      plain, _ = tiny.embed(name)(state, batch, 0, jax.random.key(0))
    self.assertLen(found.online, 5)
    self.assertLen(found.target, 2)
    chex.assert_trees_all_close(found.online[:2], plain.online, rtol=1e-9)

  def test_refused_where_there_is_no_use_for_them(self):
    local = jnp.zeros((tiny.BATCH, 1, 4, 4, 3))
    batch = dataclasses.replace(tiny.batch(), local_crops=local)
    with self.assertRaisesRegex(ValueError, 'name: found iccl with local crops, must be another'):
      tiny.method('iccl').embed(tiny.variables('iccl'), batch, 0, jax.random.key(0))
    pattern = r'local_crops: found shape \(3, 1, 4, 4, 3\), must be \[8'
    with self.assertRaisesRegex(ValueError, pattern):
      wrong = dataclasses.replace(batch, local_crops=local[:3])
      tiny.method('simclr').embed(tiny.variables('simclr'), wrong, 0, jax.random.key(0))


class QueueTest(chex.TestCase):
  def test_newest_first_and_oldest_dropped(self):
    start = queue.random_queue(jax.random.key(0), 5, 2, jnp.float32)
    np.testing.assert_allclose(np.linalg.norm(start, axis=1), 1, rtol=1e-6)
    rows = jnp.array([[2.0, 0.0], [0.0, 3.0]])
    pushed = queue.push(start, rows)
    np.testing.assert_allclose(pushed[:2], [[1, 0], [0, 1]])
    np.testing.assert_array_equal(pushed[2:], start[:3])

  def test_moco_v2_keeps_both_views_of_a_batch_in_order(self):
    state = tiny.variables('moco_v2')
    with jax.enable_x64(True):
      found, new = tiny.embed('moco_v2')(state, tiny.batch(), 0, jax.random.key(0))
      kept = np.asarray(new['method_state']['queue'])
    first, second = (np.asarray(losses.l2_normalize(view)) for view in found.target)
    np.testing.assert_allclose(kept[0:16:2], first, rtol=1e-6)
    np.testing.assert_allclose(kept[1:16:2], second, rtol=1e-6)
    np.testing.assert_array_equal(kept[16:], state['method_state']['queue'][:4])

  def test_nnclr_looks_neighbors_up_before_it_pushes(self):
    state = tiny.variables('nnclr')
    with jax.enable_x64(True):
      found, new = tiny.embed('nnclr')(state, tiny.batch(), 0, jax.random.key(0))
    rows = np.asarray(state['method_state']['queue'])
    for neighbor in np.concatenate([np.asarray(view) for view in found.target]):
      self.assertTrue((rows == neighbor).all(axis=1).any())
    np.testing.assert_array_equal(new['method_state']['queue'][8:], rows[:12])

  @parameterized.parameters(('moco_v2', 15, 16), ('nnclr', 7, 8))
  def test_holds_a_batch(self, name, size, least):
    with self.assertRaisesRegex(ValueError, f'queue_size: found {size}, must be at least'):
      tiny.method(name, queue_size=size).validate_batch(8, 8)
    tiny.method(name, queue_size=least).validate_batch(8, 8)


class LabelsTest(chex.TestCase):
  @parameterized.parameters(
    ('supcon', {}), ('supervised', {}), ('balanced', {'class_prior_weights': True})
  )
  def test_methods_that_need_them_say_so(self, name, hyperparameters):
    method = methods.create(name, **hyperparameters)
    self.assertTrue(method.needs_labels)
    with self.assertRaisesRegex(ValueError, f'name: found {name} on images without labels'):
      method.setup(encoder=tiny.small('float32'), total_steps=1)
    self.assertFalse(methods.create('simclr').needs_labels)
