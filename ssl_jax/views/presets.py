"""The view recipes of the papers, by name."""

import dataclasses
from collections.abc import Callable, Sequence

from ssl_jax.arguments import ArgumentError, check_choice, check_number, check_whole
from ssl_jax.views.recipe import CIFAR10_MEAN, CIFAR10_STD, Recipe, View

_STANDARD_RATIO = (3 / 4, 4 / 3)

# Chen et al., ICML 2020: color distortion of strength 1.
_SIMCLR = View(
  crop_scale=(0.08, 1.0),
  crop_ratio=_STANDARD_RATIO,
  flip_prob=0.5,
  jitter_prob=0.8,
  brightness=0.8,
  contrast=0.8,
  saturation=0.8,
  hue=0.2,
  grayscale_prob=0.2,
  blur_prob=0.5,
)
# Chen et al., arXiv 2003.04297.
_MOCO_V2 = dataclasses.replace(
  _SIMCLR, crop_scale=(0.2, 1.0), brightness=0.4, contrast=0.4, saturation=0.4, hue=0.1
)
# Grill et al., NeurIPS 2020, as trained by Wang et al., ICCV 2021: one view is always blurred, the
# other rarely, and only that one is solarised.
_BYOL_FIRST = dataclasses.replace(
  _SIMCLR,
  interpolation='bicubic',
  brightness=0.4,
  contrast=0.4,
  saturation=0.2,
  hue=0.1,
  blur_prob=1.0,
)
_BYOL_SECOND = dataclasses.replace(_BYOL_FIRST, blur_prob=0.1, solarize_prob=0.2)
_ICCL = tuple(
  dataclasses.replace(view, crop_scale=(0.2, 1.0), interpolation='bilinear', permutation_prob=0.8)
  for view in (_BYOL_FIRST, _BYOL_SECOND)
)
# The same for Imagenette: crops from 8 % of the area, and the second view is always jittered.
_ICCL_SMALL = tuple(
  dataclasses.replace(view, crop_scale=(0.08, 1.0), jitter_prob=probability)
  for view, probability in zip(_ICCL, (0.8, 1.0), strict=True)
)
# The code base that Song et al. (arXiv 2407.13541) build on; colors change before the crop.
_DSA = dataclasses.replace(_SIMCLR, interpolation='bicubic')
_DSA_CIFAR = dataclasses.replace(
  _MOCO_V2, interpolation='bicubic', grayscale_prob=0.1, blur_prob=0.0
)


def _for_cifar(views: Sequence[View], strength: float = 1.0) -> dict:
  """No blur (Chen et al., appendix B.9: images of 32 pixels), and CIFAR-10's normalization."""
  views = tuple(dataclasses.replace(_strengthen(view, strength), blur_prob=0.0) for view in views)
  return {'views': views, 'mean': CIFAR10_MEAN, 'std': CIFAR10_STD}


def _strengthen(view: View, strength: float) -> View:
  fields = ('brightness', 'contrast', 'saturation', 'hue')
  return dataclasses.replace(view, **{name: strength * getattr(view, name) for name in fields})


_PRESETS: dict[str, Callable[[], dict]] = {
  'simclr': lambda: {'views': (_SIMCLR, _SIMCLR)},
  'moco_v2': lambda: {'views': (_MOCO_V2, _MOCO_V2)},
  'byol': lambda: {'views': (_BYOL_FIRST, _BYOL_SECOND)},
  'iccl': lambda: {'views': _ICCL},
  'cifar_simclr': lambda: _for_cifar((_SIMCLR, _SIMCLR), strength=0.5),
  'cifar_byol': lambda: _for_cifar((_BYOL_FIRST, _BYOL_SECOND)),
  'cifar_iccl': lambda: _for_cifar(_ICCL),
  'imagenette_iccl': lambda: {'views': _ICCL_SMALL},
  'dsa': lambda: {'views': (_DSA, _DSA), 'color_first': True},
  'cifar_dsa': lambda: {**_for_cifar((_DSA_CIFAR, _DSA_CIFAR)), 'color_first': True},
  'none': lambda: {'views': (View(), View())},
}
NAMES = tuple(_PRESETS)


def recipe(
  name: str,
  *,
  size: int,
  crop_scale_min: float | None = None,
  jitter_strength: float | None = None,
  permutation_prob: float | None = None,
  interpolation: str | None = None,
  mean: Sequence[float] | None = None,
  std: Sequence[float] | None = None,
  unaugmented: bool = False,
  local_crops: int = 0,
  local_size: int = 0,
  local_scale: Sequence[float] = (0.05, 0.14),
) -> Recipe:
  """A view recipe by name; `None` keeps the preset's value.

  Two views each. Crops are bilinear, but bicubic for `byol` and DSA; normalization is ImageNet's,
  but CIFAR-10's for the `cifar_` presets.

  * `simclr`: Chen et al., ICML 2020; crop from 8 % of the area, strong jitter, blur at 0.5.
  * `moco_v2`: Chen et al., 2020; crop from 20 %, jitter half as strong.
  * `byol`: the asymmetric pair, also of the truncated triplet loss (Wang et al., ICCV 2021).
  * `iccl`: the same pair with crops from 20 % and random permutations of the color channels.
  * `cifar_simclr`: `simclr` at jitter strength 0.5 without blur; `cifar_byol` and `cifar_iccl`: the
    asymmetric pairs without blur.
  * `imagenette_iccl`: `iccl` with crops from 8 %, the second view always jittered.
  * `dsa`, `cifar_dsa`: `simclr`, and `moco_v2` with less gray and without blur, whose jitter and
    gray level precede the crop (Song et al., arXiv 2407.13541).
  * `none`: two un-augmented views.

  Args:
    name: one of `NAMES`.
    size: side of the views in pixels.
    crop_scale_min: least share of the area in a crop.
    jitter_strength: multiplies brightness, contrast, saturation and hue.
    permutation_prob: probability of a random order of the color channels.
    interpolation: 'bilinear' or 'bicubic'.
    mean, std: of the normalization, in [0, 1] units, one value a channel.
    unaugmented: append the un-augmented image as the last view.
    local_crops: smaller crops of every image, otherwise made as its first view; 0 for none.
    local_size: side of the local crops in pixels; 0 is half of `size`.
    local_scale: least and greatest share of the area in a local crop. In SwAV the views then have
      `crop_scale_min` 0.14 (Caron et al., NeurIPS 2020).

  Raises:
    ValueError: for an unknown name or a value out of range, naming the argument.
  """
  check_choice('name', name, NAMES)
  fields = _PRESETS[name]()
  views = fields['views']
  if crop_scale_min is not None:
    check_number('crop_scale_min', crop_scale_min, above=0, at_most=1)
    views = tuple(
      dataclasses.replace(view, crop_scale=(crop_scale_min, view.crop_scale[1])) for view in views
    )
  if jitter_strength is not None:
    hue = max(view.hue for view in views)
    limit = 0.5 / hue if hue else float('inf')
    if not 0 <= jitter_strength <= limit:
      raise ArgumentError(
        'jitter_strength', repr(jitter_strength), f'0 to {limit:g} (a hue of half a turn)'
      )
    views = tuple(_strengthen(view, jitter_strength) for view in views)
  if permutation_prob is not None:
    views = tuple(dataclasses.replace(view, permutation_prob=permutation_prob) for view in views)
  if interpolation is not None:
    views = tuple(dataclasses.replace(view, interpolation=interpolation) for view in views)
  fields['views'] = views
  if mean is not None:
    fields['mean'] = tuple(mean)
  if std is not None:
    fields['std'] = tuple(std)
  check_whole('local_crops', local_crops, 0)
  if local_crops:
    low, high = local_scale
    if not 0 < low <= high <= 1:
      raise ArgumentError('local_scale', repr(local_scale), '0 < low <= high <= 1')
    local = dataclasses.replace(fields['views'][0], crop_scale=(low, high))
    fields['local_crops'] = Recipe(
      **{**fields, 'views': (local,) * local_crops}, size=local_size or max(size // 2, 1)
    )
  return Recipe(size=size, unaugmented=unaugmented, **fields)
