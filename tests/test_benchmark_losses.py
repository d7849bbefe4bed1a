"""The benchmark of losses runs, at sizes that say nothing of speed."""

import json
import pathlib
import tempfile

import chex
from absl.testing import parameterized

from benchmarks import losses as benchmark

SMALL = ['--dim=8', '--block_size=16', '--rounds=1', '--seconds=0']


class BenchmarkTest(chex.TestCase):
  def test_versions_agree(self):
    with tempfile.TemporaryDirectory() as folder:
      out = pathlib.Path(folder) / 'results' / 'small.json'
      benchmark.main([*SMALL, '--batches=32,48', '--catalog_batch=0', f'--out={out}'])
      facts = json.loads(out.read_text())
    self.assertContainsSubset({'devices', 'versions', 'commit'}, facts)
    rows = facts['nt_xent']
    expected = [(batch, version) for batch in (32, 48) for version in benchmark.versions(16)]
    self.assertEqual([(row['batch'], row['version']) for row in rows], expected)
    for row in rows:
      whole = next(x for x in rows if x['batch'] == row['batch'])
      self.assertAlmostEqual(row['loss'], whole['loss'], delta=1e-5)
      self.assertGreater(row['ms'], 0)
    # The broadcast of batch x batch x dim beside the matrix product.
    self.assertGreater(rows[3]['temporary_mib'], rows[0]['temporary_mib'])

  @parameterized.parameters('supervised_contrastive', 'instance_contrastive, 32 drawn')
  def test_catalog(self, name):
    row = benchmark.measure_case(name, benchmark.parse([*SMALL, '--catalog_batch=48']))
    self.assertAlmostEqual(row['whole']['loss'], row['blocked']['loss'], delta=1e-5)
    self.assertIn(f'`{name}`', benchmark.catalog_table([row]))

  def test_what_is_too_large_is_not_run(self):
    options = benchmark.parse([*SMALL, '--max_gib=0'])
    rows = benchmark.measure_versions(32, options)
    for row in rows:
      self.assertNotIn('ms', row)
    self.assertIn('GiB, not run', benchmark.versions_table(rows))

  def test_devices(self):
    table = benchmark.devices_table([256], [1, 4], benchmark.parse(SMALL))
    for way in benchmark.WAYS:
      self.assertRegex(table, rf'\n\| 256, `{way}` \| \d+ MiB \| \d+ MiB \|')

  def test_one_version(self):
    options = benchmark.parse(['--only=blocked'])
    self.assertEqual(options.catalog_batch, 0)
    self.assertEqual(benchmark.parse([]).catalog_batch, 4096)
    with self.assertRaises(SystemExit):
      benchmark.parse(['--only=fast'])
