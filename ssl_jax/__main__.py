"""`python -m ssl_jax`: the program `ssl-jax`."""

import sys

from ssl_jax import cli

if __name__ == '__main__':
  sys.exit(cli.main())
