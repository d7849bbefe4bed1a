"""The door: `python experiments/run.py --flagfile=experiments/flags/photographs/simclr.flags`."""

import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))

from ssl_jax import cli

if __name__ == '__main__':
  sys.exit(cli.main())
