"""What the client does for `sklearn_slide.dask`: tasks go out, and are waited for."""

import contextlib
import time
import uuid
from concurrent.futures import CancelledError
from copy import deepcopy
from numbers import Integral, Real

import dask
import dask.array as da
import distributed
import joblib
import numpy as np
import scipy.sparse as sp
from sklearn.exceptions import NotFittedError
from sklearn.utils import check_random_state, check_scalar

import sklearn_slide
from sklearn_slide import _dask_tasks as tasks
from sklearn_slide._blocks import check_block
from sklearn_slide._classifier import SlideClassifier
from sklearn_slide._model import ModelSettings
from sklearn_slide._samples import mostly_filled
from sklearn_slide._shard_files import load
from sklearn_slide._shards import (
    METHOD,
    check_shard_parameters,
    deal_labels,
    fit_shard,
    shard_parameters,
    update_shard,
)
from sklearn_slide._weights import check_weight_parameters, weigh_labels

RETRIES = 3
# Seconds between two looks at the workers while nothing happens.
_GLANCE = 2.0


def key(name):
    """Return a key for a task that no other one has."""
    return f"{name}-{uuid.uuid4().hex}"


class Cluster:
    """The workers of a client: submits tasks to them, and waits for these, never without a limit."""

    def __init__(self, client, timeout, worker_timeout):
        self.client, self.timeout, self.worker_timeout = client, timeout, worker_timeout

    def results(self, futures, name):
        """Yield the number and the result of each future as they finish; name says what they are.

        An error of a task is raised as it is, but for those of Dask, which become a RuntimeError that names
        the task.
        """
        left = {future: number for number, future in enumerate(futures)}
        moved = peopled = time.monotonic()
        while left:
            for future in [future for future in left if future.done()]:
                yield left[future], self._result(future, f"{name} {left[future]}")
                del left[future]
                moved = time.monotonic()
            if not left:
                return
            self._wait_a_little(list(left))
            now = time.monotonic()
            if self.client.status == "closed":
                raise RuntimeError(f"The client was closed before {name} {min(left.values())} was done.")
            if self.client.scheduler_info(n_workers=1).get("workers"):
                peopled = now
            if now - peopled > self.worker_timeout:
                raise TimeoutError(
                    f"The cluster has had no worker for worker_timeout={self.worker_timeout} seconds, and "
                    f"{name} {min(left.values())} is not done. Start workers, and call again."
                )
            if now - moved > self.timeout:
                raise TimeoutError(
                    f"{name} {min(left.values())} is not done, and nothing was for timeout={self.timeout} "
                    "seconds. Look at Dask's dashboard, or give a longer timeout."
                )

    def _wait_a_little(self, futures):
        """Wait until one of the futures is done, or the next glance is due."""
        # a future that was cancelled says so when its result is asked for
        with contextlib.suppress(TimeoutError, CancelledError):
            distributed.wait(futures, timeout=min(_GLANCE, self.timeout), return_when="FIRST_COMPLETED")

    def _result(self, future, name):
        """Return the result of a future that is done."""
        try:
            return future.result(timeout=self.timeout)
        except (distributed.KilledWorker, CancelledError) as error:
            raise RuntimeError(
                f"{name} was lost, and could not be made again: {error}. If workers died, look at their "
                "memory and logs. Data that were scattered or published cannot be made again: give blocks "
                "that tasks read or compute."
            ) from error

    def submit_training(self, work, paths, options):
        """Submit a task for each shard; all but the first wait for it."""
        futures = []
        # None asks for a worker: one that asks for a lost one, though others are allowed, waits for ever if
        # all workers were lost at once.
        for one, path in zip(work, paths, strict=True):
            name, pilot = key("train-shard"), futures[:1]
            futures.append(
                self.client.submit(
                    tasks.train,
                    one[0],
                    path,
                    *one[1:],
                    *pilot,
                    key=name,
                    retries=RETRIES,
                    **options,
                )
            )
        return futures

    def check_blocks(self, blocks, n_features, n_labels):
        """Return the BlockSummary of each block; a wrong one is a ValueError that names it."""
        checks = [
            self.client.submit(
                check_block, number, block, n_features, n_labels, key=key("check-block"), retries=0
            )
            for number, block in enumerate(blocks)
        ]
        found = dict(self.results(checks, "Block"))
        return [found[number] for number in range(len(blocks))]

    def reports(self, futures, verbose):
        """Wait for the shards, and return what each reports; verbose prints it."""
        reports = [self.client.submit(tasks.report, future, key=key("report")) for future in futures]
        found = {}
        for number, report in self.results(reports, "Shard"):
            found[number] = report
            if verbose:
                curve = report.loss_curve
                learned = f"loss = {curve[-1]:.6f}" if curve else "first weights"
                print(
                    f"Shard {number + 1}/{len(futures)}: {report.n_labels} labels, {learned}, "
                    f"{report.n_bytes / 2**20:.0f} MiB, {report.seconds:.1f} s on {report.address}",
                    flush=True,
                )
        return [found[number] for number in range(len(futures))]


def as_array(part, name, chunks=None):
    """Return rows as a dask array of whole rows, in chunks of so many or in one."""
    if not isinstance(part, da.Array):
        part = sp.csr_array(part) if sp.issparse(part) else np.asarray(part)
        if part.ndim == 2:
            part = da.from_array(part, chunks=(part.shape[0] if chunks is None else chunks, part.shape[1]))
    if part.ndim != 2:
        raise ValueError(
            f"{name} must have two dimensions, rows and columns. Got shape {part.shape}. Class labels become "
            "an indicator by LabelBinarizer(sparse_output=True) of sklearn.preprocessing."
        )
    if len(part.chunks[1]) > 1:
        raise ValueError(
            f"{name} must have all columns in one chunk. Got {len(part.chunks[1])}. Give "
            f"{name}.rechunk({{1: -1}}), or build it from blocks of whole rows."
        )
    return part


def blocks_of(client, X, y, sample_weight):
    """Return futures of the blocks (X, y, weights), and the numbers of features and labels, and y's dtype."""
    X, y = (part if isinstance(part, da.Array) or sp.issparse(part) else np.asarray(part) for part in (X, y))
    rows = next((part.chunks[0] for part in (X, y) if isinstance(part, da.Array)), None)
    X, y = as_array(X, "X", rows), as_array(y, "y", rows)
    if X.numblocks[0] != y.numblocks[0]:
        raise ValueError(
            f"X has {X.numblocks[0]} blocks of rows and y has {y.numblocks[0]}. Cut both at the same rows."
        )
    parts = [array.to_delayed().ravel() for array in (X, y)]
    if sample_weight is None:
        parts.append([None] * len(parts[0]))
    else:
        weights = sample_weight
        if not isinstance(weights, da.Array):
            weights = da.from_array(np.asarray(weights), chunks=(X.chunks[0],))
        parts.append(weights.to_delayed().ravel())
    made = [dask.delayed(tasks.make_block)(*block) for block in zip(*parts, strict=True)]
    return client.compute(made, retries=RETRIES), X.shape[1], y.shape[1], y.dtype


class TrainingMixin:
    """How a classifier with the parameters of DaskSlideClassifier trains its shards."""

    def _fitted(self, name):
        """Return a fitted attribute, or raise NotFittedError."""
        if not self.__sklearn_is_fitted__():
            raise NotFittedError(
                f"This {type(self).__name__} instance is not fitted yet. Call 'fit' or 'partial_fit' first."
            )
        return vars(self)[name]

    def _take(self, futures, sizes, n_features, dtype):
        """Note fitted shards, futures, of so many labels each; dtype is that of y."""
        self.shards_, self._sizes, self._dtype = futures, sizes, dtype
        self.n_features_in_, self.n_outputs_ = n_features, sum(sizes)

    def _parameters(self):
        """Return the parameters of SlideClassifier."""
        return {name: getattr(self, name) for name in SlideClassifier._get_param_names()}

    def _checked_parameters(self, one_pass):
        """Return the parameters of SlideClassifier, with a seed that stays, or raise ValueError."""
        check_scalar(self.n_shards, "n_shards", Integral, min_val=1)
        for name in ("timeout", "worker_timeout"):
            check_scalar(getattr(self, name), name, Real, min_val=0, include_boundaries="neither")
        if self.warm_start:
            raise ValueError("warm_start=True is not supported. Call partial_fit to train further.")
        parameters = self._parameters()
        classifier = SlideClassifier(**parameters)
        classifier._validate_params()
        ModelSettings.of(classifier, multilabel=True)
        check_weight_parameters(self.class_weight, self.label_weight, multilabel=True, partial=one_pass)
        if self.random_state is None:
            parameters["random_state"] = int(check_random_state(None).randint(np.iinfo(np.int32).max))
        elif not isinstance(self.random_state, Integral):
            parameters["random_state"] = deepcopy(self.random_state)
            classifier._draw_seeds(self.n_estimators)  # the next fit gets others
        return parameters

    def _cluster(self):
        return Cluster(self.client_, self.timeout, self.worker_timeout)

    def _samples(self, X):
        """Return X as a dask array that the shards can rank."""
        n_features = self._fitted("n_features_in_")
        X = as_array(X, "X")
        if X.shape[1] != n_features:
            raise ValueError(f"X must have {n_features} features, as in fit. Got {X.shape[1]}.")
        return X

    def _train(self, X, y, sample_weight, going_on, one_pass):
        """Fit or update the shards."""
        parameters, cluster = self._checked_parameters(one_pass), self._cluster()
        client = cluster.client
        blocks, n_features, n_labels, dtype = blocks_of(client, X, y, sample_weight)
        if going_on and (n_features, n_labels) != (self.n_features_in_, self.n_outputs_):
            raise ValueError(
                f"X and y must have {self.n_features_in_} features and {self.n_outputs_} labels, as before. "
                f"Got {n_features} and {n_labels}. Give the same columns, or fit anew."
            )
        weigh_labels(None if isinstance(self.label_weight, str) else self.label_weight, None, None, n_labels)
        check_shard_parameters(parameters, self.n_shards)
        futures = []
        try:
            summaries = cluster.check_blocks(blocks, n_features, n_labels)
            first = sklearn_slide.__version__, METHOD, parameters, self.n_shards
            origin = self._origin if going_on else first
            origin = joblib.hash((origin, one_pass, [summary.digest for summary in summaries]))
            if self.n_shards == 1 and len(blocks) > 1:
                blocks = client.submit(tasks.one_block, blocks, key=key("stack"), retries=RETRIES)
            if going_on:
                work = [(update_shard, shard, blocks) for shard in self.shards_]
                options = {}
            else:
                counts = sum(summary.counts for summary in summaries)
                columns = deal_labels(counts, self.n_shards)
                n_rows, n_entries = (sum(part) for part in zip(*(s[:2] for s in summaries), strict=True))
                dense = mostly_filled(n_entries, n_rows, n_features)
                given = zip(shard_parameters(parameters, counts, columns, dense), columns, strict=True)
                work, options = [(fit_shard, *each, blocks) for each in given], {"one_pass": one_pass}
            paths = [
                self.folder and f"{self.folder}/{origin}-{number}.shard" for number in range(self.n_shards)
            ]
            futures = cluster.submit_training(work, paths, options)
            reports = cluster.reports(futures, self.verbose)
            if self.folder:
                # from here on, what is lost is read again
                futures = [
                    client.submit(load, path, key=key("load-shard"), retries=RETRIES) for path in paths
                ]
        except BaseException:
            with contextlib.suppress(Exception):  # the client may be lost
                client.cancel(futures)
            raise
        self._origin, self.loss_curves_ = origin, [report.loss_curve for report in reports]
        self._take(futures, [report.n_labels for report in reports], n_features, dtype)
        return self
