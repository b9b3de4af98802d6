"""Vector -> codes: four locality-sensitive hash families, one code a hash table.

Each table concatenates ``hash_length`` elementary hashes (K in the SLIDE paper) to one code. Vectors
that are alike agree on an elementary hash with a probability p that their similarity sets, hence on
the code of a table with p**hash_length:

========= ========= ============================================ ==============================
family    bits      elementary hash                              probability p
========= ========= ============================================ ==============================
simhash   1         side of a random hyperplane                  1 - angle / pi
wta       3         largest of 8 random coordinates              grows with rank correlation
dwta      3         the same, of a bin that is not all zero      grows with rank correlation
minhash   3         random member of the set of top coordinates  J + (1 - J) / 8, J the Jaccard
                                                                 similarity of the sets
========= ========= ============================================ ==============================

Simhash uses structured hyperplanes, whose normals are sums of n >= 64 random signs: for vectors with few
coordinates other than zero its p is off by up to about 1 / n.

References
----------
.. [1] Chen, Medini, Farwell, Gobriel, Tai, Shrivastava: SLIDE: In defense of smart algorithms over
   hardware acceleration for large-scale deep learning systems. MLSys 2020.
.. [2] Charikar: Similarity estimation techniques from rounding algorithms. STOC 2002 (simhash).
.. [3] Andoni, Indyk, Laarhoven, Razenshteyn, Schmidt: Practical and optimal LSH for angular distance.
   NeurIPS 2015 (pseudo-random rotations by Hadamard transforms).
.. [4] Yagnik, Strelow, Ross, Lin: The power of comparative reasoning. ICCV 2011 (wta).
.. [5] Chen, Shrivastava: Densified winner take all (WTA) hashing for sparse datasets. UAI 2018 (dwta).
.. [6] Shrivastava, Li: Densifying one permutation hashing via rotation for fast near neighbor search.
   ICML 2014 (minhash).
.. [7] Shrivastava: Optimal densification for fast and accurate minwise hashing. ICML 2017 (borrowing).
.. [8] Li, König: b-Bit minwise hashing. WWW 2010.
"""

from typing import NamedTuple

import numpy as np

from sklearn_slide._core.compilation import by_type, check_complete, inner, njit
from sklearn_slide._core.random_numbers import mix

_DIGIT_BITS = 3  # an elementary hash of wta, dwta or minhash is a digit from 0 to 7
_DIGIT_MASK = np.uint64(2**_DIGIT_BITS - 1)
_MAX_CODE_BITS = 24  # 2**24 buckets are 64 MB of offsets a table
_MIN_ROTATION = 64  # a sum of this many random signs is close to a normal variable
_LABELS_PER_BUCKET = 128
_FEATURES_PER_MEMBER = 8  # minhash: the set of a vector is its top eighth
_SIDE_BY_SIDE = 32  # rows rotated at once: with 128 coordinates they take half of a first-level cache


class SimHash(NamedTuple):
    """The random choices of simhash.

    Elementary hash i = h * n_tables + t is digit h of the code of table t, the first the most significant.
    """

    n_features: int  # length of the vectors, d
    n_tables: int
    hash_length: int  # elementary hashes concatenated in one table
    code_bits: int  # codes lie in [0, 2**code_bits)
    signs: np.ndarray  # float32 (n_rotations, 2, n_padded), -1 or 1

    hash_bits = 1

    @classmethod
    def draw(cls, n_features, n_tables, hash_length, rng):
        """Draw the random choices."""
        n_padded = max(_MIN_ROTATION, 1 << (int(n_features) - 1).bit_length())
        n_rotations = -(-n_tables * hash_length // n_padded)
        signs = (2 * rng.randint(2, size=(n_rotations, 2, n_padded)) - 1).astype(np.float32)
        return cls(n_features, n_tables, hash_length, hash_length * cls.hash_bits, signs)


def _draw_bins(family, n_features, n_tables, hash_length, rng):
    """Draw the random choices of a family of bins: a permutation of the coordinates makes n_bins of them."""
    width, n_hashes = min(family.bin_width, n_features), n_tables * hash_length
    n_bins = family.n_bins or n_features // width
    permutations = [rng.permutation(n_features)[: n_bins * width] for _ in range(-(-n_hashes // n_bins))]
    positions = np.concatenate(permutations).reshape(-1, width)[:n_hashes].astype(np.int32)
    salt = int(rng.randint(np.iinfo(np.int64).max, dtype=np.int64))
    n_top = max(1, n_features // _FEATURES_PER_MEMBER)
    return family(n_features, n_tables, hash_length, hash_length * _DIGIT_BITS, positions, salt, n_top)


# The families that look at bins of coordinates have the same fields. Each is a NamedTuple by itself, not a
# class derived from one: what stores a derived one as a NamedTuple may read it as a tuple.


class WTA(NamedTuple):
    """The random choices of winner-take-all; its vanilla form takes one bin of each permutation."""

    n_features: int  # length of the vectors, d
    n_tables: int
    hash_length: int  # elementary hashes concatenated in one table
    code_bits: int  # codes lie in [0, 2**code_bits)
    positions: np.ndarray  # int32 (n_hashes, bin width), the coordinates in the bin of each hash
    salt: int  # chooses the bins to borrow from and the digits of members, below 2**63
    n_top: int  # minhash: size of a vector's set

    hash_bits = _DIGIT_BITS
    bin_width, n_bins = 8, 1  # n_bins of a permutation, None for as many as fit
    draw = classmethod(_draw_bins)


class DWTA(NamedTuple):
    """The random choices of densified winner-take-all; the fields are those of WTA."""

    n_features: int
    n_tables: int
    hash_length: int
    code_bits: int
    positions: np.ndarray
    salt: int
    n_top: int

    hash_bits = _DIGIT_BITS
    bin_width, n_bins = 8, None
    draw = classmethod(_draw_bins)


class MinHash(NamedTuple):
    """The random choices of min-hash; the fields are those of WTA."""

    n_features: int
    n_tables: int
    hash_length: int
    code_bits: int
    positions: np.ndarray
    salt: int
    n_top: int

    hash_bits = _DIGIT_BITS
    bin_width, n_bins = 16, None
    draw = classmethod(_draw_bins)


FAMILIES = {"simhash": SimHash, "wta": WTA, "dwta": DWTA, "minhash": MinHash}


def longest_hash(family):
    """Return the largest hash length of a family, one of FAMILIES' keys: a code may have 24 bits."""
    return _MAX_CODE_BITS // FAMILIES[family].hash_bits


def auto_hash_length(family, n_outputs):
    """Choose the hash length at which a bucket holds about 128 labels on average.

    That is log2(n_outputs / 128) bits, rounded to whole hashes, at least one.

    >>> from sklearn_slide._core.hashing import auto_hash_length
    >>> auto_hash_length("simhash", 128 * 1024), auto_hash_length("dwta", 128 * 1024)
    (10, 3)
    """
    bits = np.log2(max(1, n_outputs) / _LABELS_PER_BUCKET)
    return max(1, round(bits / FAMILIES[family].hash_bits))


def work_size(hasher):
    """Return how many float32 of scratch the kernels need: rotations and a buffer, or digits and values."""
    if isinstance(hasher, SimHash):
        n_rotations, _, n_padded = hasher.signs.shape
        return (n_rotations + 1) * n_padded
    return len(hasher.positions) + hasher.n_features


def hash_rows(weights, hasher, codes, first=0, many=False):
    """Hash each row of weights, float32 (n, d), to the columns of codes, int32 (n_tables, m), from first on.

    The codes are those of hash_vector. Threads may hash rows to disjoint columns. With many, rows are
    hashed side by side where the family can, by a kernel that takes longer to compile.
    """
    if many and isinstance(hasher, SimHash):
        hash_rows_by_sides(weights, hasher, codes, first)
    else:
        hash_rows_singly(weights, hasher, np.empty(work_size(hasher), dtype=np.float32), codes, first)


@njit
def hash_rows_singly(weights, hasher, work, codes, first):
    """Hash one row after the other, as hash_rows; work float32 (work_size(hasher),)."""
    code = np.empty(hasher.n_tables, dtype=np.int32)
    for y in range(weights.shape[0]):
        hash_vector(hasher, weights[y], work, code)
        for t in range(hasher.n_tables):
            codes[t, first + y] = code[t]


@by_type
def hash_vector(hasher, vector, work, codes):
    """Hash vector, float32 (d,) contiguous, to codes, int32 or int64 (n_tables,).

    work is float32 (work_size(hasher),). The zero vector gets code 0 in each table.
    """


@hash_vector.register(SimHash)
def hash_by_sides(hasher, vector, work, codes):
    """Hash by the sides of random hyperplanes on which the vector lies."""
    _rotate(vector, hasher.signs, work)
    _pack_signs(work, hasher, codes)


@hash_vector.register(WTA)
@hash_vector.register(DWTA)
@hash_vector.register(MinHash)
def hash_by_bins(hasher, vector, work, codes):
    """Hash by the places that win in random bins of coordinates."""
    n_hashes = hasher.positions.shape[0]
    digits, values = work[:n_hashes], work[n_hashes : n_hashes + hasher.n_features]
    _prepare_values(hasher, vector, values)
    n_filled = _find_digits(hasher, values, digits)
    _pack_digits(digits, n_filled, hasher, codes)


@inner
def _rotate(vector, signs, work):
    """Compute H D2 H D1 x of each rotation, x the padded vector; row r in work[r * n:(r + 1) * n].

    H is the unscaled Walsh-Hadamard matrix, D1 and D2 are diagonal with the random signs: each output is
    close to the product of x with a normal vector [3]. Each stage of the transform writes the sums of
    neighbours to the first half, their differences to the second. After log2(n) equal stages the order is
    that of H, and, unlike butterflies in place, every stage is one long loop for the vector units.
    """
    n_rotations, _, n = signs.shape
    half = n // 2
    for r in range(n_rotations):
        source, target = work[r * n : (r + 1) * n], work[n_rotations * n : (n_rotations + 1) * n]
        for j in range(vector.shape[0]):
            source[j] = vector[j] * signs[r, 0, j]
        source[vector.shape[0] :] = 0.0
        for transform in range(2):
            if transform == 1:
                for j in range(n):
                    source[j] *= signs[r, 1, j]
            stride = 1
            while stride < n:
                for j in range(half):
                    left, right = source[2 * j], source[2 * j + 1]
                    target[j] = left + right
                    target[half + j] = left - right
                source, target = target, source
                stride *= 2
        # The number of swaps, 2 log2(n), is even: the result is back in work[r * n:(r + 1) * n].


@inner
def _pack_signs(projections, hasher, codes):
    """Make codes, int (n_tables,), of the bits [projection > 0]; projections float32 (n_hashes or more,)."""
    codes[:] = 0
    for h in range(hasher.hash_length):
        first = h * hasher.n_tables
        for t in range(hasher.n_tables):
            codes[t] = 2 * codes[t] + (projections[first + t] > 0.0)


@njit
def hash_rows_by_sides(weights, hasher, codes, first):
    """Hash by the sides of random hyperplanes, as hash_rows, _SIDE_BY_SIDE rows at a time.

    The numbers at one coordinate of these rows lie side by side, for the vector units. Each sum is of the
    same two numbers as in _rotate.
    """
    n_rotations, _, n = hasher.signs.shape
    n_tables, n_hashes = hasher.n_tables, hasher.n_tables * hasher.hash_length
    vectors = np.zeros((n, _SIDE_BY_SIDE), dtype=np.float32)
    rotated = np.empty((n, _SIDE_BY_SIDE), dtype=np.float32)
    for start in range(0, weights.shape[0], _SIDE_BY_SIDE):
        stop = min(start + _SIDE_BY_SIDE, weights.shape[0])
        for y in range(start, stop):
            for j in range(weights.shape[1]):
                vectors[j, y - start] = weights[y, j]
        for t in range(n_tables):
            for y in range(first + start, first + stop):
                codes[t, y] = 0
        for r in range(n_rotations):
            source = vectors
            for turn in range(2):
                _multiply_rows(source, hasher.signs[r, turn], rotated)
                _transform(rotated.reshape(-1))
                source = rotated
            for i in range(r * n, min((r + 1) * n, n_hashes)):
                _append_signs(rotated[i - r * n], codes[i % n_tables, first + start : first + stop])


@inner
def _multiply_rows(matrix, factors, out):
    """Multiply each row of a matrix, float32, by its factor, to out of the same shape."""
    for j in range(matrix.shape[0]):
        for r in range(matrix.shape[1]):
            out[j, r] = matrix[j, r] * factors[j]


@inner
def _transform(flat):
    """Multiply n rows, float32 (n * _SIDE_BY_SIDE,), by the unscaled Walsh-Hadamard matrix, in place.

    A stage turns rows that are 1, 2, 4, ... apart into their sums and differences. Two stages are made at a
    time: memory is read and written once for them.
    """
    stride = _SIDE_BY_SIDE
    while 4 * stride <= len(flat):
        for start in range(0, len(flat), 4 * stride):
            half = start + 2 * stride
            one, two = flat[start : start + stride], flat[start + stride : half]
            three, four = flat[half : half + stride], flat[half + stride : half + 2 * stride]
            for j in range(stride):
                low_sum, low_difference = one[j] + two[j], one[j] - two[j]
                high_sum, high_difference = three[j] + four[j], three[j] - four[j]
                one[j], two[j] = low_sum + high_sum, low_difference + high_difference
                three[j], four[j] = low_sum - high_sum, low_difference - high_difference
        stride *= 4
    if 2 * stride == len(flat):
        one, two = flat[:stride], flat[stride:]
        for j in range(stride):
            one[j], two[j] = one[j] + two[j], one[j] - two[j]


@inner
def _append_signs(projections, codes):
    """Append to each code, int32 (n,), the bit [projection > 0]; projections float32 (n or more,)."""
    for r in range(codes.shape[0]):
        codes[r] = (codes[r] << np.int32(1)) | np.int32(projections[r] > np.float32(0.0))


@by_type
def _prepare_values(hasher, vector, values):
    """Fill values, float32 (d,), so that a bin's hash is the place of its largest value, -inf for none."""


@_prepare_values.register(WTA)
def _take_values(hasher, vector, values):
    for j in range(vector.shape[0]):
        values[j] = vector[j]


@_prepare_values.register(DWTA)
def _leave_zeros_out(hasher, vector, values):
    for j in range(vector.shape[0]):
        values[j] = vector[j] if vector[j] != 0.0 else np.float32(-np.inf)


@_prepare_values.register(MinHash)
def _mark_members(hasher, vector, values):
    """Give 1 to the members of the vector's set: the first 1 in a randomly ordered bin is the minimum hash.

    They are its n_top largest coordinates, more at a tie, fewer if fewer are positive.
    """
    bits = vector.view(np.int32)
    threshold = _top_threshold(bits, hasher.n_top)
    for j in range(vector.shape[0]):
        values[j] = np.float32(1.0) if bits[j] >= threshold else np.float32(-np.inf)


@by_type
def _digit(hasher, i, place):
    """Return the digit of elementary hash i, the place of the largest value in whose bin is given."""


@_digit.register(WTA)
@_digit.register(DWTA)
def _place(hasher, i, place):
    return place


@_digit.register(MinHash)
def _bits_of_coordinate(hasher, i, place):
    """Take the lowest 3 bits of a random function of the coordinate there."""
    return np.int64(_scatter_pair(hasher.salt, i, hasher.positions[i, place]) & _DIGIT_MASK)


@inner
def _find_digits(hasher, values, digits):
    """Find the digit of each bin, ties to the first, or -1 if it has no value; return how many have one.

    values float32 (d,), digits float32 (n_hashes,), whole numbers.
    """
    n_hashes, width = hasher.positions.shape
    n_filled = 0
    for i in range(n_hashes):
        largest, place = np.float32(-np.inf), 0
        for s in range(width):
            value = values[np.uint32(hasher.positions[i, s])]  # unsigned: no check for a negative index
            if value > largest:
                largest, place = value, s
        filled = largest > -np.inf
        digits[i] = _digit(hasher, i, place) if filled else -1
        n_filled += filled
    return n_filled


@inner
def _top_threshold(bits, n_top):
    """Find the n_top-th largest of bits, int32 (d,), or 1 where fewer are positive, bit by bit.

    Positive float32 are ordered as their bits are as int32, and the others have bits <= 0 (but for NaN).
    """
    threshold = np.int32(0)
    for b in range(30, -1, -1):
        candidate = np.int32(threshold | (1 << b))
        count = np.int32(0)
        for j in range(bits.shape[0]):
            count += np.int32(bits[j] >= candidate)
        if count >= n_top:
            threshold = candidate
        if count == n_top:
            break
    return max(threshold, np.int32(1))


@inner
def _pack_digits(digits, n_filled, hasher, codes):
    """Make codes, int (n_tables,), of digits of 3 bits, float32 (n_hashes,); -1 borrows another one's digit.

    Empty hash i reads the hashes (i, 1), (i, 2), ... of a random function until one is filled [7]: two
    vectors that are both empty at i compare the same hash next, so that the collision law holds.
    """
    codes[:] = 0
    if n_filled == 0:
        return
    n_hashes = np.uint64(hasher.positions.shape[0])
    for h in range(hasher.hash_length):
        for t in range(hasher.n_tables):
            i = h * hasher.n_tables + t
            digit = digits[i]
            attempt = 0
            while digit < 0.0:
                attempt += 1
                place = (_scatter_pair(hasher.salt, i, attempt) >> np.uint64(32)) * n_hashes
                digit = digits[place >> np.uint64(32)]
            codes[t] = (codes[t] << _DIGIT_BITS) + np.int64(digit)


@inner
def _scatter_pair(salt, i, j):
    """Return 64 random bits that depend on salt, i and j alone; i and j below 2**31."""
    return mix(np.uint64(salt) + (np.uint64(i) << np.uint64(32)) + np.uint64(j))


def check_families(families):
    """Raise TypeError unless each family, by its name, has its fields, hash_bits, draw and a kernel."""
    fields = ("n_features", "n_tables", "hash_length", "code_bits")
    check_complete(families, hash_vector, (*fields, "hash_bits", "draw"))


check_families(FAMILIES)
