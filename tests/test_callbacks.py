"""Callbacks of scikit-learn 1.9 and later: what they hear of a fit, and that nothing changes without them."""

import copy
import pickle
from collections import Counter

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from numpy.testing import assert_array_equal
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV, KFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import Normalizer

from sklearn_slide import SlideClassifier
from sklearn_slide._callbacks import begin_fit
from sklearn_slide.metrics import precision_at_k, predict_top_k, top_k_scorer

has_callbacks = hasattr(SlideClassifier, "set_callbacks")
needs_callbacks = pytest.mark.skipif(not has_callbacks, reason="scikit-learn has no callbacks before 1.9")

P_AT_3 = {"p_at_3": top_k_scorer("precision_at_k", k=3)}


def make(**params):
    return SlideClassifier(**{"hidden_layer_sizes": (8,), "n_active": 12, "random_state": 0} | params)


class Listener:
    """Note what is heard; fail at, or stop after, the hook and task of a name."""

    def __init__(self, fail_at=None, stop_after=()):
        self.heard, self.fail_at, self.stop_after = [], fail_at, stop_after

    def note(self, hook, context):
        self.heard.append((hook, context.task_name, context.task_id))
        if self.fail_at == (hook, context.task_name):
            raise RuntimeError("the callback failed")

    def setup(self, estimator, context):
        self.note("setup", context)

    def teardown(self, estimator, context):
        self.note("teardown", context)

    def on_fit_task_begin(self, estimator, context):
        self.note("begin", context)

    def on_fit_task_end(self, estimator, context):
        self.note("end", context)
        return (context.task_name, context.task_id) in self.stop_after

    def ended(self):
        return Counter(name for hook, name, _ in self.heard if hook == "end")


class Keeper(Listener):
    """Keep what is given at the end of each task."""

    def __init__(self):
        super().__init__()
        self.kept = []

    def on_fit_task_end(self, estimator, context, *, X, y, metadata, fitted_estimator):
        self.kept.append((context.task_name, X, y, metadata, fitted_estimator))

    def models(self, name):
        return [kept[-1] for kept in self.kept if kept[0] == name]


def same_network(first, second):
    assert all(map(np.array_equal, first.coefs_, second.coefs_))
    assert all(map(np.array_equal, first.intercepts_, second.intercepts_))
    assert_array_equal(first.direct_coef_.toarray(), second.direct_coef_.toarray())


def test_nothing_happens_without_callbacks(data):
    model = make().fit(*data)
    assert not [name for name in vars(model) if "callback" in name or "skl" in name]
    if not has_callbacks:
        task = begin_fit(model, *data, None, "fit", 3)
        assert task.context is None
        assert task.begin("epoch", attributes=pytest.fail) is task
        assert task.end(pytest.fail) is False


@needs_callbacks
@pytest.mark.parametrize("early_stopping", [False, True])
def test_epochs_are_tasks(data, early_stopping):
    listener = Listener()
    model = make(max_iter=3, early_stopping=early_stopping).set_callbacks(listener).fit(*data)
    epochs = [(hook, "epoch", i) for i in range(model.n_iter_) for hook in ("begin", "end")]
    frame = [("setup", "fit", 0), ("begin", "fit", 0)], [("end", "fit", 0), ("teardown", "fit", 0)]
    assert model.n_iter_ > 1
    assert listener.heard == [*frame[0], *epochs, *frame[1]]
    same_network(model, make(max_iter=3, early_stopping=early_stopping).fit(*data))


@needs_callbacks
def test_networks_are_tasks_of_epochs(data):
    listener = Listener()
    make(max_iter=2, n_estimators=3).set_callbacks(listener).fit(*data)
    assert listener.ended() == {"epoch": 6, "network": 3, "fit": 1}


@needs_callbacks
def test_partial_fit_and_warm_start(data):
    listener = Listener()
    model = make(max_iter=2, warm_start=True, n_estimators=2).set_callbacks(listener)
    model.partial_fit(*data).partial_fit(*data)
    assert listener.ended() == {"epoch": 2, "partial_fit": 2}
    model.fit(*data)
    assert listener.ended() == {"epoch": 4, "partial_fit": 2, "fit": 1}


@needs_callbacks
def test_a_callback_stops_epochs_and_networks(data):
    model = make(max_iter=5).set_callbacks(Listener(stop_after=[("epoch", 1)])).fit(*data)
    assert model.n_iter_ == 2
    assert len(model.loss_curve_) == 2
    listener = Listener(stop_after=[("epoch", 0), ("network", 1)])
    stopped = make(max_iter=5, n_estimators=4).set_callbacks(listener).fit(*data)
    assert listener.ended() == {"epoch": 2, "network": 2, "fit": 1}
    assert stopped.coefs_[0].shape[1] == 2 * 8
    listener.stop_after = [("network", 0)]
    first = make(max_iter=5, n_estimators=4).set_callbacks(listener).fit(*data)
    assert first.coefs_[0].shape[1] == 8
    assert first.predict_top_k(data[0], 3)[0].shape == (120, 3)


@needs_callbacks
@pytest.mark.parametrize("retrieval", ["exact", "lsh"])
def test_the_fitted_estimator_is_as_if_fit_had_stopped(data, retrieval, monkeypatch):
    monkeypatch.setattr("sklearn_slide._core.retrieval.MIN_LABELS", 0)
    X, Y = data
    params = {"max_iter": 3, "learning_rate": "constant", "retrieval": retrieval}
    keeper = Keeper()
    model = make(**params).set_callbacks(keeper).fit(X, Y)
    epochs = keeper.models("epoch")
    assert len(epochs) == 3
    for n, kept in enumerate(epochs, 1):
        stopped = make(**params | {"max_iter": n}).fit(X, Y)
        same_network(kept, stopped)
        assert_array_equal(kept.predict_top_k(X, 3)[0], stopped.predict_top_k(X, 3)[0])
        assert kept.loss_curve_ == stopped.loss_curve_
    (whole,) = keeper.models("fit")
    same_network(whole, model)
    model.set_callbacks().partial_fit(X, Y)
    assert not np.array_equal(whole.coefs_[-1], model.coefs_[-1])


@needs_callbacks
def test_the_fitted_estimator_joins_the_networks_so_far(data):
    keeper = Keeper()
    model = make(max_iter=2, n_estimators=2).set_callbacks(keeper).fit(*data)
    assert [kept.coefs_[0].shape[1] for kept in keeper.models("epoch")] == [8, 8, 16, 16]
    first, both = keeper.models("network")
    same_network(first, keeper.models("epoch")[1])
    same_network(both, model)


@needs_callbacks
def test_callbacks_get_the_data_that_training_uses(data):
    X, Y = data
    weights = np.ones(120)
    weights[:20] = 0
    keeper = Keeper()
    make(early_stopping=True, validation_fraction=0.25).set_callbacks(keeper).fit(X, Y, sample_weight=weights)
    for _, x, y, metadata, _ in keeper.kept:
        assert x.shape == (75, 40)
        assert y.shape == (75, 25)
        assert sp.issparse(y)
        assert metadata["sample_weight"].shape == (75,)
    keeper.kept.clear()
    make(max_iter=1).set_callbacks(keeper).fit(X, Y)
    assert keeper.kept[0][3] is None


@needs_callbacks
@pytest.mark.parametrize("hook", ["setup", "begin", "end", "teardown"])
@pytest.mark.parametrize("method", ["fit", "partial_fit"])
@pytest.mark.parametrize("fitted", [False, True])
def test_an_error_leaves_the_attributes(data, hook, method, fitted):
    listener = Listener()
    model = make(max_iter=1).set_callbacks(listener)
    if fitted:
        model.fit(*data)
    before = dict(vars(model))
    listener.heard, listener.fail_at = [], (hook, method)
    with pytest.raises(RuntimeError, match="the callback failed"):
        getattr(model, method)(*data)
    assert listener.heard[-1][0] == "teardown"
    assert vars(model).keys() == before.keys()
    assert all(vars(model)[name] is before[name] for name in before)
    listener.fail_at = None
    getattr(model, method)(*data).predict_top_k(data[0], 3)


@needs_callbacks
def test_an_error_in_training_ends_callbacks(data):
    listener = Listener()
    model = make(learning_rate_init=1e25, max_iter=20).set_callbacks(listener)
    with pytest.raises(ValueError, match="diverge"):
        model.fit(*data)
    assert listener.heard[-1] == ("teardown", "fit", 0)
    assert not hasattr(model, "coefs_")


@needs_callbacks
def test_scoring_monitor_scores_sparse_targets(data):
    from sklearn.callback import ScoringMonitor

    X, Y = data
    monitor = ScoringMonitor(scoring=P_AT_3)
    model = make(max_iter=3, learning_rate="constant").set_callbacks(monitor).fit(X, Y)
    scores = {(row["task_name"], row["task_id"]): row["p_at_3"] for row in monitor.get_logs().data}
    assert list(scores) == [("fit", 0), ("epoch", 0), ("epoch", 1), ("epoch", 2)]
    assert scores["epoch", 2] == scores["fit", 0] == precision_at_k(Y, model.predict_top_k(X, 3)[0], k=3)
    one = make(max_iter=1, learning_rate="constant").fit(X, Y)
    assert scores["epoch", 0] == precision_at_k(Y, one.predict_top_k(X, 3)[0], k=3)


@needs_callbacks
def test_scoring_monitor_with_weights_and_class_labels(data):
    from sklearn.callback import ScoringMonitor

    X, y = data[0], np.arange(120) % 4
    weights = np.where(y == 0, 2.0, 1.0)
    monitor = ScoringMonitor(scoring="accuracy")
    model = make(max_iter=2).set_callbacks(monitor).fit(X, y, sample_weight=weights)
    assert monitor.get_logs().data[0]["accuracy"] == pytest.approx(model.score(X, y, weights))


@needs_callbacks
@pytest.mark.filterwarnings("error")
def test_names_of_features_are_not_missed(data):
    X = pd.DataFrame(data[0].toarray(), columns=[f"f{j}" for j in range(40)])

    class Ranker(Keeper):
        def on_fit_task_end(self, estimator, context, *, X, fitted_estimator):
            fitted_estimator.predict_top_k(X, 3)

    model = make(early_stopping=True).set_callbacks(Ranker()).fit(X, data[1])
    with pytest.warns(UserWarning, match="feature names"):
        model.predict_top_k(X.to_numpy(), 3)


@needs_callbacks
@pytest.mark.parametrize("n_jobs", [None, 2])
def test_callbacks_reach_through_a_search_over_pipelines(data, n_jobs):
    from sklearn.callback import ScoringMonitor

    X, Y = data
    monitor = ScoringMonitor(scoring=P_AT_3)
    pipeline = make_pipeline(Normalizer(), make(max_iter=2).set_callbacks(monitor))
    search = GridSearchCV(
        pipeline,
        {"slideclassifier__n_active": [12, 25]},
        scoring=P_AT_3["p_at_3"],
        cv=KFold(2),
        n_jobs=n_jobs,
    )
    search.fit(X, Y)
    rows = monitor.get_logs().data
    assert Counter(row["task_name"] for row in rows) == {"fit": 5, "epoch": 10}
    labels, _ = predict_top_k(search, X, 3)
    refit = max((row for row in rows if row["task_name"] == "fit"), key=lambda row: row["task_id_path"])
    assert refit["p_at_3"] == precision_at_k(Y, labels, k=3)


@needs_callbacks
def test_propagation_from_a_pipeline(data):
    class Propagated(Listener):
        max_propagation_depth = None

    listener = Propagated()
    pipeline = make_pipeline(Normalizer(), make(max_iter=2)).set_callbacks(listener)
    with pytest.warns(UserWarning, match="Normalizer does not support callbacks"):
        pipeline.fit(*data)
    assert listener.ended()["epoch"] == 2
    assert not hasattr(pipeline[-1], "_skl_callbacks")
    assert not hasattr(pipeline[-1], "_parent_callback_ctx")


@needs_callbacks
@pytest.mark.parametrize("n_estimators", [1, 2])
def test_progress_bar(data, n_estimators, capsys):
    pytest.importorskip("rich", reason="ProgressBar needs rich")
    from sklearn.callback import ProgressBar

    make(max_iter=2, n_estimators=n_estimators).set_callbacks(ProgressBar()).fit(*data)
    shown = capsys.readouterr().out
    assert "SlideClassifier - fit" in shown
    assert ("SlideClassifier - network #1" in shown) == (n_estimators == 2)
    assert "100%" in shown


@needs_callbacks
def test_clones_and_copies_have_the_callbacks(data):
    listener = Listener()
    model = make(max_iter=1).set_callbacks(listener)
    clone(model).fit(*data)
    assert listener.ended() == {"epoch": 1, "fit": 1}
    model.fit(*data)
    for other in (pickle.loads(pickle.dumps(model)), copy.deepcopy(model)):
        same_network(other, model)
        (its,) = other._skl_callbacks
        assert its.heard == listener.heard
        other.fit(*data)
        assert len(its.heard) == len(listener.heard) + 6


@needs_callbacks
def test_a_callback_may_store_the_model(data):
    class Storer(Keeper):
        def on_fit_task_end(self, estimator, context, *, fitted_estimator):
            self.kept.append((context.task_name, pickle.dumps(fitted_estimator.set_callbacks())))

    storer = Storer()
    model = make(max_iter=2).set_callbacks(storer).fit(*data)
    stored = pickle.loads(storer.models("epoch")[-1])
    same_network(stored, model)
    assert not [name for name in vars(stored) if "callback" in name]
    assert model._skl_callbacks == [storer]
