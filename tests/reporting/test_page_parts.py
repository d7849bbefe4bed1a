"""Parts of a page: put in, replaced, kept when the page is rewritten, and never at its cost."""

import base64
import errno
import pathlib
import re
import tempfile
from unittest import mock

import chex
from absl.testing import parameterized

from ssl_jax import reporting
from ssl_jax.reporting.stylesheet import CSS
from tests.reporting.test_report import PIXEL, Page

TABLE = reporting.Table('Scores', 'Of the encoder.', ('', 'trained'), [('kNN', 0.75)])
HOSTILE = '<!-- end evaluation --></main></nav><script>&"\''


class PagePartsTest(chex.TestCase):
  def setUp(self):
    super().setUp()
    folder = tempfile.TemporaryDirectory()
    self.addCleanup(folder.cleanup)
    self.path = pathlib.Path(folder.name) / 'report.html'

  def write(self, title='a run'):
    reporting.write_report(self.path, title=title, summary={'seed': 0}, config_text='--seed=0')

  def add(self, name='evaluation', heading='Evaluation', **content):
    found = reporting.add_to_report(self.path, name, heading=heading, **content)
    self.assertEqual(found, self.path)
    return Page(self.path.read_text('utf-8'))

  def test_sections_and_links_come_last(self):
    self.write()
    page = self.add(
      lead='Measured at step 12.',
      tables=[TABLE],
      figures=[reporting.Figure('Map', 'Of it.', PIXEL)],
    )
    self.assertEqual(
      page.ids,
      ['result', 'configuration', *(f'evaluation-{n}' for n in ('evaluation', 'scores', 'map'))],
    )
    self.assertEqual(
      [link for link in page.addresses if link[0] == '#'], [f'#{name}' for name in page.ids]
    )
    words = ' '.join(page.words)
    for text in ('Measured at step 12.', 'Of the encoder.', '0.7500', 'Of it.'):
      self.assertIn(text, words)
    text = self.path.read_text()
    self.assertIn(base64.b64encode(PIXEL).decode(), text)
    self.assertNotRegex(text, r'https?://|url\(|@import')

  def test_replaces_its_former_self_only(self):
    self.write()
    self.add(lead='the first', tables=[TABLE])
    self.add('probes', 'Probes', lead='another part')
    page = self.add(lead='the second')
    words = ' '.join(page.words)
    self.assertNotIn('the first', words)
    self.assertNotIn('Of the encoder.', words)
    self.assertEqual(words.count('the second'), 1)
    self.assertEqual(words.count('another part'), 1)
    self.assertEqual(len(page.ids), len(set(page.ids)))
    self.assertEqual(page.ids[-2:], ['probes-probes', 'evaluation-evaluation'])

  def test_the_same_part_twice_is_the_same_page(self):
    self.write()
    self.add(lead='a', tables=[TABLE])
    before = self.path.read_bytes()
    self.add(lead='a', tables=[TABLE])
    self.assertEqual(self.path.read_bytes(), before)

  def test_rewriting_the_page_keeps_its_parts(self):
    self.write('the first')
    self.add(lead='Measured at step 12.')
    self.add('probes', 'Probes', lead='another part')
    self.write('the second')
    page = Page(self.path.read_text())
    words = ' '.join(page.words)
    self.assertNotIn('the first', words)
    for text in ('the second', 'Measured at step 12.', 'another part'):
      self.assertIn(text, words)
    self.assertEqual(page.ids[-2:], ['evaluation-evaluation', 'probes-probes'])
    self.assertContainsSubset(['#evaluation-evaluation', '#probes-probes'], page.addresses)
    # A kept part is one that can be replaced.
    self.assertNotIn('step 12', ' '.join(self.add(lead='Measured at step 13.').words))

  @parameterized.parameters(b'', b'\xff\xfe\x00', b'<!-- part evaluation --> torn')
  def test_a_page_without_parts_does_not_stop_a_new_one(self, content):
    self.path.write_bytes(content)
    self.write('new')
    page = Page(self.path.read_text())
    self.assertEqual(page.ids, ['result', 'configuration'])

  def test_text_is_escaped_and_cannot_end_a_part(self):
    content = {
      'lead': HOSTILE,
      'tables': [reporting.Table(HOSTILE, HOSTILE, ('', HOSTILE), [(HOSTILE, HOSTILE)])],
      'figures': [reporting.Figure(HOSTILE, HOSTILE, PIXEL, HOSTILE)],
    }
    for _ in range(2):
      self.write(HOSTILE)  # which keeps the part whole
      page = self.add(heading=HOSTILE, **content)
      self.assertNotIn('script', page.tags)
      self.assertEqual(page.tags.count('img'), 1)
      # Twice the title, 3 links and headings, 2 captions, the lead, and 3 cells.
      self.assertEqual(page.words.count(HOSTILE), 14)

  def test_a_picture_cannot_end_a_part(self):
    image = HOSTILE.encode() + b'<!-- links evaluation -->'
    self.write()
    self.add(figures=[reporting.Figure('Map', '', image)], lead='the first')
    self.write()
    page = self.add(figures=[reporting.Figure('Map', '', image)], lead='the second')
    self.assertNotIn('the first', page.words)
    data = base64.b64encode(image).decode()
    self.assertEqual(
      [one for one in page.addresses if one[0] != '#'], [f'data:image/png;base64,{data}']
    )
    self.assertEqual(self.path.read_text().count('<!--'), 4)  # two of the part, two of its links

  def test_a_file_name_that_is_no_text(self):
    name = b'runs/\xff'.decode(errors='surrogateescape')  # as Python lists such a folder
    self.write(name)
    page = self.add(heading=name, tables=[TABLE._replace(columns=('', name))])
    self.assertEqual(page.words.count('runs/?'), 5)

  def test_headings_that_look_alike_have_addresses_of_their_own(self):
    self.write()
    page = self.add(
      figures=[
        reporting.Figure(heading, '', PIXEL) for heading in ('a 猫', 'a 狗', 'a', 'a-2', '鳥', '魚')
      ]
    )
    self.assertLen(set(page.ids), 2 + 1 + 6)
    self.assertContainsSubset([f'#{name}' for name in page.ids], page.addresses)

  def test_a_page_of_an_older_version_gets_the_style_of_the_part(self):
    self.write()
    text = re.sub('<style>.*</style>', '<style>old { }</style>', self.path.read_text(), flags=re.S)
    self.path.write_text(text)
    self.add()
    self.assertEqual(self.path.read_text().count(CSS), 1)

  @parameterized.parameters('os.fsync', 'pathlib.Path.replace')
  def test_failed_write_keeps_the_page(self, step):
    self.write()
    self.add(lead='the first')
    before = self.path.read_bytes()
    full = OSError(errno.ENOSPC, 'No space left on device')
    for write in (lambda: self.add(lead='the second'), self.write):
      with (
        mock.patch(step, side_effect=full),
        self.assertRaisesRegex(OSError, r'No space left on device.*report\.html'),
      ):
        write()
      self.assertEqual(self.path.read_bytes(), before)
    self.assertEqual([path.name for path in self.path.parent.iterdir()], ['report.html'])

  def test_refusals(self):
    with self.assertRaises(FileNotFoundError):
      self.add()
    for content in (b'<html></html>', b'\xff'):
      self.path.write_bytes(content)
      with self.assertRaisesRegex(ValueError, r'report\.html: found another file'):
        self.add()
      self.assertEqual(self.path.read_bytes(), content)
    for name in ('', 'a b', '--', 'A', 'a\n'):
      with self.assertRaisesRegex(ValueError, r'^name: found .*, must be lower-case letters$'):
        self.add(name)
