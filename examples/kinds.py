"""The data sets of benchmark_kinds.py, of different kinds: each a function that makes it.

Each returns X_train, Y_train, X_test and Y_test, X of float32 and Y a CSR indicator, and is called with the
folder of the sets that are read, and with the number of training rows to keep, or None for all of them.
"""

from functools import cache
from typing import NamedTuple

import benchmarking
import numpy as np
import scipy.sparse as sp

N_LABELS, N_FEATURES, N_GENERATED, N_GENERATED_TEST = 670_091, 50_000, 100_000, 5_000
N_AXES = 200


class Kind(NamedTuple):
    """A data set: how it is made, and what the page says of it.

    `classes` tells that each row has one label, so that y holds class labels for those that take them, and
    `fresh` that nobody had looked at the set when the defaults were chosen.
    """

    make: callable
    classes: bool = False
    fresh: bool = False


def first_rows(X, Y, rows):
    """Return so many rows, drawn by chance, or all."""
    if rows is None or rows >= X.shape[0]:
        return X, Y
    kept = np.sort(np.random.RandomState(0).permutation(X.shape[0])[:rows])
    return X[kept], Y[kept]


def unit_rows(X):
    """Return rows of length 1, float32."""
    from sklearn.preprocessing import normalize

    return normalize(X).astype(np.float32)


def read(name):
    """Return a function that reads a set of the folder; its docstring says what the set is."""

    def make(folder, rows=None):
        X, Y, X_test, Y_test = benchmarking.load(folder, name)
        return *first_rows(X, Y, rows), X_test, Y_test

    make.__doc__ = {
        "bibtex": "Tags of publications, from their words.",
        "delicious": "Tags of web pages, from their words.",
        "debian-deps-min2": "Packages that a Debian package depends on, from its description.",
        "wordnet-related": "Synsets that a synset of WordNet points to, from its words and its gloss.",
        "moby": "Half of the synonyms of a word, from the other half.",
    }[name]
    return make


@cache
def words():
    """Return the bundled WordNet, its words as features: the training part and the test part."""
    from sklearn_slide.datasets import load_wordnet

    return [load_wordnet(subset, vectorize=True) for subset in ("train", "test")]


def related(wordnet):
    """Return the synsets within two pointers of each synset that is a label: CSR (n_labels, n_labels)."""
    place = {name: i for i, name in enumerate(wordnet.target_names)}
    labels = np.array([place.get(name, -1) for name in wordnet.sample_names])
    known, pointers = np.flatnonzero(labels >= 0), sp.csr_matrix(wordnet.target, dtype=np.float32)
    cells = (np.ones(len(known), np.float32), (labels[known], known))
    pointers = sp.csr_matrix(cells, shape=(len(place), pointers.shape[0])) @ pointers
    return sp.csr_matrix(pointers + pointers @ pointers)


def halves(folder, rows=None):
    """Half of the synsets within two pointers of a synset of WordNet, from the other half."""
    from sklearn_slide.datasets import load_wordnet

    near, rng = related(load_wordnet("all")), np.random.RandomState(0)
    counts = np.diff(near.indptr)
    order = rng.permutation(np.flatnonzero((counts >= 10) & (counts <= 80)))
    near = near[order[: 25_000 if rows is None else rows + 2_500]]
    given = rng.rand(near.nnz) < 0.5
    X, Y = near.astype(np.float32), near.astype(np.float32)
    X.data[:], Y.data[:] = given, ~given
    X.eliminate_zeros()
    Y.eliminate_zeros()
    both = np.flatnonzero((np.diff(X.indptr) > 0) & (np.diff(Y.indptr) > 0))
    X, test, train = unit_rows(X), both[:2_500], both[2_500:]
    return *first_rows(X[train], Y[train], rows), X[test], Y[test]


def lexicographer_file(folder, rows=None):
    """Class of a synset of WordNet, one of 45 lexicographer files, from its words and its gloss."""
    parts = []
    for wordnet in words():
        names = wordnet.feature_names.astype(str)
        tells = np.char.startswith(names, "lex_")
        X = sp.csr_matrix(wordnet.data)
        Y = sp.csr_matrix(X[:, np.flatnonzero(tells)] > 0, dtype=np.float32)
        # the part of speech would give most of it away
        X = unit_rows(X[:, np.flatnonzero(~(tells | np.char.startswith(names, "pos_")))])
        kept = np.flatnonzero((np.diff(Y.indptr) == 1) & (np.diff(X.indptr) > 0))
        parts.append((X[kept], Y[kept]))
    (X, Y), test = parts
    return *first_rows(X, Y, rows or 40_000), *test


def one_pointer(folder, rows=None):
    """Class of a synset of WordNet, one of thousands of synsets that it points to, from its gloss.

    It is the most frequent label of wordnet-related of a row, as a rule its hypernym; rows where that has
    fewer than five training rows are left out.
    """
    subsets = words()
    counts = np.bincount(subsets[0].target.indices, minlength=subsets[0].target.shape[1])
    chosen = [most_frequent(wordnet.target, counts) for wordnet in subsets]
    frequent = np.flatnonzero(np.bincount(chosen[0], minlength=len(counts)) >= 5)
    parts = []
    for wordnet, labels in zip(subsets, chosen, strict=True):
        kept = np.flatnonzero(np.isin(labels, frequent))
        Y = indicator(np.searchsorted(frequent, labels[kept]), len(frequent))
        parts.append((sp.csr_matrix(wordnet.data)[kept], Y))
    return *first_rows(*parts[0], rows), *parts[1]


def most_frequent(Y, counts):
    """Return the label of each row of a CSR indicator, none of them empty, with the highest count."""
    Y = sp.csr_matrix(Y)
    rows = np.repeat(np.arange(Y.shape[0]), np.diff(Y.indptr))
    order = np.lexsort((Y.indices, -counts[Y.indices], rows))
    return Y.indices[order][Y.indptr[:-1]]


def indicator(labels, n_labels):
    """Return the CSR indicator of one label for each row."""
    cells = (np.ones(len(labels), np.float32), labels, np.arange(len(labels) + 1))
    return sp.csr_matrix(cells, shape=(len(labels), n_labels))


def embedded(name):
    """Return a function that makes dense rows of a set of the folder; its docstring says what it is."""

    def make(folder, rows=None):
        from sklearn.decomposition import TruncatedSVD

        X, Y, X_test, Y_test = benchmarking.load(folder, name)
        svd = TruncatedSVD(N_AXES, random_state=0).fit(X)
        X, X_test = (unit_rows(svd.transform(part)) for part in (X, X_test))
        return *first_rows(X, Y, rows), X_test, Y_test

    make.__doc__ = f"{name} as dense embeddings: the first {N_AXES} axes of a TruncatedSVD, rows of length 1."
    return make


def bundled(name, standardised=False):
    """Return a function that makes a small set of scikit-learn; its docstring says what it is."""

    def make(folder, rows=None):
        from sklearn import datasets
        from sklearn.model_selection import train_test_split
        from sklearn.preprocessing import StandardScaler

        X, y = getattr(datasets, f"load_{name}")(return_X_y=True)
        X, X_test, y, y_test = train_test_split(X, y, test_size=0.5, stratify=y, random_state=0)
        if standardised:
            scaler = StandardScaler().fit(X)
            X, X_test = scaler.transform(X), scaler.transform(X_test)
        Y, Y_test = (indicator(part, y.max() + 1) for part in (y, y_test))
        return *first_rows(X.astype(np.float32), Y, rows), X_test.astype(np.float32), Y_test

    columns = "standardised columns" if standardised else "raw columns"
    make.__doc__ = f"scikit-learn's load_{name}, one half to train and one to test, {columns}."
    return make


def generated(folder, rows=None):
    """make_xmc_classification: labels with ten characteristic features each, frequencies by a power law."""
    from sklearn_slide.datasets import make_xmc_classification

    X, Y = make_xmc_classification(
        N_GENERATED + N_GENERATED_TEST,
        N_FEATURES,
        N_LABELS,
        n_features_per_sample=50,
        n_labels_per_sample=5,
        random_state=0,
    )
    X, Y = sp.csr_matrix(X), sp.csr_matrix(Y, dtype=np.float32)
    return *first_rows(X[:N_GENERATED], Y[:N_GENERATED], rows), X[N_GENERATED:], Y[N_GENERATED:]


# the small ones first, those that take long last
KINDS = {
    "wine": Kind(bundled("wine"), classes=True),
    "wine, standardised": Kind(bundled("wine", True), classes=True),
    "breast cancer": Kind(bundled("breast_cancer"), classes=True),
    "breast cancer, standardised": Kind(bundled("breast_cancer", True), classes=True),
    "digits": Kind(bundled("digits"), classes=True),
    "digits, standardised": Kind(bundled("digits", True), classes=True),
    "bibtex": Kind(read("bibtex")),
    "delicious": Kind(read("delicious")),
    "delicious, embedded": Kind(embedded("delicious"), fresh=True),
    "lexicographer file": Kind(lexicographer_file, classes=True),
    "debian-deps-min2": Kind(read("debian-deps-min2")),
    "halves": Kind(halves),
    "one pointer": Kind(one_pointer, classes=True),
    "wordnet-related": Kind(read("wordnet-related")),
    "debian-deps-min2, embedded": Kind(embedded("debian-deps-min2")),
    "moby": Kind(read("moby")),
    "generated, 670,091 labels": Kind(generated),
}


def folder_name(name):
    """Return the name of the folder of a set."""
    return name.replace(", ", "-").replace(",", "").replace(" ", "-")


def prepare(name, folder, cache, rows=None):
    """Write a set to a folder of the cache unless it is there; return that folder's parent.

    The files are those that benchmarking.load reads.
    """
    parent = cache / ("sets" if rows is None else f"sets-{rows}")
    path = parent / folder_name(name)
    if not (path / "Y_test.npz").exists():
        path.mkdir(parents=True, exist_ok=True)
        arrays = KINDS[name].make(folder, rows)
        for part, array in zip(("X_train", "Y_train", "X_test", "Y_test"), arrays, strict=True):
            array = sp.csr_matrix(array, dtype=np.float32)
            array.sort_indices()  # PECOS refuses others
            sp.save_npz(path / f"{part}.npz", array)
    return parent
