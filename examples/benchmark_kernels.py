"""Time the stages of a training sample on one thread, beside what the machine's memory and units can do.

``python examples/benchmark_kernels.py FOLDER [NAME]`` trains two epochs on a data set of FOLDER, then times
each stage of a sample with the weights as they are, and writes docs/benchmarks/kernels.rst.
"""

import sys
import time

import benchmarking

benchmarking.limit_threads(1)

import numpy as np  # noqa: E402

from sklearn_slide import SlideClassifier, _training  # noqa: E402
from sklearn_slide._direct import match_direct, update_direct  # noqa: E402
from sklearn_slide._hashing import hash_vector  # noqa: E402
from sklearn_slide._losses import compute_residuals  # noqa: E402
from sklearn_slide._network import backward_hidden, backward_output, forward, score_labels  # noqa: E402
from sklearn_slide._numba import njit, start_stream  # noqa: E402
from sklearn_slide._optimizers import Solver  # noqa: E402
from sklearn_slide._sampling import (  # noqa: E402
    add_cooccurring,
    add_frequent,
    add_hashed,
    add_true,
    add_uniform,
    make_samples,
)
from sklearn_slide._validation import as_rows, encode_indicator, transpose_pattern  # noqa: E402

N_UNITS, N_ACTIVE, N_SAMPLES, REPEATS = 128, 500, 10_000, 9
STAGES = (
    "hidden vector",
    "hash",
    "tables",
    "co-occurring labels",
    "frequent and uniform labels",
    "scores",
    "direct scores",
    "loss and residuals",
    "update of the output layer",
    "update of the hidden layer",
    "update of direct weights",
)


@njit
def first_stages(samples, engine, scratch, n_samples, n_stages, rate):
    """Run the first n_stages of STAGES for each sample; return sums of active, updated, direct, matched."""
    x, network, active = samples.x, engine.network, scratch.active
    h, n_units = scratch.hidden[-1], engine.network.output.weights.values.shape[1]
    sampler, logits, residuals = engine.sampler, scratch.logits, scratch.residuals
    solver = Solver(engine.solver, np.float32(rate))
    total_active, total_updated, total_pairs, total_matches, n_matches = 0, 0, 0, 0, 0
    for i in range(n_samples):
        start_stream(active.stream, 1, 1, i)
        forward(x, i, network, engine.activation, scratch.hidden)
        if n_stages > 1:
            hash_vector(h[:n_units], engine.hasher, scratch.hash_work, scratch.codes)
        n_true = add_true(samples.y, i, active)
        n = n_true
        if n_stages > 2:
            n = add_hashed(scratch.codes, engine.tables, sampler, n, active)
        if n_stages > 3:
            n = add_cooccurring(samples, i, sampler, n, active)
        if n_stages > 4:
            n = add_frequent(samples.y, sampler, n, active)
            n = add_uniform(sampler, n, active)
        if n_stages > 5:
            score_labels(h, active.labels, n, network.output, logits)
        if n_stages > 6:
            n_matches = match_direct(x, i, network.direct, active.labels, n, scratch.matches, logits)
        if n_stages > 7:
            compute_residuals(logits, active.labels, n, n_true, engine.loss, samples.label_weights, residuals)
        if n_stages > 8:
            backward_output(
                h, active.labels, n, residuals, network.output, solver, scratch.one, scratch.gradients[-1]
            )
        if n_stages > 9:
            backward_hidden(
                x,
                i,
                network,
                engine.activation,
                solver,
                scratch.one,
                scratch.units,
                scratch.hidden,
                scratch.gradients,
            )
        if n_stages > 10:
            update_direct(network, active.labels, n, residuals, solver, scratch.matches, n_matches)
            total_matches += n_matches
            for a in range(n):
                total_updated += residuals[a] != 0.0
            for p in range(x.indptr[i], x.indptr[i + 1]):
                total_pairs += network.direct.indptr[x.indices[p] + 1] - network.direct.indptr[x.indices[p]]
        total_active += n
    return total_active, total_updated, total_pairs, total_matches


@njit
def read_all(values):
    """Sum float32 (n,): the speed of reading memory in order."""
    total = np.float32(0)
    for i in range(values.shape[0]):
        total += values[i]
    return total


@njit
def multiply_add(n, lanes):
    """Multiply and add n times to each of the lanes, float32 (64,), which stay in registers."""
    factor, term = np.float32(0.999), np.float32(0.5)
    for _ in range(n):
        for u in range(64):
            lanes[u] = lanes[u] * factor + term


def median_seconds(calls):
    """Return the median wall time of each call; the calls take turns REPEATS times."""
    times = np.zeros((REPEATS, len(calls)))
    for call in calls:
        call()
    for repeat in range(REPEATS):
        for c, call in enumerate(calls):
            start = time.perf_counter()
            call()
            times[repeat, c] = time.perf_counter() - start
    return np.median(times, axis=0)


def machine_limits(engine, scratch):
    """Return GB/s in order, GB/s of whole rows at random, GFlop/s of the units, and of scoring from cache."""
    memory = np.ones(2**27, dtype=np.float32)
    output = engine.network.output
    n_labels = len(output.weights.values)
    rng = np.random.default_rng(0)
    logits, h = np.zeros(N_ACTIVE, dtype=np.float32), scratch.hidden[-1]
    spread = rng.integers(n_labels, size=(200, N_ACTIVE)).astype(np.int32)
    near = np.tile(np.arange(16, dtype=np.int32), N_ACTIVE // 16 + 1)[:N_ACTIVE]
    lanes = np.ones(64, dtype=np.float32)

    def score(rows):
        for active in rows:
            score_labels(h, active, N_ACTIVE, output, logits)

    steps = 200_000
    read, compute, far, close = median_seconds(
        [
            lambda: read_all(memory),
            lambda: multiply_add(steps, lanes),
            lambda: score(spread),
            lambda: score([near] * len(spread)),
        ]
    )
    row_bytes = 4 * N_UNITS * spread.size
    return {
        "in order": memory.nbytes / read / 1e9,
        "rows": row_bytes / far / 1e9,
        "units": 2 * 64 * steps / compute / 1e9,
        "cached rows": 2 * N_UNITS * spread.size / close / 1e9,
    }


def main(folder, name):
    X, Y, _, _ = benchmarking.load(folder, name)
    model = SlideClassifier((N_UNITS,), n_active=N_ACTIVE, max_iter=2, random_state=0).fit(X, Y)
    x, y = as_rows(X), encode_indicator(Y)
    engine = model._make_engine()
    samples = make_samples(x, y)._replace(rows_with=transpose_pattern(x, X.shape[1]))
    most_labels = int(np.diff(y.indptr).max())
    scratch = _training.make_scratch(x, engine.network, engine.hasher, engine.sampler, most_labels)

    def run(n_stages):
        # a learning rate of 0 keeps the weights, and so the work, the same from call to call
        return first_stages(samples, engine, scratch, N_SAMPLES, n_stages, 0.0)

    totals = median_seconds([lambda s=s: run(s) for s in range(1, len(STAGES) + 1)]) / N_SAMPLES * 1e6
    costs = np.diff(totals, prepend=0)
    active, updated, pairs, matched = (count / N_SAMPLES for count in run(len(STAGES)))
    per_row = np.diff(x.indptr[: N_SAMPLES + 1]).mean()
    limits = machine_limits(engine, scratch)
    row = 4 * N_UNITS
    kilobytes = {
        "hidden vector": per_row * row / 1e3,
        "scores": active * (row + 4) / 1e3,
        "direct scores": (4 * pairs + 4 * matched) / 1e3,
        "update of the output layer": updated * 2 * (row + 8) / 1e3,
        "update of the hidden layer": per_row * 2 * row / 1e3,
        "update of direct weights": matched * 8 / 1e3,
    }
    rows = []
    for stage, cost in zip(STAGES, costs, strict=True):
        moved = kilobytes.get(stage)
        rows.append(
            [
                stage,
                f"{cost:.1f}",
                f"{100 * cost / totals[-1]:.0f} %",
                f"{moved:.0f}" if moved else "",
                f"{1e3 * moved / (cost * 1e3):.1f}" if moved and cost > 0 else "",
            ]
        )
    rows.append(["whole sample", f"{totals[-1]:.1f}", "100 %", f"{sum(kilobytes.values()):.0f}", ""])
    streamed = sum(kilobytes.values()) / limits["in order"]
    scoring = costs[STAGES.index("scores")]
    flops = 2 * N_UNITS * (active + 2 * updated + 3 * per_row)
    text = f"""
Kernels and the limits of the machine
=====================================

Where does the time of a training sample go, and how near is it to what the machine can do? One thread, {
        name
    }:
{X.shape[0]:,} samples with {per_row:.0f} features each, {Y.shape[1]:,} labels, {N_UNITS} hidden units,
``n_active={N_ACTIVE}``, of which {active:.0f} are scored and {
        updated:.0f} have a residual worth an update; the features
of a sample have {pairs:.0f} direct weights. {benchmarking.machine()}.

``python examples/benchmark_kernels.py FOLDER {name}`` made this page. The stages are those of ``train_chunk``
in ``_training.py``. A stage's time is the difference between
running the stages up to it and those before it, after two epochs; medians of {
        REPEATS
    } interleaved repeats over {N_SAMPLES:,} samples. Bytes are those of
the weights that a stage must read and write, computed.

{benchmarking.rst_table(["stage", "us", "share", "kB moved", "GB/s"], rows)}

What the machine can do, one thread, in the same run:

{
        benchmarking.rst_table(
            ["", "measured"],
            [
                ["reading 512 MB in order", f"{limits['in order']:.1f} GB/s"],
                [f"scoring random rows of {N_UNITS} weights", f"{limits['rows']:.1f} GB/s"],
                ["scoring 16 rows that stay in the first cache", f"{limits['cached rows']:.1f} GFlop/s"],
                ["multiplying and adding in registers", f"{limits['units']:.1f} GFlop/s"],
            ],
        )
    }

- **Memory.** At the speed of reading in order, the weights of a sample would take {streamed:.0f} us, against
  {totals[-1]:.0f} us: {totals[-1] / streamed:.1f} times as long. Scoring alone is at
  {kilobytes["scores"] / scoring:.1f} GB/s, {
        100 * kilobytes["scores"] / scoring / limits["in order"]:.0f} % of reading
  in order.
- **Arithmetic.** A sample needs {
        flops / 1e3:.0f} thousand multiplications and additions of weights, which the units could
  do in {flops / limits["units"] / 1e3:.1f} us. Arithmetic is no limit; the rows have to come from memory.
- **Sampling.** Finding the active labels, with the hash, takes {
        costs[1:5].sum():.0f} us: chains of reads that depend on
  each other, in which a thread waits for memory most of the time.
"""
    benchmarking.write_page("kernels", text)


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    main(sys.argv[1], sys.argv[2] if len(sys.argv) > 2 else "debian-deps-min2")
