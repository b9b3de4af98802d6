"""The example that compares kinds of data: its sets, its threshold, and what its page says of runs."""

import sys
from pathlib import Path

import numpy as np
import pytest
import scipy.sparse as sp
from sklearn.metrics import f1_score

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"
MADE = [
    *("wine", "wine, standardised", "breast cancer", "digits", "digits, standardised"),
    *("halves", "lexicographer file", "one pointer"),
]


@pytest.fixture(scope="module")
def example():
    """Return the modules of the sets, of the page and of thresholds."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(EXAMPLES)
        import kinds
        import kinds_page
        from peers import thresholds

        yield kinds, kinds_page, thresholds
    for name in ("kinds", "kinds_page", "benchmarking", "peers", "peers.thresholds"):
        sys.modules.pop(name, None)


@pytest.mark.parametrize("name", MADE)
def test_sets_have_the_shapes_of_their_kind(example, name, tmp_path):
    kinds, _, _ = example
    kind = kinds.KINDS[name]
    X, Y, X_test, Y_test = kind.make(tmp_path, 60)
    assert X.shape[0] == Y.shape[0] == 60
    assert X_test.shape[0] == Y_test.shape[0] > 80
    assert X.shape[1] == X_test.shape[1]
    assert Y.shape[1] == Y_test.shape[1]
    assert X.dtype == np.float32
    lengths = np.sqrt(sp.csr_matrix(X).multiply(X).sum(axis=1)).A1
    if name in ("halves", "lexicographer file", "one pointer"):
        np.testing.assert_allclose(lengths, 1, rtol=1e-5)
    for indicator in (sp.csr_matrix(Y), sp.csr_matrix(Y_test)):
        assert set(indicator.data) == {1}
        counts = np.diff(indicator.indptr)
        assert (counts == 1).all() if kind.classes else (counts >= 1).all()


def test_halves_have_no_synset_in_common(example, tmp_path):
    X, Y, X_test, Y_test = example[0].halves(tmp_path, 60)
    assert X.multiply(Y).nnz == X_test.multiply(Y_test).nnz == 0
    assert X.shape == Y.shape


def test_a_single_label_is_the_most_frequent_one(example):
    Y = sp.csr_matrix([[1, 1, 0, 1], [0, 1, 1, 0], [0, 0, 0, 1]])
    assert example[0].most_frequent(Y, np.array([5, 7, 9, 7])).tolist() == [1, 2, 3]


def test_a_set_is_made_once(example, tmp_path):
    kinds = example[0]
    parent = kinds.prepare("wine, standardised", tmp_path, tmp_path, 50)
    path = parent / "wine-standardised" / "X_train.npz"
    before = path.stat().st_mtime_ns
    assert kinds.prepare("wine, standardised", tmp_path, tmp_path, 50) == parent
    assert path.stat().st_mtime_ns == before
    assert sp.load_npz(path).shape == (50, 13)


def test_the_best_threshold_is_found_as_by_trying_all(example):
    rng = np.random.default_rng(0)
    for seed in range(20):
        Y = rng.random((15, 6)) < 0.3
        # few values, so that many are equal
        scores = sp.random(15, 6, density=0.6, format="csr", random_state=seed)
        scores.data = np.ceil(8 * scores.data) / 8
        threshold = example[2].best_threshold(sp.csr_matrix(Y.astype(float)), scores)
        dense, cuts = scores.toarray(), np.arange(17) / 16
        tried = [f1_score(Y, dense > max(cut, 1e-9), average="micro") for cut in cuts]
        assert f1_score(Y, dense > max(threshold, 1e-9), average="micro") == pytest.approx(max(tried))


def test_the_best_threshold_without_scores(example):
    assert example[2].best_threshold(sp.csr_matrix((3, 4)), sp.csr_matrix((3, 4))) == 0


def point(name, p, seconds, **more):
    measures = {f"{measure}@{k}": p / k for measure in ("P", "PSP") for k in (1, 3, 5)}
    costs = {"cpu_seconds": seconds, "predict_cpu": 1e-4, "memory": 2**20, "model_bytes": 2**20}
    return {"point": name, **measures, **costs, **more}


def test_the_page_compares_with_the_better_tree_and_says_what_is_missing(example):
    runs = {
        "slide 0": {"points": [point("epoch 3", 60.0, 4.0, F1=50.0)], "note": None, "limit": 10},
        "slide 1": {"points": [point("epoch 2", 62.0, 6.0, F1=52.0)], "note": None, "limit": 10},
        "pecos 0": {
            "points": [point("1 trees", 64.0, 10.0), point("threshold", 64.0, 10.0, F1=33.3)],
            "note": "stopped at the limit of 10 s",
            "limit": 10,
        },
        "omikuji 0": {"points": [point("3 trees", 63.0, 2.0)], "note": None, "limit": 10},
    }
    data = {"bibtex": {"runs": runs, "shape": (100, 20, 30, 40), "labels_a_row": 2.5}}
    text = example[1].page({"machine": "a machine", "peers": ["a peer 1.0"], "data": data})
    joined = " ".join(text.split())
    assert "bibtex 61.0 64.0 -3.0 5 10 PECOS, 1 tree" in joined
    assert "on 1 more than 0.5 points behind: bibtex" in joined
    assert "61.0 ± 1.0" in text
    row = next(line for line in text.splitlines() if "PECOS, 1 tree  " in line)
    assert "33.3" in row
    assert "stopped" not in row
    row = next(line for line in text.splitlines() if "PECOS, 3 trees  " in line)
    assert "stopped at the limit" in row
    assert "runs are missing: wine" in joined
