"""Cases of the truncated triplet loss: one for each way in which negatives are ranked."""

from ssl_jax.losses.triplet.ranks import AllRanks, Deputy, MedianRank, RankWindow
from ssl_jax.losses.triplet.truncated_triplet import truncated_triplet
from tests.losses.cases import Batch, Case, Matrix, Result, one_view
from tests.losses.cases.contrastive import is_real


def _case(
  deputy: Deputy,
  *,
  minimum: int = 2,
  permutable: bool = True,
  representative: bool = False,
  matrix: Matrix | None = None,
  **chosen,
) -> Case:
  def call(batch: Batch, **options) -> Result:
    return truncated_triplet(batch.view1, batch.target2, **{'deputy': deputy, **chosen, **options})

  return Case(
    call,
    names=('truncated_triplet',),
    blocks=True,
    permutable=permutable,
    stopped=('target2',),
    minimum=minimum,
    discontinuous=(),
    representative=representative,
    matrix=matrix,
  )


def _masked(batch: Batch, **options) -> Result:
  chosen = {'deputy': MedianRank(), 'mask': is_real(batch)}
  return truncated_triplet(batch.view1, batch.target2, **(chosen | options))


def _released(batch: Batch, **options) -> Result:
  return truncated_triplet(batch.view1, batch.target2, **options)


CASES: dict[str, Case] = {
  'truncated_triplet': _case(RankWindow(2, 3), minimum=4, matrix=Matrix(one_view, call=_released)),
  'triplet_median': _case(MedianRank(), matrix=Matrix(one_view, 'truncated_triplet, median')),
  'triplet_median_masked': Case(
    _masked,
    ('truncated_triplet',),
    blocks=True,
    stopped=('target2', 'weights'),
    derived=True,
    discontinuous=(),
  ),
  'triplet_all': _case(AllRanks(), matrix=Matrix(one_view, 'truncated_triplet, all')),
  # The hinge closes for some rows.
  'triplet_hardest': _case(RankWindow(1, 1), margin=1, representative=True),
  # A group spans devices, equals a device, or is one of several on a device.
  'triplet_groups_of_8': _case(
    RankWindow(2, 5), group_size=8, minimum=8, permutable=False, representative=True
  ),
}
