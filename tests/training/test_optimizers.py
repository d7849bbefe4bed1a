"""Optimizers: published LARS steps, PyTorch's update rules in NumPy, and the exclusion masks."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
from absl.testing import parameterized

from ssl_jax.training import optimizers


def _run(optimizer, params, gradients):
  """Parameters after each gradient."""
  state, history = optimizer.init(params), []
  update = jax.jit(optimizer.update)
  for gradient in gradients:
    updates, state = update(gradient, state, params)
    params = optax.apply_updates(params, updates)
    history.append(params)
  return history


def _norm(gain=1.0):
  return {'scale': gain * jnp.ones(3), 'bias': jnp.zeros(3)}


def _tree():
  block = {
    'conv1': {'kernel': jnp.ones((3, 3, 2, 3))},
    'norm1': _norm(),
    'shortcut_conv': {'kernel': jnp.ones((1, 1, 2, 3))},
    'shortcut_norm': _norm(),
  }
  head = {'linear1': {'kernel': jnp.ones((3, 3)), 'bias': jnp.zeros(3)}, 'norm1': _norm()}
  encoder = {
    'stem_conv': {'kernel': jnp.ones((3, 3, 3, 2))},
    'stem_norm': _norm(),
    'stage1_block1': block,
  }
  return {'encoder': encoder, 'projector': head, 'predictor': head}


def _paths(mask, value):
  leaves = jax.tree_util.tree_leaves_with_path(mask)
  return {'/'.join(entry.key for entry in path) for path, leaf in leaves if leaf == value}


SHORTCUT_GAIN = {'encoder/stage1_block1/shortcut_norm/scale'}
HEAD_GAINS = {'projector/norm1/scale', 'predictor/norm1/scale'}


# Two steps of LARS in the recipe of Wang et al. (ICCV 2021): rates, gradients of a weight and of an
# excluded bias; the ratio, the momentum buffers, and what both are after the step.
TRIPLET_RATES = 4.8, 4.0
TRIPLET_STEPS = (
  {
    'kernel': [0.1, 0.2, -0.3],
    'bias': [0.01, -0.02],
    'ratio': 0.006123686857188,
    'kernel_buffer': [0.0029393844, 0.00587871, -0.0088180503],
    'bias_buffer': [0.048, -0.096],
    'kernel_after': [0.4970606156, -1.00587871, 2.0088180503],
    'bias_after': [0.952, 1.096],
  },
  {
    'kernel': [-0.05, 0.4, 0.1],
    'bias': [0.03, 0.0],
    'ratio': 0.005539922322003,
    'kernel_buffer': [0.0015374725, 0.0141546924, -0.0057202318],
    'bias_buffer': [0.1632, -0.0864],
    'kernel_after': [0.4955231431, -1.0200334024, 2.0145382821],
    'bias_after': [0.7888, 1.1824],
  },
)


class LarsTest(chex.TestCase):
  @parameterized.parameters((True, 1e-10), (False, 2e-6))
  def test_two_steps_of_the_triplet_recipe(self, x64, tolerance):
    with jax.enable_x64(x64):
      params = {'kernel': jnp.array([[0.5, -1.0, 2.0]]), 'bias': jnp.array([1.0, 1.0])}
      schedule = lambda count: jnp.array(TRIPLET_RATES)[count]
      optimizer = optimizers.build('lars', schedule=schedule, weight_decay=1e-6)
      scaling = optimizers.scale_by_trust_ratio(weight_decay=1e-6)
      update, state = jax.jit(optimizer.update), optimizer.init(params)
      for step in TRIPLET_STEPS:
        gradient = {'kernel': jnp.array([step['kernel']]), 'bias': jnp.array(step['bias'])}
        scaled, _ = scaling.update(gradient, scaling.init(params), params)
        ratios = scaled['kernel'] / (gradient['kernel'] + 1e-6 * params['kernel'])
        updates, state = update(gradient, state, params)
        params = optax.apply_updates(params, updates)
        np.testing.assert_allclose(ratios, step['ratio'], rtol=1e-12 if x64 else 2e-6)
        np.testing.assert_array_equal(scaled['bias'], gradient['bias'])
        for name in ('kernel', 'bias'):
          self.assertEqual(params[name].dtype, jnp.float64 if x64 else jnp.float32)
          for found, expected in (
            (-updates[name], step[f'{name}_buffer']),
            (params[name], step[f'{name}_after']),
          ):
            atol = tolerance * (1 if x64 else np.abs(expected).max())
            np.testing.assert_allclose(np.ravel(found), expected, rtol=0, atol=atol)

  @parameterized.parameters((True, 1e-12), (False, 2e-6))
  def test_two_steps_of_the_iccl_recipe(self, x64, tolerance):
    with jax.enable_x64(x64):
      params = {'kernel': jnp.array([[1.0, 2.0], [3.0, -4.0]]), 'bias': jnp.array([0.5, -0.25])}
      gradients = (
        {'kernel': jnp.array([[0.1, -0.2], [0.3, 0.4]]), 'bias': jnp.array([0.01, 0.02])},
        {'kernel': jnp.array([[-0.5, 0.25], [0.125, 0.0]]), 'bias': jnp.array([-0.03, 0.04])},
      )
      optimizer = optimizers.build('lars', schedule=2.4, weight_decay=1e-6)
      first, second = _run(optimizer, params, gradients)
      near = lambda found, expected: np.testing.assert_allclose(found, expected, rtol=tolerance)
      near(first['kernel'], [[0.9976, 2.00479990400096], [2.9928, -4.00959980800192]])
      near(
        second['kernel'],
        [[1.0069232701871254, 2.0033781250091183], [2.983449107990953, -4.018239543116828]],
      )
      near(first['bias'], [0.476, -0.298])
      near(second['bias'], [0.5264, -0.4372])

  def test_equals_optax_without_weight_decay(self):
    key = jax.random.key(0)
    params = {'a': jax.random.normal(key, (4, 3)), 'b': jax.random.normal(key, (2, 5))}
    gradients = [jax.tree.map(lambda p, i=i: jnp.cos(3 * p + i), params) for i in range(4)]
    ours = _run(optimizers.build('lars', schedule=0.5), params, gradients)
    theirs = _run(optax.lars(0.5, trust_coefficient=1e-3), params, gradients)
    chex.assert_trees_all_close(ours, theirs, rtol=1e-6)

  @parameterized.parameters(0.0, 1e-2)
  def test_zero_norms_give_finite_updates(self, weight_decay):
    params = {'zero': jnp.zeros((2, 2)), 'still': jnp.ones((2, 2)), 'both': jnp.zeros((2, 2))}
    gradient = {'zero': jnp.ones((2, 2)), 'still': jnp.zeros((2, 2)), 'both': jnp.zeros((2, 2))}
    optimizer = optimizers.build('lars', schedule=1.0, weight_decay=weight_decay)
    (after,) = _run(optimizer, params, [gradient])
    np.testing.assert_array_equal(after['zero'], 0)
    np.testing.assert_array_equal(after['both'], 0)
    # |g| = 0: the ratio is trust_coefficient / weight_decay, so w shrinks by trust_coefficient.
    np.testing.assert_allclose(after['still'], 1 - 1e-3 * (weight_decay > 0), rtol=1e-6)


class LarcTest(chex.TestCase):
  def test_three_steps_equal_numpy(self):
    # The norm's gain is scaled and not decayed, the shortcut's decayed too, zero biases move raw.
    params = jax.tree.map(lambda p: p * jnp.linspace(0.5, 1.5, p.shape[-1]), _tree())
    draw = lambda p, seed: jax.random.normal(jax.random.key(seed), p.shape)
    gradients = [jax.tree.map(lambda p, seed=seed: draw(p, seed), params) for seed in range(3)]
    rates = (0.5, 0.25, 0.125)
    optimizer = optimizers.build(
      'larc',
      schedule=lambda count: jnp.array(rates)[count],
      weight_decay=0.1,
      weight_decay_exclude='legacy_triplet',
    )
    decays = optimizers.weight_decay_mask(params, 'legacy_triplet')
    expected = jax.tree.map(np.array, params)
    buffer = jax.tree.map(np.zeros_like, expected)
    for rate, gradient, found in zip(
      rates, gradients, _run(optimizer, params, gradients), strict=True
    ):

      def local(decays, grad, param):
        grad, decay = np.array(grad), 0.1 * decays
        param_norm, grad_norm = np.linalg.norm(param), np.linalg.norm(grad)
        if not param_norm or not grad_norm:
          return grad
        ratio = 1e-3 * param_norm / (grad_norm + decay * param_norm + 1e-8)
        return ratio * (grad + decay * param)

      scaled = jax.tree.map(local, decays, gradient, expected)
      buffer = jax.tree.map(lambda v, d: 0.9 * v + d, buffer, scaled)
      expected = jax.tree.map(lambda w, v, rate=rate: w - rate * v, expected, buffer)
      chex.assert_trees_all_close(found, expected, rtol=1e-5, atol=1e-7)

  def test_is_lars_at_a_constant_rate_where_nothing_is_left_out(self):
    params = {'kernel': jnp.array([[1.0, 2.0], [3.0, -4.0]])}
    gradients = [{'kernel': jnp.array([[0.1, -0.2], [0.3, g]])} for g in (0.4, -0.1)]
    settings = {'schedule': 0.5, 'weight_decay': 0.01, 'weight_decay_exclude': 'none'}
    chex.assert_trees_all_close(
      _run(optimizers.build('larc', **settings), params, gradients),
      _run(optimizers.build('lars', **settings), params, gradients),
      rtol=1e-6,
    )

  def test_a_zero_gradient_stays_zero(self):
    params = _tree()
    optimizer = optimizers.build('larc', schedule=1.0, weight_decay=0.1)
    (after,) = _run(optimizer, params, [jax.tree.map(jnp.zeros_like, params)])
    chex.assert_trees_all_equal(after, params)


class UpdateRuleTest(chex.TestCase):
  @parameterized.product(nesterov=(False, True), momentum=(0.0, 0.9))
  def test_sgd_is_pytorchs(self, nesterov, momentum):
    params = {'kernel': jnp.array([[1.0, -2.0]]), 'bias': jnp.array([0.5])}
    gradients = [
      {'kernel': jnp.array([[0.3, 0.1]]) * i, 'bias': jnp.array([0.2]) / i} for i in (1, 2, 3)
    ]
    optimizer = optimizers.build(
      'sgd', schedule=0.1, momentum=momentum, nesterov=nesterov, weight_decay=0.01
    )
    found = _run(optimizer, params, gradients)[-1]
    for name, decay in (('kernel', 0.01), ('bias', 0.0)):
      w, buffer = np.float64(params[name]), 0.0
      for gradient in gradients:
        d = np.float64(gradient[name]) + decay * w
        buffer = momentum * buffer + d
        w = w - 0.1 * (d + momentum * buffer if nesterov else buffer)
      np.testing.assert_allclose(found[name], w, rtol=1e-6)

  @parameterized.parameters('adam', 'adamw')
  def test_adam_decay_is_coupled_and_adamw_decay_is_not(self, name):
    params = {'kernel': jnp.array([[1.0, -2.0]]), 'bias': jnp.array([0.5])}
    gradients = [{'kernel': jnp.array([[0.3, -0.1]]), 'bias': jnp.array([0.2])}] * 3
    optimizer = optimizers.build(name, schedule=0.1, weight_decay=0.05, beta1=0.8, beta2=0.95)
    found = _run(optimizer, params, gradients)[-1]
    for leaf, decay in (('kernel', 0.05), ('bias', 0.0)):
      w, m, v = np.float64(params[leaf]), 0.0, 0.0
      coupled = decay if name == 'adam' else 0.0
      for step, gradient in enumerate(gradients, 1):
        g = np.float64(gradient[leaf]) + coupled * w
        m, v = 0.8 * m + 0.2 * g, 0.95 * v + 0.05 * g * g
        move = m / (1 - 0.8**step) / (np.sqrt(v / (1 - 0.95**step)) + 1e-8)
        w = w - 0.1 * (move + (decay - coupled) * w)
      np.testing.assert_allclose(found[leaf], w, rtol=2e-6)

  @parameterized.product(name=optimizers.NAMES, scale=(0.25, 0.0))
  def test_excluded_parameters_move_at_a_rate_of_their_own(self, name, scale):
    params = jax.tree.map(lambda leaf: leaf + 0.5, _tree())
    gradients = [jax.tree.map(lambda p, i=i: jnp.cos(3 * p + i), params) for i in range(3)]
    settings = {'name': name, 'weight_decay': 0.1, 'weight_decay_exclude': 'legacy_iccl'}
    rate = lambda count: 0.5 / (count + 1.0)
    # Gradients do not hang on the parameters, so scaled movements are those of a scaled rate.
    plain = _run(optimizers.build(schedule=rate, **settings), params, gradients)[-1]
    found = _run(
      optimizers.build(schedule=rate, excluded_lr_scale=scale, **settings), params, gradients
    )[-1]
    expected = jax.tree.map(
      lambda stays, start, end: end if stays else start + scale * (end - start),
      optimizers.weight_decay_mask(params, 'legacy_iccl'),
      params,
      plain,
    )
    chex.assert_trees_all_close(found, expected, rtol=1e-6)

  @parameterized.parameters(*optimizers.NAMES)
  def test_a_zero_rate_never_moves_and_the_state_is_arrays(self, name):
    optimizer = optimizers.build(name, schedule=lambda count: 0.0 * count, weight_decay=0.1)
    params = _tree()
    (after,) = _run(optimizer, params, [jax.tree.map(jnp.ones_like, params)])
    chex.assert_trees_all_equal(after, params)
    for leaf in jax.tree.leaves(optimizer.init(params)):
      self.assertIsInstance(leaf, jax.Array)

  def test_clipping_bounds_the_global_norm(self):
    params = {'a': jnp.zeros((2, 2)), 'b': jnp.zeros((3, 1))}
    gradient = jax.tree.map(lambda p: p + 7, params)
    for clip_norm, expected in ((0.5, 0.5), (100.0, 7 * 7**0.5), (0.0, 7 * 7**0.5)):
      optimizer = optimizers.build('sgd', schedule=1.0, momentum=0.0, clip_norm=clip_norm)
      (after,) = _run(optimizer, params, [gradient])
      np.testing.assert_allclose(optax.tree.norm(after), expected, rtol=1e-6)

  @parameterized.parameters(
    (
      {'name': 'lasr'},
      "name: found 'lasr', must be one of sgd, lars, larc, adamw, adam; nearest: lars, larc",
    ),
    ({'weight_decay_exclude': 'norms'}, "weight_decay_exclude: found 'norms'"),
    ({'momentum': 1.0}, 'momentum: found 1.0'),
    ({'beta2': -0.1}, 'beta2: found -0.1'),
    ({'weight_decay': -1.0}, 'weight_decay: found -1.0'),
    ({'clip_norm': float('inf')}, 'clip_norm: found inf'),
    ({'trust_coefficient': 0.0}, 'trust_coefficient: found 0.0'),
    ({'excluded_lr_scale': -1.0}, 'excluded_lr_scale: found -1.0'),
  )
  def test_refuses_in_one_line(self, settings, message):
    with self.assertRaises(ValueError) as caught:
      optimizers.build(**{'name': 'sgd', 'schedule': 0.1, **settings})
    self.assertIn(message, str(caught.exception))
    self.assertNotIn('\n', str(caught.exception))


class AdaptedTest(chex.TestCase):
  def test_none_leaves_nothing_out(self):
    self.assertEmpty(_paths(optimizers.weight_decay_mask(_tree(), 'none'), False))

  def test_norm_and_bias_keeps_the_kernels_alone(self):
    kept = _paths(optimizers.weight_decay_mask(_tree(), 'norm_and_bias'), True)
    self.assertLen(kept, 5)
    self.assertTrue(all(path.endswith('/kernel') for path in kept))

  @parameterized.parameters(
    ('legacy_triplet', SHORTCUT_GAIN), ('legacy_iccl', SHORTCUT_GAIN | HEAD_GAINS)
  )
  def test_legacy_lists_keep_some_gains(self, exclude, gains):
    clean = _paths(optimizers.weight_decay_mask(_tree(), 'norm_and_bias'), True)
    legacy = _paths(optimizers.weight_decay_mask(_tree(), exclude), True)
    self.assertEqual(legacy - clean, gains)
    self.assertContainsSubset(clean, legacy)

  def test_the_mask_decides_what_weight_decay_moves(self):
    for exclude in optimizers.EXCLUSIONS:
      optimizer = optimizers.build(
        'sgd', schedule=1.0, momentum=0.0, weight_decay=0.5, weight_decay_exclude=exclude
      )
      params = jax.tree.map(jnp.ones_like, _tree())
      (after,) = _run(optimizer, params, [jax.tree.map(jnp.zeros_like, params)])
      moved = jax.tree.map(lambda leaf: bool(leaf.ravel()[0] < 1), after)
      self.assertEqual(moved, optimizers.weight_decay_mask(params, exclude))
