"""Stands in for `experiments/run.py` where a test is about the sweep: it starts in no time.

It leaves the configuration and a result in the folder of the run, and a count of its starts. With
`--data.source=npz:MARK` it misbehaves: `fail` leaves with status 3, `wait` until a signal comes,
`silent` without a result.
"""

import json
import pathlib
import signal
import sys
import time


def main(argv: list[str]) -> int:
  """Returns the exit status that a run would have."""
  flags = dict(word.lstrip('-').split('=', 1) for word in argv)
  folder, seed = pathlib.Path(flags['run_dir']), int(flags['seed'])
  mark = flags.get('data.source', '').removeprefix('npz:')
  folder.mkdir(parents=True, exist_ok=True)
  received = []
  for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1):
    signal.signal(number, lambda signum, _: received.append(signum))
  with (folder / 'starts').open('a') as file:
    file.write('.')
  print('working', flush=True)
  if mark == 'fail':
    print('fake: the reason\n', file=sys.stderr)
    return 3
  if mark == 'wait':
    limit = time.monotonic() + 60
    while not received and time.monotonic() < limit:
      time.sleep(0.01)
    (folder / 'received').write_text(' '.join(map(str, received)))
    print('saved')
    return 128 + received[0] if received else 4
  if mark == 'silent':
    return 0
  (folder / 'config.flags').write_text('\n'.join(argv) + '\n')
  result = {'steps': 10, 'knn': {'trained': 0.5 + seed / 10}}
  (folder / 'result.json').write_text(json.dumps(result))
  return 0


if __name__ == '__main__':
  sys.exit(main(sys.argv[1:]))
