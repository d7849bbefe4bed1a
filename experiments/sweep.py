"""Variants times seeds and one table: `python experiments/sweep.py --help`."""

import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))

from ssl_jax import sweeps

if __name__ == '__main__':
  run = pathlib.Path(__file__).resolve().with_name('run.py')
  sys.exit(sweeps.main(sys.argv[1:], (sys.executable, str(run))))
