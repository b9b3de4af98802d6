"""The text format of the Extreme Classification Repository: its grammar, and lines of text -> arrays."""

import io
import re
from array import array
from itertools import chain

import numpy as np
import scipy.sparse as sp
from sklearn.datasets import load_svmlight_file

MAX_SIZE = 2**31 - 1  # of rows, features and labels: their ids are int32
MAX_LINE_SIZE = 2**25  # bytes; a small compressed file may hold a line that memory does not

_NUMBER = rb"[+-]?(?:\d++(?:\.\d*+)?+|\.\d++)(?:[eE][+-]?\d++)?+"
_LABELS = rb"\d{1,10}(?:,\d{1,10})*+(?=\s)"
_FEATURE = rb"\d{1,10}+:" + _NUMBER
_ROW = rb"[ \t]*+(?:" + _LABELS + rb"|" + _FEATURE + rb")?+(?:[ \t]++" + _FEATURE + rb")*+[ \t]*+\r?+\n"
_ROWS = re.compile(rb"(?:" + _ROW + rb")*+")
_HEADER = re.compile(rb"[ \t]*(\d{1,10})[ \t]+(\d{1,10})[ \t]+(\d{1,10})\s*")


def read_header(path, file):
    """Return the three sizes in the first line."""
    line = file.readline(256)
    header = _HEADER.fullmatch(line)
    sizes = [int(size) for size in header.groups()] if header else [MAX_SIZE + 1]
    if max(sizes) > MAX_SIZE:
        raise ValueError(
            f"{path}, line 1: expected the header 'n_samples n_features n_labels', three integers from 0 to "
            f"{MAX_SIZE}, got {shorten(line)}"
        )
    return sizes


def read_lines(path, file, first_line, size):
    """Return the lines that begin in the next so many bytes."""
    chunk = file.read(size)
    rest = file.readline(MAX_LINE_SIZE + 1)
    if len(rest) > MAX_LINE_SIZE:
        line = first_line + chunk.count(b"\n")
        raise ValueError(
            f"{path}, line {line}: expected lines of at most {MAX_LINE_SIZE} bytes, got a longer one"
        )
    return io.BytesIO(chunk + rest).readlines()


def parse_rows(path, first_line, lines, n_features, n_labels):
    """Return entries a row, feature ids, values, labels a row, label ids: int32 but for float32 values."""
    try:
        text = b"".join(lines)
        if not _ROWS.fullmatch(text if text.endswith(b"\n") else text + b"\n"):
            raise ValueError("expected rows 'label,label,... feature:value feature:value ...'")
        filled = [not line.isspace() for line in lines]  # the reader skips blank lines
        X, y = sp.csr_matrix((0, 1), dtype=np.float32), []
        if any(filled):
            X, y = load_svmlight_file(io.BytesIO(text), dtype=np.float32, multilabel=True, zero_based=True)
        labels = np.fromiter(chain.from_iterable(y), dtype=np.float64)
        if X.indices.max(initial=-1) >= n_features or labels.max(initial=-1) >= n_labels:
            raise ValueError("expected ids below the sizes in the header")
        if not np.isfinite(X.data).all():
            raise ValueError("expected finite values")
    except (ValueError, OverflowError):
        for number, line in enumerate(lines, first_line):
            if problem := _find_problem(line, n_features, n_labels):
                raise ValueError(f"{path}, line {number}: {problem}") from None
        raise
    counts, label_counts = np.zeros((2, len(lines)), dtype=np.int32)
    counts[filled] = np.diff(X.indptr)
    label_counts[filled] = [len(row) for row in y]
    return counts, X.indices.astype(np.int32), X.data, label_counts, labels.astype(np.int32)


def _find_problem(line, n_features, n_labels):
    """Say what is wrong with the line of a row; None if nothing is."""
    if b"\0" in line:
        return "expected text, got a NUL byte"
    tokens = line.split()
    if tokens and b":" not in tokens[0]:
        for label in tokens.pop(0).split(b","):
            if not label.isdigit() or int(label) >= n_labels:
                return f"expected labels from 0 to below {n_labels}, joined by commas, got {shorten(label)}"
    last = -1
    for token in tokens:
        feature, colon, value = token.partition(b":")
        if not (colon and feature.isdigit() and int(feature) < n_features):
            return f"expected feature:value, the feature from 0 to below {n_features}, got {shorten(token)}"
        if int(feature) <= last:
            return f"expected ascending features, got {int(feature)} after {last}"
        if not re.fullmatch(_NUMBER, value) or np.isinf(array("f", [float(value)])[0]):
            return f"expected a value that is finite in float32, got {shorten(token)}"
        last = int(feature)
    if not _ROWS.fullmatch(line.rstrip(b"\n") + b"\n"):
        return "expected spaces or tabs between the fields and ids of at most ten digits"
    return None


def shorten(text):
    """Return a piece of the file as an error shows it: quoted, of 60 characters at most."""
    text = text.decode("utf-8", "backslashreplace")
    return repr(text if len(text) <= 60 else text[:60] + "...")
