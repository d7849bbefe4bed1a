"""Progress lines and bars."""

import io
import os
import sys
from unittest import mock

import chex
from absl.testing import parameterized

from ssl_jax.reporting import Progress, format_duration


class Clock:
  now = 0.0

  def __call__(self):
    return self.now


class Terminal(io.StringIO):
  def isatty(self):
    return True


class ProgressTest(chex.TestCase):
  def setUp(self):
    super().setUp()
    self.clock = Clock()
    self.stream = io.StringIO()

  def lines(self):
    return self.stream.getvalue().splitlines()

  def test_plain_line(self):
    with Progress(1200, 200, stream=self.stream, clock=self.clock) as progress:
      self.clock.now = 30  # compilation
      progress.update(20, {'loss': 5.0})
      self.clock.now = 50
      progress.update(120, {'loss': 4.1234, 'knn': 0.612, 'images_per_second': 2134.4, 'x': 1})
      progress.log('saved a checkpoint')
    self.assertEqual(
      self.lines(),
      [
        'step 20/1200  loss 5.000  133 images/s  ETA 29:30',
        'step 120/1200  loss 4.123  kNN 61.2 %  2,134 images/s  ETA 3:36',
        'saved a checkpoint',
      ],
    )

  def test_speed_is_that_of_the_interval_and_the_time_left_ignores_compilation(self):
    progress = Progress(100, 10, stream=self.stream, clock=self.clock)
    for now, step in ((50, 10), (60, 20), (62, 30)):
      self.clock.now = now
      progress.update(step, {})
    self.assertEqual(self.lines()[1], 'step 20/100  10 images/s  ETA 1:20')
    self.assertEqual(self.lines()[2], 'step 30/100  50 images/s  ETA 0:42')

  def test_resumed_run_counts_from_where_it_starts(self):
    progress = Progress(100, 10, start_step=80, stream=self.stream, clock=self.clock)
    self.clock.now = 10
    progress.update(90, {'loss': 1.0})
    self.assertEqual(self.lines(), ['step 90/100  loss 1.000  10 images/s  ETA 0:10'])

  def test_an_evaluation_between_two_intervals(self):
    progress = Progress(100, 10, stream=self.stream, clock=self.clock)
    for now, step, metrics in (
      (0, 0, {'knn': 0.25}),
      (10, 10, {'loss': 2.0}),
      (70, 10, {'knn': 0.5}),
      (80, 20, {'loss': float('nan')}),
    ):
      self.clock.now = now
      progress.update(step, metrics)
    self.assertEqual(
      self.lines(),
      [
        'step 0/100  kNN 25.0 %',
        'step 10/100  loss 2.000  kNN 25.0 %  10 images/s  ETA 1:30',
        'step 10/100  loss 2.000  kNN 50.0 %  10 images/s',
        'step 20/100  loss nan  kNN 50.0 %  10 images/s  ETA 9:20',
      ],
    )

  @parameterized.parameters(
    (4.1234, '4.123'), (-0.51239, '-0.5124'), (123.45, '123.5'), (0.0, '0.000'), (1e-9, '1.000e-09')
  )
  def test_digits(self, loss, text):
    Progress(1, 1, stream=self.stream, clock=self.clock).update(0, {'loss': loss})
    self.assertEqual(self.lines(), [f'step 0/1  loss {text}'])

  def test_without_rich_lines_go_to_terminals_too(self):
    stream = Terminal()
    with mock.patch.dict(sys.modules, {'rich': None}):
      Progress(2, 1, stream=stream, clock=self.clock).update(0, {'loss': 1.0})
    self.assertEqual(stream.getvalue(), 'step 0/2  loss 1.000\n')

  def test_bar_on_a_terminal(self):
    stream = Terminal()
    environment = {'TERM': 'xterm-256color', 'COLUMNS': '110', 'LINES': '30'}
    with mock.patch.dict(os.environ, environment):
      with Progress(10, 100, stream=stream, clock=self.clock) as progress:
        self.clock.now = 5
        progress.update(5, {'loss': 2.0, 'knn': 0.25})
        progress.log('[saved] a checkpoint')
      progress.close()
    shown = stream.getvalue()
    for text in ('step 5/10', 'loss 2.000', 'kNN 25.0 %', '100 images/s', 'ETA 0:05'):
      self.assertIn(text, shown)
    self.assertIn('[saved] a checkpoint', shown)
    self.assertIn('\x1b[?25h', shown)  # the cursor is back

  @parameterized.parameters((0, '0:00'), (59.6, '1:00'), (200, '3:20'), (3600, '1:00:00'))
  def test_durations(self, seconds, text):
    self.assertEqual(format_duration(seconds), text)
