"""docs/losses.md: its examples run, and its tables say what the code does."""

import inspect
import pathlib
import re

import chex
from absl.testing import parameterized

from ssl_jax import losses

PAGE = (pathlib.Path(__file__).parents[2] / 'docs' / 'losses.md').read_text()
EXAMPLES = re.findall(r'```python\n(.*?)```', PAGE, re.DOTALL)
# | `name` | formula | paper | memory |
ROWS = dict(re.findall(r'^\| `(\w+)` \| .* \| (.*) \|$', PAGE.split('## Bounded memory')[0], re.M))


class LossesPageTest(chex.TestCase):
  @parameterized.parameters(range(len(EXAMPLES)))
  def test_example(self, number):
    exec(compile(EXAMPLES[number], f'docs/losses.md, example {number}', 'exec'), {})

  def test_examples_were_found(self):
    self.assertLen(EXAMPLES, PAGE.count('```python'))
    self.assertGreaterEqual(len(EXAMPLES), 3)

  def test_every_public_name_is_named(self):
    named = set(re.findall(r'`(\w+)`', PAGE))
    # The alias of all rules of ranks.
    self.assertEmpty(set(losses.__all__) - named - {'Deputy', 'PCA'})

  def test_losses_are_public(self):
    self.assertContainsSubset(ROWS, losses.__all__)
    self.assertGreater(len(ROWS), 20)

  def test_all_but_those_of_dsa_take_a_mask(self):
    taking = {
      name for name in ROWS if 'mask' in inspect.signature(getattr(losses, name)).parameters
    }
    self.assertEqual(
      ROWS.keys() - taking, {'semantic_adjuster', 'arranging_loss', 'prior_regularizer'}
    )

  @parameterized.parameters('block_size', 'group_size')
  def test_memory_column(self, argument):
    taking = {
      name for name in ROWS if argument in inspect.signature(getattr(losses, name)).parameters
    }
    self.assertEqual({name for name, memory in ROWS.items() if f'`{argument}`' in memory}, taking)
