"""Time the stages of a training sample on one thread, beside what the machine's memory and units can do.

``python examples/benchmark_kernels.py FOLDER [NAME]`` trains two epochs on a data set of FOLDER, then times
each stage of a sample with the weights as they are, and writes docs/benchmarks/kernels.rst.
"""

import sys
import time

import benchmarking

benchmarking.limit_threads(1)

import numpy as np  # noqa: E402

from sklearn_slide import SlideClassifier  # noqa: E402
from sklearn_slide._core.active_set import (  # noqa: E402
    add_cooccurring,
    add_frequent,
    add_hashed,
    add_true,
    add_uniform,
)
from sklearn_slide._core.direct import match_direct, update_direct  # noqa: E402
from sklearn_slide._core.hashing import hash_vector  # noqa: E402
from sklearn_slide._core.layers import backward_hidden, backward_output, forward, score_labels  # noqa: E402
from sklearn_slide._core.losses import compute_residuals, list_nonzero, round_small  # noqa: E402
from sklearn_slide._core.random_numbers import start_shared_stream, start_stream  # noqa: E402
from sklearn_slide._core.sgd import GROUP, make_scratch  # noqa: E402
from sklearn_slide._labels import encode_indicator  # noqa: E402
from sklearn_slide._samples import make_samples  # noqa: E402
from sklearn_slide._trainer import Trainer, TrainingSettings  # noqa: E402

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


@benchmarking.callable_kernel
def first_stages(samples, engine, scratch, n_samples, n_stages, rate):
    """Run the first n_stages of STAGES for each sample; return sums of active, updated, direct, matched."""
    x, network, index, sampler = engine.batch.x, engine.batch.network, engine.index, engine.sampler
    active, activity, lookups, matches = scratch.active, scratch.activity, scratch.lookups, scratch.matches
    h, labels, logits, residuals = activity.hidden[-1], active.labels, scratch.logits, scratch.residuals
    state, direct, of_labels = engine.state, network.direct, engine.state.output.weights
    nonzero, m = scratch.nonzero, 0
    total_active, total_updated, total_pairs, total_matches, n_matches = 0, 0, 0, 0, 0
    for i in range(n_samples):
        start_stream(active.stream, 1, 1, i)
        start_shared_stream(active.shared, 1, 1, i // GROUP)
        forward(engine.batch, i, activity.hidden)
        if n_stages > 1:
            hash_vector(index.hasher, h[: index.hasher.n_features], lookups.hash_work, lookups.codes)
        n_true = add_true(samples.y, i, active)
        n = n_true
        if n_stages > 2:
            limit = min(sampler.n_active, n + sampler.n_hashed)
            found = lookups.candidates
            n = add_hashed(index.selection, lookups.codes, index.tables, limit, n, active, found)
        if n_stages > 3:
            limit = min(sampler.n_active, n + sampler.n_cooccurrence)
            n = add_cooccurring(samples.x, samples.y, engine.rows_with, i, limit, n, active)
        if n_stages > 4:
            n = add_frequent(samples.y, min(sampler.n_active, n + sampler.n_frequency), n, active)
            n = add_uniform(min(sampler.n_active, n + sampler.n_uniform), n, active)
        if n_stages > 5:
            score_labels(h, labels, n, network.output, logits)
        if n_stages > 6:
            n_matches = match_direct(x, i, direct, labels, n, matches, logits)
        if n_stages > 7:
            compute_residuals(engine.loss, logits, labels, n, n_true, residuals)
            round_small(residuals, labels, n, engine.least_residual, active.stream[0])
        if n_stages > 8:
            m, output = list_nonzero(residuals, labels, n, nonzero), network.output
            backward_output(nonzero.labels, m, nonzero.residuals, output, state.output, rate, activity)
            total_updated += m
        if n_stages > 9:
            backward_hidden(engine.batch, i, state, rate, activity)
        if n_stages > 10:
            update_direct(direct, of_labels, nonzero, m, n, rate, matches, n_matches)
            total_matches += n_matches
            for p in range(x.indptr[i], x.indptr[i + 1]):
                total_pairs += direct.indptr[x.indices[p] + 1] - direct.indptr[x.indices[p]]
        total_active += n
    return total_active, total_updated, total_pairs, total_matches


@benchmarking.callable_kernel
def read_all(values):
    """Sum float32 (n,): the speed of reading memory in order."""
    total = np.float32(0)
    for i in range(values.shape[0]):
        total += values[i]
    return total


@benchmarking.callable_kernel
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
    output = engine.batch.network.output
    n_labels = len(output.weights)
    rng = np.random.default_rng(0)
    logits, h = np.zeros(N_ACTIVE, dtype=np.float32), scratch.activity.hidden[-1]
    spread = rng.integers(n_labels, size=(200, N_ACTIVE)).astype(np.int32)
    near = np.tile(np.arange(16, dtype=np.int32), N_ACTIVE // 16 + 1)[:N_ACTIVE]
    lanes = np.ones(64, dtype=np.float32)

    score_row = benchmarking.callable_kernel(score_labels)

    def score(rows):
        for active in rows:
            score_row(h, active, N_ACTIVE, output, logits)

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
    x = model._model.rows(X)
    samples = make_samples(x, encode_indicator(Y))
    engine = Trainer(model._model, samples, TrainingSettings.of(model)).engine
    scratch = make_scratch(engine, most_true=int(np.diff(samples.y.indptr).max()))

    def run(n_stages):
        # a learning rate of 0 keeps the weights, and so the work, the same from call to call
        return first_stages(samples, engine, scratch, N_SAMPLES, n_stages, np.float32(0.0))

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
in ``_core/sgd.py``. A stage's time is the difference between
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
