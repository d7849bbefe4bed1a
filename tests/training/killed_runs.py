"""Trains every method and is killed: `killed_runs.py FOLDER STEP NAME...`.

Saves each method's state at STEP, goes on without saving, and says so on standard output; then it
waits for its end.
"""

import pathlib
import sys
import time


def main(folder: str, step: str, *names: str) -> None:
  from ssl_jax.training import Checkpoints
  from tests.training import tiny_run

  for name in names:
    checkpoints = Checkpoints(pathlib.Path(folder) / name)
    for at in tiny_run.build(name).sync_points(int(step) + 1, sync_every=(int(step),)):
      if at.step == int(step):
        checkpoints.save(at.step, at.state)
    checkpoints.finish()
    print(name, flush=True)
  time.sleep(600)


if __name__ == '__main__':
  main(*sys.argv[1:])
