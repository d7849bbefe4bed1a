"""Writes docs/recipes.md, the shipped recipes and sweeps, from the comments that open their files.

python docs/recipe_index.py
"""

import dataclasses
import functools
import pathlib
import re
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))

from ssl_jax import config
from ssl_jax.config.flag_files import recipes_folder
from ssl_jax.sweeps import planning, sweep_file

PAGE = pathlib.Path(__file__).resolve().with_name('recipes.md')
_NAMES = 'Source|Hardware|Time|Result'
_FACT = re.compile(rf'({_NAMES}): (.*?)\.?(?= (?:{_NAMES}): |$)')
_OPENING = """# Recipes

Written by `python docs/recipe_index.py` from the comments that open the files; edit those.

A recipe is a flag file in [experiments/flags](../experiments/flags) that stands alone or includes
one base. A sweep is a list of variants in [experiments/sweeps](../experiments/sweeps), see
[sweeps.md](sweeps.md). Both are found by name from any folder, in a checkout and in an installed
package:

```
ssl-jax --flagfile=cifar10/simclr             # later flags change it: --epochs=20 --seed=1
ssl-jax --flagfile=cifar10/simclr --show      # each flag, and the file and line that set it
ssl-jax sweep photographs_methods --seeds=0,1,2
ssl-jax sweep papers/dsa_cifar10 --only=simclr+dsa --seeds=0
```

A file of your own comes before a shipped one: a name is looked for beside the file that includes
it, in the working directory, then among the shipped recipes. Recipes for GPUs compute in bfloat16
(`--model.dtype=float32` switches that off), those for CPUs in float32. `papers/` holds published
settings that never ran here. Of the five papers, vision transformers (ICCL), the text of AG News
(negative samples) and detection on COCO and VOC (truncated triplet) are not part of this library.
"""


@dataclasses.dataclass(frozen=True)
class Header:
  """The comment that opens a recipe or a sweep.

  Attributes:
    text: what it is.
    commands: the indented lines.
    facts: what follows 'Hardware:', 'Time:', 'Result:' and, for published settings, 'Source:'.
  """

  text: str
  commands: tuple[str, ...]
  facts: dict[str, str]


def header(file: pathlib.Path) -> Header:
  """The header of a recipe or a sweep."""
  words, commands = [], []
  for line in file.read_text(encoding='utf-8').splitlines():
    if not line.startswith('#'):
      break
    (commands if line.startswith('#   ') else words).append(line.lstrip('# '))
  text = ' '.join(words)
  facts = _FACT.findall(text)
  start = min((text.index(f'{name}: ') for name, _ in facts), default=len(text))
  return Header(text[:start].strip(), tuple(commands), dict(facts))


def recipes() -> dict[str, pathlib.Path]:
  """The recipes by name, without the bases that they share."""
  return {name: file for name, file in flag_files().items() if not name.endswith('base')}


def flag_files() -> dict[str, pathlib.Path]:
  """All flag files by name."""
  return _by_name(recipes_folder(), '.flags')


def sweeps() -> dict[str, pathlib.Path]:
  """The sweep files by name."""
  return _by_name(recipes_folder('sweeps'), '.sweep')


@functools.cache
def variants(file: pathlib.Path) -> dict[str, config.Config]:
  """The configuration of each variant of a sweep file, with seed 0."""
  sweep = sweep_file.read(file)
  runs = planning.plan(sweep, sweep.variants, (0,), pathlib.Path())
  return {run.variant: dataclasses.replace(run.config, run_dir='') for run in runs}


def page() -> str:
  """The text of docs/recipes.md."""
  groups: dict[str, list[tuple[str, pathlib.Path]]] = {}
  for name, file in recipes().items():
    groups.setdefault(name.rpartition('/')[0], []).append((name, file))
  order = ['photographs', 'cifar10', 'imagenette', 'imagenet', 'evaluate']
  parts = [_OPENING]
  for group in [*order, *sorted(set(groups) - set(order))]:
    lead = 'protocols' if group == 'evaluate' else 'method'
    rows = [(name, '../experiments/flags', file, _subject(file)) for name, file in groups[group]]
    parts.append(_table(group, 'recipe', lead, rows))
  rows = [
    (name, '../experiments/sweeps', file, ', '.join(f'`{variant}`' for variant in variants(file)))
    for name, file in sweeps().items()
  ]
  parts.append(_table('Sweeps', 'sweep', 'variants', rows))
  return '\n'.join(parts)


def _by_name(folder: pathlib.Path, suffix: str) -> dict[str, pathlib.Path]:
  files = sorted(folder.rglob(f'*{suffix}'))
  return {file.relative_to(folder).with_suffix('').as_posix(): file for file in files}


def _subject(file: pathlib.Path) -> str:
  parsed = config.parse([f'--flagfile={file}'])
  if parsed.task == 'evaluate':
    return ', '.join(f'`{name}`' for name in parsed.protocols)
  return f'`{parsed.method.name}`'


def _table(title: str, first: str, second: str, rows: list) -> str:
  lines = [
    f'## {title}',
    '',
    f'| {first} | {second} | hardware | time | result |',
    '|---|---|---|---|---|',
  ]
  for name, folder, file, subject in rows:
    facts = header(file).facts
    cells = [facts[key] for key in ('Hardware', 'Time', 'Result')]
    lines.append(f'| [`{name}`]({folder}/{name}{file.suffix}) | {subject} | {" | ".join(cells)} |')
  return '\n'.join([*lines, ''])


if __name__ == '__main__':
  PAGE.write_text(page(), encoding='utf-8')
