"""PyTorch: EmbeddingBag -> ReLU -> Linear over all labels, BCE or softmax, fused Adam."""

import math

import numpy as np
import torch
from job import THREADS, Job, rank

job = Job()
torch.set_num_threads(THREADS)
torch.manual_seed(0)
settings = job.settings
n_samples, n_features = job.X.shape
n_labels = job.Y.shape[1]


class Network(torch.nn.Module):
    """The network, with weights that are drawn and output biases that are the log odds of the labels."""

    def __init__(self):
        super().__init__()
        self.hidden = torch.nn.EmbeddingBag(
            n_features, settings["hidden"], mode="sum", include_last_offset=True
        )
        self.hidden_bias = torch.nn.Parameter(torch.zeros(settings["hidden"]))
        self.output = torch.nn.Linear(settings["hidden"], n_labels)
        with torch.no_grad():
            self.hidden.weight.mul_(settings["scale"])
            if settings["loss"] == "bce":
                # the log odds of the labels, so that training need not begin by learning that they are rare
                share = (np.bincount(job.Y.indices, minlength=n_labels) + 0.5) / (n_samples + 1)
                self.output.bias.copy_(torch.from_numpy(np.log(share / (1 - share))))

    def forward(self, X):
        indices, starts = torch.from_numpy(X.indices), torch.from_numpy(X.indptr)
        hidden = self.hidden(indices, starts, per_sample_weights=torch.from_numpy(X.data))
        return self.output(torch.relu(hidden + self.hidden_bias))


def loss_of(logits, Y):
    rows = np.repeat(np.arange(Y.shape[0]), np.diff(Y.indptr))
    targets = torch.zeros_like(logits)
    targets[torch.from_numpy(rows), torch.from_numpy(Y.indices).long()] = 1
    if settings["loss"] == "bce":
        total = torch.nn.functional.binary_cross_entropy_with_logits(logits, targets, reduction="sum")
        return total / Y.shape[0]
    targets /= targets.sum(dim=1, keepdim=True).clamp(min=1)
    return torch.nn.functional.cross_entropy(logits, targets)


@torch.inference_mode()
def best_labels():
    starts = range(0, job.X_test.shape[0], 512)
    return np.vstack([rank(network(job.X_test[start : start + 512]).numpy()) for start in starts])


def report(epochs):
    size = sum(4 * parameter.numel() for parameter in network.parameters())
    job.report(f"{epochs:.2f} epochs", best_labels(), size, epochs=math.ceil(epochs))


def start():
    network = Network()
    return network, torch.optim.Adam(network.parameters(), lr=settings["learning_rate"], fused=True)


def step(network, optimizer, rows):
    optimizer.zero_grad(set_to_none=True)
    loss_of(network(job.X[rows]), job.Y[rows]).backward()
    optimizer.step()


# what PyTorch loads at the first step is no part of the training
step(*start(), [0])
with job.training():
    network, optimizer = start()
batch, rng, next_point, done = settings["batch"], np.random.default_rng(0), settings["first_point"], 0
while done < settings["epochs"] * n_samples:
    order = rng.permutation(n_samples)
    for start in range(0, n_samples, batch):
        with job.training():
            rows = order[start : start + batch]
            step(network, optimizer, rows)
        done += len(rows)
        # a point whenever the time has grown by a third; none at the end of the last epoch, which comes below
        last = done >= settings["epochs"] * n_samples
        if job.seconds >= next_point and not last:
            report(done / n_samples)
            next_point = max(job.seconds, next_point) * 4 / 3
        if job.seconds > 0.97 * job.limit and not last:
            report(done / n_samples)
            job.answer(skip=f"stopped at {job.limit:.0f} s, after {done / n_samples:.2f} epochs")
            raise SystemExit
report(settings["epochs"])
