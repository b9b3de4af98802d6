"""Ways to put samples through a sampled output layer: kernels of sklearn_slide, and functions of PyTorch.

Those of PyTorch need it to be installed. Limit the threads before this module is imported.
"""

import time
from functools import partial
from itertools import pairwise

import numpy as np
from benchmarking import callable_kernel

from sklearn_slide._core.layers import Activity, Layer, backward_output, score_labels
from sklearn_slide._core.losses import LOSSES, compute_residuals
from sklearn_slide._first_weights import start_layer

try:
    import torch
except ImportError:
    torch = None

N_UNITS, N_TRUE = 128, 5
RATE = np.float32(1e-9)  # the weights stay as they are, so that every pass does the same work
KERNELS, GATHER, TUNED, LOOP = "kernels", "gather", "tuned gather", "loop"


@callable_kernel
def score_chunk(h, active, layer, logits):
    """Score the labels active[s] of each sample s; h float32 (n, n_units), active int32 (n, n_active)."""
    for s in range(h.shape[0]):
        score_labels(h[s], active[s], active.shape[1], layer, logits[s])


@callable_kernel
def train_chunk(h, active, layer, state, loss, logits, gradients):
    """Score, compare and update the labels of each sample in turn; gradients float32, as h, by the h."""
    n_active = active.shape[1]
    residuals, one = np.empty(n_active, dtype=np.float32), np.ones(1, dtype=np.float32)
    no_units = np.empty(0, dtype=np.int32)  # they are for hidden layers
    for s in range(h.shape[0]):
        score_labels(h[s], active[s], n_active, layer, logits[s])
        compute_residuals(loss, logits[s], active[s], n_active, N_TRUE, residuals)
        activity = Activity(h[s : s + 1], gradients[s : s + 1], no_units, one)
        backward_output(active[s], n_active, residuals, layer, state, RATE, activity)


class Problem:
    """One layer, and the samples to put through it: hidden vectors and distinct random labels of each."""

    def __init__(self, n_labels, n_active, weights, n_samples):
        rng = np.random.default_rng(0)
        self.n_labels, self.n_active, self.n_samples = n_labels, n_active, n_samples
        self.weights, self.biases = weights[:n_labels], np.zeros((n_labels, 1), dtype=np.float32)
        self.h = rng.standard_normal((n_samples, N_UNITS), dtype=np.float32) / 8
        self.active = np.array([rng.choice(n_labels, n_active, replace=False) for _ in range(n_samples)])
        self.active_int32 = self.active.astype(np.int32)
        self.logits = np.zeros((n_samples, n_active), dtype=np.float32)
        self.gradients = np.zeros((n_samples, N_UNITS), dtype=np.float32)
        if torch is not None:
            arrays = self.weights, self.biases[:, 0], self.h, self.active, self.logits, self.gradients
            self.tensors = [torch.from_numpy(array) for array in arrays]


class Kernels:
    """The kernels of sklearn_slide, a thread for each chunk of samples; the update is row-wise Adagrad."""

    def __init__(self, problem, n_threads, batch_size):
        self.problem, self.n_threads = problem, n_threads
        self.layer = Layer(problem.weights, problem.biases)
        self.state, self.loss = start_layer(self.layer, "adagrad", 0.5), LOSSES["sigmoid"](None)

    def prepare(self, pool):
        self.pool = pool

    def run(self, chunk, training):
        p = self.problem
        h, active, logits = p.h[chunk], p.active_int32[chunk], p.logits[chunk]
        if training:
            train_chunk(h, active, self.layer, self.state, self.loss, logits, p.gradients[chunk])
        else:
            score_chunk(h, active, self.layer, logits)

    def forward(self, training=False):
        bounds = np.linspace(0, self.problem.n_samples, self.n_threads + 1).astype(int)
        chunks = [slice(start, stop) for start, stop in pairwise(bounds)]
        list(self.pool.map(partial(self.run, training=training), chunks))

    def training(self):
        self.forward(training=True)


class Loop(Kernels):
    """PyTorch in the same threads, a sample at a time, by formulas instead of autograd; the update is SGD.

    index_select and scatter_add_ were the fastest of PyTorch's functions that gather and update rows.
    """

    def __init__(self, problem, n_threads, batch_size):
        self.problem, self.n_threads = problem, n_threads
        self.residual_shift = torch.zeros(problem.n_active)
        self.residual_shift[:N_TRUE] = 1

    def prepare(self, pool):
        self.pool = pool
        torch.set_num_threads(1)
        list(pool.map(lambda _: (torch.set_num_threads(1), time.sleep(0.01)), range(self.n_threads)))

    @(torch.no_grad() if torch is not None else lambda method: method)
    def run(self, chunk, training):
        weight, bias, h, active, logits, gradients = self.problem.tensors
        for s in range(chunk.start, chunk.stop):
            rows = weight.index_select(0, active[s])
            z = torch.addmv(bias.index_select(0, active[s]), rows, h[s])
            logits[s] = z
            if training:
                r = z.sigmoid_().sub_(self.residual_shift)
                gradients[s] = r @ rows
                r.mul_(-RATE)
                steps = torch.outer(r, h[s])
                weight.scatter_add_(0, active[s, :, None].expand(-1, N_UNITS), steps)
                bias.index_add_(0, active[s], r)


class Gather:
    """PyTorch on batches: rows by advanced indexing, ``weight[active]``, and bmm; the update is SGD.

    Autograd differentiates by the gathered rows and index_add_ brings their gradients back, so that no
    gradient of the size of the layer arises.
    """

    def __init__(self, problem, n_threads, batch_size):
        self.problem, self.n_threads = problem, n_threads
        self.batch_size = batch_size
        starts = range(0, problem.n_samples, batch_size)
        self.batches = [slice(start, start + batch_size) for start in starts]
        self.target = torch.zeros(batch_size, problem.n_active)
        self.target[:, :N_TRUE] = 1

    def prepare(self, pool):
        torch.set_num_threads(self.n_threads)

    def forward(self):
        weight, bias, h, active, logits, _ = self.problem.tensors
        with torch.no_grad():
            for b in self.batches:
                torch.baddbmm(
                    bias[active[b]][:, :, None], weight[active[b]], h[b, :, None], out=logits[b, :, None]
                )

    def gather(self):
        weight, _, _, active, _, _ = self.problem.tensors
        for b in self.batches:
            weight[active[b]]

    def training(self):
        weight, bias, h, active, logits, gradients = self.problem.tensors
        for b in self.batches:
            rows, row_biases = weight[active[b]].requires_grad_(), bias[active[b]].requires_grad_()
            inputs = h[b].clone().requires_grad_()
            z = torch.baddbmm(row_biases[:, :, None], rows, inputs[:, :, None])[:, :, 0]
            torch.nn.functional.binary_cross_entropy_with_logits(z, self.target, reduction="sum").backward()
            with torch.no_grad():
                labels = active[b].reshape(-1)
                weight.index_add_(0, labels, rows.grad.view(-1, N_UNITS), alpha=-RATE)
                bias.index_add_(0, labels, row_biases.grad.view(-1), alpha=-RATE)
                logits[b], gradients[b] = z, inputs.grad


class Tuned(Gather):
    """The same by formulas: index_select into a buffer that is kept, and scatter_add_ for the update."""

    def __init__(self, problem, n_threads, batch_size):
        super().__init__(problem, n_threads, batch_size)
        self.rows = torch.empty(batch_size, problem.n_active, N_UNITS)
        self.steps = torch.empty(batch_size, problem.n_active, N_UNITS)

    @(torch.no_grad() if torch is not None else lambda method: method)
    def forward(self, training=False):
        weight, bias, h, active, logits, gradients = self.problem.tensors
        for b in self.batches:
            labels, z = active[b].reshape(-1), logits[b, :, None]
            torch.index_select(weight, 0, labels, out=self.rows.view(-1, N_UNITS))
            row_biases = bias.index_select(0, labels).view(z.shape)
            torch.baddbmm(row_biases, self.rows, h[b, :, None], out=z)
            if training:
                r = torch.sigmoid(z[:, :, 0]).sub_(self.target)
                torch.bmm(r[:, None], self.rows, out=gradients[b, None])
                r.mul_(-RATE)
                torch.mul(r[:, :, None], h[b, None], out=self.steps)
                weight.scatter_add_(0, labels[:, None].expand(-1, N_UNITS), self.steps.view(-1, N_UNITS))
                bias.index_add_(0, labels, r.view(-1))

    def training(self):
        self.forward(training=True)


METHODS = {KERNELS: Kernels, GATHER: Gather, TUNED: Tuned, LOOP: Loop}
