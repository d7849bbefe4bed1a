"""Paths, names and errors as one short line."""

import os

import chex
from absl.testing import parameterized

from ssl_jax.data.one_line import printable, reason, shortened, shown_path, some


class PrintableTest(chex.TestCase):
  @parameterized.parameters(
    (b'caf\xc3\xa9.jpg', 'café.jpg'),
    (b'caf\xe9.jpg', r'caf\xe9.jpg'),
    (b'a\nb\x1b[31m.jpg', r'a\nb\x1b[31m.jpg'),
  )
  def test_any_bytes_become_one_line(self, name, expected):
    self.assertEqual(printable(os.fsdecode(name)), expected)
    printable(os.fsdecode(name)).encode('utf-8')

  @parameterized.parameters(
    '\u732b',  # CJK
    '\u0642\u0637\u0629',  # Arabic
    'e\u0301',  # a combining mark
    '\U0001f468\u200d\U0001f467',  # an emoji of two, joined
    '\u0646\u0645\u06cc\u200c\u0634\u0648\u062f',  # Persian, with a non-joiner
    'a\u00a0b\u3000c',  # other spaces
  )
  def test_any_script_stays(self, name):
    self.assertEqual(printable(name), name)

  @parameterized.parameters('\u202e', '\x07', '\x7f', '\u2028', '\ud800', '\ufeff')
  def test_what_a_terminal_would_obey_is_escaped(self, character):
    text = printable(f'a{character}b')
    self.assertTrue(text.isascii() and text.isprintable() and text.startswith('a\\'), text)

  def test_long_texts_are_cut(self):
    self.assertEqual(shortened('x' * 10**6, 20), 'x' * 17 + '...')
    self.assertEqual(shortened(' a\n b '), 'a b')
    self.assertEqual(reason(ValueError('y' * 999)), 'y' * 157 + '...')
    self.assertEqual(reason(OSError(2, 'No such file', 'x')), 'No such file')
    self.assertEqual(reason(KeyError()), 'KeyError')
    self.assertEqual(some(['a', 'b', 'c'], 2), 'a, b and 1 more')
    self.assertEqual(some(['a', 'b']), 'a, b')
    self.assertEqual(shown_path('/a/b.png'), '/a/b.png')
    self.assertEqual(shown_path('/a' + '/b' * 999), '/a' + '/b' * 59 + '...' + '/b' * 60)
