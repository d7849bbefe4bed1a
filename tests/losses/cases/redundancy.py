"""Cases of the losses without negatives."""

from ssl_jax.losses.redundancy import barlow_twins, vicreg
from ssl_jax.losses.regression import cosine_regression, negative_cosine
from tests.losses.cases import Case
from tests.losses.cases.contrastive import is_real

CASES: dict[str, Case] = {
  'barlow_twins': Case(
    lambda batch, **options: barlow_twins(batch.view1, batch.view2, **options),
    names=('barlow_twins',),
    scale_free=False,
  ),
  'vicreg': Case(
    lambda batch, **options: vicreg(batch.view1, batch.view2, **options),
    names=('vicreg',),
    scale_free=False,
    representative=True,
  ),
  # The variance term without a gradient: every dimension is spread further than asked.
  'vicreg_closed_hinge': Case(
    lambda batch, **options: vicreg(batch.view1, batch.view2, **{'target_std': 0.01, **options}),
    names=('vicreg',),
    scale_free=False,
  ),
  'vicreg_masked': Case(
    lambda batch, **options: vicreg(
      batch.view1, batch.view2, **{'mask': is_real(batch), **options}
    ),
    names=('vicreg',),
    scale_free=False,
    stopped=('weights',),
    derived=True,
  ),
  'barlow_twins_masked': Case(
    lambda batch, **options: barlow_twins(
      batch.view1, batch.view2, **{'mask': is_real(batch), **options}
    ),
    names=('barlow_twins',),
    scale_free=False,
    stopped=('weights',),
    derived=True,
  ),
  'cosine_regression': Case(
    lambda batch, **options: cosine_regression(batch.view1, batch.target2, **options),
    names=('cosine_regression',),
    stopped=('target2',),
    representative=True,
    one_image=True,
  ),
  'negative_cosine': Case(
    lambda batch, **options: negative_cosine(batch.view1, batch.target2, **options),
    names=('negative_cosine',),
    stopped=('target2',),
    one_image=True,
  ),
}
