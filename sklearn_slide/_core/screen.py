"""A small copy of the output layer, and bounds of what it leaves out of the scores of labels."""

from typing import NamedTuple

import numpy as np

from sklearn_slide._core.compilation import inner, njit
from sklearn_slide._core.matrices import Quantized, float_rows, matrix_shape, round_rows, square_length
from sklearn_slide._core.parallel import blocks, one_blas_thread, run_over_range

# A wide margin for the rounding of sums of float32: a share of the sum, or of the lengths of two vectors.
ROUNDING = np.float32(2.0**-16)
# Labels that stand side by side: as many are scored, or compared, at a time.
GROUP = 64

# Directions that are kept. They are the principal axes of labels, spread evenly, with about so many weights.
_N_AXES, _N_AXIS_WEIGHTS = 128, 2**20
# Axes that all labels are looked at along.
_N_FIRST = 80
_LABELS_AT_ONCE = 8192


class Screen(NamedTuple):
    """Weights along some directions, rounded: A w_y = scales[y] * values[y], off by errors[y] at most.

    By the first axes, or by all of them, the score of label y is known but for errors[y] |h| for the rounding
    of the copy, lengths[y] m for that of sums, and what the axes leave: at most the product of the lengths of
    what they leave of w_y, rests[y], and of h. Labels are padded to whole groups of 64.
    """

    axes: np.ndarray  # A, float32 (n_axes, n_units), orthonormal rows
    rounded: Quantized  # (64 n_groups, n_axes)
    first: np.ndarray  # int8 (n_groups, n_first, 64), the values along the first axes
    slacks: np.ndarray  # float32 (3, 64 n_groups): errors, lengths, and what the first axes leave
    slacks_of: np.ndarray  # float32 (n_labels, 4): the same by label, but what all axes leave; and the scale
    biases: np.ndarray  # float32 (n_labels,), a view of the network's


def make_screen(network, lengths, n_jobs):
    """Make the Screen of a network's output layer; lengths are those of measure_lengths."""
    weights = network.output.weights
    n_labels, n_units = matrix_shape(weights)
    step = max(1, n_labels * n_units // _N_AXIS_WEIGHTS)
    some = np.concatenate([float_rows(weights, y, y + 1) for y in range(0, n_labels, step)])
    some[~np.isfinite(some)] = 0  # such a label is ranked by nobody, but has no say in the axes
    with one_blas_thread():
        axes = np.ascontiguousarray(principal_axes(some)[:_N_AXES], dtype=np.float32)
    n_axes, n_groups = len(axes), -(-n_labels // GROUP)
    n_padded = n_groups * GROUP
    screen = Screen(
        axes,
        Quantized(_on_lines((n_padded, n_axes), np.int8), np.zeros(n_padded, dtype=np.float32)),
        first=np.zeros((n_groups, min(_N_FIRST, n_axes), GROUP), dtype=np.int8),
        slacks=np.zeros((3, n_padded), dtype=np.float32),
        slacks_of=_on_lines((n_labels, 4), np.float32),
        biases=network.output.biases.ravel(),
    )

    def part(start, stop):
        for first, last in blocks(start, stop, _LABELS_AT_ONCE):
            rows = float_rows(weights, first, last)
            along = rows @ axes.T
            round_rows(along, screen.rounded.values[first:last], screen.rounded.scales[first:last])
            enter_rows(first, rows, along, lengths, screen)

    with one_blas_thread():
        run_over_range(part, 0, n_labels, n_jobs, work=n_units * n_axes)
    return screen


def _on_lines(shape, dtype):
    """Return an empty array that begins with a line of memory, so that short rows of it lie in one or two."""
    n_bytes = int(np.prod(shape)) * np.dtype(dtype).itemsize
    memory = np.empty(n_bytes + 64, dtype=np.int8)
    start = -memory.ctypes.data % 64
    return memory[start : start + n_bytes].view(dtype).reshape(shape)


def principal_axes(rows):
    """Return the right singular vectors of rows, float32, the longest axis first, in rows of their own."""
    if len(rows) < rows.shape[1]:
        return np.linalg.svd(rows, full_matrices=False)[2]
    # of many rows the eigenvectors of the product, in a tenth of the time
    rows = rows.astype(np.float64)
    return np.linalg.eigh(rows.T @ rows)[1][:, ::-1].T


@inner
def measure_rests(square, along, n_first):
    """Return the lengths of what the first n_first axes, and what all of them, leave of a vector, float32.

    square, float64, is that of the vector's length; along, float32 (n_axes,), is the vector along the axes.
    Both are a little too long, for sums are rounded.
    """
    least = square * 2.0**-18
    for t in range(n_first):
        square -= np.float64(along[t]) * np.float64(along[t])
    rest_of_first = np.float32(np.sqrt(max(square, 0.0) + least))
    for t in range(n_first, along.shape[0]):
        square -= np.float64(along[t]) * np.float64(along[t])
    return rest_of_first, np.float32(np.sqrt(max(square, 0.0) + least))


@njit
def enter_rows(start, rows, along, lengths, screen):
    """Enter labels from start on into a Screen that has their rounded values.

    rows float32 (n_rows, n_units) are their weights, along, float32 (n_rows, n_axes), these along the axes,
    lengths float32 (n_labels,).
    """
    n_first, (values, scales) = screen.first.shape[1], screen.rounded
    for r in range(rows.shape[0]):
        y, off = start + r, np.float32(0.0)
        for t in range(along.shape[1]):
            error = along[r, t] - scales[y] * np.float32(values[y, t])
            off += error * error
        square = square_length(rows[r])
        rest_of_first, rest = measure_rests(square, along[r], n_first)
        error = np.sqrt(off) + ROUNDING * np.float32(np.sqrt(square))
        for t in range(n_first):
            screen.first[y // GROUP, t, y % GROUP] = values[y, t]
        screen.slacks[0, y], screen.slacks[1, y], screen.slacks[2, y] = error, lengths[y], rest_of_first
        screen.slacks_of[y, 0], screen.slacks_of[y, 1], screen.slacks_of[y, 2] = error, lengths[y], rest
        screen.slacks_of[y, 3] = scales[y]


class Shadow(NamedTuple):
    """What a sample throws on a Screen."""

    along: np.ndarray  # float32 (n_axes,), A h
    reach: np.ndarray  # float32 (4,): |h|, m, and the lengths of what the first axes and what all leave of h


@inner
def bound_rounding(x, i, length):
    """Return m, float32, which times the length of a label bounds the rounding of its score for sample i.

    Two sums of a score, in any order, differ by so much at most. x Rows, length that of the hidden vector.
    """
    total = np.float32(0.0)
    for p in range(x.indptr[i], x.indptr[i + 1]):
        total += abs(x.data[p])
    return ROUNDING * max(total, length)


@inner
def measure_reach(x, i, h, along, n_first, reach):
    """Fill the reach of a Shadow, float32 (4,), for sample i of the Rows x.

    h float32 (n_units,) is its hidden vector, along, float32 (n_axes,), that along the axes.
    """
    square = square_length(h)
    reach[0] = np.sqrt(square)
    reach[1] = bound_rounding(x, i, reach[0])
    reach[2], reach[3] = measure_rests(square, along, n_first)


@inner
def project(h, axes, along):
    """Fill along, float32 (n_axes,), with A h; h float32 (n_units,)."""
    for t in range(axes.shape[0]):
        z = np.float32(0.0)
        for u in range(h.shape[0]):
            z += axes[t, u] * h[u]
        along[t] = z
