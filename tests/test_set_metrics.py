"""F1 of sets, average precision and hits by frequency, calibration of sparse scores, against plain loops."""

import pickle
import re

import numpy as np
import pytest
import scipy.sparse as sp
from helpers import make
from sklearn.calibration import calibration_curve
from sklearn.datasets import load_iris
from sklearn.metrics import f1_score
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MaxAbsScaler

from sklearn_slide.metrics import (
    average_precision_at_k,
    calibration_pairs,
    expected_calibration_error,
    f1_at_k,
    f1_at_threshold,
    predict_top_k,
    probability_scorer,
    recall_by_frequency_at_k,
    reliability_curve,
    top_k_scorer,
)

AVERAGES = ("micro", "macro", "samples")
FORMS = (np.asarray, sp.csr_array, sp.coo_matrix, sp.csc_array)


@pytest.fixture(scope="module")
def scored():
    rng = np.random.default_rng(0)
    Y = (rng.random((60, 25)) < 0.1).astype(int)
    Y[:3], Y[:, :2] = 0, 0
    P = np.clip(0.5 * Y + rng.normal(0.2, 0.2, Y.shape), 0, 1) * (rng.random(Y.shape) < 0.7)
    return Y, P


@pytest.mark.parametrize("average", AVERAGES)
@pytest.mark.parametrize("form", FORMS)
def test_f1_is_that_of_scikit_learn(scored, average, form):
    Y, P = scored
    weights = np.random.default_rng(1).integers(0, 4, 60)
    for threshold in (0.0, 0.2, 0.5, 0.99):
        for w in (None, weights):
            found = f1_at_threshold(form(Y), form(P), threshold=threshold, average=average, sample_weight=w)
            assert type(found) is float
            expected = f1_score(Y, threshold < P, average=average, sample_weight=w, zero_division=0)
            assert found == pytest.approx(expected, abs=1e-12)
    for k in (1, 4):
        top = np.argsort(-P, axis=1, kind="stable")[:, :k]
        predicted = np.zeros_like(Y)
        np.put_along_axis(predicted, top, 1, axis=1)
        expected = f1_score(Y, predicted, average=average, zero_division=0)
        assert f1_at_k(form(Y), top, k=k, average=average) == pytest.approx(expected, abs=1e-12)
        none = np.where(np.take_along_axis(P, top, 1) == 0, -1, top)
        predicted[P == 0] = 0
        expected = f1_score(Y, predicted, average=average, zero_division=0, sample_weight=weights)
        found = f1_at_k(form(Y), none, k=k, average=average, sample_weight=weights)
        assert found == pytest.approx(expected, abs=1e-12)


def test_f1_of_nothing_is_zero():
    nothing = np.zeros((3, 4), dtype=int)
    for average in AVERAGES:
        assert f1_at_threshold(nothing, nothing, average=average) == 0
        assert f1_at_k(nothing, np.full((3, 2), -1), k=2, average=average) == 0


def test_average_precision_by_hand(scored):
    Y, P = scored
    top = np.argsort(-P, axis=1)[:, :7]
    values = []
    for true, row in zip(Y, top, strict=True):
        hits, total = 0, 0.0
        for rank, label in enumerate(row[:5], start=1):
            if true[label]:
                hits += 1
                total += hits / rank
        values.append(total / max(1, min(5, true.sum())))
    assert average_precision_at_k(Y, top, k=5) == pytest.approx(np.mean(values), abs=1e-12)
    weights = np.arange(60)
    expected = np.average(values, weights=weights)
    assert average_precision_at_k(Y, top, k=5, sample_weight=weights) == pytest.approx(expected, abs=1e-12)
    assert average_precision_at_k(["a", "b"], [["a", "b"], ["a", "b"]], k=2) == 0.75


def test_hits_by_frequency_by_hand(scored):
    Y, P = scored
    top, counts = np.argsort(-P, axis=1)[:, :4], np.random.default_rng(2).permutation(25) ** 2
    found = recall_by_frequency_at_k(sp.csr_array(Y), top, counts, k=4)
    before, groups = 0, {"head": [], "middle": [], "tail": []}
    for label in np.argsort(-counts, kind="stable"):
        name = ("head", "middle", "tail")[min(2, int(3 * before / counts.sum()))]
        groups[name].append(label)
        before += counts[label]
    assert all(groups.values())
    for name, labels in groups.items():
        hits = sum(Y[i, label] for i in range(60) for label in top[i] if label in labels)
        assert found[name] == hits / Y[:, labels].sum()
        assert recall_by_frequency_at_k(Y, top, counts, k=4, group=name) == found[name]
    nobody = recall_by_frequency_at_k(np.zeros_like(Y), top, np.zeros(25), k=4)
    assert nobody == {"head": 0.0, "middle": 0.0, "tail": 0.0}


@pytest.mark.parametrize("form", FORMS)
def test_pairs_are_those_that_are_stored(scored, form):
    Y, P = scored
    y, p = calibration_pairs(form(Y), form(P))
    where = np.ones_like(P, dtype=bool) if form is np.asarray else P != 0
    order = np.lexsort((p, y))
    expected = np.lexsort((P[where], Y[where]))
    np.testing.assert_array_equal(y[order], Y[where][expected])
    np.testing.assert_array_equal(p[order], P[where][expected])
    weighted = calibration_pairs(form(Y), form(P), np.arange(60))[2]
    assert weighted.sum() == (np.arange(60)[:, np.newaxis] * where).sum()


@pytest.mark.parametrize("strategy", ["uniform", "quantile"])
def test_curve_and_error_agree_with_scikit_learn(scored, strategy):
    Y, P = scored
    stored = P != 0
    curve = reliability_curve(sp.csr_array(Y), sp.csr_array(P), n_bins=7, strategy=strategy)
    expected = calibration_curve(Y[stored], P[stored], n_bins=7, strategy=strategy)
    np.testing.assert_allclose(curve, expected, rtol=1e-12)
    edges = np.linspace(0, 1, 8)
    if strategy == "quantile":
        edges = np.percentile(P[stored], edges * 100)
    counts = np.bincount(np.searchsorted(edges[1:-1], P[stored]), minlength=7)
    gaps = np.abs(expected[0] - expected[1])
    found = expected_calibration_error(sp.csr_array(Y), sp.csr_array(P), n_bins=7, strategy=strategy)
    assert found == pytest.approx(gaps @ counts[counts > 0] / counts.sum(), abs=1e-12)
    kept = np.arange(60) % 3 > 0
    some = expected_calibration_error(Y, P, sample_weight=kept, strategy="uniform")
    assert some == pytest.approx(expected_calibration_error(Y[kept], P[kept]), abs=1e-12)
    assert expected_calibration_error(Y, sp.csr_array(Y.shape)) == 0.0


def test_scorers_ask_the_model(scored):
    rng = np.random.default_rng(0)
    X = sp.random(150, 40, density=0.2, format="csr", dtype=np.float32, random_state=1)
    Y = sp.csr_array(rng.random((150, 30)) < 0.1)
    model = make_pipeline(MaxAbsScaler(), make(n_active=None)).fit(X, Y)
    P = predict_top_k(model, X, 8, scores="probability", sparse_output=True)
    for scorer, expected in [
        (probability_scorer("f1_at_threshold", k=8, threshold=0.1), f1_at_threshold(Y, P, threshold=0.1)),
        (probability_scorer("expected_calibration_error", k=8), -expected_calibration_error(Y, P)),
        (probability_scorer(f1_at_threshold, 8, average="macro"), f1_at_threshold(Y, P, average="macro")),
        (top_k_scorer("f1_at_k", k=3), f1_at_k(Y, predict_top_k(model, X, 3)[0], k=3)),
        (
            top_k_scorer("recall_by_frequency_at_k", k=3, label_counts=np.arange(30), group="tail"),
            recall_by_frequency_at_k(Y, predict_top_k(model, X, 3)[0], np.arange(30), k=3)["tail"],
        ),
        (
            top_k_scorer("average_precision_at_k", 3),
            average_precision_at_k(Y, predict_top_k(model, X, 3)[0], k=3),
        ),
    ]:
        for one in (scorer, pickle.loads(pickle.dumps(scorer))):
            assert one(model, X, Y) == expected
        assert re.match(r"(top_k|probability)_scorer\('\w+', k=\d", repr(scorer))
    weights = rng.integers(0, 3, 150)
    scorer = probability_scorer("f1_at_threshold", k=8, threshold=0.1)
    expected = f1_at_threshold(Y, P, threshold=0.1, sample_weight=weights)
    assert scorer(model, X, Y, sample_weight=weights) == expected
    search = GridSearchCV(make(n_active=None), {"max_iter": [1, 3]}, scoring=scorer, cv=2).fit(X, Y)
    assert np.isfinite(search.best_score_)


def test_scorer_of_class_labels():
    X, y = load_iris(return_X_y=True)
    names = np.array(["b", "a", "c"])[y]
    model = make(max_iter=5).fit(X, names)
    p = model.predict_proba(X)
    indicator = names[:, np.newaxis] == model.classes_
    expected = -expected_calibration_error(indicator, p)
    assert probability_scorer("expected_calibration_error")(model, X, names) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("call", "match"),
    [
        (lambda Y, P: f1_at_threshold(Y, P[:, 1:]), r"y_prob must have the shape of y_true, \(60, 25\)"),
        (lambda Y, P: f1_at_threshold(Y, P, average="weighted"), "average must be one of.*'weighted'"),
        (lambda Y, P: f1_at_threshold(2 * Y, P), "y_true must be an indicator"),
        (lambda Y, P: f1_at_threshold(Y, P, sample_weight=[1]), "sample_weight must be 60 finite numbers"),
        (lambda Y, P: calibration_pairs(Y, P[1:]), "sparse_output=True"),
        (lambda Y, P: calibration_pairs(Y, P + 1), "scores='probability'"),
        (
            lambda Y, P: expected_calibration_error(Y, P, n_bins=0),
            "an int of at least 1; got 0",
        ),
        (lambda Y, P: expected_calibration_error(Y, P, strategy="a"), "'uniform' or 'quantile'; got 'a'"),
        (lambda Y, P: recall_by_frequency_at_k(Y, P, [1]), r"label_counts must have shape.*\(25,\)"),
        (lambda Y, P: recall_by_frequency_at_k(Y, P, -np.ones(25)), "finite values >= 0"),
        (lambda Y, P: recall_by_frequency_at_k(Y, P, np.ones(25), group="all"), "group must be one of"),
        (lambda Y, P: probability_scorer("precision_at_k"), "metric must be one of"),
        (lambda Y, P: probability_scorer("f1_at_threshold", k=0), "k == 0, must be >= 1"),
    ],
)
def test_bad_arguments(scored, call, match):
    with pytest.raises(ValueError, match=match):
        call(*scored)


def test_a_scorer_refuses_what_the_metric_does_not_take():
    with pytest.raises(TypeError, match="must fit f1_at_threshold"):
        probability_scorer("f1_at_threshold", bins=3)
