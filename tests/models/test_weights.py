"""Exported weights: what is written is read again, and everything else is refused in one line."""

import functools
import sys
import tracemalloc
import zipfile
from unittest import mock

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import safetensors.numpy
from absl.testing import parameterized
from hypothesis import given, settings
from hypothesis import strategies as st

from ssl_jax import models

ENDINGS = ('.npz', '.safetensors')
NETWORKS = {
  'resnet': models.resnet('resnet10', width=2),
  'mlp': models.mlp(3, (4, 2)),
  'no_stats': models.mlp(3, (2,), norms=(False,), biases=(True,)),
}
HEAD = NETWORKS['mlp']


@functools.cache
def drawn(name):
  network = NETWORKS[name]
  shape = [8 if size is None else size for size in network.in_shape]
  return network.init(jax.random.key(1), jnp.zeros((1, *shape)))


def write(path, arrays):
  """As another program would, which knows nothing of networks."""
  if path.suffix == '.npz':
    np.savez(path, **arrays)
  else:
    safetensors.numpy.save_file(arrays, path)


class WeightsTest(chex.TestCase):
  @pytest.fixture(autouse=True)
  def _folder(self, tmp_path):
    self.folder = tmp_path

  def refused(self, path, kind, message, network=HEAD):
    with self.assertRaisesRegex(kind, message) as caught:
      models.load_weights(path, network)
    line = str(caught.exception)
    self.assertNotIn('\n', line)
    self.assertStartsWith(line, str(path))

  @parameterized.product(name=tuple(NETWORKS), ending=ENDINGS)
  def test_what_is_saved_is_loaded(self, name, ending):
    path = self.folder / f'weights{ending}'
    models.save_weights(path, drawn(name))
    found = models.load_weights(str(path), NETWORKS[name])
    chex.assert_trees_all_equal_structs(found, drawn(name))
    chex.assert_trees_all_equal(found, jax.tree.map(np.asarray, drawn(name)))
    chex.assert_trees_all_equal_dtypes(found, drawn(name))

  @parameterized.parameters(*ENDINGS)
  def test_other_programs_read_names_and_float32(self, ending):
    path = self.folder / f'weights{ending}'
    double = jax.tree.map(lambda x: np.asarray(x, np.float64), drawn('mlp'))
    models.save_weights(path, {**double, 'opt_state': np.zeros(3)})
    found = np.load(path) if ending == '.npz' else safetensors.numpy.load_file(path)
    self.assertCountEqual(
      found,
      [
        *(f'params/linear{i}/{what}' for i in (1, 2) for what in ('kernel', 'bias')),
        *(
          'params/norm1/scale',
          'params/norm1/bias',
          'batch_stats/norm1/mean',
          'batch_stats/norm1/var',
        ),
      ],
    )
    kernel = found['params/linear1/kernel']
    self.assertEqual(kernel.dtype, np.float32)
    np.testing.assert_array_equal(kernel, drawn('mlp')['params']['linear1']['kernel'])

  @parameterized.parameters(*ENDINGS)
  def test_memory_layout_and_byte_order_do_not_matter(self, ending):
    path = self.folder / f'weights{ending}'
    turned = jax.tree.map(lambda x: np.asarray(x, '>f4').T.copy().T, drawn('mlp'))
    self.assertFalse(turned['params']['linear1']['kernel'].flags.c_contiguous)
    models.save_weights(path, turned)
    chex.assert_trees_all_equal(models.load_weights(path, HEAD), jax.device_get(drawn('mlp')))

  @parameterized.product(ending=ENDINGS, dtype=('float16', 'float64'))
  def test_takes_other_floats(self, ending, dtype):
    path = self.folder / f'weights{ending}'
    arrays = {k: np.asarray(v, dtype) for k, v in models.flatten(drawn('mlp')).items()}
    write(path, arrays)
    found = models.load_weights(path, HEAD)
    chex.assert_trees_all_equal_dtypes(found, drawn('mlp'))
    chex.assert_trees_all_close(found, jax.device_get(drawn('mlp')), rtol=1e-3)

  @parameterized.product(
    [
      {
        'change': {'params/linear1/kernel': None},
        'message': 'found 7 arrays, params/linear1/kernel is missing, must be .* 8 arrays$',
      },
      {
        'change': {'params/linear9/kernel': np.zeros(3, np.float32)},
        'message': 'found 9 arrays, params/linear9/kernel is of no layer of this encoder, must be ',
      },
      {
        'change': {'params/linear1/kernel': np.zeros((4, 3), np.float32)},
        'message': r'params/linear1/kernel: found shape \(4, 3\), must be \(3, 4\)',
      },
      {
        'change': {'params/linear1/bias': np.zeros((4, 1), np.float32)},
        'message': r'params/linear1/bias: found shape \(4, 1\), must be \(4,\)',
      },
      {
        'change': {'batch_stats/norm1/var': np.array([1, np.nan, 1, 1], np.float32)},
        'message': 'batch_stats/norm1/var: found NaN or infinite values, must be finite',
      },
      {
        'change': {'batch_stats/norm1/mean': np.full(4, -np.inf, np.float16)},
        'message': 'batch_stats/norm1/mean: found NaN or infinite',
      },
      {
        'change': {'batch_stats/norm1/mean': np.full(4, 1e300)},
        'message': 'batch_stats/norm1/mean: found NaN or infinite',
      },
      {
        'change': {'params/norm1/scale': np.ones(4, np.int32)},
        'message': 'params/norm1/scale: found dtype int32, must be a floating-point dtype',
      },
    ],
    ending=ENDINGS,
  )
  def test_another_architecture_and_no_numbers(self, change, message, ending):
    path = self.folder / f'weights{ending}'
    arrays = {**models.flatten(jax.device_get(drawn('mlp'))), **change}
    write(path, {name: array for name, array in arrays.items() if array is not None})
    self.refused(path, ValueError, message)

  def test_another_network(self):
    path = self.folder / 'weights.npz'
    models.save_weights(path, drawn('resnet'))
    self.refused(
      path, ValueError, 'batch_stats/.* is missing, must be the weights of this architecture'
    )
    wider = models.resnet('resnet10', width=4)
    self.refused(path, ValueError, r'found shape \(.*\), must be \(.*\)', wider)

  @parameterized.product(ending=ENDINGS, damage=('cut', 'half', 'empty', 'text', 'flipped'))
  def test_damaged_files(self, ending, damage):
    path = self.folder / f'weights{ending}'
    models.save_weights(path, drawn('mlp'))
    whole = path.read_bytes()
    changed = {
      'cut': whole[:-1],
      'half': whole[: len(whole) // 2],
      'empty': b'',
      'text': b'no weights\n' * 9,
      'flipped': whole[:40] + bytes(255 - byte for byte in whole[40:60]) + whole[60:],
    }
    path.write_bytes(changed[damage])
    self.refused(path, OSError, 'the file is damaged: .')

  def test_files_that_only_look_like_npz(self):
    path = self.folder / 'weights.npz'
    with path.open('wb') as file:
      np.save(file, np.zeros(3, np.float32))
    self.refused(path, OSError, 'is damaged: it is no complete .npz')
    np.savez(path, **{'params/linear1/kernel': np.array([{}], object)})
    self.refused(path, OSError, 'is damaged: .*allow_pickle')
    with zipfile.ZipFile(path, 'w') as archive:
      archive.writestr('params/linear1/kernel', 'text')
    self.refused(path, OSError, 'is damaged: params/linear1/kernel is no array')

  def test_types_that_numpy_lacks(self):
    path = self.folder / 'weights.safetensors'
    header = b'{"params/x":{"dtype":"BF16","shape":[2],"data_offsets":[0,4]}}'
    path.write_bytes(len(header).to_bytes(8, 'little') + header + bytes(4))
    self.refused(path, ValueError, "found arrays of type 'BF16', must be F16, F32 or F64")

  def test_wrong_paths(self):
    self.refused(self.folder / 'weights.pt', ValueError, "found the ending '.pt', must be .npz or")
    for ending in ENDINGS:
      missing = self.folder / f'missing{ending}'
      self.refused(missing, FileNotFoundError, 'there is no such file; must be one of exported')
      (self.folder / f'folder{ending}').mkdir()
      self.refused(self.folder / f'folder{ending}', OSError, 'this is no regular file')
      with self.assertRaisesRegex(OSError, 'none'):
        models.save_weights(self.folder / 'none' / f'x{ending}', drawn('mlp'))
    with self.assertRaisesRegex(ValueError, "found the ending '', must be"):
      models.save_weights(self.folder / 'weights', drawn('mlp'))
    with self.assertRaisesRegex(
      ValueError, '^variables: found params, must be a dict with batch_stats$'
    ):
      models.save_weights(self.folder / 'weights.npz', {'params': {}})
    self.assertFalse((self.folder / 'weights.npz').exists())

  def test_the_home_folder(self):
    with mock.patch.dict('os.environ', HOME=str(self.folder)):
      models.save_weights('~/weights.npz', drawn('mlp'))
      self.assertTrue((self.folder / 'weights.npz').exists())
      models.load_weights('~/weights.npz', HEAD)

  def test_without_the_package(self):
    path = self.folder / 'weights.safetensors'
    path.touch()
    with mock.patch.dict(sys.modules, {'safetensors': None, 'safetensors.numpy': None}):
      for call in (
        lambda: models.save_weights(path, drawn('mlp')),
        lambda: models.load_weights(path, HEAD),
      ):
        with self.assertRaisesRegex(ValueError, 'needs the package safetensors: pip install'):
          call()


def mutated(content, edits):
  """Bytes with some replaced, removed or put in."""
  changed = bytearray(content)
  for at, how, new in edits:
    at = int(at * (len(changed) - 1)) if changed else 0
    changed[at : at + (0 if how == 'insert' else len(new))] = b'' if how == 'remove' else new
  return bytes(changed)


EDITS = st.lists(
  st.tuples(
    st.floats(0, 1),
    st.sampled_from(('replace', 'insert', 'remove')),
    st.one_of(st.binary(min_size=1, max_size=8), st.sampled_from((b'9' * 8, b'\xff' * 8))),
  ),
  min_size=1,
  max_size=3,
)


class HostileWeightsTest(chex.TestCase):
  @pytest.fixture(autouse=True)
  def _folder(self, tmp_path):
    self.folder = tmp_path

  def check(self, path, content):
    """Variables of the network, or a refusal in one short line."""
    path.write_bytes(content)
    try:
      found = models.load_weights(path, HEAD)
    except (ValueError, OSError) as error:
      line = str(error)
      self.assertStartsWith(line, str(path))
      self.assertLess(len(line), len(str(path)) + 400)
      self.assertNotIn('\n', line)
      return line
    chex.assert_trees_all_equal_shapes(found, drawn('mlp'))
    chex.assert_tree_all_finite(found)
    return ''

  @parameterized.parameters(*ENDINGS)
  def test_any_bytes_changed(self, ending):
    path = self.folder / f'weights{ending}'
    models.save_weights(path, drawn('mlp'))
    whole = path.read_bytes()

    @settings(max_examples=60, deadline=None, derandomize=True)
    @given(EDITS)
    def change(edits):
      self.check(path, mutated(whole, edits))

    change()

  @parameterized.parameters(
    ('[1000000000000]', '[0,4000000000000]'),
    ('[2]', '[0,4000000000000]'),
    ('[99999999999999999999]', '[0,8]'),
    ('[-1]', '[0,8]'),
    ('[2]', '[8,0]'),
  )
  def test_sizes_of_safetensors_that_are_not_there(self, shape, offsets):
    header = f'{{"params/linear1/bias":{{"dtype":"F32","shape":{shape},"data_offsets":{offsets}}}}}'
    content = len(header).to_bytes(8, 'little') + header.encode() + bytes(8)
    self.assertIn('is damaged', self.check(self.folder / 'a.safetensors', content))
    content = (2**62).to_bytes(8, 'little') + header.encode()
    self.assertIn('is damaged', self.check(self.folder / 'a.safetensors', content))

  @parameterized.parameters('(1000000000000,)', '(-4,)', '(True,)', "('a',)", f'({10**30},)', '()')
  def test_sizes_of_npz_that_are_not_there(self, shape):
    header = f"{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}, }}".encode()
    header += b' ' * (53 + 64 - len(header)) + b'\n'
    member = b'\x93NUMPY\1\0' + len(header).to_bytes(2, 'little') + header + bytes(16)
    path = self.folder / 'a.npz'
    with zipfile.ZipFile(path, 'w', zipfile.ZIP_DEFLATED) as archive:
      archive.writestr('params/linear1/bias.npy', member)
    self.assertIn('is damaged', self.check(path, path.read_bytes()))

  def test_an_array_that_unpacks_to_more_than_the_network_has_is_not_unpacked(self):
    path = self.folder / 'a.npz'
    arrays = {**models.flatten(jax.device_get(drawn('mlp')))}
    arrays['params/linear1/kernel'] = np.zeros((3, 3_000_000), np.float32)
    np.savez_compressed(path, **arrays)
    tracemalloc.start()
    line = self.check(path, path.read_bytes())
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    self.assertIn('must be (3, 4)', line)
    self.assertLess(peak, 8e6)
