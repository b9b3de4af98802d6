"""Time one sampled output layer: gathered rows and a loop in PyTorch, beside the kernels of sklearn_slide.

``python examples/benchmark_sampled_layer.py`` writes docs/benchmarks/sampled_layer.rst and its picture;
``--quick`` tries it on small layers and only prints the page. PyTorch (``pip install torch==2.13.0``) is
left out, and the page says so, where it is not installed.
"""

import argparse
import tempfile
import time
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from textwrap import fill

from benchmarking import (
    image_path,
    limit_threads,
    machine,
    peak_memory,
    reset_peak_memory,
    rst_table,
    write_page,
)

N_THREADS = 2
limit_threads(N_THREADS)  # before NumPy, Numba and PyTorch are imported

import matplotlib  # noqa: E402
import numpy as np  # noqa: E402
from sampled_layers import (  # noqa: E402
    GATHER,
    KERNELS,
    LOOP,
    METHODS,
    N_UNITS,
    TUNED,
    Problem,
    torch,
)

matplotlib.use("Agg")
from matplotlib import pyplot as plt  # noqa: E402

BATCH_SIZES = (8, 32, 128, 512)
MEMORY_LIMIT = 8 * 2**30
PASSES = {"forward": "forward", "training": "forward, backward and update"}
COLOURS = {KERNELS: "C0", GATHER: "C3", TUNED: "C1", LOOP: "C2"}


def copied_bytes(name, n_active):
    """Compute the bytes written to copies of rows, and to gradients of rows, for one sample in each pass."""
    rows = 0 if name == KERNELS else 4 * n_active * N_UNITS
    return {"forward": rows, "training": 2 * rows}


def needed_bytes(problem, batch_size):
    """Estimate the memory of a pass: the layer, the sets, and rows, products and gradients of a batch."""
    sets = problem.n_samples * problem.n_active * (8 + 4 + 4)
    return problem.weights.nbytes + sets + 3 * 4 * batch_size * problem.n_active * N_UNITS


def timed(function):
    """Return the wall and CPU seconds of a call."""
    wall, cpu = time.perf_counter(), time.process_time()
    function()
    return time.perf_counter() - wall, time.process_time() - cpu


def check_alike(runners, pools, problem):
    """Raise AssertionError unless all ways compute the same logits and gradients; compile and warm up."""
    expected = None
    for (_, n_threads), runner in runners.items():
        problem.logits[:], problem.gradients[:] = 0, 0
        runner.prepare(pools[n_threads])
        runner.forward()
        runner.training()
        expected = expected or (problem.logits.copy(), problem.gradients.copy())
        np.testing.assert_allclose(problem.logits, expected[0], atol=1e-4)
        np.testing.assert_allclose(problem.gradients, expected[1], rtol=1e-3, atol=1e-3)


def choose(name, problem, n_threads, pool):
    """Return a method's runner with the batch size whose training pass was the shortest, or None."""
    tried = []
    for size in BATCH_SIZES if name in (GATHER, TUNED) else (1,):
        if size <= problem.n_samples and needed_bytes(problem, size) <= MEMORY_LIMIT:
            runner = METHODS[name](problem, n_threads, size)
            runner.prepare(pool)
            runner.training()
            tried.append((timed(runner.training)[0], size))
            del runner
    return METHODS[name](problem, n_threads, min(tried)[1]) if tried else None


def measure(problem, thread_counts, n_repeats):
    """Return {threads: {(way, pass): (wall, CPU) in microseconds a sample}} and {way: batch size}.

    All take turns, n_repeats times; the figures are medians.
    """
    times, names = defaultdict(list), METHODS if torch else (KERNELS,)
    with ExitStack() as stack:
        pools = {n: stack.enter_context(ThreadPoolExecutor(n)) for n in thread_counts}
        chosen = {(name, n): choose(name, problem, n, pools[n]) for n in pools for name in names}
        runners = {key: runner for key, runner in chosen.items() if runner is not None}
        check_alike(runners, pools, problem)
        for _ in range(n_repeats):
            for (name, n), runner in runners.items():
                runner.prepare(pools[n])
                for which in (*PASSES, "gather") if name == GATHER else PASSES:
                    times[n, name, which].append(timed(getattr(runner, which)))
    sizes = {
        name: getattr(runner, "batch_size", 1) for (name, n), runner in runners.items() if n == N_THREADS
    }
    found = {n: {} for n in thread_counts}
    for (n, name, which), values in times.items():
        found[n][name, which] = np.median(values, axis=0) * 1e6 / problem.n_samples
    return found, sizes


def resident_memory():
    """Return the bytes that the process holds now: the peak just after it was reset."""
    reset_peak_memory()
    return peak_memory()


def measure_memory(problem, batch_sizes):
    """Return {method: (bytes allocated a sample, bytes by which the memory of the process grew)} in training.

    PyTorch's profiler counts what its operators allocate, in one thread, without buffers that are kept.
    """
    found = {}
    for name, size in batch_sizes.items():
        with ThreadPoolExecutor(N_THREADS) as pool:
            before = resident_memory()
            runner = METHODS[name](problem, N_THREADS, size)
            runner.prepare(pool)
            runner.training()
            growth, allocated = max(0, peak_memory() - before), None
        if name != KERNELS:
            activity = [torch.profiler.ProfilerActivity.CPU]
            with torch.profiler.profile(activities=activity, profile_memory=True) as profile:
                if name == LOOP:
                    runner.run(slice(0, problem.n_samples), training=True)
                else:
                    runner.training()
            allocated = sum(max(0, event.self_cpu_memory_usage) for event in profile.events())
            allocated /= problem.n_samples
        found[name] = allocated, growth
        del runner
    return found


def measure_all(layer_sizes, active_sizes, n_repeats):
    """Return the times and batch sizes of all problems, those by threads, and the memory, in dictionaries."""
    rng = np.random.default_rng(1)
    weights = rng.standard_normal((max(layer_sizes), N_UNITS), dtype=np.float32) / 16
    times, sizes, by_threads, memory = {}, {}, {}, {}
    middle = layer_sizes[len(layer_sizes) // 2]
    for n_labels in layer_sizes:
        for n_active in active_sizes:
            n_samples = 2 ** int(np.clip(np.log2(262_144 / n_active), 6, 11))
            problem, case = Problem(n_labels, n_active, weights, n_samples), (n_labels, n_active)
            thread_counts = (N_THREADS, 1) if n_labels == middle else (N_THREADS,)
            found, sizes[case] = measure(problem, thread_counts, n_repeats)
            times[case] = found[N_THREADS]
            if n_labels == middle:
                by_threads[case], memory[case] = found[1], measure_memory(problem, sizes[case])
            print(case, {key: round(float(value[0])) for key, value in times[case].items()}, flush=True)
    return times, sizes, by_threads, memory


def span(values, digits=1):
    """Format the range of some numbers."""
    low, high = f"{min(values):.{digits}f}", f"{max(values):.{digits}f}"
    return low if low == high else f"{low} to {high}"


def explain_race(times, which):
    """Say how often the kernels are ahead of the best way in PyTorch, and where they are not."""
    behind, slower = [], defaultdict(list)
    for (n_labels, n_active), case in times.items():
        ratios = {name: case[name, which][0] / case[KERNELS, which][0] for name in METHODS}
        for name, ratio in ratios.items():
            slower[name].append(ratio)
        best = min((GATHER, TUNED, LOOP), key=ratios.get)
        if ratios[best] < 1:
            behind.append(f"{n_labels:,} x {n_active} (*{best}* takes {ratios[best]:.2f} of their time)")
    n_ahead = len(times) - len(behind)
    text = f"**{PASSES[which].capitalize()}: the kernels win {n_ahead} of {len(times)} cases.** "
    others = [f"*{name}* takes {span(slower[name])}" for name in (GATHER, TUNED, LOOP)]
    text += f"{', '.join(others)} times their time."
    return text + (f" They are behind at {'; '.join(behind)}." if behind else "")


def explain_copies(times):
    shares = [100 * case[GATHER, "gather"][0] / case[GATHER, "forward"][0] for case in times.values()]
    sizes = [copied_bytes(GATHER, n_active)["forward"] / 1e6 for _, n_active in times]
    gains = [case[GATHER, "training"][0] / case[TUNED, "training"][0] for case in times.values()]
    return (
        "*Copies.* Each way in PyTorch writes the active rows to a new place before it multiplies, "
        f"{span(sizes, 2)} MB a sample, and as much again for the gradients of rows; the kernels read "
        f"and update the rows where they are. ``weight[active]`` alone takes {span(shares, 0)} % of the "
        "forward pass that uses it. "
        f"Better functions, kept buffers and no autograd make the training pass {span(gains)} times as fast."
    )


def explain_threads(times, by_threads):
    gains = {
        (name, case[1]): [one[name, which][0] / times[case][name, which][0] for which in PASSES]
        for case, one in by_threads.items()
        for name in (KERNELS, LOOP)
    }
    sizes = sorted({n_active for _, n_active in gains})
    text = [
        f"*{name}* {' and '.join(f'{gain:.2f}' for gain in gains[name, n_active])} times at {n_active}"
        for name in (LOOP, KERNELS)
        for n_active in (sizes[0], sizes[-1])
    ]
    cases = (LOOP, sizes[0]), (LOOP, sizes[-1]), (KERNELS, sizes[0])
    few, many, kernels = (sum(gains[case]) for case in cases)
    held = (
        "The loop holds the GIL between PyTorch's functions, some ten calls a sample: with few active labels "
        "these are most of its work, and one thread waits for the other. The kernels release it throughout."
        if few < min(many, kernels) - 0.2
        else "In this run the loop lost no more to the GIL than all lost to the memory and the machine."
    )
    what = "What the second thread gains, in the forward pass and in training"
    return f"*GIL.* {what}: {', '.join(text)}. {held}"


def explain_loop(times):
    """Say where which way in PyTorch is the fastest in training."""
    cases = defaultdict(list)
    for (n_labels, n_active), case in times.items():
        best = min((GATHER, TUNED, LOOP), key=lambda name: case[name, "training"][0])
        cases[best].append(f"{n_labels:,} x {n_active}")
    text = "; ".join(f"*{name}* at {', '.join(found)}" for name, found in cases.items())
    return f"Of the ways in PyTorch, the fastest in training are {text}."


def draw(times, path):
    layer_sizes = sorted({n_labels for n_labels, _ in times})
    shape = {"figsize": (4 * len(layer_sizes), 7), "sharex": True, "sharey": "row", "squeeze": False}
    figure, grid = plt.subplots(2, len(layer_sizes), layout="constrained", **shape)
    for first, row, (which, title) in zip((True, False), grid, PASSES.items(), strict=True):
        for axes, n_labels in zip(row, layer_sizes, strict=True):
            active_sizes = sorted(n for size, n in times if size == n_labels)
            for name in METHODS:
                if (name, which) in times[n_labels, active_sizes[0]]:
                    y = [times[n_labels, n][name, which][0] for n in active_sizes]
                    label = name if name == KERNELS else f"PyTorch, {name}"
                    axes.plot(active_sizes, y, "o-", color=COLOURS[name], label=label)
            axes.set(xscale="log", yscale="log", title=f"{n_labels:,} labels" if first else "")
            axes.set_xticks(active_sizes, [str(n) for n in active_sizes])
            axes.minorticks_off()
            axes.grid(alpha=0.3)
        row[0].set_ylabel(f"{title}\nmicroseconds a sample")
    for axes in grid[-1]:
        axes.set_xlabel("active labels a sample")
    grid[0, 0].legend(fontsize=8)
    figure.savefig(path, dpi=100)
    plt.close(figure)


def table_of_times(times, sizes, which):
    """Return the table of one pass: microseconds a sample, wall / CPU, the shortest wall time in bold."""
    rows = []
    for case, found in times.items():
        names = [name for name in METHODS if (name, which) in found]
        best = min(names, key=lambda name: found[name, which][0])
        cells = []
        for name in METHODS:
            if name not in names:
                cells.append("-")
                continue
            wall, cpu = (f"{value:.0f}" for value in found[name, which])
            cells.append(f"**{wall}** / {cpu}" if name == best else f"{wall} / {cpu}")
        batches = ", ".join(str(sizes[case].get(name, "-")) for name in (GATHER, TUNED))
        rows.append([f"{case[0]:,}", case[1], *cells, batches])
    return rst_table(["labels", "active", *METHODS, "batches"], rows)


def table_of_threads(times, by_threads):
    rows = []
    for case, one in by_threads.items():
        for name in METHODS:
            if (name, "training") in one:
                gains = [one[name, which][0] / times[case][name, which][0] for which in PASSES]
                rows.append([case[1], name, *(f"{gain:.2f}" for gain in gains)])
    return rst_table(["active", "way", *PASSES], rows)


def table_of_memory(memory, sizes):
    rows = []
    for case, found in memory.items():
        for name, (allocated, growth) in found.items():
            copied = copied_bytes(name, case[1])
            cells = [f"{copied[which] / 1e3:.0f}" for which in PASSES]
            cells.append("-" if allocated is None else f"{allocated / 1e3:.0f}")
            rows.append([case[1], name, sizes[case][name], *cells, f"{growth / 1e6:.1f}"])
    header = ["active", "way", "batch", *("copied KB, forward", "training"), "allocated KB", "peak grows MB"]
    return rst_table(header, rows)


PAGE = """
A sampled output layer: gather, loop or kernel
==============================================

An output layer of which each sample needs a few hundred rows, its active labels, can be written in PyTorch
in two ways: copy the active rows of a batch together and multiply them by ``bmm``, or loop over the samples
in a pool of Python threads. Here both stand beside the kernels that ``SlideClassifier`` trains with. Rows
have {n_units} float32 weights. The active labels are distinct, random and given, so that neither hashing
nor sampling is timed. The loss is the binary cross-entropy of each active label.

- *kernels*: ``score_labels``, ``compute_residuals`` and ``backward_output`` in a compiled loop over
  samples, in two threads. The update is row-wise Adagrad, after each sample.
- *gather*: ``weight[active]`` and ``baddbmm``; in training autograd by the gathered rows, then
  ``index_add_``. Autograd through the indexing would make a gradient of the size of the layer for each
  batch.
- *tuned gather*: formulas instead of autograd, ``index_select`` into a buffer that is kept, and
  ``scatter_add_``: the fastest functions of PyTorch for the purpose.
- *loop*: the same formulas and functions, a sample at a time, in two Python threads with one thread of
  PyTorch each.

The update in PyTorch is plain SGD, which is less work than Adagrad. Batches are the best of {batches},
found for each case. That all ways compute the same scores and gradients is checked in each case.

.. image:: ../images/{image}
   :alt: Microseconds a sample against active labels, for several sizes of the layer, on logarithmic axes

{text}

Forward pass
------------

Microseconds a sample, wall / CPU, two threads, medians of {n_repeats} passes that take turns. The last
column has the batch sizes of *gather* and *tuned gather*.

{forward}
Forward, backward and update
----------------------------

{training}
{skipped}The second thread
-----------------

How many times as fast two threads are as one, with {middle:,} labels.

{threads}
Bytes copied
------------

With {middle:,} labels. Copied is computed: bytes a sample written to copies of rows and to gradients of
rows. Allocated is measured in training: bytes a sample that PyTorch's profiler counts, without buffers that
are kept. The last column is what the peak memory of the process grows by in a training pass, buffers
included; it is 0 where memory that was freed before is used again.

{memory}
{machine}

Made by ``python examples/benchmark_sampled_layer.py``.
"""


def page(results, n_repeats, image):
    times, sizes, by_threads, memory = results
    text = "PyTorch is not in the tables: it was not installed."
    if torch is not None:
        found = {case: one for case, one in times.items() if (GATHER, "training") in one}
        lines = [explain_race(found, which) for which in PASSES]
        lines += [explain_loop(found), explain_copies(found), explain_threads(times, by_threads)]
        share = np.median(
            [cpu / wall for wall, cpu in (case[KERNELS, "training"] for case in times.values())]
        )
        if share < 0.8 * N_THREADS:
            lines.append(
                f"*The machine was busy with other work*: the kernels had {share:.1f} of {N_THREADS} cores "
                "in training. The CPU times are more to be trusted than the wall times."
            )
        text = "\n\n".join(fill(line, 108, break_on_hyphens=False) for line in lines)
    skipped = "".join(
        f"{n_labels:,} x {n_active} is left out: it needs more than {MEMORY_LIMIT / 2**30:.0f} GiB.\n\n"
        for (n_labels, n_active), found in sizes.items()
        if torch is not None and GATHER not in found
    )
    return PAGE.format(
        n_units=N_UNITS,
        batches=", ".join(map(str, BATCH_SIZES)),
        image=image,
        text=text,
        n_repeats=n_repeats,
        forward=table_of_times(times, sizes, "forward"),
        training=table_of_times(times, sizes, "training"),
        skipped=skipped,
        middle=next(iter(by_threads))[0],
        threads=table_of_threads(times, by_threads),
        memory=table_of_memory(memory, sizes),
        machine=machine(("numpy", "numba", "torch", "sklearn-slide")),
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="small layers; only print the page")
    quick = parser.parse_args().quick
    layer_sizes, active_sizes, n_repeats = (10_000, 100_000, 1_000_000), (100, 500, 1000, 5000), 5
    if quick:
        layer_sizes, active_sizes, n_repeats = (2_000, 10_000), (100, 500), 2
    results = measure_all(layer_sizes, active_sizes, n_repeats)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "quick.png" if quick else image_path("sampled_layer", "times")
        draw(results[0], path)
        text = page(results, n_repeats, path.name)
    print(text) if quick else write_page("sampled_layer", text)


if __name__ == "__main__":
    main()
