"""Where the text formats are read from: files of all kinds, compression, files that would fill the memory."""

import bz2
import gzip
import io
import lzma
import os
import re
import zipfile

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from sklearn.linear_model import LinearRegression
from sklearn.model_selection import cross_val_score
from test_xmc_files import (
    HAND_FEATURES,
    HAND_LABELS,
    HAND_WRITTEN,
    check_hand_written,
    n_bytes,
    traced_peak,
    write,
)

from sklearn_slide import _xmc_format, _xmc_io
from sklearn_slide.datasets import dump_xmc_file, load_xmc_file, load_xmc_splits, make_xmc_classification

COMPRESS = {"text": bytes, "gzip": gzip.compress, "bzip2": bz2.compress, "xz": lzma.compress}
BYTE_ORDER_MARK = b"\xef\xbb\xbf"


class Trickle:
    """A file object that has `read` alone, and gives three bytes at a time, as a socket may."""

    def __init__(self, content):
        self.file = io.BytesIO(content)

    def read(self, size):
        return self.file.read(min(size, 3))


@pytest.mark.parametrize("kind", COMPRESS)
@pytest.mark.parametrize("name", ["data.txt", "data.txt.gz", "data"])
@pytest.mark.parametrize("start", [b"", BYTE_ORDER_MARK])
def test_compression_is_told_by_the_first_bytes(tmp_path, kind, name, start):
    path = write(tmp_path, COMPRESS[kind](start + HAND_WRITTEN), name)
    check_hand_written(load_xmc_file(path))
    check_hand_written(load_xmc_file(str(path)))
    with path.open("rb") as file:
        check_hand_written(load_xmc_file(file))
        assert not file.closed
    check_hand_written(load_xmc_file(Trickle(path.read_bytes())))


@pytest.mark.parametrize("kind", COMPRESS)
def test_two_compressed_files(tmp_path, kind):
    features = write(tmp_path, COMPRESS[kind](BYTE_ORDER_MARK + HAND_FEATURES), "features")
    labels = io.BytesIO(COMPRESS[kind](BYTE_ORDER_MARK + HAND_LABELS))
    check_hand_written(load_xmc_file(features, labels))
    assert not labels.closed


def test_file_object_is_read_from_where_it_is():
    file = io.BytesIO(b"skipped" + HAND_WRITTEN)
    file.seek(7)
    check_hand_written(load_xmc_file(file))


def test_member_of_a_zip_archive(tmp_path):
    path = tmp_path / "data.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("data.txt", HAND_WRITTEN)
    with zipfile.ZipFile(path) as archive, archive.open("data.txt") as file:
        check_hand_written(load_xmc_file(file))
    with pytest.raises(
        ValueError, match=r"line 1: expected text, .* got a zip archive; unpack it, or pass zipfile"
    ):
        load_xmc_file(path)


@pytest.mark.parametrize("kind", COMPRESS)
def test_descriptor_stays_open(tmp_path, kind):
    path = write(tmp_path, COMPRESS[kind](HAND_WRITTEN))
    with path.open("rb") as file:
        check_hand_written(load_xmc_file(file.fileno()))
        file.seek(0)
        check_hand_written(load_xmc_file(np.int64(file.fileno())))
        with pytest.raises(
            ValueError, match=f"^file descriptor {file.fileno()}, line 1: expected the header"
        ):
            load_xmc_file(file.fileno())  # at its end


@pytest.mark.skipif(os.name == "nt", reason="a pipe has a path under POSIX alone")
def test_pipe():
    end, start = os.pipe()
    os.write(start, HAND_WRITTEN)
    os.close(start)
    try:
        check_hand_written(load_xmc_file(end))
    finally:
        os.close(end)


@pytest.mark.parametrize("f", [None, b"data.txt", ["data.txt"], True, -1, 2.0])
def test_no_file(f):
    for arguments, name in [((f,), "f"), ((io.BytesIO(HAND_FEATURES), f), "labels")]:
        if f is None and name == "labels":
            continue
        with pytest.raises(TypeError, match=f"^{name} must be a path, a file descriptor or a file object"):
            load_xmc_file(*arguments)


def test_text_mode(tmp_path):
    path = write(tmp_path, HAND_WRITTEN)
    message = r"must be open in binary mode, as by open\(path, 'rb'\), got text"
    with path.open() as file, pytest.raises(TypeError, match=f"^{re.escape(str(path))} {message}"):
        load_xmc_file(file)
    with pytest.raises(TypeError, match=f"^<StringIO> {message}"):
        load_xmc_splits(io.StringIO("1 2\n"))


def test_load_missing_file(tmp_path):
    with pytest.raises(FileNotFoundError):
        load_xmc_file(tmp_path / "none.txt")
    with pytest.raises(FileNotFoundError):
        load_xmc_file(io.BytesIO(HAND_FEATURES), tmp_path / "none.txt.gz")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"\x28\xb5\x2f\xfd\x04", "a Zstandard file; decompress it"),
        (b"7z\xbc\xaf\x27\x1c", "a 7z archive; unpack it"),
        ("1 2 3\n".encode("utf-16"), "text in UTF-16; save it as UTF-8"),
    ],
)
def test_other_kinds(content, message):
    with pytest.raises(
        ValueError, match=f"^<BytesIO>, line 1: expected text, or text in gzip, bzip2 or xz, got {message}"
    ):
        load_xmc_file(io.BytesIO(content))


@pytest.mark.parametrize("suffix", [".gz", ".bz2", ".xz"])
@pytest.mark.parametrize("damage", ["cut", "changed"])
def test_damaged_compression(tmp_path, suffix, damage):
    X, Y = make_xmc_classification(200, random_state=0)
    path = tmp_path / f"data.txt{suffix}"
    dump_xmc_file(X, Y, path)
    content = bytearray(path.read_bytes())
    if damage == "cut":
        del content[len(content) // 2 :]
    else:
        content[len(content) // 2 :] = bytes(len(content) // 2)
    path.write_bytes(content)
    kind = {".gz": "gzip", ".bz2": "bzip2", ".xz": "xz"}[suffix]
    problem = f"after line \\d+: expected a whole {kind} file, got a damaged or cut one: .*; fetch it again"
    with pytest.raises(ValueError, match=f"^{re.escape(str(path))}, {problem}"):
        load_xmc_file(path)


def test_damaged_file_object():
    """The caller decompresses it."""
    content = gzip.compress(HAND_WRITTEN)[:-9]
    with (
        gzip.open(io.BytesIO(content)) as file,
        pytest.raises(ValueError, match="expected a whole compressed file"),
    ):
        load_xmc_file(file)


def test_file_object_for_writing(tmp_path):
    with (tmp_path / "data.txt").open("wb") as file, pytest.raises(io.UnsupportedOperation):
        load_xmc_file(file)


def test_load_bounded_memory(tmp_path):
    X, Y = make_xmc_classification(20000, 5000, 3000, random_state=0)
    dump_xmc_file(X, Y, tmp_path / "data.txt")
    assert (tmp_path / "data.txt").stat().st_size > 14e6
    (X_read, Y_read), peak = traced_peak(load_xmc_file, tmp_path / "data.txt")
    assert (X_read != X).nnz == (Y_read != Y).nnz == 0
    assert peak < 1.15 * n_bytes(X, Y) + 16 * _xmc_format.CHUNK_SIZE


@pytest.mark.parametrize("kind", COMPRESS)
def test_header_of_more_rows_than_the_file_can_hold(tmp_path, kind):
    path = write(tmp_path, COMPRESS[kind](b"2147483647 2147483647 2147483647\n2147483646 2147483646:1\n"))
    way_out = (
        "$" if kind == "text" else f" of {kind}, .*; if you trust the file, decompress it and load the text$"
    )

    def load():
        with pytest.raises(
            ValueError, match=r"line 1: expected a number of rows that the file can hold, at most"
        ) as info:
            load_xmc_file(path)
        assert "got 2147483647; correct the header" in str(info.value)
        assert re.search(way_out, str(info.value))

    assert traced_peak(load)[1] < 2e7


def test_header_allocates_nothing():
    """Nothing tells the size of a file object."""
    content = b"2147483647 2147483647 2147483647\n2147483646 2147483646:1\n"

    def load():
        with pytest.raises(ValueError, match=r"line 3: expected 2147483647 rows, got only 1"):
            load_xmc_file(io.BytesIO(content))

    assert traced_peak(load)[1] < 2e6


@pytest.mark.parametrize("kind", ["gzip", "bzip2", "xz"])
@pytest.mark.parametrize("lines", [b"\n" * 2**18, b" " * (2**18 - 1) + b"\n", b"0 1:1\n" * 2**16])
def test_bombs(tmp_path, monkeypatch, kind, lines):
    """A small file of many rows, of long rows, of many entries."""
    monkeypatch.setattr(_xmc_io, "FREE_SIZE", 2**20)
    content = COMPRESS[kind](lines * 20)
    assert len(content) < 2**16
    message = (
        f"after line \\d+: expected {kind} that unfolds to at most 1048576 bytes and 100 times its size, "
        "as text or in arrays, got \\d+ of \\d+ bytes; if you trust the file, decompress it"
    )

    def load():
        for f in (write(tmp_path, content), io.BytesIO(content)):
            with pytest.raises(ValueError, match=message):
                load_xmc_file(f, n_features=2, n_labels=1)

    assert traced_peak(load)[1] < 4e7


@pytest.mark.parametrize("kind", ["gzip", "bzip2", "xz"])
def test_small_files_unfold_as_they_like(kind):
    content = COMPRESS[kind](b"500000 2 1\n" + b"0 1:1\n" * 500_000)
    assert len(content) < 2**15
    X, Y = load_xmc_file(io.BytesIO(content))
    assert X.nnz == Y.nnz == 500_000


@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_a_line_without_end_is_refused_in_bounded_memory(tmp_path, suffix):
    block = b"1" * 2**20
    head = b"3 5 4\n2 0:1\n"
    parts = [head] + [block] * 200
    path = write(tmp_path, b"".join(map(gzip.compress if suffix else bytes, parts)), f"data.txt{suffix}")

    def load():
        with pytest.raises(ValueError, match=r"line 3: expected lines of at most 33554432 bytes"):
            load_xmc_file(path)

    assert traced_peak(load)[1] < 3 * _xmc_io.MAX_LINE_SIZE


@pytest.mark.parametrize("chunk_size", [1, 5, 2**20])
def test_a_line_may_be_as_long_as_the_bound(monkeypatch, chunk_size):
    monkeypatch.setattr(_xmc_format, "CHUNK_SIZE", chunk_size)
    monkeypatch.setattr(_xmc_io, "MAX_LINE_SIZE", 40)
    long = b"2 0:1".ljust(39) + b"\n"
    X, Y = load_xmc_file(io.BytesIO(b"2 5 4\n" + 2 * long))
    assert X.sum() == Y.sum() == 2


def test_a_long_first_line_without_header():
    """Longer than any header, and than a chunk."""
    row = " ".join(f"{j}:{j + 1}" for j in range(200_000))
    X, Y = load_xmc_file(io.BytesIO(f"0 {row}\n\n1 3:1".encode()), n_features=200_000, n_labels=2)
    assert len(row) > 2 * _xmc_format.CHUNK_SIZE
    assert_array_equal(X[0].toarray()[0], np.arange(1, 200_001))
    assert_array_equal(Y.toarray(), [[1, 0], [0, 0], [0, 1]])


@pytest.mark.parametrize("chunk_size", [1, 2**20])
@pytest.mark.parametrize("kind", COMPRESS)
def test_splits(tmp_path, monkeypatch, chunk_size, kind):
    monkeypatch.setattr(_xmc_format, "CHUNK_SIZE", chunk_size)
    content = BYTE_ORDER_MARK + b"3 1\t2\r\n  1 2 3 \n\n10 10 1"
    path = write(tmp_path, COMPRESS[kind](content), "bibtex_trSplit.txt")
    for f in (path, str(path), io.BytesIO(path.read_bytes())):
        rows = load_xmc_splits(f)
        assert rows.dtype == np.intp
        assert_array_equal(rows, [[2, 0, 1], [0, 1, 2], [9, 9, 0]])
    assert_array_equal(load_xmc_splits(path, n_samples=10, zero_based=False), rows)
    assert_array_equal(load_xmc_splits(path, n_samples=11, zero_based=True), rows + 1)


def test_splits_by_hand():
    """Train and test rows of two splits, alone and as cv."""
    X, Y = load_xmc_file(io.BytesIO(b"4 2 2\n0 0:1\n1 1:2\n0 0:3\n1 1:4\n"))
    train, test = load_xmc_splits(io.BytesIO(b"1 4\n2 3\n")), load_xmc_splits(io.BytesIO(b"3 1\n4 2\n"))
    assert_array_equal(X[train[:, 0]].toarray(), [[1, 0], [0, 2]])
    assert_array_equal(Y[test[:, 1]].toarray(), [[1, 0], [0, 1]])
    cv = list(zip(train.T, test.T, strict=True))
    scores = cross_val_score(LinearRegression(), X.toarray(), Y.toarray()[:, 1], cv=cv)
    expected = [
        LinearRegression()
        .fit(X[a].toarray(), Y[a].toarray()[:, 1])
        .score(X[b].toarray(), Y[b].toarray()[:, 1])
        for a, b in cv
    ]
    assert scores.shape == (2,)
    assert_array_equal(scores, expected)


@pytest.mark.parametrize(
    ("content", "parameters", "message"),
    [
        (b"", {}, "line 1: expected row numbers separated by spaces, got an empty file"),
        (b"\n \n", {}, "line 1: expected row numbers .*, got an empty file"),
        (b"1 2\n\n3\n", {}, "line 3: expected 2 row numbers, as in the first line, got 1"),
        (b"1 2\n3 4 5\n", {}, "line 2: expected 2 row numbers, as in the first line, got 3"),
        (b"1 2\n1.5 2\n", {}, "line 2: expected row numbers separated by spaces, got '1.5'"),
        (b"1,2\n", {}, "line 1: expected row numbers separated by spaces, got '1,2'"),
        (b"1 -2\n", {}, "line 1: expected row numbers separated by spaces, got '-2'"),
        (b"1 2\n3 0\n", {}, "line 2: expected row numbers from 1 to 2147483647, got 0; counted from 0"),
        (
            b"1 2\n3 4\n",
            {"n_samples": 3},
            "line 2: expected row numbers from 1 to 3, got 4; n_samples is the number of rows of all the",
        ),
        (
            b"0 3\n",
            {"n_samples": 3, "zero_based": True},
            "line 1: expected row numbers from 0 to 2, got 3; n_samples is",
        ),
        (
            b"9999999999\n",
            {},
            "line 1: expected row numbers from 1 to 2147483647, got 9999999999; n_samples is",
        ),
        (b"1\0\n", {}, "line 1: expected row numbers separated by spaces"),
        (b"1 2\r3 4\r", {}, r"line 1: expected row numbers .*; end lines with \\n or"),
        (b"1,2\n", {}, "line 1: expected row numbers separated by spaces, got '1,2'; remove everything but"),
    ],
)
def test_malformed_splits(tmp_path, content, parameters, message):
    path = write(tmp_path, content)
    with pytest.raises(ValueError, match=f"^{re.escape(str(path))}, {message}"):
        load_xmc_splits(path, **parameters)


def test_splits_bad_parameters():
    with pytest.raises(ValueError, match="n_samples must be None or an int from 0 to 2147483647, got 'all'"):
        load_xmc_splits(io.BytesIO(b"1\n"), n_samples="all")
    with pytest.raises(ValueError, match="zero_based must be True or False, got 'auto'"):
        load_xmc_splits(io.BytesIO(b"1\n"), zero_based="auto")
    with pytest.raises(TypeError, match="f must be a path"):
        load_xmc_splits(None)
