"""Compare two checkouts of this project: compiling, fits, predictions, and the time of a training sample.

``python examples/benchmark_against.py OLD NEW`` runs each checkout in processes of its own, with kernel
caches of its own, the two by turns, and prints medians, their ratios, and the smallest and largest ratio of a
turn. Models have the default settings, and only public methods are called. FOLDER of ``--data`` holds the
parts of data sets as :func:`benchmarking.load` reads them; without any, NEW generates data for both.

- compile: CPU seconds of the import, and of the first fit, batch and single row in processes with an empty
  kernel cache, on 3,000 samples and 2,000 labels.
- fit: a fit to all training rows with compiled kernels, its precision on the test rows, and the most memory
  that the process held meanwhile.
- predict: after a fit, the first 5,000 test rows in one call and the first 500 one by one, with one thread.
- sample: CPU time of calls of ``partial_fit`` after the first, for each sample.

In a turn to predict or to sample, a process of each side makes the same passes, the two alternately. CPU
seconds are those of all threads. On a busy machine compare them alone, and compare OLD with itself as well:
the ratios then show what chance does.
"""

import argparse
import contextlib
import gc
import itertools
import json
import math
import os
import pickle
import shlex
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from subprocess import PIPE
from typing import NamedTuple

from benchmarking import limit_threads, load, machine, peak_memory, reset_peak_memory, rst_table

DATA_SETS = ("debian-deps-min2", "wordnet-related")
# samples, features, labels
GENERATED = {"small": (3_300, 2_000, 2_000), "generated": (22_000, 20_000, 10_000)}
N_BATCH, N_SINGLE, N_PASSES = 5000, 500, 5
PARTS = ("compile", "fit", "predict", "sample")


class Side(NamedTuple):
    """One of the two checkouts."""

    name: str
    checkout: Path
    work: Path  # a folder for its kernels and model


class Job(NamedTuple):
    """What a process works on."""

    work: str  # the folder of generated data
    folder: str  # the folder of the data set
    name: str  # of the data set
    model: str  # the path of a stored classifier
    n_rows: int | None  # the training rows, None for all
    settings: dict  # of the classifier


# The tasks run in a process of a checkout, and yield {measure: figure} for each pass.


def new_model(**settings):
    from sklearn_slide import SlideClassifier

    return SlideClassifier(**settings)


def timed(function, *arguments):
    """Return what the function returns, and its wall and CPU seconds."""
    wall, cpu = time.perf_counter(), time.process_time()
    result = function(*arguments)
    return result, time.perf_counter() - wall, time.process_time() - cpu


def warm_up(job):
    """Compile or load the kernels."""
    X, Y, X_test, _ = load(job.work, "small")
    model = new_model(max_iter=1).fit(X, Y)
    model.predict_top_k(X_test)
    model.predict_top_k(X_test[:1])


def show_version(job):
    warm_up(job)
    yield {"version": sys.modules["sklearn_slide"].__version__}


def generate(job):
    """Write generated data, which :func:`load` reads; a test row for each ten training rows."""
    import scipy.sparse as sp

    from sklearn_slide.datasets import make_xmc_classification

    shape, folder = GENERATED[job.name], Path(job.folder) / job.name
    folder.mkdir()
    for part, matrix in zip("XY", make_xmc_classification(*shape, random_state=0), strict=True):
        sp.save_npz(folder / f"{part}_train.npz", matrix[shape[0] // 11 :])
        sp.save_npz(folder / f"{part}_test.npz", matrix[: shape[0] // 11])
    yield {}


def first_fit(job):
    model, _, imported = timed(new_model)
    X, Y, _, _ = load(job.work, "small")
    _, _, fitted = timed(model.set_params(random_state=0).fit, X, Y)
    Path(job.model).write_bytes(pickle.dumps(model))
    yield {"import, CPU s": imported, "first fit, CPU s": fitted}


def first_batch(job):
    model, X = pickle.loads(Path(job.model).read_bytes()), load(job.work, "small")[2]
    yield {"first batch, CPU s": timed(model.predict_top_k, X)[2]}


def first_single_row(job):
    model, X = pickle.loads(Path(job.model).read_bytes()), load(job.work, "small")[2]
    yield {"first single row, CPU s": timed(model.predict_top_k, X[:1])[2]}


def fit_and_predict(job):
    import numpy as np

    warm_up(job)
    X, Y, X_test, Y_test = load(job.folder, job.name)
    X, Y = X[: job.n_rows], Y[: job.n_rows]
    gc.collect()
    reset_peak_memory()
    model, wall, cpu = timed(new_model(**job.settings).fit, X, Y)
    figures = {"fit, wall s": wall, "fit, CPU s": cpu, "fit, peak MiB": peak_memory() / 2**20}
    labels = model.predict_top_k(X_test, k=5)[0]
    hits = Y_test[np.arange(len(labels))[:, None], labels].toarray() > 0
    yield figures | {f"P@{k}, %": 100 * float(hits[:, :k].mean()) for k in (1, 3, 5)}
    model.set_params(n_jobs=1)
    rows = [X_test[i : i + 1] for i in range(min(N_SINGLE, X_test.shape[0]))]
    model.predict_top_k(rows[0])  # makes what single rows need
    while True:
        _, *batch = timed(model.predict_top_k, X_test[:N_BATCH])
        single = [timed(model.predict_top_k, row)[1:] for row in rows]
        figures = {}
        for clock, of_batch, of_rows in zip(("wall", "CPU"), batch, zip(*single, strict=True), strict=True):
            figures[f"batch, {clock} us a row"] = 1e6 * of_batch / min(N_BATCH, X_test.shape[0])
            figures[f"single row p50, {clock} ms"] = 1e3 * median(of_rows)
            figures[f"single row p95, {clock} ms"] = 1e3 * sorted(of_rows)[int(0.95 * len(of_rows))]
        yield figures


def train_sample(job):
    warm_up(job)
    X, Y, _, _ = load(job.folder, job.name)
    X, Y = X[: job.n_rows], Y[: job.n_rows]
    model = new_model(**job.settings).partial_fit(X, Y)  # makes the first weights
    while True:
        yield {"training sample, CPU us": 1e6 * timed(model.partial_fit, X, Y)[2] / X.shape[0]}


def run_task(task, job):
    """Print what a task finds, once for each line of input, and make sure whose code it runs."""
    for _, figures in zip(sys.stdin, globals()[task](Job(**json.loads(job))), strict=False):
        imported = Path(sys.modules["sklearn_slide"].__file__).resolve()
        if not imported.is_relative_to(os.environ["PYTHONPATH"]):
            raise SystemExit(f"Python imports {imported}, not the code of {os.environ['PYTHONPATH']}.")
        print(json.dumps(figures), flush=True)


def start(side, task, job, cache):
    """Start a process that imports the side's checkout and waits to be asked for a pass of the task."""
    environment = {**os.environ, "PYTHONPATH": str(side.checkout), "NUMBA_CACHE_DIR": str(cache)}
    command = [sys.executable, __file__, "--one", task, json.dumps(job._asdict())]
    return subprocess.Popen(command, env=environment, stdin=PIPE, stdout=PIPE, text=True)


def ask(process):
    """Return what the next pass of a process finds."""
    process.stdin.write("\n")
    process.stdin.flush()
    answer = process.stdout.readline()
    if not answer:
        raise SystemExit(f"A process ended with code {process.wait()}; its error, if any, is above.")
    return json.loads(answer)


def make_job(side, name, repeat, options):
    work, settings = str(options.work), {"random_state": repeat, "n_jobs": options.n_jobs}
    folder = work if name in GENERATED else str(options.data)
    return Job(work, folder, name, str(side.work / f"{name}.pickle"), options.rows, settings)


def take_turns(sides, task, n_passes, name, options, repeat=0):
    """Return {measure: {name of a side: median of its passes}} of a task on the data set."""
    found = {}
    with contextlib.ExitStack() as stack:
        processes = {}
        for side in sides:
            cache = side.work / "kernels"
            if task.startswith("first"):
                cache = stack.enter_context(tempfile.TemporaryDirectory(dir=side.work))
            job = make_job(side, name, repeat, options)
            processes[side.name] = stack.enter_context(start(side, task, job, cache))
        for _, (side, process) in itertools.product(range(n_passes), processes.items()):
            for measure, figure in ask(process).items():
                found.setdefault(measure, {}).setdefault(side, []).append(figure)
    return {measure: {side: median(one) for side, one in of.items()} for measure, of in found.items()}


def measure_all(sides, options):
    """Return {(data set, measure): [(figure of OLD, figure of NEW) of each turn]}."""
    steps, pairs = [], {}
    if "compile" in options.only:
        steps += [(task, 1, "small") for task in ("first_fit", "first_batch", "first_single_row")]
    for name in options.sets:
        if {"fit", "predict"} & set(options.only):
            steps.append(("fit_and_predict", 1 + N_PASSES * ("predict" in options.only), name))
        if "sample" in options.only:
            steps.append(("train_sample", N_PASSES, name))
    for repeat, (task, n_passes, name) in itertools.product(range(options.repeats), steps):
        turn = sides if repeat % 2 == 0 else sides[::-1]
        for measure, found in take_turns(turn, task, n_passes, name, options, repeat).items():
            pairs.setdefault((name, measure), []).append((found["old"], found["new"]))
            print(f"turn {repeat}, {name}, {measure}: {found}", file=sys.stderr, flush=True)
    return pairs


def rounded(value):
    """Write a number with four digits, or all of those before the point."""
    return f"{value:,.{max(0, 3 - math.floor(math.log10(abs(value) or 1)))}f}"


def table(pairs):
    rows = []
    for (name, measure), found in pairs.items():
        old, new = (median(figures) for figures in zip(*found, strict=True))
        ratios = [b / a if a else math.nan for a, b in [(old, new), *found]]
        cells = [rounded(old), rounded(new), f"{ratios[0]:.3f}"]
        rows.append([name, measure, *cells, f"{min(ratios[1:]):.3f} to {max(ratios[1:]):.3f}"])
    return rst_table(["data set", "measure", "old", "new", "new / old", "spread"], rows)


def describe(side, version):
    command = ["git", "-C", str(side.checkout), "describe", "--always", "--dirty"]
    commit = subprocess.run(command, capture_output=True, text=True).stdout.strip() or "no commit"
    return f"{side.name}: sklearn-slide {version}, {commit}"


def parse_options():
    as_it_is = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=as_it_is)
    parser.add_argument("old", type=Path, metavar="OLD", help="a checkout of this project")
    parser.add_argument("new", type=Path, metavar="NEW", help="another one")
    folder = os.environ.get("SKLEARN_SLIDE_DATA", Path(__file__).resolve().parents[2] / "shared" / "data")
    parser.add_argument("--data", type=Path, metavar="FOLDER", default=folder, help="default: %(default)s")
    names = f"folders of FOLDER, or 'generated'; default: {' '.join(DATA_SETS)}, those that are there"
    parser.add_argument("--sets", nargs="+", metavar="NAME", help=names)
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS), help="default: all")
    parser.add_argument("--repeats", type=int, default=5, help="turns of each side; default: %(default)s")
    parser.add_argument("--rows", type=int, help="train on the first ROWS rows; default: all")
    parser.add_argument("--n-jobs", type=int, default=1, help="threads of training; default: %(default)s")
    options = parser.parse_args()
    for checkout in (options.old, options.new):
        if not (checkout / "sklearn_slide" / "__init__.py").exists():
            parser.error(f"OLD and NEW must be checkouts. {checkout} holds no sklearn_slide/__init__.py.")
    options.sets = options.sets or [n for n in DATA_SETS if (options.data / n).is_dir()] or ["generated"]
    for name in options.sets:
        if name != "generated" and not (options.data / name).is_dir():
            parser.error(f"--sets {name}: {options.data} holds no such folder. Give another --data FOLDER.")
    return options


def main():
    if sys.argv[1:2] == ["--one"]:
        return run_task(*sys.argv[2:])
    options, begun = parse_options(), time.perf_counter()
    limit_threads(options.n_jobs)
    with tempfile.TemporaryDirectory() as work:
        options.work = Path(work)
        pair = (("old", options.old), ("new", options.new))
        sides = [Side(name, checkout.resolve(), options.work / name) for name, checkout in pair]
        for side in sides:
            side.work.mkdir()
        for name in {"small", *options.sets} & set(GENERATED):
            take_turns(sides[1:], "generate", 1, name, options)
        for side in sides:  # fills the cache, so that no timed process compiles
            version = take_turns([side], "show_version", 1, "small", options)["version"][side.name]
            print(describe(side, version), flush=True)
        pairs = measure_all(sides, options)
    minutes = (time.perf_counter() - begun) / 60
    print(machine(("scikit-learn", "numpy", "scipy", "numba")), shlex.join(["python", *sys.argv]), sep="\n")
    print(f"{options.repeats} turns, n_jobs={options.n_jobs}, {minutes:.0f} minutes\n\n{table(pairs)}")


if __name__ == "__main__":
    main()
