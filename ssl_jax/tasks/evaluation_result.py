"""What came of an evaluation, before it is written down."""

from __future__ import annotations

import dataclasses
import pathlib

from ssl_jax.tasks.assembly import Assembly
from ssl_jax.tasks.protocols import Taken


@dataclasses.dataclass(frozen=True, eq=False)
class Evaluation:
  """What came of an evaluation.

  Attributes:
    name: of the encoder, for people.
    path: the folder it is written to.
    parts: data, recipe and architecture.
    step: optimizer steps behind the encoder; None for a file of weights.
    digest: of the encoder's variables.
    taken: measurements, by protocol and by encoder.
    failed: protocols that could not be measured, and why.
    seconds: by protocol.
  """

  name: str
  path: pathlib.Path
  parts: Assembly
  step: int | None
  digest: str
  taken: dict[str, dict[str, Taken]]
  failed: dict[str, str]
  seconds: dict[str, float]
