"""One row of parameters and its gradient -> the updated row.

Every parameter of the network is a matrix that is updated a row at a time, in place, as soon as a
sample asks for it. Rows that no sample touches cost nothing.
"""

from typing import NamedTuple

import numpy as np

from sklearn_slide._numba import njit

ADAGRAD, ADAM = 0, 1
SOLVERS = {"adagrad": ADAGRAD, "adam": ADAM}

BETA_1, BETA_2, ADAM_EPSILON = 0.9, 0.999, 1e-8


NO_SCALES = np.zeros(0, dtype=np.float32)


class Weights(NamedTuple):
    """A float32 matrix that is updated a row at a time, and what the solver remembers of each row.

    For predictions alone it may be int8, with a scale for each row that its values are multiplied by.
    """

    values: np.ndarray  # float32 or int8 (n_rows, n_columns), C-contiguous
    steps: (
        np.ndarray
    )  # float32 (n_rows,): adagrad's sum of mean squared gradients, or adam's number of updates
    first_moment: np.ndarray  # float32, the shape of values with adam, (0, 0) with adagrad
    second_moment: np.ndarray  # float32, as first_moment
    scales: np.ndarray = NO_SCALES  # float32 (n_rows,) with int8 values, (0,) with float32


class Solver(NamedTuple):
    """What an update needs beside the row and its gradient."""

    kind: int  # ADAGRAD or ADAM
    learning_rate: np.float32


def make_weights(values, solver, initial_accumulator):
    """Wrap a float32 matrix with the fresh state of a solver, one of SOLVERS' keys."""
    moments = values.shape if SOLVERS[solver] == ADAM else (0, 0)
    start = initial_accumulator if SOLVERS[solver] == ADAGRAD else 0.0
    return Weights(
        values,
        np.full(values.shape[0], start, dtype=np.float32),
        np.zeros(moments, dtype=np.float32),
        np.zeros(moments, dtype=np.float32),
    )


@njit
def mean_square(vector, n):
    """Compute the mean of the squares of vector[:n], float32."""
    total = np.float32(0.0)
    for u in range(n):
        total += vector[u] * vector[u]
    return total / np.float32(max(n, 1))


@njit
def update_rows(weights, rows, scales, n, direction, square, solver):
    """Step against the gradients scales[a] * direction of the rows rows[a], for a below n.

    rows int32, scales float32, direction float32 (at least n_columns,), square float32 the mean of its
    squares. A gradient of zero leaves the row and its state as they are.
    """
    if square == 0.0:
        return
    # one loop for each solver: a choice within the loop made it five times slower
    if solver.kind == ADAGRAD:
        for a in range(n):
            if scales[a] != 0.0:
                adagrad_row(weights, rows[a], scales[a], direction, square, solver.learning_rate)
    else:
        for a in range(n):
            if scales[a] != 0.0:
                adam_row(weights, rows[a], scales[a], direction, solver.learning_rate)


@njit
def adagrad_row(weights, row, scale, direction, square, learning_rate):
    """Update one row by Adagrad with one accumulator a row: s += mean(g**2), w -= rate * g / sqrt(s)."""
    weights.steps[row] += scale * scale * square
    factor = learning_rate * scale / np.sqrt(weights.steps[row])
    for u in range(weights.values.shape[1]):
        weights.values[row, u] -= factor * direction[u]


@njit
def adam_row(weights, row, scale, direction, learning_rate):
    """Update one row by lazy Adam: moments and bias correction count the updates of this row alone.

    Kingma & Ba (2015), algorithm 1, with t the number of updates of the row.
    """
    weights.steps[row] += np.float32(1.0)
    t = weights.steps[row]
    # in float64: 1 - 0.999**t has few digits left in float32
    factor = np.float32(learning_rate * np.sqrt(1.0 - BETA_2**t) / (1.0 - BETA_1**t))
    epsilon = np.float32(ADAM_EPSILON * np.sqrt(1.0 - BETA_2**t))
    keep_1, keep_2 = np.float32(BETA_1), np.float32(BETA_2)
    add_1, add_2 = np.float32(1.0 - BETA_1), np.float32(1.0 - BETA_2)
    for u in range(weights.values.shape[1]):
        g = scale * direction[u]
        m = keep_1 * weights.first_moment[row, u] + add_1 * g
        v = keep_2 * weights.second_moment[row, u] + add_2 * g * g
        weights.first_moment[row, u] = m
        weights.second_moment[row, u] = v
        weights.values[row, u] -= factor * m / (np.sqrt(v) + epsilon)
