"""Sweeps: runs every variant with every seed, resumable, and tabulates them at the last step."""

from ssl_jax.sweeps.command_line import main

__all__ = ['main']
