"""sklearn-slide: a fit from the start for each point, of a part of the rows or of one epoch and more."""

import time

import numpy as np
import scipy.sparse as sp
from job import THREADS, Job

from sklearn_slide import SlideClassifier

job = Job()
start = time.perf_counter()
rng = np.random.default_rng(0)
X = sp.random(100, 20, density=0.2, format="csr", random_state=rng, dtype=np.float32)
Y = sp.csr_matrix(rng.random((100, 50)) < 0.05, dtype=np.float32)
small = {**job.settings, "hidden_layer_sizes": (8,), "n_active": 10, "max_iter": 1}
SlideClassifier(**small, n_jobs=THREADS, random_state=0).fit(sp.csr_matrix(X), Y).predict_top_k(
    sp.csr_matrix(X)
)
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
