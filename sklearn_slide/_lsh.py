"""The parameters of the hash tables, as an estimator of their own."""

from numbers import Integral, Real

import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator
from sklearn.utils import check_array, check_random_state
from sklearn.utils._param_validation import Interval, StrOptions

from sklearn_slide._core.active_set import SELECTIONS
from sklearn_slide._core.compilation import as_writable
from sklearn_slide._core.hashing import FAMILIES, auto_hash_length, hash_rows, longest_hash
from sklearn_slide._core.tables import RehashSchedule, auto_rehash_interval
from sklearn_slide._types import Seed


class LSH(BaseEstimator):
    """The hash tables that name active labels: locality-sensitive hashing of the output layer's weights.

    Give one as the parameter `lsh` of :class:`SlideClassifier`. A label is stored in `n_tables` tables under
    hash codes of its weights. Labels whose weights have a small angle with the hidden vector of a sample,
    which are those that tend to score high, are likely to share codes with it, and are found in its buckets
    [1]_.

    Parameters
    ----------
    family : {'simhash', 'dwta', 'wta', 'minhash'}, default='simhash'
        The hash functions: signs of random projections, (densified) winner-take-all, or min-hash of the
        largest coordinates.

    n_tables : int, default=50
        The number of hash tables, at most 10,000.

    hash_length : int or 'auto', default='auto'
        The number of hashes that make up the key of a table: from 1 to 24 for simhash, to 8 for the others.
        'auto' chooses it so that a bucket holds about 128 labels on average.

    bucket_size : int, default=128
        The labels that are read from one bucket at most, from a random position on; at most 1,000,000.

    selection : {'vanilla', 'top_k', 'threshold'}, default='vanilla'
        Which of the labels in the buckets of a sample are taken: as they are met in tables in random order,
        those in most tables, or those in at least `min_collisions` tables.

    min_collisions : int, default=2
        The number of tables for ``selection='threshold'``.

    rehash_interval : int or 'auto', default='auto'
        The number of training samples between the first two builds of the tables. 'auto' is 20,000, or a
        quarter of the number of labels where that is more, so that rebuilding takes a sample no more time
        where labels are more.

    rehash_growth : float, default=1.5
        The factor, at least 1, by which the interval grows from one build of the tables to the next.

    See Also
    --------
    SlideClassifier : The classifier that uses the tables.

    References
    ----------
    .. [1] B. Chen, T. Medini, J. Farwell, S. Gobriel, C. Tai, A. Shrivastava. SLIDE: In defense of smart
       algorithms over hardware acceleration for large-scale deep learning systems. MLSys 2020.
       arXiv:1903.03129, sections 3 and 4.

    Examples
    --------
    >>> from sklearn_slide import LSH, SlideClassifier
    >>> model = SlideClassifier(lsh=LSH("dwta", n_tables=20))
    >>> model.set_params(lsh__n_tables=30).lsh
    LSH(family='dwta', n_tables=30)
    """

    _parameter_constraints = {
        "family": [StrOptions(set(FAMILIES))],
        "n_tables": [Interval(Integral, 1, 10_000, closed="both")],
        "hash_length": [StrOptions({"auto"}), Interval(Integral, 1, 24, closed="both")],
        "bucket_size": [Interval(Integral, 1, 1_000_000, closed="both")],
        "selection": [StrOptions(set(SELECTIONS))],
        "min_collisions": [Interval(Integral, 1, None, closed="left")],
        "rehash_interval": [StrOptions({"auto"}), Interval(Integral, 1, None, closed="left")],
        "rehash_growth": [Interval(Real, 1, None, closed="left")],
    }

    def __init__(
        self,
        family: str = "simhash",
        *,
        n_tables: int = 50,
        hash_length: int | str = "auto",
        bucket_size: int = 128,
        selection: str = "vanilla",
        min_collisions: int = 2,
        rehash_interval: int | str = "auto",
        rehash_growth: float = 1.5,
    ) -> None:
        self.family = family
        self.n_tables = n_tables
        self.hash_length = hash_length
        self.bucket_size = bucket_size
        self.selection = selection
        self.min_collisions = min_collisions
        self.rehash_interval = rehash_interval
        self.rehash_growth = rehash_growth

    def codes(self, X: ArrayLike, n_labels: int, random_state: Seed = None) -> np.ndarray:
        """Hash the rows of X: tell in which bucket of each table each of them falls.

        A label and a sample share a bucket where the label's output weights and the sample's hidden vector
        have the same code. The hash functions are those of the tables of a classifier with this `LSH`, so
        many labels, hidden vectors of this length, and the same int as `random_state`.

        Parameters
        ----------
        X : array-like of shape (n_rows, n_features)
            The vectors, dense. Those of samples and of labels have the same length.
        n_labels : int
            The number of labels in the tables, from which ``hash_length='auto'`` is chosen.
        random_state : int, RandomState instance, default=None
            Draws the hash functions. Give the same int for all vectors that are to be compared.

        Returns
        -------
        codes : ndarray of int32 of shape (n_rows, n_tables)
            The bucket of each row in each table, from 0 to ``2**bits - 1``: a hash has one bit for simhash,
            three for the other families. A row of zeros has the code 0 in all tables.

        Raises
        ------
        ValueError
            If a parameter or an argument is not allowed.

        See Also
        --------
        SlideClassifier.predict_top_k : The best labels, from the buckets of a sample or from all.

        Examples
        --------
        >>> import numpy as np
        >>> from sklearn_slide import LSH
        >>> rng = np.random.RandomState(0)
        >>> of_labels = rng.randn(1000, 64)
        >>> sample = of_labels[[7]] + 0.1 * rng.randn(1, 64)
        >>> lsh = LSH(n_tables=20)
        >>> shared = lsh.codes(sample, 1000, random_state=0) == lsh.codes(of_labels, 1000, random_state=0)
        >>> int(shared.sum(axis=1).argmax())  # the label that is met in most tables
        7
        """
        check_lsh(self)
        if not isinstance(n_labels, Integral) or isinstance(n_labels, bool) or n_labels < 1:
            raise ValueError(
                f"n_labels must be a whole number, at least 1: the number of labels in the tables. "
                f"Got {n_labels!r}."
            )
        X = as_writable(check_array(X, dtype=np.float32, order="C", input_name="X"))
        seed = check_random_state(random_state).randint(np.iinfo(np.int32).max, size=1)[0]  # as a fit does
        hasher = draw_hasher(self, X.shape[1], n_labels, seed)
        codes = np.empty((hasher.n_tables, len(X)), dtype=np.int32)
        hash_rows(X, hasher, codes)
        return np.ascontiguousarray(codes.T)


def check_lsh(lsh):
    """Raise ValueError if a parameter of an LSH is not allowed."""
    lsh._validate_params()
    if lsh.hash_length != "auto" and lsh.hash_length > longest_hash(lsh.family):
        raise ValueError(
            f"hash_length={lsh.hash_length!r} with family={lsh.family!r} would make hash codes of "
            f"{lsh.hash_length * FAMILIES[lsh.family].hash_bits} bits. Give a hash_length from 1 to "
            f"{longest_hash(lsh.family)}, or 'auto' to choose it from the number of labels."
        )


def draw_hasher(lsh, n_units, n_labels, seed):
    """Draw the hash functions that an LSH asks for, of n_units numbers, for the tables of n_labels labels."""
    rng = np.random.RandomState(seed)
    return FAMILIES[lsh.family].draw(n_units, lsh.n_tables, _hash_length(lsh, n_labels), rng)


def table_bytes(lsh, n_labels):
    """Compute the memory that the tables of n_labels labels take, in bytes."""
    n_codes = 2 ** (_hash_length(lsh, n_labels) * FAMILIES[lsh.family].hash_bits)
    return 4 * lsh.n_tables * (n_labels + n_codes + 1)


def _hash_length(lsh, n_labels):
    """Return the number of hashes that make up a key, for the tables of n_labels labels."""
    return auto_hash_length(lsh.family, n_labels) if lsh.hash_length == "auto" else lsh.hash_length


def make_selection(lsh):
    """Return how labels are taken from the buckets, one of SELECTIONS."""
    return SELECTIONS[lsh.selection](lsh.bucket_size, lsh.min_collisions)


def make_schedule(lsh, n_labels, n_passes):
    """Return the RehashSchedule of tables whose first build comes after n_passes passes."""
    interval = lsh.rehash_interval
    if interval == "auto":
        interval = auto_rehash_interval(n_labels)
    return RehashSchedule(interval, lsh.rehash_growth, n_passes)
