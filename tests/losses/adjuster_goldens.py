"""The inputs that the golden values of DSA share."""

import jax
import jax.numpy as jnp
import numpy as np


def unit(*degrees: float) -> np.ndarray:
  """Unit vectors of the plane."""
  angles = np.radians(degrees)
  return np.stack([np.cos(angles), np.sin(angles)], axis=1)


def rows(text: str) -> np.ndarray:
  """'1 2; 3 4' to a matrix."""
  return np.array([[float(x) for x in line.split()] for line in text.split(';')])


PRIORS = unit(0, 20, 100), unit(10, 35, 80)
VIEWS = rows('1 2; 2 1; -1 1'), rows('1 1; 3 1; -2 1')
SCORES = np.array([1, 0.5, 0])
S11 = rows('1 0.4992777571 0.0466922177; 0.4992777571 1 0.0764475466; 0.0466922177 0.0764475466 1')
S22 = rows('1 0.4207323247 0.1008313716; 0.4207323247 1 0.2163768470; 0.1008313716 0.2163768470 1')
S12 = rows(
  '0.7056591341 0.3003450802 0.0764475466; 0.7056591341 0.5932705356 0.1353352832; '
  '0.0591057466 0.1165775650 0.4992777571'
)
CONCATENATION = {
  'hidden_kernel': rows('0.5 -0.25; 0.1 0.3; -0.4 0.2; 0.2 0.6'),
  'hidden_bias': np.array([0.1, -0.1]),
  'output_kernel': np.array([1, -0.5]),
  'output_bias': np.array(0.2),
}
DIFFERENCE = {
  'hidden_kernel': rows('4 -2; 1 3'),
  'hidden_bias': np.array([0.1, -0.05]),
  'output_kernel': np.array([1, 0.5]),
  'output_bias': np.array(0.02),
}


def single(tree):
  """The same numbers in float32."""
  return jax.tree.map(lambda x: jnp.asarray(x, jnp.float32), tree)
