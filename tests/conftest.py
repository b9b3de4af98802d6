"""What every test needs before Numba is imported, and the data that tests share."""

import hashlib
import os
import tempfile
from importlib.metadata import version
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


def _cache_folder():
    """Name a folder by a digest: Numba keeps a kernel whose callee in another file, or option, changed."""
    digest = hashlib.sha256((version("numba") + os.environ.get("NUMBA_BOUNDSCHECK", "")).encode())
    for path in sorted((ROOT / "sklearn_slide").rglob("*.py")):
        digest.update(path.read_bytes())
    return Path(tempfile.gettempdir()) / f"sklearn-slide-numba-{digest.hexdigest()[:16]}"


os.environ["NUMBA_CACHE_DIR"] = str(_cache_folder())


@pytest.fixture(scope="session")
def shared_data():
    """Return a function from a name to the real data set of that name; the test skips where it is absent."""
    import scipy.sparse as sp

    folder = Path(os.environ.get("SKLEARN_SLIDE_DATA", ROOT.parent / "shared" / "data"))

    def load(name):
        if not (folder / name).is_dir():
            pytest.skip(f"the data set {name!r} is not in {folder}; set SKLEARN_SLIDE_DATA to its folder")
        parts = ("X_train", "Y_train", "X_test", "Y_test")
        return tuple(sp.load_npz(folder / name / f"{part}.npz") for part in parts)

    return load


@pytest.fixture(scope="module")
def data():
    """Return a small multi-label task, CSR: 120 samples of 40 features, and the indicator of 25 labels."""
    import numpy as np
    import scipy.sparse as sp
    from sklearn.datasets import make_multilabel_classification
    from sklearn.preprocessing import normalize

    X, Y = make_multilabel_classification(
        120, n_features=40, n_classes=25, n_labels=3, sparse=True, return_indicator="sparse", random_state=0
    )
    return sp.csr_matrix(normalize(X), dtype=np.float32), sp.csr_matrix(Y)
