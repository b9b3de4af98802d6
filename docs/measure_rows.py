"""Time the output layer's work on one sample: gathered rows in NumPy against the kernels that read in place.

Run it with ``python docs/measure_rows.py`` on a quiet machine. Each figure is the best of 20 passes over 200
samples of 500 random labels, in microseconds a sample.
"""

import time
from concurrent.futures import ThreadPoolExecutor

import numba
import numpy as np

from sklearn_slide._core.layers import Activity, Layer, backward_output, score_labels
from sklearn_slide._core.losses import LOSSES, compute_residuals
from sklearn_slide._first_weights import start_layer

N_SAMPLES, N_ACTIVE, N_TRUE = 200, 500, 3
RATE = np.float32(1e-9)  # the weights stay as they are, so that every pass does the same work


def best_time(run, sets, n_threads):
    """Return the shortest of 20 passes, the samples divided among threads, in microseconds a sample."""
    parts, times = np.array_split(sets, n_threads), []
    with ThreadPoolExecutor(n_threads) as threads:
        for _ in range(20):
            start = time.perf_counter()
            list(threads.map(run, parts))
            times.append(time.perf_counter() - start)
    return min(times) / N_SAMPLES * 1e6


@numba.njit(nogil=True)
def kernel_scores(sets, h, layer):
    """Score the labels of each row of sets, int32 (n, n_active)."""
    logits = np.empty(sets.shape[1], dtype=np.float32)
    for s in range(sets.shape[0]):
        score_labels(h, sets[s], sets.shape[1], layer, logits)


@numba.njit(nogil=True)
def kernel_steps(sets, h, layer, state, loss):
    """Score, compare and update the labels of each row of sets, int32 (n, n_active)."""
    n = sets.shape[1]
    logits, residuals = np.empty((2, n), dtype=np.float32)
    hidden, one = h.reshape((1, h.shape[0])), np.ones(1, dtype=np.float32)
    no_units = np.empty(0, dtype=np.int32)  # they are for hidden layers
    activity = Activity(hidden, np.empty_like(hidden), no_units, one)
    for s in range(sets.shape[0]):
        score_labels(h, sets[s], n, layer, logits)
        compute_residuals(loss, logits, sets[s], n, N_TRUE, residuals)
        backward_output(sets[s], n, residuals, layer, state, RATE, activity)


def measure(n_labels, n_units):
    """Print the times for one size of the output layer."""
    rng = np.random.default_rng(0)
    values = rng.standard_normal((n_labels, n_units), dtype=np.float32) / 16
    layer = Layer(values, np.zeros((n_labels, 1), dtype=np.float32))
    state, loss = start_layer(layer, "adagrad", 0.5), LOSSES["sigmoid"](None)
    sums = state.weights.sums
    h = rng.standard_normal(n_units, dtype=np.float32) / 8
    sets = rng.integers(n_labels, size=(N_SAMPLES, N_ACTIVE), dtype=np.int32)
    gathered = values[sets[0]]

    def gather(sets):
        for active in sets:
            values[active]

    def multiply(sets):
        for _ in sets:
            gathered @ h

    def numpy_steps(sets):
        square = np.mean(h * h)
        for active in sets:
            rows = values[active]
            r = 1 / (1 + np.exp(-(rows @ h) - layer.biases[active, 0]))
            r[:N_TRUE] -= 1
            r @ rows  # the gradient by the hidden vector
            sums[active] += r * r * square
            values[active] = rows - np.outer(RATE * r / np.sqrt(sums[active]), h)

    def numba_steps(sets):
        kernel_steps(sets, h, layer, state, loss)

    print(f"{n_labels} labels x {n_units} units, {values.nbytes / 2**20:.0f} MB; with 1 and 2 threads")
    for name, run in (
        ("gather the rows", gather),
        ("multiply the gathered rows", multiply),
        ("score, kernel", lambda sets: kernel_scores(sets, h, layer)),
        ("score and update, NumPy", numpy_steps),
        ("score and update, kernels", numba_steps),
    ):
        print(f"  {name:30s}" + "".join(f"{best_time(run, sets, n):7.1f}" for n in (1, 2)))


if __name__ == "__main__":
    measure(16_000, 128)
    measure(109_129, 256)
