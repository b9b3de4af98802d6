"""Compare shards of labels, trained one by one in this process, with one model: precision and CPU time.

``python examples/benchmark_shards.py debian-deps-min2 --shards 2 4 8 --seeds 0 1`` prints a line for each
fit; rows of the training data that are set aside judge it. A folder of that name, below ``--folder``, holds
``X_train.npz`` and ``Y_train.npz``, as ``scipy.sparse.save_npz`` writes them. Without a name, the rows are
those of ``make_xmc_classification``.
"""

import argparse
import time
from itertools import pairwise
from pathlib import Path

import numpy as np
import scipy.sparse as sp

from sklearn_slide import SlideClassifier
from sklearn_slide._samples import mostly_filled
from sklearn_slide._shards import deal_labels, fit_shard, merge_top_k, shard_parameters, top_k_shard
from sklearn_slide.datasets import make_xmc_classification
from sklearn_slide.metrics import precision_at_k

KS = 1, 3, 5


def load(name, folder, n_rows, n_held_out):
    """Return X and y to train with, and those that are set aside."""
    if name is None:
        X, Y = make_xmc_classification(n_samples=20_000, n_labels=5_000, random_state=0)
    else:
        X, Y = (sp.load_npz(Path(folder) / name / f"{part}_train.npz") for part in "XY")
    X, Y = sp.csr_array(X, dtype=np.float32), sp.csr_array(Y)
    order = np.random.default_rng(12345).permutation(X.shape[0])
    held_out, rest = np.sort(order[:n_held_out]), order[n_held_out:]
    rest = np.sort(rest if n_rows is None else rest[:n_rows])
    return X[rest], Y[rest], X[held_out], Y[held_out]


def fit_shards(parameters, X, Y, n_shards, n_blocks):
    """Train all shards, the pilot first; return them and the CPU seconds of each."""
    counts = np.bincount(Y.indices, minlength=Y.shape[1])
    columns = deal_labels(counts, n_shards)
    bounds = np.linspace(0, X.shape[0], n_blocks + 1).astype(int)
    blocks = [(X[start:stop], Y[start:stop]) for start, stop in pairwise(bounds)]
    dense = mostly_filled(X.nnz, *X.shape)
    shards, seconds = [], []
    for given, own in zip(shard_parameters(parameters, counts, columns, dense), columns, strict=True):
        started = time.process_time()
        shards.append(fit_shard(given, own, blocks, *shards[:1]))
        seconds.append(time.process_time() - started)
    return shards, seconds


def report(name, labels, Y, seconds, n_bytes=()):
    """Print a line: of the CPU seconds of each part, the sum, and those of the first."""
    precision = ", ".join(f"{100 * precision_at_k(Y, labels[:, :k], k=k):.2f}" for k in KS)
    of_first = f", the first {seconds[0]:.1f}" if len(seconds) > 1 else ""
    sizes = ", ".join(f"{n / 2**20:.0f} MiB" for n in n_bytes)
    print(f"{name:22} P@1, 3, 5: {precision}   CPU {sum(seconds):5.1f} s{of_first}   {sizes}", flush=True)


def main():
    """Compare one model with shards."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("name", nargs="?")
    parser.add_argument("--folder", default="shared/data")
    parser.add_argument("--shards", type=int, nargs="+", default=[2, 4, 8])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--blocks", type=int, default=1, help="of rows, for the shards")
    parser.add_argument("--rows", type=int)
    parser.add_argument("--held-out", type=int, default=2000)
    parser.add_argument("--max-iter", type=int, default=3)
    arguments = parser.parse_args()
    X, Y, X_new, Y_new = load(arguments.name, arguments.folder, arguments.rows, arguments.held_out)
    print(f"{X.shape[0]} rows, {X.shape[1]} features, {Y.shape[1]} labels")
    # kernels are compiled, or loaded
    given = SlideClassifier(max_iter=arguments.max_iter, n_jobs=1)
    few = given.get_params(deep=False) | {"max_iter": 1}
    SlideClassifier(**few).fit(X[:2000], Y[:2000]).predict_top_k(X_new, KS[-1])
    fit_shards(few, X[:2000], Y[:2000], 2, 2)
    for seed in arguments.seeds:
        parameters = given.set_params(random_state=seed).get_params(deep=False)
        for stopping in (False, "auto"):
            started = time.process_time()
            model = SlideClassifier(**parameters | {"early_stopping": stopping}).fit(X, Y)
            seconds = time.process_time() - started
            labels, _ = model.predict_top_k(X_new, KS[-1])
            report(f"seed {seed}, one, {stopping}", labels, Y_new, [seconds])
        for n_shards in arguments.shards:
            shards, seconds = fit_shards(parameters, X, Y, n_shards, arguments.blocks)
            n_bytes = [shard.__sizeof__() for shard in shards[:2]]  # ranking may join a ridge regression
            labels, _ = merge_top_k([top_k_shard(shard, X_new, KS[-1]) for shard in shards], KS[-1])
            report(f"seed {seed}, {n_shards} shards", labels, Y_new, seconds, n_bytes)


if __name__ == "__main__":
    main()
