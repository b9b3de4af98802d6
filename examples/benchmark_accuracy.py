"""Train with the default parameters on real data sets; print precision at k, seconds and the machine.

``python examples/benchmark_accuracy.py FOLDER [SEED ...]`` reads FOLDER/NAME/X_train.npz, Y_train.npz,
X_test.npz and Y_test.npz, CSR matrices as scipy.sparse.save_npz writes them, of every data set NAME there
is among those below. Rows of X are normalised. The kernels are compiled before the clock starts.
"""

import platform
import sys
import time
from pathlib import Path

import numba
import numpy as np
import scipy.sparse as sp
import sklearn
from joblib import effective_n_jobs
from sklearn.preprocessing import normalize

import sklearn_slide
from sklearn_slide import SlideClassifier
from sklearn_slide.metrics import precision_at_k

HIDDEN_LAYER_SIZES = {
    "bibtex": (256,),
    "delicious": (256,),
    "debian-deps-min2": (256,),
    "wordnet-related": (512,),
}


def processor():
    """Return the name of the processor, where the system tells it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    return next(
        (line.split(":")[1].strip() for line in lines if line.startswith("model name")), platform.machine()
    )


def compile_kernels():
    rng = np.random.default_rng(0)
    X = sp.random_array((100, 20), density=0.2, format="csr", rng=rng)
    Y = sp.random_array((100, 50), density=0.05, format="csr", rng=rng).astype(bool)
    SlideClassifier((8,), n_active=10, max_iter=1, n_jobs=-1).fit(X, Y).predict_top_k(X)


def main(folder, seeds):
    print(f"{processor()}, {effective_n_jobs(-1)} threads; Python {platform.python_version()}", end="")
    for module in (sklearn, np, numba, sklearn_slide):
        print(f", {module.__name__} {module.__version__}", end="")
    print("\ndata set           seed    P@1    P@3    P@5   fit s   CPU s   predict s")
    compile_kernels()
    for name, sizes in HIDDEN_LAYER_SIZES.items():
        if not (folder / name).is_dir():
            print(f"{name}: not in {folder}")
            continue
        parts = ("X_train", "Y_train", "X_test", "Y_test")
        X, Y, X_test, Y_test = (sp.load_npz(folder / name / f"{part}.npz") for part in parts)
        X, X_test = normalize(X), normalize(X_test)
        for seed in seeds:
            wall, cpu = time.perf_counter(), time.process_time()
            model = SlideClassifier(sizes, n_jobs=-1, random_state=seed).fit(X, Y)
            wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
            start = time.perf_counter()
            labels, _ = model.predict_top_k(X_test, k=5)
            ranking = time.perf_counter() - start
            precisions = "".join(f"{100 * precision_at_k(Y_test, labels, k=k):7.2f}" for k in (1, 3, 5))
            print(f"{name:18s} {seed:4d}{precisions}{wall:8.1f}{cpu:8.1f}{ranking:12.1f}", flush=True)


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    main(Path(sys.argv[1]), [int(seed) for seed in sys.argv[2:]] or [0])
