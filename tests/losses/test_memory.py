"""What losses need beside their arguments and results, by the compiled programs' own account.

Programs are compiled and not run. The losses are those that `benchmarks/losses.py` measures.
"""

import functools
import inspect

import chex
import jax
import jax.numpy as jnp
import pytest
from absl.testing import parameterized

from benchmarks import losses as benchmark
from benchmarks.losses import CASES, inputs_like
from ssl_jax import losses
from tests.losses.cases.contrastive import NUM_DRAWN

MIB = 2**20
DIM = 128
# Take or return matrices, which no block size makes smaller; scores have no gradient.
OTHERS = {'anchor_scores', 'arranging_loss', 'arranging_matrix', 'released_arranging_matrix'}
# The deputy of all others is the sum of the batch less the query's own target.
NO_MATRIX = {'truncated_triplet, all'}
# One loss for each way of going through the matrix.
WAYS = (
  'nt_xent',
  'supervised_contrastive',
  f'instance_contrastive, {NUM_DRAWN} drawn',
  'truncated_triplet',
  'truncated_triplet, median',
)


def matrix_mib(name, batch):
  return CASES[name].matrix.elements(batch, DIM) * 4 / MIB


@functools.cache
def gradient_mib(name, batch, block_size):
  """Of value and gradient with respect to both views, metrics included."""
  call = functools.partial(CASES[name].call, block_size=block_size)
  compiled = benchmark.compile_gradient(call, inputs_like(batch, DIM, 'float32'))
  return benchmark.temporary_bytes(compiled) / MIB


def forward_mib(function, *shapes):
  arguments = [jax.ShapeDtypeStruct(shape, jnp.float32) for shape in shapes]
  return benchmark.temporary_bytes(jax.jit(function).lower(*arguments).compile()) / MIB


class EveryLossTest(chex.TestCase):
  def test_no_loss_with_a_block_size_is_left_out(self):
    with_blocks = {
      name
      for name in losses.__all__
      if inspect.isfunction(function := getattr(losses, name))
      and 'block_size' in inspect.signature(function).parameters
    }
    measured = {name.split(',')[0] for name in CASES}
    self.assertEqual(
      with_blocks, measured | OTHERS, 'give a case of it a matrix, in tests/losses/cases'
    )

  @parameterized.named_parameters(zip(CASES, CASES, strict=True))
  def test_whole_(self, name):
    """At batch 4,096 the whole loss needs less than 2.5 matrices."""
    found = gradient_mib(name, 4096, None) / matrix_mib(name, 4096)
    self.assertLess(found, 2.5)
    if name not in NO_MATRIX:  # else nothing would be learned from the next test
      self.assertGreater(found, 1)

  @parameterized.named_parameters(zip(CASES, CASES, strict=True))
  def test_blocked_(self, name):
    """In blocks a small part of the matrix, of which all was there in the whole loss."""
    self.assertLess(gradient_mib(name, 8192, 512), matrix_mib(name, 8192) / 4)

  @parameterized.parameters(*WAYS)
  @pytest.mark.slow
  def test_twice_the_batch_of(self, name):
    """Linear in the batch: the matrix would grow fourfold."""
    small, large = (gradient_mib(name, batch, 512) for batch in (4096, 8192))
    self.assertLess(large, 2.2 * small)


class NtXentTest(chex.TestCase):
  def test_at_32768_embeddings(self):
    self.assertLess(gradient_mib('nt_xent', 16384, 1024), 225)

  @pytest.mark.slow
  def test_grows_linearly(self):
    at = {batch: gradient_mib('nt_xent', batch, 1024) for batch in (4096, 8192, 16384, 32768)}
    slope = (at[32768] - at[16384]) / 16384
    self.assertAlmostEqual((at[16384] - at[8192]) / 8192 / slope, 1, delta=0.03)
    # Where a tile still counts for something, the slope is less: from there on it is constant.
    self.assertAlmostEqual((at[8192] - at[4096]) / 4096 / slope, 1, delta=0.15)

  @pytest.mark.slow
  def test_at_131072_embeddings(self):
    # Their matrix has 64 GiB, and the views 64 MiB.
    self.assertLess(gradient_mib('nt_xent', 65536, 1024), 768)

  def test_groups(self):
    views = (4096, DIM), (4096, DIM)
    whole = forward_mib(jax.value_and_grad(losses.nt_xent, has_aux=True), *views)
    grouped = functools.partial(losses.nt_xent, group_size=256)
    found = forward_mib(jax.value_and_grad(grouped, has_aux=True), *views)
    self.assertLess(found, whole / 4)  # 16 groups hold a sixteenth of the pairs


@pytest.mark.slow
class MatrixTest(chex.TestCase):
  """What a block size does where matrices are arguments or results."""

  def test_anchor_scores(self):
    whole, blocked = (
      forward_mib(functools.partial(losses.anchor_scores, block_size=size), (4096, DIM))
      for size in (None, 256)
    )
    self.assertGreater(whole, 4096**2 * 4 / MIB)
    self.assertLess(blocked, whole / 8)

  def test_arranging_loss(self):
    def loss(view1, view2, matrices, scores, block_size):
      return losses.arranging_loss((view1, view2), None, matrices, scores, block_size=block_size)

    shapes = (2048, DIM), (2048, DIM), (4, 2048, 2048), (2048,)
    gradient = jax.value_and_grad(loss, argnums=(0, 1, 2), has_aux=True)
    whole, blocked = (
      forward_mib(functools.partial(gradient, block_size=size), *shapes) for size in (None, 128)
    )
    self.assertLess(blocked, whole / 2)

  @parameterized.parameters('arranging_matrix', 'released_arranging_matrix')
  def test_hidden_layer_of(self, name):
    form, views = {'arranging_matrix': ('concatenation', 2)}.get(name, ('difference', 1))
    params = losses.init_arranging(jax.random.key(0), DIM, 32, form=form)

    def mean(*views, block_size):
      return jnp.mean(getattr(losses, name)(params, *views, block_size=block_size))

    shapes = [(1024, DIM)] * views
    gradient = jax.grad(mean)
    whole, blocked = (
      forward_mib(functools.partial(gradient, block_size=size), *shapes) for size in (None, 64)
    )
    self.assertGreater(whole, 1024**2 * 32 * 4 / MIB)
    self.assertLess(blocked, whole / 8)
