"""One of the processes of test_two_processes.py: `two_processes.py PORT RANK FILE`.

Pickles every case's results, of arrays sharded over the devices of all processes, by way.
"""

import os
import pathlib
import pickle
import sys

from tests import compiling

PROCESSES, DEVICES_OF_EACH = 2, 2
BLOCK_SIZE = 8  # As many rows as a device has.


def main(port: str, rank: str, path: str) -> None:
  # Before JAX starts.
  os.environ['XLA_FLAGS'] = compiling.xla_flags(DEVICES_OF_EACH)
  import jax

  jax.config.update('jax_enable_x64', True)
  jax.distributed.initialize(
    f'127.0.0.1:{port}', num_processes=PROCESSES, process_id=int(rank), heartbeat_timeout_seconds=20
  )
  from tests.losses import tiny_encoder, ways
  from tests.losses.cases import all_cases
  from tests.losses.tiny_encoder import WHOLE

  def function(parameters, inputs, axis_name=None):
    blocks = (WHOLE,) if axis_name is None else (BLOCK_SIZE,)
    return tiny_encoder.every_result(
      all_cases(), parameters, inputs, blocks=blocks, axis_name=axis_name
    )

  mesh = ways.make_mesh(PROCESSES * DEVICES_OF_EACH)
  arrays = tiny_encoder.random_parameters(0), tiny_encoder.random_inputs()
  results = {
    way.__name__: way(function, *arrays, mesh) for way in (ways.sharded_jit, ways.shard_map)
  }
  pathlib.Path(path).write_bytes(pickle.dumps(jax.device_get(results)))


if __name__ == '__main__':
  main(*sys.argv[1:])
