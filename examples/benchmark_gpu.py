"""Time to accuracy of this classifier on a CPU, by number of threads, and of a dense network on a GPU.

``python examples/benchmark_gpu.py FOLDER [--threads 1 2 ...]`` trains ``SlideClassifier`` with each number of
threads, and a dense network of PyTorch with the same number of hidden units on the GPU, in turns, and writes
docs/benchmarks/gpu.rst; ``--quick`` tries it on few samples, on the CPU where there is no
GPU, and only prints the page. See benchmark_choices.py for the data and what is held out.
"""

import time
from statistics import median

import numpy as np
import torch
from benchmark_choices import FEWER, MANY, judged_sentence, load_data, make_parser, paragraphs
from benchmarking import machine, rst_table, write_page

from sklearn_slide import SlideClassifier
from sklearn_slide.metrics import precision_at_k

N_REPEATS, N_UNITS, TOP = 2, 256, 5
# parts of an epoch, then whole ones: a model of this classifier is trained anew for each point
EPOCHS = (0.25, 0.5, 1, 3)
GOALS = {FEWER: 70.0, MANY: 33.0}
# batch size and learning rate of Adam; the first was chosen on held-out rows for two threads of a CPU, the
# others are larger batches, as GPUs like them, with the rates that go with them
DENSE = ((128, 0.003), (512, 0.006), (2048, 0.01))
DENSE_EPOCHS, DENSE_SECONDS = 5, 10.0

PAGE = """
A CPU beside a GPU
==================

The papers on SLIDE compare a CPU with a GPU that trains the dense network. Here ``SlideClassifier`` with its
defaults and ``max_iter`` of 1 or 3, or a part of the rows for less than an epoch, stands beside a dense
network of PyTorch: ``EmbeddingBag`` to {n_units} units, ReLU, ``Linear`` to all labels, binary cross-entropy
of all of them, Adam in float32 with TF32 products, batches of {batches}. Rows are copied to the GPU batch by
batch. Seconds are wall time of training, with the set-up, without compilation or the first step; medians of
{n_repeats} runs that take turns, with different seeds.

{judged}

{text}

{table}
{machine}; {gpu}, PyTorch {torch}

Made by ``python examples/benchmark_gpu.py FOLDER{options}``.
"""


class Dense(torch.nn.Module):
    """The dense network; the first biases are the log odds of the labels."""

    def __init__(self, data):
        super().__init__()
        (n_samples, n_features), n_labels = data.X.shape, data.Y.shape[1]
        self.hidden = torch.nn.EmbeddingBag(n_features, N_UNITS, mode="sum", include_last_offset=True)
        self.bias = torch.nn.Parameter(torch.zeros(N_UNITS))
        self.output = torch.nn.Linear(N_UNITS, n_labels)
        share = (np.bincount(data.Y.indices, minlength=n_labels) + 0.5) / (n_samples + 1)
        with torch.no_grad():
            self.output.bias.copy_(torch.from_numpy(np.log(share / (1 - share))))

    def forward(self, X, device):
        indices, offsets, values = (
            torch.from_numpy(part).to(device) for part in (X.indices, X.indptr, X.data)
        )
        return self.output(torch.relu(self.hidden(indices, offsets, per_sample_weights=values) + self.bias))


def dense_step(network, optimizer, X, Y, device):
    """Make a step on a batch, CSR X and Y."""
    optimizer.zero_grad(set_to_none=True)
    logits, targets = network(X, device), torch.zeros(Y.shape, device=device)
    rows = np.repeat(np.arange(Y.shape[0]), np.diff(Y.indptr))
    targets[torch.from_numpy(rows).to(device), torch.from_numpy(Y.indices).long().to(device)] = 1
    loss = torch.nn.functional.binary_cross_entropy_with_logits(logits, targets, reduction="sum")
    (loss / Y.shape[0]).backward()
    optimizer.step()


@torch.inference_mode()
def dense_precision(network, data, device):
    starts = range(0, data.X_held.shape[0], 512)
    tops = [network(data.X_held[s : s + 512], device).topk(TOP, dim=1).indices.cpu().numpy() for s in starts]
    return precisions(data, np.vstack(tops))


def precisions(data, labels):
    return [100 * precision_at_k(data.Y_held, labels, k=k) for k in (1, 3, 5)]


def wait(device):
    """Let the GPU finish what it was given."""
    if device == "cuda":
        torch.cuda.synchronize()


def dense_curve(data, batch, rate, seed, device):
    """Train the dense network; return points (seconds, epochs, P@1, P@3, P@5), each a third later."""
    torch.manual_seed(seed)
    rng, n = np.random.default_rng(seed), data.X.shape[0]
    network = Dense(data).to(device)
    optimizer = torch.optim.Adam(network.parameters(), lr=rate, fused=True)
    dense_step(network, torch.optim.SGD(network.parameters(), lr=0.0), data.X[:batch], data.Y[:batch], device)
    points, spent, done, due = [], 0.0, 0, 0.2
    while done < DENSE_EPOCHS * n and spent < DENSE_SECONDS:
        order = rng.permutation(n)
        for start in range(0, n, batch):
            wait(device)
            begin = time.perf_counter()
            rows = order[start : start + batch]
            dense_step(network, optimizer, data.X[rows], data.Y[rows], device)
            wait(device)
            spent += time.perf_counter() - begin
            done += len(rows)
            last = done >= DENSE_EPOCHS * n or spent >= DENSE_SECONDS
            if spent >= due or last:
                points.append((spent, done / n, *dense_precision(network, data, device)))
                due = 4 / 3 * spent
            if last:
                break
    return points


def our_curve(data, n_threads, seed):
    """Train a classifier for each point; return points as dense_curve does."""
    points = []
    for epochs in EPOCHS:
        n = int(min(epochs, 1) * data.X.shape[0])
        model = SlideClassifier(max_iter=max(1, int(epochs)), n_jobs=n_threads, random_state=seed)
        begin = time.perf_counter()
        model.fit(data.X[:n], data.Y[:n])
        spent = time.perf_counter() - begin
        points.append((spent, epochs, *precisions(data, model.predict_top_k(data.X_held, k=TOP)[0])))
    return points


def seconds_to(goal, points):
    """Return the seconds of the first point that reaches the goal, or infinity."""
    return min((point[0] for point in points if point[2] >= goal), default=np.inf)


def measure_all(data, threads, device):
    """Return {(data set, name): [points of each repeat]}."""
    runs = {f"{n} thread{'s' * (n > 1)}": lambda one, seed, n=n: our_curve(one, n, seed) for n in threads}
    for batch, rate in DENSE:
        runs[f"dense, batches of {batch}"] = lambda one, seed, b=batch, r=rate: dense_curve(
            one, b, r, seed, device
        )
    found = {(name, run): [] for name in data for run in runs}
    our_curve(data[next(iter(data))]._replace(), threads[0], 0)  # compiles the kernels
    for seed in range(N_REPEATS):
        for name, run in found:
            found[name, run].append(runs[run](data[name], seed))
            seconds, epochs, *precision = found[name, run][-1][-1]
            print(name, run, f"{seconds:.2f} s", f"{epochs:.2f} epochs", *precision, flush=True)
    return found


def compare(data, found):
    """Return a sentence for each data set: the soonest run of either kind at the goal."""
    lines = []
    for name in data:
        times = {
            run: median(seconds_to(GOALS[name], points) for points in curves)
            for (one, run), curves in found.items()
            if one == name
        }
        ours, dense = (
            min((run for run in times if run.startswith("dense") == kind), key=times.get)
            for kind in (False, True)
        )
        line = f"*{name}*: P@1 of {GOALS[name]:.0f} takes {times[ours]:.2f} seconds with {ours}"
        if np.isfinite(times[dense]):
            batches = dense.removeprefix("dense, ")
            line += f", and {times[dense]:.2f} on the GPU with {batches}."
        else:
            line += (
                f"; the dense network did not reach it in {DENSE_EPOCHS} epochs or {DENSE_SECONDS:.0f} "
                "seconds, whichever came first."
            )
        lines.append(line)
    return lines


def page(data, found, device, options):
    rows = []
    for (name, run), curves in found.items():
        reached = median(seconds_to(GOALS[name], points) for points in curves)
        last = np.median([points[-1] for points in curves], axis=0)
        cells = [f"{last[1]:.2g}", f"{last[0]:.2f}", *(f"{value:.1f}" for value in last[2:])]
        rows.append([name, run, f"{reached:.2f}" if np.isfinite(reached) else "never", *cells])
    return PAGE.format(
        n_units=N_UNITS,
        batches=", ".join(str(batch) for batch, _ in DENSE),
        n_repeats=N_REPEATS,
        judged=paragraphs([judged_sentence(data)]),
        text=paragraphs(compare(data, found)),
        table=rst_table(["data set", "run", "s to the goal", "epochs", "s", "P@1", "P@3", "P@5"], rows),
        machine=machine(),
        gpu=torch.cuda.get_device_name() if device == "cuda" else "no GPU",
        torch=torch.__version__,
        options=" --threads " + " ".join(map(str, options.threads)),
    )


def main():
    parser = make_parser(__doc__)
    parser.add_argument("--threads", nargs="+", type=int, default=[1, 2], help="numbers of threads")
    options = parser.parse_args()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    if device == "cpu" and not options.quick:
        parser.error("there is no GPU that PyTorch can use; --quick tries the script without one")
    torch.backends.cuda.matmul.allow_tf32 = True
    data = load_data(options)
    found = measure_all(data, options.threads, device)
    text = page(data, found, device, options)
    if options.quick:
        print(text)
    else:
        write_page("gpu", text)


if __name__ == "__main__":
    main()
