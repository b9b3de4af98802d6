"""Reading and writing the text formats of the Extreme Classification Repository: what may stand in a file."""

import io
import tracemalloc

import numpy as np
import pytest
import scipy.sparse as sp
from numpy.testing import assert_array_equal

from sklearn_slide import _xmc_format
from sklearn_slide.datasets import dump_xmc_file, load_xmc_file


def write(folder, content, name="data.txt"):
    path = folder / name
    path.write_bytes(content)
    return path


HAND_WRITTEN = b"6 5 4\n2,0 4:-2 0:1.5\n 1:1e-3\n3\n\n1 , 1,\t1  2:+.5\t3:4. \r\n\t\n"
HAND_FEATURES = b"6 5\r\n4:-2 0:1.5\r\n 1:1e-3\n\n\n 2:+.5\t3:4. \n\t\n"
HAND_LABELS = b"6 4\n2:1 0:1.0\n\n 3:1e0 2:0\n\n1:1 1:1\r\n\t\n"
HAND_X = [[1.5, 0, 0, 0, -2], [0, 1e-3, 0, 0, 0], [0] * 5, [0] * 5, [0, 0, 0.5, 4, 0], [0] * 5]
HAND_Y = [[1, 0, 1, 0], [0] * 4, [0, 0, 0, 1], [0] * 4, [0, 1, 0, 0], [0] * 4]


def check_hand_written(matrices):
    for matrix, dtype, expected in zip(matrices, (np.float32, np.uint8), (HAND_X, HAND_Y), strict=True):
        assert matrix.format == "csr"
        assert matrix.dtype == dtype
        parts = matrix.data, matrix.indices, matrix.indptr
        assert sp.csr_array(parts, matrix.shape).has_canonical_format  # a new array has to look
        assert matrix.nnz == np.count_nonzero(expected)
        assert_array_equal(matrix.toarray(), np.array(expected, dtype=dtype))


@pytest.mark.parametrize("chunk_size", [1, 9, 2**20])
@pytest.mark.parametrize("content", [HAND_WRITTEN, HAND_WRITTEN[:-1], HAND_WRITTEN + b"\n \r\n"])
def test_load_by_hand(tmp_path, monkeypatch, chunk_size, content):
    monkeypatch.setattr(_xmc_format, "CHUNK_SIZE", chunk_size)
    check_hand_written(load_xmc_file(str(write(tmp_path, content))))


@pytest.mark.parametrize("chunk_size", [1, 9, 2**20])
@pytest.mark.parametrize("end", [b"", b"\n \r\n"])
def test_load_two_files_by_hand(tmp_path, monkeypatch, chunk_size, end):
    monkeypatch.setattr(_xmc_format, "CHUNK_SIZE", chunk_size)
    features = write(tmp_path, HAND_FEATURES + end, "trn_X_Xf.txt")
    check_hand_written(load_xmc_file(features, write(tmp_path, HAND_LABELS, "trn_X_Y.txt")))


@pytest.mark.parametrize(
    ("content", "x_shape", "y_shape"),
    [(b"0 5 4\n", (0, 5), (0, 4)), (b"2 0 4\n3\n\n", (2, 0), (2, 4)), (b"1 5 0\n 4:1\n", (1, 5), (1, 0))],
)
def test_load_empty_sides(tmp_path, content, x_shape, y_shape):
    X, Y = load_xmc_file(write(tmp_path, content))
    assert X.shape == x_shape
    assert Y.shape == y_shape


def write_oddly(X, Y, base, rng):
    """Return one file, and two, of X and Y: shuffled entries, ids from base, mixed gaps and line ends."""

    def gap(least):
        return "".join(rng.choice([" ", "\t"], size=rng.randint(least, 3)))

    def write_pairs(row):
        return "".join(f"{gap(1)}{j + base}:{float(row[j])!r}" for j in rng.permutation(np.flatnonzero(row)))

    texts = [
        f"{len(X)} {X.shape[1]} {Y.shape[1]}\n",
        f"{len(X)} {X.shape[1]}\n",
        f"{len(X)} {Y.shape[1]}\n",
    ]
    for x, y in zip(X, Y, strict=True):
        ids = "".join(f"{gap(0)},{gap(0)}{j + base}" for j in rng.permutation(np.flatnonzero(y)))
        row = write_pairs(x)
        for i, part in enumerate([ids.strip(" \t,") + row, row, write_pairs(y)]):
            texts[i] += part + gap(0) + rng.choice(["\n", "\r\n"])
    return [text.encode() for text in texts]


@pytest.mark.parametrize("chunk_size", [1, 300, 2**20])
@pytest.mark.parametrize("base", [0, 1])
@pytest.mark.parametrize("has_header", [True, False])
def test_load_odd_files(monkeypatch, chunk_size, base, has_header):
    """Any order of entries, any gaps, either way of counting, with or without a first line."""
    monkeypatch.setattr(_xmc_format, "CHUNK_SIZE", chunk_size)
    rng = np.random.RandomState(base)
    X = rng.randint(-9, 10, size=(60, 30)) / 8 * (rng.random_sample((60, 30)) < 0.1)
    Y = rng.random_sample((60, 20)) < 0.05
    X[-1, [0, -1]] = Y[-1, [0, -1]] = 1  # "auto" and a file without a first line need these
    assert not (X.any(axis=1) | Y.any(axis=1)).all()
    one, features, labels = write_oddly(X, Y, base, rng)
    sizes = {}
    if not has_header:
        one, features, labels = (text.partition(b"\n")[2] for text in (one, features, labels))
        sizes = {"n_features": 30, "n_labels": 20}
    for zero_based in (base == 0, "auto", np.bool_(base == 0), (base == 0, "auto")):
        for files in ([one], [features, labels]):
            matrices = load_xmc_file(*map(io.BytesIO, files), zero_based=zero_based, **sizes)
            for found, expected in zip(matrices, (X, Y), strict=True):
                assert_array_equal(found.toarray(), expected)
                assert found.has_sorted_indices


@pytest.mark.parametrize("zero_based", [(False, True), ["auto", True], "auto"])
def test_libsvm(zero_based):
    """Multi-label files of LIBSVM have no first line, features from 1 and labels from 0."""
    X, Y = load_xmc_file(io.BytesIO(b"0,2 1:1 3:1\n"), n_features=3, n_labels=3, zero_based=zero_based)
    assert_array_equal(X.toarray(), [[1, 0, 1]])
    assert_array_equal(Y.toarray(), [[1, 0, 1]])


def test_auto_counts_from_0_unless_the_largest_id_tells_otherwise():
    X, Y = load_xmc_file(io.BytesIO(b"1 3 3\n1,2 1:1 2:1\n"), zero_based="auto")
    assert_array_equal(X.toarray(), [[0, 1, 1]])
    assert_array_equal(Y.toarray(), [[0, 1, 1]])


@pytest.mark.parametrize(
    "files", [[b"1 0:1\n\n 1:1\n0\n \n\n"], [b" 0:1\n\n1:1\n\n \n\n\n", b"1:1\n\n\n0:1\n\n\n"]]
)
@pytest.mark.parametrize("n_samples", [4, 5, 6])
def test_blank_rows_without_first_line(files, n_samples):
    X, Y = load_xmc_file(*map(io.BytesIO, files), n_samples=n_samples, n_features=3, n_labels=2)
    assert_array_equal(X.toarray(), [[1, 0, 0], [0, 0, 0], [0, 1, 0], *[[0, 0, 0]] * (n_samples - 3)])
    assert_array_equal(Y.toarray(), [[0, 1], [0, 0], [0, 0], [1, 0], *[[0, 0]] * (n_samples - 4)])


def test_blank_rows_at_the_end_are_none_without_n_samples():
    X, Y = load_xmc_file(io.BytesIO(b"\n1 0:1\n\n0\n \n\n"), n_features=3, n_labels=2)
    assert_array_equal(X.toarray(), [[0, 0, 0], [1, 0, 0], [0, 0, 0], [0, 0, 0]])
    assert_array_equal(Y.toarray(), [[0, 0], [0, 1], [0, 0], [1, 0]])
    X, Y = load_xmc_file(io.BytesIO(b""), n_features=3, n_labels=2)
    assert (X.shape, Y.shape) == ((0, 3), (0, 2))
    with pytest.raises(
        ValueError, match=r"line 3: expected as many rows as in <BytesIO>, 1, got 2; pass n_samples"
    ):
        load_xmc_file(io.BytesIO(b"0:1\n\n"), io.BytesIO(b"\n0:1\n"), n_features=3, n_labels=2)


def test_one_first_line_tells_the_rows_of_both_files():
    X, Y = load_xmc_file(io.BytesIO(b"2 3\n0:1\n\n"), io.BytesIO(b"0:1\n\n"), n_labels=2)
    assert (X.shape, Y.shape) == ((2, 3), (2, 2))


def test_sizes_may_grow():
    X, Y = load_xmc_file(io.BytesIO(b"1 3 2\n1,4 7:1\n"), n_samples=1, n_features=8, n_labels=5)
    assert (X.shape, Y.shape) == ((1, 8), (1, 5))
    assert X[0, 7] == Y[0, 1] == Y[0, 4] == 1


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"n_features": 2}, "line 1: expected the header .*, but n_features=2 was passed; leave it out"),
        ({"n_labels": 0}, "line 1: .*, but n_labels=0 was passed"),
        ({"n_samples": 2}, "line 1: .*, but n_samples=2 was passed"),
        ({"n_samples": 0}, "line 1: .*, but n_samples=0 was passed"),
        ({"n_samples": -1}, "n_samples must be None or an int from 0 to 2147483647, got -1"),
        ({"n_features": 2.0}, "n_features must be None or an int .*, got 2.0"),
        ({"n_labels": 2**31}, "n_labels must be None or an int .*, got 2147483648"),
        ({"zero_based": 0}, "zero_based must be True, False, 'auto' or a pair of these, got 0"),
        ({"zero_based": "no"}, "zero_based must be True, .*, got 'no'"),
        ({"zero_based": (True,)}, "zero_based must be True, .*, got "),
        ({"zero_based": (True, None)}, "zero_based must be True, .*, got "),
    ],
)
def test_bad_parameters(parameters, message):
    with pytest.raises(ValueError, match=message):
        load_xmc_file(io.BytesIO(b"1 3 2\n1 2:1\n"), **parameters)


@pytest.mark.parametrize("suffix", ["", ".gz", ".bz2", ".xz"])
def test_round_trip(tmp_path, suffix):
    rng = np.random.RandomState(0)
    X = sp.random(300, 70, density=0.1, format="csr", dtype=np.float32, random_state=rng)
    X.data = rng.randint(2**32, size=X.nnz, dtype=np.uint32).view(np.float32)  # all exponents, both signs
    X.data[~(np.abs(X.data) < 1e30)] = np.finfo(np.float32).tiny
    X.data[0] = np.finfo(np.float32).max
    Y = sp.random(300, 50, density=0.03, format="csr", random_state=rng)
    Y.data[:] = 1
    assert np.diff(X.indptr).min() == np.diff(Y.indptr).min() == 0
    path = tmp_path / f"data.txt{suffix}"
    dump_xmc_file(X, Y, path)
    start = {"": b"300 70 5", ".gz": b"\x1f\x8b", ".bz2": b"BZh", ".xz": b"\xfd7zXZ\0"}[suffix]
    assert path.read_bytes().startswith(start)
    X_read, Y_read = load_xmc_file(path)
    assert_array_equal(X_read.data, X.data)
    assert_array_equal(X_read.indices, X.indices)
    assert_array_equal(X_read.indptr, X.indptr)
    assert (Y_read != Y).nnz == 0


@pytest.mark.parametrize("container", [np.array, sp.csr_matrix, sp.csr_array, sp.csc_matrix, sp.coo_array])
@pytest.mark.parametrize("dtype", [bool, np.int64, np.float32])
def test_dump_accepts(tmp_path, container, dtype):
    path = tmp_path / "data.txt"
    dump_xmc_file(container(np.array(HAND_X)), container(np.array(HAND_Y, dtype=dtype)), path)
    expected = b"6 5 4\n0,2 0:1.5 4:-2\n 1:0.001000000047497451\n3 \n \n1 2:0.5 3:4\n \n"
    assert path.read_bytes() == expected


def test_dump_tidies(tmp_path):
    """Entries out of order, double or zero, and 64-bit indices; the input stays as it was."""
    indices, indptr = np.array([2, 0, 2, 1]), np.array([0, 3, 4])
    X = sp.csr_array((np.array([1.0, 2, 3, 0], dtype=np.float32), indices, indptr), shape=(2, 3))
    Y = sp.csr_array((np.array([1, 1, 1, 0]), indices.copy(), indptr.copy()), shape=(2, 3))
    X.indices, X.indptr = X.indices.astype(np.int64), X.indptr.astype(np.int64)
    dump_xmc_file(X, Y, tmp_path / "data.txt")
    assert (tmp_path / "data.txt").read_bytes() == b"2 3 3\n0,2 0:2 2:4\n \n"
    assert X.nnz == Y.nnz == 4
    assert_array_equal(X.indices, [2, 0, 2, 1])


@pytest.mark.parametrize(
    ("X", "Y", "message"),
    [
        ([[1.0], [2.0]], [[1]], "X and Y must have the same number of rows, got 2 and 1"),
        ([[1.0]], [[2]], "Y must be an indicator of labels, with no values but 0 and 1"),
        ([[np.nan]], [[1]], "Input X contains NaN"),
        ([[1e39]], [[1]], "Input X contains infinity"),
        ([[1.0]], [[np.nan]], "Input Y contains NaN"),
    ],
)
@pytest.mark.filterwarnings("ignore:overflow encountered in cast:RuntimeWarning")
def test_dump_bad_input(tmp_path, X, Y, message):
    path = tmp_path / "data.txt"
    with pytest.raises(ValueError, match=message):
        dump_xmc_file(X, Y, path)
    assert not path.exists()


def test_dump_to_file_objects(tmp_path):
    file = io.BytesIO()
    dump_xmc_file(HAND_X, HAND_Y, file)
    file.seek(0)
    check_hand_written(load_xmc_file(file))
    for f, message in [(io.StringIO(), "f must be open in binary mode"), (3, "f must be a path or a file")]:
        with pytest.raises(TypeError, match=message):
            dump_xmc_file(HAND_X, HAND_Y, f)


def traced_peak(function, *args):
    tracemalloc.start()
    try:
        result = function(*args)
        return result, tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def n_bytes(*matrices):
    return sum(m.data.nbytes + m.indices.nbytes + m.indptr.nbytes for m in matrices)
