"""How the flags of the views become a recipe."""

import chex
from absl.testing import parameterized

from ssl_jax import config, views
from ssl_jax.tasks.run import experiment


def _recipe(*flags):
  data = ('--data.source=digits', '--data.image_size=8', '--data.train_limit=16')
  parsed = config.parse([*data, '--data.batch_size=8', *flags])
  return experiment.build_experiment(parsed, log=lambda line: None).recipe


class NormalizationTest(chex.TestCase):
  @parameterized.parameters(*views.STATISTICS)
  def test_by_name(self, name):
    recipe = _recipe(f'--views.normalization={name}', '--views.recipe=byol')
    self.assertEqual((recipe.mean, recipe.std), views.STATISTICS[name])

  @parameterized.parameters(('byol', 'imagenet'), ('cifar_byol', 'cifar10'))
  def test_otherwise_it_is_the_recipe_s(self, recipe, name):
    recipe = _recipe(f'--views.recipe={recipe}')
    self.assertEqual((recipe.mean, recipe.std), views.STATISTICS[name])


class PermutationTest(chex.TestCase):
  def test_minus_one_is_that_of_the_recipe(self):
    for flags, expected in (((), 0.8), (('--views.permutation_prob=0',), 0.0)):
      recipe = _recipe('--views.recipe=imagenette_iccl', *flags)
      self.assertEqual({view.permutation_prob for view in recipe.views}, {expected})
