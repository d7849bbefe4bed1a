"""The inputs and matrices that the golden values of DSA share."""

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
# M of the concatenation, blocks 11, 22, 12, 21, and of the released form, views 1 and 2.
MATRICES = (
  rows(
    '0.5436386872 0.4439861095 0.7815974639; 0.7005671425 0.6106392339 0.8754466418; '
    '0.3262929005 0.3716838117 0.5187412159'
  ),
  rows(
    '0.5805423048 0.4073334000 0.8611650065; 0.8284952300 0.6399160967 0.9478464369; '
    '0.3658644090 0.3208213008 0.4875026035'
  ),
  rows(
    '0.5683199835 0.3716838117 0.8550783685; 0.7211151780 0.4875026035 0.9168273035; '
    '0.3953209153 0.3486451353 0.6399160967'
  ),
  rows(
    '0.5560138905 0.4563613128 0.7900123734; 0.8138161721 0.7455466141 0.9241418200; '
    '0.2994328575 0.3429895373 0.4133824211'
  ),
)
RELEASED = (
  rows(
    '0.0662983425 0.2596685083 0.6740331492; 0.1408775982 0.0831408776 0.7759815242; '
    '0.0519480519 0.6363636364 0.3116883117'
  ),
  rows(
    '0.1283422460 0.1016042781 0.7700534759; 0.2954545455 0.0681818182 0.6363636364; '
    '0.2843137255 0.4803921569 0.2352941176'
  ),
)


def as_dtype(dtype, tree):
  """The same numbers in a dtype."""
  return jax.tree.map(lambda x: jnp.asarray(x, dtype), tree)


def single(tree):
  """The same numbers in float32."""
  return as_dtype(jnp.float32, tree)
