"""The scores of active labels, and their loss."""

from functools import lru_cache
from typing import NamedTuple

import numpy as np
import torch

from sklearn_slide._core.sampled import Mixture
from sklearn_slide._torch_functions import loss

# The shares of sigmoid and softmax.
_MIXTURES = {"sigmoid": (1.0, 0.0), "softmax": (0.0, 1.0), "sigmoid+softmax": (0.5, 0.5)}
_KINDS = tuple(_MIXTURES)
_REDUCTIONS = ("mean", "sum", "none")


class SlideOutput(NamedTuple):
    """The scores of the active labels of a batch.

    Parameters
    ----------
    logits : Tensor of shape (N, A)
        Their scores, -inf where a row has fewer labels.

    labels : Tensor of shape (N, A)
        Their numbers, int64, the true ones first; -1 where a row has fewer.

    n_true : Tensor of shape (N,)
        How many of them are true, int64.

    See Also
    --------
    SlideLinear : The layer that gives it.
    slide_loss : The loss that takes it.

    Examples
    --------
    >>> import torch
    >>> from sklearn_slide.torch import SlideLinear
    >>> layer = SlideLinear(8, 1000, n_active=50)
    >>> output = layer(torch.randn(3, 8), torch.tensor([4, 0, 999]))
    >>> output.labels[:, 0], output.n_true
    (tensor([  4,   0, 999]), tensor([1, 1, 1]))
    """

    logits: torch.Tensor
    labels: torch.Tensor
    n_true: torch.Tensor


def slide_loss(output, kind="sigmoid", reduction="mean", *, floor=0.0):
    """Compute the loss of the active labels of a batch.

    Parameters
    ----------
    output : SlideOutput
        What :class:`SlideLinear` gives for a target.
    kind : {'sigmoid', 'softmax', 'sigmoid+softmax'}, default='sigmoid'
        'sigmoid' is the sum of the binary cross-entropies of the active labels of a row, 'softmax' the
        cross-entropy over them, where the true ones share a target of 1, and 'sigmoid+softmax' the mean of
        both, in which a row without a true label has no part of softmax.
    reduction : {'mean', 'sum', 'none'}, default='mean'
        Whether the losses of the rows are averaged, added or returned. Take 'sum' with a fused optimizer, as
        Adagrad's sums begin with 0.5: gradients of a mean over many rows are small beside that.
    floor : float, default=0.0
        A derivative by a logit that is at most so large becomes 0, and the label keeps its weights: 0.001
        saves most of the updates late in training. The classifier rounds those below 0.05 at random instead.

    Returns
    -------
    loss : Tensor of shape () or (N,)
        The loss.

    Raises
    ------
    ValueError
        If an argument is not allowed, 'softmax' meets a row without a true label, or 'mean' no row.

    See Also
    --------
    SlideLinear : The layer.

    Examples
    --------
    >>> import torch
    >>> from sklearn_slide.torch import SlideLinear, slide_loss
    >>> layer = SlideLinear(8, 1000, n_active=50)
    >>> loss = slide_loss(layer(torch.randn(3, 8), torch.tensor([4, 0, 999])), kind="softmax")
    >>> loss.backward()
    """
    for name, value, allowed in (("kind", kind, _KINDS), ("reduction", reduction, _REDUCTIONS)):
        if value not in allowed:
            raise ValueError(f"{name} must be one of {list(allowed)}. Got {value!r}.")
    if not isinstance(output, SlideOutput):
        raise TypeError(
            f"output must be a SlideOutput, which SlideLinear gives for a target. Got "
            f"{type(output).__name__}; call layer(input, target)."
        )
    if kind == "softmax" and not output.n_true.numpy().all():
        row = int((output.n_true == 0).nonzero()[0, 0])
        raise ValueError(
            f"Row {row} has no true label, and kind='softmax' needs one. Leave such rows out of the batch, "
            "or use kind='sigmoid', to which all of their labels are negatives."
        )
    if reduction == "mean" and not len(output.logits):
        raise ValueError("output has no rows, and so no mean. Skip empty batches, or use reduction='sum'.")
    return loss(output, _mixture(kind, float(floor)), reduction)


@lru_cache
def _mixture(kind, floor):
    """Return the Mixture of a kind of loss."""
    return Mixture(*map(np.float32, (*_MIXTURES[kind], floor)))
