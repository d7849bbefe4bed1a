"""ICCL: a similarity loss that fades into a cross-entropy over features as clusters (paper 2)."""
