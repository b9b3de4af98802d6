"""Labels: which there are, and targets of every form against sets of labels."""

import pickle

import numpy as np
import pytest
import scipy.sparse as sp
from helpers import make
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.datasets import load_iris

from sklearn_slide import _fitting
from sklearn_slide._core.rows import Pattern
from sklearn_slide._labels import Labels, encode_classes, encode_indicator, is_multilabel

INDICATOR = np.array([[0, 1, 0], [1, 1, 0], [0, 0, 0]])
NAMES = np.array(["b", "a", "d", "a"])


def sets(pattern):
    """Return the labels of each row of a Pattern."""
    return [row.tolist() for row in np.split(pattern.indices, pattern.indptr[1:-1])]


@pytest.mark.parametrize("partial", [False, True])
@pytest.mark.parametrize("form", [np.asarray, sp.csr_matrix, sp.coo_array])
def test_the_labels_of_an_indicator_are_its_columns(partial, form):
    labels = Labels.find(form(INDICATOR), None, partial)
    assert_array_equal(labels.classes, [0, 1, 2])
    assert (len(labels), labels.multilabel, labels.sparse) == (3, True, form is not np.asarray)
    assert labels.dtype == INDICATOR.dtype


def test_the_labels_of_class_labels_are_sorted():
    labels = Labels.find(NAMES, None, partial=False)
    assert_array_equal(labels.classes, ["a", "b", "d"])
    assert (len(labels), labels.multilabel) == (3, False)
    given = Labels.find(NAMES, ["d", "c", "b", "a", "a"], partial=True)
    assert_array_equal(given.classes, ["a", "b", "c", "d"])
    with pytest.raises(ValueError, match="classes must be passed on the first call to partial_fit"):
        Labels.find(NAMES, None, partial=True)
    with pytest.raises(ValueError, match="Unknown label type: continuous"):
        Labels.find(np.linspace(0, 1, 5), None, partial=False)
    with pytest.raises(ValueError, match=r"y has 3 columns.*has 2\s+labels"):
        Labels.find(INDICATOR, [0, 1], partial=True)


def test_later_labels():
    labels = Labels.find(INDICATOR[:, :2], None, partial=False)
    assert labels.extend(INDICATOR[:, :2], None, partial=False).classes is labels.classes
    larger = labels.extend(INDICATOR, None, partial=True)
    assert_array_equal(larger.classes, [0, 1, 2])
    assert_array_equal(larger.places_of(labels), [0, 1])
    assert (len(labels), len(larger), larger.multilabel) == (2, 3, True)
    for y, partial in ((INDICATOR, False), (INDICATOR[:, :1].repeat(1, axis=1), True)):
        with pytest.raises(ValueError, match=r"columns|y is class labels"):
            labels.extend(y, None, partial)


def test_later_classes():
    labels = Labels.find(NAMES, None, partial=False)
    assert labels.extend(np.array(["a"]), None, partial=True).classes is labels.classes
    larger = labels.extend(np.array(["c"]), ["d", "c", "b", "a"], partial=True)
    assert_array_equal(larger.classes, ["a", "b", "c", "d"])
    places = larger.places_of(labels)
    assert_array_equal(places, [0, 1, 3])
    assert places.dtype == np.int32
    assert_array_equal(larger.classes[places], labels.classes)
    with pytest.raises(ValueError, match=r"not the same as on the last call.*nor all of them and more"):
        labels.extend(NAMES, ["a", "b"], partial=True)
    with pytest.raises(ValueError, match=r"y is a multi-label indicator, but .* fitted with class labels"):
        labels.extend(INDICATOR, None, partial=True)
    with pytest.raises(ValueError, match=r"y is class labels, but .* fitted with a multi-label indicator"):
        Labels.find(INDICATOR, None, partial=True).extend(NAMES, None, partial=True)


def test_what_is_told_of_y_stays_as_in_the_first_call():
    labels = Labels.find(sp.csr_matrix(INDICATOR, dtype=np.uint8), None, partial=False)
    later = labels.extend(INDICATOR.astype(float), None, partial=True)
    assert (later.sparse, later.dtype) == (True, np.uint8)


@pytest.mark.parametrize("n_labels", [2, 7, 300])
@pytest.mark.parametrize("form", [np.asarray, sp.csr_matrix, sp.csr_array, sp.csc_array, sp.coo_matrix])
@pytest.mark.parametrize("dtype", [bool, np.uint8, np.float64])
def test_an_indicator_and_back(n_labels, form, dtype):
    dense = (np.random.default_rng(n_labels).random((20, n_labels)) < 0.2).astype(dtype)
    y = form(dense)
    labels = Labels.find(y, None, partial=False)
    pattern = labels.encode(y)
    assert (pattern.indptr.dtype, pattern.indices.dtype) == (np.int64, np.int32)
    assert sets(pattern) == [np.flatnonzero(row).tolist() for row in dense]
    back = labels.indicator(pattern)
    assert sp.issparse(back) == sp.issparse(y)
    assert back.dtype == dtype
    assert_array_equal(back.toarray() if sp.issparse(back) else back, dense)


def test_stored_zeros_and_duplicates_of_an_indicator():
    y = sp.csr_array(([1, 1, 0, 1], [2, 0, 1, 1], [0, 3, 4]), shape=(2, 3))
    twice = sp.coo_array((np.ones(3), ([0, 0, 1], [1, 1, 2])), shape=(2, 3))
    assert sets(encode_indicator(y)) == [[0, 2], [1]]
    assert y.nnz == 4  # the caller's array is as it was
    twice = sp.csr_array((np.ones(3), np.array([1, 1, 2]), np.array([0, 2, 3])), shape=(2, 3))
    assert sets(encode_indicator(twice)) == [[1], [2]]


@pytest.mark.parametrize("value", [2, -1, 0.5, np.nan])
@pytest.mark.parametrize("form", [np.asarray, sp.csr_matrix])
def test_other_values_than_0_and_1(value, form):
    y = INDICATOR.astype(float)
    y[1, 1] = value
    with pytest.raises(ValueError, match=rf"y must be a binary indicator .*that holds .*{value}"):
        encode_indicator(form(y))


@pytest.mark.parametrize(
    "y", [NAMES, np.array([3, -1, 3]), np.array([0.0, 2.0]), np.array([True, False]), NAMES.astype(object)]
)
def test_class_labels_and_back(y):
    labels = Labels.find(y, None, partial=False)
    pattern = labels.encode(y)
    assert_array_equal(pattern.indptr, np.arange(len(y) + 1))
    assert (pattern.indptr.dtype, pattern.indices.dtype) == (np.int64, np.int32)
    assert_array_equal(labels.decode(pattern.indices), y)
    assert_array_equal(labels.decode(pattern.indices[:, np.newaxis]), y[:, np.newaxis])


def test_class_labels_that_are_not_known():
    with pytest.raises(ValueError, match=r"y holds 'd', which is not among the classes \['a', 'b'\]. Pass"):
        encode_classes(NAMES, np.array(["a", "b"]))
    with pytest.raises(ValueError, match=r"y holds 99, .* \[ 0,  1,  2, ..., 18, 19, 20\]"):
        encode_classes(np.array([4, 99]), np.arange(21))


def test_an_indicator_of_predictions():
    labels = Labels.find(INDICATOR.astype(np.int8), None, partial=False)
    pattern = Pattern(np.array([0, 1, 3]), np.array([2, 0, 1]))
    found = labels.indicator(pattern)
    assert_array_equal(found, [[0, 0, 1], [1, 1, 0]])
    assert found.dtype == np.int8


@pytest.mark.parametrize(
    ("y", "multilabel"),
    [
        (np.zeros(3), False),
        (np.zeros((3, 1)), False),
        (np.zeros((3, 2)), True),
        (sp.csr_matrix((3, 1)), True),
        (sp.csr_array((3, 2)), True),
    ],
)
def test_which_y_is_an_indicator(y, multilabel):
    assert is_multilabel(y) == multilabel


@pytest.mark.parametrize(
    "stage", ["make_samples", "settle_scale", "grow", "learn_of", "Trainer", "run_epochs"]
)
@pytest.mark.parametrize("fails", [False, True])
def test_each_name_keeps_its_scores_while_classes_are_added(stage, fails, monkeypatch):
    """As another thread would see it, whose predictions meet any stage of partial_fit."""
    X, y = load_iris(return_X_y=True)
    names = np.array(["b", "d", "f"])
    model = make(learning_rate_init=1e-30).partial_fit(X, names[y], classes=names)
    before, n_seen = scores_by_name(model, X), []

    def watched(*args):
        now = scores_by_name(model, X)
        n_seen.append(len(now))
        for name in names:
            assert_allclose(now[name], before[name], rtol=1e-5, atol=1e-5)
        if fails:
            raise KeyboardInterrupt
        return function(*args)

    function = getattr(_fitting, stage)
    monkeypatch.setattr(_fitting, stage, watched)
    y_new = np.array(["a", "e", "f"])[y]
    more = ["a", "b", "d", "e", "f"]
    if fails:
        with pytest.raises(KeyboardInterrupt):
            model.partial_fit(X, y_new, classes=more)
    else:
        model.partial_fit(X, y_new, classes=more)
    # the model that has the new classes is put in place as a whole, before it is trained
    assert n_seen == [5 if stage in ("Trainer", "run_epochs") else 3]
    assert list(scores_by_name(model, X)) == (list(names) if fails else more)


def scores_by_name(model, X):
    """Return the scores of each class, of which all that a classifier tells must agree."""
    scores, names = model.decision_function(X), model.classes_
    assert scores.shape == (len(X), len(names)) == (len(X), model.n_outputs_)
    assert_array_equal(model.predict(X), names[scores.argmax(axis=1)])
    labels, best = model.predict_top_k(X, len(names))
    assert_allclose(np.take_along_axis(scores, np.searchsorted(names, labels), axis=1), best, rtol=1e-5)
    copied = pickle.loads(pickle.dumps(model))
    assert_array_equal(copied.classes_, names)
    assert_array_equal(copied.decision_function(X), scores)
    return dict(zip(names.tolist(), scores.T, strict=True))
