"""What the test files of the layer for PyTorch share; import it after PyTorch was found."""

import numpy as np
import torch
from torch.nn import functional as F

from sklearn_slide import LSH
from sklearn_slide.torch import SlideLinear

N_IN, N_OUT = 12, 300
KINDS = ["sigmoid", "softmax", "sigmoid+softmax"]


def make_layer(n_out=N_OUT, n_active=40, **params):
    """Return a small layer that takes labels from tables."""
    return SlideLinear(N_IN, n_out, n_active=n_active, **{"random_state": 0, "lsh": LSH(n_tables=6)} | params)


def make_batch(n_rows=7, n_out=N_OUT, most=4):
    """Return inputs, and targets in all forms: lists, (indices, offsets), CSR and a dense indicator."""
    rng = np.random.default_rng(1)
    lists = [
        sorted(rng.choice(n_out, rng.integers(1, most + 1), replace=False).tolist()) for _ in range(n_rows)
    ]
    dense = torch.zeros(n_rows, n_out)
    for i, labels in enumerate(lists):
        dense[i, labels] = 1
    indices = torch.tensor([y for labels in lists for y in labels])
    offsets = torch.tensor([0, *np.cumsum([len(labels) for labels in lists])])
    return torch.randn(n_rows, N_IN), lists, (indices, offsets), dense


def dense_loss(logits, dense, kind):
    """Compute the loss of each row from the scores of all labels."""
    sigmoid = F.binary_cross_entropy_with_logits(logits, dense, reduction="none").sum(1)
    softmax = F.cross_entropy(logits, dense / dense.sum(1, keepdim=True), reduction="none")
    return {"sigmoid": sigmoid, "softmax": softmax, "sigmoid+softmax": (sigmoid + softmax) / 2}[kind]
