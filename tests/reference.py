"""The method in plain NumPy, slow and obvious, to compare the kernels with."""

import numpy as np
from scipy.linalg import hadamard

# ---------------------------------------------------------------------------------------------------------
# Hashing: the codes of one vector under the random choices of a Hasher
# ---------------------------------------------------------------------------------------------------------


def hash_vector(vector, family, hasher):
    """Return the codes of a vector, a list of n_tables integers; family is the name of the hash family."""
    vector = np.asarray(vector, dtype=float)
    if family == "simhash":
        digits, base = [int(projection > 0) for projection in simhash_projections(vector, hasher)], 2
    else:
        digits, base = (
            {"wta": wta_digits, "dwta": dwta_digits, "minhash": minhash_digits}[family](vector, hasher),
            8,
        )
    codes = []
    for t in range(hasher.n_tables):
        code = 0
        for digit in digits[t :: hasher.n_tables][: hasher.hash_length]:
            code = base * code + digit
        codes.append(code)
    return codes


def simhash_projections(vector, hasher):
    """Return the coordinates of H D2 H D1 x, D the diagonals of signs, one rotation after the other."""
    n = hasher.signs.shape[2]
    padded = np.zeros(n)
    padded[: len(vector)] = vector
    rotation = hadamard(n)  # unscaled: whole numbers stay whole numbers, and only signs matter
    rotated = [
        rotation @ np.diag(s[1]) @ rotation @ np.diag(s[0]) @ padded for s in hasher.signs.astype(float)
    ]
    return np.concatenate(rotated)


def wta_digits(vector, hasher):
    """Return the place of the largest of the coordinates of each bin."""
    return [int(np.argmax(vector[bin_])) for bin_ in hasher.positions]


def dwta_digits(vector, hasher):
    """Return the place of the largest nonzero coordinate of each bin; a bin of zeros borrows."""
    digits = []
    for bin_ in hasher.positions:
        places = [s for s, j in enumerate(bin_) if vector[j] != 0]
        digits.append(max(places, key=lambda s, bin_=bin_: vector[bin_[s]]) if places else None)
    return borrow(digits, hasher.salt)


def minhash_digits(vector, hasher):
    """Return 3 random bits of the first coordinate of each bin that is in the top set; empty bins borrow."""
    members = top_set(vector, hasher.n_top)
    digits = []
    for i, bin_ in enumerate(hasher.positions):
        found = [j for j in bin_ if j in members]
        digits.append(scatter_pair(hasher.salt, i, int(found[0])) % 8 if found else None)
    return borrow(digits, hasher.salt)


def top_set(vector, n_top):
    """Return the set of the positive coordinates that are at least as large as the n_top-th largest."""
    smallest = np.sort(vector)[-n_top]
    return {j for j, value in enumerate(vector) if value >= smallest and value > 0}


def borrow(digits, salt):
    """Replace each missing digit (None) by the first that random probes find, or by 0 if all are missing."""
    filled = []
    for i, digit in enumerate(digits):
        attempt = 0
        while digit is None and any(d is not None for d in digits):
            attempt += 1
            digit = digits[(scatter_pair(salt, i, attempt) >> 32) * len(digits) >> 32]
        filled.append(digit or 0)
    return filled


def scatter_pair(salt, i, j):
    """Return 64 random bits of the pair (i, j)."""
    return mix((salt + (i << 32) + j) % 2**64)


def mix(z):
    """Return the finaliser of SplitMix64 (Steele et al., 2014) of an integer below 2**64."""
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9 % 2**64
    z = (z ^ (z >> 27)) * 0x94D049BB133111EB % 2**64
    return z ^ (z >> 31)
