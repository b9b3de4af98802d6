"""A stream of chunks: of the samples seen only direct weights are kept, and the ranking gets better."""

import gc
import tracemalloc

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.feature_extraction.text import HashingVectorizer

from sklearn_slide import LSH, SlideClassifier
from sklearn_slide.datasets import make_xmc_classification
from sklearn_slide.metrics import precision_at_k

N_CHUNKS, SIZE, N_LABELS = 10, 500, 2000


@pytest.fixture(scope="module")
def documents():
    """Return texts whose words are the features of generated samples, and their labels."""
    X, Y = make_xmc_classification((N_CHUNKS + 1) * SIZE, 3000, N_LABELS, random_state=0)
    return [" ".join(f"w{word}" for word in row) for row in np.split(X.indices, X.indptr[1:-1])], Y


def bytes_of_arrays():
    """Return the traced bytes of NumPy's arrays, without Python's objects, such as kernels loaded late."""
    of_arrays = tracemalloc.DomainFilter(inclusive=True, domain=np.lib.tracemalloc_domain)
    return sum(trace.size for trace in tracemalloc.take_snapshot().filter_traces([of_arrays]).traces)


@pytest.mark.parametrize(
    "params",
    [{}, {"solver": "adam", "learning_rate_init": 0.01}, {"n_jobs": 2}],
    ids=["adagrad", "adam", "threads"],
)
def test_a_stream_of_chunks(documents, params, tmp_path):
    texts, Y = documents
    (tmp_path / "train.txt").write_text("\n".join(texts[:-SIZE]))
    vectorizer = HashingVectorizer(n_features=2**12, dtype=np.float32)
    X_test, Y_test = vectorizer.transform(texts[-SIZE:]), Y[-SIZE:]
    model = SlideClassifier((32,), n_active=100, lsh=LSH(rehash_interval=700), random_state=0, **params)
    model.partial_fit(X_test[:20], Y_test[:20]).predict_top_k(X_test[:20], 1)  # loads the kernels
    model = clone(model)
    in_use, peaks, scores = [], [], []
    tracemalloc.start()
    try:
        with open(tmp_path / "train.txt") as file:
            for start in range(0, N_CHUNKS * SIZE, SIZE):
                X = vectorizer.transform(next(file) for _ in range(SIZE))
                chunk_bytes = X.data.nbytes + X.indices.nbytes
                model.partial_fit(X, Y[start : start + SIZE])
                pair_bytes = 8 * len(model._model.network.direct.labels)
                # new lists are made beside the old ones; threads that rank hold blocks at once, or in turn
                peaks.append(tracemalloc.get_traced_memory()[1] - 2 * pair_bytes)
                scores.append(precision_at_k(Y_test, model.predict_top_k(X_test, 1)[0], k=1))
                del X
                gc.collect()
                in_use.append(bytes_of_arrays() - pair_bytes)
                tracemalloc.reset_peak()
    finally:
        tracemalloc.stop()
    assert in_use[1] > 4 * 32 * (2**12 + N_LABELS)  # the weights are traced
    # of the eight chunks after the second not even the bytes of one are kept, but for direct weights
    assert in_use[-1] - in_use[1] < chunk_bytes
    # and what finds new ones does not take those of two
    assert max(peaks[2:]) - peaks[1] < 2 * chunk_bytes
    assert scores[-1] > 1.5 * scores[0]
