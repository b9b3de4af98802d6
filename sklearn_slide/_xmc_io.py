"""Lines of text from a path, a descriptor or a file object, compressed or not, for ``datasets``."""

import bz2
import gzip
import io
import lzma
import os
import zlib
from contextlib import contextmanager
from numbers import Integral
from pathlib import Path

MAX_LINE_SIZE = 2**25  # bytes; a small compressed file may hold a line that memory does not
MAX_RATIO = 100  # bytes unfolded from a compressed one; such text gives 3 to 20
FREE_SIZE = 2**26  # bytes that any compressed file may unfold to

_KINDS = {b"\x1f\x8b": ("gzip", gzip.open), b"BZh": ("bzip2", bz2.open), b"\xfd7zXZ\0": ("xz", lzma.open)}
_OTHERS = {
    b"PK\x03\x04": "a zip archive; unpack it, or pass zipfile.ZipFile(path).open(name)",
    b"\x28\xb5\x2f\xfd": "a Zstandard file; decompress it",
    b"7z\xbc\xaf": "a 7z archive; unpack it",
    b"\xff\xfe": "text in UTF-16; save it as UTF-8",
    b"\xfe\xff": "text in UTF-16; save it as UTF-8",
}


@contextmanager
def open_lines(f, name="f"):
    """Open a path, a descriptor or a binary file object for reading; close only what was opened here."""
    if hasattr(f, "read"):
        title = getattr(f, "name", None)
        yield LineReader(f, title if isinstance(title, str) else f"<{type(f).__name__}>")
    elif isinstance(f, str | os.PathLike) or (isinstance(f, Integral) and not isinstance(f, bool) and f >= 0):
        path = int(f) if isinstance(f, Integral) else os.fspath(f)
        with open(path, "rb", buffering=0, closefd=not isinstance(f, Integral)) as file:
            title = f"file descriptor {f}" if isinstance(f, Integral) else os.fsdecode(path)
            yield LineReader(file, title, os.fstat(file.fileno()).st_size)
    else:
        raise TypeError(
            f"{name} must be a path, a file descriptor or a file object open in binary mode, got {f!r}"
        )


@contextmanager
def open_to_write(f):
    """Open a path for writing, through the compression that its name tells, or take a binary file object."""
    if isinstance(f, io.TextIOBase):
        raise TypeError(f"f must be open in binary mode, as by open(path, 'wb'), got {f!r}")
    if hasattr(f, "write"):
        yield f
    elif isinstance(f, str | os.PathLike):
        opener = {".gz": gzip.open, ".bz2": bz2.open, ".xz": lzma.open}.get(Path(f).suffix.lower(), open)
        with opener(f, "wb") as file:
            yield file
    else:
        raise TypeError(f"f must be a path or a file object that is open in binary mode, got {f!r}")


class LineReader:
    """Reads whole lines, tells the number of each in errors, and bounds what a compressed file unfolds to.

    name is what errors call the file, size its bytes on disk, or 0 if unknown.
    """

    def __init__(self, file, name, size=0):
        self.name = name
        self.n_lines = self.n_bytes = 0  # lines and bytes of text given out
        self._size = size
        self._source = _Source(file, name)
        self._file = io.BufferedReader(self._source, 2**17)
        self._kind, self._of_kind, self._way_out = None, "", ""
        magic = self._call("peek", 6)
        for start, found in _OTHERS.items():
            if magic.startswith(start):
                raise self.error(1, f"expected text, or text in gzip, bzip2 or xz, got {found}")
        for start, (kind, opener) in _KINDS.items():
            if magic.startswith(start):
                self._file = opener(self._file)
                self._kind, self._of_kind = kind, f" of {kind}"
                self._way_out = "; if you trust the file, decompress it and load the text"
        self._pending = self._call("readline", 256).removeprefix(b"\xef\xbb\xbf")  # the byte order mark

    def take_first_line(self):
        """Return the first line, unless it is longer than any header; read on behind it."""
        line, self._pending = self._pending, b""
        self.n_lines = 1
        self.n_bytes = len(line)
        return line

    def give_back(self, line):
        """Read the first line, that was taken, once more."""
        self._pending = line
        self.n_lines = self.n_bytes = 0

    def read_lines(self, size):
        """Return the lines that begin in the next so many bytes, each with a line end; none at the end."""
        chunk = self._pending + self._call("read", size)
        self._pending = b""
        if chunk and not chunk.endswith(b"\n"):
            rest = self._call("readline", MAX_LINE_SIZE + 1)
            chunk += rest
            if len(rest) > MAX_LINE_SIZE:
                line = self.n_lines + 1 + chunk.count(b"\n")
                raise self.error(line, f"expected lines of at most {MAX_LINE_SIZE} bytes, got a longer one")
            if not rest.endswith(b"\n"):
                chunk += b"\n"
        self.n_lines += chunk.count(b"\n")
        self.n_bytes += len(chunk)
        return chunk

    def error(self, line, problem):
        """Return an error that names the file and the line."""
        return ValueError(f"{self.name}, line {line}: {problem}")

    def refuse_rows(self, n_rows):
        """Raise an error if the file cannot hold so many rows, each of which takes a byte at least."""
        if self._size and n_rows > (most := self._get_bound(self._size)) + 1:
            raise self.error(
                1,
                f"expected a number of rows that the file can hold, at most {most + 1} in {self._size} bytes"
                f"{self._of_kind}, got {n_rows}; correct the header{self._way_out}",
            )

    def refuse_bomb(self, n_bytes):
        """Raise an error if the text, or the n_bytes of memory it took, are out of proportion to the file."""
        n_bytes = max(n_bytes, self.n_bytes)
        if self._kind and n_bytes > self._get_bound(self._source.n_bytes):
            raise ValueError(
                f"{self.name}, after line {self.n_lines}: expected {self._kind} that unfolds to at most "
                f"{FREE_SIZE} bytes and {MAX_RATIO} times its size, as text or in arrays, got {n_bytes} of "
                f"{self._source.n_bytes} bytes{self._way_out}"
            )

    def _get_bound(self, size):
        """Return how many bytes of text that many bytes of the file may hold."""
        return FREE_SIZE + MAX_RATIO * size if self._kind else size

    def _call(self, method, size):
        """Read, readline or peek, with an error for a damaged file, but not for a fault of the system."""
        try:
            return getattr(self._file, method)(size)
        except (EOFError, zlib.error, lzma.LZMAError, OSError) as error:
            if getattr(error, "errno", None) is not None or isinstance(error, io.UnsupportedOperation):
                raise
            problem = f"expected a whole {self._kind or 'compressed'} file, got a damaged or cut one: {error}"
            raise ValueError(f"{self.name}, after line {self.n_lines}: {problem}; fetch it again") from error


class _Source(io.RawIOBase):
    """Reads any binary file object, counts its bytes, and leaves it open."""

    def __init__(self, file, name):
        self._file = file
        self._name = name
        self.n_bytes = 0

    def readable(self):
        return True

    def readinto(self, buffer):
        filled = 0
        while filled < len(buffer) and (part := self._file.read(len(buffer) - filled)):
            if isinstance(part, str):
                raise TypeError(f"{self._name} must be open in binary mode, as by open(path, 'rb'), got text")
            buffer[filled : filled + len(part)] = part
            filled += len(part)
        self.n_bytes += filled
        return filled
