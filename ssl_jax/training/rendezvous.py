"""Processes of one run meet at the coordinator's address and compare facts, before JAX connects
them.

Connected processes that do not run the same program wait for each other for ever, or save a
mixture. And the coordinator of JAX can die of a port that is taken, or wait minutes for an address
that nobody listens at. So the processes meet here first, over plain TCP at the port that JAX takes
afterwards: each sends its facts to process 0, which answers all when it has heard everyone.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import select
import socket
import time
from collections.abc import Callable, Mapping

_GREETING = 'ssl_jax rendezvous 1'
_MOST_BYTES = 1 << 20
_HELLO_SECONDS = 5.0  # for a message that has been sent at once
_RETRY_SECONDS = 0.2

Facts = Mapping[str, str]


class RendezvousError(ValueError):
  """The processes cannot run together; the message is one line."""


def meet(
  address: str,
  processes: int,
  process: int,
  facts: Facts,
  *,
  connect_seconds: float = 10.0,
  wait_seconds: float = 300.0,
  log: Callable[[str], None] = print,
) -> None:
  """Returns when all processes have met and have the same facts.

  Args:
    address: HOST:PORT of process 0.
    processes: of the run.
    process: this one, from 0.
    facts: by name, what must be the same on all; the first that differs is reported.
    connect_seconds: how long a process tries to reach process 0.
    wait_seconds: how long processes wait for those that have not come.
    log: takes a line when some are waited for.

  Raises:
    RendezvousError: the address cannot be used or reached, a number is taken twice, a process does
      not come, or facts differ.
  """
  host, port = split_address(address)
  if process == 0:
    _host(address, port, processes, facts, wait_seconds, log)
  else:
    _join(address, (host, port), process, facts, connect_seconds, wait_seconds)


def split_address(address: str) -> tuple[str, int]:
  """Host and port of HOST:PORT; an IPv6 address stands in brackets.

  Raises:
    RendezvousError: it is none.
  """
  host, _, port = address.rpartition(':')
  host = host.removeprefix('[').removesuffix(']')
  if not host or not (port.isascii() and port.isdecimal()) or not 0 < int(port) < 65536:
    raise RendezvousError(f'found {address}, must be HOST:PORT with a port from 1 to 65535')
  return host, int(port)


def first_difference(own: Facts, other: Facts, process: int) -> str:
  """The first fact that another process has otherwise than process 0, in words; '' for none."""
  for name in dict.fromkeys([*own, *other]):
    mine, theirs = own.get(name, '(none)'), other.get(name, '(none)')
    if mine != theirs:
      return f'{name}: found {theirs} in process {process}, must be {mine}, as in process 0'
  return ''


def _host(
  address: str,
  port: int,
  processes: int,
  facts: Facts,
  wait_seconds: float,
  log: Callable[[str], None],
) -> None:
  """Process 0: hears all others, and answers them."""
  start, said, problem = time.monotonic(), False, ''
  end = start + wait_seconds
  members: dict[int, socket.socket] = {}
  with _listen(address, port) as listener, contextlib.ExitStack() as connections:
    while time.monotonic() < end:
      if len(members) >= processes - 1:
        # One that died meanwhile may be started again.
        members = {one: connection for one, connection in members.items() if _is_alive(connection)}
        if len(members) >= processes - 1:
          break
      if not said and not problem and time.monotonic() - start > _HELLO_SECONDS:
        said = True
        log(f'waiting   at {address} for process {_missing(members, processes)}')
      if not select.select([listener], [], [], 0.2)[0]:
        continue
      with contextlib.suppress(OSError):  # who came has gone
        connection = connections.enter_context(listener.accept()[0])
        process, theirs = _hear(connection)
        if process is None:  # no process of a run
          connection.close()
          continue
        if not problem:
          problem = first_difference(facts, theirs, process)
          if not problem and not 0 < process < processes:
            problem = f'{address}: process number {process} is not one of {processes} processes'
          taken = process in members and _is_alive(members[process])
          if not problem and taken:
            problem = f'{address}: process number {process} is taken twice'
          if problem:  # those that are still to come are told the same
            end = min(end, time.monotonic() + _HELLO_SECONDS)
        if problem:
          process = processes + max(members, default=0) + 1
        members[process] = connection
    if not problem and len(members) < processes - 1:
      missing = _missing(members, processes)
      problem = f'{address}: process {missing} did not come in {wait_seconds:g} s'
    for connection in members.values():
      with contextlib.suppress(OSError):
        connection.sendall(_line({'problem': problem}))
  if problem:
    raise RendezvousError(problem)


def _missing(members: Mapping[int, object], processes: int) -> str:
  return ', '.join(str(one) for one in range(1, processes) if one not in members)


def _join(
  address: str,
  target: tuple[str, int],
  process: int,
  facts: Facts,
  connect_seconds: float,
  wait_seconds: float,
) -> None:
  """Another process: sends its facts, and waits for the answer."""
  with _connect(address, target, connect_seconds) as connection:
    stranger = RendezvousError(
      f"{address}: is not a run that is starting; the port is another program's, or the run has "
      'begun and a process number is taken twice'
    )
    try:
      connection.settimeout(connect_seconds)
      connection.sendall(_line({'greeting': _GREETING, 'process': process, 'facts': dict(facts)}))
      reader = connection.makefile('rb')
      if _parse(reader.readline(_MOST_BYTES)).get('greeting') != _GREETING:
        raise stranger
    except OSError as error:
      raise stranger from error
    try:
      connection.settimeout(wait_seconds + connect_seconds)
      answer = _parse(reader.readline(_MOST_BYTES))
    except OSError as error:
      answer = {'problem': f'{address}: process 0 does not answer ({_reason(error)})'}
  problem = answer.get('problem', f'{address}: process 0 has gone')
  if problem:
    raise RendezvousError(str(problem))


def _listen(address: str, port: int) -> socket.socket:
  try:
    # As JAX's coordinator: at all addresses of this machine.
    if socket.has_dualstack_ipv6():
      try:
        return socket.create_server(('', port), family=socket.AF_INET6, dualstack_ipv6=True)
      except OSError as error:
        if error.errno not in (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT):  # switched off
          raise
    return socket.create_server(('', port))
  except OSError as error:
    raise RendezvousError(
      f'{address}: process 0 cannot listen there ({_reason(error)}); take another port'
    ) from error


def _connect(address: str, target: tuple[str, int], seconds: float) -> socket.socket:
  end = time.monotonic() + seconds
  while True:
    try:
      return socket.create_connection(target, timeout=max(end - time.monotonic(), 0.1))
    except OSError as error:
      if time.monotonic() + _RETRY_SECONDS > end:
        raise RendezvousError(
          f'{address}: process 0 cannot be reached in {seconds:g} s ({_reason(error)})'
        ) from error
    time.sleep(_RETRY_SECONDS)


def _hear(connection: socket.socket) -> tuple[int | None, Facts]:
  """Number and facts of who has connected; None for a stranger."""
  connection.settimeout(_HELLO_SECONDS)
  hello = _parse(connection.makefile('rb').readline(_MOST_BYTES))
  process, facts = hello.get('process'), hello.get('facts')
  if hello.get('greeting') != _GREETING or type(process) is not int or type(facts) is not dict:
    return None, {}
  connection.sendall(_line({'greeting': _GREETING}))
  return process, facts


def _is_alive(connection: socket.socket) -> bool:
  """Whether the other end is open: it sends nothing until it is answered."""
  try:
    return not select.select([connection], [], [], 0)[0]
  except (OSError, ValueError):
    return False


def _line(content: Mapping[str, object]) -> bytes:
  return json.dumps(content).encode() + b'\n'


def _parse(line: bytes) -> dict:
  try:
    content = json.loads(line)
  except (ValueError, RecursionError):
    return {}
  return content if isinstance(content, dict) else {}


def _reason(error: OSError) -> str:
  if isinstance(error, socket.gaierror):
    return 'the name of the host is not known'
  return (error.errno and os.strerror(error.errno)) or str(error) or type(error).__name__
