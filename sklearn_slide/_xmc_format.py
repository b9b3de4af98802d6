"""The text formats of the Extreme Classification Repository: lines of text -> arrays, for ``datasets``."""

import io
import re
from array import array
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import scipy.sparse as sp

from sklearn_slide._sparse import as_configured

MAX_SIZE = 2**31 - 1  # of rows, features and labels: their ids are int32
CHUNK_SIZE = 2**19  # bytes of text that are parsed at a time

_NUMBER = rb"[+-]?(?:\d++(?:\.\d*+)?+|\.\d++)(?:[eE][+-]?\d++)?+"
_LABELS = rb"\d{1,10}+(?:[ \t]*+,[ \t]*+\d{1,10}+)*+(?=\s)"
_PAIR = rb"\d{1,10}+:" + _NUMBER
_REST = rb"(?:[ \t]++" + _PAIR + rb")*+[ \t]*+\r?+\n"
_PAIR_ROWS = re.compile(rb"(?:[ \t]*+(?:" + _PAIR + rb")?+" + _REST + rb")*+")
_LABELED_ROWS = re.compile(rb"(?:[ \t]*+(?:" + _LABELS + rb"|" + _PAIR + rb")?+" + _REST + rb")*+")
_HEADER = re.compile(rb"[ \t]*\d{1,20}(?:[ \t]+\d{1,20}){1,2}\s*")
_AS_SPACES = bytes.maketrans(b":,", b"  ")


class IdRange(NamedTuple):
    """The ids that may come, from low to high; "auto" narrows them to one of two ways of counting."""

    name: str  # "features" or "labels"
    size: int
    zero_based: bool | str
    low: int
    high: int

    @classmethod
    def make(cls, name, size, zero_based):
        """Make the range for a file of which nothing is read yet."""
        return cls(name, size, zero_based, int(zero_based is False), size - int(zero_based is True))

    def narrow(self, ids):
        """Return the range after these ids, or None if one does not fit; "auto" takes 0 or size, not both."""
        if len(ids) == 0:
            return self
        least, most = np.min(ids), np.max(ids)
        low, high = self.low, self.high
        if self.zero_based == "auto":
            low, high = max(low, int(most == self.size)), min(high, self.size - int(least == 0))
        return self._replace(low=low, high=high) if low <= least and most <= high else None


class Rows(NamedTuple):
    """Rows of text as arrays: entries a row, ids of entries, values, labels a row, ids of labels."""

    counts: np.ndarray
    ids: np.ndarray
    values: np.ndarray
    label_counts: np.ndarray
    labels: np.ndarray


def read_sizes(reader, names, given):
    """Return sizes by name, from the first line or, if that is no header, as given.

    names are "n_samples" and one or both of "n_features" and "n_labels"; given has sizes by name, None for
    what is not given. Only the number of rows returned may be None.
    """
    line = reader.take_first_line()
    form = f"expected the header {' '.join(names)!r}, got {shorten(line)}"
    if not _HEADER.fullmatch(line):
        if b"\0" in line:
            raise reader.error(1, f"{form}; pass a file of text")
        if b"\r" in line.rstrip():
            raise reader.error(1, f"{form}; end lines with \\n or \\r\\n")
        if any(given[name] is None for name in names[1:]):
            sizes = " and ".join(names[1:])
            raise reader.error(1, f"{form}; to read a file without this line, pass {sizes}")
        reader.give_back(line)
        return {name: given[name] for name in names}
    header = [int(size) for size in line.split()]
    if len(header) < len(names):
        raise reader.error(1, f"{form}; if the labels are in a file of their own, pass that as labels")
    if len(header) > len(names):
        raise reader.error(1, f"{form}; if the file has features and labels, pass no other one")
    sizes = dict(zip(names, header, strict=True))
    for name, size in sizes.items():
        if size > MAX_SIZE:
            raise reader.error(1, f"{form}; {name} may be {MAX_SIZE} at most")
        if given[name] is not None:
            if given[name] < size or (name == "n_samples" and given[name] != size):
                raise reader.error(1, f"{form}, but {name}={given[name]} was passed; leave it out")
            sizes[name] = given[name]
    reader.refuse_rows(sizes["n_samples"])
    return sizes


def read_files(reader, label_reader, given, bases):
    """Return the sizes by name and the Rows of one file or, if label_reader is not None, of two.

    given has sizes by name, None for what is not given; bases has zero_based of features and of labels.
    """
    if label_reader is None:
        sizes = read_sizes(reader, ("n_samples", "n_features", "n_labels"), given)
        features = IdRange.make("features", sizes["n_features"], bases[0])
        labels = IdRange.make("labels", sizes["n_labels"], bases[1])
        return sizes, read_rows(reader, sizes["n_samples"], features, labels)
    sizes = read_sizes(reader, ("n_samples", "n_features"), given)
    label_sizes = read_sizes(label_reader, ("n_samples", "n_labels"), given)
    n_samples = {sizes["n_samples"], label_sizes["n_samples"]} - {None}
    if len(n_samples) == 2:
        problem = f"expected as many rows as in {reader.name}, {sizes['n_samples']}, got "
        raise label_reader.error(1, f"{problem}{label_sizes['n_samples']}; pass files that belong together")
    n_samples = n_samples.pop() if n_samples else None
    rows = read_rows(reader, n_samples, IdRange.make("features", sizes["n_features"], bases[0]))
    labels = read_rows(label_reader, n_samples, IdRange.make("labels", label_sizes["n_labels"], bases[1]))
    if len(labels.counts) != len(rows.counts):
        problem = f"expected as many rows as in {reader.name}, {len(rows.counts)}, got {len(labels.counts)}"
        raise label_reader.error(
            len(labels.counts) + 1, f"{problem}; pass n_samples if the last rows of one of them are blank"
        )
    return label_sizes | sizes, rows._replace(label_counts=labels.counts, labels=labels.ids)


def read_rows(reader, n_samples, pairs, labels=None):
    """Return the Rows of a file, ids counted from 0, given the IdRanges of its pairs and labels.

    Without labels, a row has pairs alone. Without n_samples, blank lines at the end are no rows.
    """
    # such arrays grow in place, a sixteenth at a time
    columns = Rows(array("i"), array("i"), array("f"), array("i"), array("i"))
    n_read = 0
    while text := reader.read_lines(CHUNK_SIZE):
        n_lines = text.count(b"\n")
        first_line = reader.n_lines - n_lines + 1
        if n_samples is not None and n_lines > n_samples - n_read:
            text = _take_rows(reader, text, n_samples, n_samples - n_read)
        parsed = _parse(text, pairs, labels)
        if parsed is None:
            raise reader.error(*_find_problem(text, first_line, pairs, labels))
        rows, pairs, labels = parsed
        for column, new in zip(columns, rows, strict=True):
            column.frombytes(new.astype(column.typecode).tobytes())
        n_read += len(rows.counts)
        reader.refuse_bomb(sum(len(column) * column.itemsize for column in columns))
    if n_samples is not None and n_read < n_samples:
        problem = f"expected {n_samples} rows, got only {n_read}; complete the file or correct the number"
        raise reader.error(reader.n_lines + 1, problem)
    rows = Rows(*map(np.asarray, columns))
    rows.ids[:] -= pairs.low
    rows.labels[:] -= labels.low if labels is not None else 0
    if n_samples is None:
        filled = np.flatnonzero(rows.counts | rows.label_counts)
        n_read = filled[-1] + 1 if len(filled) else 0
    return rows._replace(counts=rows.counts[:n_read], label_counts=rows.label_counts[:n_read])


def _take_rows(reader, text, n_samples, n_rows):
    """Return the first lines of the text, so many; raise an error unless the others are blank."""
    lines = io.BytesIO(text).readlines()
    for number, line in enumerate(lines[n_rows:], reader.n_lines - len(lines) + 1 + n_rows):
        if not line.isspace():
            problem = f"expected {n_samples} rows, got also {shorten(line)}; correct the number or the rows"
            raise reader.error(number, problem)
    return b"".join(lines[:n_rows])


def _parse(text, pairs, labels):
    """Return Rows, with ids as they are written, and the IdRanges after them; None if a line has a fault."""
    if not (_PAIR_ROWS if labels is None else _LABELED_ROWS).fullmatch(text):
        return None
    raw = np.frombuffer(text, dtype=np.uint8)
    line_ends = np.flatnonzero(raw == ord("\n"))
    counts = _count_marks(raw == ord(":"), line_ends)
    label_counts, label_ids = np.zeros_like(counts), np.empty(0)
    numbers = np.empty(0) if text.isspace() else np.fromstring(text.translate(_AS_SPACES), sep=" ")
    if labels is not None:
        is_gap = (raw <= ord(" ")) | (raw == ord(":")) | (raw == ord(","))
        label_counts = _count_marks(is_gap[1:] & ~is_gap[:-1], line_ends) - 2 * counts
        widths = np.column_stack([label_counts, 2 * counts]).ravel()
        is_label = np.repeat(np.tile([True, False], len(counts)), widths)
        numbers, label_ids = numbers[~is_label], numbers[is_label]
        labels = labels.narrow(label_ids)
        if labels is None:
            return None
    ids = numbers[::2]
    with np.errstate(over="ignore"):
        values = numbers[1::2].astype(np.float32)
    pairs = pairs.narrow(ids)
    if pairs is None or not np.isfinite(values).all():
        return None
    arranged = (_take_labels if pairs.name == "labels" else _sort_features)(counts, ids, values)
    return None if arranged is None else (Rows(*arranged, label_counts, label_ids), pairs, labels)


def _count_marks(is_mark, line_ends):
    """Count the marked bytes of each line."""
    return np.diff(np.searchsorted(np.flatnonzero(is_mark), line_ends), prepend=0)


def _sort_features(counts, ids, values):
    """Return the pairs with the ids of each row ascending; None if an id comes twice in a row."""
    rows = np.repeat(np.arange(len(counts)), counts)
    in_row = np.diff(rows) == 0
    if ((np.diff(ids) <= 0) & in_row).any():
        order = np.lexsort((ids, rows))
        ids, values = ids[order], values[order]
        if ((np.diff(ids) == 0) & in_row).any():
            return None
    return counts, ids, values


def _take_labels(counts, ids, values):
    """Return the pairs of value 1; None if a value is neither that nor 0."""
    is_set = values == 1
    if not (is_set | (values == 0)).all():
        return None
    rows = np.repeat(np.arange(len(counts)), counts)
    return np.bincount(rows[is_set], minlength=len(counts)), ids[is_set], values[is_set]


def _find_problem(text, first_line, pairs, labels):
    """Return the number of the first line with a fault, and what is wrong with it."""
    lines = io.BytesIO(text).readlines()
    start, stop = 0, len(lines)  # the line is one of these
    while stop - start > 1:
        middle = (start + stop) // 2
        parsed = _parse(b"".join(lines[start:middle]), pairs, labels)
        if parsed is None:
            stop = middle
        else:
            start = middle
            _, pairs, labels = parsed
    return first_line + start, _explain(lines[start], pairs, labels)


def _explain(line, pairs, labels):
    """Say what is wrong with a line that has a fault."""
    if b"\0" in line:
        return "expected text, got a NUL byte; fetch the file again"
    tokens = re.sub(rb"[ \t]*,[ \t]*", b",", line).split()
    label_ids = []
    if labels is not None and tokens and b":" not in tokens[0]:
        label_ids = tokens.pop(0).split(b",")
    if problem := _explain_ids(label_ids, labels):
        return problem
    for token in tokens:
        if problem := _explain_pair(token, pairs, labels):
            return problem
    ids = [token.partition(b":")[0] for token in tokens]
    if problem := _explain_ids(ids, pairs):
        return problem
    ids = sorted(map(int, ids))
    if twice := [i for i, j in pairwise(ids) if i == j]:
        return f"expected each feature once in a row, got {twice[0]} twice; add up its values or keep one"
    return f"expected spaces or tabs alone between the fields of a row, got {shorten(line)}; replace others"


def _explain_pair(token, pairs, labels):
    """Say what is wrong with id:value, but for the range of the id; None if nothing is."""
    form = f"{pairs.name.removesuffix('s')}:value"
    number, colon, value = token.partition(b":")
    if not colon:
        way_out = "write only what is not zero, as 0:1 2:0.5" if labels is None else "join labels by commas"
        way_out = "remove comments" if token.startswith(b"#") else way_out
        return f"expected {form}, got {shorten(token)}; {way_out}"
    if b"," in number and labels is not None:
        return f"expected a space between labels and {form}, got {shorten(token)}; remove the last comma"
    if b"," in value and b":" not in value:
        return f"expected numbers without commas, got {shorten(token)}; write 0.5 for 0,5 and 1000 for 1,000"
    if b"," in value:
        way_out = "" if labels is None else ", and labels without weights, as 0,2"
        return f"expected spaces between {form}, got {shorten(token)}; write pairs as 0:1 2:0.5{way_out}"
    if not re.fullmatch(_NUMBER, value) or np.isinf(array("f", [float(value)])[0]):
        way_out = "write values like 0.5 or 5e-1" if value else "write values right after the colon"
        return f"expected {form}, the value finite in float32, got {shorten(token)}; {way_out}"
    if pairs.name == "labels" and array("f", [float(value)])[0] not in (0, 1):
        return f"expected labels without weights, got {shorten(token)}; write 1 or 0, or swap the files"
    return None


def _explain_ids(texts, ids):
    """Say what is wrong with the ids of a row; None if nothing is."""
    for text in texts:
        if not re.fullmatch(rb"\d{1,10}", text):
            problem = f"expected whole numbers of at most ten digits as {ids.name}, got {shorten(text)}"
            return f"{problem}; give {ids.name} as numbers, in decimal digits alone"
        if ids.size == 0:
            return f"expected no {ids.name}, got {int(text)}; pass n_{ids.name} to have some"
        after = ids.narrow([int(text)])
        if after is None:
            return (
                f"expected {ids.name} from {ids.low} to {ids.high}, got {int(text)}{_way_out(int(text), ids)}"
            )
        ids = after
    return None


def _way_out(number, ids):
    """Say what to do about an id out of its range."""
    if number > ids.size:
        return f"; for more {ids.name}, pass n_{ids.name}"
    if ids.zero_based == "auto":
        return f", so they are counted neither from 0 nor from 1; for more {ids.name}, pass n_{ids.name}"
    if ids.zero_based:
        return f"; counted from 1? then pass zero_based=False; for more {ids.name}, pass n_{ids.name}"
    return "; counted from 0? then pass zero_based=True"


def read_splits(reader, n_samples, zero_based):
    """Return row numbers counted from 0, shape (n_rows, n_splits), intp; blank lines are skipped."""
    least, most = (0, MAX_SIZE - 1) if zero_based else (1, MAX_SIZE)
    if n_samples is not None:
        most = n_samples - 1 + least
    columns, width = array("q"), 0
    while text := reader.read_lines(CHUNK_SIZE):
        lines = io.BytesIO(text).readlines()
        for number, line in enumerate(lines, reader.n_lines - len(lines) + 1):
            if b"\r" in line.rstrip():
                problem = f"expected row numbers separated by spaces, got {shorten(line)}"
                raise reader.error(number, f"{problem}; end lines with \\n or \\r\\n")
            fields = line.split()
            width = width or len(fields)
            if fields and len(fields) != width:
                problem = f"expected {width} row numbers, as in the first line, got {len(fields)}"
                raise reader.error(number, f"{problem}; give each split a number in each line")
            for field in fields:
                if not re.fullmatch(rb"\d{1,10}", field):
                    problem = f"expected row numbers separated by spaces, got {shorten(field)}"
                    way_out = "remove everything but whole numbers, spaces, tabs and line ends"
                    raise reader.error(number, f"{problem}; {way_out}")
                if not least <= int(field) <= most:
                    way_out = "counted from 0? then pass zero_based=True"
                    if int(field) > most:
                        way_out = "n_samples is the number of rows of all the data"
                    raise reader.error(
                        number, f"expected row numbers from {least} to {most}, got {int(field)}; {way_out}"
                    )
            columns.extend(map(int, fields))
        reader.refuse_bomb(len(columns) * columns.itemsize)
    if not columns:
        raise reader.error(1, "expected row numbers separated by spaces, got an empty file; fetch it again")
    return np.asarray(columns).reshape(-1, width).astype(np.intp) - least


def make_csr(data, indices, counts, n_columns):
    """Make CSR of arrays that stay where they are, from the number of entries of each row."""
    indptr = np.zeros(len(counts) + 1, dtype=np.int32 if len(indices) <= MAX_SIZE else np.int64)
    np.cumsum(counts, out=indptr[1:])
    arrays = np.asarray(data), np.asarray(indices), indptr
    return as_configured(sp.csr_matrix(arrays, shape=(len(counts), n_columns)))


def shorten(text):
    """Return a piece of the file as an error shows it: quoted, of 60 characters at most."""
    text = text.decode("utf-8", "backslashreplace")
    return repr(text if len(text) <= 60 else text[:60] + "...")
