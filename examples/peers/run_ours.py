"""sklearn-slide: a fit from the start for each point, of a part of the rows or of one epoch and more."""

import time

import numpy as np
from job import THREADS, Job

from sklearn_slide import SlideClassifier

job = Job()
start = time.perf_counter()
# a few rows with all their labels: which kernels there are to compile depends on the number of labels
small = {**job.settings, "hidden_layer_sizes": (8,), "max_iter": 1}
model = SlideClassifier(**small, n_jobs=THREADS, random_state=0).fit(job.X[:100], job.Y[:100])
model.predict_top_k(job.X[:100])
job.answer(compile_seconds=time.perf_counter() - start)

n_samples = job.X.shape[0]
max_iter = SlideClassifier(**job.settings).max_iter
order = np.random.RandomState(0).permutation(n_samples)
points = [(n_samples * parts // 64, 1) for parts in (2, 3, 4, 6, 8, 12, 16, 32)]
points += [(n_samples, epochs) for epochs in range(1, max_iter + 1)]
rate = 0
for n_rows, epochs in points:
    if rate * n_rows * epochs > job.limit:
        job.answer(
            skip=f"over the limit of {job.limit:.0f} s: {n_rows / n_samples:.3g} of the rows, {epochs} "
            f"epochs, would take about {rate * n_rows * epochs:.0f} s"
        )
        break
    rows = order[:n_rows]
    X, Y = (job.X, job.Y) if n_rows == n_samples else (job.X[rows], job.Y[rows])
    settings = {**job.settings, "max_iter": epochs}
    job.restart()
    with job.training():
        model = SlideClassifier(**settings, n_jobs=THREADS, random_state=0).fit(X, Y)
    rate = job.seconds / (n_rows * epochs)
    labels, _ = model.predict_top_k(job.X_test, k=5)
    pairs = model.direct_coef_
    size = sum(array.nbytes for array in [*model.coefs_, *model.intercepts_, pairs.data, pairs.indices])
    name = f"{epochs} epochs" if n_rows == n_samples else f"{n_rows / n_samples:.3g} of the rows"
    job.report(name, labels, size)
