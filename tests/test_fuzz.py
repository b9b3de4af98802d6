"""Generated tasks of every shape and kind: no crash, no invalid label, and the ranking of dense products."""

import os

import numpy as np
import pytest
import reference
import scipy.sparse as sp
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose

from sklearn_slide import LSH, SlideClassifier
from sklearn_slide._core import retrieval as retrieval_module

N_EXAMPLES = int(os.environ.get("SKLEARN_SLIDE_FUZZ_EXAMPLES", "100"))
CONTAINERS = [
    sp.csr_matrix,
    sp.csr_array,
    sp.csc_matrix,
    sp.coo_array,
    sp.lil_matrix,
    lambda matrix: matrix.toarray(),
]

# What kernels are compiled for: each part in one of them at least, for not all of them together
AUTO, TABLES, UNIFORM = "auto", {"lsh": 1.0}, {"uniform": 1.0}
KINDS = [
    {"hidden_layer_sizes": (5,), "activation": "relu"},
    {"hidden_layer_sizes": (1,), "direct_limit": 1, "selection": "top_k"},
    {"hidden_layer_sizes": (8, 3), "activation": "tanh", "family": "dwta", "selection": "threshold"},
    {"hidden_layer_sizes": (), "family": "minhash", "negatives": TABLES},
    {"hidden_layer_sizes": (5,), "activation": "logistic", "direct_limit": 0, "solver": "adam"},
    {"hidden_layer_sizes": (5,), "loss": "softmax", "family": "wta"},
    {"hidden_layer_sizes": (5,), "loss": "sigmoid+softmax", "label_weight": [0.1, 1, 10]},
    {"hidden_layer_sizes": (5,), "label_weight": [0, 1], "negatives": UNIFORM},
]
DEFAULTS = {
    "loss": "sigmoid",
    "activation": "identity",
    "selection": "vanilla",
    "solver": "adagrad",
    "direct_limit": 1000,
    "negatives": AUTO,
    "family": "simhash",
}


def with_indices(matrix, dtype):
    """Give a CSR or CSC matrix index arrays of the dtype."""
    if sp.issparse(matrix) and matrix.format in ("csr", "csc"):
        matrix.indices, matrix.indptr = matrix.indices.astype(dtype), matrix.indptr.astype(dtype)
    return matrix


@st.composite
def tasks(draw):
    """Draw X, Y and parameters; some rows and columns are empty."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    n_samples, n_features, n_labels = (draw(st.integers(1, most)) for most in (12, 15, 40))
    n_labels = max(n_labels, 2)
    X = rng.normal(size=(n_samples, n_features)) * (
        rng.random((n_samples, n_features)) < draw(st.sampled_from([0.0, 0.1, 0.5, 1.0]))
    )
    Y = rng.random((n_samples, n_labels)) < draw(st.sampled_from([0.0, 0.05, 0.3, 1.0]))
    x_dtype = draw(st.sampled_from([np.float32, np.float64, np.int32]))
    y_dtype = draw(st.sampled_from([np.uint8, np.int64, np.float64, bool]))
    width = draw(st.sampled_from([np.int32, np.int64]))
    x = with_indices(draw(st.sampled_from(CONTAINERS))(sp.csr_matrix((4 * X).astype(x_dtype))), width)
    y = with_indices(draw(st.sampled_from(CONTAINERS))(sp.csr_matrix(Y.astype(y_dtype))), width)
    params = DEFAULTS | draw(st.sampled_from(KINDS))
    lsh = LSH(
        params["family"],
        n_tables=draw(st.integers(1, 5)),
        bucket_size=draw(st.integers(1, 4)),
        selection=params["selection"],
        rehash_interval=draw(st.integers(1, 9)),
    )
    params = {name: value for name, value in params.items() if name not in ("family", "selection")} | {
        "lsh": lsh,
        "n_active": draw(st.sampled_from([1, 3, 8, 100, "auto", None])),
        "n_jobs": draw(st.sampled_from([None] * 11 + [2])),
        "random_state": draw(st.integers(0, 9)),
    }
    if "label_weight" in params:
        params["label_weight"] = rng.permutation(np.resize(params["label_weight"], n_labels))
    if params["hidden_layer_sizes"] == (5,):
        params["n_estimators"] = draw(st.sampled_from([1, 1, 2, 3]))
    return x, y, params, draw(st.integers(1, n_labels)), draw(st.booleans())


@pytest.fixture(autouse=True, scope="module")
def of_any_number():
    """Retrieve however few labels there are."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(retrieval_module, "MIN_LABELS", 0)
        yield


@given(tasks())
@settings(max_examples=N_EXAMPLES, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
def test_generated_tasks(task):
    X, Y, params, k, partial = task
    model = SlideClassifier(max_iter=2, **params)
    model.partial_fit(X, Y) if partial else model.fit(X, Y)
    dense = sp.csr_matrix(X).toarray().astype(float)
    hidden = dense
    for coef, intercept in zip(model.coefs_[:-1], model.intercepts_[:-1], strict=True):
        hidden = reference.ACTIVATIONS[params["activation"]][0](hidden @ coef + intercept)
    expected = hidden @ model.coefs_[-1] + model.intercepts_[-1] + dense @ model.direct_coef_.toarray()
    assert np.isfinite(expected).all()
    tolerance = {"rtol": 1e-3, "atol": 1e-3 * max(1.0, abs(expected).max())}
    assert_allclose(model.decision_function(X), expected, **tolerance)
    for retrieval in ("exact", "lsh"):
        labels, scores = model.set_params(retrieval=retrieval).predict_top_k(X, k)
        assert labels.shape == scores.shape == (len(dense), k)
        assert labels.min() >= 0
        assert labels.max() < Y.shape[1]
        assert all(len(set(row)) == k for row in labels)
        assert_allclose(scores, np.take_along_axis(expected, labels, axis=1), **tolerance)
        if retrieval == "exact":
            assert_allclose(scores, reference.top_k(expected, k)[1], **tolerance)
    assert model.predict(X).shape == Y.shape
