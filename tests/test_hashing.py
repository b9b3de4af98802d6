"""Hash families: kernels against the definitions, and collision laws against theory or simulation."""

import doctest

import numpy as np
import pytest
import reference
from helpers import callable_kernel

from sklearn_slide._core import hashing
from sklearn_slide._core.hashing import (
    FAMILIES,
    auto_hash_length,
    check_families,
    hash_rows,
    longest_hash,
    work_size,
)

BITS = {"simhash": 1, "wta": 3, "dwta": 3, "minhash": 3}

hash_vector = callable_kernel(hashing.hash_vector)


def draw(family, n_features, n_tables, hash_length, rng):
    return FAMILIES[family].draw(n_features, n_tables, hash_length, rng)


def codes_of(vectors, hasher, dtype=np.int32):
    """Hash each row of vectors by itself; return codes (n_vectors, n_tables)."""
    work = np.empty(work_size(hasher), dtype=np.float32)
    codes = np.empty((len(vectors), hasher.n_tables), dtype=dtype)
    for vector, row in zip(np.asarray(vectors, dtype=np.float32), codes, strict=True):
        hash_vector(hasher, vector, work, row)
    return codes


def collisions(x, y, family, n_hashers, n_tables=128):
    """Return for each of n_hashers seeds which share of n_tables elementary hashes agree on x and y."""
    shares = []
    for seed in range(n_hashers):
        hasher = draw(family, len(x), n_tables, 1, np.random.RandomState(seed))
        first, second = codes_of([x, y], hasher)
        shares.append(np.mean(first == second))
    return np.array(shares)


def standard_error(shares):
    """Return that of the mean of independent shares, however dependent the hashes inside one share are."""
    return np.std(shares, ddof=1) / np.sqrt(len(shares))


def integer_vectors(n_features, rng):
    """Return vectors of small integers: exact in float32, with zeros and ties, dense and sparse."""
    dense = rng.randint(-3, 4, size=(6, n_features))
    sparse = dense * (rng.uniform(size=dense.shape) < 0.1)
    positive = np.abs(sparse)
    unit = np.zeros((1, n_features))
    unit[0, rng.randint(n_features)] = 1
    return np.vstack([dense, sparse, positive, unit, -unit, np.ones((1, n_features))]).astype(np.float32)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("n_features", [1, 2, 7, 20, 64, 100, 130])
def test_codes_equal_the_definition(family, n_features):
    rng = np.random.RandomState(n_features)
    hasher = draw(family, n_features, 11, 3, rng)
    vectors = integer_vectors(n_features, rng)
    expected = [reference.hash_vector(vector, family, hasher) for vector in vectors]
    np.testing.assert_array_equal(codes_of(vectors, hasher), expected)
    np.testing.assert_array_equal(codes_of(vectors, hasher, dtype=np.int64), expected)


@pytest.mark.parametrize("family", FAMILIES)
def test_codes_of_real_vectors_equal_the_definition(family):
    rng = np.random.RandomState(0)
    hasher = draw(family, 100, 40, 8, rng)
    vectors = rng.standard_normal((20, 100)).astype(np.float32)
    if family == "simhash":  # 256 bits a vector: none may be close enough to 0 for float32 to turn it
        n_bits = 40 * 8
        projections = [reference.simhash_projections(vector, hasher)[:n_bits] for vector in vectors]
        assert np.abs(projections).min() > 1e-5
    expected = [reference.hash_vector(vector, family, hasher) for vector in vectors]
    np.testing.assert_array_equal(codes_of(vectors, hasher), expected)


def test_wta_by_hand():
    hasher = draw("wta", 9, 2, 2, np.random.RandomState(0))
    hasher.positions[:] = [
        [0, 1, 2, 3, 4, 5, 6, 7],  # 2 is the largest value, at place 6
        [8, 7, 6, 5, 4, 3, 2, 1],  # 5 at place 0
        [1, 2, 3, 4, 5, 6, 7, 8],  # 5 at place 7
        [7, 0, 1, 2, 3, 4, 5, 6],  # 2 at place 7
    ]
    # Table 0 has hashes 0 and 2, table 1 has hashes 1 and 3.
    np.testing.assert_array_equal(codes_of([[0, 1, 1, -1, 0, 1, 2, -5, 5]], hasher), [[6 * 8 + 7, 0 * 8 + 7]])


def test_dwta_by_hand():
    hasher = draw("dwta", 16, 3, 1, np.random.RandomState(0))
    hasher.positions[:] = [np.arange(8), np.arange(8, 16), np.arange(8)]
    vector = np.zeros(16)
    vector[[10, 13]] = -3, -1
    # Only the middle hash has a nonzero coordinate, its largest at place 5; the others borrow it.
    np.testing.assert_array_equal(codes_of([vector], hasher), [[5, 5, 5]])
    vector[[1, 2]] = 4, 4
    np.testing.assert_array_equal(codes_of([vector], hasher), [[1, 5, 1]])


@pytest.mark.parametrize("family", ["dwta", "minhash"])
def test_bins_of_one_permutation_are_disjoint(family):
    width = {"dwta": 8, "minhash": 16}[family]
    positions = draw(family, 100, 30, 1, np.random.RandomState(0)).positions
    assert positions.shape == (30, width)
    n_bins = 100 // width
    for first in range(0, 30, n_bins):
        together = positions[first : first + n_bins].ravel()
        assert len(set(together)) == len(together)


# Bounds of the laws: four standard errors, so that a correct family fails for one seed in 16,000; the seeds
# are fixed. A wrong family is far outside.


@pytest.mark.parametrize("n_features", [5, 20, 64, 100, 128, 300])
@pytest.mark.parametrize("angle", [0.3, np.pi / 3, np.pi / 2, 2.5])
def test_simhash_collides_with_the_angle(n_features, angle):
    n_pairs, n_bits = 200, 128
    rng = np.random.RandomState(0)
    shares = []
    for _ in range(n_pairs):
        x, other = np.linalg.qr(rng.standard_normal((n_features, 2)))[0].T
        y = np.cos(angle) * x + np.sin(angle) * other
        first, second = codes_of([x, 7 * y], draw("simhash", n_features, n_bits, 1, rng))
        shares.append(np.mean(first == second))
    law = 1 - angle / np.pi
    # Binomial: the bits of a pair are hardly dependent.
    assert abs(np.mean(shares) - law) < 4 * np.sqrt(law * (1 - law) / (n_pairs * n_bits))


@pytest.mark.parametrize(("n_features", "n_padded"), [(3, 64), (20, 64), (128, 128), (300, 512)])
def test_simhash_collides_with_the_angle_of_vectors_with_few_coordinates(n_features, n_padded):
    x, y = np.zeros((2, n_features))
    x[:3], y[:3] = [3.1, 1.2, 0.9], [3.1, -1.2, -0.9]
    law = 1 - np.arccos(x @ y / (x @ x)) / np.pi
    shares = collisions(x, y, "simhash", 400)
    # Each coordinate is multiplied by a sum of n_padded random signs, normal up to terms of 1 / n_padded. One
    # sign flip and transform instead of two would collide always, not with 0.71: the sign of 3.1 decides.
    assert abs(np.mean(shares) - law) < 4 * standard_error(shares) + 1 / n_padded


def test_simhash_bits_of_a_table_are_independent():
    # Two bits that agree on x and y with probability p each agree both with p**2.
    rng = np.random.RandomState(0)
    p = 1 - 1.0 / np.pi
    shares = []
    for _ in range(200):
        x, other = np.linalg.qr(rng.standard_normal((100, 2)))[0].T
        y = np.cos(1.0) * x + np.sin(1.0) * other
        first, second = codes_of([x, y], draw("simhash", 100, 100, 2, rng))
        shares.append(np.mean(first == second))
    assert abs(np.mean(shares) - p**2) < 4 * standard_error(shares)


def simulate_wta(x, y, n_draws, rng):
    """Return for each draw whether the largest of 8 random coordinates is at the same place in x and y."""
    agree = []
    for _ in range(n_draws):
        some = rng.permutation(len(x))[:8]
        agree.append(np.argmax(x[some]) == np.argmax(y[some]))
    return np.array(agree)


def test_wta_collides_as_its_definition():
    rng = np.random.RandomState(1)
    x = rng.standard_normal(100)
    y = x + 0.7 * rng.standard_normal(100)
    simulated = simulate_wta(x, y, 20_000, rng)
    shares = collisions(x, y, "wta", 160)
    error = np.hypot(standard_error(simulated), standard_error(shares))
    assert abs(np.mean(shares) - np.mean(simulated)) < 4 * error
    assert 0.3 < np.mean(shares) < 0.9  # far from chance, 1/8, and from certainty


def test_wta_of_unrelated_vectors_collides_by_chance():
    rng = np.random.RandomState(2)
    shares = []
    for seed in range(300):
        x, y = rng.standard_normal((2, 60))
        first, second = codes_of([x, y], draw("wta", 60, 100, 1, np.random.RandomState(seed)))
        shares.append(np.mean(first == second))
    assert abs(np.mean(shares) - 1 / 8) < 4 * standard_error(shares)


def simulate_dwta(x, y, n_permutations, rng):
    """Return the share of densified hashes that agree, for bins of fresh permutations and fresh probes."""
    bins = [
        bin_
        for _ in range(n_permutations)
        for bin_ in rng.permutation(len(x))[: len(x) // 8 * 8].reshape(-1, 8)
    ]

    def winner(vector, bin_):
        return np.argmax(np.where(vector[bin_] != 0, vector[bin_], -np.inf))

    agree = []
    for bin_ in bins:
        probed = [bin_] + [bins[k] for k in rng.randint(len(bins), size=200)]
        digits = [next(winner(v, b) for b in probed if v[b].any()) for v in (x, y)]
        agree.append(digits[0] == digits[1])
    return np.mean(agree)


def test_dwta_collides_as_its_definition():
    rng = np.random.RandomState(3)
    x, y = np.zeros((2, 100))
    x[:14], y[6:20] = rng.uniform(1, 2, size=(2, 14))
    y[6:14] += 2 * x[6:14]
    simulated = np.array([simulate_dwta(x, y, 10, rng) for _ in range(150)])
    shares = collisions(x, y, "dwta", 300, n_tables=120)
    error = np.hypot(standard_error(simulated), standard_error(shares))
    assert abs(np.mean(shares) - np.mean(simulated)) < 4 * error
    # Bins of zeros (0 at place 0) make plain WTA collide more often, whatever the vectors are.
    assert np.mean(collisions(x, y, "wta", 20)) > np.mean(shares) + 0.05


def vectors_of_sets(n_features, n_members, n_common, rng):
    """Return two vectors whose n_members positive coordinates have n_common places in common."""
    places = rng.permutation(n_features)
    x, y = -rng.uniform(size=(2, n_features)) * (rng.uniform(size=(2, n_features)) < 0.5)
    x[places[:n_members]] = rng.uniform(1, 2, size=n_members)
    y[places[n_members - n_common : 2 * n_members - n_common]] = rng.uniform(1, 2, size=n_members)
    return x, y


@pytest.mark.parametrize(
    ("n_features", "n_members", "n_common"),
    [(128, 16, 0), (128, 16, 8), (128, 16, 14), (300, 37, 20), (45, 5, 3), (20, 2, 1), (512, 3, 1)],
)
def test_minhash_collides_with_the_jaccard_similarity(n_features, n_members, n_common):
    # The last case has far fewer members than d/8: most bins borrow.
    x, y = vectors_of_sets(n_features, n_members, n_common, np.random.RandomState(0))
    jaccard = n_common / (2 * n_members - n_common)
    shares = collisions(x, y, "minhash", 300)
    assert abs(np.mean(shares) - (jaccard + (1 - jaccard) / 8)) < 4 * standard_error(shares)


def test_minhash_takes_the_top_eighth():
    rng = np.random.RandomState(0)
    x = rng.uniform(1, 2, size=64)
    y = x.copy()
    top = np.argsort(-x)[:8]
    y[np.setdiff1d(np.arange(64), top)] = rng.uniform(-1, 1, size=56)
    y[top] = rng.uniform(2, 3, size=8)
    hasher = draw("minhash", 64, 50, 2, rng)
    first, second = codes_of([x, y], hasher)
    np.testing.assert_array_equal(first, second)
    y[top[0]] = 0
    assert (codes_of([y], hasher)[0] != first).any()


def test_minhash_tells_neighbouring_floats_apart():
    hasher = draw("minhash", 64, 50, 2, np.random.RandomState(0))
    close, clear = np.ones((2, 64), dtype=np.float32)
    close[::8] = np.nextafter(np.float32(1), np.float32(2))
    clear[::8] = 2
    np.testing.assert_array_equal(codes_of([close], hasher), codes_of([clear], hasher))


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("hash_length", [1, 4, 8])
def test_codes_fill_their_range(family, hash_length):
    rng = np.random.RandomState(0)
    hasher = draw(family, 70, 25, hash_length, rng)
    assert hasher.code_bits == hash_length * BITS[family]
    codes = codes_of(rng.standard_normal((400, 70)), hasher)
    assert codes.min() >= 0
    assert codes.max() < 2**hasher.code_bits
    assert codes.max() >= 2**hasher.code_bits * 3 // 4
    assert (np.unique(codes[:, 0]).size == 2**hasher.code_bits) or hash_length > 1


@pytest.mark.parametrize("family", FAMILIES)
def test_scale_does_not_matter(family):
    rng = np.random.RandomState(0)
    vectors = rng.standard_normal((10, 48)).astype(np.float32)
    hasher = draw(family, 48, 20, 4, rng)
    np.testing.assert_array_equal(codes_of(vectors, hasher), codes_of(1024 * vectors, hasher))


@pytest.mark.parametrize("family", FAMILIES)
def test_zero_vector(family):
    hasher = draw(family, 33, 10, 5, np.random.RandomState(0))
    np.testing.assert_array_equal(codes_of(np.zeros((1, 33)), hasher), np.zeros((1, 10)))
    np.testing.assert_array_equal(codes_of(np.full((1, 33), -0.0), hasher), np.zeros((1, 10)))


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_codes_of_vectors_that_are_not_finite_stay_in_range(family, value):
    hasher = draw(family, 33, 10, 5, np.random.RandomState(0))
    vectors = np.random.RandomState(0).standard_normal((2, 33))
    vectors[0, ::3] = value
    vectors[1] = value
    codes = codes_of(vectors, hasher)
    assert codes.min() >= 0
    assert codes.max() < 2**hasher.code_bits


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("n_features", [1, 50, 64, 100, 200, 1000])
@pytest.mark.parametrize("many", [False, True])
def test_hash_rows_hashes_each_row_as_alone(family, n_features, many):
    rng = np.random.RandomState(n_features)
    weights = rng.standard_normal((75, n_features)).astype(np.float32)
    weights[[3, 40]] = 0
    hasher = draw(family, n_features, 50, 5, rng)
    for n_rows in (75, 64, 31, 1, 0):  # rows may be hashed in blocks, of which the last one is not full
        codes = np.full((50, 80), -1, dtype=np.int32)
        hash_rows(weights[:n_rows], hasher, codes, 3, many)
        np.testing.assert_array_equal(codes[:, 3 : 3 + n_rows].T, codes_of(weights[:n_rows], hasher))
        assert (codes[:, :3] == -1).all()
        assert (codes[:, 3 + n_rows :] == -1).all()


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize(("n_features", "n_tables"), [(1, 1), (10, 7), (64, 64), (65, 50)])
def test_kernels_stay_inside_their_arrays(family, n_features, n_tables):
    hasher = draw(family, n_features, n_tables, 2, np.random.RandomState(0))
    size = work_size(hasher)
    work = np.full(size + 200, 7.0, dtype=np.float32)
    codes = np.full(n_tables + 200, -7, dtype=np.int32)
    vector = np.ones(n_features, dtype=np.float32)
    hash_vector(hasher, vector, work[100 : 100 + size], codes[100 : 100 + n_tables])
    for guard, value in (work, 7), (codes, -7):
        assert (guard[:100] == value).all()
        assert (guard[-100:] == value).all()
    assert (codes[100:-100] >= 0).all()


@pytest.mark.parametrize("family", FAMILIES)
def test_the_seed_decides(family):
    vectors = np.random.RandomState(0).standard_normal((5, 40))
    hashers = [draw(family, 40, 20, 4, np.random.RandomState(seed)) for seed in (1, 1, 2)]
    first, again, other = (codes_of(vectors, hasher) for hasher in hashers)
    np.testing.assert_array_equal(first, again)
    assert (first != other).mean() > 0.5


def test_drawn_arrays():
    signs = draw("simhash", 100, 50, 8, np.random.RandomState(0)).signs
    assert (signs.dtype, signs.shape) == (np.float32, (4, 2, 128))  # 400 bits of rotations of 128
    assert set(signs.ravel()) == {-1.0, 1.0}
    for family, width in (("wta", 8), ("dwta", 8), ("minhash", 16)):
        positions = draw(family, 100, 50, 3, np.random.RandomState(0)).positions
        assert (positions.dtype, positions.shape) == (np.int32, (150, width))
    n_top = [draw("minhash", n, 5, 2, np.random.RandomState(0)).n_top for n in (1, 15, 16, 100)]
    assert n_top == [1, 1, 2, 12]  # an eighth, rounded down, but no less than one


@pytest.mark.parametrize(
    ("family", "n_outputs", "hash_length"),
    [
        ("simhash", 1, 1),
        ("simhash", 256, 1),
        ("simhash", 512, 2),
        ("simhash", 109_129, 10),
        ("simhash", 670_091, 12),
        ("wta", 1, 1),
        ("wta", 670_091, 4),
        ("dwta", 109_129, 3),
        ("minhash", 109_129, 3),
    ],
)
def test_auto_hash_length(family, n_outputs, hash_length):
    assert auto_hash_length(family, n_outputs) == hash_length


@pytest.mark.parametrize("family", FAMILIES)
def test_auto_hash_length_fills_buckets_with_about_128_labels(family):
    # Rounding is off by at most half a hash: a factor of 2**(bits / 2).
    for n_outputs in (2_000, 30_000, 500_000, 20_000_000):
        n_codes = 2 ** (BITS[family] * auto_hash_length(family, n_outputs))
        assert 128 / 2 ** (BITS[family] / 2) <= n_outputs / n_codes <= 128 * 2 ** (BITS[family] / 2)


def test_auto_hash_length_is_always_allowed():
    for family in FAMILIES:
        assert auto_hash_length(family, 2**31 - 1) <= longest_hash(family)


def test_longest_hash_fills_24_bits():
    assert {family: longest_hash(family) * bits for family, bits in BITS.items()} == dict.fromkeys(
        FAMILIES, 24
    )


def test_doctests():
    results = doctest.testmod(hashing)
    assert results.attempted > 0
    assert results.failed == 0


def test_half_added_family_is_refused():
    half_added = type("HalfAdded", (), dict.fromkeys(hashing.WTA._fields))
    missing = r"hash_bits, draw, a kernel, by @hash_vector.register\(HalfAdded\)"
    with pytest.raises(TypeError, match=f"'new' is half added: HalfAdded lacks {missing}"):
        check_families({**FAMILIES, "new": half_added})
