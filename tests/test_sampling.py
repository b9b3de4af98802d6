"""Active sets: their make-up, their bounds and the distribution of each source."""

import numpy as np
import pytest
import reference
from numpy.testing import assert_allclose, assert_array_equal

from sklearn_slide._hashing import make_hasher
from sklearn_slide._numba import start_stream
from sklearn_slide._sampling import (
    EMPTY_PATTERN,
    SELECTIONS,
    SHARES,
    Pattern,
    Rows,
    add_negatives,
    add_true,
    make_active_set,
    make_sampler,
    make_samples,
)
from sklearn_slide._tables import NO_TABLES, allocate_tables, build_tables
from sklearn_slide._validation import transpose_pattern

N_LABELS, N_TABLES, HASH_LENGTH = 60, 6, 2


@pytest.fixture(scope="module")
def samples():
    """Make 30 samples of 3 of 10 features and 1 to 3 labels; number 29 has no features, 28 no labels."""
    rng = np.random.default_rng(0)
    features = [np.sort(rng.choice(10, 3, replace=False)) for _ in range(29)] + [np.zeros(0, int)]
    labels = [np.sort(rng.choice(N_LABELS, rng.integers(1, 4), replace=False)) for _ in range(30)]
    labels[28] = np.zeros(0, int)
    x = Rows(pointers(features), np.concatenate(features).astype(np.int32), np.ones(87, dtype=np.float32))
    y = Pattern(pointers(labels), np.concatenate(labels).astype(np.int32))
    return make_samples(x, y)._replace(rows_with=transpose_pattern(x, 10))


def pointers(lists):
    return np.cumsum([0] + [len(part) for part in lists])


@pytest.fixture(scope="module")
def codes():
    return np.random.default_rng(1).integers(2**HASH_LENGTH, size=(N_LABELS, N_TABLES)).astype(np.int32)


@pytest.fixture(scope="module")
def tables(codes):
    tables = allocate_tables(
        make_hasher("simhash", 8, N_TABLES, HASH_LENGTH, np.random.RandomState(0)), N_LABELS
    )
    build_tables(codes, 0, N_TABLES, tables)
    return tables


def sampler(**changes):
    settings = {"sampling": "lsh", "n_active": 20, "negatives": None}
    settings |= {"selection": "vanilla", "min_collisions": 3, "bucket_size": 64}
    return make_sampler(N_LABELS, **settings | changes)


def sample(samples, i, sampler, tables=NO_TABLES, query=None, seed=0):
    """Return the active labels of sample i and the number of true ones."""
    active = make_active_set(N_LABELS, N_LABELS, len(tables.ids), sampler.bucket_size)
    start_stream(active.stream, seed, 0, i)
    n_true = add_true(samples.y, i, active)
    query = np.zeros(0, dtype=np.int32) if query is None else query
    n = add_negatives(samples, i, query, tables, sampler, n_true, active)
    assert not active.collisions.any()
    return active.labels[:n].copy(), n_true


def true_labels(samples, i):
    return samples.y.indices[samples.y.indptr[i] : samples.y.indptr[i + 1]]


@pytest.mark.parametrize(
    "negatives", [None, "auto", {"uniform": 1.0}, {"frequency": 0.5, "cooccurrence": 0.5}]
)
@pytest.mark.parametrize("sampling", ["lsh", "uniform"])
@pytest.mark.parametrize("selection", SELECTIONS)
def test_true_labels_come_first_and_none_comes_twice(samples, tables, codes, negatives, sampling, selection):
    settings = sampler(sampling=sampling, negatives=negatives, selection=selection)
    for i in range(30):
        labels, n_true = sample(samples, i, settings, tables, codes[i])
        assert_array_equal(labels[:n_true], true_labels(samples, i))
        assert len(set(labels)) == len(labels) <= 20
        assert labels.min(initial=0) >= 0
        assert labels.max(initial=0) < N_LABELS


def test_true_labels_are_active_even_beyond_n_active(samples):
    labels, n_true = sample(samples, 0, sampler(sampling="uniform", n_active=1))
    assert_array_equal(labels, true_labels(samples, 0))
    assert n_true == len(labels) >= 1


@pytest.mark.parametrize(
    "change", [{"sampling": "full"}, {"n_active": N_LABELS}, {"n_active": 10 * N_LABELS}]
)
def test_every_label_is_active_without_tables(samples, change):
    settings = sampler(**change)
    labels, _ = sample(samples, 3, settings)
    assert settings.n_hashed == 0
    assert_array_equal(np.sort(labels), np.arange(N_LABELS))


def test_vanilla_takes_labels_from_the_buckets(samples, tables, codes):
    expected = set(reference.count_collisions(codes[7], reference.build_tables(codes)))
    for seed in range(20):
        labels, n_true = sample(samples, 2, sampler(), tables, codes[7], seed)
        assert set(labels[n_true:]) <= expected
        assert len(labels) == 20
    everything, n_true = sample(samples, 2, sampler(n_active=59), tables, codes[7])
    assert set(everything[n_true:]) == expected - set(everything[:n_true])


def test_vanilla_visits_tables_in_random_order(samples, tables, codes):
    chosen = {tuple(sample(samples, 2, sampler(n_active=5), tables, codes[7], seed)[0]) for seed in range(20)}
    assert len(chosen) > 1


def test_top_k_takes_the_labels_met_most(samples, tables, codes):
    counts = reference.count_collisions(codes[7], reference.build_tables(codes))
    labels, n_true = sample(samples, 2, sampler(selection="top_k"), tables, codes[7])
    assert len(labels) == 20
    left_out = set(counts) - set(labels)
    assert min(counts[y] for y in labels[n_true:]) >= max(counts[y] for y in left_out)


def test_threshold_takes_the_labels_met_often_enough(samples, tables, codes):
    counts = reference.count_collisions(codes[7], reference.build_tables(codes))
    labels, n_true = sample(samples, 2, sampler(selection="threshold", n_active=59), tables, codes[7])
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
    observed = frequencies(samples, 28, sampler(sampling="uniform", n_active=1))
    assert_distribution(observed, np.full(N_LABELS, 1 / N_LABELS))


def test_frequency_draws_in_proportion_to_the_labels_entries(samples):
    observed = frequencies(samples, 28, sampler(n_active=1, negatives={"frequency": 1.0}))
    expected = np.bincount(samples.y.indices, minlength=N_LABELS) / len(samples.y.indices)
    assert_distribution(observed, expected)


def test_cooccurrence_draws_a_feature_then_a_sample_then_a_label(samples):
    observed = frequencies(samples, 28, sampler(n_active=1, negatives={"cooccurrence": 1.0}))
    x, expected = samples.x, np.zeros(N_LABELS)
    features = x.indices[x.indptr[28] : x.indptr[29]]
    for j in features:
        others = [i for i in range(30) if j in x.indices[x.indptr[i] : x.indptr[i + 1]]]
        for other in others:
            labels = true_labels(samples, other)
            expected[labels] += 1 / (len(features) * len(others) * max(len(labels), 1))
    assert_distribution(observed, expected)


def test_cooccurrence_of_a_sample_without_features(samples):
    labels, n_true = sample(samples, 29, sampler(negatives={"cooccurrence": 1.0}))
    assert len(labels) == n_true


def test_no_label_at_all_in_training(samples):
    y = Pattern(np.zeros(31, dtype=np.int64), EMPTY_PATTERN.indices)
    labels, n_true = sample(
        samples._replace(y=y), 3, sampler(negatives={"frequency": 0.5, "cooccurrence": 0.5})
    )
    assert (len(labels), n_true) == (0, 0)


def test_shares():
    settings = make_sampler(10_000, "lsh", 100, "auto", "vanilla", 2, 128)
    counts = (settings.n_cooccurrence, settings.n_frequency, settings.n_uniform)
    assert counts == tuple(int(100 * SHARES[source]) for source in ("cooccurrence", "frequency", "uniform"))
    assert settings.n_hashed == 100 - sum(counts)
    assert make_sampler(10_000, "uniform", 100, None, "vanilla", 2, 128).n_uniform == 100
    assert make_sampler(10_000, "lsh", 100, {"frequency": 1.0}, "vanilla", 2, 128).n_hashed == 0


@pytest.mark.parametrize("negatives", [{"hash": 0.5}, {"uniform": -0.1}, {"uniform": 0.7, "frequency": 0.4}])
def test_shares_that_are_not_allowed(negatives):
    with pytest.raises(ValueError, match=r"negatives must be 'auto', None, or a dict of shares.*Got \{"):
        make_sampler(100, "lsh", 10, negatives, "vanilla", 2, 128)


@pytest.mark.parametrize(("n_labels", "expected"), [(1, 1), (1000, 1000), (1001, 400), (10**6, 400)])
def test_automatic_number_of_active_labels(n_labels, expected):
    made = make_sampler(n_labels, "lsh", "auto", "auto", "vanilla", 2, 128)
    assert made.n_active == expected
    assert (made.n_hashed > 0) == (n_labels > 1000)
