"""docs/architecture.md: its examples run, one after the other."""

import pathlib
import re

import chex
import pytest

PAGE = (pathlib.Path(__file__).parents[1] / 'docs' / 'architecture.md').read_text()
EXAMPLES = re.findall(r'```python\n(.*?)```', PAGE, re.DOTALL)


@pytest.mark.slow
def test_examples(tmp_path):
  scope = {'folder': tmp_path}
  for number, example in enumerate(EXAMPLES):
    exec(compile(example, f'docs/architecture.md, example {number}', 'exec'), scope)
  assert scope['at'].step == 4
  assert scope['checkpoints'].steps() == [3, 4]
  chex.assert_shape(scope['images'], (64, 2, 8, 8, 3))
  chex.assert_tree_all_finite((scope['loss'], scope['at'].state.params))
