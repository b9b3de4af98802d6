"""Common mistakes in X and y: each is refused where it comes in, with the way out, and nothing crashes."""

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from helpers import make

from sklearn_slide import SlideClassifier
from sklearn_slide.metrics import label_propensities, precision_at_k, recall_at_k

X = sp.csr_matrix(np.eye(4, dtype=np.float32)[[0, 1, 2] * 40])
Y = sp.csr_matrix(np.eye(3, dtype=int)[[0, 1, 2] * 40])
TRAINING = ["fit", "partial_fit", "estimate_memory"]
PREDICTING = ["predict", "predict_top_k", "predict_proba", "predict_log_proba", "decision_function"]


@pytest.fixture(scope="module")
def fitted():
    return make().fit(X, Y)


def spoiled(matrix, kind, index):
    """Return a copy of a CSR matrix in a format, one of whose entries lies in column index."""
    matrix = matrix.tocsr(copy=True)
    if kind == "csc":
        matrix = matrix.tocsc()
        matrix.indices = matrix.indices.copy()
        matrix.indices[0] = 120 + index - matrix.shape[1] if index >= 0 else index  # a row number
        return matrix
    matrix.indices[5] = index
    if kind == "coo":
        good = matrix.copy()
        good.indices[5] = 0
        coo = good.tocoo()
        coo.col[5] = index
        return coo
    return matrix


@pytest.mark.parametrize("kind", ["csr", "csc", "coo"])
@pytest.mark.parametrize("index", [-1, -(10**6), 4, 10**9])
def test_an_index_of_x_outside_its_shape(fitted, kind, index):
    bad = spoiled(X, kind, index)
    for method in TRAINING:
        with pytest.raises(ValueError, match=r"X has an entry in (row|column) .* go from 0 to (3|119)"):
            getattr(make(), method)(bad, Y)
    for method in PREDICTING:
        with pytest.raises(ValueError, match=r"X has an entry in (row|column) .* go from 0 to (3|119)"):
            getattr(fitted, method)(bad)


@pytest.mark.parametrize("kind", ["csr", "csc", "coo"])
@pytest.mark.parametrize("index", [-1, 3, 10**9])
def test_an_index_of_y_outside_its_shape(fitted, kind, index):
    bad = spoiled(Y, kind, index)
    for method in TRAINING:
        with pytest.raises(ValueError, match=r"y has an entry in (row|column) .* go from 0 to (2|119)"):
            getattr(make(), method)(X, bad)
    with pytest.raises(ValueError, match=r"y has an entry in"):
        make(early_stopping=True).fit(X, Y, X_val=X, y_val=bad)
    top = np.zeros((120, 1), dtype=int)
    for metric in (precision_at_k, recall_at_k):
        with pytest.raises(ValueError, match=r"y_true has an entry in"):
            metric(bad, top, k=1)
        with pytest.raises(ValueError, match=r"y_pred has an entry in"):
            metric(Y, bad, k=1)
    with pytest.raises(ValueError, match=r"y_train has an entry in"):
        label_propensities(bad)


def test_ids_that_are_counted_from_1():
    ones = X.copy()
    ones.indices = np.array([1, 2, 4] * 40, dtype=np.int32)
    with pytest.raises(ValueError, match="counted from 1"):
        make().fit(ones, Y)
    ones.indices = np.array([0, 2, 4] * 40, dtype=np.int32)  # a 0 tells that they are not
    with pytest.raises(ValueError, match=r"go from 0 to 3\. Give the right"):
        make().fit(ones, Y)


@pytest.mark.parametrize("indptr", [[0, 1, 0], [0, 2, 9], [1, 1, 2], [0, 1]])
def test_pointers_that_do_not_fit(fitted, indptr):
    bad = sp.csr_matrix((2, 4), dtype=np.float32)
    bad.data, bad.indices = np.ones(2, dtype=np.float32), np.zeros(2, dtype=np.int32)
    bad.indptr = np.array(indptr, dtype=np.int32)
    for method in PREDICTING:
        with pytest.raises(ValueError, match="indptr"):
            getattr(fitted, method)(bad)


@pytest.mark.parametrize("as_array", [True, False])
def test_sound_matrices_of_every_format_pass(fitted, as_array):
    expected = fitted.decision_function(X)
    for kind in ("csr", "csc", "coo", "lil", "dok", "bsr", "dia"):
        x = sp.csr_array(X) if as_array else X
        np.testing.assert_array_equal(fitted.decision_function(x.asformat(kind)), expected)


LISTS = [
    [["a", "b"], ["c"]] * 60,
    [["a", "b"], ["c", "d"]] * 60,
    [[1, 2], [3]] * 60,
    [("a", "b"), ("c",)] * 60,
    [{"a"}, {"b", "c"}] * 60,
    [frozenset("ab")] * 120,
    [{"a": 1.0}] * 120,
    np.array([["a", "b"]] * 120),
    np.array([["a"], ["b", "c"]] * 60, dtype=object),
]


@pytest.mark.parametrize("y", LISTS, ids=range(len(LISTS)))
def test_lists_of_labels_are_pointed_to_the_binarizer(y):
    for method in TRAINING:
        with pytest.raises(ValueError, match=r"MultiLabelBinarizer\(sparse_output=True\)"):
            getattr(make(), method)(X, y)


@pytest.mark.parametrize("separator", [",", ";", "|"])
def test_labels_that_are_joined_in_one_text(separator):
    joined = [separator.join(labels) for labels in ("ab", "bc", "d")] * 40
    with pytest.warns(UserWarning, match="each of them is taken as one class"):
        model = make().fit(X, joined)
    assert len(model.classes_) == 3
    make().fit(X, ["New York, NY", "Oslo", "Rome"] * 40)  # no warning: most have none


@pytest.mark.parametrize("values", [2 * Y, Y.toarray() - 1, 2 * Y.toarray() - 1, 0.5 * Y])
def test_indicators_of_other_values(values):
    with pytest.raises(ValueError, match=r"Got a 2-D y that holds -?[0-9.]+\. .*\(y > 0\)\.astype\(int\)"):
        make().fit(X, values)


@pytest.mark.skipif(
    sp.coo_array(np.ones(2)).ndim != 1, reason="this SciPy has no sparse arrays of one dimension"
)
def test_a_sparse_y_of_one_dimension():
    with pytest.raises(ValueError, match=r"2-D indicator.*Got shape \(120,\)"):
        make().fit(X, sp.coo_array(np.arange(120) % 3))


TEXTS = [
    ["a text"] * 120,
    ("a text",) * 120,
    np.array(["a text"] * 120),
    np.array(["a text"] * 120, dtype=object),
    pd.Series(["a text"] * 120),
    [["a", "text"]] * 120,
]


@pytest.mark.parametrize("texts", TEXTS, ids=range(len(TEXTS)))
def test_texts_are_pointed_to_the_vectorizer(fitted, texts):
    for method in TRAINING:
        with pytest.raises(ValueError, match="TfidfVectorizer"):
            getattr(SlideClassifier(), method)(texts, Y)
    for method in PREDICTING:
        with pytest.raises(ValueError, match="TfidfVectorizer"):
            getattr(fitted, method)(texts)
