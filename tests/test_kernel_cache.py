"""What becomes of compiled kernels: kept on disk, compiled anew where the files are damaged, and told of."""

import os
import shutil
import subprocess
import sys
from multiprocessing import get_context

import numpy as np
import pytest
from helpers import make
from sklearn.base import is_classifier

from sklearn_slide._core.compilation import _KernelFiles

pytestmark = pytest.mark.kernels

ROUND = """
import numpy as np
from sklearn_slide._core.matrices import float_rows, quantize
rows = quantize(np.arange(6, dtype=np.float32).reshape(2, 3), 1)
print(float_rows(rows, 0, 2).round().tolist())
"""
FIT = """
import hashlib
import numpy as np
from sklearn.datasets import make_multilabel_classification
from sklearn_slide import SlideClassifier
X, Y = make_multilabel_classification(200, n_features=60, n_classes=40, random_state=0)
model = SlideClassifier((32,), loss="sigmoid+softmax", n_active=20, max_iter=2, random_state=0, verbose=1)
model.fit(X, Y)
arrays = [*model.coefs_, *model.intercepts_, model.direct_coef_.data, model.decision_function(X)]
print(hashlib.sha256(b"".join(array.tobytes() for array in arrays)).hexdigest())
"""


def run(code, folder, **variables):
    """Run code in a process that keeps its kernels in a folder; return what it printed, and its warnings."""
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(folder), **variables}
    done = subprocess.run(
        [sys.executable, "-W", "always", "-c", code], env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout, done.stderr


@pytest.fixture(scope="module")
def compiled(tmp_path_factory):
    """Return a folder in which ROUND has kept its kernels, and what it printed."""
    folder = tmp_path_factory.mktemp("compiled")
    output, warnings = run(ROUND, folder)
    assert output.strip() == "[[0.0, 1.0, 2.0], [3.0, 4.0, 5.0]]"
    assert "RuntimeWarning" not in warnings
    return folder, output


@pytest.mark.parametrize(
    ("suffix", "content"), [(".nbi", b""), (".nbi", b"\x80\x04damaged"), (".nbc", None)], ids=str
)  # None: the file is cut
def test_damaged_files_are_compiled_anew_with_one_warning(tmp_path, compiled, suffix, content):
    folder, expected = compiled
    shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
    files = sorted(tmp_path.rglob(f"*{suffix}"))
    assert files
    for file in files:
        file.write_bytes(file.read_bytes()[:-20] if content is None else content)
    output, warnings = run(ROUND, tmp_path)
    assert output == expected
    assert warnings.count("RuntimeWarning: A kernel could not be read in") == 1
    output, warnings = run(ROUND, tmp_path)
    assert output == expected
    assert "RuntimeWarning" not in warnings  # the files were written anew


def test_two_processes_that_compile_at_once_keep_their_forms_apart(tmp_path, monkeypatch):
    one, two = (_KernelFiles(str(tmp_path), "kernel-1.py311", "stamp") for _ in range(2))
    write = one._save_data

    def write_after_the_other(name, data):  # both have read an index without entries
        with monkeypatch.context() as patch:
            patch.setattr(two, "_load_index", dict)
            two.save("form of the other", "its code")
        write(name, data)

    monkeypatch.setattr(one, "_load_index", dict)
    monkeypatch.setattr(one, "_save_data", write_after_the_other)
    one.save("form", "code")
    reader = _KernelFiles(str(tmp_path), "kernel-1.py311", "stamp")
    loaded = reader.load("form"), reader.load("form of the other")
    assert loaded == ("code", None)  # what the index lost is compiled anew
    reader.save("form of the other", "its code")
    assert (reader.load("form"), reader.load("form of the other")) == ("code", "its code")
    changed = _KernelFiles(str(tmp_path), "kernel-1.py311", "another source")
    assert changed.load("form") is None


def test_without_a_folder_one_warning_tells_the_way_out(tmp_path):
    without = "import numba.core.caching as caching\ncaching.CacheImpl._locator_classes = []\n" + ROUND
    without = without.replace("CacheImpl._", "_CacheImpl._") if not _has_cache_impl() else without
    output, warnings = run(without, tmp_path)
    assert output.strip() == "[[0.0, 1.0, 2.0], [3.0, 4.0, 5.0]]"
    assert warnings.count("RuntimeWarning: No folder can be written to keep compiled kernels in") == 1
    assert "NUMBA_CACHE_DIR" in warnings


def _has_cache_impl():
    import numba.core.caching

    return hasattr(numba.core.caching, "CacheImpl")


def test_a_process_that_compiles_tells_so_and_one_that_loads_agrees_to_the_bit(tmp_path):
    output, _ = run(FIT, tmp_path)
    *lines, digest = output.splitlines()
    assert lines[0].startswith("Compiling kernels, once for this machine and version")
    assert str(tmp_path) in lines[0]
    assert [line.split("Compiling")[0] for line in lines[1:]] == lines[1:]
    rate = float(lines[1].split("samples/s = ")[1].split(",")[0])
    assert rate > 500  # the time of compilation, more than ten seconds for 200 samples, is left out
    output, _ = run(FIT, tmp_path)
    lines = output.splitlines()
    assert lines[0].startswith("Epoch 1/2")
    assert lines[-1] == digest


def test_a_process_without_a_home_works(tmp_path):
    output, _ = run(ROUND, tmp_path, HOME="/nonexistent")
    assert output.strip() == "[[0.0, 1.0, 2.0], [3.0, 4.0, 5.0]]"


def fit_in_worker(seed):
    """Fit with two threads, and return what was warned."""
    import warnings

    rng = np.random.default_rng(seed)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        make(n_jobs=2).fit(rng.random((50, 4), dtype=np.float32), np.arange(50) % 3).predict(
            rng.random((2, 4))
        )
    return [str(warning.message) for warning in caught]


def test_workers_of_a_pool_are_silent():
    make(n_jobs=2).fit(np.eye(4, dtype=np.float32), np.arange(4) % 2)
    with get_context("spawn").Pool(2) as pool:
        assert pool.map(fit_in_worker, [0, 1]) == [[], []]


def test_no_threads_are_refused_by_fit_alone():
    model = make(n_jobs=0)
    assert is_classifier(model)
    for n_jobs in (0, "2", [2], 1.5, None, -1):
        assert is_classifier(model.set_params(n_jobs=n_jobs))
    model.set_params(n_jobs=0)
    with pytest.raises(ValueError, match="'n_jobs' parameter"):
        model.fit(np.eye(4), np.arange(4) % 2)
