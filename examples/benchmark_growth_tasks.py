"""What benchmark_growth.py runs in processes of their own: a fit, the output layer alone, dense PyTorch."""

import gc
import time
from concurrent.futures import ThreadPoolExecutor

from benchmarking import limit_threads, peak_memory, reset_peak_memory

N_THREADS = 2
limit_threads(N_THREADS)  # before NumPy, Numba and PyTorch are imported

import numpy as np  # noqa: E402

N_FEATURES, N_FEATURES_PER_SAMPLE, N_LABELS_PER_SAMPLE = 50_000, 50, 5
N_UNITS, N_ACTIVE = 128, 500


def generate(n_samples, n_labels):
    from sklearn_slide.datasets import make_xmc_classification

    return make_xmc_classification(
        n_samples,
        N_FEATURES,
        n_labels,
        n_features_per_sample=N_FEATURES_PER_SAMPLE,
        n_labels_per_sample=N_LABELS_PER_SAMPLE,
        random_state=0,
    )


def seconds():
    """Return wall and CPU time."""
    return np.array([time.perf_counter(), time.process_time()])


def make_timed(owner, name, spent):
    """Replace owner's function `name` by one that appends its wall and CPU seconds to spent."""
    function = getattr(owner, name)

    def timed(*args, **kwargs):
        start = seconds()
        result = function(*args, **kwargs)
        spent.append(seconds() - start)
        return result

    setattr(owner, name, timed)


def train_slide(n_samples, n_labels, n_active):
    """Fit for one epoch and return seconds, for each part, and bytes; n_active may be None."""
    from sklearn_slide import SlideClassifier, _trainer

    settings = {"n_active": n_active, "n_jobs": N_THREADS, "max_iter": 1, "random_state": 0}
    settings["early_stopping"] = False  # no samples to rank, no ridge regression: training alone
    SlideClassifier((N_UNITS,), **settings).fit(*generate(100, 1000))  # compiles the kernels
    X, Y = generate(n_samples, n_labels)
    training, rebuilds = [], []
    make_timed(SlideClassifier, "_train", training)
    make_timed(_trainer, "rebuild_tables", rebuilds)
    model = SlideClassifier((N_UNITS,), **settings)
    estimate = model.estimate_memory(X, Y)
    gc.collect()
    reset_peak_memory()
    before = peak_memory()
    start = seconds()
    model.fit(X, Y)
    fit = seconds() - start
    wall, cpu = training[0]
    rebuild = np.array(rebuilds).reshape(-1, 2)
    index = model._model.training.index
    return {
        "wall": wall / n_samples,
        "cpu": cpu / n_samples,
        "kernels": (wall - rebuild[:, 0].sum()) / n_samples,
        "kernels_cpu": (cpu - rebuild[:, 1].sum()) / n_samples,
        "rebuilds": len(rebuild),
        "rebuild": float(np.median(rebuild[:, 0])) if len(rebuild) else 0.0,
        "rebuild_cpu": float(np.median(rebuild[:, 1])) if len(rebuild) else 0.0,
        "set_up": fit[0] - wall,
        "active": model.active_size_curve_[0],
        "weights": sum(w.nbytes for w in (*model.coefs_, *model.intercepts_)),
        "tables": sum(array.nbytes for array in index.tables) if index else 0,
        "peak": peak_memory(),
        "taken": peak_memory() - before,
        "estimate": estimate,
        "seconds": fit[0],
    }


def measure_rows(sizes):
    """Time the output layer alone on N_ACTIVE random labels of each layer, in seconds a sample.

    The instructions are the same for each size of the layer; only the memory is more distant.
    """
    import sampled_layers as layer

    rng, found = np.random.default_rng(0), []
    weights = rng.standard_normal((max(sizes), N_UNITS), dtype=np.float32) / 16
    problems = [layer.Problem(n_labels, N_ACTIVE, weights, 512) for n_labels in sizes]
    runners = [layer.Kernels(problem, N_THREADS, 1) for problem in problems]
    with ThreadPoolExecutor(N_THREADS) as pool:
        times = np.empty((10, len(sizes), 2))
        for repeat, size, which in np.ndindex(times.shape):
            runners[size].prepare(pool)
            run = (runners[size].forward, runners[size].training)[which]
            start = seconds()
            run()
            times[repeat, size, which] = (seconds() - start)[0] / 512
    found = np.median(times[1:], axis=0)  # the first pass compiles
    return {"score": found[:, 0].tolist(), "train": found[:, 1].tolist()}


def train_torch(n_samples, n_labels, batch_size):
    """Train EmbeddingBag, Linear and binary cross-entropy by fused Adam; return seconds and bytes."""
    import torch

    torch.set_num_threads(N_THREADS)
    torch.manual_seed(0)
    X, Y = generate(n_samples, n_labels)
    hidden = torch.nn.EmbeddingBag(N_FEATURES, N_UNITS, mode="sum")
    output = torch.nn.Linear(N_UNITS, n_labels)
    parameters = [*hidden.parameters(), *output.parameters()]
    solver = torch.optim.Adam(parameters, lr=1e-3, fused=True)
    target = torch.zeros(batch_size, n_labels)

    def train(first):
        X_batch, Y_batch = X[first : first + batch_size], Y[first : first + batch_size].tocoo()
        indices, offsets = torch.from_numpy(X_batch.indices), torch.from_numpy(X_batch.indptr[:-1])
        z = output(
            hidden(indices, offsets.to(indices.dtype), per_sample_weights=torch.from_numpy(X_batch.data))
        )
        target.zero_()
        target[Y_batch.row, Y_batch.col] = 1
        loss = torch.nn.functional.binary_cross_entropy_with_logits(z, target, reduction="sum") / batch_size
        solver.zero_grad()
        loss.backward()
        solver.step()

    reset_peak_memory()
    train(0)  # allocates what Adam keeps
    start = seconds()
    for first in range(0, n_samples - batch_size + 1, batch_size):
        train(first)
    wall, cpu = seconds() - start
    n_trained = n_samples // batch_size * batch_size
    return {
        "wall": wall / n_trained,
        "cpu": cpu / n_trained,
        "weights": sum(4 * p.numel() for p in parameters),
        "peak": peak_memory(),
        "seconds": wall,
    }
