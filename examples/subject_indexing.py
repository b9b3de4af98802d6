"""
A backend of a subject-indexing service
=======================================

A backend of a subject-indexing service: train, suggest, learn from corrections, save, load.

A library's service asks a backend for the subjects of a document, shows the likely ones to a person, and
passes the person's corrections back. Run

    python examples/subject_indexing.py

to train one on the bundled WordNet task, to correct it, and to serve it from two processes.
"""

import sys
import tempfile
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import joblib
import numpy as np
from scipy.special import expit
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.preprocessing import MultiLabelBinarizer

from sklearn_slide import SlideClassifier


class SubjectIndexer:
    """Suggests subjects for documents.

    Parameters
    ----------
    correction_rate : float, default=0.01
        The learning rate for corrections. That of the training, 0.1 at first, would let a few documents
        overwrite what many have taught.
    **parameters
        Parameters of :class:`~sklearn_slide.SlideClassifier`.
    """

    def __init__(self, correction_rate=0.01, **parameters):
        self.correction_rate, self.parameters = correction_rate, parameters

    def train(self, texts, subjects):
        """Learn from texts and, for each, a list of the names of its subjects."""
        self.vectorizer = TfidfVectorizer(sublinear_tf=True, dtype=np.float32)
        self.binarizer = MultiLabelBinarizer(sparse_output=True)
        X, Y = self.vectorizer.fit_transform(texts), self.binarizer.fit_transform(subjects)
        self.model = SlideClassifier(**self.parameters).fit(X, Y)
        return self

    def suggest(self, texts, limit=10):
        """Return a list of (subject, score between 0 and 1) for each text, best first.

        A text without a known word gets no subject: there is nothing to tell its subjects by.
        """
        X = self.vectorizer.transform(texts)
        known = np.flatnonzero(np.diff(X.indptr))
        suggestions = [[] for _ in texts]
        if len(known):
            columns, scores = self.model.predict_top_k(X[known], k=limit)
            names = self.binarizer.classes_[columns]
            for i, row, row_scores in zip(known, names, expit(scores), strict=True):
                suggestions[i] = list(zip(row.tolist(), row_scores.tolist(), strict=True))
        return suggestions

    def learn(self, texts, subjects):
        """Learn from corrected documents, whose subjects may be new."""
        new = sorted({name for row in subjects for name in row} - set(self.binarizer.classes_.tolist()))
        names = [*self.binarizer.classes_.tolist(), *new]  # new ones last: columns keep their places
        self.binarizer = MultiLabelBinarizer(classes=names, sparse_output=True).fit([])
        self.model.set_params(learning_rate_init=self.correction_rate)
        self.model.partial_fit(self.vectorizer.transform(texts), self.binarizer.transform(subjects))
        return self

    def save(self, path):
        """Store the backend in a file."""
        joblib.dump(self, path)
        return self

    @staticmethod
    def load(path, n_jobs=None, mapped=False):
        """Load a backend, for the threads of this machine; mapped ones share memory between processes."""
        indexer = joblib.load(path, mmap_mode="r" if mapped else None)
        indexer.model.set_params(n_jobs=n_jobs)
        return indexer


class Server:
    """What a serving process holds: the backend, loaded once."""

    indexer = None

    @classmethod
    def start(cls, path, text):
        """Load the backend, and let a first suggestion load the kernels."""
        cls.indexer = SubjectIndexer.load(path, mapped=True)
        cls.indexer.suggest([text])

    @classmethod
    def suggest(cls, texts):
        """Suggest three subjects for each text."""
        return cls.indexer.suggest(texts, limit=3)


def main(n_samples=20_000):
    """Train on a part of WordNet, correct, store, and serve from two processes."""
    from sklearn_slide.datasets import load_wordnet

    task = load_wordnet("train")
    texts = task.data[:n_samples]
    subjects = [task.target_names[row.indices].tolist() for row in task.target[:n_samples]]
    indexer = SubjectIndexer(random_state=0, n_jobs=-1, verbose=1).train(texts, subjects)
    print(f"suggestions for {texts[0][:60]!r}:", indexer.suggest(texts[:1], limit=3)[0])
    indexer.learn(["a quokka is a small wallaby of Rottnest island"], [["quokka.n.01"]])
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "indexer.joblib"
        indexer.save(path)
        start = {"initializer": Server.start, "initargs": (path, texts[0])}
        with ProcessPoolExecutor(2, get_context("spawn"), **start) as pool:
            for row in pool.map(Server.suggest, [texts[:2], texts[2:4]]):
                print(row)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
