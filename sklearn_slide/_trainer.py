"""A Model and Samples -> the Model trained, an epoch at a time."""

from typing import NamedTuple

import numpy as np

from sklearn_slide._core.active_set import make_sampler
from sklearn_slide._core.layers import Batch
from sklearn_slide._core.losses import LOSSES
from sklearn_slide._core.parallel import count_threads, rows_of_round, run_parts, split_range, thread_pool
from sklearn_slide._core.sgd import Engine, Epoch, Index, make_scratch, pass_work, train_chunk
from sklearn_slide._core.tables import allocate_tables, rebuild_tables
from sklearn_slide._lsh import make_schedule, make_selection
from sklearn_slide._samples import is_dense, labels_with_entries, rows_by_feature


class TrainingSettings(NamedTuple):
    """The parameters of training that may change from one fit to the next."""

    n_active: int | str | None
    negatives: dict | str
    shuffle: bool
    n_jobs: int | None

    @classmethod
    def of(cls, estimator):
        """Take the settings from the parameters of an estimator."""
        return cls(estimator.n_active, estimator.negatives, estimator.shuffle, estimator.n_jobs)


class Trainer:
    """Trains a Model on Samples by stochastic gradient descent without locks, on a few labels of each sample.

    For a sample x with true labels Y, with h its last hidden vector and A its active labels, a set that holds
    Y::

        z_y = w_y . h + b_y + d_y . x                  for y in A
        r_y = d loss(z_A, Y) / d z_y
        w_y <- step(w_y, r_y h),  b_y <- step(b_y, r_y),  d_y <- step(d_y, r_y x)
        hidden layers <- step by the gradient sum over A of r_y w_y

    A is drawn anew for each pass: labels in the buckets of h in the hash tables over the w_y, and others.
    step is that of the solver, which keeps a state for each row of weights. Several threads take samples side
    by side and write on the same arrays (Hogwild).

    Parameters
    ----------
    model : Model
        The model to train, in place; its counters of passes and epochs go on.

    samples : Samples
        What it learns from, as wide as the model.

    settings : TrainingSettings
        How.

    Attributes
    ----------
    engine : Engine
        What the threads share.

    dense : bool
        Whether most entries of the samples are filled.

    Examples
    --------
    An epoch at a constant learning rate of 0.1::

        loss, active_size = Trainer(model, samples, settings).run_epoch((0.1, 0.1))
    """

    def __init__(self, model, samples, settings):
        model.require_trainable()
        self.model, self.samples, self.shuffle = model, samples, settings.shuffle
        self.n_jobs = count_threads(settings.n_jobs)
        network, training = model.network, model.training
        self.dense = is_dense(samples.x, model.n_features)
        sampler = make_sampler(network.n_labels, settings.n_active, settings.negatives, self.dense)
        if sampler.n_hashed and training.index is None:
            lsh, tables = model.settings.lsh, allocate_tables(model.hasher, network.n_labels)
            training.index = Index(model.hasher, tables, make_selection(lsh))
            training.schedule = make_schedule(lsh, network.n_labels, model.n_passes)
        loss = LOSSES[model.settings.loss]
        self.engine = Engine(
            batch=Batch(samples.x, network),
            state=training.solver,
            loss=loss(samples.label_weights),
            least_residual=np.float32(loss.least_residual),
            sampler=sampler,
            index=training.index if sampler.n_hashed else None,
            rows_with=rows_by_feature(samples, model.n_features) if sampler.n_cooccurrence else None,
        )
        most_true = int(np.diff(samples.y.indptr).max(initial=0))
        self._scratches = [make_scratch(self.engine, most_true) for _ in range(self.n_jobs)]
        model.seen = model.seen | (np.bincount(samples.x.indices, minlength=model.n_features) > 0)
        true = np.bincount(samples.y.indices, minlength=network.n_labels) > 0
        model.seen_labels = model.seen_labels | true
        training.started = training.started | labels_with_entries(samples, network.n_labels)

    @property
    def n_passes(self):
        """Passes over samples in an epoch."""
        return len(self.samples.passes)

    def log_drawn(self):
        """Return the log_drawn of the samples, or None if they are not dense."""
        if not self.dense:
            return None
        counts = np.bincount(self.samples.y.indices, minlength=self.model.network.n_labels)
        return log_drawn(self.engine.sampler, counts)

    def prepare(self):
        """Compile what an epoch runs, or load it, and build the tables if that is due.

        The time of the first epoch is then that of the work.
        """
        self._next_build(0)
        epoch = Epoch(0, self.model.seed, np.arange(0), np.zeros(2))
        train_chunk(self.samples, 0, 0, epoch, self.engine, self._scratches[0])

    def run_epoch(self, rates, report=None):
        """Make the passes of an epoch, and return the means of the loss of a sample and of its active labels.

        rates are the learning rates with which the epoch begins and ends. report(number of passes, sum of
        their losses, sum of their active labels) is called after each round of a few tenths of a second. A
        loss that is not finite is a FloatingPointError.
        """
        order = np.arange(self.n_passes)
        if self.shuffle:
            order = np.random.default_rng((self.model.seed, self.model.n_epochs)).permutation(self.n_passes)
        epoch = Epoch(self.model.n_epochs, self.model.seed, order, np.asarray(rates, dtype=np.float64))
        passes_per_weight = self.n_passes / np.sum(self.samples.weights, dtype=np.float64)
        total_loss, total_active = 0.0, 0
        for n_passes, loss, n_active in self._run_rounds(epoch):
            if not np.isfinite(loss):
                raise FloatingPointError(f"The loss became {loss} in epoch {self.model.n_epochs + 1}")
            loss *= passes_per_weight
            total_loss, total_active = total_loss + loss, total_active + n_active
            if report is not None:
                report(n_passes, loss, n_active)
        self.model.n_passes += self.n_passes
        self.model.n_epochs += 1
        return total_loss / self.n_passes, total_active / self.n_passes

    def _run_rounds(self, epoch):
        """Pass over the samples, one thread for each scratch, and rebuild the tables when that is due.

        Threads meet after each round; then (passes done, sum of their losses, sum of their active labels) of
        it is yielded, and an interrupt can arrive.
        """

        def train_part(start, stop, scratch):
            return train_chunk(self.samples, start, stop, epoch, self.engine, scratch)

        work = pass_work(self.samples, self.model.network, len(self._scratches[0].logits))
        size = rows_of_round(work) * self.n_jobs
        with thread_pool(self.n_jobs) as parallel:
            start = 0
            while start < self.n_passes:
                stop = min(start + size, self.n_passes, self._next_build(start))
                parts = split_range(start, stop, self.n_jobs)
                arguments = [(*part, s) for part, s in zip(parts, self._scratches, strict=False)]
                losses, n_active = zip(*run_parts(train_part, arguments, parallel), strict=True)
                yield stop - start, sum(losses), sum(n_active)
                start = stop

    def _next_build(self, start):
        """Rebuild the tables if that is due at pass start of the epoch; return the pass of the next build."""
        index, schedule = self.engine.index, self.model.training.schedule
        if index is None:
            return self.n_passes
        done = self.model.n_passes + start
        due = done >= schedule.due
        if due or not index.tables.offsets[:, -1].all():  # empty tables are of a build that was interrupted
            rebuild_tables(self.model.network.output.weights, index.hasher, index.tables, self.n_jobs)
        if due:
            schedule.advance(done)
        return start + int(np.ceil(schedule.due - done))


def log_drawn(sampler, counts):
    """Return log q_y, q_y how likely a label is drawn for a dense sample: float32 (n_labels,), or None.

    None where all labels are active, or none are drawn by frequency. Frequent labels are, and co-occurring
    ones, for all samples share the features. counts are the samples that have each label; there is one more,
    lest q_y is 0.
    """
    n_labels, n_frequent = len(counts), sampler.n_cooccurrence + sampler.n_frequency
    if sampler.n_active >= n_labels or not n_frequent:
        return None
    counts = 1.0 + counts
    missed = n_frequent * np.log1p(-counts / counts.sum()) + sampler.n_uniform * np.log1p(-1 / n_labels)
    return np.log(-np.expm1(missed)).astype(np.float32)
