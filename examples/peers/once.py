"""Train one model with the defaults of its library and rank the test rows once; for benchmark_kinds.py.

The settings of the job have ``kind``, the name of a function here; ``classes``: whether each row has one
label, so that y holds class labels for those that take them; ``seed`` for SlideClassifier; and ``trees``,
1 or 3, for PECOS.
"""

import time

import benchmarking
import numpy as np
import scipy.sparse as sp
from job import THREADS, Job, K, folder_bytes, label_rows, rank, rank_sparse
from peers.thresholds import best_threshold

BLOCK = 256  # rows of which all labels are scored at a time
SCORED = 100  # labels of a row that a tree keeps to be thresholded


class Ranking:
    """The clock of the predictions: within ``with ranking:`` CPU seconds and the peak of memory are taken."""

    seconds = 0

    def __enter__(self):
        self._start = time.process_time()

    def __exit__(self, *error):
        self.seconds += time.process_time() - self._start


def report(point, labels, model_bytes, ranking, predicted=None, probabilities=None):
    """Answer with a point: the best labels of each test row, and what the ranking took.

    predicted is a CSR indicator of the labels that are said, probabilities those of the best labels.
    """
    more = {"predict_cpu": ranking.seconds / job.X_test.shape[0]}
    job.memory = max(job.memory, benchmarking.peak_memory())
    if predicted is not None:
        more["predicted"] = str(job.folder / f"predicted{time.monotonic_ns()}.npz")
        sp.save_npz(more["predicted"], sp.csr_matrix(predicted))
    if probabilities is not None:
        more["probabilities"] = str(job.folder / f"probabilities{time.monotonic_ns()}.npy")
        np.save(more["probabilities"], probabilities)
    job.report(point, labels, model_bytes, **more)


def target():
    """Return y as the peer takes it: the indicator, or class labels."""
    return job.Y.indices if settings["classes"] else job.Y


def said(y):
    """Return predicted class labels as an indicator, and an indicator as it is."""
    if y.ndim == 2:
        return sp.csr_matrix(y)
    return sp.csr_matrix((np.ones(len(y)), y, np.arange(len(y) + 1)), shape=(len(y), job.Y.shape[1]))


def bytes_of(model):
    """Return the bytes of the arrays of a fitted SlideClassifier."""
    direct = model.direct_coef_
    arrays = [*model.coefs_, *model.intercepts_, direct.data, direct.indices]
    return sum(array.nbytes for array in arrays)


def slide():
    """SlideClassifier; the point tells what the data chose."""
    from sklearn_slide import SlideClassifier

    y = target()
    # a few rows compile the kernels, but for those that are only called for more of them
    start, few = time.perf_counter(), min(job.X.shape[0], 2500)
    small = SlideClassifier((8,), n_jobs=THREADS, random_state=0).fit(job.X[:few], y[:few])
    small.predict_top_k(job.X[:K], scores="probability")
    small.predict(job.X[:K])
    job.answer(compile_seconds=time.perf_counter() - start)
    with job.training():
        model = SlideClassifier(n_jobs=THREADS, random_state=settings["seed"]).fit(job.X, y)
    ranking = Ranking()
    with ranking:
        labels, _ = model.predict_top_k(job.X_test, K)
    _, probabilities = model.predict_top_k(job.X_test, K, scores="probability")
    scores = model.validation_scores_
    kept = "all epochs"
    if scores is not None:
        best = len(scores) - 1 - int(np.argmax(scores[::-1]))
        kept = f"epoch {best}" if best else "first weights"
    kept += f", {model.n_ridge_axes_} axes of ridge regression" if model.n_ridge_axes_ else ""
    report(kept, labels, bytes_of(model), ranking, said(model.predict(job.X_test)), probabilities)


def first_weights():
    """SlideClassifier before its first step of training, for which there is no parameter."""
    from sklearn_slide import SlideClassifier
    from sklearn_slide._trainer import Trainer, TrainingSettings

    class FirstWeights(SlideClassifier):
        def _train(self, model, samples, *others):
            Trainer(model, samples, TrainingSettings.of(self))  # it lets the model know what it has seen
            self._take(model)
            return 0

    y, few = target(), 1000
    start = {"early_stopping": False, "n_jobs": THREADS, "random_state": settings["seed"]}
    FirstWeights((8,), **start).fit(job.X[:few], y[:few]).predict_top_k(job.X[:K])
    with job.training():
        model = FirstWeights(**start).fit(job.X, y)
    ranking = Ranking()
    with ranking:
        labels, _ = model.predict_top_k(job.X_test, K)
    report("first weights", labels, bytes_of(model), ranking)


def train_tree(X, Y, seed):
    """Train a tree of PECOS as ``python -m pecos.xmc.xlinear.train`` does."""
    from pecos.xmc import Indexer, LabelEmbeddingFactory
    from pecos.xmc.xlinear.model import XLinearModel

    embedding = LabelEmbeddingFactory.create(Y, X, method="pifa")
    clusters = Indexer.gen(embedding, nr_splits=16, max_leaf_size=100, seed=seed, threads=THREADS)
    return XLinearModel.train(X, Y.tocsc(), C=clusters, threads=THREADS, nr_splits=16, threshold=0.1)


def pecos():
    """PECOS XR-Linear: one tree, and then three, and one with a threshold from rows that are set aside."""
    from pecos.utils.smat_util import CsrEnsembler

    def predict(model, X):
        return model.predict(X, beam_size=10, only_topk=SCORED, threads=THREADS).tocsr()

    train_tree(job.X[:K], job.Y[:K], 0)  # loads what is loaded at the first step
    parts, size, ranking = [], 0, Ranking()
    for seed in range(settings["trees"]):
        with job.training():
            model = train_tree(job.X, job.Y, seed)
        model.save(str(job.folder / f"tree{seed}"))
        size += folder_bytes(job.folder / f"tree{seed}")
        with ranking:
            parts.append(predict(model, job.X_test))
            scores = CsrEnsembler.average(*parts).tocsr() if seed else parts[0]
        if seed != 1:
            report(f"{seed + 1} trees", rank_sparse(scores), size, ranking)
    if settings["trees"] == 1:
        return
    order = np.random.RandomState(7).permutation(job.X.shape[0])
    held_out, rest = np.split(order, [min(1000, job.X.shape[0] // 10)])
    job.restart()
    with job.training():
        model = train_tree(job.X[rest], job.Y[rest], 0)
        threshold = best_threshold(job.Y[held_out], predict(model, job.X[held_out]))
    report("threshold", rank_sparse(parts[0]), size, ranking, parts[0] > threshold)


def omikuji():
    """Parabel, three trees, as ``omikuji train`` and ``omikuji test`` have it; one row a call."""
    import omikuji
    from omikuji import ffi, lib

    path = job.folder / "train.txt"
    job.write_training_rows(path)
    pool = lib.init_omikuji_thread_pool(THREADS)
    data = ffi.gc(
        lib.load_omikuji_data_set(ffi.new("char[]", str(path).encode()), pool), lib.free_omikuji_data_set
    )
    with job.training():
        model = omikuji.Model(lib.train_omikuji_model(data, omikuji.Model.default_hyper_param(), pool))
    model.save(str(job.folder / "trees"))
    labels, ranking = [], Ranking()
    with ranking:
        for features, values in zip(label_rows(job.X_test), value_rows(job.X_test), strict=True):
            pairs = list(zip(features, values, strict=True))
            labels.append([label for label, _ in model.predict(pairs, top_k=K)])
    report("3 trees", labels, folder_bytes(job.folder / "trees"), ranking)


def value_rows(X):
    """Return the list of stored values of each row of a CSR matrix."""
    return [part.tolist() for part in np.split(X.data, X.indptr[1:-1])]


def neighbours():
    """Nearest neighbours: the labels of the ten rows with the largest cosine, weighted by it."""
    from sklearn.neighbors import NearestNeighbors

    with job.training():
        model = NearestNeighbors(n_neighbors=min(10, job.X.shape[0]), metric="cosine").fit(job.X)
    labels, ranking = [], Ranking()
    with ranking:
        for start in range(0, job.X_test.shape[0], BLOCK):
            distances, rows = model.kneighbors(job.X_test[start : start + BLOCK])
            starts = np.arange(0, rows.size + 1, rows.shape[1])
            near = sp.csr_matrix(
                ((1 - distances).ravel(), rows.ravel(), starts), shape=(len(rows), job.X.shape[0])
            )
            labels += rank_sparse((near @ job.Y).tocsr())
    arrays = [array for M in (job.X, job.Y) for array in (M.data, M.indices, M.indptr)]
    report("10 rows", labels, sum(array.nbytes for array in arrays), ranking)


def centroids():
    """X' Y with columns of length 1: the cosine between a row and the sum of the rows of a label."""
    with job.training():
        sums = sp.csc_matrix(job.X.T @ job.Y)
        lengths = np.sqrt(np.bincount(column_of(sums), sums.data**2, sums.shape[1]))
        sums.data /= lengths[column_of(sums)]
        sums = sums.tocsr()
    labels, ranking = [], Ranking()
    with ranking:
        for start in range(0, job.X_test.shape[0], BLOCK):
            labels += rank_sparse((job.X_test[start : start + BLOCK] @ sums).tocsr())
    report("centroids", labels, sum(a.nbytes for a in (sums.data, sums.indices, sums.indptr)), ranking)


def column_of(M):
    """Return the column of each stored value of a CSC matrix."""
    return np.repeat(np.arange(M.shape[1]), np.diff(M.indptr))


def linear():
    """LogisticRegression of up to 1,000 labels, one-vs-rest where rows have several; else centroids."""
    from joblib import parallel_backend
    from sklearn.linear_model import LogisticRegression
    from sklearn.multiclass import OneVsRestClassifier

    n_labels = job.Y.shape[1]
    if n_labels > 1000:
        centroids()
        return
    X, X_test = job.X, job.X_test
    if X.nnz > X.shape[0] * X.shape[1] / 2:
        X, X_test = X.toarray(), X_test.toarray()
    model = LogisticRegression()
    with parallel_backend("threading", n_jobs=THREADS), job.training():
        if not settings["classes"]:
            model = OneVsRestClassifier(model, n_jobs=THREADS)
        model.fit(X, target())
    ranking = Ranking()
    with ranking:
        scores = model.predict_proba(X_test)
        labels = model.classes_[rank(scores)] if settings["classes"] else rank(scores)
    report("LogisticRegression", labels, 8 * n_labels * X.shape[1], ranking, said(model.predict(X_test)))


job = Job()
settings = job.settings
globals()[settings["kind"]]()
