"""What the benchmarks share: threads, the machine, memory, data sets, and the pages that they write.

Call :func:`limit_threads` before anything imports NumPy; so this module imports it only within functions.
"""

import contextlib
import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

DOCS = Path(__file__).resolve().parents[1] / "docs"
DATA_SETS = ("bibtex", "delicious", "debian-deps-min2", "wordnet-related")
THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "NUMBA_NUM_THREADS",
    "RAYON_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
)


def limit_threads(n_threads):
    """Let OpenMP, BLAS, Numba and Rayon use `n_threads` threads each, which sleep while they wait."""
    os.environ.update(dict.fromkeys(THREAD_VARIABLES, str(n_threads)), OMP_WAIT_POLICY="PASSIVE")


def machine(packages=("scikit-learn", "numpy", "scipy", "numba", "sklearn-slide")):
    """Return one line: processor, cores, memory, Python, and the versions of the `packages` installed."""
    name, memory = platform.processor() or platform.machine(), ""
    if Path("/proc/cpuinfo").exists():
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        name = next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), name)
        total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
        memory = f", {total / 2**30:.0f} GiB"
    python = f"Python {platform.python_version()}"
    return f"{name}, {os.cpu_count()} cores{memory}; {python}, {versions(packages)}"


def versions(packages):
    """Return the names and versions of the `packages` that are installed, with commas between."""
    return ", ".join(f"{package} {found}" for package in packages if (found := _version(package)))


def _version(package):
    try:
        return version(package)
    except PackageNotFoundError:  # run from a clone that is not installed
        return __import__("sklearn_slide").__version__ if package == "sklearn-slide" else None


def peak_memory():
    """Return the most bytes of memory that this process held, since the last reset where Linux has it."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
        return 1024 * next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))
    except (OSError, StopIteration):
        import resource

        unit = 1 if platform.system() == "Darwin" else 1024
        return unit * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def reset_peak_memory():
    """Let :func:`peak_memory` begin anew from what the process holds now; without Linux, do nothing."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def callable_kernel(function):
    """Compile a function as the kernels of sklearn_slide are, for Python to call, and without a cache.

    It may be an `inner` kernel, whose compiled form has no wrapper for Python. A cache on disk would go on
    with the old code of kernels in other files after these have changed.
    """
    import numba

    from sklearn_slide._core.compilation import _OPTIONS

    return numba.njit(**_OPTIONS)(getattr(function, "py_func", function))


def load(folder, name, held_out=False, unit_rows=True):
    """Return X_train, Y_train, X_test, Y_test of FOLDER/NAME as CSR of float32.

    Rows of X are scaled to length 1 if `unit_rows`. With `held_out`, the rows to test on are a tenth of the
    training rows, or at most 10,000 of them, and the true test rows stay unread.
    """
    import numpy as np
    import scipy.sparse as sp

    def read(part):
        return sp.csr_matrix(sp.load_npz(Path(folder) / name / f"{part}.npz"), dtype=np.float32)

    def scaled(X):
        if not unit_rows:
            return X
        norms = np.sqrt(X.multiply(X).sum(axis=1)).A1
        X.data /= np.repeat(np.where(norms > 0, norms, 1), np.diff(X.indptr)).astype(np.float32)
        return X

    X, Y = scaled(read("X_train")), read("Y_train")
    if not held_out:
        return X, Y, scaled(read("X_test")), read("Y_test")
    order = np.random.RandomState(7).permutation(X.shape[0])
    test, train = np.split(order, [min(10_000, X.shape[0] // 10)])
    return X[train], Y[train], X[test], Y[test]


def rst_table(header, rows):
    """Return a reStructuredText grid of the cells, without a line break in a cell."""
    cells = [[str(cell) for cell in row] for row in [header, *rows]]
    widths = [max(len(row[column]) for row in cells) for column in range(len(header))]
    rule = "  ".join("=" * max(width, 1) for width in widths)
    # an empty first cell would continue the row above
    lines = [
        "  ".join(
            (cell or ("\\" if not i else "")).ljust(w)
            for i, (cell, w) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in cells
    ]
    return "\n".join([rule, lines[0], rule, *lines[1:], rule, ""])


def image_path(name, picture):
    """Return the path of docs/images/benchmark_NAME_PICTURE.png, whose folder is there."""
    (DOCS / "images").mkdir(exist_ok=True)
    return DOCS / "images" / f"benchmark_{name}_{picture}.png"


def write_page(name, text):
    """Write the text of the page docs/benchmarks/NAME.rst, and tell where it is."""
    path = DOCS / "benchmarks" / f"{name}.rst"
    path.parent.mkdir(exist_ok=True)
    path.write_text(text.strip() + "\n")
    print(f"wrote {path}")
