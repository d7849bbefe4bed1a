"""The arithmetic and the words of the table, on made-up results."""

import json
import pathlib

import chex
from absl.testing import parameterized

from ssl_jax import config as config_lib
from ssl_jax.sweeps import columns, table
from ssl_jax.sweeps.planning import Run


def run(variant, seed, *flags):
  folder = pathlib.Path('out') / f'{variant}-seed{seed}'
  return Run(variant, seed, folder, flags, config_lib.parse([*flags, f'--seed={seed}']))


def result(trained, random_init=0.25, pixels=0.4, **more):
  return {
    'steps': 290,
    'knn': {'trained': trained, 'random_init': random_init, 'pixels': pixels, 'k': 20},
    'last_metrics': {'loss': 2.0},
    'images_per_second': 1234.4,
    'seconds': {'step': 90.0, 'compile': 30.0},
    **more,
  }


def rows(made):
  """Cells by the name of the row, as shown."""
  lines = [line for line in made.markdown().splitlines() if line.startswith('| ')][1:]
  cells = [[cell.strip() for cell in line.strip('|').split('|')] for line in lines]
  return {name: rest for name, *rest in cells}


class TableTest(chex.TestCase):
  def test_mean_and_sample_deviation(self):
    results = [
      (run('a', 0), result(0.70, 0.20)),
      (run('b', 0), result(0.60, 0.20)),
      (run('a', 1), result(0.74, 0.24)),
      (run('b', 1), result(0.60, 0.24)),
      (run('a', 2), result(0.72, 0.22)),
      (run('b', 2), result(0.60, 0.22)),
    ]
    names = ('knn', 'loss', 'images_per_second', 'minutes', 'uniformity')
    made = table.make(['a', 'b'], (0, 1, 2), names, results, sweep='x.sweep', command='do it')
    self.assertEqual(
      rows(made),
      {
        'raw pixels': ['3', '40.00 ± 0.00', '-', '-', '-', '-'],
        # Three draws, although six runs measured them: 20, 22, 24 have deviation 2 over n - 1.
        'random initialization': ['3', '22.00 ± 2.00', '-', '-', '-', '-'],
        'a': ['3', '72.00 ± 2.00', '2.0000 ± 0.0000', '1,234 ± 0', '2.0 ± 0.0', '-'],
        'b': ['3', '60.00 ± 0.00', '2.0000 ± 0.0000', '1,234 ± 0', '2.0 ± 0.0', '-'],
      },
    )
    text = made.markdown()
    self.assertIn('Last step (290) of every run, seeds 0, 1, 2: mean ± sample standard', text)
    self.assertIn('    do it\n', text)
    plain = json.loads(json.dumps(made.as_json()))
    by_name = {row['name']: row for row in plain['rows']}
    self.assertEqual(plain['command'], 'do it')
    self.assertEqual(by_name['a']['seeds'], [0, 1, 2])
    chex.assert_trees_all_close(by_name['a']['knn']['values'], [70.0, 74.0, 72.0])
    chex.assert_trees_all_close(by_name['a']['knn']['standard_deviation'], 2.0)
    self.assertIsNone(by_name['a']['uniformity']['mean'])

  def test_one_seed_has_no_spread(self):
    made = table.make(['a'], (5,), ('knn',), [(run('a', 5), result(0.7))])
    self.assertEqual(rows(made)['a'], ['1', '70.00'])
    self.assertIn('of every run, seed 5.', made.markdown())

  def test_unfinished_runs_are_counted_out(self):
    made = table.make(['a', 'b'], (0, 1), ('knn',), [(run('a', 1), result(0.7))])
    self.assertEqual(rows(made)['a'], ['1 of 2', '70.00'])
    self.assertEqual(rows(made)['b'], ['0 of 2', '-'])

  def test_nothing_finished(self):
    made = table.make(['a'], (0,), ('knn',), [])
    self.assertEqual(rows(made), {'a': ['0 of 1', '-']})
    self.assertIn('Last step of every run', made.markdown())

  def test_a_number_that_only_some_runs_have(self):
    results = [
      (run('a', 0), result(0.7, last_metrics={'loss': float('nan')})),
      (run('a', 1), result(0.7, last_metrics={'loss': 3.0})),
      (run('a', 2), result(0.7, last_metrics={'loss': 1.0})),
    ]
    made = table.make(['a'], (0, 1, 2), ('loss',), results)
    self.assertEqual(rows(made), {'a': ['3', '2.0000 ± 1.4142 (2 of 3)']})

  def test_representation(self):
    block = {
      'trained': {'crowding_ratio': 0.5, 'uniformity': -3.0, 'feature_std': 0.04},
      'random_init': {'crowding_ratio': 2.0, 'uniformity': -0.5, 'feature_std': None},
    }
    names = ('crowding_ratio', 'uniformity', 'feature_std')
    made = table.make(['a'], (0,), names, [(run('a', 0), result(0.7, representation=block))])
    self.assertEqual(rows(made)['a'], ['1', '0.500', '-3.000', '0.0400'])
    self.assertEqual(rows(made)['random initialization'], ['1', '2.000', '-0.500', '-'])
    self.assertNotIn('raw pixels', rows(made))

  def test_baselines_are_shared_where_images_and_encoder_are(self):
    results = [
      (run('a', 0), result(0.7, 0.2)),
      (run('b', 0, '--method.name=byol', '--data.batch_size=64'), result(0.6, 0.2)),
      (run('wide', 0, '--model.width=8'), result(0.6, 0.3)),
    ]
    made = rows(table.make(['a', 'b', 'wide'], (0,), ('knn',), results))
    self.assertEqual(made['raw pixels'], ['1', '40.00'])
    self.assertEqual(made['random initialization (a, b)'], ['1', '20.00'])
    self.assertEqual(made['random initialization (wide)'], ['1', '30.00'])

  def test_pixels_are_shared_where_they_are_normalized_alike(self):
    results = [
      (run(name, 0, f'--views.normalization={value}'), result(0.7))
      for name, value in (('a', 'recipe'), ('b', 'cifar10'), ('c', 'none'))
    ]
    made = rows(table.make(['a', 'b', 'c'], (0,), ('knn',), results))
    self.assertIn('raw pixels (a, b)', made)
    self.assertIn('raw pixels (c)', made)

  def test_runs_of_several_lengths(self):
    results = [(run('a', 0), result(0.7)), (run('b', 0), result(0.7, steps=1000))]
    made = table.make(['a', 'b'], (0,), ('knn',), results)
    self.assertIn('Last step (290 to 1,000)', made.markdown())

  @parameterized.parameters(
    {}, {'knn': {}}, {'knn': None}, {'knn': {'trained': True}}, {'seconds': {}}, {'knn': 3}
  )
  def test_what_is_missing_is_missing(self, **found):
    for column in columns.COLUMNS.values():
      for subject in (columns.TRAINED, columns.RANDOM_INIT, columns.PIXELS):
        self.assertIsNone(column.read(found, subject))
