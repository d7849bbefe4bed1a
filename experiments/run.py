"""The program `ssl-jax`, from a checkout: `python experiments/run.py --help`."""

import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))

from ssl_jax import cli

if __name__ == '__main__':
  sys.exit(cli.main())
