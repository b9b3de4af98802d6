"""Make the three pages about choices: sampling of negatives, threads, and one choice removed at a time.

``python examples/benchmark_choices.py FOLDER [--data NAME ...] [--part sampling|threads|ablation]`` runs
benchmark_sampling.py, benchmark_threads.py and benchmark_ablation.py, which share the functions of this
module; ``--quick`` tries them on few samples and only prints the pages. FOLDER/NAME holds the parts of a
data set as :func:`benchmarking.load` reads them. Models are judged on training rows that were held out.
"""

import argparse
import gc
import subprocess
import sys
import time
from pathlib import Path
from textwrap import fill
from typing import NamedTuple

from benchmarking import limit_threads, load, peak_memory, reset_peak_memory

N_THREADS = 2
limit_threads(N_THREADS)  # before NumPy and Numba are imported

import numpy as np  # noqa: E402
import scipy.sparse as sp  # noqa: E402

from sklearn_slide import SlideClassifier  # noqa: E402
from sklearn_slide.datasets import make_xmc_classification  # noqa: E402
from sklearn_slide.metrics import label_propensities, precision_at_k, ps_precision_at_k  # noqa: E402

PARTS = ("sampling", "threads", "ablation")
FEWER, MANY = "debian-deps-min2", "wordnet-related"
N_UNITS, N_JUDGED = 64, 2000
EPOCHS = {FEWER: 2, MANY: 1}  # of threads and ablation
COMMON_HEADER = ["wall s", "CPU s", "model MB", "peak MB"]
PRECISIONS = ["P@1", "P@3", "P@5", "PSP@1", "PSP@3", "PSP@5"]


class Data(NamedTuple):
    """A data set, whose training rows are split into those to learn from and those to judge by."""

    X: sp.csr_matrix
    Y: sp.csr_matrix
    X_held: sp.csr_matrix
    Y_held: sp.csr_matrix
    propensities: np.ndarray  # (n_labels,)


class TimedClassifier(SlideClassifier):
    """A classifier that remembers the wall and CPU seconds of training without its set-up."""

    def _train(self, *args, **kwargs):
        start = seconds()
        super()._train(*args, **kwargs)
        self.training_seconds_ = seconds() - start


def seconds():
    """Return wall and CPU time."""
    return np.array([time.perf_counter(), time.process_time()])


def load_data(options):
    """Return {name: Data} of the data sets that are asked for."""
    return {name: _load_one(options.folder, name, options.quick) for name in options.data}


def _load_one(folder, name, quick):
    X, Y, X_held, Y_held = load(folder, name, held_out=True)
    n_samples, n_judged = (1000, 100) if quick else (X.shape[0], N_JUDGED)
    X, Y = X[:n_samples], Y[:n_samples]
    return Data(X, Y, X_held[:n_judged], Y_held[:n_judged], label_propensities(Y))


def compile_kernels(runs):
    """Train on a little data with each of the settings, so that nothing is compiled in a timed run."""
    X, Y = make_xmc_classification(200, 200, 1000, random_state=0)
    for settings in runs:
        small = {"hidden_layer_sizes": (8,), "max_iter": 1, "n_jobs": N_THREADS}
        SlideClassifier(**{"n_active": 20, **settings, **small}).fit(X, Y).predict_top_k(X)


def measure(data, settings):
    """Fit and return figures; "hits" are those of the first label, for each held-out row."""
    defaults = {"hidden_layer_sizes": (N_UNITS,), "n_jobs": N_THREADS, "random_state": 0}
    model = TimedClassifier(**{**defaults, **settings})
    gc.collect()
    reset_peak_memory()
    start = seconds()
    model.fit(data.X, data.Y)
    wall, cpu = seconds() - start
    figures = {"wall": wall, "cpu": cpu, "peak": peak_memory(), "training": model.training_seconds_[0]}
    labels = model.set_params(n_jobs=N_THREADS).predict_top_k(data.X_held, k=5)[0]
    for k in (1, 3, 5):
        figures[f"P@{k}"] = 100 * precision_at_k(data.Y_held, labels, k=k)
        figures[f"PSP@{k}"] = 100 * ps_precision_at_k(data.Y_held, labels, data.propensities, k=k)
    figures["hits"] = np.asarray(data.Y_held[np.arange(len(labels)), labels[:, 0]]).ravel() > 0
    figures["scored"] = float(np.mean(model.active_size_curve_))
    figures["loss"] = model.loss_
    direct = model.direct_coef_
    parts = [*model.coefs_, *model.intercepts_, direct.data, direct.indices, direct.indptr]
    figures["model"] = sum(part.nbytes for part in parts)
    return figures


def report(*names, figures):
    """Print a line on a run while the others go on."""
    print(*names, *(f"{key} {figures[key]:.4g}" for key in ("P@1", "scored", "wall", "cpu")), flush=True)


def common_cells(runs):
    """Return the cells of a table that all pages have: seconds and megabytes, means over the runs."""
    mean = {key: np.mean([one[key] for one in runs]) for key in ("wall", "cpu", "model", "peak")}
    return [
        f"{mean['wall']:.1f}",
        f"{mean['cpu']:.1f}",
        f"{mean['model'] / 1e6:.0f}",
        f"{mean['peak'] / 1e6:.0f}",
    ]


def precision_cells(runs):
    """Return P@k and PSP@k: means over the runs, P@1 with the standard deviation."""
    cells = [f"{np.mean([one[key] for one in runs]):.1f}" for key in PRECISIONS]
    if len(runs) > 1:
        cells[0] += f" ± {np.std([one['P@1'] for one in runs], ddof=1):.1f}"
    return cells


def paragraphs(lines):
    """Wrap sentences as the pages are."""
    return "\n\n".join(fill(line, 108, break_on_hyphens=False, break_long_words=False) for line in lines)


def busy_sentence(runs):
    """Return a list with a sentence on the machine if the runs got little of two cores, else an empty one."""
    share = np.median([one["cpu"] / one["wall"] for one in runs])
    if share >= 0.8 * N_THREADS:
        return []
    return [
        f"The runs had {share:.1f} of {N_THREADS} cores (median): other work went on, or parts of them use "
        "one core. The CPU time is more to be trusted than the wall time."
    ]


def judged_sentence(data):
    """Tell how the figures were judged."""
    held = " and ".join(f"{one.X_held.shape[0]:,} of {name}" for name, one in data.items())
    return (
        f"Models learn from {' and '.join(f'{one.X.shape[0]:,}' for one in data.values())} training rows of "
        f"{' and '.join(data)}, and are judged on training rows that were held out, {held}. "
        "No test row was looked at. Precisions are in percent. A model is its weights, without the state of "
        "the solver; the peak of memory is that of the process that makes all runs, its data included."
    )


def make_parser(description, data_sets=(FEWER, MANY)):
    parser = argparse.ArgumentParser(description=description.splitlines()[0])
    parser.add_argument("folder", type=Path, help="the folder of the data sets")
    parser.add_argument("--data", nargs="+", choices=data_sets, default=list(data_sets), metavar="NAME")
    parser.add_argument("--quick", action="store_true", help="few samples; only print the page")
    return parser


def main():
    parser = make_parser(__doc__)
    parser.add_argument("--part", choices=PARTS, help="only this page")
    options = parser.parse_args()
    for part in [options.part] if options.part else PARTS:
        script = Path(__file__).with_name(f"benchmark_{part}.py")
        command = [sys.executable, script, options.folder, "--data", *options.data]
        subprocess.run([*command, *["--quick"] * options.quick], check=True)


if __name__ == "__main__":
    main()
