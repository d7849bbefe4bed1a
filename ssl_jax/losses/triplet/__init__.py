"""The truncated triplet loss: a positive distance against that of one deputy negative (paper 1)."""
