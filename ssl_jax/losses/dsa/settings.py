"""Settings of DSA and the presets: as in the paper, as released, and calibrated."""

import dataclasses
from collections.abc import Mapping
from typing import Literal

from ssl_jax.arguments import ArgumentError, check_choice, check_whole
from ssl_jax.losses import arguments
from ssl_jax.losses.dsa import arranging_loss, semantic_prior


@dataclasses.dataclass(frozen=True)
class AdjusterSettings:
  """What distinguishes the variants of DSA; `dataclasses.replace` makes ablations.

  Attributes:
    matrix: where M comes from. 'concatenation' is `arranging_matrix`, 'difference' is
      `released_arranging_matrix` (12 and 21 reuse 11 and 22, as released), 'prior' takes M = S.
    num_neighbors: k of `anchor_scores`; None is min(20, group // 8), at least 1.
    threshold: μ of `anchor_scores`.
    score_mode: 'row' and 'symmetric' as in `arranging_loss`; 'none' takes s = 1.
    prior_temperature: τ of `prior_similarity`; None is `calibrated_temperature`.
    prior_quantile: the share of pairs that calibration makes alike.
    same_image_target: whether the prior similarity of two views of one image is set to 1.
    temperature: τ of `arranging_loss`.
    arranging_weight: λ₁ >= 0; 0 leaves `arranging_loss` out.
    regularizer_weight: λ₂ >= 0; 0 leaves `prior_regularizer` out.
    reduction: of `prior_regularizer` over the blocks.
    stop_matrix: whether M inside `arranging_loss` carries no gradient.

  Raises:
    ValueError: a field is out of range.
  """

  matrix: Literal['concatenation', 'difference', 'prior'] = 'concatenation'
  num_neighbors: int | None = 20
  threshold: int = 1
  score_mode: Literal['row', 'symmetric', 'none'] = 'row'
  prior_temperature: float | None = 0.5
  prior_quantile: float = 0.1
  same_image_target: bool = False
  temperature: float = 0.5
  arranging_weight: float = 1.0
  regularizer_weight: float = 0.01
  reduction: arranging_loss.Reduction = 'sum'
  stop_matrix: bool = False

  def __post_init__(self) -> None:
    check_choice('matrix', self.matrix, ('concatenation', 'difference', 'prior'))
    check_choice('score_mode', self.score_mode, ('row', 'symmetric', 'none'))
    if self.num_neighbors is not None:
      check_whole('num_neighbors', self.num_neighbors)
    check_whole('threshold', self.threshold, 0)
    if self.prior_temperature is not None:
      arguments.check_number('prior_temperature', self.prior_temperature, above=0)
    semantic_prior.check_quantile('prior_quantile', self.prior_quantile)
    arguments.check_number('temperature', self.temperature, above=0)
    arguments.check_number('arranging_weight', self.arranging_weight, at_least=0)
    arguments.check_number('regularizer_weight', self.regularizer_weight, at_least=0)
    check_choice('reduction', self.reduction, ('sum', 'mean'))


PRESETS: Mapping[str, AdjusterSettings] = {
  'paper': AdjusterSettings(),
  'calibrated': AdjusterSettings(
    num_neighbors=None, prior_temperature=None, same_image_target=True, regularizer_weight=0.1
  ),
  'released': AdjusterSettings(matrix='difference'),
}


def as_settings(preset: str | AdjusterSettings) -> AdjusterSettings:
  """The settings of a preset's name; ValueError where there is none."""
  if isinstance(preset, AdjusterSettings):
    return preset
  if not isinstance(preset, str) or preset not in PRESETS:
    names = ', '.join(map(repr, PRESETS))
    raise ArgumentError('preset', repr(preset), f'one of {names}, or AdjusterSettings')
  return PRESETS[preset]
