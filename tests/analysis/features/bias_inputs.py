"""Images of several views with labels: the worked examples, and random ones."""

import numpy as np

TWO_CLASSES = (
  [
    [[1.0, 0, 0], [2, 1, 0]],
    [[0, 2, 0], [0, 1, 1]],
    [[1, 1, 1], [1, 0, 2]],
    [[0, 0, 1], [0, 1, 2]],
  ],
  [0, 0, 1, 1],
)
THREE_CLASSES = (
  [
    [[2.0, 0, 1], [1, 0, 0]],
    [[1, 1, 0], [2, 0, 0]],
    [[1, 0, 1], [2, 1, 1]],
    [[0, 1, 0], [0, 2, 1]],
    [[1, 2, 0], [0, 1, 0]],
    [[0, 0, 1], [0, 1, 2]],
  ],
  [0, 0, 0, 1, 1, 2],
)


def random_views(seed, images=9, views=3, dim=4, classes=3):
  """Views that scatter about images, which scatter about classes, at random ratios."""
  rng = np.random.default_rng(seed)
  labels = np.concatenate([np.arange(classes), np.sort(rng.integers(0, classes, images - classes))])
  spread = rng.uniform(0, 2, 3)
  features = spread[0] * rng.normal(size=(classes, 1, dim))[labels]
  features = features + spread[1] * rng.normal(size=(images, 1, dim))
  return features + spread[2] * rng.normal(size=(images, views, dim)), labels
