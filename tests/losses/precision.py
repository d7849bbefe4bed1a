"""Parameterized tests whose names end in the precision and blocks of their arguments."""

import itertools
from collections.abc import Iterable
from typing import Any

import numpy as np
from absl.testing import parameterized


def by_precision(**values: Iterable[Any]) -> Any:
  """`parameterized.product`, where each name ends in what `conftest.py` chooses the tier by.

  Names end in `float32` or `float64`, of the value of `dtype` or `x64`, and `blocks` follows where
  there is a `block_size` that is not None. The default tier runs the whole losses in float64.
  """
  rows = [dict(zip(values, row, strict=True)) for row in itertools.product(*values.values())]
  return parameterized.named_parameters(
    *({'testcase_name': f'_{index}_{_suffix(row)}', **row} for index, row in enumerate(rows))
  )


def _suffix(row: dict[str, Any]) -> str:
  dtype = row['dtype'] if 'dtype' in row else np.float64 if row['x64'] else np.float32
  return np.dtype(dtype).name + ('' if row.get('block_size') is None else '_blocks')
