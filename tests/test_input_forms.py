"""Common mistakes in X and y: each is refused where it comes in, with the way out, and nothing crashes."""

from io import BytesIO

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from helpers import make

from sklearn_slide import SlideClassifier
from sklearn_slide.datasets import dump_xmc_file
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
    if kind == "lil":
        matrix = matrix.tolil()
        matrix.rows[5] = [index]
        return matrix
    matrix.indices[5] = index
    if kind == "coo":
        good = matrix.copy()
        good.indices[5] = 0
        coo = good.tocoo()
        coo.col[5] = index
        return coo
    return matrix


@pytest.mark.parametrize("kind", ["csr", "csc", "coo", "lil"])
@pytest.mark.parametrize("index", [-1, -(10**6), 4, 10**9])
def test_an_index_of_x_outside_its_shape(fitted, kind, index):
    bad = spoiled(X, kind, index)
    for method in TRAINING:
        with pytest.raises(ValueError, match=r"X has an entry in (row|column) .* go from 0 to (3|119)"):
            getattr(make(), method)(bad, Y)
    for method in PREDICTING:
        with pytest.raises(ValueError, match=r"X has an entry in (row|column) .* go from 0 to (3|119)"):
            getattr(fitted, method)(bad)


@pytest.mark.parametrize("kind", ["csr", "csc", "coo", "lil"])
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
    with pytest.raises(ValueError, match=r"y has an entry in"):
        fitted.score(X, bad)
    for name, pair in (("X", (bad, Y)), ("Y", (X, bad))):
        with pytest.raises(ValueError, match=rf"{name} has an entry in"):
            dump_xmc_file(*pair, BytesIO())


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


@pytest.mark.parametrize(("columns", "values"), [([1, 2, 3], [1.0]), ([1], [1.0] * 100)])
def test_lists_of_columns_and_values_of_two_lengths(fitted, columns, values):
    bad = sp.lil_matrix((2, 4), dtype=np.float32)
    bad.rows[0], bad.data[0] = columns, values
    for method in PREDICTING:
        with pytest.raises(ValueError, match=r"X is a lil matrix .* and \d+ values"):
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
    pd.DataFrame({"words": ["a text"] * 120}),
    pd.DataFrame({"number": [1.0] * 120, "words": ["a text"] * 120}),
    [[1.0, "a text"]] * 120,
]


@pytest.mark.parametrize("texts", TEXTS, ids=range(len(TEXTS)))
def test_texts_are_pointed_to_the_vectorizer(fitted, texts):
    for method in TRAINING:
        with pytest.raises(ValueError, match="TfidfVectorizer"):
            getattr(SlideClassifier(), method)(texts, Y)
    for method in PREDICTING:
        with pytest.raises(ValueError, match="TfidfVectorizer"):
            getattr(fitted, method)(texts)


@pytest.mark.parametrize(
    "y",
    [
        np.array(["a", None, "b"] * 40, dtype=object),
        np.array(["a", 1, "b"] * 40, dtype=object),
        pd.Series(["a", pd.NA, "b"] * 40, dtype="string"),
    ],
    ids=range(3),
)
def test_classes_that_cannot_be_sorted(y):
    for method in TRAINING:
        parameters = {"classes": ["a", "b"]} if method == "partial_fit" else {}
        with pytest.raises(
            ValueError, match=r"y must (hold labels of one kind|have no missing|.*no missing)"
        ):
            getattr(make(), method)(X, y, **parameters)


@pytest.mark.parametrize("y", [np.arange(120) % 3, Y])
@pytest.mark.parametrize(
    ("classes", "message"),
    [
        ({0, 1, 2}, "must be 1-D.*Give a list"),
        ((c for c in range(3)), "must be 1-D.*Give a list"),
        ([0, 1, np.nan], "must not hold NaN"),
        (["a", 1, None], "must hold labels of one kind"),
    ],
)
def test_classes_that_are_no_list_of_labels(y, classes, message):
    with pytest.raises(ValueError, match=f"classes {message}"):
        make().partial_fit(X, y, classes=classes)


@pytest.mark.parametrize("dtype", [np.float16, object, "category"])
def test_indicators_of_types_that_scipy_does_not_know(dtype):
    y = pd.DataFrame(Y.toarray()).astype(dtype) if dtype == "category" else Y.toarray().astype(dtype)
    predicted = make().fit(X, y).predict(X)
    np.testing.assert_array_equal(predicted, make().fit(X, Y.toarray()).predict(X))
    assert predicted.dtype == (np.float16 if dtype == np.float16 else np.int64)
    file = BytesIO()
    dump_xmc_file(X, y, file)
    assert file.getvalue().startswith(b"120 4 3\n0 0:1\n1 1:1\n2 2:1\n")


NAMES = ["news", "art", "music"]


def frame(names):
    """Return Y as a DataFrame with the columns in this order."""
    return pd.DataFrame(Y.toarray(), columns=NAMES)[names]


def test_columns_of_a_frame_in_another_order():
    model = make().partial_fit(X, frame(NAMES)).partial_fit(X, frame(NAMES).assign(zoo=0))
    np.testing.assert_array_equal(model.classes_, range(4))
    before = model.decision_function(X)
    for y in (
        frame(["art", "news", "music"]).assign(zoo=0),
        frame(NAMES).assign(zoo=0, ape=0)[[*NAMES, "ape", "zoo"]],
    ):
        with pytest.raises(ValueError, match="columns of y have other names, or another order"):
            model.partial_fit(X, y)
    np.testing.assert_array_equal(model.decision_function(X), before)
    with pytest.raises(ValueError, match="columns of y have other names, or another order"):
        make(warm_start=True).fit(X, frame(NAMES)).fit(X, frame(NAMES[::-1]))


def test_columns_of_a_frame_and_names_of_classes():
    for y, classes in ((frame(NAMES), sorted(NAMES)), (frame(NAMES[::-1]), NAMES)):
        with pytest.raises(ValueError, match="columns of y have other names, or another order"):
            make().partial_fit(X, y, classes=classes)
    model = make().partial_fit(X, Y, classes=NAMES)
    with pytest.raises(ValueError, match="columns of y have other names, or another order"):
        model.partial_fit(X, frame(NAMES[::-1]))
    y = frame(NAMES[::-1])
    for _ in range(10):
        model.partial_fit(X, y, classes=y.columns)
    assert model.predict_top_k(X[:3], k=1)[0].ravel().tolist() == NAMES
    # other names than those of the columns are a choice
    assert make().partial_fit(X, frame(NAMES), classes=["a", "b", "c"]).classes_.tolist() == ["a", "b", "c"]
