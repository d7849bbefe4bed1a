"""What `--task` can be: each task joins the floors below into one job."""

from ssl_jax.tasks.evaluate import evaluate
from ssl_jax.tasks.negatives.analyze import analyze
from ssl_jax.tasks.pretrain import pretrain

__all__ = ['analyze', 'evaluate', 'pretrain']
