"""The report page: self-contained, escaped, complete, and written in one piece."""

import base64
import errno
import html.parser
import pathlib
import tempfile
from unittest import mock

import chex

from ssl_jax import reporting

PIXEL = base64.b64decode(
  'iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=='
)
VOID = {'meta', 'img', 'br', 'link'}


class Page(html.parser.HTMLParser):
  """Tags, text and addresses of a page; fails on tags that do not nest."""

  def __init__(self, text):
    super().__init__()
    self.open, self.words, self.addresses, self.ids, self.tags = [], [], [], [], []
    self.feed(text)
    self.close()
    assert not self.open, self.open

  def handle_starttag(self, tag, attributes):
    self.tags.append(tag)
    if tag not in VOID:
      self.open.append(tag)
    for name, value in attributes:
      if name in ('src', 'href', 'srcset', 'data', 'action', 'poster'):
        self.addresses.append(value)
      if name == 'id':
        self.ids.append(value)

  def handle_endtag(self, tag):
    assert self.open.pop() == tag

  def handle_data(self, data):
    self.words.append(data)


class ReportTest(chex.TestCase):
  def setUp(self):
    super().setUp()
    folder = tempfile.TemporaryDirectory()
    self.addCleanup(folder.cleanup)
    self.path = pathlib.Path(folder.name) / 'run' / 'report.html'

  def write(self, **arguments):
    arguments = {'title': 'a run', 'summary': {}} | arguments
    self.assertEqual(reporting.write_report(self.path, **arguments), self.path)
    return Page(self.path.read_text('utf-8'))

  def full(self):
    return self.write(
      title='simclr on <photographs> & more',
      summary={'Method': 'simclr', 'Speed': '2,134 "images"/s'},
      scores={'Trained encoder': 0.782, 'Random initialization': 0.58, 'Raw pixels': 0.8},
      figures=[
        reporting.Figure('Views', 'What the model sees.', PIXEL, photographic=True),
        ('t-SNE', 'A map of <embeddings>.', PIXEL),
        ('Scheme', 'A drawing.', b'<svg xmlns="http://www.w3.org/2000/svg"/>', 'image/svg+xml'),
      ],
      config_text='--data.source=folder:<script>alert(1)</script>\n--seed=0',
      versions={'jax': '0.10.2'},
      devices='1 x cpu (2 cores)',
      timings={'compile': 12.0, 'step': 180.0, 'other': 8.0},
    )

  def test_has_every_section_and_number(self):
    page = self.full()
    words = ' '.join(page.words)
    for text in (
      *('simclr on <photographs> & more', '78.2 %', '58.0 %', '20.2 points above'),
      *('1.8 points below', '2,134 "images"/s', 'What the model sees.', 'A map of <embeddings>.'),
      *('180.0 s', '90.0 %', '3:20 in all', '--seed=0', '<script>alert(1)</script>'),
      *('0.10.2', '1 x cpu (2 cores)'),
    ):
      self.assertIn(text, words)
    expected = ['result', 'views', 't-sne', 'scheme', 'where-the-time-went', 'configuration']
    self.assertEqual(page.ids, [*expected, 'versions-and-devices'])
    self.assertEqual(
      [link for link in page.addresses if link[0] == '#'], [f'#{i}' for i in page.ids]
    )

  def test_needs_no_other_file(self):
    page = self.full()
    for address in page.addresses:
      self.assertRegex(address, r'^(#[a-z-]+|data:image/(png|svg\+xml);base64,[A-Za-z0-9+/=]+)$')
    self.assertFalse({'script', 'link', 'iframe', 'object'} & set(page.tags))
    text = self.path.read_text()
    self.assertNotRegex(text, r'https?://|url\(|@import')
    self.assertIn(base64.b64encode(PIXEL).decode(), text)

  def test_what_is_missing_is_left_out(self):
    page = self.write()
    self.assertEqual(page.ids, ['result'])
    self.assertIn('No accuracy was measured', ' '.join(page.words))
    self.assertNotIn('img', page.tags)

  def test_failed_write_keeps_the_old_page(self):
    self.write(title='the first')
    full = OSError(errno.ENOSPC, 'No space left on device')
    with (
      mock.patch('os.fsync', side_effect=full),
      self.assertRaisesRegex(OSError, r'No space left on device.*report\.html'),
    ):
      self.write(title='the second')
    self.assertIn('the first', self.path.read_text())
    self.assertEqual([path.name for path in self.path.parent.iterdir()], ['report.html'])


class EnvironmentTest(chex.TestCase):
  def test_versions(self):
    import jax

    versions = reporting.collect_versions()
    self.assertEqual(versions['jax'], jax.__version__)
    for name in (
      'python',
      'ssl_jax',
      'jaxlib',
      'flax',
      'optax',
      'orbax-checkpoint',
      'chex',
      'numpy',
    ):
      self.assertRegex(versions[name], r'^\d+\.\d+')

  def test_devices(self):
    import jax

    text = reporting.describe_devices()
    self.assertStartsWith(text, f'{jax.device_count()} x ')
    if jax.default_backend() == 'cpu':
      self.assertRegex(text, r'^8 x cpu \(\d+ cores')
