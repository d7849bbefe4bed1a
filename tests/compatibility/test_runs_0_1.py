"""Runs and weights written by version 0.1, whose names differ: they resume, evaluate and compare.

`runs_0_1/` holds two runs on digits of 8 pixels, of `experiments/run.py` at commit 7cce853. The
paths in them were made relative, and their checkpoints packed.

* simclr_dsa: as it stood at step 4 of 8. `simclr_dsa_end.jsonl` has the metrics that version 0.1
  wrote from there to the end.
* iccl: finished, with its `evaluation.json`.
* perceptron: `models.mlp(4, (3, 2), norms=(True, True))` after a batch, by `models.save_weights`.
"""

import json
import pathlib
import shutil
import tarfile

import chex
import numpy as np
import pytest
from absl.testing import parameterized

from ssl_jax import models
from ssl_jax.reporting import read_metrics
from ssl_jax.training import Checkpoints
from ssl_jax.training.checkpoints import state_tree
from tests.tasks import small_runs

STORED = pathlib.Path(__file__).parent / 'runs_0_1'
# Counts of a few images: near a tie, rounding decides which neighbor is nearest.
COUNTS = {'contrast_accuracy', 'knn', 'crowding/nearest_neighbor_error'}
# Not functions of the state.
CLOCKS = {'time', 'images_per_second'}


def unpack(name: str, folder: pathlib.Path) -> pathlib.Path:
  """A copy of a stored run, with its checkpoints unpacked."""
  run = folder / name
  shutil.copytree(STORED / name, run)
  archive = run / 'checkpoints.tar.xz'
  with tarfile.open(archive) as packed:
    packed.extractall(run, filter='data')
  archive.unlink()
  return run


def call(*argv: str) -> str:
  status, out, err = small_runs.finish(small_runs.start(list(argv)))
  assert status == 0, err
  return out


class RunsTest(chex.TestCase):
  @pytest.fixture(autouse=True)
  def _folder(self, tmp_path):
    self.folder = tmp_path

  def test_resumes_and_ends_at_the_same_metrics(self):
    run = unpack('simclr_dsa', self.folder)
    kept = read_metrics(run / 'metrics.jsonl')
    out = call(f'--flagfile={run}/config.flags', f'--run_dir={run}')
    self.assertIn('resume    from step 4 of 8', out)
    rows = read_metrics(run / 'metrics.jsonl')
    self.assertEqual(rows[: len(kept)], kept)
    # An interrupted run measures again what it has measured at the step of the checkpoint.
    found = [row for row in rows[len(kept) :] if row['step'] > 4]
    expected = read_metrics(STORED / 'simclr_dsa_end.jsonl')
    self.assertLen(found, len(expected))
    for row, wanted in zip(found, expected, strict=True):
      self.assertEqual(row['step'], wanted['step'])
      for name in wanted.keys() - CLOCKS:
        rule = {'atol': 0.11} if name in COUNTS else {'rtol': 2e-4, 'atol': 2e-5}
        np.testing.assert_allclose(row[name], wanted[name], **rule, err_msg=name)

  def test_evaluates(self):
    run = unpack('iccl', self.folder)
    stored = json.loads((run / 'evaluation.json').read_text())['protocols']
    expected = stored['knn']['scores']
    call('--task=evaluate', '--protocols=knn', '--evaluate.knn_k=5', f'--run_dir={run}')
    found = json.loads((run / 'evaluation.json').read_text())
    self.assertEqual(found['step'], 8)
    for encoder, scores in found['protocols']['knn']['scores'].items():
      for name, score in scores.items():
        # 0.03 is 5 of 179 images.
        self.assertAlmostEqual(score, expected[encoder][name], delta=0.03, msg=f'{encoder} {name}')
    # What is not measured again stays, under the names of today.
    self.assertEqual(set(found['protocols']), {'knn', 'low_shot', 'mean_classifier', 'iccl_knn5'})
    for name, former in (('low_shot', 'few_labels'), ('mean_classifier', 'class_means')):
      self.assertEqual(found['protocols'][name]['scores'], stored[former]['scores'])

  @pytest.mark.slow
  def test_compares(self):
    runs = [str(unpack(name, self.folder)) for name in ('simclr_dsa', 'iccl')]
    page = self.folder / 'page'
    call(
      '--task=evaluate',
      '--protocols=knn',
      '--evaluate.knn_k=5',
      f'--compare={",".join(runs)}',
      f'--run_dir={page}',
    )
    table = (page / 'comparison.csv').read_text().splitlines()
    for name in ('simclr_dsa', 'iccl', 'untrained'):
      self.assertIn(name, table[0])
    self.assertTrue((page / 'comparison.html').is_file())

  def test_a_checkpoint_is_read_under_the_names_of_today_and_stays_as_it_is(self):
    run = unpack('simclr_dsa', self.folder)
    files = lambda: {path: path.read_bytes() for path in run.rglob('*') if path.is_file()}
    before = files()
    stored, step = Checkpoints(run / 'checkpoints', read_only=True).read()
    self.assertEqual(step, 4)
    parts = {'batch_stats', 'key', 'method_state', 'opt_state', 'params', 'step', 'target'}
    self.assertEqual(set(stored), parts)
    self.assertEqual(set(stored['method_state']), {'dsa_temperature'})
    self.assertEqual(files(), before)


class NamesTest(chex.TestCase):
  def test_parts_of_a_state(self):
    saved = ['params/stats/extra', 'stats/encoder/mean', 'extra/dsa_prior/stats/mean', 'key']
    self.assertEqual(
      list(state_tree.current_paths(saved).values()),
      [
        'params/stats/extra',
        'batch_stats/encoder/mean',
        'method_state/dsa_prior/batch_stats/mean',
        'key',
      ],
    )
    # A state that has a part of the former name keeps it.
    self.assertEqual(state_tree.current_paths(['stats'], wanted={'stats'}), {'stats': 'stats'})

  @parameterized.parameters('npz', 'safetensors')
  def test_weights(self, ending):
    network = models.mlp(4, (3, 2), norms=(True, True))
    path = STORED / f'perceptron.{ending}'
    found = models.load_weights(path, network)
    with np.load(STORED / 'perceptron.npz') as arrays:
      expected = {name.replace('stats/', 'batch_stats/'): arrays[name] for name in arrays.files}
    self.assertEqual(models.flatten(found).keys(), expected.keys())
    chex.assert_trees_all_equal(models.flatten(found), expected)
    self.assertGreater(np.abs(found['batch_stats']['norm1']['mean']).max(), 0)
