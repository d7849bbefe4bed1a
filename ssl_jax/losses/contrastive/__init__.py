"""Contrastive losses: NT-Xent, InfoNCE and all that is composed of the same sums over rows."""
