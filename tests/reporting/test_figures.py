"""Figures: valid PNGs of the promised size, from complete and from poor data."""

import io
import sys
from unittest import mock

import chex
import numpy as np
from absl.testing import parameterized

from ssl_jax.reporting import figures
from ssl_jax.reporting.figures import canvas, curves, embedding


def decode(data):
  """The picture as an array; Pillow refuses what is no complete PNG."""
  from PIL import Image

  image = Image.open(io.BytesIO(data), formats=['PNG'])
  pixels = np.asarray(image.convert('RGB'))
  chex.assert_shape(pixels, (None, canvas.WIDTH * canvas.DOTS_PER_INCH, 3))
  return pixels


def has_color(pixels, color):
  wanted = np.array([int(color[at : at + 2], 16) for at in (1, 3, 5)])
  return bool((np.abs(pixels.astype(int) - wanted).max(-1) < 3).any())


def rows(count=12):
  return [
    {'step': step, 'time': 1.0, 'loss': 5 - step / 4, 'learning_rate': 0.1, 'gradient_norm': 1.0}
    for step in range(count)
  ]


def images(*shape):
  return np.random.default_rng(0).integers(0, 256, (*shape, 16, 16, 3), np.uint8)


class CurvesTest(chex.TestCase):
  @parameterized.parameters(1, 12, 400)
  def test_loss_and_optimizer(self, count):
    decode(figures.loss_curves([{**row, 'uniformity': 0.5, 'knn': 0.1} for row in rows(count)]))
    decode(figures.optimizer_curves(rows(count)))

  def test_scores_of_protocols_have_curves_of_their_own(self):
    scores = [
      {**row, 'spectrum/rank_me': 3.0, 'crowding/silhouette_of_classes': 0.1} for row in rows(5)
    ]
    decode(figures.protocol_curves(scores))
    with self.assertRaisesRegex(ValueError, 'found no PROTOCOL/SCORE'):
      figures.protocol_curves(rows(5))
    with self.assertRaisesRegex(ValueError, 'found no metric of the loss'):
      figures.loss_curves([{'step': 1, 'spectrum/rank_me': 3.0}])

  def test_more_parts_make_a_taller_figure(self):
    parts = {f'part{index}': 1.0 for index in range(5)}
    small = decode(figures.loss_curves(rows()))
    large = decode(figures.loss_curves([{**row, **parts} for row in rows()]))
    self.assertGreater(len(large), len(small))

  def test_knn_draws_every_baseline(self):
    history = [*rows(), {'step': 5, 'knn': 0.5}, {'step': 11, 'knn': float('nan')}]
    alone = decode(figures.knn_curve(history))
    self.assertTrue(has_color(alone, canvas.PALETTE[0]))
    self.assertFalse(has_color(alone, canvas.PALETTE[1]))
    both = decode(figures.knn_curve(history, {'random initialization': 0.4, 'raw pixels': 0.4}))
    self.assertTrue(has_color(both, canvas.PALETTE[1]) and has_color(both, canvas.PALETTE[2]))

  def test_same_rows_same_bytes(self):
    self.assertEqual(figures.loss_curves(rows()), figures.loss_curves(rows()))

  def test_series_are_sorted_and_finite(self):
    history = [{'step': 3, 'a': 1.0}, {'step': 1, 'a': 2.0}, {'step': 2, 'a': np.nan}, {'step': 4}]
    steps, values = curves._series(history, 'a')
    self.assertEqual((steps.tolist(), values.tolist()), ([1, 3], [2.0, 1.0]))

  def test_smoothing_keeps_lines_and_ends(self):
    line = np.arange(50.0)
    np.testing.assert_allclose(curves._smooth(line, 7), line)
    noisy = line + np.random.default_rng(0).normal(size=50)
    smooth = curves._smooth(noisy, 7)
    np.testing.assert_allclose(smooth[[0, -1]], noisy[[0, -1]])
    self.assertLess(np.std(smooth[8:-8] - line[8:-8]), 0.5 * np.std(noisy - line))

  def test_nothing_to_draw(self):
    for draw in (figures.loss_curves, figures.knn_curve, figures.optimizer_curves):
      with self.assertRaisesRegex(ValueError, r'^rows: found'):
        draw([{'step': 1, 'time': 2.0}])


class TsneTest(chex.TestCase):
  def test_clusters_stay_apart(self):
    rng = np.random.default_rng(0)
    labels = np.arange(60) % 3
    features = np.eye(3)[labels] + 0.05 * rng.normal(size=(60, 3))
    points = embedding._place(features.astype(np.float32))
    centers = np.stack([points[labels == label].mean(0) for label in range(3)])
    nearest = np.linalg.norm(points[:, None] - centers, axis=-1).argmin(1)
    np.testing.assert_array_equal(nearest, labels)
    pixels = decode(figures.tsne(features, labels, ['cat', 'dog']))  # the third class has no name
    for color in canvas.PALETTE[:3]:
      self.assertTrue(has_color(pixels, color))

  @parameterized.parameters(3, 4, 40)
  def test_unlabeled_and_few_rows(self, count):
    decode(figures.tsne(np.random.default_rng(0).normal(size=(count, 8)), max_points=20))

  def test_collapsed_features_are_one_point(self):
    features = np.ones((20, 8), np.float32)
    np.testing.assert_array_equal(embedding._place(features), 0)
    decode(figures.tsne(features, np.zeros(20, int)))

  def test_more_classes_than_a_legend_holds(self):
    features = np.random.default_rng(0).normal(size=(60, 4))
    decode(figures.tsne(features, np.arange(60) % 40))

  def test_errors(self):
    with self.assertRaisesRegex(ValueError, r'^features: found shape \(2, 4\)'):
      figures.tsne(np.zeros((2, 4)))
    with self.assertRaisesRegex(ValueError, r'^features: found NaN'):
      figures.tsne(np.full((9, 4), np.nan))
    with self.assertRaisesRegex(ValueError, r'^labels: found shape \(8,\), must be \(9,\)'):
      figures.tsne(np.zeros((9, 4)), np.zeros(8))


class TsnePanelsTest(chex.TestCase):
  def panels(self, count, labels, names=()):
    """The matplotlib Figure, laid out, in place of its PNG."""
    features = {f'encoder {at}': np.ones((60, 4)) for at in range(count)}
    with mock.patch.object(canvas, 'png', lambda drawing: drawing):
      drawing = figures.tsne_panels(features, labels, names)
    drawing.canvas.draw()
    return drawing

  @parameterized.parameters(1, 2, 3)
  def test_a_panel_each_and_one_legend(self, count):
    drawing = self.panels(count, np.arange(60) % 3, ['cat', 'dog'])
    self.assertEqual(
      [axes.get_title(loc='left') for axes in drawing.axes],
      [f'encoder {at}' for at in range(count)],
    )
    (legend,) = drawing.legends
    self.assertEqual([one.get_text() for one in legend.get_texts()], ['cat', 'dog', '2'])
    self.assertEqual(self.panels(count, None).legends, [])

  @parameterized.parameters(('w' * 99, 1), ('a name of some length', 19), ('i', 24), ('w' * 99, 40))
  def test_the_legend_is_within_the_picture_and_leaves_room(self, name, classes):
    drawing = self.panels(2, np.arange(60) % classes, [f'{at} {name}' for at in range(classes)])
    legend, whole = drawing.legends[0].get_window_extent(), drawing.bbox
    self.assertTrue(whole.x0 <= legend.x0 and legend.x1 <= whole.x1, (legend, whole))
    height = drawing.axes[0].get_window_extent().height / drawing.dpi
    self.assertBetween(height, 3.9, 5.2)  # inches

  def test_is_the_map_of_each(self):
    rng = np.random.default_rng(0)
    features = {'a': rng.normal(size=(12, 4)), 'b': rng.normal(size=(12, 4))}
    with mock.patch.object(canvas, 'png', lambda drawing: drawing):
      drawing = figures.tsne_panels(features)
    for axes, rows in zip(drawing.axes, features.values(), strict=True):
      np.testing.assert_array_equal(
        axes.collections[0].get_offsets(), embedding._place(rows.astype(np.float32))
      )

  def test_errors(self):
    good = np.ones((9, 4))
    with self.assertRaisesRegex(ValueError, r'^features: found none'):
      figures.tsne_panels({})
    with self.assertRaisesRegex(ValueError, r'^features: found NaN'):
      figures.tsne_panels({'a': good, 'b': np.full((9, 4), np.inf)})
    with self.assertRaisesRegex(ValueError, r'^labels: found shape \(9,\), must be \(8,\)'):
      figures.tsne_panels({'a': good, 'b': good[1:]}, np.zeros(9, int))


class ConfusionTest(chex.TestCase):
  def setUp(self):
    super().setUp()
    smaller = mock.patch.object(canvas, 'DOTS_PER_INCH', 100)  # sooner
    smaller.start()
    self.addCleanup(smaller.stop)

  # A hundredfold is beyond each of them, apart from the double.
  @parameterized.parameters((np.uint8, 50), (np.int16, 5000), (np.float16, 5000), (np.float64, 1))
  def test_numbers_of_any_type(self, dtype, scale):
    found = figures.confusion_matrix(scale * np.array([[4, 1], [0, 5]], dtype))
    self.assertEqual(found, figures.confusion_matrix([[0.8, 0.2], [0, 1]]))

  def test_a_thousand_classes_of_long_names(self):
    names = [f'{at} {"w" * 99}' for at in range(990)]  # the last have none
    pixels = decode(figures.confusion_matrix(np.eye(1000, dtype=int), names))
    self.assertTrue(has_color(pixels, '#08306b'))

  def test_cells_are_percent_of_the_row(self):
    with mock.patch.object(canvas, 'png', lambda drawing: drawing):
      axes = figures.confusion_matrix([[3, 1, 0], [0, 0, 0], [1, 0, 999]], ['a', 'b']).axes[0]
    cells = {one.get_position(): one.get_text() for one in axes.texts}
    self.assertEqual(cells, {(0, 0): '75', (1, 0): '25', (2, 2): '100'})
    self.assertEqual([one.get_text() for one in axes.get_yticklabels()], ['a', 'b', '2'])
    shares = axes.images[0].get_array()
    np.testing.assert_allclose(shares[[0, 2]], [[75, 25, 0], [0.1, 0, 99.9]])
    self.assertTrue(np.ma.getmaskarray(shares)[1].all())  # white, as no image is of it


class PicturesTest(chex.TestCase):
  def test_contact_sheet_shows_each_image_and_view(self):
    colors = ('#ff0000', '#00ff00', '#0000ff', '#ffff00')
    solid = lambda color: np.full(
      (8, 8, 3), [int(color[at : at + 2], 16) for at in (1, 3, 5)], np.uint8
    )
    originals = np.stack([solid(colors[0])])
    views = np.stack([np.stack([solid(color) for color in colors[1:]])]) / 255
    pixels = decode(figures.contact_sheet(originals, views, ['first', 'second']))
    for color in colors:
      self.assertTrue(has_color(pixels, color))

  @parameterized.parameters((1, 2), (25, 3))
  def test_contact_sheet_of_any_number(self, count, views):
    decode(figures.contact_sheet(images(count), images(count, views), ['a rather long view name']))

  def test_frames_tell_hits_from_misses(self):
    black = lambda array: np.zeros_like(array)
    queries, neighbors = black(images(2)), black(images(2, 4))
    blue, orange = canvas.PALETTE[:2]
    for hits, found in (
      (None, (False, False)),
      (np.ones((2, 4), bool), (True, False)),
      (np.zeros((2, 4), bool), (False, True)),
    ):
      pixels = decode(figures.neighbor_grid(queries, neighbors, hits))
      self.assertEqual((has_color(pixels, blue), has_color(pixels, orange)), found)

  def test_errors(self):
    with self.assertRaisesRegex(ValueError, r'^views: found 3 images, must be 2'):
      figures.contact_sheet(images(2), images(3, 2))
    with self.assertRaisesRegex(ValueError, r'^originals: found shape \(16, 16, 3\)'):
      figures.contact_sheet(images(), images(1, 2))
    with self.assertRaisesRegex(ValueError, r'^views: found values from .* must be in \[0, 1\]'):
      figures.contact_sheet(images(2), images(2, 2).astype(np.float32))
    with self.assertRaisesRegex(ValueError, r'^hits: found shape \(2, 5\), must be \(2, 4\)'):
      figures.neighbor_grid(images(2), images(2, 4), np.ones((2, 5)))


class GlobalStateTest(chex.TestCase):
  def test_pyplot_is_never_imported(self):
    with mock.patch.dict(sys.modules, {'matplotlib.pyplot': None}):  # importing it would raise
      figures.loss_curves(rows())
      figures.contact_sheet(images(2), images(2, 2))
      figures.confusion_matrix(np.eye(2))
      figures.metric_bars({'a': {'b': 1.0}})
      figures.similarity_histograms_plot([0, 1, 2], {'a': {'b': [1, 0]}})
      figures.probe_curve({'a': [0.5]})
      figures.tsne_panels({'a': np.ones((3, 2))}, np.zeros(3, int))
