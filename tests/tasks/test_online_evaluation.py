"""Measurements during training: the features of the method, the functions of evaluate, refusals."""

import dataclasses

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from absl.testing import parameterized

from ssl_jax import analysis, config, data, evaluation, methods, views
from ssl_jax.config.flags import UsageError
from ssl_jax.tasks.online_evaluation import OnlineEvaluation
from ssl_jax.tasks.protocols import check_protocols, chosen_protocols
from ssl_jax.tasks.run.experiment import build_experiment
from ssl_jax.tasks.run.frozen_encoder import PIXELS
from ssl_jax.training import state
from tests.tasks import small_runs


@pytest.fixture(scope='module')
def run(tmp_path_factory):
  folder = tmp_path_factory.mktemp('online')
  images = small_runs.write_images(folder / 'images.npz')
  flags = ('--knn.k=3,5', '--knn.temperature=0.2,0.07', '--online_metrics.names=spectrum,bias')
  parsed = config.parse(small_runs.arguments(images, folder / 'run', *flags))
  experiment = build_experiment(parsed, log=lambda line: None)
  initial = state.create(
    experiment.method, experiment.optimizer, parsed.seed, parsed.view_size, experiment.mesh
  )
  return experiment, initial


class OnlineEvaluationTest(chex.TestCase):
  @pytest.fixture(autouse=True)
  def _run(self, run):
    self.experiment, self.state = run
    self.dataset = self.experiment.dataset
    self.online = OnlineEvaluation(self.experiment)

  def of_method(self, images):
    """Features by the method itself, 256 images at once on all devices."""
    unaugmented = lambda batch: views.unaugmented(self.experiment.recipe, batch)
    program = jax.jit(
      lambda variables, batch: self.experiment.method.features(variables, unaugmented(batch))
    )
    rows = np.concatenate([images, images[-1:].repeat(256 - len(images), axis=0)])
    split = jax.sharding.NamedSharding(self.experiment.mesh, jax.sharding.PartitionSpec('data'))
    found = program(self.state.variables, jax.device_put(rows, split))
    return np.asarray(found)[: len(images)]

  def test_features_are_those_of_the_method_byte_for_byte(self):
    for source in (self.dataset.train, self.dataset.test):
      found = self.online.features(self.state, source)
      self.assertEqual(found.dtype, np.float32)
      np.testing.assert_array_equal(found, self.of_method(source.images))

  def test_knn_takes_the_first_k_and_temperature(self):
    train, test = self.dataset.train, self.dataset.test
    features = lambda source: self.online.features(self.state, source)
    pixels = lambda source: np.asarray(
      views.unaugmented(self.experiment.recipe, source.images)
    ).reshape(len(source), -1)
    for layer, of in (('encoder', features), (PIXELS, pixels)):
      expected = evaluation.knn_accuracy(
        of(train), train.labels, of(test), test.labels, k=3, temperature=0.2
      )
      self.assertEqual(self.online.knn(self.state, layer), expected)
    changed = dataclasses.replace(self.experiment.config, knn=config.Knn(k=(100, 5)))
    online = OnlineEvaluation(dataclasses.replace(self.experiment, config=changed))
    self.assertEqual((online.k, online.temperature), (len(train), 0.07))

  def test_representation_is_of_unaugmented_test_images(self):
    features = self.online.features(self.state, self.dataset.test)
    found = self.online.representation(self.state)
    self.assertEqual(found['uniformity'], analysis.uniformity(features))
    crowding = analysis.crowding(features, self.dataset.test.labels, normalize=True)
    self.assertEqual(found['crowding_ratio'], crowding.crowding_ratio)
    self.assertAlmostEqual(found['feature_std'], float(methods.feature_std([features])), places=6)

  def test_metrics_are_named_by_protocol_and_score(self):
    found = self.online.metrics(self.state)
    bias = ('squared', 'squared_unbiased', 'share', 'augmentation_variance')
    names = ['spectrum/rank_me', 'spectrum/effective_rank']
    self.assertEqual(list(found), names + [f'prototype_bias/{name}' for name in bias])
    features = self.online.features(self.state, self.dataset.test)
    self.assertEqual(found['spectrum/rank_me'], analysis.spectrum(features).rank_me)

  def relabeled(self, train, test, names=('spectrum', 'crowding')):
    """The same images with other labels, and the lines that are logged about them."""
    dataset = dataclasses.replace(
      self.dataset,
      train=data.ArraySource(self.dataset.train.images, np.asarray(train, np.int32)),
      test=data.ArraySource(self.dataset.test.images, np.asarray(test, np.int32)),
    )
    changed = dataclasses.replace(
      self.experiment.config, online_metrics=config.OnlineMetrics(names=names)
    )
    lines = []
    experiment = dataclasses.replace(self.experiment, dataset=dataset, config=changed)
    return OnlineEvaluation(experiment, lines.append), lines

  def test_labels_of_minus_one_do_not_count(self):
    train, test = np.arange(64) % 2, np.arange(16) % 2
    train[2:], test[4:] = -1, -1
    online, _ = self.relabeled(train, test)
    features = lambda source: self.online.features(self.state, source)
    known = features(self.dataset.train)[:2], features(self.dataset.test)[:4]
    expected = evaluation.knn_accuracy(
      known[0], train[:2], known[1], test[:4], k=2, temperature=0.2
    )
    self.assertEqual(online.k, 2)
    self.assertEqual(online.knn(self.state), expected)
    found = online.representation(self.state)
    whole = self.online.representation(self.state)
    crowding = analysis.crowding(known[1], test[:4], normalize=True)
    self.assertEqual(found['crowding_ratio'], crowding.crowding_ratio)
    self.assertEqual(found['uniformity'], whole['uniformity'])
    self.assertEqual(online.metrics(self.state)['crowding/crowding_ratio'], crowding.crowding_ratio)
    self.assertEmpty(online.reason)

  def test_a_single_class_says_so(self):
    online, _ = self.relabeled([3] * 64, [3] * 16, names=())
    self.assertFalse(online.measures_knn)
    found = online.representation(self.state)
    self.assertTrue(np.isnan(found['crowding_ratio']))
    self.assertTrue(np.isfinite([found['uniformity'], found['feature_std']]).all())
    self.assertEqual(set(online.reason), {'knn', 'crowding_ratio'})
    for reason in online.reason.values():
      self.assertIn('single class', reason)
    with self.assertRaisesRegex(UsageError, 'found spectrum,crowding, must be empty: .* single cl'):
      self.relabeled([3] * 64, [3] * 16)

  def test_features_that_are_not_finite_end_no_training(self):
    online, lines = self.relabeled(np.arange(64) % 2, np.arange(16) % 2)
    params = jax.tree.map(lambda leaf: leaf * jnp.nan, self.state.params)
    broken = dataclasses.replace(self.state, params=params)
    self.assertTrue(np.isnan(online.knn(broken)))
    for found in (online.representation(broken), online.metrics(broken)):
      self.assertTrue(np.isnan(list(found.values())).all())
    self.assertLen(lines, 4)
    self.assertRegex(
      lines[0], r'^warning   not measured: knn: features: found NaN .* 64 of 64 rows'
    )
    self.assertLen(online.reason, 1 + 3 + 2 + 4)
    online.knn(self.state), online.representation(self.state), online.metrics(self.state)
    self.assertEmpty(online.reason)


class ProtocolNamesTest(chex.TestCase):
  def test_each_once_under_its_name_of_today(self):
    self.assertEqual(chosen_protocols(['bias', 'knn', 'prototype_bias']), ('prototype_bias', 'knn'))
    self.assertEqual(chosen_protocols(['all'])[0], 'knn')
    without = chosen_protocols(['all'], left_out=['transfer'])
    self.assertEqual({*chosen_protocols(['all'])} - {*without}, {'transfer'})
    self.assertIn('transfer', chosen_protocols(['all', 'transfer'], left_out=['transfer']))

  @parameterized.parameters(
    (['--protocols=knn,linear'], r'^--protocols: found linear, must be .*: knn; others belong to'),
    (['--task=evaluate', '--protocols=liner'], r'^--protocols: found liner, .*; nearest: linear$'),
    (
      ['--online_metrics.names=knn'],
      r'^--online_metrics.names: found knn, must be a list of: crowding, ',
    ),
  )
  def test_refused(self, flags, message):
    with self.assertRaisesRegex(UsageError, message):
      check_protocols(config.parse(flags))
