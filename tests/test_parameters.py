"""Parameters: which are fixed after a first fit and which may change, and those of the hash tables."""

import pickle
import re
from copy import deepcopy

import numpy as np
import pytest
from helpers import assert_same, make
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.datasets import load_iris
from sklearn.model_selection import GridSearchCV, KFold

from sklearn_slide import LSH
from sklearn_slide.datasets import make_xmc_classification
from sklearn_slide.metrics import top_k_scorer

FIXED = [
    ("hidden_layer_sizes", (13,), r"\(12,\)", r"\(13,\)"),
    ("hidden_layer_sizes", (), r"\(12,\)", r"\(\)"),
    ("hidden_layer_sizes", (12, 4), r"\(12,\)", r"\(12, 4\)"),
    ("activation", "relu", "'identity'", "'relu'"),
    ("loss", "softmax", "'sigmoid'", "'softmax'"),
    ("solver", "adam", "'adagrad'", "'adam'"),
    ("direct_limit", 3, "1000", "3"),
    ("init", "random", "'centroid'", "'random'"),
    ("n_estimators", 2, "1", "2"),
    ("lsh", LSH(n_tables=49), r"LSH\(\)", r"LSH\(n_tables=49\)"),
]


def go_on(model, how, X, y):
    """Train a fitted classifier further."""
    if how == "partial_fit":
        return model.partial_fit(X, y)
    return model.set_params(warm_start=True).fit(X, y)


@pytest.mark.parametrize("how", ["warm start", "partial_fit"])
@pytest.mark.parametrize(("name", "value", "before", "after"), FIXED)
def test_a_fixed_parameter_may_not_change(data, how, name, value, before, after):
    model = make(warm_start=True).fit(*data)
    expected = go_on(deepcopy(model), how, *data)
    old = model.get_params()[name]
    model.set_params(**{name: value})
    stored = pickle.dumps(model)
    message = f"^{name} cannot change after a first fit: .*{name}={before}, .* now has {after}. Set it back"
    with pytest.raises(ValueError, match=message):
        go_on(model, how, *data)
    assert pickle.dumps(model) == stored
    assert_same(go_on(model.set_params(**{name: old}), how, *data), expected)
    model.set_params(**{name: value, "warm_start": False}).fit(*data)
    assert_same(model, make(**{name: value}).fit(*data))


@pytest.mark.parametrize("how", ["warm start", "partial_fit"])
@pytest.mark.parametrize("name", list(LSH().get_params()))
def test_no_parameter_of_the_tables_may_change(data, how, name):
    other = {"family": "dwta", "selection": "top_k", "rehash_growth": 2.0}.get(name, 7)
    model = make(lsh=LSH(), warm_start=True).fit(*data).set_params(**{f"lsh__{name}": other})
    stored = pickle.dumps(model)
    message = rf"^lsh cannot change .*lsh=LSH\(\), .* now has LSH\({name}={other!r}\)"
    with pytest.raises(ValueError, match=message):
        go_on(model, how, *data)
    assert pickle.dumps(model) == stored


@pytest.mark.parametrize("how", ["warm start", "partial_fit"])
@pytest.mark.parametrize(
    "same",
    [
        {"lsh": LSH()},
        {"lsh": LSH("simhash", n_tables=50, rehash_growth=3 / 2)},
        {"hidden_layer_sizes": [12]},
        {"hidden_layer_sizes": 12},
        {"hidden_layer_sizes": np.array([12])},
        {"loss": "sigmoid"},
        {"direct_limit": np.int64(1000)},
    ],
)
def test_another_name_for_the_same_is_no_change(data, how, same):
    model = make().fit(*data)
    expected = go_on(deepcopy(model), how, *data)
    assert_same(go_on(model.set_params(**same), how, *data), expected)
    back = {name: make().get_params()[name] for name in same}
    assert go_on(model.set_params(**back), how, *data).n_iter_ > expected.n_iter_


def test_the_automatic_loss_of_class_labels_is_softmax():
    X, y = load_iris(return_X_y=True)
    model = make().fit(X, y).set_params(loss="softmax").partial_fit(X, y)
    with pytest.raises(ValueError, match="loss cannot change"):
        model.set_params(loss="sigmoid").partial_fit(X, y)


def test_a_limit_without_effect_on_a_linear_model_may_change(data):
    model = make(hidden_layer_sizes=()).fit(*data)
    expected = deepcopy(model).partial_fit(*data)
    assert_same(model.set_params(direct_limit=0).partial_fit(*data), expected)


WEIGHTS = np.linspace(0, 3, 25)
STOPPING = {"early_stopping": True, "max_iter": 4}
CHANGES = [
    ({}, {"learning_rate_init": 0.01}),
    ({}, {"n_active": 20}),
    ({}, {"n_active": None}),
    ({}, {"negatives": {"frequency": 0.4}}),
    ({}, {"shuffle": False}),
    ({}, {"label_weight": WEIGHTS}),
    ({}, {"learning_rate": "constant"}),
    ({}, {"max_iter": 3}),
    ({"max_iter": 5, "n_iter_no_change": 1}, {"tol": 1e9}),
    ({"max_iter": 9, "tol": 1e9}, {"n_iter_no_change": 1}),
    ({}, {"early_stopping": True}),
    (STOPPING, {"validation_fraction": 0.4}),
    (STOPPING, {"scoring": lambda model, X, y: -len(model.loss_curve_)}),  # the first epoch is the best
]


def differ(one, two):
    return any((a != b).any() for a, b in zip(one.coefs_, two.coefs_, strict=True))


@pytest.mark.parametrize(("both", "change"), CHANGES, ids=lambda part: ",".join(part))
def test_other_parameters_may_change_and_do(data, both, change):
    model = make().fit(*data).set_params(warm_start=True, **both)
    one, two = deepcopy(model).fit(*data), deepcopy(model).set_params(**change).fit(*data)
    assert differ(one, two)
    if not both and change.keys() & {
        "learning_rate_init",
        "n_active",
        "negatives",
        "shuffle",
        "label_weight",
    }:
        one, two = deepcopy(model).partial_fit(*data), deepcopy(model).set_params(**change).partial_fit(*data)
        assert differ(one, two)


def test_a_joined_network_is_trained_further_under_its_number_of_networks(data):
    model = make(n_estimators=2, warm_start=True).fit(*data)
    for how in ("partial_fit", "warm start"):
        n_epochs = model.n_iter_
        assert go_on(model, how, *data).n_iter_ == n_epochs + (1 if how == "partial_fit" else 2)
        assert model.coefs_[0].shape == (40, 24)
        with pytest.raises(
            ValueError, match=r"^n_estimators cannot change .*n_estimators=2, .* now has 1. Set"
        ):
            go_on(deepcopy(model).set_params(n_estimators=1), how, *data)
    # partial_fit alone trains one
    assert make(n_estimators=2).partial_fit(*data).partial_fit(*data).coefs_[0].shape == (40, 12)


def test_every_parameter_is_fixed_or_may_change():
    fixed = {name for name, *_ in FIXED}
    free = {name for _, change in CHANGES for name in change}
    others = {
        "class_weight",
        "n_jobs",
        "verbose",
        "retrieval",
        "threshold",
        "random_state",
        "warm_start",
    }  # tested apart
    assert fixed | free | others == make().get_params(deep=False).keys()
    assert not fixed & free
    doc = dict(re.findall(r"^    (\w+) : .*default.*\n((?:      .*\n)+)", type(make()).__doc__, re.MULTILINE))
    assert {name for name, text in doc.items() if "*Fixed*" in text} == fixed
    assert doc.keys() == make().get_params(deep=False).keys()


def test_class_weights_may_change():
    X, y = load_iris(return_X_y=True)
    model = make().fit(X, y)
    one, two = deepcopy(model), deepcopy(model).set_params(class_weight={0: 3.0})
    assert differ(one.partial_fit(X, y), two.partial_fit(X, y))


@pytest.mark.parametrize("change", [{"random_state": 7}, {"retrieval": "lsh"}])
def test_what_goes_on_without_effect_on_training(data, change):
    model = make().fit(*data).set_params(warm_start=True)
    assert_same(deepcopy(model).set_params(**change).fit(*data), deepcopy(model).fit(*data))


def test_threads_and_lines_may_change(data, capsys):
    model = make().fit(*data).set_params(n_jobs=2, verbose=1).partial_fit(*data)
    assert capsys.readouterr().out.startswith("Epoch 1/1, 100%: loss = ")
    assert model.n_iter_ == 3
    expected = -np.sort(-model.decision_function(data[0]))[:, :5]
    assert_allclose(model.predict_top_k(data[0])[1], expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    "change",
    [{"activation": "relu"}, {"loss": "softmax"}, {"hidden_layer_sizes": (3, 3)}, {"lsh": LSH("minhash")}],
)
@pytest.mark.parametrize("retrieval", ["exact", "lsh"])
def test_a_fitted_classifier_predicts_as_it_was_made(data, change, retrieval, monkeypatch):
    monkeypatch.setattr("sklearn_slide._core.retrieval.MIN_LABELS", 0)
    X, Y = data
    model = make(retrieval=retrieval).fit(X, Y)
    other = deepcopy(model).set_params(**change)
    for got, expected in zip(other.predict_top_k(X), model.predict_top_k(X), strict=True):
        assert_array_equal(got, expected)
    assert_array_equal(other.decision_function(X), model.decision_function(X))
    assert_array_equal(other.predict_proba(X), model.predict_proba(X))
    assert other.out_activation_ == model.out_activation_
    assert other.n_layers_ == model.n_layers_


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("n_active", 0),
        ("negatives", "none"),
        ("negatives", None),
        ("negatives", {"uniform": np.nan}),
        ("negatives", {"words": 0.5}),
        ("learning_rate_init", np.nan),
        ("shuffle", "yes"),
        ("n_jobs", 1.5),
        ("n_jobs", 0),
        ("lsh", 3),
        ("solver", "sgd"),
    ],
)
def test_a_bad_parameter_is_refused_in_later_calls_too(data, name, value):
    """Nothing has changed then, not even by samples that would bring direct weights and first weights."""
    X, Y = data
    model = make().partial_fit(X[:9], Y[:9]).set_params(**{name: value})
    for how in ("partial_fit", "warm start"):
        model.set_params(warm_start=how == "warm start")
        stored = pickle.dumps(model)
        with pytest.raises(ValueError, match=name):
            go_on(model, how, X, Y)
        assert pickle.dumps(model) == stored


# Active labels


@pytest.mark.parametrize(
    ("negatives", "message"),
    [
        ({"lsh": np.nan}, "^negatives must be .* numbers that are not negative"),
        ({"lsh": "half"}, "^negatives must be .* numbers that are not negative"),
        ({"lsh": None}, "^negatives must be .* numbers that are not negative"),
        ({"lsh": 0.5, "uniform": -0.1}, "^negatives must be .* numbers that are not negative"),
        ({"lsh": 0.7, "uniform": 0.4}, "^negatives must be .*whose sum is at most 1"),
        ({"uniform": np.inf}, "^negatives must be .*whose sum is at most 1"),
        (
            {"words": 0.1},
            r"^negatives must be .*of the sources \['lsh', 'cooccurrence', 'frequency', 'uniform'\]",
        ),
        ({1: 0.1}, "^negatives must be .*of the sources"),
        ("none", "^negatives must be 'auto' or a dict.* Got 'none'. Give {'uniform': 1.0}"),
        (
            None,
            "^negatives must be 'auto' or a dict.*'frequency', 'uniform'.* Got None. Give .*n_active=None",
        ),
        (0.3, "^negatives must be 'auto' or a dict.* Got 0.3. Give"),
        (["lsh"], "^negatives must be 'auto' or a dict.* Got .'lsh'.. Give"),
    ],
)
@pytest.mark.parametrize("n_active", [15, None])
def test_shares_that_cannot_be(data, negatives, message, n_active):
    for method in ("fit", "partial_fit"):
        model = make(negatives=negatives, n_active=n_active)
        with pytest.raises(ValueError, match=message):
            getattr(model, method)(*data)
        assert vars(model) == vars(make(negatives=negatives, n_active=n_active))


@pytest.mark.parametrize("n_active", [None, 1200, 5000])
@pytest.mark.parametrize("negatives", ["auto", {"lsh": 1.0}])
def test_every_label_is_active_and_no_table_is_built(n_active, negatives):
    X, Y = make_xmc_classification(60, 100, 1200, random_state=0)
    model = make(n_active=n_active, negatives=negatives, max_iter=1).fit(X, Y)
    assert model.active_size_curve_ == [1200]
    assert model._model.training.index is None
    some = make(n_active=1199, negatives=negatives, max_iter=1).fit(X, Y)
    assert some.active_size_curve_[0] < 1200
    assert some._model.training.index is not None


# Hash tables


BAD = [
    ("family", "md5"),
    ("family", None),
    ("n_tables", 0),
    ("n_tables", 10**9),
    ("n_tables", "50"),
    ("n_tables", np.nan),
    ("n_tables", 2.5),
    ("hash_length", 0),
    ("hash_length", 25),
    ("hash_length", "short"),
    ("bucket_size", 0),
    ("bucket_size", 2**40),
    ("selection", "best"),
    ("min_collisions", 0),
    ("rehash_interval", 0),
    ("rehash_interval", "often"),
    ("rehash_interval", np.nan),
    ("rehash_growth", 0.5),
    ("rehash_growth", np.nan),
    ("rehash_growth", np.inf),
    ("rehash_growth", "1.5"),
]


@pytest.mark.parametrize(("name", "value"), BAD)
@pytest.mark.parametrize("method", ["fit", "partial_fit"])
def test_tables_that_cannot_be(data, name, value, method):
    given = LSH().set_params(**{name: value})
    nested = make(lsh=LSH()).set_params(**{f"lsh__{name}": value})
    for model in (make(lsh=given), nested, make(lsh=given, n_active=None)):
        with pytest.raises(ValueError, match=f"'{name}' parameter of LSH must be"):
            getattr(model, method)(*data)
        assert vars(model).keys() == vars(make()).keys()


def test_a_hash_too_long_for_its_family(data):
    with pytest.raises(ValueError, match=r"hash_length=9 with family='dwta'.*from 1 to 8, or 'auto'"):
        make(lsh=LSH("dwta", hash_length=9)).fit(*data)


def test_clones_have_tables_of_their_own(data):
    lsh = LSH(n_tables=20, hash_length=3)
    model = make(lsh=lsh).fit(*data)
    copied = clone(model)
    assert copied.lsh is not lsh
    assert copied.lsh.get_params() == lsh.get_params()
    assert model.lsh is lsh
    lsh.set_params(n_tables=3)
    assert copied.lsh.n_tables == 20
    assert model._model.settings.lsh.n_tables == 20
    with pytest.raises(ValueError, match=r"lsh cannot change.*n_tables=20.*n_tables=3"):
        model.partial_fit(*data)
    assert_same(copied.fit(*data), model)


def test_tables_in_a_search(data):
    X, Y = data
    scorer, grid = top_k_scorer("precision_at_k", k=3), {"lsh__n_tables": [1, 30], "lsh__bucket_size": [2]}
    model = make(lsh=LSH("simhash", hash_length=2), negatives={"lsh": 1.0})
    search = GridSearchCV(model, grid, scoring=scorer, cv=KFold(3), error_score="raise").fit(X, Y)
    assert search.best_estimator_.lsh.bucket_size == 2
    assert model.lsh.n_tables == 50
    train, test = next(KFold(3).split(X))
    sizes = []
    for place, n_tables in enumerate([1, 30]):
        lsh = LSH("simhash", hash_length=2, n_tables=n_tables, bucket_size=2)
        alone = make(lsh=lsh, negatives={"lsh": 1.0}).fit(X[train], Y[train])
        assert search.cv_results_["split0_test_score"][place] == scorer(alone, X[test], Y[test])
        sizes.append(alone.active_size_curve_[-1])
    assert sizes[0] < sizes[1]
    # whole objects may be searched over as well
    grid = {"lsh": [None, LSH(n_tables=2)]}
    search = GridSearchCV(make(), grid, scoring=scorer, cv=KFold(2), error_score="raise").fit(X, Y)
    assert len(search.cv_results_["params"]) == 2


def test_tables_as_they_are_written():
    assert repr(LSH("dwta", n_tables=30)) == "LSH(family='dwta', n_tables=30)"
    assert repr(make(lsh=LSH(bucket_size=9)).lsh) == "LSH(bucket_size=9)"
    assert "lsh=LSH(n_tables=3)" in repr(make(lsh=LSH(n_tables=3)))
    assert make(lsh=LSH()).get_params()["lsh__rehash_growth"] == 1.5


# Parameters of an lsh that is None


@pytest.mark.parametrize("lsh", [None, LSH, {"n_tables": 3}])
@pytest.mark.parametrize("params", [{"lsh__n_tables": 20}, {"max_iter": 9, "lsh__n_tables": 20}])
def test_what_is_no_lsh_has_no_parameters(lsh, params):
    model = make(lsh=lsh)
    message = r"^lsh__n_tables=20 cannot be set: lsh=.* has no parameters. Pass lsh=LSH\(\)"
    with pytest.raises(ValueError, match=message):
        model.set_params(**params)
    with pytest.raises(ValueError, match=message):
        make(lsh=LSH()).set_params(lsh=lsh, **params)
    assert vars(model) == vars(make(lsh=lsh))


def test_tables_and_their_parameters_are_set_together():
    model = make().set_params(lsh__n_tables=20, lsh=LSH("dwta"))
    assert model.lsh.get_params() == LSH("dwta", n_tables=20).get_params()
    assert model.set_params(lsh__n_tables=30, n_active=9) is model
    assert (model.lsh.n_tables, model.n_active) == (30, 9)
    assert model.set_params() is model
    with pytest.raises(ValueError, match="Invalid parameter 'tables' for estimator LSH"):
        model.set_params(lsh__tables=3)


def test_a_search_over_the_parameters_of_no_tables_says_what_to_do(data):
    grid = {"lsh__n_tables": [10, 20]}
    with pytest.raises(ValueError, match=r"lsh=None has no parameters. Pass lsh=LSH\(\)"):
        GridSearchCV(make(), grid, scoring=top_k_scorer("precision_at_k", k=1), cv=KFold(2)).fit(*data)


@pytest.mark.parametrize("lsh", ["dwta", LSH, {"n_tables": 3}, 3])
def test_what_is_no_lsh_is_refused_with_the_way_out(lsh, data):
    message = r"lsh must be an instance of LSH, such as LSH\('dwta'\), or None"
    for call in (make(lsh=lsh).fit, make(lsh=lsh).partial_fit, make(lsh=lsh).estimate_memory):
        with pytest.raises(ValueError, match=message):
            call(*data)
