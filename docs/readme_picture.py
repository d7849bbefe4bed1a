"""Draws docs/images/quickstart.png: a t-SNE map of test patches by the encoder of a quickstart run.

python docs/readme_picture.py runs/quickstart
"""

import io
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))

import matplotlib

matplotlib.use('Agg')

import numpy as np
from matplotlib import pyplot as plt
from matplotlib.offsetbox import AnnotationBbox, OffsetImage
from PIL import Image
from sklearn.manifold import TSNE

import ssl_jax
from ssl_jax import data

PICTURE = pathlib.Path(__file__).resolve().with_name('images') / 'quickstart.png'
_QUERIES, _NEIGHBORS, _COLORS = 8, 7, 256
_SEPARATION = 0.021  # least distance between thumbnails, in parts of the map's side


def main(run_dir: str) -> None:
  """Writes the picture: nearest training patches of test patches, and a map of test patches."""
  dataset = data.load('photographs', image_size=32)
  train, test = dataset.train, dataset.test
  encoder = ssl_jax.load_encoder(run_dir)
  bank, queries = _normalized(encoder(train.images)), _normalized(encoder(test.images))

  figure = plt.figure(figsize=(10, 5), dpi=100)
  left, right = figure.subplots(1, 2, width_ratios=(_NEIGHBORS + 1.35, 9.6))
  figure.subplots_adjust(0.004, 0.01, 0.996, 0.915, wspace=0.03)
  # The first patch of every second photograph, not one chosen by how well it does.
  shown = [int(np.flatnonzero(test.labels == 2 * row + 1)[0]) for row in range(_QUERIES)]
  nearest = np.argsort(-(queries[shown] @ bank.T), axis=1)[:, :_NEIGHBORS]
  rows = [np.stack([test.images[q], *train.images[n]]) for q, n in zip(shown, nearest, strict=True)]
  left.imshow(_board(np.stack(rows)), interpolation='nearest')
  places = TSNE(init='pca', perplexity=30, random_state=0).fit_transform(queries)
  places = (places - places.min(0)) / np.ptp(places, axis=0)
  drawn: list[np.ndarray] = []
  for place, image in zip(places, test.images, strict=True):
    if all(np.abs(place - other).max() > _SEPARATION for other in drawn):
      right.add_artist(AnnotationBbox(OffsetImage(image, zoom=0.42), place, frameon=False))
      drawn.append(place)
  right.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02))
  for axes, x, title in (
    (left, 0.23, 'Test patch, and its nearest training patches'),
    (right, 0.73, 'Test patches by similarity (t-SNE)'),
  ):
    axes.set_axis_off()
    figure.text(x, 0.95, title, ha='center', fontsize=11)
  raw = io.BytesIO()
  figure.savefig(raw)
  Image.open(raw).convert('RGB').quantize(_COLORS).save(PICTURE, optimize=True)
  print(f'{PICTURE}: {PICTURE.stat().st_size / 1000:.0f} kB')


def _normalized(features: np.ndarray) -> np.ndarray:
  return features / np.linalg.norm(features, axis=1, keepdims=True)


def _board(images: np.ndarray, margin: int = 2) -> np.ndarray:
  """uint8 [row, column, side, side, 3] as one white-ruled picture, the first column set apart."""
  padded = np.pad(
    images,
    ((0, 0), (0, 0), (margin, margin), (margin, margin), (0, 0)),
    'constant',
    constant_values=255,
  )
  rows, columns, side = padded.shape[:3]
  board = padded.transpose(0, 2, 1, 3, 4).reshape(rows * side, columns * side, 3)
  gap = np.full((rows * side, side // 3, 3), 255, np.uint8)
  return np.concatenate([board[:, :side], gap, board[:, side:]], axis=1)


if __name__ == '__main__':
  main(sys.argv[1])
