"""What the estimator refuses, in which words, and what is left of it then."""

import pickle

import numpy as np
import pytest
import scipy.sparse as sp
from helpers import make
from sklearn.datasets import load_iris

from sklearn_slide import SlideClassifier, _memory


def bad(matrix, value):
    matrix = matrix.astype(np.float64)
    matrix.data[0] = value
    return matrix


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda X, Y: (bad(X, np.nan), Y), "X contains NaN"),
        (lambda X, Y: (bad(X, np.inf), Y), "X contains infinity"),
        (lambda X, Y: (bad(X, 1e300), Y), "X contains infinity"),
        (lambda X, Y: (X, bad(Y, 2)), "y must be a binary indicator.*Got a 2-D y that holds .*2"),
        (lambda X, Y: (X, Y.toarray() - 1), "y must be a binary indicator"),
        (lambda X, Y: (X, bad(Y, np.nan)), "NaN"),
        (lambda X, Y: (X[:50], Y), "inconsistent numbers of samples"),
        (lambda X, Y: (X, None), "requires y"),
        (lambda X, Y: (X, np.linspace(0, 1, 120)), "Unknown label type: continuous"),
        (lambda X, Y: (X, Y[:, :0]), r"y must have a column for each label, .* Got shape \(120, 0\)"),
        (lambda X, Y: (X, Y[:, :0].toarray()), r"y must have a column .* Got shape \(120, 0\)"),
        (
            lambda X, Y: (X, [[] for _ in range(120)]),
            r"Got a collection of labels .* \[\]\. MultiLabelBinarizer",
        ),
        (lambda X, Y: (X[:, :0], Y), "0 feature"),
        (lambda X, Y: (X[:0], Y[:0]), "0 sample"),
    ],
)
@pytest.mark.parametrize("method", ["fit", "partial_fit"])
def test_bad_data(data, change, message, method):
    model = make()
    with pytest.raises(ValueError, match=message):
        getattr(model, method)(*change(*data))
    assert vars(model) == vars(make())


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("activation", "selu"),
        ("loss", "hinge"),
        ("solver", "sgd"),
        ("learning_rate_init", 0.0),
        ("init", "zeros"),
        ("n_active", 0),
        ("negatives", "none"),
        ("negatives", {"words": 0.1}),
        ("retrieval", "fast"),
        ("max_iter", 0),
        ("tol", -1.0),
        ("n_iter_no_change", 0),
        ("hidden_layer_sizes", (5, 0)),
        ("hidden_layer_sizes", (5.5,)),
        ("hidden_layer_sizes", -3),
        ("random_state", "seed"),
        ("scoring", "luck"),
        ("n_jobs", 1.5),
    ],
)
def test_bad_parameters(data, name, value):
    model = make(**{name: value})
    with pytest.raises(ValueError, match=name):
        model.fit(*data)
    assert not hasattr(model, "n_features_in_")


def test_wrong_number_of_features(data):
    model = make().fit(*data)
    for call in (model.predict, model.predict_top_k, model.predict_proba, model.decision_function):
        with pytest.raises(
            ValueError, match="X has 39 features, but SlideClassifier is expecting 40 features"
        ):
            call(data[0][:, :39])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda model, X, Y: model.fit(X, sp.hstack([Y, Y])),
            "y has 50 columns.*the classifier has 25 labels",
        ),
        (
            lambda model, X, Y: model.partial_fit(bad(X, np.nan), sp.hstack([Y, Y])),
            "NaN",
        ),
        (
            lambda model, X, Y: model.partial_fit(X, bad(sp.hstack([Y, Y], format="csr"), 2)),
            "binary indicator",
        ),
        (
            lambda model, X, Y: model.partial_fit(X, Y[:, :24]),
            "y has 24 columns.*the classifier has 25 labels",
        ),
        (lambda model, X, Y: model.partial_fit(X, Y, classes=np.arange(24)), "classes=.*not the same"),
        (
            lambda model, X, Y: model.partial_fit(X, np.arange(120) % 5),
            "y is class labels.*multi-label indicator",
        ),
        (lambda model, X, Y: model.partial_fit(bad(X, np.nan), Y), "NaN"),
        (lambda model, X, Y: model.predict_top_k(X, -1), "k must be an int of at least 1. Got -1"),
        (lambda model, X, Y: model.predict_top_k(X, 0), "k must be.*Got 0"),
        (lambda model, X, Y: model.predict_top_k(X, 2.5), "k must be.*Got 2.5"),
    ],
)
def test_a_failed_call_changes_nothing(data, call, message):
    X, Y = data
    model = make(warm_start=True).fit(X, Y)
    before = pickle.dumps(model)
    with pytest.raises(ValueError, match=message):
        call(model, X, Y)
    assert pickle.dumps(model) == before


def test_a_failed_fit_keeps_the_earlier_one(data):
    X, Y = data
    model = make().fit(X, Y)
    before = pickle.dumps(model)
    with pytest.raises(ValueError, match="NaN"):
        model.fit(bad(X[:, :30], np.nan), Y)
    assert pickle.dumps(model) == before


def test_partial_fit_of_unknown_classes():
    X, y = load_iris(return_X_y=True)
    with pytest.raises(ValueError, match="classes must be passed on the first call"):
        SlideClassifier().partial_fit(X, y)
    model = SlideClassifier((8,)).partial_fit(X[:100], y[:100], classes=[0, 1])
    with pytest.raises(ValueError, match="y holds 2, which is not among the classes"):
        model.partial_fit(X, y)


def test_results_that_would_not_fit_in_memory(data, monkeypatch):
    X, Y = data
    model = make().fit(X, Y)
    monkeypatch.setattr(_memory, "physical_memory", lambda: 1000)
    for call in (model.predict_proba, model.predict_log_proba, model.decision_function):
        with pytest.raises(MemoryError, match=r"120 samples x 25 labels.*predict_top_k"):
            call(X)
    assert model.predict_top_k(X, 3)[0].shape == (120, 3)


def test_weights_that_would_not_fit_in_memory():
    X = sp.csr_matrix(([1.0], ([0], [10_000_000])), shape=(3, 20_000_000))
    Y = sp.csr_matrix(([1], ([0], [900_000])), shape=(3, 1_000_000))
    model = SlideClassifier(())
    with pytest.raises(MemoryError, match=r"20000000 features.*1000000 labels.*GiB.*hidden_layer_sizes"):
        model.fit(X, Y)
    assert vars(model) == vars(SlideClassifier(()))


def test_divergence_names_the_parameter(data):
    model = make(learning_rate_init=1e25, max_iter=20)
    with pytest.raises(ValueError, match=r"diverge.*learning_rate_init=1e\+25.*Lower it"):
        model.fit(*data)
    assert not hasattr(model, "coefs_")
