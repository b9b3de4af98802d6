"""What the scripts of the peers share: the job that they are given, the clock of training, and the answers.

A script is called with one argument, a job in JSON, and runs in an environment of its own, which needs
NumPy and SciPy beside the peer. It writes the best five labels of each test row to a file for each point of
its curve and tells of it in a line of JSON; the benchmark computes the measures, the same way for all.
"""

import json
import os
import signal
import sys
import time
from contextlib import contextmanager
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
import benchmarking

THREADS = 2
benchmarking.limit_threads(THREADS)

import numpy as np  # noqa: E402

K = 5


class Job:
    """The data and settings of a run, with a clock that runs within ``with job.training():`` only.

    Attributes
    ----------
    X, Y, X_test : csr_matrix of float32
        Training rows, their labels, and the rows to rank labels for. The true labels of those are not here.
    settings : dict
        What the peer is to be trained with.
    folder : Path
        An empty folder to write to.
    seconds, cpu_seconds, memory : float
        Of the training so far: wall clock, CPU time of all threads, peak bytes.
    """

    def __init__(self):
        job = json.loads(sys.argv[1])
        # libraries that log to the standard output would mix with the answers
        self._answers = os.fdopen(os.dup(1), "w", buffering=1)
        os.dup2(2, 1)
        self.settings, self.limit, self.folder = job["settings"], job["limit"], Path(job["work"])
        data = job["folder"], job["name"], job["held_out"], job.get("unit_rows", True)
        self.X, self.Y, self.X_test, _ = benchmarking.load(*data)
        self.restart()

    def restart(self):
        """Set the clock to 0 for a training from the start."""
        self.seconds = self.cpu_seconds = self.memory = 0

    def write_training_rows(self, path):
        """Write X and Y in the text format of the Extreme Classification Repository, which omikuji reads."""
        with path.open("w") as file:
            file.write(f"{self.X.shape[0]} {self.X.shape[1]} {self.Y.shape[1]}\n")
            for row in range(self.X.shape[0]):
                features = slice(*self.X.indptr[row : row + 2])
                labels = self.Y.indices[slice(*self.Y.indptr[row : row + 2])]
                pairs = zip(self.X.indices[features], self.X.data[features], strict=True)
                file.write(
                    ",".join(map(str, labels)) + "".join(f" {i}:{value:.7g}" for i, value in pairs) + "\n"
                )

    @contextmanager
    def training(self):
        """Let the clock run; over the limit, the process ends by SIGALRM, which the benchmark understands."""
        benchmarking.reset_peak_memory()
        signal.setitimer(signal.ITIMER_REAL, max(self.limit - self.seconds, 1e-3))
        wall, cpu = time.perf_counter(), time.process_time()
        yield
        self.seconds += time.perf_counter() - wall
        self.cpu_seconds += time.process_time() - cpu
        signal.setitimer(signal.ITIMER_REAL, 0)
        self.memory = max(self.memory, benchmarking.peak_memory())

    def report(self, point, labels, model_bytes, **at):
        """Answer with a point of the curve.

        Parameters
        ----------
        point : str
            The name of the point.
        labels : sequence of sequences of int
            The best labels of each test row, best first; those after the fifth are left out.
        model_bytes : int
            The size of the model.
        **at
            The settings, other than those of the job, of a training that would end with this point.
        """
        top = np.full((self.X_test.shape[0], K), -1)
        for row, best in enumerate(labels):
            top[row, : len(best[:K])] = best[:K]
        path = self.folder / f"labels{time.monotonic_ns()}.npy"
        np.save(path, top)
        self.answer(
            point=point,
            seconds=self.seconds,
            cpu_seconds=self.cpu_seconds,
            memory=self.memory,
            model_bytes=int(model_bytes),
            labels=str(path),
            at=at,
        )

    def answer(self, **values):
        """Write one line of JSON, such as ``skip="why there is no (further) point"``."""
        self._answers.write(json.dumps(values) + "\n")


def folder_bytes(folder):
    """Return the bytes of the files in a folder and below."""
    return sum(path.stat().st_size for path in Path(folder).rglob("*") if path.is_file())


def rank(scores):
    """Return the columns of the K highest scores of each row, best first."""
    k = min(K, scores.shape[1])
    top = np.argpartition(-scores, k - 1, axis=1)[:, :k]
    order = np.argsort(-np.take_along_axis(scores, top, axis=1), axis=1, kind="stable")
    return np.take_along_axis(top, order, axis=1)


def rank_sparse(scores):
    """Return the columns of the K highest stored scores of each row of a CSR matrix, best first."""
    rows = (slice(*bounds) for bounds in zip(scores.indptr[:-1], scores.indptr[1:], strict=True))
    return [scores.indices[row][np.argsort(-scores.data[row], kind="stable")[:K]] for row in rows]


def label_rows(Y):
    """Return the list of labels of each row of a CSR indicator."""
    return [part.tolist() for part in np.split(Y.indices, Y.indptr[1:-1])]
