"""Checkpoints with a manifest written last: saving, retention, exact restoring."""
