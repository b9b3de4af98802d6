"""The active labels of a batch: hash tables over the weights, true labels of earlier batches, and any."""

import numpy as np
import torch
from torch import nn

from sklearn_slide import _torch_kernels as kernels
from sklearn_slide._core import sampled
from sklearn_slide._core.active_set import check_shares, make_sampler
from sklearn_slide._core.parallel import take
from sklearn_slide._core.rows import Pattern
from sklearn_slide._core.sgd import Index
from sklearn_slide._core.tables import (
    RehashSchedule,
    Tables,
    allocate_tables,
    auto_rehash_interval,
    rebuild_tables,
)
from sklearn_slide._lsh import make_selection
from sklearn_slide._torch_input import refuse_labels
from sklearn_slide._torch_threads import run_rows

SHARES = {"lsh": 0.6, "frequency": 0.3, "uniform": 0.1}
# So many true labels of earlier rows are remembered, to draw from them.
N_RECENT = 2**20
# What the counters count.
ROWS, TRUE_LABELS, DUE, BUILDS = range(4)


def allowed_shares(negatives):
    """Return the shares of the sources, a dict; raise ValueError if one is not allowed."""
    if isinstance(negatives, str) and negatives == "auto":
        return SHARES
    if not isinstance(negatives, dict) or negatives.get("cooccurrence"):
        raise ValueError(
            f"negatives must be 'auto' or a dict of shares of n_active, of the sources {list(SHARES)}; "
            "'cooccurrence' needs the features of samples, which a layer does not see. Give its share to "
            f"another source. Got {negatives!r}."
        )
    return check_shares(negatives)


class ActiveLabels(nn.Module):
    """Draws the active labels of a batch.

    Its buffers are tables, labels and counters that a copy in another process shares after share_memory();
    none of them is a part of state_dict().
    """

    def __init__(self, n_labels, n_active, negatives, lsh, hasher, seed):
        super().__init__()
        self.sampler = make_sampler(n_labels, n_active, allowed_shares(negatives))
        self.n_labels, self.seed, self.hasher, self.selection = n_labels, seed, hasher, make_selection(lsh)
        interval = lsh.rehash_interval
        self.interval = auto_rehash_interval(n_labels) if interval == "auto" else interval
        self.growth = lsh.rehash_growth
        tables = allocate_tables(hasher, n_labels) if self.sampler.n_hashed else (None, None)
        buffers = {
            "offsets": tables[0],
            "ids": tables[1],
            "recent": np.zeros(N_RECENT if self.sampler.n_frequency else 0, dtype=np.int32),
            "counters": np.zeros(4, dtype=np.int64),
        }
        for name, array in buffers.items():
            tensor = None if array is None else torch.from_numpy(array)
            self.register_buffer(name, tensor, persistent=False)
        self._unused, self._arrays = [], (None, None)

    def __getstate__(self):
        return vars(self) | {"_unused": [], "_arrays": (None, None)}

    def forget(self):
        """Begin anew, with other weights."""
        self.counters.zero_()
        self._unused = []

    def make_due(self):
        """Let the tables be rebuilt before they are read next."""
        self.counters[DUE] = self.counters[ROWS]

    def _as_arrays(self):
        """Return the buffers as arrays that share their memory: the Index or None, recent and counters."""
        address = self.counters.data_ptr()
        if address != self._arrays[0]:
            index = None
            if self.sampler.n_hashed:
                index = Index(self.hasher, Tables(self.offsets.numpy(), self.ids.numpy()), self.selection)
            self._arrays = address, (index, self.recent.numpy(), self.counters.numpy())
        return self._arrays[1]

    def draw(self, weights, h, indices, offsets, n_jobs):
        """Return the active labels of h, float (N, in), and the number of true ones, int64.

        indices and offsets are the true labels of each row, as read_target returns them. Rows that autograd
        follows count as training, and their labels are remembered.
        """
        index, recent, counters = self._as_arrays()
        n_rows, most_true = len(h), kernels.longest(None, offsets)
        capacity = min(self.n_labels, max(self.sampler.n_active, most_true))
        labels, n_true = np.empty((n_rows, capacity), dtype=np.int64), np.empty(n_rows, dtype=np.int64)
        if index is not None and counters[ROWS] >= counters[DUE]:
            self._rebuild(weights, index.tables, counters, n_jobs)
        drawing = sampled.Drawing(
            true=Pattern(offsets, indices),
            y=Pattern(offsets, recent[: int(counters[TRUE_LABELS])]),
            sampler=self.sampler,
            index=index,
            seed=self.seed,
            number=int(counters[ROWS]),
        )
        vectors = h if h.dtype == np.float32 else h.astype(np.float32)
        form = type(index and index.hasher), type(index and index.selection)

        def part(start, stop):
            scratch = take(self._unused, lambda: self._scratch(capacity, index))
            if len(scratch.active.labels) < capacity:
                scratch = self._scratch(capacity, index)
            wrong = kernels.draw_active(form, drawing, vectors, start, stop, scratch, labels, n_true)
            self._unused.append(scratch)
            return wrong

        work = capacity * 20 + (h.shape[1] * 20 if index else 0)
        wrong = max(run_rows(part, n_rows, n_jobs, work))
        if wrong >= 0:
            refuse_labels(indices, offsets, wrong, self.n_labels)
        if torch.is_grad_enabled():
            remember(indices, recent, counters)
            counters[ROWS] += n_rows
        return labels, n_true

    def _scratch(self, capacity, index):
        return sampled.make_draw_scratch(self.n_labels, capacity, index)

    def _rebuild(self, weights, tables, counters, n_jobs):
        """Rebuild the tables, aside: other threads and processes may read or rebuild them meanwhile."""
        n_builds = int(counters[BUILDS])
        schedule = RehashSchedule(self.interval * self.growth**n_builds, self.growth, int(counters[DUE]))
        schedule.advance(int(counters[ROWS]))
        counters[DUE], counters[BUILDS] = int(np.ceil(schedule.due)), n_builds + 1
        built = allocate_tables(self.hasher, self.n_labels)
        rebuild_tables(weights.astype(np.float32, copy=False), self.hasher, built, n_jobs)
        tables.offsets[:], tables.ids[:] = built


def remember(indices, recent, counters):
    """Write true labels over the oldest of those that are remembered, recent, int32 (n,)."""
    room = len(recent)
    if not room:
        return
    indices = indices[-room:]
    kernels.remember(None, indices, recent, int(counters[TRUE_LABELS]) % room)
    counters[TRUE_LABELS] += len(indices)
