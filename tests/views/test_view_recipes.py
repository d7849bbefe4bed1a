"""Recipes: the papers' tables, the overrides, and what is refused."""

import dataclasses

import chex
from absl.testing import parameterized

from ssl_jax import views

# crop_scale, interpolation, jitter strengths, blur, solarize, permutation: one row a view.
HALF, BYOL = (0.4, 0.4, 0.4, 0.1), (0.4, 0.4, 0.2, 0.1)
TABLE = {
  'simclr': [((0.08, 1), 'bilinear', (0.8, 0.8, 0.8, 0.2), 0.5, 0, 0)] * 2,
  'moco_v2': [((0.2, 1), 'bilinear', HALF, 0.5, 0, 0)] * 2,
  'byol': [
    ((0.08, 1), 'bicubic', BYOL, 1.0, 0, 0),
    ((0.08, 1), 'bicubic', BYOL, 0.1, 0.2, 0),
  ],
  'iccl': [
    ((0.2, 1), 'bilinear', BYOL, 1.0, 0, 0.8),
    ((0.2, 1), 'bilinear', BYOL, 0.1, 0.2, 0.8),
  ],
  'imagenette_iccl': [
    ((0.08, 1), 'bilinear', BYOL, 1.0, 0, 0.8),
    ((0.08, 1), 'bilinear', BYOL, 0.1, 0.2, 0.8),
  ],
  'dsa': [((0.08, 1), 'bicubic', (0.8, 0.8, 0.8, 0.2), 0.5, 0, 0)] * 2,
  'cifar_dsa': [((0.2, 1), 'bicubic', HALF, 0, 0, 0)] * 2,
  'cifar_simclr': [((0.08, 1), 'bilinear', HALF, 0, 0, 0)] * 2,
  'cifar_byol': [
    ((0.08, 1), 'bicubic', BYOL, 0, 0, 0),
    ((0.08, 1), 'bicubic', BYOL, 0, 0.2, 0),
  ],
  'cifar_iccl': [
    ((0.2, 1), 'bilinear', BYOL, 0, 0, 0.8),
    ((0.2, 1), 'bilinear', BYOL, 0, 0.2, 0.8),
  ],
}
# Probabilities of jitter in both views, and of gray level, where they are not 0.8 and 0.2.
JITTER = {'imagenette_iccl': (0.8, 1.0)}
GRAY = {'cifar_dsa': 0.1}


class PresetTest(chex.TestCase):
  @parameterized.parameters(*TABLE)
  def test_table(self, name):
    recipe = views.recipe(name, size=32)
    self.assertLen(recipe.views, 2)
    self.assertEqual(recipe.color_first, name.endswith('dsa'))
    jitters = JITTER.get(name, (0.8, 0.8))
    for view, row, jitter in zip(recipe.views, TABLE[name], jitters, strict=True):
      strengths = (view.brightness, view.contrast, view.saturation, view.hue)
      settings = (view.blur_prob, view.solarize_prob, view.permutation_prob)
      self.assertEqual((view.crop_scale, view.interpolation, strengths, *settings), row)
      self.assertEqual(view.crop_ratio, (3 / 4, 4 / 3))
      self.assertEqual((view.flip_prob, view.jitter_prob), (0.5, jitter))
      self.assertEqual(view.grayscale_prob, GRAY.get(name, 0.2))
      self.assertEqual((view.blur_sigma, view.solarize_threshold), ((0.1, 2.0), 128))
    if name.startswith('cifar'):
      self.assertEqual(recipe.mean, (0.4914, 0.4822, 0.4465))
      self.assertEqual(recipe.std, (0.2470, 0.2435, 0.2616))
    else:
      self.assertEqual(recipe.mean, (0.485, 0.456, 0.406))
      self.assertEqual(recipe.std, (0.229, 0.224, 0.225))

  def test_statistics_by_name(self):
    mean, std = views.STATISTICS['cifar100']
    recipe = views.recipe('simclr', size=32, mean=mean, std=std)
    self.assertEqual((recipe.mean, recipe.std), (mean, std))
    self.assertEqual(views.STATISTICS['none'], ((0, 0, 0), (1, 1, 1)))
    for name, preset in (('imagenet', 'simclr'), ('cifar10', 'cifar_simclr')):
      recipe = views.recipe(preset, size=32)
      self.assertEqual((recipe.mean, recipe.std), views.STATISTICS[name])

  def test_names(self):
    self.assertSameElements(views.NAMES, [*TABLE, 'none'])
    self.assertEqual(views.recipe('none', size=8).views, (views.View(), views.View()))

  def test_overrides(self):
    recipe = views.recipe(
      'byol',
      size=16,
      crop_scale_min=0.3,
      jitter_strength=2,
      permutation_prob=0.4,
      interpolation='bilinear',
      mean=[0.5, 0.5, 0.5],
      std=[0.2, 0.2, 0.2],
      unaugmented=True,
    )
    for view in recipe.views:
      self.assertEqual(view.crop_scale, (0.3, 1.0))
      self.assertEqual((view.brightness, view.saturation, view.hue), (0.8, 0.4, 0.2))
      self.assertEqual((view.interpolation, view.permutation_prob), ('bilinear', 0.4))
    self.assertEqual((recipe.mean, recipe.std, recipe.unaugmented), ((0.5,) * 3, (0.2,) * 3, True))
    hash(recipe)
    self.assertEqual(views.recipe('byol', size=16, jitter_strength=1.0).views[1].blur_prob, 0.1)

  def test_unknown_name_gives_the_nearest_and_all(self):
    with self.assertRaisesRegex(
      ValueError, "found 'simcrl', must be .*byol.*; nearest: simclr"
    ) as caught:
      views.recipe('simcrl', size=32)
    self.assertNotIn('\n', str(caught.exception))

  @parameterized.parameters(
    ({'size': 0}, 'size: found 0, must be a whole number >= 1'),
    ({'size': 2.5}, 'size: found 2.5'),
    ({'crop_scale_min': 0.0}, r'crop_scale_min: found 0\.0, must be'),
    ({'crop_scale_min': 1.5}, 'crop_scale_min: found 1.5'),
    ({'jitter_strength': -1.0}, r'jitter_strength: found -1\.0, must be 0 to 5'),
    ({'jitter_strength': 6.0}, 'jitter_strength: found 6'),
    ({'permutation_prob': 1.1}, 'permutation_prob: found 1.1, must be from 0 to 1'),
    ({'interpolation': 'area'}, "interpolation: found 'area', must be one of bilinear, bicubic"),
    ({'mean': (0.5, 0.5)}, r'mean: found \(0.5, 0.5\), must be 3'),
    ({'std': (0.2, 0.0, 0.2)}, r'std: found 0\.0, must be > 0'),
  )
  def test_refused_overrides(self, overrides, message):
    with self.assertRaisesRegex(ValueError, message):
      views.recipe('byol', **{'size': 32, **overrides})


class ViewTest(chex.TestCase):
  @parameterized.parameters(
    ('crop_scale', (0.0, 1.0)),
    ('crop_scale', (0.5, 1.5)),
    ('crop_scale', (0.9, 0.5)),
    ('crop_scale', 0.5),
    ('crop_ratio', (0.0, 1.0)),
    ('interpolation', 'lanczos'),
    ('blur_sigma', (2.0, 1.0)),
    ('blur_sigma', (0.1, float('nan'))),
    ('brightness', -0.1),
    ('contrast', float('nan')),
    ('saturation', '0.4'),
    ('hue', 0.6),
    ('solarize_threshold', 256),
    *((name, p) for name in ('flip_prob', 'jitter_prob', 'grayscale_prob') for p in (-0.1, 1.1)),
    *((name, 2) for name in ('blur_prob', 'solarize_prob', 'permutation_prob')),
  )
  def test_refused_fields_are_named(self, name, value):
    with self.assertRaisesRegex(ValueError, f'^{name}: found .*must be'):
      dataclasses.replace(views.View(), **{name: value})

  def test_lists_become_hashable_tuples(self):
    view = views.View(crop_scale=[0.1, 1], blur_sigma=[1, 2])
    recipe = views.Recipe(views=[view], size=8, mean=[0, 0, 0], std=[1, 1, 1])
    self.assertEqual(hash(recipe), hash(dataclasses.replace(recipe)))
    self.assertEqual(recipe.views[0].crop_scale, (0.1, 1.0))

  @parameterized.parameters((), (3,))
  def test_a_recipe_needs_views(self, *content):
    with self.assertRaisesRegex(ValueError, 'views: found'):
      views.Recipe(views=content, size=8)


class LocalCropsTest(chex.TestCase):
  def test_smaller_crops_made_as_the_first_view(self):
    recipe = views.recipe('byol', size=32, local_crops=3, local_scale=(0.1, 0.2))
    local = recipe.local_crops
    self.assertEqual((local.size, len(local.views), local.local_crops), (16, 3, None))
    for view in local.views:
      self.assertEqual(view.crop_scale, (0.1, 0.2))
      self.assertEqual(dataclasses.replace(view, crop_scale=(0.08, 1.0)), recipe.views[0])
    self.assertEqual((local.mean, local.std), (recipe.mean, recipe.std))
    self.assertEqual(
      views.recipe('byol', size=32, local_crops=1, local_size=12).local_crops.size, 12
    )
    self.assertIsNone(views.recipe('byol', size=32).local_crops)

  @parameterized.parameters(
    ({'local_crops': -1}, 'local_crops: found -1, must be a whole number >= 0'),
    ({'local_crops': 1.5}, 'local_crops: found 1.5'),
    ({'local_crops': 1, 'local_scale': (0.3, 0.2)}, 'local_scale: found'),
  )
  def test_wrong_values(self, arguments, pattern):
    with self.assertRaisesRegex(ValueError, pattern):
      views.recipe('byol', size=32, **arguments)
