"""Random extreme multi-label problems, for ``datasets``."""

from array import array
from numbers import Integral, Real
from typing import Any

import numpy as np
from sklearn.utils import check_random_state, gen_batches

from sklearn_slide._types import Seed
from sklearn_slide._xmc_format import MAX_SIZE, make_csr

BLOCK_SIZE = 2**20  # entries that are drawn at a time


def make_xmc_classification(
    n_samples: int = 1000,
    n_features: int = 2000,
    n_labels: int = 500,
    *,
    n_features_per_sample: int = 30,
    n_labels_per_sample: int = 3,
    n_features_per_label: int = 10,
    noise: float = 0.5,
    label_exponent: float = 0.5,
    feature_exponent: float = 1.0,
    random_state: Seed = None,
) -> tuple[Any, Any]:
    """Generate a random extreme multi-label problem that can be learned.

    Labels follow a power law. Each has some characteristic features, drawn evenly. A feature of a sample is a
    characteristic one of one of its labels, or, with probability `noise`, drawn by a power law of its own.
    Values are drawn evenly from 0.5 to 1.5, then rows are scaled to unit length. Ids tell no frequencies.

    Parameters
    ----------
    n_samples, n_features, n_labels : int, default=1000, 2000, 500
        Shape of the problem, each from 1 to 2**31 - 1.
    n_features_per_sample, n_labels_per_sample : float, default=30, 3
        Mean number of distinct features and labels of a sample: one and a Poisson number, at most
        `n_features` or `n_labels`. It gets fewer where 50 draws meet nothing new, as with `noise=0` once it
        has all characteristic features of its labels.
    n_features_per_label : int, default=10
        Number of characteristic features of a label, each drawn from all features.
    noise : float, default=0.5
        Share of the draws of features that ignore the labels, from 0 to 1.
    label_exponent, feature_exponent : float, default=0.5, 1.0
        Exponents a of the power laws, from 0 to 10: a label, or a feature drawn as noise, is drawn with
        probability proportional to r**-a, where r is its rank. Labels of the WordNet task follow about 0.5.
    random_state : int, RandomState instance or None, default=None
        Seed of the random numbers. Pass an int for the same data at every call.

    Returns
    -------
    X : CSR of shape (n_samples, n_features), float32
        Samples, rows of unit length.
    Y : CSR of shape (n_samples, n_labels), uint8
        Indicator of the labels.

    Raises
    ------
    ValueError
        If a parameter is not a number, or outside the range given above.

    See Also
    --------
    load_wordnet : Real data of 109,129 labels.

    Examples
    --------
    >>> from sklearn_slide.datasets import make_xmc_classification
    >>> X, Y = make_xmc_classification(n_samples=100, n_labels=5000, random_state=0)
    >>> X.shape, Y.shape
    ((100, 2000), (100, 5000))
    """
    for name, value, kind, low, high in (
        ("n_samples", n_samples, Integral, 1, MAX_SIZE),
        ("n_features", n_features, Integral, 1, MAX_SIZE),
        ("n_labels", n_labels, Integral, 1, MAX_SIZE),
        ("n_features_per_sample", n_features_per_sample, Real, 1, n_features),
        ("n_labels_per_sample", n_labels_per_sample, Real, 1, n_labels),
        ("n_features_per_label", n_features_per_label, Integral, 1, MAX_SIZE),
        ("noise", noise, Real, 0, 1),
        ("label_exponent", label_exponent, Real, 0, 10),
        ("feature_exponent", feature_exponent, Real, 0, 10),
    ):
        if not isinstance(value, kind) or not low <= value <= high:
            what = "an int" if kind is Integral else "a number"
            raise ValueError(f"{name} must be {what} from {low} to {high}, got {value!r}")
    rng = check_random_state(random_state)
    draw_label = _power_law(rng, n_labels, label_exponent)
    draw_noise = _power_law(rng, n_features, feature_exponent)
    characteristic = rng.randint(n_features, size=(n_labels, n_features_per_label), dtype=np.int32)
    columns: tuple[Any, ...] = array("i"), array("i"), array("f"), array("i"), array("i")

    for block in gen_batches(n_samples, int(BLOCK_SIZE / n_features_per_sample) + 1):
        n_rows = block.stop - block.start
        wanted = np.minimum(1 + rng.poisson(n_labels_per_sample - 1, n_rows), n_labels)
        labels, label_counts = _draw_distinct(wanted, n_labels, lambda rows: draw_label(len(rows)))
        label_starts = np.cumsum(label_counts) - label_counts

        def draw_feature(rows, labels=labels, starts=label_starts, counts=label_counts):
            label = labels[starts[rows] + (rng.random_sample(len(rows)) * counts[rows]).astype(np.intp)]
            features = characteristic[label, rng.randint(n_features_per_label, size=len(rows))]
            is_noise = rng.random_sample(len(rows)) < noise
            features[is_noise] = draw_noise(np.count_nonzero(is_noise))
            return features

        wanted = np.minimum(1 + rng.poisson(n_features_per_sample - 1, n_rows), n_features)
        features, counts = _draw_distinct(wanted, n_features, draw_feature)
        values = rng.uniform(0.5, 1.5, size=len(features))
        norms = np.sqrt(np.add.reduceat(values**2, np.cumsum(counts) - counts))
        values /= np.repeat(norms, counts)
        for column, new in zip(columns, (counts, features, values, label_counts, labels), strict=True):
            column.frombytes(new.astype(column.typecode).tobytes())
    counts, features, values, label_counts, labels = columns
    Y = make_csr(np.ones(len(labels), np.uint8), labels, label_counts, n_labels)
    return make_csr(values, features, counts, n_features), Y


def _power_law(rng, n_values, exponent):
    """Return a function from a number of draws to draws below n_values; ranks are given out by chance."""
    cumulated = np.cumsum(np.arange(1, n_values + 1) ** -float(exponent))
    cumulated /= cumulated[-1]
    values = rng.permutation(n_values)
    return lambda n_draws: values[np.searchsorted(cumulated, rng.random_sample(n_draws), side="right")]


def _draw_distinct(wanted, n_values, draw):
    """Return distinct values below n_values for every row, sorted in the row, and how many each row has.

    wanted is the number of values of each row; draw(rows) gives one value for each of the given rows.
    Repeated values are drawn anew, 50 times at most.
    """
    keys = np.empty(0, dtype=np.int64)
    missing = wanted
    for _ in range(50):
        rows = np.repeat(np.arange(len(wanted), dtype=np.int64), missing)
        new = np.sort(rows * n_values + draw(rows))
        keys = np.sort(np.concatenate([keys, new]), kind="stable")  # merges two sorted runs in linear time
        keys = keys[np.diff(keys, prepend=-1) > 0]
        counts = np.bincount(keys // n_values, minlength=len(wanted))
        missing = wanted - counts
        if not missing.any():
            break
    return keys % n_values, counts
