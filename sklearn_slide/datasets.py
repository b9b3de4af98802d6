"""Data for extreme multi-label classification: a bundled task, a text format and a generator."""

import bz2
import gzip
import lzma
import zlib
from array import array
from importlib import resources
from numbers import Integral, Real
from pathlib import Path

import numpy as np
import scipy.sparse as sp
from sklearn.datasets import dump_svmlight_file
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.utils import Bunch, check_array, check_random_state, gen_batches

from sklearn_slide._sparse import as_configured
from sklearn_slide._xmc_format import MAX_SIZE, parse_rows, read_header, read_lines, shorten

__all__ = ["dump_xmc_file", "load_wordnet", "load_xmc_file", "make_xmc_classification"]

WORDNET_STOP_WORDS = [
    *("an", "and", "are", "as", "at", "be", "by", "for", "from", "in"),
    *("is", "it", "of", "on", "or", "that", "the", "to", "used", "with"),
]

CHUNK_SIZE = 2**20  # bytes of text that are parsed at a time
BLOCK_SIZE = 2**20  # entries that are drawn at a time


def load_wordnet(subset="train", *, vectorize=False, return_X_y=False):
    """Load the pointers of WordNet 3.0, a bundled task with 109,129 labels.

    A sample is the text of a synset (a set of words with one meaning): its lemmas, its gloss and marks of its
    broad subject and part of speech. Its labels are the synsets that it points to.

    Parameters
    ----------
    subset : {"train", "test", "all"}, default="train"
        The 104,981 samples of train, the 11,562 of test, or both, train first.
    vectorize : bool, default=False
        Return TF-IDF features instead of texts. The vectorizer is fitted on the texts of train, whatever
        `subset` is.
    return_X_y : bool, default=False
        Return ``(data, target)`` instead of a Bunch.

    Returns
    -------
    bunch : :class:`~sklearn.utils.Bunch`
        Has the attributes

        - data: list of n_samples str, or, if `vectorize`, CSR of shape (n_samples, 51698), float32;
        - target: CSR indicator of shape (n_samples, 109129), uint8;
        - target_names: array of shape (109129,), names of the labels such as ``"dog.n.01"``;
        - sample_names: array of shape (n_samples,), the like for the samples;
        - feature_names: array of shape (51698,), only if `vectorize`;
        - DESCR: str, how the data were made;
        - license: str, the notice of WordNet's licence.
    (data, target) : tuple
        If `return_X_y`.

    Raises
    ------
    ValueError
        If `subset` is none of the three names.

    Examples
    --------
    >>> from sklearn_slide.datasets import load_wordnet
    >>> wordnet = load_wordnet("test")
    >>> wordnet.data[2]
    'dullness, obtuseness: the quality of being slow to understand lex_09 pos_n'
    >>> print(wordnet.target_names[wordnet.target[2].indices])
    ['dense.s.04' 'obtuse.s.03' 'stupidity.n.01' 'oscitancy.n.01']
    """
    if subset not in ("train", "test", "all"):
        raise ValueError(f"subset must be 'train', 'test' or 'all', got {subset!r}")

    folder = resources.files("sklearn_slide") / "data"
    names, texts = _read_synsets(folder / "wordnet.txt.xz")
    with (folder / "wordnet_pointers.npz").open("rb") as file:
        pointers = sp.load_npz(file)

    # the stream of RandomState never changes from one version of NumPy to the next
    test, train = np.split(np.random.RandomState(0).permutation(len(names)), [len(names) // 10])
    labels = np.unique(pointers[train].indices)
    target = pointers[:, labels]
    has_label = np.diff(target.indptr) > 0
    train, test = train[has_label[train]], test[has_label[test]]
    rows = {"train": train, "test": test, "all": np.concatenate([train, test])}[subset]

    bunch = Bunch(
        data=texts[rows].tolist(),
        target=as_configured(target[rows]),
        target_names=names[labels],
        sample_names=names[rows],
        DESCR=(folder / "wordnet.rst").read_text("utf-8"),
        license=(folder / "WORDNET_LICENSE.txt").read_text("utf-8"),
    )
    if vectorize:
        vectorizer = TfidfVectorizer(
            min_df=2, sublinear_tf=True, stop_words=WORDNET_STOP_WORDS, dtype=np.float32
        )
        data = vectorizer.fit_transform(texts[train])
        if subset != "train":
            data = vectorizer.transform(bunch.data)
        data.sort_indices()
        bunch.data = as_configured(data)
        bunch.feature_names = vectorizer.get_feature_names_out()
    if return_X_y:
        return bunch.data, bunch.target
    return bunch


def _read_synsets(path):
    """Return names and texts of all synsets, from lines of kind, file, sense, lemmas, a tab and the gloss."""
    names, texts = [], []
    for line in lzma.decompress(path.read_bytes()).decode("utf-8").splitlines():
        fields, _, gloss = line.partition("\t")
        kind, file, sense, *lemmas = fields.split(" ")
        lemma = lemmas[0].partition("(")[0].lower()
        part_of_speech = "a" if kind == "s" else kind
        names.append(f"{lemma}.{kind}.{sense:0>2}")
        texts.append(f"{', '.join(lemmas).replace('_', ' ')}: {gloss} lex_{file} pos_{part_of_speech}")
    return np.array(names, dtype=object), np.array(texts, dtype=object)


def load_xmc_file(path):
    r"""Load data in the text format of the Extreme Classification Repository.

    The first line is ``n_samples n_features n_labels``. Each further line is a row, ``label,label,...
    feature:value feature:value ...``. Labels, features or both may be missing: a row without labels starts
    with a space. Labels and features are numbered from 0. The feature ids of a row ascend; its labels may
    come in any order, and a repeated label counts once.

    The file is read in chunks of about 1 MB. Memory grows with what was read, not with what the header says.

    Parameters
    ----------
    path : str or path-like
        File to read; decompressed if the name ends in ``.gz`` or ``.bz2``.

    Returns
    -------
    X : CSR of shape (n_samples, n_features), float32
        Values of the features.
    Y : CSR of shape (n_samples, n_labels), uint8
        Indicator of the labels.

    Raises
    ------
    ValueError
        If the file is not in this format, with the name of the file, the line and what was expected: a header
        of three numbers below 2**31; ids below those of the header; values finite in float32; lines of at
        most 32 MiB; as many rows as the header says (further lines may only be blank); a compressed file that
        is complete.

    References
    ----------
    K. Bhatia et al., The Extreme Classification Repository: Multi-label Datasets and Code, 2016.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from sklearn_slide.datasets import load_xmc_file
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder) / "data.txt"
    ...     _ = path.write_text("2 4 3\n0,2 1:0.5 3:1\n 0:2\n")
    ...     X, Y = load_xmc_file(path)
    >>> X.toarray()
    array([[0. , 0.5, 0. , 1. ],
           [2. , 0. , 0. , 0. ]], dtype=float32)
    >>> Y.toarray()
    array([[1, 0, 1],
           [0, 0, 0]], dtype=uint8)
    """
    # entries a row, features, values, labels a row, labels; such arrays grow in place, a sixteenth at a time
    columns = array("i"), array("i"), array("f"), array("i"), array("i")
    n_read = 0
    with _open(path, "rb") as file:
        try:
            n_samples, n_features, n_labels = read_header(path, file)
            while lines := read_lines(path, file, n_read + 2, CHUNK_SIZE):
                n_rows = min(len(lines), n_samples - n_read)
                rows = parse_rows(path, n_read + 2, lines[:n_rows], n_features, n_labels)
                for column, new in zip(columns, rows, strict=True):
                    column.frombytes(new.tobytes())
                n_read += n_rows
                for number, line in enumerate(lines[n_rows:], n_read + 2):
                    if not line.isspace():
                        problem = f"expected {n_samples} rows, as the header says, got also {shorten(line)}"
                        raise ValueError(f"{path}, line {number}: {problem}")
        except (EOFError, zlib.error, OSError) as error:
            if isinstance(error, OSError) and error.errno is not None:  # of the system, not the compression
                raise
            problem = f"expected a whole {Path(path).suffix} file, got a damaged or cut one: {error}"
            raise ValueError(f"{path}, after line {n_read + 1}: {problem}") from error
    if n_read < n_samples:
        problem = f"expected {n_samples} rows, as the header says, got only {n_read}"
        raise ValueError(f"{path}, line {n_read + 2}: {problem}")
    counts, indices, values, label_counts, label_indices = columns
    Y = _make_csr(np.ones(len(label_indices), np.uint8), label_indices, label_counts, n_labels)
    Y.sum_duplicates()
    Y.data[:] = 1
    return _make_csr(values, indices, counts, n_features), Y


def _open(path, mode):
    """Open a file in binary mode, through the compression that its name tells."""
    opener = {".gz": gzip.open, ".bz2": bz2.open}.get(Path(path).suffix.lower(), open)
    return opener(path, mode)


def _make_csr(data, indices, counts, n_columns):
    """Make CSR of arrays that stay where they are, from the number of entries of each row."""
    indptr = np.zeros(len(counts) + 1, dtype=np.int32 if len(indices) <= MAX_SIZE else np.int64)
    np.cumsum(counts, out=indptr[1:])
    arrays = np.asarray(data), np.asarray(indices), indptr
    return as_configured(sp.csr_matrix(arrays, shape=(len(counts), n_columns)))


def dump_xmc_file(X, Y, path):
    """Write data in the text format of the Extreme Classification Repository.

    Parameters
    ----------
    X : {sparse matrix, sparse array, array-like} of shape (n_samples, n_features)
        Values of the features. They are stored as float32; all its digits are written.
    Y : {sparse matrix, sparse array, array-like} of shape (n_samples, n_labels)
        Indicator of the labels, 0 and 1.
    path : str or path-like
        File to write; compressed if the name ends in ``.gz`` or ``.bz2``.

    Raises
    ------
    ValueError
        If X and Y differ in their numbers of rows, if X holds a value that is not finite in float32, or if Y
        holds anything but 0 and 1. No file is written then.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from sklearn_slide.datasets import dump_xmc_file
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder) / "data.txt"
    ...     dump_xmc_file([[0, 0.5, 1], [2, 0, 0]], [[1, 1], [0, 0]], path)
    ...     print(path.read_text())
    2 3 2
    0,1 1:0.5 2:1
     0:2
    <BLANKLINE>
    """
    X = sp.csr_matrix(check_array(X, accept_sparse="csr", dtype=np.float32, input_name="X"))
    Y = sp.csr_matrix(check_array(Y, accept_sparse="csr", input_name="Y"))
    if X.shape[0] != Y.shape[0]:
        raise ValueError(f"X and Y must have the same number of rows, got {X.shape[0]} and {Y.shape[0]}")
    if not np.isin(Y.data, (0, 1)).all():
        raise ValueError("Y must be an indicator of labels, with no values but 0 and 1; binarize it first")
    with _open(path, "wb") as file:
        file.write(b"%d %d %d\n" % (*X.shape, Y.shape[1]))
        for block in gen_batches(X.shape[0], 4096):
            dump_svmlight_file(_canonical(X[block]), _canonical(Y[block]), file, multilabel=True)


def _canonical(block):
    """Sort and merge the entries of a few rows, drop zeros, and narrow their indices to int32."""
    block.sum_duplicates()
    block.eliminate_zeros()
    indices, indptr = block.indices.astype(np.int32), block.indptr.astype(np.int32)
    return sp.csr_matrix((block.data, indices, indptr), shape=block.shape)


def make_xmc_classification(
    n_samples=1000,
    n_features=2000,
    n_labels=500,
    *,
    n_features_per_sample=30,
    n_labels_per_sample=3,
    n_features_per_label=10,
    noise=0.5,
    label_exponent=0.5,
    feature_exponent=1.0,
    random_state=None,
):
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
    columns = array("i"), array("i"), array("f"), array("i"), array("i")

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
    Y = _make_csr(np.ones(len(labels), np.uint8), labels, label_counts, n_labels)
    return _make_csr(values, features, counts, n_features), Y


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
