"""Class sizes like those of ImageNet's training images; not the real ones."""

COUNTS = [1300] * 895 + [732 + 5 * i for i in range(105)]
PROBS = [count / sum(COUNTS) for count in COUNTS]
