"""All protocols on very few images: numbers, a reason for each that is left out, or one line."""

import dataclasses
import json
import math
import warnings
from unittest import mock

import chex
import jax
import numpy as np
import pytest
from absl.testing import parameterized

from ssl_jax import config, data, models, views
from ssl_jax.tasks import evaluation_report
from ssl_jax.tasks.protocols import PROTOCOLS, Measurement, Result, Score
from ssl_jax.tasks.protocols.context import EvalContext, describe_labels, labeled_only
from ssl_jax.tasks.protocols.protocol import plain as number
from ssl_jax.tasks.run.frozen_encoder import FrozenEncoder
from ssl_jax.training import mesh
from ssl_jax.training.json_file import plain

# Labels of training and of test images; None: the images carry none.
DATA = {
  'one image': ([0], [0]),
  'one image of each class': ([0, 1], [0, 1]),
  'a single class': ([0] * 6, [0] * 5),
  'a single class in the test images': ([0, 1, 0, 1], [1, 1, 1]),
  'a class with a single image': ([0, 0, 0, 1], [0, 0, 1, 0]),
  'a class without training images': ([0, 0, 1, 1], [0, 1, 2, 2]),
  'every class with a single image': ([0, 1, 2, 3], [0, 1, 2, 3]),
  'no labels': (None, None),
  'no label in training': (None, [0, 1, 0, 1]),
  'every label unknown': ([-1] * 4, [-1] * 4),
  'partly labeled': ([0, -1, 1, -1, 0, 1, -1], [-1, 0, 1, 1, -1, 0]),
  'one labeled image': ([0, -1, -1, -1], [0, -1, -1, -1]),
}
FLAGS = (
  '--task=evaluate',
  '--evaluate.probe_epochs=2',
  '--evaluate.views=2',
  '--evaluate.augmented_images=16',
  '--evaluate.episodes=2',
  '--evaluate.kmeans_restarts=1',
  '--evaluate.fine_tuning_epochs=1',
)
# `fine_tuning` compiles a program for each number of images.
SLOW = ('fine_tuning',)
CHEAP = tuple(name for name in PROTOCOLS if name not in SLOW)


def source(labels, count=5, seed=0):
  count = count if labels is None else len(labels)
  images = np.random.default_rng([seed, count]).integers(0, 256, (count, 8, 8, 3)).astype(np.uint8)
  return data.ArraySource(images, None if labels is None else np.asarray(labels, np.int32))


@pytest.fixture(scope='module')
def encoder():
  network = models.resnet('resnet10', stem='cifar', width=2)
  recipe = views.recipe('cifar_simclr', size=8)
  variables = network.init(jax.random.key(0), views.unaugmented(recipe, source(None).images))
  named = {part: {'encoder': variables[part]} for part in ('params', 'batch_stats')}
  return FrozenEncoder({'encoder': network}, named, recipe, mesh.make_mesh(jax.devices()[:1]), 0)


def context(encoder, labels, *flags):
  train, test = labels
  classes = [one for split in labels if split is not None for one in split if one >= 0]
  names = tuple(f'class {index}' for index in range(max(classes, default=-1) + 1))
  dataset = data.Dataset('tiny', source(train), source(test, seed=1), names)
  return EvalContext('trained', encoder, dataset, config.parse([*FLAGS, *flags]))


class SmallDataTest(chex.TestCase):
  @pytest.fixture(autouse=True)
  def _encoder(self, encoder):
    self.encoder = encoder

  def check(self, name, of):
    """Numbers with a reason for each that is missing, and figures; or None where refused."""
    with warnings.catch_warnings():
      warnings.simplefilter('error')
      try:
        found = PROTOCOLS[name].measure(of)
      except ValueError as refused:
        self.assertNotIn('\n', str(refused))
        self.assertRegex(str(refused), 'found .*, must be ')
        return None
    for score, (value, _, _, reason) in found.scores.items():
      self.assertTrue(math.isfinite(value) or reason, score)
      self.assertEqual(math.isnan(value), bool(reason), score)
    result = {'trained': Result(of, found)}
    json.dumps(plain(found.details), allow_nan=False)
    self.assertLen(set(evaluation_report.notes(result)), len(evaluation_report.notes(result)))
    return found

  def measure_all(self, name):
    """The protocols that measure something on these data."""
    of = context(self.encoder, DATA[name])
    return {one for one in CHEAP if self.check(one, of) is not None}

  @parameterized.parameters(
    ('one image', {'hypersphere'}),
    ('a single class', {'spectrum', 'hypersphere', 'embedding', 'anchor_scores'}),
    ('no labels', {'spectrum', 'hypersphere', 'embedding', 'anchor_scores'}),
    ('every label unknown', {'spectrum', 'hypersphere', 'embedding', 'anchor_scores'}),
    ('one labeled image', {'spectrum', 'hypersphere', 'embedding', 'anchor_scores'}),
    ('partly labeled', {*CHEAP} - {'transfer'}),
  )
  def test_what_can_be_measured(self, name, expected):
    self.assertEqual(self.measure_all(name), expected)

  @parameterized.named_parameters((name, name) for name in DATA)
  @pytest.mark.slow
  def test_every_protocol(self, name):
    self.assertIn('hypersphere', self.measure_all(name))

  @parameterized.named_parameters((name, name) for name in DATA)
  @pytest.mark.slow
  def test_fine_tuning(self, name):
    self.check('fine_tuning', context(self.encoder, DATA[name]))

  @parameterized.named_parameters((name, name) for name in DATA)
  @pytest.mark.slow
  def test_figures(self, name):
    of = context(self.encoder, DATA[name])
    for one in CHEAP:
      if PROTOCOLS[one].draw and (found := self.check(one, of)):
        for figure in PROTOCOLS[one].draw({'trained': Result(of, found)}):
          self.assertEqual(figure.image[:4], b'\x89PNG')

  @parameterized.parameters(
    ('knn', '--knn.k=3,200', 'knn.k: found 200, must be at most 4, the labeled training images'),
    ('episodes', '--evaluate.ways=5', 'evaluate.ways: found 5, must be at most 2, '),
    ('episodes', '--evaluate.queries=15', 'classes with 16 test images or more: found 0'),
    (
      'false_negatives',
      '--evaluate.false_negative_batch_size=9',
      'evaluate.false_negative_batch_size: found 9, must be at most 4',
    ),
  )
  def test_a_given_setting_is_not_adapted(self, name, flag, message):
    with self.assertRaisesRegex(ValueError, message):
      PROTOCOLS[name].measure(context(self.encoder, DATA['partly labeled'], flag))

  def test_what_is_lowered_is_said(self):
    expected = {
      'knn': ['k is at most 2, the number of labeled training images, not 200'],
      'linear': [
        'batches of 2 instead of 256, all labeled training images',
        'the middle of the grid is taken: no class has two labeled training images to choose on',
      ],
      'episodes': [
        'ways = 5 is 2, what the test images allow',
        'queries = 15 is 1, what the test images allow',
      ],
      'false_negatives': ['batches of 4, all test images, not 256 as the run'],
      'retrieval': [],
    }
    of = context(self.encoder, ([0, 1], [0, 1, 0, 1]))
    for name, lines in expected.items():
      result = {'trained': Result(of, PROTOCOLS[name].measure(of))}
      self.assertEqual(evaluation_report.notes(result), lines)
    of = context(self.encoder, ([0, 1], [0, 1, 0, 1]), '--data.batch_size=2')
    self.assertEqual(
      PROTOCOLS['false_negatives'].measure(of).notes,
      ('batches of 3, the fewest that can be ranked, not 2 as the run',),
    )

  def test_labels_of_minus_one_are_as_absent(self):
    train, test = DATA['partly labeled']
    of = context(self.encoder, (train, test))
    self.assertEqual(describe_labels(of.dataset), '4 of 7 training images, 4 of 6 test images')
    rows = [np.flatnonzero(np.asarray(one) >= 0) for one in (train, test)]
    alone = dataclasses.replace(
      of.dataset, train=of.dataset.train.subset(rows[0]), test=of.dataset.test.subset(rows[1])
    )
    expected = EvalContext('trained', self.encoder, alone, config.parse(FLAGS))
    self.assertIs(expected.labeled, expected)
    for name in ('knn', 'mean_classifier', 'crowding', 'prototype_bias', 'false_negatives'):
      found, wanted = (PROTOCOLS[name].measure(one).scores for one in (of, expected))
      self.assertEqual(found, wanted, name)
    # Without labels, all images count.
    self.assertNotEqual(*(PROTOCOLS['spectrum'].measure(one).scores for one in (of, expected)))

  @parameterized.parameters(
    *(name for name in CHEAP if name not in ('transfer', 'mean_classifier'))
  )
  def test_features_that_are_not_finite_are_named(self, name):
    of = context(self.encoder, ([0, 1, 0, 1, 0, 1], [0, 1, 0, 1, 0]))

    def broken(source, layer, *more, whole=False):
      features = np.ones((len(source), 4 * (more[0] if more else 1)), np.float32)
      features[2:4] = np.nan
      return features

    found = mock.Mock(wraps=self.encoder, networks=self.encoder.networks, mesh=self.encoder.mesh)
    found.features.side_effect = found.view_features.side_effect = broken
    of.encoder = found
    with self.assertRaisesRegex(
      ValueError, r'^features: found NaN or infinite values in 2 of \d rows of trained-.*, must be'
    ):
      PROTOCOLS[name].measure(of)


class ProtocolTest(chex.TestCase):
  def test_numbers_without_meaning_have_a_reason(self):
    found = Measurement(
      {
        'a': number(1),
        'b': number(np.inf),
        'c': Score(1.0, reason='why'),
      }
    )
    self.assertEqual([one.reason for one in found.scores.values()], ['', 'it is inf', 'why'])
    self.assertEqual([math.isnan(one.value) for one in found.scores.values()], [False, True, True])

  def test_a_data_set_with_all_labels_stays_as_it_is(self):
    for labels in ([0, 1], None):
      dataset = data.Dataset('tiny', source(labels), source(labels))
      self.assertIs(labeled_only(dataset), dataset)
      self.assertEqual(describe_labels(dataset), '')
