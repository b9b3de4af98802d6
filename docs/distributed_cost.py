"""Draw docs/images/distributed_cost.png: the seconds of an epoch on many machines, on paper.

python docs/distributed_cost.py
"""

from pathlib import Path

import matplotlib
import numpy as np

matplotlib.use("Agg")
from matplotlib import pyplot as plt

# Ten million labels, a hundred million rows of 324 bytes (40 features, one label), 256 units, a network of 10
# Gbit/s, and a thread that trains 4,000 samples a second on 400 active labels.
N_LABELS, N_ROWS, ROW_BYTES, N_UNITS, NETWORK, RATE = 1e7, 1e8, 324, 256, 10e9 / 8, 4_000
# The part of the work that does not fall with the active labels: a shard of 34 of them took a fifth of the
# time of 400.
FIXED = 0.2
# A barrier of a millisecond for each doubling of the workers.
THREADS, BATCH, BARRIER = 16, 500, 1e-3


def main():
    """Compute and draw the three curves."""
    workers = 2 ** np.arange(0, 9)
    # entries of the most frequent labels, by Zipf's law: the pilot's are the first 1 / workers of all
    pilot_entries = (np.log(N_LABELS / workers) + np.euler_gamma) / (np.log(N_LABELS) + np.euler_gamma)
    others = np.maximum(workers - 1, 1)
    shares = [(1 / workers + pilot_entries) / 2, (1 / workers + (1 - pilot_entries) / others) / 2]
    # the pilot goes before the others, which work side by side
    pilot, other = (N_ROWS / (RATE * THREADS) * (FIXED + (1 - FIXED) * share) for share in shares)
    compute = pilot + np.where(workers > 1, other, 0)
    rows = np.where(workers > 1, N_ROWS * ROW_BYTES / NETWORK, np.nan)
    # the other way: each row's hidden vector and its gradient, float32, with a barrier for each batch
    barriers = N_ROWS / BATCH * BARRIER * np.log2(workers)
    vectors = np.where(workers > 1, 2 * 4 * N_UNITS * N_ROWS / NETWORK + barriers, np.nan)
    _, ax = plt.subplots(figsize=(7, 4), layout="constrained")
    ax.loglog(workers, compute, marker="o", label="training, 16 threads a worker: the pilot, then the others")
    ax.loglog(workers, rows, marker="o", label="rows to each worker (label shards)")
    ax.loglog(workers, vectors, marker="o", label="hidden vectors, gradients and barriers instead")
    ax.set(
        xlabel="workers", ylabel="seconds an epoch", title="10 million labels, 100 million rows, 10 Gbit/s"
    )
    ax.set_xticks(workers, workers)
    ax.grid(alpha=0.3)
    ax.legend(frameon=False, loc="lower right", bbox_to_anchor=(1, 0.07))
    ax.spines[["top", "right"]].set_visible(False)
    plt.savefig(Path(__file__).parent / "images" / "distributed_cost.png", dpi=120)
    for n, *seconds in zip(workers, compute, rows, vectors, strict=True):
        print(n, *(f"{second:.0f}" for second in seconds))


if __name__ == "__main__":
    main()
