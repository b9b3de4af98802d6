"""Early stopping: which samples are set aside, by what they are scored, and which weights are kept."""

import numpy as np
import pytest
import scipy.sparse as sp
import sklearn
from helpers import assert_same, make, make_model, to_samples
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.datasets import load_iris
from sklearn.metrics import get_scorer
from sklearn.model_selection import train_test_split
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import Normalizer

from sklearn_slide._early_stopping import hold_out
from sklearn_slide._growth import learn_of
from sklearn_slide._trainer import Trainer, TrainingSettings
from sklearn_slide.metrics import precision_at_k, recall_at_k, top_k_scorer

LONG = {"max_iter": 30, "n_iter_no_change": 4, "learning_rate": "constant"}
# labels drawn by frequency have several scores an epoch if samples are dense
ONE_SCORE = {"negatives": {"lsh": 0.7, "uniform": 0.3}}


@pytest.fixture(scope="module")
def split(data):
    return train_test_split(*data, test_size=0.3, random_state=0)


def record(networks):
    """Return the default scorer, which copies the network of each epoch into a list."""
    scorer = top_k_scorer("precision_at_k", k=1)

    def score(model, X, Y):
        networks.append([a.copy() for a in model.coefs_ + model.intercepts_])
        return scorer(model, X, Y)

    return score


@pytest.mark.parametrize("params", [{}, {"solver": "adam"}, {"retrieval": "lsh"}, {"hidden_layer_sizes": ()}])
def test_the_best_epoch_is_kept(split, params, monkeypatch):
    monkeypatch.setattr("sklearn_slide._core.retrieval.MIN_LABELS", 0)
    X, X_val, Y, Y_val = split
    networks = []
    model = make(early_stopping=True, scoring=record(networks), **LONG | ONE_SCORE | params)
    model.fit(X, Y, X_val=X_val, y_val=Y_val)
    scores = model.validation_scores_
    assert len(scores) == len(networks) == model.n_iter_ + 1 == len(model.loss_curve_) + 1
    best = len(scores) - 1 - int(np.argmax(scores[::-1]))
    for kept, then in zip(model.coefs_ + model.intercepts_, networks[best], strict=True):
        assert_array_equal(kept, then)
    assert model.best_validation_score_ == scores[best]
    if "retrieval" not in params:  # tables differ from epoch to epoch
        assert precision_at_k(Y_val, model.predict_top_k(X_val, 1)[0], k=1) == scores[best]
    assert model.n_iter_ == 30 or model.n_iter_ - np.argmax(scores) >= LONG["n_iter_no_change"]
    assert (
        any((a != b).any() for a, b in zip(networks[best], networks[-1], strict=True))
        or best == len(scores) - 1
    )


def test_training_stops_when_the_score_no_longer_improves(split):
    X, X_val, Y, Y_val = split
    scores = iter([0.1, 0.1, 0.3, 0.3, 0.35, 0.2, 0.31, 0.1])
    settings = {"max_iter": 50, "n_iter_no_change": 2, "tol": 0.01} | ONE_SCORE
    model = make(early_stopping=True, scoring=lambda *_: next(scores), **settings)
    model.fit(X, Y, X_val=X_val, y_val=Y_val)
    assert model.validation_scores_ == [0.1, 0.1, 0.3, 0.3, 0.35, 0.2, 0.31]
    assert model.best_validation_score_ == 0.35


@pytest.mark.parametrize(
    ("scores", "kept"),
    [
        ([0.5, 0.4, 0.5, 0.3], 2),
        ([0.6, 0.4, 0.5, 0.3], 0),
        ([0.5, 0.1, 0.2, 0.5], 3),
        ([0.1, 0.5, 0.4, 0.5], 3),
    ],
)
def test_a_fit_never_ends_behind_its_start(split, scores, kept):
    X, X_val, Y, Y_val = split
    networks, told = [], iter(scores)

    def score(model, X, Y):
        networks.append([a.copy() for a in model.coefs_ + model.intercepts_])
        return next(told)

    model = make(early_stopping=True, scoring=score, max_iter=3, n_iter_no_change=3, **ONE_SCORE)
    model.fit(X, Y, X_val=X_val, y_val=Y_val)
    assert len(networks) == 4
    for own, then in zip(model.coefs_ + model.intercepts_, networks[kept], strict=True):
        assert_array_equal(own, then)
    assert model.best_validation_score_ == max(scores)


def test_the_training_is_that_of_the_other_samples_alone(data):
    X, Y = data
    model = make(early_stopping=True, validation_fraction=0.25, max_iter=3, n_iter_no_change=3).fit(X, Y)
    (X_train, Y_train, _), (X_val, Y_val, _) = hold_out(X, Y, None, 0.25, model._model.seed)
    assert X_val.shape[0] == Y_val.shape[0] == 30
    assert X_train.shape[0] == Y_train.shape[0] == 90
    again = make(early_stopping=True, max_iter=3, n_iter_no_change=3).fit(
        X_train, Y_train, X_val=X_val, y_val=Y_val
    )
    assert_same(model, again)
    assert model.validation_scores_ == again.validation_scores_
    assert model.t_ == 3 * 90
    assert model.loss_curve_ == make(max_iter=3).fit(X_train, Y_train).loss_curve_


def test_hold_out_splits_and_keeps_rows_together():
    X, y = np.arange(40).reshape(20, 2), np.arange(20)
    for weights in (None, np.arange(20) * 10.0):
        train, held = hold_out(X, y, weights, 0.2, 3)
        assert_array_equal(np.sort(np.concatenate([train[1], held[1]])), y)
        assert len(held[1]) == 4
        for samples, targets, w in (train, held):
            assert_array_equal(samples[:, 0], 2 * targets)
            assert w is None if weights is None else (w == 10 * targets).all()
    assert (hold_out(X, y, None, 0.2, 4)[1][1] != held[1]).any()


@pytest.mark.parametrize(
    ("scoring", "expected"),
    [
        ("precision_at_3", top_k_scorer("precision_at_k", k=3)),
        ("ndcg_at_10", top_k_scorer("ndcg_at_k", k=10)),
        ("coverage_at_2", top_k_scorer("coverage_at_k", k=2)),
        ("f1_samples", get_scorer("f1_samples")),
        (top_k_scorer("recall_at_k", k=2), top_k_scorer("recall_at_k", k=2)),
        (lambda model, X, Y: model.t_, lambda model, X, Y: model.t_),
    ],
)
def test_scorers(split, scoring, expected):
    X, X_val, Y, Y_val = split
    model = make(early_stopping=True, scoring=scoring, max_iter=1, n_active=25).fit(
        X, Y, X_val=X_val, y_val=Y_val
    )
    model._model.calibration = None  # it is learned after the last epoch
    assert model.best_validation_score_ == max(model.validation_scores_) == expected(model, X_val, Y_val)


@pytest.mark.parametrize(("n_labels", "ks"), [(25, (1, 3, 5)), (4, (1, 3)), (2, (1,)), (1, (1,))])
def test_the_default_score_is_the_mean_precision_at_1_3_and_5(split, n_labels, ks):
    X, X_val, Y, Y_val = split
    Y, Y_val = Y[:, -n_labels:], Y_val[:, -n_labels:]
    model = make(early_stopping=True, max_iter=1, n_active=25).fit(X, Y, X_val=X_val, y_val=Y_val)
    top = model.predict_top_k(X_val, max(ks))[0]
    expected = np.mean([precision_at_k(Y_val, top[:, :k], k=k) for k in ks])
    assert model.best_validation_score_ == pytest.approx(expected)


def test_weights_count_in_the_score(data):
    X, Y = data
    weights = np.random.default_rng(0).integers(0, 4, size=120)
    for scoring in ("auto", "recall_at_5", "coverage_at_5"):  # the latter takes no weights
        model = make(early_stopping=True, scoring=scoring, max_iter=1).fit(X, Y, sample_weight=weights)
        kept = weights > 0
        _, (X_val, Y_val, w) = hold_out(X[kept], Y[kept], weights[kept], 0.1, model._model.seed)
        top = model.predict_top_k(X_val, 5)[0]
        if scoring == "recall_at_5":
            assert model.best_validation_score_ == recall_at_k(Y_val, top, k=5, sample_weight=w)
        if scoring == "auto":
            each = [precision_at_k(Y_val, top, k=k, sample_weight=w) for k in (1, 3, 5)]
            assert model.best_validation_score_ == pytest.approx(np.mean(each))


def test_classes():
    X, y = load_iris(return_X_y=True)
    names = np.array(["x", "y", "z"])[y]
    model = make(early_stopping=True, max_iter=50, n_iter_no_change=10).fit(X, names)
    _, (X_val, y_val, _) = hold_out(X, names, None, 0.1, model._model.seed)
    assert model.best_validation_score_ == model.score(X_val, y_val)
    assert_array_equal(model.classes_, ["x", "y", "z"])
    # a class that is only among the samples set aside is a class all the same
    rare = names.copy()
    _, (_, [number, *_], _) = hold_out(X, np.arange(150), None, 0.1, model._model.seed)
    rare[number] = "s"
    assert_array_equal(make(early_stopping=True, max_iter=1).fit(X, rare).classes_, ["s", "x", "y", "z"])


def test_several_networks_each_keep_their_best(split):
    X, X_val, Y, Y_val = split
    params = LONG | {"early_stopping": True, "scoring": "ndcg_at_5"}
    model = make(n_estimators=2, **params).fit(X, Y, X_val=X_val, y_val=Y_val)
    scores, first = model.validation_scores_, make(**params)
    first.fit(X, Y, X_val=X_val, y_val=Y_val)
    assert len(scores) - 2 == len(model.loss_curve_) == model.n_iter_ > first.n_iter_
    n_first = first.n_iter_ + 1
    assert scores[:n_first] == first.validation_scores_
    assert max(scores[n_first:]) != max(scores[:n_first])  # the second one has a best of its own
    assert model.coefs_[0].shape == (40, 24)
    assert_array_equal(model.coefs_[0][:, :12], first.coefs_[0])
    # the score is that of both together
    assert model.best_validation_score_ == top_k_scorer("ndcg_at_k", k=5)(model, X_val, Y_val)
    assert model.best_validation_score_ not in scores


def test_warm_start_and_partial_fit_go_on(data):
    X, Y = data
    model = make(early_stopping=True, warm_start=True).fit(X, Y)
    n_before, seed = len(model.validation_scores_), model._model.seed
    model.fit(X, Y)
    assert len(model.validation_scores_) > n_before
    assert model._model.seed == seed
    # the second fit begins with the weights that the first one kept
    assert model.validation_scores_[n_before] == max(model.validation_scores_[:n_before])
    n_before = len(model.validation_scores_)
    model.partial_fit(X, Y)
    assert len(model.validation_scores_) == n_before
    assert model.t_ == model.n_iter_ * 108 + 12  # partial_fit takes all


@pytest.mark.parametrize("early_stopping", ["auto", False])
def test_few_samples_are_not_set_aside(data, early_stopping):
    def score(*_):
        pytest.fail("nothing is there to score")

    model = make(scoring=score, validation_fraction=0.5, early_stopping=early_stopping).fit(*data)
    assert model.validation_scores_ is None
    assert model.best_validation_score_ is None
    assert_same(model, make().fit(*data))


@pytest.mark.parametrize(
    ("n_samples", "fraction", "n_held_out"), [(2000, 0.1, 200), (2001, 0.3, 601), (30_000, 0.1, 1000)]
)
def test_of_many_samples_some_are_set_aside(n_samples, fraction, n_held_out):
    model = make(validation_fraction=fraction)
    assert model._count_held_out(n_samples) == n_held_out
    assert model._count_held_out(1999) == 0


def many_samples(n_samples=2000):
    """Return X with a feature for each of 4 groups and others, and the labels of the groups."""
    rng = np.random.default_rng(0)
    group = rng.integers(0, 4, size=n_samples)
    X = sp.random(n_samples, 30, density=0.1, random_state=1, format="csr", dtype=np.float32)
    X = sp.hstack([sp.csr_array(np.eye(4, dtype=np.float32)[group]), X], format="csr")
    return X, sp.csr_array(np.eye(4, 6, dtype=bool)[group])


def test_the_last_pass_learns_from_samples_set_aside():
    X, Y = many_samples()
    model = make(scoring=lambda model, X, Y: model.t_).fit(X, Y)
    (X_train, Y_train, _), (X_val, Y_val, _) = hold_out(X, Y, None, 200, model._model.seed)
    stopped = make(early_stopping=True, scoring=lambda model, X, Y: model.t_)
    stopped.fit(X_train, Y_train, X_val=X_val, y_val=Y_val)
    assert model.validation_scores_ == stopped.validation_scores_ == [0, 1800, 3600]
    assert (stopped.t_, model.t_) == (3600, 3800)
    assert model.loss_curve_ == stopped.loss_curve_
    # the same as to go on by hand, at the rates of the last epoch
    held_out = to_samples(X_val, Y_val)
    learn_of(stopped._model, held_out, 1)
    Trainer(stopped._model, held_out, TrainingSettings.of(stopped)).run_epoch((0.05, 0.0))
    assert_same(model, stopped)


def test_first_weights_that_are_kept_are_those_of_all_samples():
    X, Y = many_samples()
    model = make(scoring=lambda model, X, Y: -model.t_).fit(X, Y)
    assert model.validation_scores_ == [0, -1800, -3600]
    assert model.t_ == 3600
    expected = make_model(to_samples(X, Y), 34, 6, model._model.seed, hidden_layer_sizes=(12,))
    for own, its in zip(
        model.coefs_ + model.intercepts_, expected.coefs() + expected.intercepts(), strict=True
    ):
        assert_array_equal(own, its)
    assert_array_equal(model.direct_coef_.toarray(), expected.direct_coef().toarray())
    assert_array_equal(model._model.seen_labels, [True] * 4 + [False] * 2)
    assert model._model.seen.all()
    assert_array_equal(model._model.training.started, model._model.seen_labels)


def test_networks_may_be_best_after_different_epochs():
    X, Y = many_samples()
    scores = iter([3, 2, 1, 1, 2, 3, 9])
    model = make(n_estimators=2, scoring=lambda *_: next(scores)).fit(X, Y)
    assert model.validation_scores_ == [3, 2, 1, 1, 2, 3]
    assert precision_at_k(Y, model.predict_top_k(X, k=1)[0], k=1) > 0.9


def test_no_last_pass_over_weights_of_an_epoch_before_the_last():
    X, Y = many_samples()
    model = make(scoring=lambda model, X, Y: -abs(model.t_ - 1800)).fit(X, Y)
    assert model.validation_scores_ == [-1800, 0, -1800]
    assert model.t_ == 3600


def test_weights_of_labels_are_those_of_the_other_samples():
    X, Y = many_samples()
    model = make(label_weight="propensity", early_stopping="auto").fit(X, Y)
    assert model.t_ in (3600, 3800)
    assert precision_at_k(Y, model.predict_top_k(X, k=1)[0], k=1) > 0.9


@pytest.mark.parametrize(
    ("params", "arguments", "message"),
    [
        ({"scoring": "nonsense"}, {}, "scoring must be 'auto'; 'precision_at_1'.*Got 'nonsense'"),
        ({"scoring": "precision_at_0"}, {}, "scoring must be"),
        ({"scoring": "precision_at_26"}, {}, r"y_pred must have shape \(n_samples, m\) with m >= k"),
        ({"scoring": lambda *_: np.nan}, {}, "scoring=.*gave nan.*Give another one"),
        ({"validation_fraction": 1.0}, {}, "validation_fraction"),
        ({"validation_fraction": 0.999}, {}, "leaves none of 120 samples to train with. Give X_val"),
        ({}, {"X_val"}, "X_val and y_val must be given together"),
        ({}, {"y_val"}, "X_val and y_val must be given together"),
        ({"early_stopping": False}, {"X_val", "y_val"}, "not used with early_stopping=False"),
    ],
)
def test_what_is_refused(data, params, arguments, message):
    X, Y = data
    model = make(**{"early_stopping": True} | params)
    before = dict(vars(model))
    given = {name: {"X_val": X, "y_val": Y}[name] for name in arguments}
    with pytest.raises(ValueError, match=message):
        model.fit(X, Y, **given)
    assert vars(model) == before


@pytest.mark.parametrize(("features", "labels"), [(39, 25), (40, 24)])
def test_validation_samples_of_another_shape(data, features, labels):
    X, Y = data
    model = make(early_stopping=True)
    with pytest.raises(ValueError, match=f"X has {features} features|y has {labels} columns"):
        model.fit(X, Y, X_val=X[:, :features], y_val=Y[:, :labels])
    assert not hasattr(model, "classes_")


def test_a_pipeline_transforms_the_validation_samples(split):
    X, X_val, Y, Y_val = split
    with sklearn.config_context(enable_metadata_routing=True):
        pipeline = Pipeline(
            [
                ("norm", Normalizer("max")),
                ("slide", make(early_stopping=True).set_fit_request(X_val=True, y_val=True)),
            ],
            transform_input=["X_val"],
        ).fit(X, Y, X_val=X_val, y_val=Y_val)
    norm = Normalizer("max")
    expected = make(early_stopping=True).fit(norm.transform(X), Y, X_val=norm.transform(X_val), y_val=Y_val)
    assert_same(pipeline[-1], expected)
    assert pipeline[-1].validation_scores_ == expected.validation_scores_


def test_verbose_prints_the_score(data, capsys):
    make(early_stopping=True, verbose=True, max_iter=2).fit(*data)
    assert capsys.readouterr().out.count("Validation score: ") == 3


def fit_dense(split, monkeypatch, shares, dense=True, **params):
    """Fit two epochs, of which the last is kept, with these shares of what draws did taken back."""
    monkeypatch.setattr("sklearn_slide._epochs.TAKEN_BACK", shares)
    X, X_val, Y, Y_val = split
    if not dense:
        X, X_val = (sp.hstack([part, sp.csr_matrix(part.shape)], format="csr") for part in (X, X_val))
    order = iter(range(100))
    model = make(early_stopping=True, scoring=lambda *_: next(order), **params)
    return model.fit(X, Y, X_val=X_val, y_val=Y_val)


def test_what_draws_did_to_dense_samples_is_taken_back(split, monkeypatch):
    plain, half = (fit_dense(split, monkeypatch, shares) for shares in [(0.0,), (0.5,)])
    for one, other in zip(plain.coefs_, half.coefs_, strict=True):
        assert_array_equal(one, other)  # training goes on from what it had learned
    Y, n_frequent, n_uniform = split[2], 2 * int(0.3 * 15), int(0.1 * 15)
    counts = 1 + np.asarray(Y.sum(axis=0)).ravel()
    missed = (1 - counts / counts.sum()) ** n_frequent * (1 - 1 / Y.shape[1]) ** n_uniform
    expected = plain.intercepts_[-1] + 0.5 * np.log(1 - missed)
    assert_allclose(half.intercepts_[-1], expected, rtol=1e-5)


@pytest.mark.parametrize("other", [{"dense": False}, {"n_active": None}, {"negatives": {"uniform": 1}}])
def test_nothing_is_taken_back_elsewhere(split, monkeypatch, other):
    assert_same(*(fit_dense(split, monkeypatch, shares, **other) for shares in [(0.0,), (0.5,)]))


def test_the_share_that_scores_best_is_taken_back(split, monkeypatch):
    X, X_val, Y, Y_val = split
    biases = []

    def score(model, X, Y):
        biases.append(model.intercepts_[-1].copy())
        return {1: 0.1, 2: 0.7, 3: 0.2}.get(len(biases), 0.0)

    model = make(early_stopping=True, scoring=score, max_iter=1).fit(X, Y, X_val=X_val, y_val=Y_val)
    assert len(biases) == 4  # of the first weights, and of three shares
    assert model.validation_scores_ == [0.1, 0.7]
    assert_array_equal(model.intercepts_[-1], biases[1])
    assert_array_equal(*np.sign([biases[1] - biases[2], biases[2] - biases[3]]))
    assert (biases[2] < biases[1]).all()
