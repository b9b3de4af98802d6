"""Train on generated data from 10,000 to 3,000,000 labels: time a sample, table rebuilds and memory.

``python examples/benchmark_growth.py`` writes docs/benchmarks/growth.rst and its picture; ``--quick`` tries
it on less data and only prints the page. Each run has a process of its own, which the script starts as
``python examples/benchmark_growth.py --one TASK``. Dense PyTorch (``pip install torch==2.13.0``) is left
out, and the page says so, where it is not installed.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path
from textwrap import fill

from benchmark_growth_tasks import (  # before NumPy: it limits the threads
    N_ACTIVE,
    N_FEATURES,
    N_FEATURES_PER_SAMPLE,
    N_LABELS_PER_SAMPLE,
    N_THREADS,
    N_UNITS,
    measure_rows,
    train_slide,
    train_torch,
)
from benchmarking import image_path, machine, rst_table, write_page

import numpy as np  # isort: skip

SIZES = (10_000, 30_000, 100_000, 300_000, 1_000_000, 3_000_000)
MOST_REPEATED = 1_000_000  # labels: beyond, SLIDE is run once, and nothing else is
AIM = 1.5  # times the time of the smallest size, at most, at the largest that is repeated
LONG_RUN = 1_500_000  # samples, as of three epochs of half a million
SLIDE, FULL, TORCH, ROWS = "SLIDE", "every label, kernels", "every label, PyTorch", "rows"
TASKS = {SLIDE: train_slide, FULL: train_slide, TORCH: train_torch, ROWS: measure_rows}


def run(name, *arguments):
    """Run a task in a process of its own, so that its peak memory is its own, and return what it found."""
    command = [sys.executable, __file__, "--one", json.dumps([name, *arguments])]
    answer = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    found = json.loads(answer.splitlines()[-1])
    print(name, *arguments, {key: np.round(value, 7).tolist() for key, value in found.items()}, flush=True)
    return found


def medians(runs):
    return {key: float(np.median([one[key] for one in runs])) for key in runs[0]}


def repeated(sizes):
    """Return the sizes that are run several times, and by all methods."""
    return [size for size in sizes if size <= MOST_REPEATED]


def measure_all(sizes, n_samples, n_repeats, work):
    """Return {method: [figures of each size]}: SLIDE the medians of runs that take turns, the others one run.

    work is the number of samples times labels for which every label is scored.
    """
    few = repeated(sizes)
    runs = [[run(SLIDE, n_samples, n_labels, N_ACTIVE) for n_labels in few] for _ in range(n_repeats)]
    found = {
        SLIDE: [medians(runs_of_size) for runs_of_size in zip(*runs, strict=True)],
        ROWS: run(ROWS, sizes),
    }
    found[SLIDE] += [run(SLIDE, n_samples, n_labels, N_ACTIVE) for n_labels in sizes[len(few) :]]
    found[FULL] = [run(FULL, count_full_samples(work, n_labels), n_labels, None) for n_labels in few]
    if find_spec("torch"):
        found[TORCH] = []
        for n_labels in few:
            batch_size = 256 if n_labels <= 100_000 else 64
            n_batches = max(2, round(work / n_labels / batch_size))
            found[TORCH].append(run(TORCH, n_batches * batch_size, n_labels, batch_size))
    return found


def count_rebuilds(n_samples, n_labels):
    """Count the builds of the tables in n_samples by the default schedule."""
    from sklearn_slide import LSH
    from sklearn_slide._lsh import make_schedule

    schedule, n_rebuilds = make_schedule(LSH(), n_labels, n_passes=0), 0
    while schedule.due < n_samples:
        schedule.advance(schedule.due)
        n_rebuilds += 1
    return n_rebuilds


def exponent(sizes, times):
    """Fit the slope of log time against log size by least squares, for the first sizes, that have times."""
    return np.polyfit(np.log(sizes[: len(times)]), np.log(times), 1)[0]


def column(found, name, key):
    return np.array([one[key] for one in found[name]])


def curves(sizes, found):
    """Return the microseconds a sample of each curve, {name: array}."""
    slide, rebuild = 1e6 * column(found, SLIDE, "wall"), 1e6 * column(found, SLIDE, "rebuild")
    kernels, rebuild_cpu = 1e6 * column(found, SLIDE, "kernels"), column(found, SLIDE, "rebuild_cpu")
    per_sample = np.array([count_rebuilds(LONG_RUN, size) for size in sizes]) / LONG_RUN
    times = {
        "SLIDE, tables rebuilt": slide,
        "SLIDE, CPU time": 1e6 * column(found, SLIDE, "cpu"),
        "kernels alone": kernels,
        "kernels alone, CPU time": 1e6 * column(found, SLIDE, "kernels_cpu"),
        "rebuilds alone": slide - kernels,
        f"SLIDE, {LONG_RUN:,} samples (computed)": kernels + rebuild * per_sample,
        "the same, CPU time": 1e6 * (column(found, SLIDE, "kernels_cpu") + per_sample * rebuild_cpu),
        FULL: 1e6 * column(found, FULL, "wall"),
    }
    if TORCH in found:
        times[TORCH] = 1e6 * column(found, TORCH, "wall")
    return times


def draw(sizes, found, path):
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, (left, middle, right) = plt.subplots(1, 3, figsize=(13, 4.8), layout="constrained")
    styles = {"SLIDE, tables rebuilt": "C0o-", "kernels alone": "C0s:", "rebuilds alone": "C2^:"}
    styles |= {FULL: "C1D--", TORCH: "C3v--"}
    times = curves(sizes, found)
    for name, style in styles.items():
        if name in times:
            left.plot(sizes[: len(times[name])], times[name], style, label=name)
    left.set(title="Training a sample", ylabel="microseconds")
    middle.plot(sizes, column(found, SLIDE, "rebuild"), "C2^-")
    middle.set(title="One rebuild of the tables", ylabel="seconds")
    for name, style in ((SLIDE, "C0o-"), (TORCH, "C3v--")):
        if name in found:
            peak = column(found, name, "peak") / 2**30
            right.plot(sizes[: len(peak)], peak, style, label=f"peak of the process, {name}")
    size = column(found, SLIDE, "weights") + column(found, SLIDE, "tables")
    right.plot(sizes, size / 2**30, "C0s:", label="weights and tables, SLIDE")
    right.set(title="Memory", ylabel="GiB")
    for axes in (left, middle, right):
        axes.set(xscale="log", yscale="log", xlabel="labels")
        axes.grid(alpha=0.3)
    for axes in (left, right):
        axes.legend(fontsize=8, loc="upper center", bbox_to_anchor=(0.5, -0.14), ncols=2)
    figure.savefig(path, dpi=100)
    plt.close(figure)


def explain(sizes, found):
    """Return the sentences that the figures allow."""
    times = curves(sizes, found)
    lines = [*explain_growth(sizes, times), *explain_parts(sizes, found, times)]
    slide, last = times["SLIDE, tables rebuilt"], len(repeated(sizes)) - 1
    for name in (FULL, TORCH):
        if name in times:
            ratio = times[name] / slide[: last + 1]
            lines.append(
                f"*{name[0].upper()}{name[1:]}* takes {ratio[0]:.1f} times the time of SLIDE at "
                f"{sizes[0]:,} labels, {ratio[last]:.1f} times at {sizes[last]:,}; its exponent is "
                f"{exponent(sizes, times[name]):.2f}."
            )
    share = np.median(column(found, SLIDE, "cpu") / column(found, SLIDE, "wall"))
    if share < 0.8 * N_THREADS:
        lines.append(
            f"*The machine was busy with other work*: the run had {share:.1f} of {N_THREADS} cores. The CPU "
            "time is more to be trusted than the wall time."
        )
    if TORCH not in times:
        lines.append("Dense PyTorch is not in the table: it was not installed.")
    return "\n\n".join(fill(line, 108, break_on_hyphens=False) for line in lines)


def explain_growth(sizes, times):
    """Return the sentences on how the time of SLIDE grows."""
    last = len(repeated(sizes)) - 1
    slide, kernels = times["SLIDE, tables rebuilt"], times["kernels alone"]
    growth = {name: values[last] / values[0] for name, values in times.items()}
    long_run = growth[f"SLIDE, {LONG_RUN:,} samples (computed)"]
    ends = f"from {sizes[0]:,} to {sizes[last]:,} labels"
    met = ["met" if factor < AIM else "missed" for factor in (growth["SLIDE, tables rebuilt"], long_run)]
    lines = [
        f"**{ends.capitalize()} the time a sample, tables rebuilt, grows by a factor of "
        f"{growth['SLIDE, tables rebuilt']:.2f}** ({slide[0]:.0f} to {slide[last]:.0f} microseconds; CPU "
        f"time by {growth['SLIDE, CPU time']:.2f}). The kernels alone grow by "
        f"{growth['kernels alone']:.2f} (CPU time by {growth['kernels alone, CPU time']:.2f}). "
        f"Over {LONG_RUN:,} samples, in which the schedule "
        f"rebuilds the tables {count_rebuilds(LONG_RUN, sizes[0])} to "
        f"{count_rebuilds(LONG_RUN, sizes[last])} times, the factor would be {long_run:.2f} (CPU time "
        f"{growth['the same, CPU time']:.2f}). The aim, a factor below {AIM}, is {met[0]} in the run and "
        f"{met[1]} in the longer one."
    ]
    if last + 1 < len(sizes):
        lines.append(
            f"At {sizes[-1]:,} labels, run once, a sample takes {slide[-1]:.0f} microseconds, "
            f"{slide[-1] / slide[0]:.2f} times as long as at {sizes[0]:,} (CPU time "
            f"{times['SLIDE, CPU time'][-1] / times['SLIDE, CPU time'][0]:.2f}), "
            f"{kernels[-1]:.0f} of them in kernels. Over all sizes the time grows as the "
            f"{exponent(sizes, slide):.2f}th power of the number of labels."
        )
    return lines


def explain_parts(sizes, found, times):
    """Return the sentences on where the time goes, and on memory."""
    slide, kernels, last = times["SLIDE, tables rebuilt"], times["kernels alone"], len(repeated(sizes)) - 1
    more, rows = slide[last] - slide[0], 1e6 * np.array(found[ROWS]["score"])
    rebuilt = (slide - kernels)[last] - (slide - kernels)[0]
    active = column(found, SLIDE, "active")
    megabytes = [4 * N_UNITS * size / 1e6 for size in (sizes[0], sizes[last])]
    lines = [
        f"Of the {more:.0f} microseconds more at {sizes[last]:,}, {rebuilt:.0f} are rebuilds "
        f"({100 * rebuilt / more:.0f} %) and {kernels[last] - kernels[0]:.0f} are kernels. These score "
        f"{active[0]:.0f} labels a sample at the one end and {active[last]:.0f} at the other; what differs "
        f"more is where the rows lie. {sizes[0]:,} rows of {N_UNITS} weights are {megabytes[0]:.0f} MB, "
        f"{sizes[last]:,} are {megabytes[1]:.0f} MB, so that fewer are found in a cache: scoring {N_ACTIVE} "
        f"random rows and nothing else takes {rows[0]:.0f} and {rows[last]:.0f} microseconds by the same "
        "instructions."
    ]
    shares = column(found, SLIDE, "taken") / column(found, SLIDE, "estimate")
    lines.append(
        f"What a fit takes of memory is {min(shares):.2f} to {max(shares):.2f} times what "
        f"``estimate_memory`` says, {column(found, SLIDE, 'taken')[-1] / 1e9:.1f} GB with {sizes[-1]:,} "
        "labels."
    )
    return lines


PAGE = """
Growth with the number of labels
================================

One epoch of ``SlideClassifier(({n_units},), n_active={n_active}, early_stopping=False)`` on {n_samples:,}
samples of ``make_xmc_classification``: {n_features:,} features, of which a sample has about {per_sample},
{labels_per_sample} labels a sample, and more and more labels. Two threads. Each run has a process of its
own; the sizes take turns, and the figures are medians of {n_repeats} runs; above {most_repeated:,} labels
there is one run, and of SLIDE alone. Times are wall times of training, rebuilding of the tables included,
unless they say CPU. What comes before the training, the first weights and the checking of the data, is the
set-up in the second table.

.. image:: ../images/{image}
   :alt: Time a sample, time of one rebuild and memory against the number of labels, on logarithmic axes

{text}

Microseconds a sample
---------------------

Growth is that up to {most:,} labels. The exponent is the slope of log time against log labels, fitted
to all sizes of the row. "Every label" is a network of the same size
with every label scored: by the kernels, ``n_active=None``, and by PyTorch's EmbeddingBag,
Linear, binary cross-entropy and fused Adam in batches of 256, or 64 above 100,000 labels. These were run
once, on few samples: {full_samples} by the kernels.

{times}
Parts and memory
----------------

Rebuilds are those of the run. Rows is the output layer alone on {n_active} random labels, in microseconds a
sample: scored, and scored and all updated. Weights and tables are those of the fitted model; the peak is
that of the process, with the data. Taken is the peak less what the process held before the fit, the data
included; estimated is what ``SlideClassifier.estimate_memory(X, Y)`` says of it.

{parts}
{machine}

Made by ``python examples/benchmark_growth.py``.
"""


def count_full_samples(work, n_labels):
    """Choose how many samples to train on when every label is scored, for about `work` scores in all."""
    return int(np.clip(work / n_labels, 32, 2000))


def page(sizes, found, n_samples, n_repeats, work, image):
    times, slide = curves(sizes, found), found[SLIDE]
    header = ["", *(f"{size:,}" for size in sizes), "growth", "exponent"]
    last = len(repeated(sizes)) - 1
    rows = [
        [
            name,
            *(f"{value:.0f}" if value >= 10 else f"{value:.1f}" for value in values),
            *["-"] * (len(sizes) - len(values)),
            f"{values[last] / values[0]:.2f}",
            f"{exponent(sizes, values):.2f}",
        ]
        for name, values in times.items()
    ]
    parts_header = ["labels", "scored", "rebuilds", "one, s", "one, CPU s", "share of time", "set-up, s"]
    parts_header += ["rows scored", "updated", "weights, MB", "tables, MB", "taken, MB", "estimated, MB"]
    parts_header += ["peak, MB", "peak PyTorch, MB"]
    parts = []
    for i, one in enumerate(slide):
        share = f"{100 * (1 - one['kernels'] / one['wall']):.0f} %"
        cells = [f"{sizes[i]:,}", f"{one['active']:.0f}", f"{one['rebuilds']:.0f}"]
        cells += [f"{one['rebuild']:.2f}", f"{one['rebuild_cpu']:.2f}", share, f"{one['set_up']:.1f}"]
        cells += [f"{1e6 * found[ROWS][key][i]:.0f}" for key in ("score", "train")]
        cells += [f"{one[key] / 1e6:.0f}" for key in ("weights", "tables", "taken", "estimate", "peak")]
        measured = TORCH in found and i <= last
        parts.append([*cells, f"{found[TORCH][i]['peak'] / 1e6:.0f}" if measured else "-"])
    return PAGE.format(
        n_units=N_UNITS,
        n_active=N_ACTIVE,
        n_samples=n_samples,
        n_features=N_FEATURES,
        per_sample=N_FEATURES_PER_SAMPLE,
        labels_per_sample=N_LABELS_PER_SAMPLE,
        n_repeats=n_repeats,
        most_repeated=MOST_REPEATED,
        most=sizes[last],
        image=image,
        text=explain(sizes, found),
        full_samples=", ".join(f"{count_full_samples(work, size):,}" for size in repeated(sizes)),
        times=rst_table(header, rows),
        parts=rst_table(parts_header, parts),
        machine=machine(("scikit-learn", "numpy", "scipy", "numba", "torch", "sklearn-slide")),
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="less data; only print the page")
    parser.add_argument("--one", metavar="TASK", help="run one task, JSON of a name and its arguments")
    options = parser.parse_args()
    if options.one:
        name, *arguments = json.loads(options.one)
        print(json.dumps(TASKS[name](*arguments)))
        return
    sizes, n_samples, n_repeats, work = SIZES, 100_000, 3, 2e7
    if options.quick:
        sizes, n_samples, n_repeats, work = (3_000, 10_000, 30_000), 20_000, 1, 2e6
    found = measure_all(sizes, n_samples, n_repeats, work)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "quick.png" if options.quick else image_path("growth", "labels")
        draw(sizes, found, path)
    text = page(sizes, found, n_samples, n_repeats, work, path.name)
    print(text) if options.quick else write_page("growth", text)


if __name__ == "__main__":
    main()
