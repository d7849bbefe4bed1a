"""Train state, compiled step, training loop, optimizers, schedules and checkpoints."""

from ssl_jax.training.checkpoints.manager import CheckpointError, Checkpoints
from ssl_jax.training.metrics import NonFiniteLossError
from ssl_jax.training.preemption import Preemption
from ssl_jax.training.state import TrainState

__all__ = ['CheckpointError', 'Checkpoints', 'NonFiniteLossError', 'Preemption', 'TrainState']
