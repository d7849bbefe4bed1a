"""JSON files: strict, in UTF-8, whatever numbers and text come in; damaged ones are as none."""

import json
import math

import chex
import jax.numpy as jnp
import numpy as np
import pytest
from absl.testing import parameterized

from ssl_jax.training.json_file import plain, read_json, write_json


class JsonFileTest(chex.TestCase):
  @pytest.fixture(autouse=True)
  def _folder(self, tmp_path):
    self.path = tmp_path / 'a.json'

  @parameterized.parameters(
    (math.nan, None),
    (-math.inf, None),
    (np.float32('nan'), None),
    (np.float64('inf'), None),
    (jnp.float32(np.nan), None),
    (jnp.float32(0.5), 0.5),
    (np.int64(2**62), 2**62),
    (np.array([1.0, np.nan]), [1.0, None]),
    ((1, (math.inf,)), [1, [None]]),
    ({1: {'a': np.nan}}, {'1': {'a': None}}),
    (np.bool_(True), True),
    ('\u732b \u05d7\u05ea\u05d5\u05dc', '\u732b \u05d7\u05ea\u05d5\u05dc'),
  )
  def test_a_value(self, value, expected):
    write_json(self.path, {'value': value})
    text = self.path.read_text(encoding='utf-8')
    found = json.loads(text, parse_constant=self.fail)['value']
    self.assertEqual(found, expected)
    self.assertIs(type(found), type(expected))
    self.assertEqual(read_json(self.path), {'value': expected})
    self.assertEqual(plain(value), expected)

  def test_text_stays_readable_and_may_be_no_utf_8(self):
    write_json(self.path, {'\u732b': '\u8fd9', 'folder': 'a\udcff'})
    self.assertIn('"\u732b": "\u8fd9"', self.path.read_text(encoding='utf-8'))
    self.assertEqual(read_json(self.path)['folder'], 'a?')

  @parameterized.parameters(
    (b'{"a": NaN, "b": [Infinity, -Infinity, 1]}', {'a': None, 'b': [None, None, 1]}),
    (b'', {}),
    (b'{"a": 1', {}),
    (b'[1]', {}),
    (b'\xff\xfe', {}),
    (b'[' * 100_000, {}),
  )
  def test_what_others_wrote(self, content, expected):
    self.path.write_bytes(content)
    self.assertEqual(read_json(self.path), expected)

  def test_no_file(self):
    self.assertEqual(read_json(self.path), {})
