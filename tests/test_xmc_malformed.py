"""Files that break the text formats of the Extreme Classification Repository, and what is said of them."""

import io
import re

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from test_xmc_files import HAND_WRITTEN, write

from sklearn_slide import _xmc_format
from sklearn_slide.datasets import load_xmc_file

NO_HEADER = "expected the header 'n_samples n_features n_labels'"
MALFORMED = [
    (b"", 1, f"{NO_HEADER}, got ''; to read a file without this line, pass n_features and n_labels$"),
    (b"0,1 0:1 2:3\n", 1, f"{NO_HEADER}, got '0,1 0:1 2:3"),
    (
        b"2 3\n1 1:1\n",
        1,
        f"{NO_HEADER}, got '2 3.*; if the labels are in a file of their own, pass that as labels",
    ),
    (b"2 3 4 5\n1 1:1\n", 1, NO_HEADER),
    (b"2 3 4.0\n1 1:1\n", 1, NO_HEADER),
    (b"-2 3 4\n1 1:1\n", 1, NO_HEADER),
    (b"2 3 4\r1 1:1\r1 1:1\r", 1, rf"{NO_HEADER}, got .*; end lines with \\n or \\r\\n"),
    (
        b"2 3 2147483648\n1 1:1\n",
        1,
        f"{NO_HEADER}, got '2 3 2147483648.*; n_labels may be 2147483647 at most",
    ),
    (b"x" * 1000, 1, f"{NO_HEADER}, got 'x{{60}}\\.\\.\\.'"),
    (b"\xe92 3 4\n", 1, rf"{NO_HEADER}.*\\xe9"),
    (
        b"9000 3 4\n1 1:1\n",
        1,
        "expected a number of rows that the file can hold, at most 16 in 15 bytes, got 9000",
    ),
    (b"1 3 4\n-1 1:1\n", 2, "expected whole numbers of at most ten digits as labels, got '-1'"),
    (b"1 3 4\n1.5 1:1\n", 2, "expected whole numbers .* as labels, got '1.5'"),
    (b"1 3 4\n1_0 1:1\n", 2, "expected whole numbers .* as labels, got '1_0'"),
    (b"1 3 4\n1;2 1:1\n", 2, "expected whole numbers .* as labels, got '1;2'"),
    (b"2 3 4\n\nqid 1:1\n", 3, "expected whole numbers .* as labels, got 'qid'"),
    (b"1 3 4\n1,,2 1:1\n", 2, "expected whole numbers .* as labels, got ''"),
    (
        b"1 3 4\n99999999999999999999 1:1\n",
        2,
        "expected whole numbers of at most ten digits as labels, got '9",
    ),
    (
        b"1 3 4\n" + b"9" * 9999 + b":1\n",
        2,
        "expected whole numbers of at most ten digits as features, got '9",
    ),
    (b"1 3 4\n00000000001 1:1\n", 2, "expected whole numbers of at most ten digits as labels"),
    (
        b"2 3 4\n0 1:1\n1,4 1:1\n",
        3,
        "expected labels from 0 to 3, got 4; counted from 1\\? then pass zero_based=False; for more labels, "
        "pass n_labels$",
    ),
    (b"1 3 4\n5 1:1\n", 2, "expected labels from 0 to 3, got 5; for more labels, pass n_labels$"),
    (b"1 3 0\n0 1:1\n", 2, "expected no labels, got 0"),
    (b"1 3 4\n1, 1:1\n", 2, "expected a space between labels and feature:value, .*; remove the last comma"),
    (b"1 3 4\n1 2 1:1\n", 2, "expected feature:value, got '2'; join labels by commas"),
    (
        b"1 3 4\n0:1,2:0.5\n",
        2,
        "expected spaces between feature:value, got '0:1,2:0.5'; write pairs as 0:1 2:0.5, and labels",
    ),
    (b"1 3 4\n1 0:0,5 1:1\n", 2, "expected numbers without commas, got '0:0,5'; write 0.5 for 0,5"),
    (b"1 3 4\n 0:0,5\n", 2, "expected numbers without commas, got '0:0,5'"),
    (b"1 3 4\n1 0:1, 1:1\n", 2, "expected spaces between feature:value"),
    (b"1 3 4\n1 -1:1\n", 2, "expected whole numbers .* as features, got '-1'"),
    (b"1 3 4\n1 qid:1 1:1\n", 2, "expected whole numbers .* as features, got 'qid'"),
    (
        b"1 3 4\n1 3:1\n",
        2,
        "expected features from 0 to 2, got 3; counted from 1\\? then pass zero_based=False",
    ),
    (
        b"1 3 4\n1 9999999999:1\n",
        2,
        "expected features from 0 to 2, got 9999999999; for more features, pass n_fea",
    ),
    (b"1 0 4\n1 0:1\n", 2, "expected no features, got 0"),
    (b"1 3 4\n1 1:1 # 2\n", 2, "expected feature:value, got '#'; remove comments"),
    (b"1 3 4\n1 2\n", 2, "expected feature:value, got '2'"),
    (
        b"1 3 4\n1 1: 2\n",
        2,
        "expected feature:value, the value finite in float32, got '1:'; write values right after the colon",
    ),
    (
        b"1 3 4\n1 1:one\n",
        2,
        "expected feature:value, the value finite in float32, got '1:one'; write values like 0.5 or 5e-1$",
    ),
    (b"1 3 4\n1 1:1:1\n", 2, "expected feature:value, the value finite in float32, got '1:1:1'"),
    (b"1 3 4\n1 1:0x1\n", 2, "expected feature:value, the value finite in float32, got '1:0x1'"),
    (b"1 3 4\n1 1:nan\n", 2, "expected feature:value, the value finite in float32, got '1:nan'"),
    (b"1 3 4\n1 1:-inf\n", 2, "expected feature:value, the value finite in float32, got '1:-inf'"),
    (b"1 3 4\n1 1:1e39\n", 2, "expected feature:value, the value finite in float32, got '1:1e39'"),
    (b"1 3 4\n1 1:1e999\n", 2, "expected feature:value, the value finite in float32, got '1:1e999'"),
    (b"1 3 4\n1 1:\xd9\xa1\n", 2, "expected feature:value, the value finite in float32, got '1:\u0661'"),
    (
        b"1 3 4\n1 1:1 1:1\n",
        2,
        "expected each feature once in a row, got 1 twice; add up its values or keep one",
    ),
    (b"1 3 4\n1 1:1 0:2 1:1\n", 2, "expected each feature once in a row, got 1 twice"),
    (b"2 3 4\n1 1:1\n1 1:1\0\n", 3, "expected text, got a NUL byte"),
    (b"1 3 4\n1 1:1\r2 1:1\n", 2, "expected feature:value, got '2'"),
    (b"1 3 4\n1 1:1\x0b2:1\n", 2, "expected spaces or tabs alone between the fields"),
    (b"1 3 4\n\x0c\n", 2, "expected spaces or tabs alone between the fields"),
    (b"3 3 4\n1 1:1\n1 1:1\n", 4, "expected 3 rows, got only 2; complete the file or correct the number"),
    (b"1 3 4\n1 1:1\n\n1 2:1\n", 4, "expected 1 rows, got also '1 2:1.*; correct the number or the rows"),
    (b"0 3 4\n1 1:1\n", 2, "expected 0 rows, got also"),
]


@pytest.mark.parametrize(("content", "line", "message"), MALFORMED)
@pytest.mark.parametrize("chunk_size", [1, 2**20])
def test_malformed(tmp_path, monkeypatch, content, line, message, chunk_size):
    monkeypatch.setattr(_xmc_format, "CHUNK_SIZE", chunk_size)
    path = write(tmp_path, content)
    with pytest.raises(ValueError, match=f"^{re.escape(str(path))}, line {line}: {message}"):
        load_xmc_file(path)


@pytest.mark.parametrize(
    ("content", "line", "message"), [case for case in MALFORMED if case[0].startswith(b"1 ") and case[1] == 2]
)
def test_malformed_between_good_rows(content, line, message):
    """The line with the fault is found among others."""
    row = content.partition(b"\n")[2]
    sizes = [int(size) for size in content.partition(b"\n")[0].split()]
    content = b"9 %d %d\n" % tuple(sizes[1:]) + b" \n" * 5 + row + b"\n" * 3
    with pytest.raises(ValueError, match=f"^<BytesIO>, line {line + 5}: {message}"):
        load_xmc_file(io.BytesIO(content))


@pytest.mark.parametrize(
    ("features", "labels", "name", "line", "message"),
    [
        (
            b"2 3 4\n",
            b"2 4\n",
            "X",
            1,
            "expected the header 'n_samples n_features', got '2 3 4.*pass no other one",
        ),
        (b"1 3\n0:1\n", b"1 3 4\n0 0:1\n", "Y", 1, "expected the header 'n_samples n_labels', got '1 3 4"),
        (b"1:1\n", b"1 4\n", "X", 1, ".*header.* to read a file without this line, pass n_features$"),
        (b"1 3\n1:1\n", b"1:1\n", "Y", 1, ".*header.* to read a file without this line, pass n_labels$"),
        (
            b"1 3\n0:1\n",
            b"2 4\n0:1\n1:1\n",
            "Y",
            1,
            "expected as many rows as in .*X, 1, got 2; pass files that bel",
        ),
        (
            b"1 3\n2 0:1\n",
            b"1 4\n0:1\n",
            "X",
            2,
            "expected feature:value, got '2'; write only what is not zero",
        ),
        (b"1 3\n0:1\n", b"1 4\n0,1\n", "Y", 2, "expected label:value, got '0,1'; write only"),
        (
            b"1 3\n0:1,1:1\n",
            b"1 4\n0:1\n",
            "X",
            2,
            "expected spaces between feature:value, got '0:1,1:1'; write pairs as 0:1 2:0.5$",
        ),
        (
            b"1 3\n0:1\n",
            b"1 4\n0:1 1:0.5\n",
            "Y",
            2,
            "expected labels without weights, got '1:0.5'; write 1 or 0, or swap the files",
        ),
        (b"1 3\n0:1\n", b"1 4\n4:1\n", "Y", 2, "expected labels from 0 to 3, got 4; counted from 1"),
        (b"1 3\n3:1\n", b"1 4\n0:1\n", "X", 2, "expected features from 0 to 2, got 3; counted from 1"),
        (b"2 3\n0:1\n\n", b"2 4\n0:1\n", "Y", 3, "expected 2 rows, got only 1"),
        (b"1 3\n0:1\n", b"1 4\n0:1\n1:1\n", "Y", 3, "expected 1 rows, got also '1:1"),
    ],
)
def test_malformed_pair(tmp_path, features, labels, name, line, message):
    paths = write(tmp_path, features, "X"), write(tmp_path, labels, "Y")
    with pytest.raises(ValueError, match=f"^{re.escape(str(tmp_path / name))}, line {line}: {message}"):
        load_xmc_file(*paths)


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
        tokens = re.sub("[ \t]*,[ \t]*", ",", line).split()
        try:
            labels = tokens.pop(0).split(",") if tokens and ":" not in tokens[0] else []
            pairs = [token.split(":") for token in tokens]
            features = [int(feature) for feature, _ in pairs]
            if not all(text.isdigit() for text in labels + [feature for feature, _ in pairs]):
                return None
            if len(features) != len(set(features)):
                return None
            y[[int(label) for label in labels]] = 1
            x[features] = [float(value) for _, value in pairs]
        except (ValueError, IndexError):
            return None
        if not np.isfinite(x).all():
            return None
    return X, Y


@pytest.mark.filterwarnings("ignore:overflow encountered:RuntimeWarning")
def test_mutated_files():
    """A changed file is read as a slow parser reads it, or refused with a line where that refuses it."""
    rng = np.random.RandomState(0)
    n_read = 0
    for _ in range(2000):
        content = bytearray(HAND_WRITTEN)
        for position in rng.randint(len(content), size=rng.randint(1, 3)):
            content[position] = rng.choice(list(b"0123456789999:,. \t\r\n\n-+eEnx#\0\xe9"))
        expected = parse_obviously(bytes(content))
        if expected is None:
            with pytest.raises(ValueError, match=r"^<BytesIO>, line \d: expected"):
                load_xmc_file(io.BytesIO(content))
        else:
            n_read += 1
            for found, matrix in zip(load_xmc_file(io.BytesIO(content)), expected, strict=True):
                assert_array_equal(found.toarray(), matrix)
    assert 200 < n_read < 1800


@pytest.mark.parametrize("chunk_size", [1, 2**20])
@pytest.mark.parametrize(
    ("rows", "zero_based", "line", "message"),
    [
        (
            b"0 0:1\n1 0:1\n",
            False,
            2,
            "expected labels from 1 to 4, got 0; counted from 0\\? then pass zero_based=True",
        ),
        (b"1 1:1\n1 0:1\n", False, 3, "expected features from 1 to 3, got 0; counted from 0"),
        (b"1 1:1\n5 1:1\n", False, 3, "expected labels from 1 to 4, got 5; for more labels, pass n_labels"),
        (
            b"1 0:1\n1 3:1\n",
            "auto",
            3,
            "expected features from 0 to 2, got 3, so they are counted neither from 0 nor",
        ),
        (b"1 3:1\n1 0:1\n", "auto", 3, "expected features from 1 to 3, got 0, so they are counted neither"),
        (b"1 3:1\n4,0 1:1\n", "auto", 3, "expected labels from 1 to 4, got 0, so they are counted neither"),
        (b"1 2:1\n5 3:1\n", "auto", 3, "expected labels from 0 to 4, got 5; for more labels"),
        (b"1 0:1\n1 3:1\n", (True, False), 3, "expected features from 0 to 2, got 3; counted from 1"),
    ],
)
def test_ids_out_of_range(monkeypatch, chunk_size, rows, zero_based, line, message):
    monkeypatch.setattr(_xmc_format, "CHUNK_SIZE", chunk_size)
    with pytest.raises(ValueError, match=f"^<BytesIO>, line {line}: {message}"):
        load_xmc_file(io.BytesIO(b"2 3 4\n" + rows), zero_based=zero_based)
