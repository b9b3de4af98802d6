"""Memory: what a machine has, and what a fit takes of it against what it allocates."""

import os
import tracemalloc
from types import SimpleNamespace

import numpy as np
import pytest
from helpers import make

from sklearn_slide import LSH, SlideClassifier, _memory
from sklearn_slide._epochs import Best
from sklearn_slide.datasets import make_xmc_classification


@pytest.mark.parametrize("version", [0, 1])
def test_memory_of_a_container(data, monkeypatch, tmp_path, version):
    paths = [tmp_path / "memory.max", tmp_path / "memory.limit_in_bytes"]
    monkeypatch.setattr(_memory, "_CGROUP_LIMITS", paths)
    machine = _memory.physical_memory()
    assert machine > 2**20
    for text in ("max", "9223372036854771712", "", "?"):
        paths[version].write_text(text + "\n")
        assert _memory.physical_memory() == machine
    paths[version].write_text("1000\n")
    assert _memory.physical_memory() == 1000
    X, Y = data
    with pytest.raises(MemoryError, match=r"this machine or container has 0\.0 GiB"):
        make().fit(X, Y)
    monkeypatch.delattr(os, "sysconf", raising=False)
    assert _memory.physical_memory() == 1000
    paths[version].unlink()
    assert _memory.physical_memory() == np.inf


def test_what_is_required_of_the_memory_may_be_all_of_it(monkeypatch):
    monkeypatch.setattr(_memory, "physical_memory", lambda: 2**30)
    _memory.require_memory(2**30, "It", "Do less.")
    with pytest.raises(MemoryError, match=r"It would take 2.5 GiB; .* has 1.0 GiB. Do less."):
        _memory.require_memory(2.5 * 2**30, "It", "Do less.")


@pytest.mark.parametrize(
    "params",
    [
        {},
        {"solver": "adam"},
        {"n_estimators": 2},
        {"hidden_layer_sizes": (64, 32), "activation": "relu"},
        {"lsh": LSH(n_tables=60, hash_length=17)},
        {"init": "random", "solver": "adam"},
    ],
)
def test_estimated_memory_is_what_a_fit_takes(params):
    X, Y = make_xmc_classification(1000, n_features=3000, n_labels=20_000, random_state=0)
    model = SlideClassifier(**{"hidden_layer_sizes": (64,), "random_state": 0, **params})
    estimate = model.estimate_memory(X, Y)
    assert not hasattr(model, "classes_")
    model.fit(X[:10], Y[:10])  # loads the kernels
    tracemalloc.start()
    model.fit(X, Y)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert 0.9 * estimate < peak < 1.15 * estimate, (peak, estimate)


def test_one_copy_of_the_best_weights_is_held_at_a_time():
    weights = np.zeros(1_000_000)
    model = SimpleNamespace(network=(weights,), training=SimpleNamespace(solver=()))
    tracemalloc.start()
    best = Best(model, 0.0)
    for epoch in (1, 2):
        weights[:] = epoch
        best.offer(float(epoch), epoch, is_last=False)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert weights.nbytes < peak < 1.1 * weights.nbytes
    weights[:] = 3
    assert (best.restore(), model.network[0][0]) == (2, 2.0)


@pytest.mark.parametrize(
    ("early_stopping", "n_samples", "kept"),
    [("auto", 120, True), ("auto", 119, False), (True, 20, True), (False, 120, False)],
)
def test_best_weights_count_where_they_are_kept(data, monkeypatch, early_stopping, n_samples, kept):
    noted = []

    def note(*args):
        noted.append(args[-1])
        return 2**60  # more than there is, so that nothing is trained

    monkeypatch.setattr("sklearn_slide._fitting.AUTO_STOPPING", 120)
    monkeypatch.setattr("sklearn_slide._fitting.fit_bytes", note)
    X, Y = (part[:n_samples] for part in data)
    model = make(early_stopping=early_stopping)
    model.estimate_memory(X, Y)
    for call in (model.fit, model.partial_fit):
        with pytest.raises(MemoryError):
            call(X, Y)
    assert noted == [kept, kept, False]
    if early_stopping:
        with pytest.raises(MemoryError):
            model.fit(X, Y, X_val=X, y_val=Y)
        assert noted[-1] is True


@pytest.mark.parametrize("n_known", [10_000, 20_000])
@pytest.mark.parametrize(
    "params",
    [
        {},
        {"solver": "adam"},
        {"direct_limit": 0},
        {"hidden_layer_sizes": (2,), "negatives": {"uniform": 1.0}},  # nearly all are direct weights
    ],
)
def test_estimated_memory_is_what_a_later_call_takes(params, n_known, monkeypatch):
    """Old and new lists of direct weights, and the layer before and after it grows, are there at a time."""
    X, Y = make_xmc_classification(4000, n_features=3000, n_labels=20_000, random_state=0)
    params = {"hidden_layer_sizes": (64,), "random_state": 0, **params}
    first, later = (X[:1000], Y[:1000, :n_known].tocsr()), (X[1000:], Y[1000:])
    SlideClassifier(**params).partial_fit(*first).partial_fit(*later)  # loads the kernels
    estimates = []

    def noted(*args):
        estimates.append(_memory.growth_bytes(*args))
        return estimates[-1]

    monkeypatch.setattr("sklearn_slide._fitting.growth_bytes", noted)
    tracemalloc.start()
    model = SlideClassifier(**params).partial_fit(*first)
    tracemalloc.reset_peak()
    model.partial_fit(*later)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    of_data = sum(part.nbytes for M in later for part in (M.data, M.indices, M.indptr))
    # copies of the data, more of them in older versions of SciPy, come on top
    assert 0.8 * estimates[0] < peak < estimates[0] + 3 * of_data, (peak, estimates, of_data)


@pytest.mark.parametrize(
    ("name", "value"), [("lsh", 3), ("negatives", "none"), ("n_active", -1), ("hidden_layer_sizes", (0,))]
)
def test_an_estimate_of_what_cannot_be_is_refused(data, name, value):
    with pytest.raises(ValueError, match=name):
        make(**{name: value}).estimate_memory(*data)
