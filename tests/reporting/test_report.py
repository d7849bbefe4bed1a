"""The report page: self-contained, escaped and complete."""

import base64
import html.parser

import chex

from ssl_jax import reporting

PIXEL = base64.b64decode(
  'iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=='
)
TABLE = reporting.Table('Scores', 'Of the encoder.', ('', 'trained'), [('kNN', 0.75)])
HOSTILE = '<!-- --></main></nav><script>&"\''
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
  def render(self, **arguments):
    self.text = reporting.render_report(**({'title': 'a run', 'summary': {}} | arguments))
    return Page(self.text)

  def full(self):
    return self.render(
      title='simclr on <photographs> & more',
      summary={'Method': 'simclr', 'Speed': '2,134 "images"/s'},
      scores={'Trained encoder': 0.782, 'Random initialization': 0.58, 'Raw pixels': 0.8},
      figures=[
        reporting.Figure('Views', 'What the model sees.', PIXEL, photographic=True),
        reporting.Figure('t-SNE', 'A map of <embeddings>.', PIXEL),
        reporting.Figure('Scheme', 'A drawing.', b'<svg/>', 'image/svg+xml'),
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
    self.assertNotRegex(self.text, r'https?://|url\(|@import')
    self.assertIn(base64.b64encode(PIXEL).decode(), self.text)

  def test_what_is_missing_is_left_out(self):
    page = self.render()
    self.assertEqual(page.ids, ['result'])
    self.assertIn('No accuracy was measured', ' '.join(page.words))
    self.assertNotIn('img', page.tags)

  def part(self, heading='Evaluation', **content):
    part = reporting.Part(heading, **content)
    return self.render(summary={'seed': 0}, config_text='--seed=0', parts=[part])

  def test_a_part_stands_between_the_figures_and_the_details(self):
    page = self.part(
      lead='Measured at step 12.',
      tables=[TABLE],
      figures=[reporting.Figure('Map', 'Of it.', PIXEL)],
      appendix=[TABLE._replace(heading='All numbers')],
    )
    self.assertEqual(
      page.ids, ['result', 'evaluation', 'scores', 'map', 'all-numbers', 'configuration']
    )
    self.assertEqual(
      [link for link in page.addresses if link[0] == '#'], [f'#{name}' for name in page.ids]
    )
    words = ' '.join(page.words)
    for text in ('Measured at step 12.', 'Of the encoder.', '0.7500', 'Of it.'):
      self.assertIn(text, words)

  def test_text_is_escaped(self):
    page = self.render(
      title=HOSTILE,
      parts=[
        reporting.Part(
          HOSTILE,
          lead=HOSTILE,
          tables=[reporting.Table(HOSTILE, HOSTILE, ('', HOSTILE), [(HOSTILE, HOSTILE)])],
          figures=[reporting.Figure(HOSTILE, HOSTILE, PIXEL, HOSTILE)],
        )
      ],
    )
    self.assertNotIn('script', page.tags)
    self.assertEqual(page.tags.count('img'), 1)
    # Twice the title, 3 links and headings, 2 captions, the lead, and 3 cells.
    self.assertEqual(page.words.count(HOSTILE), 14)

  def test_a_file_name_that_is_no_text(self):
    name = b'runs/\xff'.decode(errors='surrogateescape')  # as Python lists such a folder
    table = TABLE._replace(columns=('', name))
    page = self.render(title=name, parts=[reporting.Part(name, tables=[table])])
    self.assertEqual(page.words.count('runs/?'), 5)

  def test_control_characters_of_names(self):
    words = reporting.render_report(title='a\x1b[2J\x00b', summary={'\u732b': 'c\td\n'})
    self.assertIn('a?[2J?b', words)
    self.assertIn('c\td\n', words)

  def test_headings_that_look_alike_have_addresses_of_their_own(self):
    page = self.part(
      figures=[
        reporting.Figure(heading, '', PIXEL) for heading in ('a 猫', 'a 狗', 'a', 'a-2', '鳥', '魚')
      ]
    )
    self.assertLen(set(page.ids), 2 + 1 + 6)
    self.assertContainsSubset([f'#{name}' for name in page.ids], page.addresses)


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
