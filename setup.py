"""What pyproject.toml cannot say: the wheel has the recipes of experiments/ in ssl_jax/recipes."""

from setuptools import find_packages, setup

RECIPES = {
  'ssl_jax.recipes': 'experiments/flags',
  'ssl_jax.recipes.sweeps': 'experiments/sweeps',
}

setup(
  packages=[*find_packages(include=['ssl_jax*']), *RECIPES],
  package_dir=RECIPES,
  package_data={
    'ssl_jax': ['py.typed'],
    'ssl_jax.recipes': ['**/*.flags'],
    'ssl_jax.recipes.sweeps': ['**/*.sweep'],
  },
  include_package_data=False,
)
