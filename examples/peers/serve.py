"""Train one model and time its predictions: single rows one by one, and a batch; for benchmark_inference.py.

The settings of the job have ``kind``, the name of a function here, and what the peer is trained with.
"""

import copy
import pickle
import sys
import time

import numpy as np
from job import THREADS, Job, K

N_SINGLE, N_WARM_UP, N_BATCH, N_BATCHES = 1000, 50, 5000, 5


def time_predictions(name, rank_rows, rows, batch, **answer):
    """Time rank_rows(X), which returns the best labels of each row, for single rows and for the batch.

    Answer with the times, the labels of the batch and what else is given.
    """
    times = []
    for row in (*rows[:N_WARM_UP], *rows):
        start = time.perf_counter()
        rank_rows(row)
        times.append(time.perf_counter() - start)
    rank_rows(batch[:N_WARM_UP])
    start = time.perf_counter(), time.process_time()
    labels = rank_rows(batch)
    wall, cpu = time.perf_counter() - start[0], time.process_time() - start[1]
    top = np.full((batch.shape[0], K), -1)
    for i, best in enumerate(labels):
        top[i, : len(best[:K])] = best[:K]
    path = job.folder / f"labels{time.monotonic_ns()}.npy"
    np.save(path, top)
    job.answer(name=name, single=times[N_WARM_UP:], batch=wall, batch_cpu=cpu, labels=str(path), **answer)


def compact_answer(model, dtype):
    """Compact a copy of the model, if a dtype is given, and time it with its checks of X."""
    model = copy.deepcopy(model)
    if dtype:
        model.compact(dtype)
    stored = len(pickle.dumps(model, protocol=5))
    model.predict_top_k(rows[0], K)
    name = f'compact("{dtype}")' if dtype else "as fitted"
    sizes = {"stored": stored, "memory": sys.getsizeof(model), "compact": True}
    time_predictions(name, lambda X: model.predict_top_k(X, K)[0], rows, batch, **sizes)


def slide(settings):
    """Train SlideClassifier; time exact ranking, with and without checks of X, retrieval, compact models."""
    from sklearn_slide import SlideClassifier
    from sklearn_slide._core import retrieval

    model = SlideClassifier(**settings, n_jobs=THREADS, random_state=0).fit(job.X, job.Y)
    values = model.coefs_[-1].T
    h = np.ones((512, values.shape[1]), dtype=np.float32)
    products, batches = [], []
    for _ in range(N_BATCHES):
        start = time.perf_counter()
        for first in range(0, batch.shape[0], 512):
            for label in range(0, len(values), 8192):
                h[: batch.shape[0] - first] @ values[label : label + 8192].T
        products.append(time.perf_counter() - start)
        start = time.perf_counter()
        model.predict_top_k(batch, K)
        batches.append(time.perf_counter() - start)
    job.answer(name="matrix product", batch=np.median(batches), product=np.median(products))
    time_predictions("exact", lambda X: model.predict_top_k(X, K)[0], rows, batch)
    unchecked = [lambda X: model.predict_top_k(X, K, check_input=False)[0], rows, batch]
    time_predictions("exact, unchecked", *unchecked)
    for dtype in (None, *settings_of_job["dtypes"]):
        compact_answer(model, dtype)
    model.set_params(retrieval="lsh")
    for share in settings_of_job["shares"]:
        retrieval._SHARE = share
        model._ranker.forget()  # the tables that were made for another share
        time_predictions(f"lsh, {100 * share:g} % scored, unchecked", *unchecked)


def pecos(settings):
    """Train XR-Linear and load it as PECOS advises for serving."""
    from job import rank_sparse
    from pecos.xmc import Indexer, LabelEmbeddingFactory
    from pecos.xmc.xlinear.model import XLinearModel

    beam_size, nr_splits = settings.pop("beam_size"), settings.pop("nr_splits")
    max_leaf_size = settings.pop("max_leaf_size")
    Y = job.Y.tocsc()
    embedding = LabelEmbeddingFactory.create(Y, job.X, method="pifa")
    clusters = Indexer.gen(
        embedding, nr_splits=nr_splits, max_leaf_size=max_leaf_size, seed=0, threads=THREADS
    )
    model = XLinearModel.train(job.X, Y, C=clusters, threads=THREADS, nr_splits=nr_splits, **settings)
    model.save(str(job.folder / "tree"))
    model = XLinearModel.load(str(job.folder / "tree"), is_predict_only=True)

    def rank_rows(X):
        n_threads = 1 if X.shape[0] == 1 else THREADS
        return rank_sparse(model.predict(X, beam_size=beam_size, only_topk=K, threads=n_threads).tocsr())

    time_predictions("PECOS XR-Linear, 1 tree", rank_rows, rows, batch)


def omikuji(settings):
    """Train Parabel; its Python interface ranks one row a call."""
    import omikuji

    beam_size = settings.pop("beam_size")
    path = job.folder / "train.txt"
    job.write_training_rows(path)
    parameters = omikuji.Model.default_hyper_param()
    parameters.n_trees = 1
    for name, value in settings.items():
        setattr(parameters, name, value)
    model = omikuji.Model.train_on_data(str(path), parameters, THREADS)

    def rank_rows(X):
        labels = []
        for i in range(X.shape[0]):
            features = slice(*X.indptr[i : i + 2])
            pairs = list(zip(X.indices[features].tolist(), X.data[features].tolist(), strict=True))
            labels.append([label for label, _ in model.predict(pairs, beam_size=beam_size, top_k=K)])
        return labels

    time_predictions("omikuji, Parabel, 1 tree", rank_rows, rows, batch)


def napkinxc(settings):
    """Train a probabilistic label tree."""
    from job import label_rows
    from napkinxc.models import PLT

    model = PLT(str(job.folder / "tree"), threads=THREADS, seed=0, **settings)
    model.fit(job.X, label_rows(job.Y))
    model.load()
    time_predictions("napkinXC, PLT, 1 tree", lambda X: model.predict(X, top_k=K), rows, batch)


def torch(settings):
    """Time a dense network of random weights, which takes as long as a trained one."""
    import torch

    torch.set_num_threads(THREADS)
    hidden = torch.nn.EmbeddingBag(job.X.shape[1], settings["hidden"], mode="sum", include_last_offset=True)
    output = torch.nn.Linear(settings["hidden"], job.Y.shape[1])

    @torch.inference_mode()
    def rank_rows(X):
        best = []
        for first in range(0, X.shape[0], 512):
            part = X[first : first + 512] if X.shape[0] > 1 else X
            indices, starts = torch.from_numpy(part.indices), torch.from_numpy(part.indptr)
            h = torch.relu(hidden(indices, starts, per_sample_weights=torch.from_numpy(part.data)))
            best.append(torch.topk(output(h), K).indices.numpy())
        return np.vstack(best)

    time_predictions("PyTorch, dense", rank_rows, rows, batch)


job = Job()
settings_of_job = dict(job.settings)
rows = [job.X_test[i] for i in range(min(N_SINGLE, job.X_test.shape[0]))]
batch = job.X_test[:N_BATCH]
globals()[settings_of_job.pop("kind")](settings_of_job.pop("model"))
