"""
Train a layer of PyTorch in several processes
=============================================

Train one layer by several processes at once, without locks.

This is Hogwild, as in PyTorch's own example: a model in shared memory. ``share_memory()`` shares the weights
of ``SlideLinear``, the state of its fused optimizer and its hash tables. Run it with

    python examples/torch_hogwild.py [number of processes]

It needs PyTorch: ``pip install "sklearn-slide[torch]"``.
"""

import sys
import time

try:
    import torch
    from torch import nn
except ImportError:
    sys.exit('Skipped: PyTorch is not installed. pip install "sklearn-slide[torch]"')

from sklearn_slide.datasets import make_xmc_classification
from sklearn_slide.metrics import precision_at_k
from sklearn_slide.torch import SlideLinear, slide_loss

N_UNITS, BATCH_SIZE, RATE, N_EPOCHS = 64, 32, 0.1, 3


def hidden_vectors(embedding, X):
    """Compute the first layer of CSR rows."""
    indices, offsets = (torch.from_numpy(part).long() for part in (X.indices, X.indptr[:-1]))
    return embedding(indices, offsets, per_sample_weights=torch.from_numpy(X.data))


def train(rank, n_processes, embedding, layer, X, Y):
    """Train on the rows of one process: every n_processes-th, from rank on."""
    torch.set_num_threads(1)
    X, Y = X[rank::n_processes], Y[rank::n_processes]
    optimizer = torch.optim.SGD(embedding.parameters(), RATE)
    n_steps = N_EPOCHS * -(-X.shape[0] // BATCH_SIZE)
    for step in range(n_steps):
        rate = RATE * (1 - step / n_steps)
        optimizer.param_groups[0]["lr"] = rate
        layer.set_learning_rate(rate)
        start = step * BATCH_SIZE % X.shape[0]
        x, y = X[start : start + BATCH_SIZE], Y[start : start + BATCH_SIZE]
        target = torch.from_numpy(y.indices), torch.from_numpy(y.indptr)
        optimizer.zero_grad()
        slide_loss(layer(hidden_vectors(embedding, x), target), reduction="sum").backward()
        optimizer.step()


def main():
    n_processes = int(sys.argv[1]) if len(sys.argv) > 1 else 2
    X, Y = make_xmc_classification(24_000, 20_000, 10_000, random_state=0)
    train_rows, test_rows = slice(0, 20_000), slice(20_000, None)
    torch.manual_seed(0)
    embedding = nn.EmbeddingBag(X.shape[1], N_UNITS, mode="sum", sparse=True)
    nn.init.normal_(embedding.weight, std=1 / N_UNITS**0.5)
    layer = SlideLinear(N_UNITS, Y.shape[1], random_state=0).fuse_optimizer(RATE)
    embedding.share_memory()
    layer.share_memory()
    start = time.perf_counter()
    arguments = n_processes, embedding, layer, X[train_rows], Y[train_rows]
    torch.multiprocessing.spawn(train, args=arguments, nprocs=n_processes)
    with torch.no_grad():
        labels = layer.top_k(hidden_vectors(embedding, X[test_rows]), 5).indices.numpy()
    seconds = time.perf_counter() - start
    print(f"{n_processes} processes: {seconds:.0f} s, their start included; P@1 on held-out rows", end=" ")
    print(f"{100 * precision_at_k(Y[test_rows], labels, k=1):.1f} %")


if __name__ == "__main__":
    main()
