"""Shards of labels, without an engine: how labels are dealt, trained in blocks, merged and joined."""

from contextlib import nullcontext
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import scipy.sparse as sp
from helpers import assert_same, make_model, to_samples
from numpy.testing import assert_allclose, assert_array_equal

from sklearn_slide import LSH, SlideClassifier, _fitting
from sklearn_slide._blocks import check_block
from sklearn_slide._core.layers import Batch, hidden_vectors
from sklearn_slide._core.losses import Sigmoid
from sklearn_slide._samples import as_rows
from sklearn_slide._shard_files import load, stored
from sklearn_slide._shards import (
    Shard,
    deal_labels,
    fit_shard,
    join_shards,
    merge_top_k,
    predict_shard,
    probabilities_shard,
    shard_parameters,
    split_classifier,
    top_k_shard,
    update_shard,
)
from sklearn_slide._trainer import Trainer, TrainingSettings
from sklearn_slide.datasets import make_xmc_classification

N_SHARDS = 3


def parameters(**others):
    """Return the parameters of a small SlideClassifier."""
    small = {"hidden_layer_sizes": (8,), "n_active": 12, "direct_limit": 60, "random_state": 0, "max_iter": 2}
    return SlideClassifier(**small | others).get_params(deep=False)


def fit_shards(given, blocks, n_shards=N_SHARDS):
    """Train all shards, the pilot first."""
    counts = sum(check_block(0, block, block[0].shape[1], block[1].shape[1]).counts for block in blocks)
    columns = deal_labels(counts, n_shards)
    pilot, *others = zip(shard_parameters(given, counts, columns), columns, strict=True)
    pilot = fit_shard(*pilot, blocks)
    return [pilot, *(fit_shard(*other, blocks, pilot) for other in others)]


def parameters_of(number, data, **others):
    """Return the parameters of one of the shards."""
    counts = np.asarray(data[1].sum(axis=0)).ravel()
    return shard_parameters(parameters(**others), counts, deal_labels(counts, N_SHARDS))[number]


def cut(X, Y, *bounds):
    """Cut rows into blocks."""
    return [(X[i:j], Y[i:j]) for i, j in pairwise([0, *bounds, X.shape[0]])]


def rank(shards, X, k):
    return merge_top_k([top_k_shard(shard, X, k) for shard in shards], k)


@pytest.fixture(scope="module")
def shards(data):
    return fit_shards(parameters(), [data])


def test_labels_are_dealt_by_frequency():
    # in the order 1, 3, 4, 0, 5, 2: the first two, then in turn
    dealt = deal_labels([5, 9, 1, 7, 7, 3], 3)
    for own, expected in zip(dealt, [[1, 3], [4, 5], [0, 2]], strict=True):
        assert_array_equal(own, expected)
    for n_labels in range(4, 20):
        dealt = deal_labels(np.arange(n_labels), 4)
        assert min(map(len, dealt)) > 0
        assert max(map(len, dealt)) == -(-n_labels // 4)
        assert_array_equal(np.sort(np.concatenate(dealt)), np.arange(n_labels))
    with pytest.raises(ValueError, match=r"n_shards must be at most the number of labels of y, 5\. Got 6"):
        deal_labels([5, 9, 1, 7, 7], 6)


@pytest.mark.parametrize(
    ("n_active", "n_labels", "dense", "expected"),
    [
        ("auto", 1000, False, [None] * 3),
        ("auto", 1000, True, [None] * 3),
        ("auto", 1200, False, [300, 50, 50]),
        ("auto", 6000, True, [1200, 200, 200]),
        ("auto", 1200, True, [None] * 3),  # the pilot scores all its labels
        (None, 1200, True, [None] * 3),
        (9, 1200, True, [7, 2, 2]),
    ],
)
def test_parameters_are_divided(n_active, n_labels, dense, expected):
    given = parameters(n_active=n_active, direct_limit=10, verbose=1, early_stopping="auto")
    # half of the labels with all entries, and two quarters with none
    counts = np.repeat([3, 0], n_labels // 2)
    columns = np.split(np.arange(n_labels), [n_labels // 2, 3 * n_labels // 4])
    divided = shard_parameters(given, counts, columns, dense)
    for own, n, limit, stopping in zip(divided, expected, [8, 2, 2], ["auto", False, False], strict=True):
        changed = {"n_active": n, "direct_limit": limit, "verbose": False, "early_stopping": stopping}
        assert own == given | changed
    without = shard_parameters(given | {"direct_limit": 0}, counts, columns)
    assert [own["direct_limit"] for own in without] == [0] * 3
    assert shard_parameters(given, counts, [np.arange(n_labels)]) == [given]
    even = shard_parameters(given, np.zeros(n_labels, dtype=np.int64), columns)
    assert [own["direct_limit"] for own in even] == [3, 2, 2]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("n_estimators", 2),
        ("class_weight", "balanced"),
        ("loss", "softmax"),
        ("label_weight", "propensity"),
        ("threshold", "micro_f1"),
    ],
)
def test_parameters_that_do_not_go_with_shards(name, value):
    with pytest.raises(ValueError, match=f"{name}.*n_shards=2"):
        shard_parameters(parameters(**{name: value}), np.ones(20), [np.arange(9), np.arange(9, 20)])


@pytest.mark.parametrize("one_pass", [False, True])
@pytest.mark.parametrize("stopping", ["auto", True])
def test_one_shard_is_a_plain_classifier(data, one_pass, stopping, monkeypatch):
    monkeypatch.setattr(_fitting, "AUTO_STOPPING", 50)
    X, Y = data
    given = parameters(loss="softmax", label_weight=np.linspace(0.5, 2, 25), early_stopping=stopping)
    given = shard_parameters(given, np.ones(25), [np.arange(25)])[0]
    shard = fit_shard(given, np.arange(25), [(X, Y, np.arange(120) % 3)], one_pass=one_pass)
    plain = SlideClassifier(**given)
    (plain.partial_fit if one_pass else plain.fit)(X, Y, sample_weight=np.arange(120) % 3)
    assert_same(join_shards([shard], given), plain)
    assert vars(join_shards([shard], given)).keys() == vars(plain).keys()
    assert (plain.validation_scores_ is None) == one_pass
    assert join_shards([shard], given).validation_scores_ == plain.validation_scores_


def test_pilot_is_a_plain_classifier_of_its_labels(data, shards):
    X, Y = data
    given = parameters_of(0, data)
    assert_same(shards[0].classifier, SlideClassifier(**given).fit(X, Y[:, shards[0].columns]))


def test_other_shards_take_the_hidden_layers_as_they_are(shards):
    pilot = shards[0].classifier
    for shard in shards[1:]:
        assert_array_equal(shard.classifier.coefs_[0], pilot.coefs_[0])
        assert_array_equal(shard.classifier.intercepts_[0], pilot.intercepts_[0])
        assert not np.allclose(shard.classifier.coefs_[1], 0)
    assert_array_equal(np.sort(np.concatenate([shard.columns for shard in shards])), np.arange(25))


@pytest.mark.parametrize("solver", ["adagrad", "adam"])
@pytest.mark.parametrize("sizes", [(8,), (8, 6)])
def test_frozen_layers_train_as_a_linear_model_of_hidden_vectors(data, solver, sizes):
    X, Y = data
    settings = {"direct_limit": 0, "solver": solver}
    samples = to_samples(X, Y)
    deep = {"hidden_layer_sizes": sizes, "activation": "tanh"}
    frozen = make_model(samples, 40, 25, **settings, **deep)
    frozen.training.solver = frozen.training.solver._replace(input=None, deeper=None)
    before = [layer.weights.copy() for layer in frozen.network.hidden]
    h = sp.csr_matrix(hidden_vectors(Batch(samples.x, frozen.network), 0, 120, 1))
    of_hidden = to_samples(h, Y)
    linear = make_model(of_hidden, sizes[-1], 25, hidden_layer_sizes=(), **settings)
    for array, start in zip(linear.network.output, frozen.network.output, strict=True):
        array[:] = start
    for model, its in ((frozen, samples), (linear, of_hidden)):
        trainer = Trainer(model, its, TrainingSettings(None, "auto", shuffle=True, n_jobs=1))
        loss = trainer.run_epoch((0.1, 0.05))[0]
    assert np.isfinite(loss)
    for one, two in zip(frozen.network.output, linear.network.output, strict=True):
        assert_allclose(one, two, rtol=1e-4, atol=1e-5)
    for layer, start in zip(frozen.network.hidden, before, strict=True):
        assert_array_equal(layer.weights, start)


@pytest.mark.parametrize("frozen", [False, True])
def test_blocks_are_learned_as_one(data, shards, frozen, monkeypatch):
    monkeypatch.setattr(Sigmoid, "least_residual", 0.0)  # each block has random numbers of its own
    X, Y = data
    given = parameters_of(1, data, n_active=None, shuffle=False, direct_limit=30)
    pilot, columns = (shards[0] if frozen else None), shards[1].columns
    one, several = (
        fit_shard(given, columns, blocks, pilot).classifier for blocks in (cut(X, Y), cut(X, Y, 50, 70))
    )
    for a, b in zip(one.coefs_ + one.intercepts_, several.coefs_ + several.intercepts_, strict=True):
        assert_allclose(a, b, rtol=1e-3, atol=1e-4)
    assert_array_equal(one.direct_coef_.indices, several.direct_coef_.indices)
    assert_array_equal(one.direct_coef_.indptr, several.direct_coef_.indptr)
    assert_allclose(one.direct_coef_.data, several.direct_coef_.data, rtol=1e-3, atol=1e-4)
    assert_array_equal(one._model.training.crowded, several._model.training.crowded)
    assert_allclose(one.loss_curve_, several.loss_curve_, rtol=1e-4)
    assert (one.n_iter_, one.t_) == (several.n_iter_, several.t_)


def test_blocks_read_one_at_a_time(data, shards):
    X, Y = data
    blocks = cut(X, Y, 50, 70)

    class Files:
        n_read = 0

        def __len__(self):
            return len(blocks)

        def __getitem__(self, number):
            self.n_read += 1
            return blocks[number]

    given = parameters_of(1, data)
    files = Files()
    for pilot in (None, shards[0]):
        read = fit_shard(given, shards[1].columns, files, pilot)
        assert_same(read.classifier, fit_shard(given, shards[1].columns, blocks, pilot).classifier)
    assert files.n_read > 6


def test_blocks_without_samples_are_passed_over(data, shards):
    X, Y = data
    nothing, weightless = (X[:0], Y[:0], None), (X[:9], Y[:9], np.zeros(9))
    blocks = [(X[:50], Y[:50], np.ones(50)), (X[50:], Y[50:], np.arange(70) % 2)]
    given = parameters_of(1, data)
    with_gaps = [nothing, blocks[0], weightless, blocks[1], nothing]
    for pilot in (None, shards[0]):
        one, two = (fit_shard(given, shards[1].columns, part, pilot) for part in (blocks, with_gaps))
        assert_same(one.classifier, two.classifier)
        assert one.classifier.t_ == two.classifier.t_ == 2 * 85
    with pytest.raises(ValueError, match="X has no rows, or all weights"):
        fit_shard(given, shards[1].columns, [nothing, weightless])


def test_patience_and_a_watch_end_training(data, shards):
    given = parameters_of(1, data, max_iter=50, tol=100)
    for pilot in (None, shards[0]):
        calls = []
        shard = fit_shard(given, shards[1].columns, [data], pilot, after_epoch=lambda c=calls: c.append(1))
        assert len(calls) == shard.classifier.n_iter_ == len(shard.classifier.loss_curve_) < 5
        assert "_note_epoch" not in vars(shard.classifier)

        def stop():
            raise KeyError("stopped")

        with pytest.raises(KeyError, match="stopped"):
            fit_shard(given, shards[1].columns, [data], pilot, after_epoch=stop)
        with pytest.raises(KeyError, match="stopped"):
            update_shard(shard, [data], after_epoch=stop)


def test_a_loss_that_is_not_finite_names_the_epoch(data, shards):
    X, Y = data
    given = parameters_of(1, data, learning_rate_init=3e38, learning_rate="constant")
    with pytest.raises(ValueError, match=r"not finite in epoch 1: .*learning_rate_init"):
        fit_shard(given, shards[1].columns, cut(X, Y, 60), shards[0])


DEEP = {"hidden_layer_sizes": (10, 8), "activation": "relu", "solver": "adam", "loss": "sigmoid+softmax"}
LINEAR = {"hidden_layer_sizes": (), "n_active": None}


@pytest.mark.parametrize("others", [{}, DEEP, LINEAR, {"direct_limit": 0, "init": "random"}])
def test_joined_shards_are_one_classifier(data, others):
    X, Y = data
    given = parameters(**others)
    shards = fit_shards(given, [data])
    joined = join_shards(shards, given)
    labels, scores = rank(shards, X, 6)
    expected, its_scores = joined.predict_top_k(X, 6)
    assert_array_equal(labels, expected)
    assert_allclose(scores, its_scores, rtol=1e-5, atol=1e-5)
    assert_array_equal(
        sum(predict_shard(shard, X, 25) for shard in shards).toarray(), joined.predict(X).toarray()
    )
    chosen = np.array([20, 3, 3, 24])
    probabilities = sum(probabilities_shard(shard, X, chosen) for shard in shards)
    assert_allclose(probabilities, joined.predict_proba(X)[:, chosen], rtol=1e-4)
    for shard in shards:
        assert_array_equal(joined.coefs_[-1][:, shard.columns], shard.classifier.coefs_[-1])
        assert_array_equal(
            joined.direct_coef_[:, shard.columns].toarray(), shard.classifier.direct_coef_.toarray()
        )
    assert joined.get_params(deep=False) == given
    before, kept = joined.coefs_[0].copy(), shards[0].classifier.coefs_[0].copy()
    joined.partial_fit(X, Y)
    assert joined.t_ == 3 * 120
    assert not np.array_equal(joined.coefs_[0], before)
    assert_array_equal(shards[0].classifier.coefs_[0], kept)


def test_labels_that_come_to_joined_shards_do_not_outshine_the_others():
    X, Y = make_xmc_classification(n_samples=1200, n_labels=600, random_state=0)
    given = SlideClassifier((64,), random_state=0, n_jobs=1).get_params(deep=False)
    model = join_shards(fit_shards(given, cut(X[:1000], Y[:1000, :500], 600)), given)
    before = model.predict_top_k(X[1000:], k=5)[0]
    has_new = np.flatnonzero(Y[:1000, 500:].sum(axis=1))[:40]  # they alone tell nothing of all samples
    model.set_params(learning_rate_init=1e-30).partial_fit(X[has_new], Y[has_new])
    after = model.predict_top_k(X[1000:], k=5)[0]
    assert 0 < (after >= 500).mean() < 0.01
    assert (after == before).mean() > 0.98


@pytest.mark.parametrize("others", [{}, DEEP, LINEAR])
def test_split_classifiers_rank_and_join_again(data, others):
    X, Y = data
    # without hash tables, which a joined model builds anew
    given = parameters(negatives={"cooccurrence": 0.5, "frequency": 0.5}, **others)
    plain = SlideClassifier(**given).fit(X, Y)
    shards = split_classifier(plain, 4)
    labels, _ = rank(shards, X, 25)
    assert_array_equal(labels, plain.predict_top_k(X, 25)[0])
    again = join_shards(shards, given)
    assert_same(again, plain)
    assert_array_equal(again.direct_coef_.toarray(), plain.direct_coef_.toarray())
    assert_same(again.partial_fit(X, Y), plain.partial_fit(X, Y))
    assert_same(split_classifier(plain, 1)[0].classifier, plain)


def test_shards_have_no_calibration(data):
    X, Y = data
    model = SlideClassifier(**parameters()).fit(X, Y).calibrate(X, Y)
    labels = np.array([5, 0, 3])
    (alone,) = split_classifier(model, 1)
    assert_array_equal(probabilities_shard(alone, X, labels), model.predict_proba(X, labels))
    shards = split_classifier(model, 3)
    shards[0].classifier.calibrate(X, Y[:, shards[0].columns])
    joined = join_shards(shards, parameters())
    assert all(part._model.calibration is None for part in (shards[1].classifier, joined))
    model._model.calibration = shards[0].classifier._model.calibration = None
    found = sum(probabilities_shard(shard, X, labels) for shard in shards)
    assert_allclose(found, model.predict_proba(X)[:, labels], rtol=1e-5)


def test_classifiers_that_cannot_be_split(data):
    X, Y = data
    of_classes = SlideClassifier(**parameters()).fit(X, np.arange(120) % 5)
    named = SlideClassifier(**parameters()).partial_fit(X, Y, classes=[f"l{i}" for i in range(25)])
    for model in (of_classes, named):
        with pytest.raises(ValueError, match="must be fitted to a multi-label indicator whose columns"):
            split_classifier(model, 2)
    with pytest.raises(ValueError, match="compact"):
        split_classifier(SlideClassifier(**parameters()).fit(X, Y).compact(), 2)


@pytest.mark.parametrize("factor", [1, 64])
def test_updates_change_a_copy(data, shards, factor):
    X, Y = data
    blocks = [(X[:60] * np.float32(factor), Y[:60]), (X[60:] * np.float32(factor), Y[60:], np.ones(60))]
    before = [[array.copy() for array in shard.classifier.coefs_] for shard in shards]
    longer = pytest.warns(UserWarning, match="Samples are now about 64 times as long")
    with longer if factor > 1 else nullcontext():
        pilot = update_shard(shards[0], blocks)
        updated = [pilot, *(update_shard(shard, blocks, pilot) for shard in shards[1:])]
        again = update_shard(shards[1], blocks, pilot)
        plain = SlideClassifier(**parameters_of(0, data))
        plain.fit(X, Y[:, shards[0].columns])
        for x, y, *_ in blocks:
            plain.partial_fit(x, y[:, shards[0].columns])
    for shard, coefs in zip(shards, before, strict=True):
        for array, earlier in zip(shard.classifier.coefs_, coefs, strict=True):
            assert_array_equal(array, earlier)
    assert_same(updated[1].classifier, again.classifier)
    assert_same(pilot.classifier, plain)
    for shard in updated[1:]:
        assert_array_equal(shard.classifier.coefs_[0], pilot.classifier.coefs_[0])
        assert shard.classifier.t_ == 3 * 120
    labels, _ = rank(updated, X * np.float32(factor), 5)
    assert_array_equal(labels, join_shards(updated, parameters()).predict_top_k(X * np.float32(factor), 5)[0])


def test_merged_ranks():
    parts = [
        (np.array([[4, 0]]), np.array([[2.0, 1.0]], dtype=np.float32)),
        (np.array([[3]]), np.array([[2.0]], dtype=np.float32)),
    ]
    labels, scores = merge_top_k(parts, 2)
    assert_array_equal(labels, [[3, 4]])
    assert_array_equal(scores, [[2.0, 2.0]])
    assert merge_top_k(parts, 5)[0].shape == (1, 3)


def test_no_rows(data, shards):
    X = data[0][:0]
    assert [part.shape for part in rank(shards, X, 5)] == [(0, 5), (0, 5)]
    assert predict_shard(shards[0], X, 25).shape == (0, 25)
    assert probabilities_shard(shards[0], X, np.array([1, 2])).shape == (0, 2)


def test_files_of_shards(tmp_path, shards):
    path, made = tmp_path / "new" / "one.shard", []

    def make():
        made.append(1)
        return shards[0]

    for _ in range(2):
        assert_same(stored(path, make).classifier, shards[0].classifier)
    assert len(made) == 1
    assert [file.name for file in path.parent.iterdir()] == ["one.shard"]
    path.write_bytes(path.read_bytes()[:100])
    with pytest.warns(RuntimeWarning, match="could not be read"):
        stored(path, make)
    assert len(made) == 2
    assert_same(load(path).classifier, shards[0].classifier)
    assert stored(None, make) is shards[0]


def test_size_of_a_shard(shards):
    coefs = shards[0].classifier.coefs_
    assert shards[0].__sizeof__() > sum(coef.nbytes for coef in coefs)
    twice = replace(shards[0], columns=np.arange(10**6))
    assert twice.__sizeof__() > shards[0].__sizeof__() + 7_900_000
    assert isinstance(twice, Shard)


def test_hash_tables_of_shards(data):
    given = parameters(lsh=LSH(n_tables=4), negatives={"lsh": 0.5, "uniform": 0.5}, n_active=9)
    shards = fit_shards(given, [data])
    assert all(shard.classifier._model.training.index is not None for shard in shards)
    joined = join_shards(shards, given)
    assert joined._model.training.index is None
    joined.partial_fit(*data)
    rows = joined._model.rows(data[0])
    assert rows.n_rows == as_rows(data[0]).n_rows
