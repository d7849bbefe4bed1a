"""Many runs, one table: a list of variants times seeds, resumable, compared at the last step."""

from ssl_jax.sweeps.command_line import main

__all__ = ['main']
