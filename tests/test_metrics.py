"""Metrics at k against hand-computed answers, plain loops and scikit-learn."""

import doctest
import math
import re
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
import reference
import scipy.sparse as sp
from sklearn.metrics import ndcg_score, recall_score, top_k_accuracy_score

from sklearn_slide import _ranking, _reliability, _scorers, _set_metrics, metrics
from sklearn_slide.metrics import (
    coverage_at_k,
    label_propensities,
    ndcg_at_k,
    precision_at_k,
    ps_precision_at_k,
    recall_at_k,
    top_k_scorer,
)

FUNCTIONS = (coverage_at_k, ndcg_at_k, precision_at_k, ps_precision_at_k, recall_at_k)
METRICS = {function.__name__: function for function in FUNCTIONS}
SET_METRICS = ("average_precision_at_k", "f1_at_k", "recall_by_frequency_at_k")  # in test_set_metrics.py
BY_NAME = sorted([*METRICS, *SET_METRICS])
WITH_WEIGHTS = [name for name in METRICS if name != "coverage_at_k"]

# labels 0, 1 and 3; label 2; no label at all; labels 1 and 4
Y = np.array([[1, 1, 0, 1, 0], [0, 0, 1, 0, 0], [0, 0, 0, 0, 0], [0, 1, 0, 0, 1]])
TOP = np.array([[1, 2, 0], [0, 2, 1], [4, 3, 2], [0, 2, -1]])
P = np.array([0.5, 0.25, 0.2, 1.0, 0.1])  # gains 2, 4, 5, 1, 10


def evaluate(name, y_true, y_pred, k, sample_weight=None, propensities=P):
    more = {} if sample_weight is None else {"sample_weight": sample_weight}
    args = (propensities,) if name == "ps_precision_at_k" else ()
    return METRICS[name](y_true, y_pred, *args, k=k, **more)


# -- hand-computed -----------------------------------------------------------------------------------------

LOG3 = math.log2(3)
BY_HAND = {
    # hits: row 0 at ranks 1 and 3, row 1 at rank 2, none in rows 2 and 3
    ("precision_at_k", 1): 1 / 4,
    ("precision_at_k", 2): (1 / 2 + 1 / 2) / 4,
    ("precision_at_k", 3): (2 / 3 + 1 / 3) / 4,
    ("recall_at_k", 1): (1 / 3) / 4,
    ("recall_at_k", 2): (1 / 3 + 1) / 4,
    ("recall_at_k", 3): (2 / 3 + 1) / 4,
    ("ndcg_at_k", 1): 1 / 4,
    ("ndcg_at_k", 2): (1 / (1 + 1 / LOG3) + 1 / LOG3) / 4,
    ("ndcg_at_k", 3): (1.5 / (1 + 1 / LOG3 + 0.5) + 1 / LOG3) / 4,
    # reachable: rows 0, 1 and 3 offer gains 4, 2, 1; 5; 10, 4
    ("ps_precision_at_k", 1): 4 / (4 + 5 + 10),
    ("ps_precision_at_k", 2): (4 + 5) / (6 + 5 + 14),
    ("ps_precision_at_k", 3): (6 + 5) / (7 + 5 + 14),
    # labels 0 to 4 have a true row each; found: {1}, {1, 2}, {0, 1, 2}
    ("coverage_at_k", 1): 1 / 5,
    ("coverage_at_k", 2): 2 / 5,
    ("coverage_at_k", 3): 3 / 5,
}


@pytest.mark.parametrize(("name", "k"), BY_HAND)
def test_hand_computed(name, k):
    value = evaluate(name, Y, TOP, k)
    assert type(value) is float
    assert value == pytest.approx(BY_HAND[name, k], abs=1e-15)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        # rows weigh 1, 2, 0, 1
        ("precision_at_k", (1 / 2 + 2 / 2) / 4),
        ("recall_at_k", (1 / 3 + 2) / 4),
        ("ndcg_at_k", (1 / (1 + 1 / LOG3) + 2 / LOG3) / 4),
        ("ps_precision_at_k", (4 + 2 * 5) / (6 + 2 * 5 + 14)),
    ],
)
def test_sample_weight_by_hand(name, expected):
    assert evaluate(name, Y, TOP, 2, sample_weight=[1, 2, 0, 1]) == pytest.approx(expected, abs=1e-15)


def test_label_propensities_by_hand():
    y_train = np.zeros((20, 3))
    y_train[:, 0] = 1
    y_train[:4, 1] = 1
    c = (math.log(20) - 1) * 2.5**0.55
    expected = [1 / (1 + c * math.exp(-0.55 * math.log(n + 1.5))) for n in (20, 4, 0)]
    np.testing.assert_allclose(label_propensities(y_train), expected, rtol=1e-14)
    # written out: ln 20 = 2.9957, 2.5 ** 0.55 = 1.6553, C = 3.3034, 5.5 ** -0.55 = 0.39157
    assert label_propensities(y_train)[1] == pytest.approx(1 / (1 + 3.3034 * 0.39157), abs=1e-4)
    c = (math.log(20) - 1) * 3.6**0.6
    expected = [1 / (1 + c / (n + 2.6) ** 0.6) for n in (20, 4, 0)]
    np.testing.assert_allclose(label_propensities(sp.csc_array(y_train), a=0.6, b=2.6), expected, rtol=1e-14)


def test_perfect_predictions_score_one():
    y_true = Y[[0, 1, 3]]
    scores = y_true * (1 / P)
    for name in METRICS:
        expected = (3 + 1 + 2) / 9 if name == "precision_at_k" else 1.0
        assert evaluate(name, y_true, scores, 3) == pytest.approx(expected, abs=1e-15)


# -- plain loops -------------------------------------------------------------------------------------------


def naive_top(scores, stored, k):
    """Rank the stored labels of each row by falling score, then by label; scores and stored are dense."""
    top = []
    for row_scores, row_stored in zip(scores.tolist(), stored.tolist(), strict=True):
        ranked = sorted((-score, label) for label, score in enumerate(row_scores) if row_stored[label])
        top.append(([label for _, label in ranked] + [-1] * k)[:k])
    return top


def random_task(seed, n_samples=60, n_labels=40):
    """Return a sparse indicator with empty rows and labels, label ids with gaps, propensities and weights."""
    rng = np.random.default_rng(seed)
    density = rng.uniform(0, 0.3, size=n_labels) * (rng.random(n_labels) < 0.8)
    y_true = (rng.random((n_samples, n_labels)) < density) & (rng.random((n_samples, 1)) < 0.9)
    top = rng.permuted(np.tile(np.arange(n_labels), (n_samples, 1)), axis=1)[:, :8]
    top[rng.random(top.shape) < 0.1] = -1
    p, weights = rng.uniform(0.05, 1, n_labels), rng.integers(0, 4, n_samples)
    return sp.csr_array(y_true.astype(float)), top, p, weights


@pytest.mark.parametrize("name", METRICS)
@pytest.mark.parametrize("k", [1, 3, 8])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_labels_against_plain_loops(name, k, seed):
    y_true, top, p, weights = random_task(seed)
    truth = [set(np.flatnonzero(row).tolist()) for row in y_true.toarray()]
    expected = reference.ranking_metric(name, truth, top.tolist(), k, [1] * len(top), p)
    assert expected > 0
    assert evaluate(name, y_true, top, k, propensities=p) == pytest.approx(expected, rel=1e-12)
    if name in WITH_WEIGHTS:
        expected = reference.ranking_metric(name, truth, top.tolist(), k, weights.tolist(), p)
        assert evaluate(name, y_true, top, k, weights, p) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("kind", ["dense", "sparse"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("block_size", [1, 100, 2**20])
def test_scores_with_ties_against_plain_loops(kind, dtype, block_size, monkeypatch):
    monkeypatch.setattr(_ranking, "BLOCK_SIZE", block_size)
    y_true, _, p, weights = random_task(3)
    rng = np.random.default_rng(3)
    stored = np.ones(y_true.shape, dtype=bool) if kind == "dense" else rng.random(y_true.shape) < 0.12
    scores = (rng.integers(-3, 4, size=y_true.shape) * stored).astype(dtype)  # few values: many ties, and 0
    rows, labels = np.nonzero(stored)
    y_pred = scores if kind == "dense" else sp.csr_array((scores[rows, labels], (rows, labels)), y_true.shape)
    truth = [set(np.flatnonzero(row).tolist()) for row in y_true.toarray()]
    for k in (1, 4, 40):
        top = naive_top(scores, stored, k)
        np.testing.assert_array_equal(_ranking.top_labels(y_pred, y_true.shape[1], k), top)
        for name in WITH_WEIGHTS:
            expected = reference.ranking_metric(name, truth, top, k, weights.tolist(), p)
            assert evaluate(name, y_true, y_pred, k, weights, p) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("classes", [np.arange(7), np.array(list("abcdefg")), np.arange(7.0), -np.arange(7)])
@pytest.mark.parametrize("name", ["precision_at_k", "recall_at_k", "ndcg_at_k", "coverage_at_k"])
def test_class_labels_equal_their_indicator(classes, name):
    rng = np.random.default_rng(0)
    true = rng.integers(0, 5, size=50)  # classes 5 and 6 are predicted and never true
    top = rng.permuted(np.tile(np.arange(7), (50, 1)), axis=1)[:, :4]
    indicator = sp.csr_array((np.ones(50), (np.arange(50), true)), shape=(50, 7))
    for k in (1, 3):
        expected = evaluate(name, indicator, top, k)
        assert evaluate(name, classes[true], classes[top], k) == expected
        assert evaluate(name, pd.Series(classes[true]).astype("category"), classes[top], k) == expected
        assert evaluate(name, classes[true].astype(object)[:, None], classes[top], k) == expected


def test_minus_one_is_a_class_only_where_it_is_true():
    assert precision_at_k([3, 4, 5], [[3, -1, -1], [4, 3, -1], [-1, -1, -1]], k=3) == pytest.approx(2 / 9)
    assert precision_at_k([-1, 1], [[-1], [-1]], k=1) == 0.5
    with pytest.raises(ValueError, match=r"twice among the first k=2 of a row; got \[-1 -1\] in row 0"):
        precision_at_k([-1, 1], [[-1, -1], [-1, 1]], k=2)


# -- scikit-learn ------------------------------------------------------------------------------------------


def test_ndcg_and_recall_agree_with_scikit_learn():
    y_true, _, _, weights = random_task(4)
    scores = np.random.default_rng(4).random(y_true.shape)
    dense = y_true.toarray()
    for k in (1, 5, 40):
        expected = ndcg_score(dense, scores, k=k, sample_weight=weights)
        assert ndcg_at_k(y_true, scores, k=k, sample_weight=weights) == pytest.approx(expected, rel=1e-12)
        best = np.argsort(-scores, axis=1)[:, :k]
        predicted = np.zeros_like(dense)
        np.put_along_axis(predicted, best, 1, axis=1)
        for zero_division in (0.0, 1.0, np.nan):
            expected = recall_score(dense, predicted, average="samples", zero_division=zero_division)
            value = recall_at_k(y_true, best, k=k, zero_division=zero_division)
            assert value == pytest.approx(expected, rel=1e-12)


def test_recall_of_class_labels_is_top_k_accuracy():
    rng = np.random.default_rng(5)
    y_true, scores, weights = rng.integers(0, 6, 80), rng.random((80, 6)), rng.random(80)
    best = np.argsort(-scores, axis=1)
    for k in (1, 2, 5):
        expected = top_k_accuracy_score(y_true, scores, k=k, labels=np.arange(6), sample_weight=weights)
        assert recall_at_k(y_true, best, k=k, sample_weight=weights) == pytest.approx(expected)
        assert precision_at_k(y_true, best, k=k, sample_weight=weights) == pytest.approx(expected / k)


# -- ties, gaps and kinds of input -------------------------------------------------------------------------


def test_ties_go_to_the_lower_label():
    y_true = np.array([[0, 1, 0, 0]])
    for scores in (np.zeros((1, 4)), sp.csr_array(([0.0] * 4, ([0] * 4, range(4))), shape=(1, 4))):
        assert precision_at_k(y_true, scores, k=1) == 0.0
        assert precision_at_k(y_true, scores, k=2) == 0.5
    assert precision_at_k(y_true, [[0.0, -0.0, -1.0, -1.0]], k=1) == 0.0
    assert precision_at_k(y_true, [[-np.inf, -np.inf, -np.inf, np.inf]], k=3) == pytest.approx(1 / 3)


def test_labels_that_sparse_scores_do_not_store_are_never_predicted():
    y_true = np.array([[1, 0, 1, 0]])
    stored = sp.coo_array(([-2.0, -5.0], ([0, 0], [3, 2])), shape=(1, 4))
    assert precision_at_k(y_true, stored, k=1) == 0.0
    assert precision_at_k(y_true, stored, k=2) == 0.5
    assert recall_at_k(y_true, stored, k=4) == 0.5  # label 0 is not stored, and is not filled in
    assert recall_at_k(y_true, stored.toarray(), k=1) == 0.5  # as dense scores its 0 is the best
    assert precision_at_k(y_true, sp.csr_array((1, 4)), k=1) == 0.0


def test_sparse_scores_of_any_dtype_and_with_duplicates():
    y_true = np.array([[0, 0, 1], [1, 0, 0]])
    for dtype in (bool, np.uint8, np.int64, np.float32):
        assert precision_at_k(y_true, sp.csr_matrix(y_true, dtype=dtype), k=1) == 1.0
    # label 2 of row 0 is stored twice and adds up to 4, more than the 3 of label 1; indices are unsorted
    parts = np.array([2.0, 3.0, 2.0, 1.0]), np.array([2, 1, 2, 0]), np.array([0, 3, 4])
    scores = sp.csr_array(parts, shape=(2, 3))
    before = scores.indices.copy(), scores.data.copy()
    assert precision_at_k(y_true, scores, k=1) == 1.0
    np.testing.assert_array_equal(scores.indices, before[0])
    np.testing.assert_array_equal(scores.data, before[1])


def test_rows_without_labels():
    y_true, top = np.array([[0, 0], [1, 0]]), np.array([[0], [0]])
    assert precision_at_k(y_true, top, k=1) == 0.5
    assert ndcg_at_k(y_true, top, k=1) == 0.5
    assert recall_at_k(y_true, top, k=1) == 0.5
    assert recall_at_k(y_true, top, k=1, zero_division=1.0) == 1.0
    assert recall_at_k(y_true, top, k=1, zero_division=np.nan) == 1.0
    assert recall_at_k(y_true, top, k=1, zero_division=np.nan, sample_weight=[3, 1]) == 1.0
    for nothing in (np.zeros((2, 2)), sp.csr_array((2, 2))):
        for name in METRICS:
            assert evaluate(name, nothing, top, 1, propensities=[0.5, 0.5]) == 0.0
        assert math.isnan(recall_at_k(nothing, top, k=1, zero_division=np.nan))
    assert ps_precision_at_k(y_true, top, [0.5, 0.5], k=1, sample_weight=[1, 0]) == 0.0


FORMATS = ["csr", "csc", "coo", "lil", "dok", "bsr"]
SPARSE = [getattr(sp, f"{name}_{kind}") for name in FORMATS for kind in ("array", "matrix")]


@pytest.mark.parametrize("container", [np.asarray, np.ndarray.tolist, pd.DataFrame, *SPARSE])
@pytest.mark.parametrize("dtype", [bool, np.int8, np.uint64, np.float32])
def test_every_kind_of_indicator(container, dtype):
    y_true = container(Y.astype(dtype))
    for name in METRICS:
        assert evaluate(name, y_true, TOP, 3) == pytest.approx(BY_HAND[name, 3], abs=1e-15)
        assert evaluate(name, y_true, TOP.astype(np.int8).tolist(), 3) == pytest.approx(BY_HAND[name, 3])


@pytest.mark.parametrize("index_dtype", [np.int32, np.int64])
@pytest.mark.parametrize("container", [sp.csr_array, sp.csr_matrix, sp.csc_array, sp.csc_matrix])
def test_index_dtypes_duplicates_explicit_zeros_and_disorder(container, index_dtype):
    y_true = container(Y)
    y_true.indices, y_true.indptr = y_true.indices.astype(index_dtype), y_true.indptr.astype(index_dtype)
    assert evaluate("ndcg_at_k", y_true, TOP, 3) == pytest.approx(BY_HAND["ndcg_at_k", 3])

    # label 0 of row 0 is there twice, row 1 has a stored 0, no row is sorted
    indices = np.array([3, 0, 1, 0, 0, 2, 4, 1], dtype=index_dtype)
    indptr = np.array([0, 4, 6, 6, 8], dtype=index_dtype)
    by_hand = sp.csr_array((np.array([1, 1, 1, 1, 0, 1, 1, 1]), indices, indptr), shape=Y.shape)
    before = by_hand.indices.copy()
    for name in METRICS:
        for y_true in (by_hand, by_hand.tocoo(), by_hand.sorted_indices()):  # the last keeps duplicates
            assert evaluate(name, y_true, TOP, 3) == pytest.approx(BY_HAND[name, 3], abs=1e-15)
    np.testing.assert_array_equal(by_hand.indices, before)
    np.testing.assert_allclose(label_propensities(by_hand), label_propensities(Y))


def test_a_target_too_large_to_be_dense():
    # 2e5 x 2e6 entries, keys beyond 32 bits; every row has its own label and one that is never found
    n_samples, n_labels = 200_000, 2_000_000
    rows = np.arange(n_samples)
    labels = np.stack([rows * 10, rows * 10 + 1], axis=1)
    ones, indptr = np.ones(2 * n_samples), np.arange(0, 2 * n_samples + 1, 2)
    y_true = sp.csr_array((ones, labels.ravel(), indptr), shape=(n_samples, n_labels))
    top = np.stack([rows * 10, rows * 10 + 2], axis=1)
    p = label_propensities(y_true)
    assert precision_at_k(y_true, top, k=2) == 0.5
    assert recall_at_k(y_true, top, k=2) == 0.5
    assert ps_precision_at_k(y_true, top, p, k=2) == pytest.approx(0.5)
    assert coverage_at_k(y_true, top, k=2) == 0.5
    scores = sp.csr_array((ones, top.ravel(), indptr), shape=y_true.shape)
    assert ndcg_at_k(y_true, scores, k=1) == 1.0


def test_only_the_first_k_columns_count():
    y_pred = np.column_stack([TOP, np.full(4, 99), np.full(4, 99)])
    assert precision_at_k(Y, y_pred, k=3) == BY_HAND["precision_at_k", 3]


# -- errors ------------------------------------------------------------------------------------------------

BAD_INPUT = {
    "an id too high": (Y, TOP + 1, 3, r"y_pred must hold label ids below n_labels=5.*got ids from 0 to 5"),
    "an id below -1": (Y, TOP - 1, 3, r"got ids from -2 to 3\. Integers are read as label ids"),
    "duplicates": (Y, [[0, 1]] * 3 + [[2, 2]], 2, r"twice among the first k=2 .* got \[2 2\] in row 3"),
    "predictions as integers": (Y, Y, 5, r"label twice.*pass scores, or a 0/1 indicator, as floats"),
    "too few columns": (Y, TOP, 4, r"m >= k; got shape \(4, 3\) and k=4\. Predict more labels or lower k"),
    "k above n_labels": (Y, sp.csr_array(Y), 6, r"m >= k; got shape \(4, 5\) and k=6"),
    "too few rows": (Y, TOP[:3], 1, r"same number of rows, at least 1; got 4 in y_true and 3 in y_pred"),
    "no rows": (Y[:0], TOP[:0], 1, r"at least 1; got 0 in y_true and 0 in y_pred"),
    "counts": (Y * 2, TOP, 1, r"y_true must be an indicator with no values but 0 and 1"),
    "sparse counts": (sp.csc_array(Y * 0.5), TOP, 1, r"no values but 0 and 1; got others, dtype float64"),
    "NaN in y_true": (np.where(Y, np.nan, 0), TOP, 1, r"no values but 0 and 1"),
    "strings in 2-D": (Y.astype(str), TOP, 1, r"no values but 0 and 1; got others, dtype <U"),
    "3-D": (Y[None], TOP[:1], 1, r"y_true must be a 2-D indicator here; got shape \(1, 4, 5\)"),
    "label lists": ([[0, 1, 3], [2], [], [1, 4]], TOP, 1, r"must be an array.*got list.*MultiLabelBinarizer"),
    "None": (Y, None, 1, r"y_pred must be an array or sparse matrix; got NoneType"),
    "one label a row": (Y, TOP[:, 0], 1, r"shape \(n_samples, m\) with m >= k; got shape \(4,\) and k=1"),
    "scores of other labels": (Y, TOP / 10, 1, r"one column for each of the n_labels=5 labels.*\(4, 3\)"),
    "sparse ids": (Y, sp.csr_array(TOP), 1, r"Label ids must be dense and of an integer dtype"),
    "NaN": (Y, np.where(Y, np.nan, 0), 1, r"y_pred must hold scores that can be ranked; got NaN"),
    "sparse NaN": (Y, sp.csr_array(np.where(Y, np.nan, 0)), 1, r"got NaN among them"),
    "bool": (Y, Y > 0, 1, r"integers \(label ids\) or floats \(scores\); got dtype bool"),
    "strings": (Y, TOP.astype(str), 1, r"integers \(label ids\) or floats \(scores\); got dtype <U"),
    "complex": (Y, sp.csr_array(Y * 1j), 1, r"got dtype complex128"),
    "k of 0": (Y, TOP, 0, r"k == 0, must be >= 1"),
    "negative k": (Y, TOP, -1, r"k == -1, must be >= 1"),
}


@pytest.mark.parametrize("case", BAD_INPUT)
@pytest.mark.parametrize("name", METRICS)
def test_bad_input(case, name):
    y_true, y_pred, k, message = BAD_INPUT[case]
    with pytest.raises(ValueError, match=message):
        evaluate(name, y_true, y_pred, k)


@pytest.mark.parametrize(
    ("y_true", "y_pred", "message"),
    [
        ([0, 1], [[0.2, 0.8], [0.3, 0.7]], r"both hold class labels.*LabelBinarizer"),
        ([0, 1], sp.csr_array(np.eye(2)), r"got scores or continuous values"),
        ([0.5, 1], [[0, 1], [1, 0]], r"got scores or continuous values"),
        (["a", "b"], [[0, 1], [1, 0]], r"class labels of one kind; got <U1 and int"),
        ([0, 1], [["0", "1"], ["1", "0"]], r"class labels of one kind; got int\d+ and <U1"),
        (["a", "b"], [["a", "a"], ["a", "b"]], r"twice among the first k=2 .* got \['a' 'a'\] in row 0"),
    ],
)
@pytest.mark.parametrize("metric", [precision_at_k, recall_at_k, ndcg_at_k, coverage_at_k])
def test_bad_class_labels(metric, y_true, y_pred, message):
    with pytest.raises(ValueError, match=message):
        metric(y_true, y_pred, k=2)


BAD_ARGUMENTS = [
    (lambda: precision_at_k(Y, TOP, k=1.0), "k must be an instance of int, not float"),
    (lambda: precision_at_k(Y, TOP, k=1, sample_weight=[1, 2]), "sample_weight must be 4 .* shape (2,)"),
    (lambda: recall_at_k(Y, TOP, k=1, sample_weight=[[1]] * 4), "sample_weight must be 4 .* shape (4, 1)"),
    (lambda: ndcg_at_k(Y, TOP, k=1, sample_weight=[1, 1, 1, -1]), "weight must be 4 .* [ 1.  1.  1. -1.]"),
    (lambda: ndcg_at_k(Y, TOP, k=1, sample_weight=[1, 1, 1, np.inf]), "sample_weight must be .* 1. inf]"),
    (lambda: ndcg_at_k(Y, TOP, k=1, sample_weight=[1, 1, 1, np.nan]), "sample_weight must be .* 1. nan]"),
    (lambda: ps_precision_at_k(Y, TOP, P, k=1, sample_weight=[0] * 4), "not all 0; got .* [0. 0. 0. 0.]"),
    (lambda: ps_precision_at_k(Y, TOP, P[:4], k=1), "(n_labels,) = (5,) and values in (0, 1].* shape (4,)"),
    (lambda: ps_precision_at_k(Y, TOP, 1 / P, k=1), "in (0, 1], not inverse ones; got .* 4.  5.  1. 10.]"),
    (lambda: ps_precision_at_k(Y, TOP, P * 0, k=1), "propensities must have shape .* [0. 0. 0. 0. 0.]"),
    (lambda: ps_precision_at_k(Y, TOP, P * np.nan, k=1), "propensities must have shape .* [nan nan nan"),
    (lambda: ps_precision_at_k(Y, TOP, 0.5, k=1), "propensities must have shape .* got shape () and 0.5"),
    (lambda: ps_precision_at_k(["a"], [["a"]], P, k=1), "y_true must be a 2-D .* (1,). .*LabelBinarizer"),
    (lambda: recall_at_k(Y, TOP, k=1, zero_division=0.5), "zero_division must be 0.0, 1.0 or .*; got 0.5"),
    (lambda: recall_at_k(Y, TOP, k=1, zero_division="warn"), "zero_division must be .*; got 'warn'"),
    (lambda: label_propensities(["a", "b", "a"]), "y_train must be a 2-D indicator here; got shape (3,)"),
    (lambda: label_propensities(Y[:2]), "y_train must have at least 3 rows.*; got 2"),
    (lambda: label_propensities(Y * 3), "y_train must be an indicator with no values but 0 and 1"),
    (lambda: label_propensities(Y, a=0), "a == 0, must be > 0"),
    (lambda: label_propensities(Y, b=-1.5), "b == -1.5, must be > 0"),
    (
        lambda: top_k_scorer("precision"),
        f"must be one of {BY_NAME} or a callable; got 'precision'",
    ),
    (
        lambda: top_k_scorer(5),
        f"metric must be one of {BY_NAME} or a callable; got 5",
    ),
    (lambda: top_k_scorer("precision_at_k", k=0), "k == 0, must be >= 1"),
    (lambda: top_k_scorer("precision_at_k", k="1"), "k must be an instance of int, not str"),
    (lambda: top_k_scorer("ps_precision_at_k"), "must fit ps_precision_at_k(.* missing .* 'propensities'"),
    (lambda: top_k_scorer("ndcg_at_k", a=1), "top_k_scorer('ndcg_at_k', k=5, a=1) must fit .* .* 'a'"),
]


@pytest.mark.parametrize(("call", "message"), BAD_ARGUMENTS, ids=[message for _, message in BAD_ARGUMENTS])
def test_bad_arguments(call, message):
    of_type = TypeError if "instance" in message or "fit" in message or "got 5" in message else ValueError
    with pytest.raises(of_type, match=re.escape(message).replace(r"\.\*", ".*")):
        call()


# -- the module --------------------------------------------------------------------------------------------


def test_doctests_and_public_names():
    results = [doctest.testmod(module) for module in (metrics, _reliability, _scorers, _set_metrics)]
    assert not any(result.failed for result in results)
    assert sum(result.attempted for result in results) >= 2 * len(metrics.__all__)
    others = ["calibration_pairs", "expected_calibration_error", "f1_at_threshold", "label_propensities"]
    others += ["predict_top_k", "probability_scorer", "reliability_curve", "top_k_scorer", *SET_METRICS]
    assert metrics.__all__ == sorted([*METRICS, *others])


def test_imports_nothing_of_the_estimator():
    # the package's own __init__, which imports the estimator, is replaced by an empty module
    code = f"""
import sys, types
package = types.ModuleType("sklearn_slide")
package.__path__ = {list(sys.modules["sklearn_slide"].__path__)!r}
sys.modules["sklearn_slide"] = package
import sklearn_slide.metrics
print([name for name in sys.modules if name.startswith(("numba", "sklearn_slide._"))])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    helpers = ("_sparse", "_ranking", "_types", "_reliability", "_scorers", "_set_metrics")
    assert done.stdout.strip() == str([f"sklearn_slide.{name}" for name in helpers])
