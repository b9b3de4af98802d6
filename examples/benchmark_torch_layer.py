"""Time a training step of SlideLinear beside what PyTorch offers for an output layer of very many labels.

``python examples/benchmark_torch_layer.py`` writes docs/benchmarks/torch_layer.rst and its picture;
``--quick`` tries it on small layers and only prints the page. With ``--data FOLDER`` the page also has whole
trainings on data sets there, through torch and by SlideClassifier.
"""

import argparse
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from benchmarking import image_path, limit_threads, load, machine, rst_table, write_page

limit_threads(1)  # before NumPy, Numba and PyTorch are imported

import matplotlib  # noqa: E402
import numpy as np  # noqa: E402
import torch  # noqa: E402
from torch import nn  # noqa: E402
from torch.nn import functional as F  # noqa: E402

from sklearn_slide import SlideClassifier  # noqa: E402
from sklearn_slide.metrics import precision_at_k  # noqa: E402
from sklearn_slide.torch import SlideLinear, slide_loss  # noqa: E402

matplotlib.use("Agg")
from matplotlib import pyplot as plt  # noqa: E402

N_UNITS, N_TRUE = 128, 5
RATE = 1e-9  # the weights stay as they are, so that every step does the same work
ROUNDS = 3
FUSED, COO, GATHER, LOOP, EMBEDDING, DENSE = (
    "SlideLinear, fused",
    "SlideLinear, COO, SGD",
    "gather + bmm",
    "Python threads",
    "F.embedding",
    "nn.Linear",
)
DENSE_LIMIT = 2**28  # scores of one batch


class Problem:
    """A batch of vectors, their true labels, and as many random active ones as the layer scores."""

    def __init__(self, n_labels, n_active, batch_size):
        rng = np.random.default_rng(0)
        self.n_labels, self.n_active, self.batch_size = n_labels, n_active, batch_size
        active = rng.integers(0, n_labels, (batch_size, n_active))
        self.active = torch.from_numpy(active)
        self.true = self.active[:, :N_TRUE].contiguous()
        self.bags = self.true.reshape(-1), torch.arange(0, batch_size * N_TRUE, N_TRUE)
        self.target = torch.zeros(batch_size, n_active)
        self.target[:, :N_TRUE] = 1
        self.h = torch.from_numpy(rng.standard_normal((batch_size, N_UNITS), dtype=np.float32) / 8)

    def inputs(self):
        return self.h.clone().requires_grad_()


class Slide:
    """The layer, which also chooses its active labels."""

    def __init__(self, problem, weights, fused):
        self.problem = problem
        layer = SlideLinear(N_UNITS, problem.n_labels, n_active=problem.n_active, random_state=0)
        layer.weight.data = weights
        self.layer, self.optimizer = layer, None
        if fused:
            layer.fuse_optimizer(RATE)
        else:
            self.optimizer = torch.optim.SGD(layer.parameters(), RATE)
        start = time.process_time()
        layer(problem.h, problem.bags)
        self.rebuild = (time.process_time() - start) / layer.active.interval

    def step(self):
        slide_loss(self.layer(self.problem.inputs(), self.problem.bags), reduction="sum").backward()
        if self.optimizer is not None:
            self.optimizer.step()
            self.optimizer.zero_grad()


class Gather:
    """Rows by advanced indexing, ``weight[active]``, and bmm; index_add_ adds the gradients of the copies."""

    rebuild = 0.0

    def __init__(self, problem, weights):
        self.problem, self.weight, self.bias = problem, weights, torch.zeros(problem.n_labels)

    def step(self):
        p = self.problem
        h, rows, biases = p.inputs(), self.weight[p.active], self.bias[p.active]
        rows.requires_grad_()
        biases.requires_grad_()
        z = torch.baddbmm(biases[:, :, None], rows, h[:, :, None])[:, :, 0]
        F.binary_cross_entropy_with_logits(z, p.target, reduction="sum").backward()
        labels = p.active.reshape(-1)
        self.weight.index_add_(0, labels, rows.grad.view(-1, N_UNITS), alpha=-RATE)
        self.bias.index_add_(0, labels, biases.grad.view(-1), alpha=-RATE)


class Loop(Gather):
    """A Python thread for each half of the batch, a sample at a time."""

    def __init__(self, problem, weights):
        super().__init__(problem, weights)
        self.pool, self.gradients = ThreadPoolExecutor(2), torch.empty_like(problem.h)

    @torch.no_grad()
    def part(self, rows):
        p = self.problem
        for s in rows:
            weights = self.weight[p.active[s]]
            r = torch.sigmoid(weights @ p.h[s] + self.bias[p.active[s]]) - p.target[s]
            self.gradients[s] = r @ weights
            self.weight.index_add_(0, p.active[s], torch.outer(r, p.h[s]), alpha=-RATE)
            self.bias.index_add_(0, p.active[s], r, alpha=-RATE)

    def step(self):
        n = self.problem.batch_size
        list(self.pool.map(self.part, (range(n // 2), range(n // 2, n))))


class Embedding:
    """The rows by F.embedding with sparse gradients, and SGD."""

    rebuild = 0.0

    def __init__(self, problem, weights):
        self.problem = problem
        self.weight = nn.Parameter(weights)
        self.bias = nn.Parameter(torch.zeros(problem.n_labels, 1))
        self.optimizer = torch.optim.SGD([self.weight, self.bias], RATE)

    def step(self):
        p = self.problem
        rows, biases = (F.embedding(p.active, part, sparse=True) for part in (self.weight, self.bias))
        z = torch.baddbmm(biases, rows, p.inputs()[:, :, None])[:, :, 0]
        F.binary_cross_entropy_with_logits(z, p.target, reduction="sum").backward()
        self.optimizer.step()
        self.optimizer.zero_grad()


class Dense:
    """nn.Linear, all labels, and SGD."""

    rebuild = 0.0

    def __init__(self, problem, weights):
        self.problem = problem
        self.linear = nn.Linear(N_UNITS, 1, device="meta")
        self.linear.weight = nn.Parameter(weights)
        self.linear.bias = nn.Parameter(torch.zeros(problem.n_labels))
        self.optimizer = torch.optim.SGD(self.linear.parameters(), RATE)

    def step(self):
        p = self.problem
        target = torch.zeros(p.batch_size, p.n_labels).scatter_(1, p.true, 1.0)
        F.binary_cross_entropy_with_logits(self.linear(p.inputs()), target, reduction="sum").backward()
        self.optimizer.step()
        self.optimizer.zero_grad()


def measure(n_labels, n_active, batch_size, weights):
    """Return the microseconds of CPU time a sample of each way, the medians of rounds that take turns."""
    problem, weights = Problem(n_labels, n_active, batch_size), weights[:n_labels]
    ways = {FUSED: Slide(problem, weights, True), COO: Slide(problem, weights, False)}
    ways |= {GATHER: Gather(problem, weights), LOOP: Loop(problem, weights)}
    ways[EMBEDDING] = Embedding(problem, weights)
    if n_labels * batch_size <= DENSE_LIMIT:
        ways[DENSE] = Dense(problem, weights)
    times, n_steps = {name: [] for name in ways}, {}
    for name, way in ways.items():
        way.step()
        start = time.process_time()
        way.step()
        n_steps[name] = max(1, int(0.05 / (time.process_time() - start)))
    for _ in range(ROUNDS):
        for name, way in ways.items():
            start = time.process_time()
            for _ in range(n_steps[name]):
                way.step()
            seconds = (time.process_time() - start) / n_steps[name] / batch_size
            times[name].append(1e6 * (seconds + way.rebuild))
    return {name: float(np.median(values)) for name, values in times.items()}


def train_both(folder, name, batch_sizes, n_rows):
    """Return rows of a table: a network trained by the estimator and through torch, on n_rows rows or all."""
    X, Y, X_test, Y_test = load(folder, name, held_out=True)
    X, Y = X[:n_rows], Y[:n_rows]
    params = {"hidden_layer_sizes": (N_UNITS,), "direct_limit": 0, "loss": "sigmoid", "random_state": 0}
    params |= {"negatives": {"lsh": 0.6, "frequency": 0.3, "uniform": 0.1}, "max_iter": 2}
    params["early_stopping"] = False  # which adds a ridge regression, and the layer knows nothing of it
    model = SlideClassifier(**params, n_active=400)
    model.fit(X[:100], Y[:100])  # compiles
    # a fit at a learning rate of next to nothing leaves the first weights
    first = SlideClassifier(**params | {"max_iter": 1}, n_active=1, learning_rate_init=1e-30).fit(X, Y)
    rows = []
    for batch_size in (None, *batch_sizes, None):
        start = time.process_time()
        if batch_size is None:
            model.fit(X, Y)
            seconds = time.process_time() - start
            labels = model.predict_top_k(X_test, k=1)[0]
        else:
            hidden, layer = train(first, X, Y, batch_size, n_epochs=2)
            seconds = time.process_time() - start
            with torch.no_grad():
                labels = layer.top_k(hidden(X_test), 1).indices.numpy()
        what = "SlideClassifier" if batch_size is None else f"torch, batches of {batch_size}"
        precision = 100 * precision_at_k(Y_test, labels, k=1)
        rows.append([name, what, f"{precision:.1f}", f"{1e6 * seconds / (2 * X.shape[0]):.0f}"])
        print(*rows[-1], flush=True)
    return rows


class HiddenLayer(nn.Module):
    """The hidden layer of a classifier, for CSR rows."""

    def __init__(self, weights, biases):
        super().__init__()
        weights = torch.from_numpy(weights.copy())
        self.weights = nn.EmbeddingBag.from_pretrained(weights, freeze=False, mode="sum", sparse=True)
        self.biases = nn.Parameter(torch.from_numpy(biases.copy()))

    def forward(self, X):
        indices, offsets = (torch.from_numpy(part).long() for part in (X.indices, X.indptr[:-1]))
        return self.weights(indices, offsets, per_sample_weights=torch.from_numpy(X.data)) + self.biases


def train(first, X, Y, batch_size, n_epochs, rate=0.1):
    """Train the network of a classifier's first weights: a hidden layer and the fused layer."""
    hidden = HiddenLayer(first.coefs_[0], first.intercepts_[0])
    layer = SlideLinear.from_estimator(first, n_active=400).fuse_optimizer(rate)
    optimizer = torch.optim.Adagrad(hidden.parameters(), rate, initial_accumulator_value=0.1)
    n_steps = n_epochs * -(-X.shape[0] // batch_size)
    schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.0, n_steps)
    for epoch in range(n_epochs):
        order = np.random.default_rng((0, epoch)).permutation(X.shape[0])
        for start in range(0, len(order), batch_size):
            x, y = (part[order[start : start + batch_size]] for part in (X, Y))
            target = torch.from_numpy(y.indices), torch.from_numpy(y.indptr)
            loss = slide_loss(layer(hidden(x), target), reduction="sum", floor=1e-3)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            layer.set_learning_rate(schedule.get_last_lr()[0])
    return hidden, layer


def draw(results, path):
    """Draw the times against the batch size, a panel for each number of labels and of active ones."""
    labels, active = (sorted({case[i] for case in results}) for i in (0, 1))
    shape = {"figsize": (4 * len(labels), 3.2 * len(active)), "sharex": True, "squeeze": False}
    figure, grid = plt.subplots(len(active), len(labels), layout="constrained", **shape)
    for row, n_active in zip(grid, active, strict=True):
        for axes, n_labels in zip(row, labels, strict=True):
            cases = sorted(case for case in results if case[:2] == (n_labels, n_active))
            for number, name in enumerate((FUSED, COO, GATHER, LOOP, EMBEDDING, DENSE)):
                points = [(case[2], results[case][name]) for case in cases if name in results[case]]
                if points:
                    axes.plot(*zip(*points, strict=True), "o-", color=f"C{number}", label=name)
            axes.set(xscale="log", yscale="log", title=f"{n_labels:,} labels, {n_active:,} active")
            axes.set_xticks([case[2] for case in cases], [str(case[2]) for case in cases])
            axes.minorticks_off()
            axes.grid(alpha=0.3)
        row[0].set_ylabel("CPU microseconds a sample")
    for axes in grid[-1]:
        axes.set_xlabel("batch size")
    figure.legend(*grid[0, 0].get_legend_handles_labels(), loc="outside upper center", ncols=3)
    figure.savefig(path, dpi=100)
    plt.close(figure)


PAGE = """
An output layer in PyTorch
==========================

A training step of an output layer with rows of {n_units} weights, in CPU microseconds a sample, one thread:
forward, binary cross-entropy of the active labels, backward to the input, and the update; see :doc:`/torch`.

- *SlideLinear, fused*: the layer with ``fuse_optimizer``; *COO, SGD*: with sparse gradients and
  ``torch.optim.SGD``. Both choose the active labels themselves, by hash tables and draws; their share of
  rebuilding the tables is added.
- *gather + bmm*: ``weight[active]`` and ``baddbmm``, autograd by the copies, ``index_add_``; *Python
  threads*: two threads, a sample at a time, by formulas. They are the two attempts of the question. Their
  active labels are given, as for
- *F.embedding*: with ``sparse=True``, ``baddbmm`` and SGD.
- *nn.Linear*: all labels, and SGD. It is left out where a batch has more than {limit:,} scores.

The update is SGD but for *fused*, which is row-wise Adagrad. Medians of {rounds} rounds that take turns.

.. image:: ../images/{image}
   :alt: CPU microseconds a sample against the batch size, for several sizes, on logarithmic axes

{text}

{table}
Hardly any work is in a step with one row and {call}: what it takes is that of a call.
{training}
{machine}

Made by ``python examples/benchmark_torch_layer.py{options}``.
"""

TRAINING = """
A whole training
----------------

The network of ``SlideClassifier`` with 128 hidden units, without direct weights and early stopping, trained
for two epochs on {rows}: by the estimator, and as ``nn.EmbeddingBag`` and biases, torch's Adagrad and the
fused layer, from the same first weights, with the same sources of active labels and the same falling rate.
P@1 on held-out training rows in percent, CPU microseconds a sample, with one thread. The estimator stands
first and last.

"""


def page(results, call, training, image, options, n_rows):
    rows, names = [], (FUSED, COO, GATHER, LOOP, EMBEDDING, DENSE)
    behind = []
    for case, found in sorted(results.items()):
        cells = [f"{found[name]:.0f}" if name in found else "-" for name in names]
        fastest = min(found, key=found.get)
        cells[names.index(fastest)] = f"**{found[fastest]:.0f}**"
        rows.append([f"{case[0]:,}", f"{case[1]:,}", case[2], *cells])
        others = [found[name] for name in names[2:] if name in found]
        if found[FUSED] > min(others):
            behind.append(f"{case[0]:,} x {case[1]:,} in batches of {case[2]}")
    n_ahead = len(results) - len(behind)
    text = f"The fused layer is faster than every other way in {n_ahead} of {len(results)} cases"
    text += f", and behind at {'; '.join(behind)}." if behind else "."
    table = rst_table(["labels", "active", "batch", *names], rows)
    if training:
        what = f"{n_rows:,} rows" if n_rows else "all rows"
        training = TRAINING.format(rows=what) + rst_table(["data", "way", "P@1", "CPU us"], training)
    return PAGE.format(
        n_units=N_UNITS,
        limit=DENSE_LIMIT,
        rounds=ROUNDS,
        image=image,
        text=text,
        table=table,
        call=call,
        training=training or "",
        machine=machine(("numpy", "numba", "torch", "sklearn-slide")),
        options=options,
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="small layers; only print the page")
    parser.add_argument("--largest", type=int, default=1_000_000, help="leave larger layers out")
    parser.add_argument("--data", metavar="FOLDER", help="where debian-deps-min2 and wordnet-related lie")
    parser.add_argument("--rows", type=int, default=12_000, help="so many rows of them; 0 for all")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    labels, active, batches = (10_000, 100_000, 1_000_000), (100, 400, 2000), (8, 64, 1024)
    if arguments.quick:
        labels, active, batches = (2000, 10_000), (100, 400), (8, 64)
    labels = [n_labels for n_labels in labels if n_labels <= arguments.largest]
    weights = torch.randn(max(labels), N_UNITS) / 11
    measure(2000, 100, 8, weights)  # compiles, or loads what was compiled
    results = {}
    for case in ((n, a, b) for n in labels for a in active for b in batches):
        results[case] = measure(*case, weights)
        print(*case, {name: round(value) for name, value in results[case].items()}, flush=True)
    step = measure(1000, 10, 1, weights)
    call = ", ".join(f"{step[name]:.0f} ({name})" for name in (FUSED, COO, GATHER, EMBEDDING, DENSE))
    call = f"10 active of 1,000 labels, {call}"
    training = []
    for name in ("debian-deps-min2", "wordnet-related") if arguments.data else ():
        training += train_both(arguments.data, name, (32, 128), arguments.rows or None)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "quick.png" if arguments.quick else image_path("torch_layer", "times")
        draw(results, path)
        options = "" if arguments.largest == 1_000_000 else f" --largest {arguments.largest}"
        options += " --data FOLDER" * bool(arguments.data)
        options += f" --rows {arguments.rows}" * (arguments.rows != parser.get_default("rows"))
        text = page(results, call, training, path.name, options, arguments.rows)
    print(text) if arguments.quick else write_page("torch_layer", text)


if __name__ == "__main__":
    main()
