"""Settings of linear-probe training (`ProbeRecipe`), with presets: the papers', and a grid."""

from __future__ import annotations

import dataclasses
import math

import numpy as np

from ssl_jax.arguments import ArgumentError, check_choice, check_number, check_whole

OPTIMIZERS = ('sgd', 'adam')
SCHEDULES = ('cosine', 'constant', 'step', 'exponential')
SCALINGS = ('raw', 'unit', 'standard')


@dataclasses.dataclass(frozen=True)
class ProbeRecipe:
  """All settings of the training of `linear_probe`, but the data and the seed.

  Attributes:
    learning_rates: one or more, each crossed with each of `weight_decays`.
    weight_decays: 0 or greater. Added to the gradient, as L2 in the loss, also for `adam`; weights
      and bias alike, as PyTorch's optimizers do.
    epochs: passes over the training features.
    batch_size: rows a step; a smaller training set is one batch. The learning rate stays.
    optimizer: 'sgd' or 'adam' (0.9, 0.999, 1e-8).
    momentum: of 'sgd', from 0, below 1.
    nesterov: whether 'sgd' looks ahead.
    schedule: of the learning rate, constant within an epoch e of E: 'cosine' (1 + cos(pi e / E)) /
      2, 'constant', 'step' by `decay_factor` at each of `decay_epochs`, or 'exponential'
      final_ratio ^ (e / E).
    decay_epochs: of 'step'.
    decay_factor: of 'step', above 0.
    final_ratio: of 'exponential', above 0, at most 1.
    warmup_epochs: of linear growth a batch, on top of the schedule.
    warmup_ratio: of the learning rate at the first batch to that without warm-up, from 0 to 1.
    scaling: of the features: 'raw', 'unit' (rows of length 1) or 'standard' (columns of mean 0 and
      variance 1 over the training rows).
    initial_std: of the normal weights at the start; the bias starts at 0.
  """

  learning_rates: tuple[float, ...]
  weight_decays: tuple[float, ...] = (0.0,)
  epochs: int = 100
  batch_size: int = 256
  optimizer: str = 'sgd'
  momentum: float = 0.9
  nesterov: bool = False
  schedule: str = 'cosine'
  decay_epochs: tuple[int, ...] = ()
  decay_factor: float = 0.1
  final_ratio: float = 1.0
  warmup_epochs: int = 0
  warmup_ratio: float = 1e-4
  scaling: str = 'raw'
  initial_std: float = 0.01

  def __post_init__(self) -> None:
    for name in ('learning_rates', 'weight_decays', 'decay_epochs'):
      object.__setattr__(self, name, tuple(getattr(self, name)))
    for name in ('learning_rates', 'weight_decays'):
      if not getattr(self, name):
        raise ArgumentError(name, '()', 'at least one number')
    for rate in self.learning_rates:
      check_number('learning_rates', rate, above=0)
    for decay in self.weight_decays:
      check_number('weight_decays', decay, at_least=0)
    for epoch in self.decay_epochs:
      check_number('decay_epochs', epoch, at_least=1)
    check_number('momentum', self.momentum, at_least=0, below=1)
    check_number('decay_factor', self.decay_factor, above=0)
    check_number('final_ratio', self.final_ratio, above=0, at_most=1)
    check_number('warmup_epochs', self.warmup_epochs, at_least=0)
    check_number('warmup_ratio', self.warmup_ratio, at_least=0, at_most=1)
    check_number('initial_std', self.initial_std, at_least=0)
    check_choice('optimizer', self.optimizer, OPTIMIZERS)
    check_choice('schedule', self.schedule, SCHEDULES)
    check_choice('scaling', self.scaling, SCALINGS)
    check_whole('epochs', self.epochs)
    check_whole('batch_size', self.batch_size)

  @property
  def members(self) -> tuple[tuple[float, float], ...]:
    """The grid: (learning rate, weight decay), the learning rate changing slowest."""
    return tuple((rate, decay) for rate in self.learning_rates for decay in self.weight_decays)

  @property
  def middle(self) -> int:
    """The member of `members` to take where nothing can be held out to choose one.

    Of the middle learning rate (of an even number, the lower one) and the first weight decay.
    """
    return (len(self.learning_rates) - 1) // 2 * len(self.weight_decays)

  def shortened(self, epochs: int) -> ProbeRecipe:
    """The recipe over another number of epochs, its warm-up and its steps moved in proportion."""
    check_whole('epochs', epochs)
    move = lambda epoch: math.floor(epoch * epochs / self.epochs + 0.5)
    return dataclasses.replace(
      self,
      epochs=epochs,
      decay_epochs=tuple(max(move(epoch), 1) for epoch in self.decay_epochs),
      warmup_epochs=move(self.warmup_epochs),
    )


def learning_rate_factors(recipe: ProbeRecipe, batches: int) -> np.ndarray:
  """The factors on the learning rate over a training: `float64 [epoch, batch]`.

  >>> recipe = ProbeRecipe((1.0,), epochs=3, schedule='step', decay_epochs=(2,))
  >>> [round(float(x), 6) for x in learning_rate_factors(recipe, batches=1)[:, 0]]
  [1.0, 1.0, 0.1]

  Args:
    recipe: see `ProbeRecipe`.
    batches: of an epoch, at least 1.
  """
  epoch = np.arange(recipe.epochs)
  if recipe.schedule == 'cosine':
    # (1 + cos(pi x)) / 2, without the cancellation near x = 1.
    factors = np.sin(0.5 * np.pi * (1 - epoch / recipe.epochs)) ** 2
  elif recipe.schedule == 'step':
    passed = np.sum(epoch[:, None] >= np.asarray(recipe.decay_epochs, int), axis=1)
    factors = recipe.decay_factor ** passed.astype(float)
  elif recipe.schedule == 'exponential':
    factors = recipe.final_ratio ** (epoch / recipe.epochs)
  else:
    factors = np.ones(recipe.epochs)
  ramp = np.ones(recipe.epochs * batches)
  if recipe.warmup_epochs:
    done = np.minimum(np.arange(len(ramp)) / (recipe.warmup_epochs * batches), 1)
    ramp = recipe.warmup_ratio + (1 - recipe.warmup_ratio) * done
  return factors[:, None] * ramp.reshape(recipe.epochs, batches)


# The papers draw a random crop and a flip of each image in each epoch (but for `dsa`, which stores
# features as we do); here features are stored, of one or several passes. Where a source names no
# initial weights, those of the other recipes are taken.
PRESETS: dict[str, ProbeRecipe] = {
  # Ours: standardized features, wide enough for any encoder, chosen on held-out images.
  'grid': ProbeRecipe(
    learning_rates=(0.01, 0.03, 0.1, 0.3, 1.0, 3.0),
    weight_decays=(0.0, 1e-5, 1e-4, 1e-3, 1e-2),
    scaling='standard',
    initial_std=0.0,
  ),
  # Wang et al., ICCV 2021, released code: 0.15 for its shorter run, 0.04 for its longer one.
  'truncated_triplet': ProbeRecipe(learning_rates=(0.04, 0.15), warmup_epochs=10),
  # ICCL, released code, ImageNet with a ResNet-50; the paper reports the best epoch.
  'iccl': ProbeRecipe(learning_rates=(0.3,), weight_decays=(1e-6,)),
  # ICCL, released code, Imagenette with a ResNet-18.
  'iccl_imagenette': ProbeRecipe(learning_rates=(3.2,), batch_size=4096, nesterov=True),
  # The SimCLR repository's: 0.1 * batch / 256. Momentum and cosine are reconstructed.
  'balanced': ProbeRecipe(learning_rates=(1.6,), weight_decays=(1e-6,), epochs=90, batch_size=4096),
  # SDCLR's scripts, full data; the batch of 512 is that of its pre-training, reconstructed.
  'long_tail': ProbeRecipe(
    learning_rates=(30.0,), epochs=30, batch_size=512, schedule='step', decay_epochs=(10, 20)
  ),
  # SDCLR's scripts, 1 % of the labels.
  'few_shot': ProbeRecipe(
    learning_rates=(30.0,), epochs=100, batch_size=512, schedule='step', decay_epochs=(40, 60)
  ),
  # Negative samples, released code, on the head's output; the paper reports the best epoch on test.
  # Its four processes of 512 images are one here.
  'negatives': ProbeRecipe(learning_rates=(0.3,), batch_size=512, nesterov=True, scaling='unit'),
  # The same on the encoder's output, as it is ("w/o head").
  'negatives_backbone': ProbeRecipe(learning_rates=(0.3,), batch_size=512, nesterov=True),
  # DSA, released code: 1e-2 to 1e-6 over 500 epochs, a factor of 0.9817479430 an epoch.
  'dsa': ProbeRecipe(
    learning_rates=(0.01,),
    weight_decays=(5e-6,),
    epochs=500,
    batch_size=1000,
    optimizer='adam',
    schedule='exponential',
    final_ratio=1e-4,
  ),
}
