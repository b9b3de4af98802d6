"""Active sets: their make-up, their bounds and the distribution of each source."""

import numpy as np
import pytest
import reference
from helpers import callable_kernel, to_samples
from numpy.testing import assert_allclose, assert_array_equal

from sklearn_slide._core import active_set, random_numbers
from sklearn_slide._core.active_set import (
    RUN,
    SELECTIONS,
    SHARES,
    make_active_set,
    make_candidates,
    make_sampler,
)
from sklearn_slide._core.hashing import SimHash
from sklearn_slide._core.rows import Pattern, Rows
from sklearn_slide._core.tables import allocate_tables, build_tables
from sklearn_slide._samples import make_samples, rows_by_feature

N_LABELS, N_TABLES, HASH_LENGTH = 60, 6, 2

start_stream, start_shared_stream, add_true, add_hashed, add_other_negatives = map(
    callable_kernel,
    (
        random_numbers.start_stream,
        random_numbers.start_shared_stream,
        active_set.add_true,
        active_set.add_hashed,
        active_set.add_other_negatives,
    ),
)


@pytest.fixture(scope="module")
def samples():
    """Make 30 samples of 3 of 10 features and 1 to 3 labels; number 29 has no features, 28 no labels."""
    rng = np.random.default_rng(0)
    features = [np.sort(rng.choice(10, 3, replace=False)) for _ in range(29)] + [np.zeros(0, int)]
    labels = [np.sort(rng.choice(N_LABELS, rng.integers(1, 4), replace=False)) for _ in range(30)]
    labels[28] = np.zeros(0, int)
    x = Rows(pointers(features), np.concatenate(features).astype(np.int32), np.ones(87, dtype=np.float32))
    y = Pattern(pointers(labels), np.concatenate(labels).astype(np.int32))
    return make_samples(x, y)


def pointers(lists):
    return np.cumsum([0] + [len(part) for part in lists])


@pytest.fixture(scope="module")
def codes():
    return np.random.default_rng(1).integers(2**HASH_LENGTH, size=(N_LABELS, N_TABLES)).astype(np.int32)


@pytest.fixture(scope="module")
def tables(codes):
    tables = allocate_tables(SimHash.draw(8, N_TABLES, HASH_LENGTH, np.random.RandomState(0)), N_LABELS)
    tables.ids[:] = codes.T
    build_tables(0, N_TABLES, tables)
    return tables


def sampler(shares, n_active=20):
    return make_sampler(N_LABELS, n_active, shares)


def sample(
    samples, i, sampler, tables=None, query=None, seed=0, lookup=("vanilla", 3, 64), capacity=N_LABELS
):
    """Return the active labels of sample i and the number of true ones; query are the codes to look up."""
    active = make_active_set(N_LABELS, capacity)
    start_stream(active.stream, seed, 0, i)
    start_shared_stream(active.shared, seed, 0, 0)
    n = n_true = add_true(samples.y, i, active)
    if sampler.n_hashed:
        selection, min_collisions, bucket_size = lookup
        candidates = make_candidates(N_LABELS, N_TABLES, bucket_size)
        limit = min(sampler.n_active, n + sampler.n_hashed)
        chosen = SELECTIONS[selection](bucket_size, min_collisions)
        n = add_hashed(chosen, query, tables, limit, n, active, candidates)
        assert not candidates.collisions.any()
    rows_with = rows_by_feature(samples, 10)
    n = add_other_negatives(samples, i, rows_with, sampler, n, active)
    return active.labels[:n].copy(), n_true


def true_labels(samples, i):
    return samples.y.indices[samples.y.indptr[i] : samples.y.indptr[i + 1]]


@pytest.mark.parametrize(
    "shares",
    [
        {"lsh": 1},
        "auto",
        {"uniform": 1.0},
        {"frequency": 0.5, "cooccurrence": 0.5},
        {"lsh": 0.5, "frequency": 0.25, "cooccurrence": 0.25},
    ],
)
@pytest.mark.parametrize("selection", SELECTIONS)
def test_true_labels_come_first_and_none_comes_twice(samples, tables, codes, shares, selection):
    for i in range(30):
        lookup = (selection, 3, 64)
        labels, n_true = sample(samples, i, sampler(shares), tables, codes[i], lookup=lookup)
        assert_array_equal(labels[:n_true], true_labels(samples, i))
        assert len(set(labels)) == len(labels) <= 20
        assert labels.min(initial=0) >= 0
        assert labels.max(initial=0) < N_LABELS


@pytest.mark.parametrize("source", SHARES)
def test_true_labels_are_active_even_beyond_n_active(samples, tables, codes, source):
    y = Pattern(np.arange(0, 31 * 20, 20), np.tile(np.arange(20, dtype=np.int32), 30))
    # room for the true labels alone, as a worker has it
    found = sample(samples._replace(y=y), 3, sampler({source: 1}, n_active=10), tables, codes[7], capacity=20)
    assert_array_equal(found[0], np.arange(20))
    assert found[1] == 20


@pytest.mark.parametrize("source", SHARES)
def test_no_more_labels_than_n_active(samples, tables, codes, source):
    settings = sampler({source: 1}, n_active=5)
    for i in range(30):
        labels, _ = sample(samples, i, settings, tables, codes[i], capacity=5)
        assert len(labels) <= 5


@pytest.mark.parametrize("n_active", [None, N_LABELS, 10 * N_LABELS])
def test_every_label_is_active_without_tables(samples, n_active):
    settings = sampler({"lsh": 1}, n_active)
    labels, _ = sample(samples, 3, settings)
    assert settings.n_hashed == 0
    assert_array_equal(np.sort(labels), np.arange(N_LABELS))


def test_vanilla_takes_labels_from_the_buckets(samples, tables, codes):
    expected = set(reference.count_collisions(codes[7], reference.build_tables(codes)))
    for seed in range(20):
        labels, n_true = sample(samples, 2, sampler({"lsh": 1}), tables, codes[7], seed)
        assert set(labels[n_true:]) <= expected
        assert len(labels) == 20
    everything, n_true = sample(samples, 2, sampler({"lsh": 1}, n_active=59), tables, codes[7])
    assert set(everything[n_true:]) == expected - set(everything[:n_true])


def test_vanilla_visits_tables_in_random_order(samples, tables, codes):
    settings = sampler({"lsh": 1}, n_active=5)
    chosen = {tuple(sample(samples, 2, settings, tables, codes[7], seed)[0]) for seed in range(20)}
    assert len(chosen) > 1


def test_top_k_takes_the_labels_met_most(samples, tables, codes):
    counts = reference.count_collisions(codes[7], reference.build_tables(codes))
    lookup = ("top_k", 3, 64)
    labels, n_true = sample(samples, 2, sampler({"lsh": 1}), tables, codes[7], lookup=lookup)
    assert len(labels) == 20
    left_out = set(counts) - set(labels)
    assert min(counts[y] for y in labels[n_true:]) >= max(counts[y] for y in left_out)


def test_threshold_takes_the_labels_met_often_enough(samples, tables, codes):
    counts = reference.count_collisions(codes[7], reference.build_tables(codes))
    lookup, settings = ("threshold", 3, 64), sampler({"lsh": 1}, n_active=59)
    labels, n_true = sample(samples, 2, settings, tables, codes[7], lookup=lookup)
    expected = {y for y, count in counts.items() if count >= 3} - set(labels[:n_true])
    assert set(labels[n_true:]) == expected


def frequencies(samples, i, settings, n_draws=6000):
    counts = np.zeros(N_LABELS)
    for seed in range(n_draws):
        labels, n_true = sample(samples, i, settings, seed=seed)
        counts[labels[n_true:]] += 1
    return counts / n_draws


def assert_distribution(observed, expected, n_draws=6000):
    """Compare within five standard deviations of a binomial; the sample's true labels are not drawn again."""
    assert_allclose(observed, expected, atol=5 * np.sqrt(expected.max() / n_draws))
    assert_array_equal(observed[expected == 0], 0)


def test_uniform(samples):
    # sample 28 has no labels: one draw
    observed = frequencies(samples, 28, sampler({"uniform": 1}, n_active=1))
    assert_distribution(observed, np.full(N_LABELS, 1 / N_LABELS))


def test_frequency_draws_in_proportion_to_the_labels_entries(samples):
    observed = frequencies(samples, 28, sampler({"frequency": 1}, n_active=1))
    expected = np.bincount(samples.y.indices, minlength=N_LABELS) / len(samples.y.indices)
    assert_distribution(observed, expected)


def test_cooccurrence_draws_a_feature_then_a_sample_then_a_label(samples):
    observed = frequencies(samples, 28, sampler({"cooccurrence": 1}, n_active=1))
    x, expected = samples.x, np.zeros(N_LABELS)
    features = x.indices[x.indptr[28] : x.indptr[29]]
    for j in features:
        others = [i for i in range(30) if j in x.indices[x.indptr[i] : x.indptr[i + 1]]]
        for other in others:
            labels = true_labels(samples, other)
            expected[labels] += 1 / (len(features) * len(others) * max(len(labels), 1))
    assert_distribution(observed, expected)


def test_cooccurrence_takes_the_labels_after_the_one_drawn(samples):
    # every sample has the labels 6 to 11: a run begins at any of them, and goes on from the last to the first
    y = Pattern(np.arange(0, 31 * 6, 6), np.tile(np.arange(6, 12, dtype=np.int32), 30))
    y.indptr[29:], y.indices[168:] = 168, 0  # sample 28 has none
    runs = set()
    for seed in range(100):
        labels, n_true = sample(samples._replace(y=y), 28, sampler({"cooccurrence": 1}, RUN), seed=seed)
        assert n_true == 0
        runs.add(tuple(labels))
    assert runs == {tuple(6 + (first + r) % 6 for r in range(RUN)) for first in range(6)}


def test_neighbours_draw_the_same_frequent_and_uniform_labels(samples):
    for shares in ({"frequency": 1}, {"uniform": 1}):
        drawn = []
        for i in (28, 29):
            labels, _ = sample(samples, i, sampler(shares, n_active=10))
            drawn.append(set(labels) - set(true_labels(samples, 28)) - set(true_labels(samples, 29)))
        assert len(drawn[0]) > 3
        assert drawn[1] <= drawn[0]


def test_cooccurrence_of_a_sample_without_features(samples):
    labels, n_true = sample(samples, 29, sampler({"cooccurrence": 1}))
    assert len(labels) == n_true


def test_no_label_at_all_in_training(samples):
    y = Pattern(np.zeros(31, dtype=np.int64), np.zeros(0, dtype=np.int32))
    settings = sampler({"frequency": 0.5, "cooccurrence": 0.5})
    labels, n_true = sample(samples._replace(y=y), 3, settings)
    assert (len(labels), n_true) == (0, 0)


def test_shares():
    settings = make_sampler(10_000, 100, "auto")
    counts = (settings.n_cooccurrence, settings.n_frequency, settings.n_uniform)
    assert counts == tuple(int(100 * SHARES[source]) for source in ("cooccurrence", "frequency", "uniform"))
    assert settings.n_hashed == 100 - sum(counts)
    assert make_sampler(10_000, 100, {"uniform": 1}) == (100, 0, 0, 0, 100)
    assert make_sampler(10_000, 100, {"frequency": 1.0}) == (100, 0, 0, 100, 0)
    # what rounding leaves goes to the first source that has a share
    assert make_sampler(10_000, 101, {"uniform": 0.5, "cooccurrence": 0.5}) == (101, 0, 51, 0, 50)
    assert make_sampler(10_000, 101, {"uniform": 0.25, "lsh": 0.5}) == (101, 50, 0, 0, 25)
    assert make_sampler(10_000, 100, {}) == (100, 0, 0, 0, 0)
    sizes = [make_sampler(n, "auto", "auto", dense).n_active for n in (1000, 1200, 10**5) for dense in (0, 1)]
    assert sizes == [1000, 1000, 400, 1200, 400, 1600]


@pytest.mark.parametrize(
    "shares", [{"hash": 0.5}, {"uniform": -0.1}, {"uniform": 0.7, "frequency": 0.4}, {"lsh": "1"}]
)
def test_shares_that_are_not_allowed(shares):
    with pytest.raises(ValueError, match=r"negatives must be 'auto' or a dict of shares.*Got \{"):
        make_sampler(100, 10, shares)


@pytest.mark.parametrize(("n_labels", "expected"), [(1, 1), (1000, 1000), (1001, 400), (10**6, 400)])
def test_automatic_number_of_active_labels(n_labels, expected):
    made = make_sampler(n_labels, "auto", "auto")
    assert made.n_active == expected
    assert (made.n_hashed > 0) == (n_labels > 1000)


def test_co_occurring_labels_come_from_rows_with_labels(data):
    X, Y = data
    Y = Y[:, [3]]
    samples = to_samples(X, Y)
    indptr, rows = rows_by_feature(samples, 40)
    with_label = Y.toarray()[:, 0] > 0
    assert 0 < with_label.sum() < 120
    dense = X.toarray() != 0
    for j in range(40):
        expected = np.flatnonzero(dense[:, j] & with_label)
        if not len(expected):
            expected = np.flatnonzero(dense[:, j])
        assert_array_equal(rows[indptr[j] : indptr[j + 1]], expected)
