"""One row of parameters and its gradient -> the updated row.

Every parameter of the network is a matrix that is updated a row at a time, in place, as soon as a
sample asks for it. Rows that no sample touches cost nothing. What a solver remembers of a matrix is a
NamedTuple of its own; its class tells the kernels which solver it is.
"""

from typing import NamedTuple

import numpy as np

from sklearn_slide._core.compilation import by_type, inner

BETA_1, BETA_2, ADAM_EPSILON = 0.9, 0.999, 1e-8


class Adagrad(NamedTuple):
    """Adagrad with one accumulator a row."""

    sums: np.ndarray  # float32 (n_rows,), of mean squared gradients

    @staticmethod
    def start(shape, first_sum):
        """Return the state of a matrix of this shape before its first update."""
        return Adagrad(np.full(shape[0], first_sum, dtype=np.float32))


class Adam(NamedTuple):
    """Lazy Adam: the moments of a row, and its number of updates, rest while no sample touches it."""

    counts: np.ndarray  # float32 (n_rows,), of updates
    first_moment: np.ndarray  # float32, the shape of the matrix
    second_moment: np.ndarray  # float32, the shape of the matrix

    @staticmethod
    def start(shape, first_sum):
        """Return the state of a matrix of this shape before its first update; Adam has no use for a sum."""
        del first_sum
        zeros = [np.zeros(shape, dtype=np.float32) for _ in range(2)]
        return Adam(np.zeros(shape[0], dtype=np.float32), *zeros)


SOLVERS = {"adagrad": Adagrad, "adam": Adam}


@inner
def mean_square(vector, n):
    """Compute the mean of the squares of vector[:n], float32."""
    total = np.float32(0.0)
    for u in range(n):
        total += vector[u] * vector[u]
    return total / np.float32(max(n, 1))


@by_type
def step_rows(state, values, rows, scales, n, direction, square, rate):
    """Step against the gradients scales[a] * direction of the rows rows[a], for a below n.

    values float32 (n_rows, n_columns), rows int32, scales float32, direction float32 (at least n_columns,),
    square float32 the mean of its squares, rate float32. A gradient of zero leaves the row as it is.
    """


@step_rows.register(Adagrad)
def adagrad_rows(state, values, rows, scales, n, direction, square, rate):
    """Step by Adagrad with one accumulator a row: s += mean(g**2), w -= rate * g / sqrt(s)."""
    if square == 0.0:
        return
    for a in range(n):
        row, scale = rows[a], scales[a]
        if scale != 0.0:
            state.sums[row] += scale * scale * square
            factor = rate * scale / np.sqrt(state.sums[row])
            for u in range(values.shape[1]):
                values[row, u] -= factor * direction[u]


@step_rows.register(Adam)
def adam_rows(state, values, rows, scales, n, direction, square, rate):
    """Step by lazy Adam: Kingma & Ba (2015), algorithm 1, with t the number of updates of the row."""
    if square == 0.0:
        return
    keep_1, keep_2 = np.float32(BETA_1), np.float32(BETA_2)
    add_1, add_2 = np.float32(1.0 - BETA_1), np.float32(1.0 - BETA_2)
    for a in range(n):
        row, scale = rows[a], scales[a]
        if scale != 0.0:
            state.counts[row] += np.float32(1.0)
            t = state.counts[row]
            # in float64: 1 - 0.999**t has few digits left in float32
            factor = np.float32(rate * np.sqrt(1.0 - BETA_2**t) / (1.0 - BETA_1**t))
            epsilon = np.float32(ADAM_EPSILON * np.sqrt(1.0 - BETA_2**t))
            for u in range(values.shape[1]):
                g = scale * direction[u]
                m = keep_1 * state.first_moment[row, u] + add_1 * g
                v = keep_2 * state.second_moment[row, u] + add_2 * g * g
                state.first_moment[row, u] = m
                state.second_moment[row, u] = v
                values[row, u] -= factor * m / (np.sqrt(v) + epsilon)


@by_type
def step_and_sum_rows(state, values, rows, scales, n, direction, total, rate):
    """Set total to the sum of scales[a] times the row rows[a], for a below n, then step as step_rows does.

    No row comes twice. total float32 (at least n_columns,), the others as in step_rows.
    """


@step_and_sum_rows.register(Adagrad)
def adagrad_sum_rows(state, values, rows, scales, n, direction, total, rate):
    """Read two rows at a time from memory, once for both the sum and the step."""
    n_columns = values.shape[1]
    square = mean_square(direction, n_columns)
    total[:n_columns] = np.float32(0.0)
    waiting = -1
    for a in range(n):
        if scales[a] == 0.0:
            continue
        state.sums[rows[a]] += scales[a] * scales[a] * square
        if waiting < 0:
            waiting = a
            continue
        y0, y1 = np.uint64(rows[waiting]), np.uint64(rows[a])
        r0, r1 = scales[waiting], scales[a]
        f0, f1 = rate * r0 / np.sqrt(state.sums[y0]), rate * r1 / np.sqrt(state.sums[y1])
        for u in range(n_columns):
            w0, w1 = values[y0, u], values[y1, u]
            total[u] += r0 * w0 + r1 * w1
            values[y0, u] = w0 - f0 * direction[u]
            values[y1, u] = w1 - f1 * direction[u]
        waiting = -1
    if waiting >= 0:
        y0, r0 = np.uint64(rows[waiting]), scales[waiting]
        f0 = rate * r0 / np.sqrt(state.sums[y0])
        for u in range(n_columns):
            w0 = values[y0, u]
            total[u] += r0 * w0
            values[y0, u] = w0 - f0 * direction[u]


@step_and_sum_rows.register(Adam)
def adam_sum_rows(state, values, rows, scales, n, direction, total, rate):
    """Sum first, then step."""
    n_columns = values.shape[1]
    total[:n_columns] = np.float32(0.0)
    for a in range(n):
        if scales[a] != 0.0:
            for u in range(n_columns):
                total[u] += scales[a] * values[rows[a], u]
    step_rows(state, values, rows, scales, n, direction, mean_square(direction, n_columns), rate)


@by_type
def direct_factor(state, y, factor):
    """Return factor, float32, as the solver has it for the direct weights of label y."""


@direct_factor.register(Adagrad)
def adagrad_factor(state, y, factor):
    """Divide by the root of the accumulator that the label has in the output layer."""
    return factor / np.sqrt(state.sums[y])


@direct_factor.register(Adam)
def adam_factor(state, y, factor):
    """Keep the factor: direct weights have no moments."""
    return factor
