"""scikit-learn: MLPClassifier, by partial_fit on chunks of rows since its y is dense; one-vs-rest models."""

import math
import time

import numpy as np
from job import THREADS, Job, rank
from joblib import parallel_backend
from sklearn.linear_model import LogisticRegression
from sklearn.multiclass import OneVsRestClassifier
from sklearn.neural_network import MLPClassifier
from sklearn.svm import LinearSVC

job = Job()
settings = dict(job.settings)
n_samples, n_labels = job.Y.shape


def chunks(n_rows, n_columns):
    """Return slices of some 64 million cells."""
    size = max(1, 64_000_000 // n_columns)
    return [slice(start, start + size) for start in range(0, n_rows, size)]


def best_labels(scores_of):
    parts = chunks(job.X_test.shape[0], n_labels)
    return np.vstack([rank(np.asarray(scores_of(job.X_test[part]))) for part in parts])


def train_network():
    epochs, next_point, done = settings.pop("epochs"), settings.pop("first_point"), 0
    model = MLPClassifier(random_state=0, **settings)
    rng = np.random.default_rng(0)
    # a few batches at a time, so that there are points within an epoch
    size = min(chunks(n_samples, n_labels)[0].stop, 10 * model.get_params()["batch_size"])
    while done < epochs * n_samples:
        order = rng.permutation(n_samples)
        for start in range(0, n_samples, size):
            with job.training():
                rows = np.sort(order[start : start + size])
                rng.shuffle(rows)
                y = job.Y[rows].toarray().astype(np.int64)
                model.partial_fit(job.X[rows], y, classes=np.arange(n_labels) if not done else None)
            done += len(rows)
            last = done >= epochs * n_samples
            if job.seconds >= next_point and not last:
                report(model, done / n_samples)
                next_point = max(job.seconds, next_point) * 4 / 3
            if job.seconds > 0.9 * job.limit and not last:
                report(model, done / n_samples)
                job.answer(skip=f"stopped at {job.limit:.0f} s, after {done / n_samples:.2f} epochs")
                raise SystemExit
    report(model, epochs)


def report(model, epochs):
    size = sum(array.nbytes for array in model.coefs_ + model.intercepts_)
    job.report(f"{epochs:.2f} epochs", best_labels(model.predict_proba), size, epochs=math.ceil(epochs))


def train_one_vs_rest():
    kinds = {"LinearSVC": LinearSVC, "LogisticRegression": LogisticRegression}
    estimator = kinds[settings.pop("estimator")](**settings)
    # liblinear lets go of the interpreter's lock, so that threads serve, without copies of X
    with parallel_backend("threading", n_jobs=THREADS):
        # judge by some labels whether all of them would be within the limit
        probes, start = 0, time.perf_counter()
        for labels in np.random.default_rng(0).permutation(n_labels)[: 16 * THREADS].reshape(-1, THREADS):
            OneVsRestClassifier(estimator, n_jobs=THREADS).fit(job.X, job.Y[:, labels])
            probes += THREADS
            if time.perf_counter() - start > job.limit / 20:
                break
        expected = (time.perf_counter() - start) * n_labels / probes
        weights = 8 * n_labels * job.X.shape[1]
        if expected > job.limit:
            job.answer(
                skip=f"over the limit of {job.limit:.0f} s: {n_labels:,} labels would take about "
                f"{expected / 3600:.1f} hours and {weights / 2**30:.1f} GiB, judged by {probes} of them"
            )
            raise SystemExit
        with job.training():
            model = OneVsRestClassifier(estimator, n_jobs=THREADS).fit(job.X, job.Y)
    job.report("one fit", best_labels(model.decision_function), weights)


train_network() if "hidden_layer_sizes" in settings else train_one_vs_rest()
