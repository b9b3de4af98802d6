"""Compare two checkouts of this project: compiling, fits, predictions, and the time of a training sample.

``python examples/benchmark_against.py OLD NEW`` runs each checkout in processes of its own, with kernel
caches of its own, the two by turns, and prints medians, their ratios, and the smallest and largest ratio of a
turn. Models have the default settings, and only public methods are called. FOLDER of ``--data`` holds the
parts of data sets as :func:`benchmarking.load` reads them; without any, NEW generates data for both.

- compile: CPU seconds of the import, and of the first fit, batch and single row in processes with an empty
  kernel cache, on 3,000 samples and 2,000 labels.
- fit: a fit to all training rows with compiled kernels, its precision on the test rows, and the most memory
  that the process held meanwhile.
- predict: the first 5,000 test rows in one call and the first 1,000 one by one, with one thread.
- sample: CPU time of calls of ``partial_fit`` after the first, for each sample.

CPU seconds are those of all threads; on a busy machine only they tell the two apart.
"""

import argparse
import gc
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
from typing import NamedTuple

from benchmarking import limit_threads, load, machine, peak_memory, reset_peak_memory, rst_table

PARTS = ("compile", "fit", "predict", "sample")
DATA_SETS = ("debian-deps-min2", "wordnet-related")
GENERATED = {
    "small": (3_300, 2_000, 2_000),
    "generated": (22_000, 20_000, 10_000),
}  # samples, features, labels
N_BATCH, N_SINGLE, N_PASSES = 5000, 1000, 3


class Side(NamedTuple):
    """One of the two checkouts."""

    name: str
    checkout: Path
    work: Path  # a folder for its kernels and models


# What follows, up to TASKS, runs in a process of a checkout and returns {measure: figure}.


def new_model(**settings):
    from sklearn_slide import SlideClassifier

    return SlideClassifier(**settings)


def timed(function, *arguments):
    """Return what the function returns, and its wall and CPU seconds."""
    wall, cpu = time.perf_counter(), time.process_time()
    result = function(*arguments)
    return result, time.perf_counter() - wall, time.process_time() - cpu


def show_version():
    from sklearn_slide import __version__

    return {"version": __version__}


def generate(folder, name):
    """Write generated data to FOLDER/NAME, which :func:`load` reads."""
    import scipy.sparse as sp

    from sklearn_slide.datasets import make_xmc_classification

    parts = dict(zip("XY", make_xmc_classification(*GENERATED[name], random_state=0), strict=True))
    n_test = GENERATED[name][0] // 11  # a tenth of the training rows
    (Path(folder) / name).mkdir()
    for part, matrix in parts.items():
        sp.save_npz(Path(folder) / name / f"{part}_train.npz", matrix[n_test:])
        sp.save_npz(Path(folder) / name / f"{part}_test.npz", matrix[:n_test])
    return {}


def first_fit(small, path, n_rows):
    """Time the import and a fit to the first n_rows, and store the classifier at the path."""
    model, _, imported = timed(new_model)
    X, Y = (matrix[:n_rows] for matrix in load(small, "small")[:2])
    _, _, fitted = timed(model.set_params(random_state=0).fit, X, Y)
    Path(path).write_bytes(pickle.dumps(model))
    return {"import, CPU s": imported, "first fit, CPU s": fitted}


def first_prediction(small, path, n_rows):
    """Time the first call of a stored classifier that ranks so many rows."""
    model = pickle.loads(Path(path).read_bytes())
    rows = load(small, "small")[2][:n_rows]
    what = "single row" if n_rows == 1 else "batch"
    return {f"first {what}, CPU s": timed(model.predict_top_k, rows)[2]}


def warm_up(small):
    """Compile or load the kernels."""
    X, Y, X_test, _ = load(small, "small")
    model = new_model(max_iter=1).fit(X, Y)
    model.predict_top_k(X_test)
    model.predict_top_k(X_test[:1])
    return {}


def fit(small, path, folder, name, n_rows, **settings):
    """Time a fit to the training rows, n_rows at most, and store the classifier at the path."""
    import numpy as np

    warm_up(small)
    X, Y, X_test, Y_test = load(folder, name)
    X, Y = X[:n_rows], Y[:n_rows]
    gc.collect()
    reset_peak_memory()
    model, wall, cpu = timed(new_model(**settings).fit, X, Y)
    figures = {"fit, wall s": wall, "fit, CPU s": cpu, "fit, peak MiB": peak_memory() / 2**20}
    labels = model.predict_top_k(X_test, k=5)[0]
    hits = Y_test[np.arange(len(labels))[:, None], labels].toarray() > 0
    figures |= {f"P@{k}, %": 100 * float(hits[:, :k].mean()) for k in (1, 3, 5)}
    Path(path).write_bytes(pickle.dumps(model))
    return figures


def predict(small, path, folder, name):
    """Time predictions of the stored classifier, with one thread."""
    warm_up(small)
    model = pickle.loads(Path(path).read_bytes()).set_params(n_jobs=1)
    X = load(folder, name)[2][:N_BATCH]
    singles = [X[i : i + 1] for i in range(min(N_SINGLE, X.shape[0]))]
    batch = [timed(model.predict_top_k, X)[1:] for _ in range(N_PASSES)]
    for row in singles[:50]:
        model.predict_top_k(row)
    single = [timed(model.predict_top_k, row)[1:] for row in singles]
    figures = {}
    for i, clock in enumerate(("wall", "CPU")):
        of_batch, of_rows = ([seconds[i] for seconds in calls] for calls in (batch, single))
        figures[f"batch, {clock} us a row"] = 1e6 * median(of_batch) / X.shape[0]
        figures[f"single row p50, {clock} ms"] = 1e3 * median(of_rows)
        figures[f"single row p95, {clock} ms"] = 1e3 * sorted(of_rows)[int(0.95 * len(of_rows))]
    return figures


def train_sample(small, folder, name, n_rows, **settings):
    """Time a training sample, without the first weights, by calls of partial_fit."""
    warm_up(small)
    X, Y, _, _ = load(folder, name)
    X, Y = X[:n_rows], Y[:n_rows]
    model = new_model(**settings).partial_fit(X, Y)
    seconds = [timed(model.partial_fit, X, Y)[2] for _ in range(N_PASSES)]
    return {"training sample, CPU us": 1e6 * median(seconds) / X.shape[0]}


TASKS = {
    task.__name__: task
    for task in (show_version, generate, first_fit, first_prediction, warm_up, fit, predict, train_sample)
}


def run_task(name, arguments):
    """Run a task in this process and print what it found, once it is sure whose it is."""
    found = TASKS[name](**arguments)
    imported, checkout = Path(sys.modules["sklearn_slide"].__file__).resolve(), Path(os.environ["PYTHONPATH"])
    if not imported.is_relative_to(checkout):
        raise SystemExit(f"Python imports {imported}, which does not belong to {checkout}.")
    print(json.dumps(found))


def run(side, task, cache=None, **arguments):
    """Run a task in a process of its own that imports the side's checkout."""
    cache = str(cache or side.work / "kernels")
    environment = {**os.environ, "PYTHONPATH": str(side.checkout), "NUMBA_CACHE_DIR": cache}
    command = [sys.executable, __file__, "--one", task, json.dumps(arguments)]
    answer = subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE, text=True).stdout
    return json.loads(answer.splitlines()[-1])


def run_part(part, side, name, options, **settings):
    """Return the figures of one part of the benchmark, for a side and a data set."""
    small, path = str(options.work), str(side.work / f"{name}.pickle")
    if part == "compile":
        figures = {}
        for task, n_rows in (("first_fit", None), ("first_prediction", N_BATCH), ("first_prediction", 1)):
            with tempfile.TemporaryDirectory(dir=side.work) as cache:
                figures |= run(side, task, cache, small=small, path=path, n_rows=n_rows)
        return figures
    data = {"small": small, "folder": small if name == "generated" else str(options.data), "name": name}
    if part == "sample":
        return run(side, "train_sample", **data, n_rows=options.rows, **settings)
    if part == "fit" or not Path(path).exists():
        figures = run(side, "fit", path=path, **data, n_rows=options.rows, **settings)
    return figures if part == "fit" else run(side, "predict", path=path, **data)


def measure_all(sides, options):
    """Return {(data set, measure): ([figure of OLD of each turn], [those of NEW])}."""
    found = {}
    steps = [("compile", "small")] if "compile" in options.only else []
    steps += [(part, name) for name in options.sets for part in PARTS[1:] if part in options.only]
    for repeat in range(options.repeats):
        settings = {"random_state": repeat, "n_jobs": options.n_jobs}
        for part, name in steps:
            turn = sides if repeat % 2 == 0 else sides[::-1]
            figures = {}
            for side in turn:
                figures[side.name] = one = run_part(part, side, name, options, **settings)
                text = ", ".join(f"{measure}: {rounded(value)}" for measure, value in one.items())
                print(f"{part} {name}, {side.name}: {text}", file=sys.stderr, flush=True)
            for measure in figures["old"]:
                pair = found.setdefault((name, measure), ([], []))
                for runs, side in zip(pair, sides, strict=True):
                    runs.append(figures[side.name][measure])
    return found


def rounded(value):
    """Write a number with four digits, or all of those before the point."""
    return f"{value:,.{max(0, 3 - math.floor(math.log10(abs(value) or 1)))}f}"


def table(found):
    rows = []
    for (name, measure), (old, new) in found.items():
        ratios = [b / a if a else math.nan for a, b in zip(old, new, strict=True)]
        a, b = median(old), median(new)
        spread = f"{min(ratios):.3f} to {max(ratios):.3f}"
        rows.append([name, measure, rounded(a), rounded(b), f"{b / a if a else math.nan:.3f}", spread])
    return rst_table(["data set", "measure", "old", "new", "new / old", "spread"], rows)


def describe(side):
    """Return the version and the commit of a checkout."""
    command = ["git", "-C", str(side.checkout), "describe", "--always", "--dirty"]
    commit = subprocess.run(command, capture_output=True, text=True).stdout.strip() or "no commit"
    return f"{side.name}: sklearn-slide {run(side, 'show_version')['version']}, {commit}"


def parse_options():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("old", type=Path, metavar="OLD", help="a checkout of this project")
    parser.add_argument("new", type=Path, metavar="NEW", help="another one")
    folder = os.environ.get("SKLEARN_SLIDE_DATA", Path(__file__).resolve().parents[2] / "shared" / "data")
    parser.add_argument("--data", type=Path, metavar="FOLDER", default=folder, help="default: %(default)s")
    names = f"folders of FOLDER, or 'generated'; default: {' '.join(DATA_SETS)}, those that are there"
    parser.add_argument("--sets", nargs="+", metavar="NAME", help=names)
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS, help="default: all")
    parser.add_argument("--repeats", type=int, default=5, help="turns of each side; default: %(default)s")
    parser.add_argument("--rows", type=int, help="train on the first ROWS rows; default: all")
    parser.add_argument("--n-jobs", type=int, default=1, help="threads of training; default: %(default)s")
    options = parser.parse_args()
    for checkout in (options.old, options.new):
        if not (checkout / "sklearn_slide" / "__init__.py").exists():
            parser.error(f"OLD and NEW must be checkouts. {checkout} holds no sklearn_slide/__init__.py.")
    there = [name for name in DATA_SETS if (options.data / name).is_dir()]
    options.sets = options.sets or there or ["generated"]
    for name in options.sets:
        if name != "generated" and not (options.data / name).is_dir():
            parser.error(f"--sets {name}: {options.data} holds no such folder. Give another --data FOLDER.")
    return options


def main():
    if sys.argv[1:2] == ["--one"]:
        return run_task(sys.argv[2], json.loads(sys.argv[3]))
    options, start = parse_options(), time.perf_counter()
    limit_threads(options.n_jobs)
    with tempfile.TemporaryDirectory() as work:
        options.work = Path(work)
        sides = [
            Side(name, checkout.resolve(), options.work / name)
            for name, checkout in (("old", options.old), ("new", options.new))
        ]
        for side in sides:
            side.work.mkdir()
            print(describe(side))
        for name in {"small", *options.sets} & set(GENERATED):
            run(sides[1], "generate", folder=work, name=name)
        for side in sides if set(options.only) != {"compile"} else ():
            run(side, "warm_up", small=work)  # fills the cache, so that no timed process compiles
        found = measure_all(sides, options)
    minutes = (time.perf_counter() - start) / 60
    print(machine(("scikit-learn", "numpy", "scipy", "numba")))
    print(shlex.join(["python", *sys.argv]))
    print(f"{options.repeats} turns, n_jobs={options.n_jobs}, {minutes:.0f} minutes\n\n{table(found)}")


if __name__ == "__main__":
    main()
