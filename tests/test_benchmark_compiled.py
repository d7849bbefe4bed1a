"""benchmarks/compiled.py compiles the step of a run and reads the program."""

import jax
import pytest

from benchmarks import compiled

FLAGS = ['--model.name=resnet10', '--model.width=4', '--data.batch_size=8', '--data.image_size=8']


@pytest.mark.slow
def test_a_step_is_compiled_and_its_costs_add_up():
  program, images = compiled.compile_step(jax.devices()[:1], 'cifar10/simclr', 64, FLAGS, {})
  assert images == 8
  costs = compiled.Program(program.as_text(), compiled.DEVICES['h200'], 1, 1)
  found = compiled.summarize(costs, images, top=3)
  assert found['hbm_gb'] > 0
  for whole, part in (('kernels', 'kernels'), ('hbm_gb', 'gb'), ('roofline_ms', 'ms')):
    total = sum(each[part] for each in found['parts'].values())
    assert total == pytest.approx(found[whole])
  # Products of the two views with kernels: far more than the loss has.
  assert found['matrix_gflop'] > 0.001


def test_operations_of_a_product():
  text = (
    'ENTRY %main (a: f32[8,16], b: f32[16,4]) -> f32[8,4] {\n'
    '  %a = f32[8,16]{1,0} parameter(0)\n'
    '  %b = f32[16,4]{1,0} parameter(1)\n'
    '  ROOT %c = f32[8,4]{1,0} dot(%a, %b), lhs_contracting_dims={1}, rhs_contracting_dims={0}, '
    'metadata={op_name="jit(step)/jvp(MLP)/dot_general"}\n'
    '}\n'
  )
  (cost,) = compiled.Program(text, compiled.DEVICES['h200'], 1, 1).costs
  assert cost.work.matrix == 2 * 8 * 16 * 4
  assert cost.bytes == 4 * (8 * 16 + 16 * 4 + 8 * 4)
  assert (cost.kind, cost.part) == ('dot', 'heads')
