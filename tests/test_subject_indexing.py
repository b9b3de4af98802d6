"""The example of a backend: suggestions, corrections, and what several processes share."""

import importlib.util
import sys
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pytest

PATH = Path(__file__).resolve().parents[1] / "examples" / "subject_indexing.py"


@pytest.fixture(scope="module")
def example():
    spec = importlib.util.spec_from_file_location("subject_indexing", PATH)
    module = sys.modules["subject_indexing"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    yield module
    del sys.modules["subject_indexing"]


@pytest.fixture(scope="module")
def documents():
    """Return 300 texts of three words each that tell their subject, and a word that does not."""
    rng = np.random.default_rng(0)
    numbers = rng.integers(30, size=300)
    texts = [f"word{n}a word{n}b word{n}c noise{rng.integers(50)}" for n in numbers]
    return texts, [[f"subject {n}"] for n in numbers]


@pytest.fixture(scope="module")
def indexer(example, documents):
    return example.SubjectIndexer(random_state=0, max_iter=10).train(*documents)


def first_ones(suggestions):
    return [row[0][0] for row in suggestions]


def test_suggestions(indexer, documents):
    texts, subjects = documents
    assert first_ones(indexer.suggest(texts)) == [row[0] for row in subjects]
    few, none, many = indexer.suggest(["word3a word3b", "nothing that is known", texts[0]], limit=99)
    assert few[0][0] == "subject 3"
    assert none == []
    assert len(many) == len(set(many)) == len(indexer.binarizer.classes_)  # there are no more than these
    scores = [score for _, score in many]
    assert scores == sorted(scores, reverse=True)
    assert 0 < scores[-1] <= scores[0] < 1


def test_corrections_are_learned_and_nothing_is_forgotten(example, documents, tmp_path):
    texts, subjects = documents
    indexer = example.SubjectIndexer(random_state=0, max_iter=10).train(texts, subjects)
    for _ in range(30):
        indexer.learn(["word1a word2b", "word4a word5b"], [["a new one"], ["another new one"]])
    assert first_ones(indexer.suggest(["word1a word2b", "word4a word5b"])) == ["a new one", "another new one"]
    found = np.mean([a == b[0] for a, b in zip(first_ones(indexer.suggest(texts)), subjects, strict=True)])
    assert found > 0.95


def test_it_is_stored_with_the_threads_of_the_one_who_loads_it(example, indexer, documents, tmp_path):
    path = tmp_path / "indexer.joblib"
    indexer.save(path)
    for loaded in (
        example.SubjectIndexer.load(path, n_jobs=2),
        example.SubjectIndexer.load(path, mapped=True),
    ):
        assert loaded.suggest(documents[0][:9]) == indexer.suggest(documents[0][:9])
    assert example.SubjectIndexer.load(path, n_jobs=2).model.n_jobs == 2


def test_processes_serve_one_file(example, indexer, documents, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(PATH.parent)  # spawned processes import the module by its name
    monkeypatch.setenv("PYTHONPATH", str(PATH.parent), prepend=":")
    path, texts = tmp_path / "indexer.joblib", documents[0]
    indexer.save(path)
    start = {"initializer": example.Server.start, "initargs": (path, texts[0])}
    with ProcessPoolExecutor(2, get_context("spawn"), **start) as pool:
        rows = list(pool.map(example.Server.suggest, [texts[:4], texts[4:8]]))
    assert rows == [indexer.suggest(part, limit=3) for part in (texts[:4], texts[4:8])]
