"""Reading and writing the text format of the Extreme Classification Repository."""

import gzip
import re
import tracemalloc

import numpy as np
import pytest
import scipy.sparse as sp
from numpy.testing import assert_array_equal

from sklearn_slide import _xmc_format, datasets
from sklearn_slide.datasets import dump_xmc_file, load_xmc_file, make_xmc_classification


def write(folder, content, name="data.txt"):
    path = folder / name
    path.write_bytes(content)
    return path


HAND_WRITTEN = b"6 5 4\n2,0 0:1.5 4:-2\n 1:1e-3\n3\n\n1,1  2:+.5\t3:4. \r\n\t\n"
HAND_X = [[1.5, 0, 0, 0, -2], [0, 1e-3, 0, 0, 0], [0] * 5, [0] * 5, [0, 0, 0.5, 4, 0], [0] * 5]
HAND_Y = [[1, 0, 1, 0], [0] * 4, [0, 0, 0, 1], [0] * 4, [0, 1, 0, 0], [0] * 4]


@pytest.mark.parametrize("chunk_size", [1, 9, 2**20])
@pytest.mark.parametrize("content", [HAND_WRITTEN, HAND_WRITTEN[:-1], HAND_WRITTEN + b"\n \r\n"])
def test_load_by_hand(tmp_path, monkeypatch, chunk_size, content):
    monkeypatch.setattr(datasets, "CHUNK_SIZE", chunk_size)
    X, Y = load_xmc_file(str(write(tmp_path, content)))
    assert X.format == Y.format == "csr"
    assert X.dtype == np.float32
    assert Y.dtype == np.uint8
    assert X.has_canonical_format
    assert Y.has_canonical_format
    assert_array_equal(X.toarray(), np.array(HAND_X, dtype=np.float32))
    assert_array_equal(Y.toarray(), HAND_Y)


@pytest.mark.parametrize(
    ("content", "x_shape", "y_shape"),
    [(b"0 5 4\n", (0, 5), (0, 4)), (b"2 0 4\n3\n\n", (2, 0), (2, 4)), (b"1 5 0\n 4:1\n", (1, 5), (1, 0))],
)
def test_load_empty_sides(tmp_path, content, x_shape, y_shape):
    X, Y = load_xmc_file(write(tmp_path, content))
    assert X.shape == x_shape
    assert Y.shape == y_shape


@pytest.mark.parametrize(
    ("content", "line", "message"),
    [
        (b"", 1, "expected the header 'n_samples n_features n_labels'.*got ''"),
        (b"0,1 0:1 2:3\n", 1, "expected the header .* got '0,1 0:1 2:3"),
        (b"2 3\n1 1:1\n", 1, "expected the header"),
        (b"2 3 4 5\n1 1:1\n", 1, "expected the header"),
        (b"-2 3 4\n1 1:1\n", 1, "expected the header"),
        (
            b"2 3 2147483648\n1 1:1\n",
            1,
            "expected the header .*, three integers from 0 to 2147483647, got '2 3 2147483648",
        ),
        (b"x" * 1000, 1, "expected the header .*x{60}\\.\\.\\.'$"),
        (b"\xff\xfe2 3 4\n", 1, r"expected the header .*\\xff"),
        (b"1 3 4\n-1 1:1\n", 2, "expected labels from 0 to below 4, joined by commas, got '-1'"),
        (b"2 3 4\n0 1:1\n1,4 1:1\n", 3, "expected labels from 0 to below 4, joined by commas, got '4'"),
        (b"1 3 4\n99999999999999999999 1:1\n", 2, "expected labels from 0 to below 4"),
        (b"1 3 4\n1, 1:1\n", 2, "expected labels .* got ''"),
        (b"1 3 4\n1.5 1:1\n", 2, "expected labels .* got '1.5'"),
        (b"1 3 4\n1_0 1:1\n", 2, "expected labels .* got '1_0'"),
        (b"2 3 4\n\nqid 1:1\n", 3, "expected labels .* got 'qid'"),
        (b"1 3 4\n1 -1:1\n", 2, "expected feature:value, the feature from 0 to below 3, got '-1:1'"),
        (b"1 3 4\n1 3:1\n", 2, "expected feature:value, the feature from 0 to below 3, got '3:1'"),
        (b"1 3 4\n1 9999999999:1\n", 2, "expected feature:value, the feature from 0 to below 3"),
        (b"1 3 4\n1 qid:1 1:1\n", 2, "expected feature:value, .* got 'qid:1'"),
        (b"1 3 4\n1 1:1 # 2\n", 2, "expected feature:value, .* got '#'"),
        (b"1 3 4\n1 2\n", 2, "expected feature:value, .* got '2'"),
        (b"1 3 4\n1 1: 2\n", 2, "expected a value that is finite in float32, got '1:'"),
        (b"1 3 4\n1 1:one\n", 2, "expected a value that is finite in float32, got '1:one'"),
        (b"1 3 4\n1 1:1:1\n", 2, "expected a value that is finite in float32, got '1:1:1'"),
        (b"1 3 4\n1 1:nan\n", 2, "expected a value that is finite in float32, got '1:nan'"),
        (b"1 3 4\n1 1:-inf\n", 2, "expected a value that is finite in float32, got '1:-inf'"),
        (b"1 3 4\n1 1:1e39\n", 2, "expected a value that is finite in float32, got '1:1e39'"),
        (b"1 3 4\n1 2:1 1:1\n", 2, "expected ascending features, got 1 after 2"),
        (b"1 3 4\n1 1:1 1:1\n", 2, "expected ascending features, got 1 after 1"),
        (b"2 3 4\n1 1:1\n1 1:1\0\n", 3, "expected text, got a NUL byte"),
        (b"1 3 4\n1 1:1\r2 1:1\n", 2, "expected feature:value, .* got '2'"),
        (b"1 3 4\n1 1:1\x0b2:1\n", 2, "expected spaces or tabs between the fields"),
        (b"1 3 4\n00000000001 1:1\n", 2, "expected .* ids of at most ten digits"),
        (b"3 3 4\n1 1:1\n1 1:1\n", 4, "expected 3 rows, as the header says, got only 2"),
        (b"1 3 4\n1 1:1\n\n1 2:1\n", 4, "expected 1 rows, as the header says, got also '1 2:1"),
        (b"0 3 4\n1 1:1\n", 2, "expected 0 rows, as the header says, got also"),
    ],
)
@pytest.mark.parametrize("chunk_size", [1, 2**20])
def test_malformed(tmp_path, monkeypatch, content, line, message, chunk_size):
    monkeypatch.setattr(datasets, "CHUNK_SIZE", chunk_size)
    path = write(tmp_path, content)
    with pytest.raises(ValueError, match=f"^{re.escape(str(path))}, line {line}: {message}"):
        load_xmc_file(path)


def parse_obviously(content):
    """Return the dense X and Y of a file, or None if the file breaks a rule of the format."""
    header, *lines = content.decode("latin-1").removesuffix("\n").split("\n")
    if not re.fullmatch(r"[ \t]*\d+[ \t]+\d+[ \t]+\d+\s*", header, flags=re.ASCII):
        return None
    n_samples, n_features, n_labels = map(int, header.split())
    if len(lines) < n_samples or any(not re.fullmatch("[ \t\r]*", line) for line in lines[n_samples:]):
        return None
    X, Y = (
        np.zeros((n_samples, n_features), dtype=np.float32),
        np.zeros((n_samples, n_labels), dtype=np.uint8),
    )
    for x, y, line in zip(X, Y, lines, strict=False):
        if not re.fullmatch(r"[-+.:,0-9eE \t]*\r?", line):
            return None
        tokens = [token for token in re.split("[ \t\r]+", line) if token]
        try:
            labels = tokens.pop(0).split(",") if tokens and ":" not in tokens[0] else []
            pairs = [token.split(":") for token in tokens]
            features = [int(feature) for feature, _ in pairs]
            if not all(text.isdigit() for text in labels + [feature for feature, _ in pairs]):
                return None
            if features != sorted(set(features)):
                return None
            y[[int(label) for label in labels]] = 1
            x[features] = [float(value) for _, value in pairs]
        except (ValueError, IndexError):
            return None
        if not np.isfinite(x).all():
            return None
    return X, Y


@pytest.mark.filterwarnings("ignore:overflow encountered:RuntimeWarning")
def test_mutated_files(tmp_path):
    """A changed file is read as a slow parser reads it, or refused with a line where that refuses it."""
    rng = np.random.RandomState(0)
    n_read = 0
    for _ in range(1500):
        content = bytearray(HAND_WRITTEN)
        for position in rng.randint(len(content), size=rng.randint(1, 3)):
            content[position] = rng.choice(list(b"0123456789999:,. \t\r\n\n-+eEnx#\0\xe9"))
        expected = parse_obviously(bytes(content))
        path = write(tmp_path, content)
        if expected is None:
            with pytest.raises(ValueError, match=rf"^{re.escape(str(path))}, line \d: expected"):
                load_xmc_file(path)
        else:
            n_read += 1
            for found, matrix in zip(load_xmc_file(path), expected, strict=True):
                assert_array_equal(found.toarray(), matrix)
    assert 100 < n_read < 1400


@pytest.mark.parametrize("suffix", [".gz", ".bz2"])
@pytest.mark.parametrize("damage", ["cut", "plain", "changed"])
def test_damaged_compression(tmp_path, suffix, damage):
    X, Y = make_xmc_classification(200, random_state=0)
    path = tmp_path / f"data.txt{suffix}"
    dump_xmc_file(X, Y, path)
    content = bytearray(path.read_bytes())
    if damage == "cut":
        del content[len(content) // 2 :]
    elif damage == "plain":
        content = HAND_WRITTEN
    else:
        content[len(content) // 2 :] = bytes(len(content) // 2)
    path.write_bytes(content)
    message = (
        f"^{re.escape(str(path))}, after line 1: expected a whole {suffix} file, got a damaged or cut one"
    )
    with pytest.raises(ValueError, match=message):
        load_xmc_file(path)


def test_load_missing_file(tmp_path):
    with pytest.raises(FileNotFoundError):
        load_xmc_file(tmp_path / "none.txt")


@pytest.mark.parametrize("suffix", ["", ".gz", ".bz2"])
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
    assert (path.read_bytes()[:2] == b"\x1f\x8b") == (suffix == ".gz")
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


def traced_peak(function, *args):
    tracemalloc.start()
    try:
        result = function(*args)
        return result, tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def n_bytes(*matrices):
    return sum(m.data.nbytes + m.indices.nbytes + m.indptr.nbytes for m in matrices)


def test_load_bounded_memory(tmp_path):
    X, Y = make_xmc_classification(20000, 5000, 3000, random_state=0)
    dump_xmc_file(X, Y, tmp_path / "data.txt")
    assert (tmp_path / "data.txt").stat().st_size > 14e6
    (X_read, Y_read), peak = traced_peak(load_xmc_file, tmp_path / "data.txt")
    assert (X_read != X).nnz == (Y_read != Y).nnz == 0
    assert peak < 1.15 * n_bytes(X, Y) + 8 * datasets.CHUNK_SIZE


@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_header_allocates_nothing(tmp_path, suffix):
    content = b"2147483647 2147483647 2147483647\n2147483646 2147483646:1\n"
    path = write(tmp_path, gzip.compress(content) if suffix else content, f"data.txt{suffix}")

    def load():
        with pytest.raises(ValueError, match=r"line 3: expected 2147483647 rows, .* got only 1"):
            load_xmc_file(path)

    assert traced_peak(load)[1] < 2e6


@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_a_line_without_end_is_refused_in_bounded_memory(tmp_path, suffix):
    block = b"1" * 2**20
    head = b"3 5 4\n2 0:1\n"
    parts = [head] + [block] * 200
    path = write(tmp_path, b"".join(map(gzip.compress if suffix else bytes, parts)), f"data.txt{suffix}")

    def load():
        with pytest.raises(ValueError, match=r"line 3: expected lines of at most 33554432 bytes"):
            load_xmc_file(path)

    assert traced_peak(load)[1] < 3 * _xmc_format.MAX_LINE_SIZE


@pytest.mark.parametrize("chunk_size", [1, 5, 2**20])
def test_a_line_may_be_as_long_as_the_bound(tmp_path, monkeypatch, chunk_size):
    monkeypatch.setattr(datasets, "CHUNK_SIZE", chunk_size)
    monkeypatch.setattr(_xmc_format, "MAX_LINE_SIZE", 40)
    long = b"2 0:1".ljust(39) + b"\n"
    X, Y = load_xmc_file(write(tmp_path, b"2 5 4\n" + 2 * long))
    assert X.sum() == Y.sum() == 2
