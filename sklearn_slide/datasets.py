"""Data for extreme multi-label classification: a bundled task, text formats and a generator."""

import lzma
from contextlib import nullcontext
from importlib import resources
from numbers import Integral
from typing import Any

import numpy as np
import scipy.sparse as sp
from sklearn.datasets import dump_svmlight_file
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.utils import Bunch, check_array, gen_batches

from sklearn_slide._generator import make_xmc_classification
from sklearn_slide._sparse import as_configured, check_indices
from sklearn_slide._types import File, MatrixLike
from sklearn_slide._xmc_format import MAX_SIZE, make_csr, read_files, read_splits
from sklearn_slide._xmc_io import open_lines, open_to_write

__all__ = ["dump_xmc_file", "load_wordnet", "load_xmc_file", "load_xmc_splits", "make_xmc_classification"]

# Of an indicator; others, such as float16 and objects, become the first.
_INDICATOR_TYPES = (np.float64, np.float32, np.int64, np.int32, np.int8, np.uint8, bool)

WORDNET_STOP_WORDS = [
    *("an", "and", "are", "as", "at", "be", "by", "for", "from", "in"),
    *("is", "it", "of", "on", "or", "that", "the", "to", "used", "with"),
]


def load_wordnet(subset: str = "train", *, vectorize: bool = False, return_X_y: bool = False) -> Any:
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

    See Also
    --------
    make_xmc_classification : Data of any shape.

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


def load_xmc_file(
    f: File,
    labels: File | None = None,
    *,
    n_samples: int | None = None,
    n_features: int | None = None,
    n_labels: int | None = None,
    zero_based: bool | str | tuple[bool | str, bool | str] = True,
) -> tuple[Any, Any]:
    r"""Load data in the text formats of the Extreme Classification Repository.

    In one file, the first line is ``n_samples n_features n_labels``. Each further line is a row,
    ``label,label,... feature:value feature:value ...``. Labels, features or both may be missing.

    In two files, such as ``trn_X_Xf.txt`` and ``trn_X_Y.txt``, the first line is ``n_samples n_features`` or
    ``n_samples n_labels``. Each further line is a row, ``feature:value feature:value ...`` or
    ``label:1 label:1 ...``.

    Labels and features of a row come in any order. A repeated label counts once; a repeated feature is
    refused. The file is read in chunks of about 0.5 MB. Memory grows with what was read, not with what the
    first line says.

    Parameters
    ----------
    f : str, path-like, file-like or int
        File to read, or its descriptor. A file in gzip, bzip2 or xz is told by its first bytes, whatever its
        name, and decompressed. A file object must be open in binary mode; it is not closed, and neither is a
        descriptor.
    labels : str, path-like, file-like or int, default=None
        File of the labels, where `f` has the features alone.
    n_samples, n_features, n_labels : int, default=None
        Numbers of rows, features and labels, from 0 to 2**31 - 1. A file without the first line is read where
        `n_features` and `n_labels` are given. Each line is a row then, but blank lines at the end only if
        `n_samples` says so. A file with the first line may get larger `n_features` and `n_labels` than that
        says.
    zero_based : bool, "auto" or pair of these, default=True
        Whether features and labels are counted from 0 (True) or from 1 (False). "auto" counts from 1 if the
        file has the id `n_features` (`n_labels`), else from 0. Files that belong together may differ in
        that: give them True or False. A pair is for features and labels; ``(False, True)`` reads
        multi-label files of LIBSVM.

    Returns
    -------
    X : CSR of shape (n_samples, n_features), float32
        Values of the features, in each row by ascending feature.
    Y : CSR of shape (n_samples, n_labels), uint8
        Indicator of the labels.

    Raises
    ------
    ValueError
        If the file is not in this format, with the name of the file, the line, what was expected, what came
        and the way out. Expected are: sizes below 2**31; ids below the sizes; values finite in float32, and 0
        or 1 for labels; lines of at most 32 MiB; as many rows as the first line says (further lines may only
        be blank), in both files; a compressed file that is complete, and that takes at most 64 MiB and 100
        times its size, as text and as arrays. Or if a parameter is outside its range.
    TypeError
        If `f` or `labels` is none of the four, or a file that is open in text mode.

    See Also
    --------
    load_xmc_splits : Rows of such a file that are for training or testing.

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

    The same in two files, here file objects:

    >>> from io import BytesIO
    >>> X_again, Y_again = load_xmc_file(BytesIO(b"2 4\n1:0.5 3:1\n0:2\n"), BytesIO(b"2 3\n0:1 2:1\n\n"))
    >>> (X_again != X).nnz, (Y_again != Y).nnz
    (0, 0)
    """
    given = {"n_samples": n_samples, "n_features": n_features, "n_labels": n_labels}
    for name, size in given.items():
        _check_size(name, size)
    bases = list(zero_based) if isinstance(zero_based, tuple | list) else [zero_based, zero_based]
    if len(bases) != 2 or not all(isinstance(base, bool | np.bool_) or base == "auto" for base in bases):
        raise ValueError(f"zero_based must be True, False, 'auto' or a pair of these, got {zero_based!r}")
    bases = [base if isinstance(base, str) else bool(base) for base in bases]
    with (
        open_lines(f, "f") as reader,
        nullcontext() if labels is None else open_lines(labels, "labels") as second,
    ):
        sizes, rows = read_files(reader, second, given, bases)
    Y = make_csr(np.ones(len(rows.labels), np.uint8), rows.labels, rows.label_counts, sizes["n_labels"])
    Y.sum_duplicates()
    Y.data[:] = 1
    return make_csr(rows.values, rows.ids, rows.counts, sizes["n_features"]), Y


def _check_size(name, size):
    """Raise an error unless the size is None or one that a file may have."""
    if size is not None and not (isinstance(size, Integral) and 0 <= size <= MAX_SIZE):
        raise ValueError(f"{name} must be None or an int from 0 to {MAX_SIZE}, got {size!r}")


def load_xmc_splits(f: File, *, n_samples: int | None = None, zero_based: bool = False) -> Any:
    r"""Load the rows of training or test sets from a split file of the Extreme Classification Repository.

    Small data sets of the repository come as one file of all samples and two split files, such as
    ``bibtex_trSplit.txt`` and ``bibtex_tstSplit.txt``. Each column of these is one random split, each number
    a row of the data, counted from 1.

    Parameters
    ----------
    f : str, path-like, file-like or int
        File to read, as for :func:`load_xmc_file`.
    n_samples : int, default=None
        Number of rows of the data. If given, larger row numbers are refused.
    zero_based : bool, default=False
        Whether the file counts rows from 0 instead of 1.

    Returns
    -------
    rows : ndarray of shape (n_rows, n_splits), intp
        Rows of each split, counted from 0.

    Raises
    ------
    ValueError
        If the file holds anything but columns of row numbers, with its name, the line, what was expected and
        what came. If a parameter is outside its range.
    TypeError
        If `f` is no path, descriptor or file object, or a file that is open in text mode.

    See Also
    --------
    load_xmc_file : Load the data.

    Examples
    --------
    >>> from io import BytesIO
    >>> from sklearn_slide.datasets import load_xmc_file, load_xmc_splits
    >>> X, Y = load_xmc_file(BytesIO(b"3 2 2\n0 0:1\n1 1:1\n0,1 0:1 1:1\n"))
    >>> train = load_xmc_splits(BytesIO(b"1 3\n3 2\n"), n_samples=3)
    >>> test = load_xmc_splits(BytesIO(b"2 1\n"), n_samples=3)
    >>> X_train, Y_train = X[train[:, 0]], Y[train[:, 0]]
    >>> X_train.toarray()
    array([[1., 0.],
           [1., 1.]], dtype=float32)

    As `cv` of scikit-learn's model selection, all splits at once:

    >>> cv = list(zip(train.T, test.T))
    """
    _check_size("n_samples", n_samples)
    if not isinstance(zero_based, bool | np.bool_):
        raise ValueError(f"zero_based must be True or False, got {zero_based!r}")
    with open_lines(f, "f") as reader:
        return read_splits(reader, n_samples, zero_based)


def dump_xmc_file(X: MatrixLike, Y: MatrixLike, f: File) -> None:
    """Write data in the text format of the Extreme Classification Repository.

    Parameters
    ----------
    X : {sparse matrix, sparse array, array-like} of shape (n_samples, n_features)
        Values of the features. They are stored as float32; all its digits are written.
    Y : {sparse matrix, sparse array, array-like} of shape (n_samples, n_labels)
        Indicator of the labels, 0 and 1.
    f : str, path-like or file-like
        File to write; compressed if the name ends in ``.gz``, ``.bz2`` or ``.xz``. A file object must be open
        in binary mode; it is not closed.

    Raises
    ------
    ValueError
        If X and Y differ in their numbers of rows, if X holds a value that is not finite in float32, if Y
        holds anything but 0 and 1, or if a sparse one has an entry outside its shape. No file is
        written then.
    TypeError
        If `f` is none of the three, or a file that is open in text mode.

    See Also
    --------
    load_xmc_file : Read such a file.

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
    check_indices(X, "X")
    check_indices(Y, "Y")
    X = sp.csr_matrix(check_array(X, accept_sparse="csr", dtype=np.float32, input_name="X"))
    Y = sp.csr_matrix(check_array(Y, accept_sparse="csr", dtype=_INDICATOR_TYPES, input_name="Y"))
    if X.shape[0] != Y.shape[0]:
        raise ValueError(f"X and Y must have the same number of rows, got {X.shape[0]} and {Y.shape[0]}")
    if not np.isin(Y.data, (0, 1)).all():
        raise ValueError("Y must be an indicator of labels, with no values but 0 and 1; binarize it first")
    with open_to_write(f) as file:
        file.write(b"%d %d %d\n" % (*X.shape, Y.shape[1]))
        for block in gen_batches(X.shape[0], 4096):
            dump_svmlight_file(_canonical(X[block]), _canonical(Y[block]), file, multilabel=True)


def _canonical(block):
    """Sort and merge the entries of a few rows, drop zeros, and narrow their indices to int32."""
    block.sum_duplicates()
    block.eliminate_zeros()
    indices, indptr = block.indices.astype(np.int32), block.indptr.astype(np.int32)
    return sp.csr_matrix((block.data, indices, indptr), shape=block.shape)
