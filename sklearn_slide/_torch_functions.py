"""Scores and losses of active labels, with their derivatives, as functions of autograd."""

from functools import partial

import numpy as np
import torch

from sklearn_slide._core import sampled
from sklearn_slide._core.exact import merge_top_k
from sklearn_slide._core.parallel import blocks
from sklearn_slide._torch_threads import run_rows

# As in the estimator: a block of scores stays in the last level of cache.
_BLOCK_ROWS, _BLOCK_LABELS = 512, 8192


def refuse_graph():
    """Raise RuntimeError if a graph of a backward pass is asked for: there are no second derivatives."""
    if torch.is_grad_enabled():
        raise RuntimeError(
            "SlideLinear and slide_loss have no second derivatives: call backward() without "
            "create_graph=True."
        )


def score(input, weight, bias, labels, layer):
    """Score the active labels, int64 (N, A), of input (N, in): (N, A), -inf where the label is -1."""
    return _Score.apply(input, weight, bias, labels, layer)


class _Score(torch.autograd.Function):
    """z = w_y . h + b_y of the active labels y; gradients by h, and by the rows of active labels alone."""

    @staticmethod
    def forward(ctx, input, weight, bias, labels, layer):
        logits = input.new_empty(labels.shape)
        batch = sampled.ActiveRows(input.detach().numpy(), labels.numpy())
        output, scores = layer.as_arrays().output, logits.numpy()
        run_rows(
            lambda start, stop: sampled.score_active(batch, start, stop, output, scores),
            len(batch.h),
            layer.n_jobs,
            labels.shape[1] * input.shape[1],
        )
        # the fused update writes on the weights behind autograd's back, which need not watch over them
        fused = layer.fused and ctx.needs_input_grad[1]
        ctx.save_for_backward(input, labels, *(() if fused else (weight,)))
        ctx.layer, ctx.stepped, ctx.bias_shape = layer, False, None if bias is None else bias.shape
        return logits

    @staticmethod
    def backward(ctx, gradient):
        refuse_graph()
        input, labels, *rest = ctx.saved_tensors
        layer = ctx.layer
        batch, residuals = sampled.ActiveRows(input.numpy(), labels.numpy()), gradient.contiguous().numpy()
        if not rest:
            return _step(ctx, batch, residuals), None, None, None, None
        (weight,) = rest
        by_input = by_weight = by_bias = None
        if ctx.needs_input_grad[0]:
            by_input = torch.empty_like(input)
            weights, out = weight.detach().numpy(), by_input.numpy()
            run_rows(
                lambda start, stop: sampled.input_gradients(batch, start, stop, residuals, weights, out),
                len(batch.h),
                layer.n_jobs,
                labels.shape[1] * input.shape[1],
            )
        if ctx.needs_input_grad[1] or ctx.needs_input_grad[2]:
            by_weight, by_bias = _weight_gradients(layer, batch, residuals, weight)
        return by_input, by_weight, by_bias if ctx.bias_shape else None, None, None


def _step(ctx, batch, residuals):
    """Step the active rows in place, and return the gradient by the input."""
    layer = ctx.layer
    if ctx.stepped:
        raise RuntimeError(
            "A second backward through a fused SlideLinear: the first has stepped the weights. Call forward "
            "anew, or train without fuse_optimizer() and by an optimizer of torch."
        )
    ctx.stepped = True
    by_input = torch.zeros(batch.h.shape)
    out, fused, rate = by_input.numpy(), layer.as_arrays(), np.float32(layer.learning_rate)
    broken = run_rows(
        lambda start, stop: sampled.step_active(batch, start, stop, residuals, fused, rate, out),
        len(batch.h),
        layer.n_jobs,
        2 * batch.labels.shape[1] * batch.h.shape[1],
    )
    if sum(broken):
        raise FloatingPointError(
            f"{sum(broken)} of {len(batch.h)} rows have an input or a gradient that is not finite; they have "
            "stepped no weights. Lower the learning rates, or scale the input."
        )
    return by_input


def _weight_gradients(layer, batch, residuals, weight):
    """Return the gradients by weight and bias, COO of the touched rows or dense."""
    n_labels, counts = len(weight), layer.borrow_counts()
    touched = np.empty(min(residuals.size, n_labels), dtype=np.int64)
    n = sampled.find_touched(batch.labels, residuals, counts, touched)
    touched = np.sort(touched[:n])
    n_entries = int(counts[touched].sum())
    entries = sampled.Entries(
        touched,
        np.empty(n + 1, dtype=np.int64),
        np.empty(n_entries, dtype=np.int64),
        np.empty(n_entries, dtype=residuals.dtype),
    )
    sampled.group_entries(batch.labels, residuals, counts, entries)
    layer.return_counts(counts)
    if layer.sparse:
        places = np.arange(n)
        rows, biases = weight.new_empty((n, weight.shape[1])), weight.new_empty(n)
    else:
        places = touched
        rows, biases = torch.zeros_like(weight), weight.new_zeros(n_labels)
    out = rows.detach().numpy(), biases.numpy()
    work = n_entries / max(n, 1) * weight.shape[1]
    run_rows(
        lambda first, last: sampled.weight_gradients(batch.h, entries, first, last, places, *out),
        n,
        layer.n_jobs,
        work,
    )
    if not layer.sparse:
        return rows, biases
    indices = torch.from_numpy(touched)[None]
    return tuple(
        torch.sparse_coo_tensor(indices, values, shape, is_coalesced=True, check_invariants=False)
        for values, shape in ((rows, weight.shape), (biases, (n_labels,)))
    )


def loss(output, mixture, reduction):
    """Compute the losses of the rows of a SlideOutput, (N,), or their 'sum' or 'mean'."""
    return _Loss.apply(*output, mixture, reduction)


class _Loss(torch.autograd.Function):
    """The loss of the active labels of each row."""

    @staticmethod
    def forward(ctx, logits, labels, n_true, mixture, reduction):
        residuals, values = torch.empty_like(logits), logits.new_empty(len(logits))
        scores = sampled.Scores(logits.detach().numpy(), labels.numpy(), n_true.numpy())
        sampled.loss_rows(scores, 0, len(logits), mixture, residuals.numpy(), values.numpy())
        ctx.save_for_backward(residuals)
        ctx.reduction = reduction
        if reduction == "none":
            return values
        return values.sum() if reduction == "sum" else values.mean()

    @staticmethod
    def backward(ctx, gradient):
        refuse_graph()
        (residuals,) = ctx.saved_tensors
        if ctx.reduction == "none":
            gradient = gradient[:, None]
        elif ctx.reduction == "mean":
            gradient = gradient / len(residuals)
        return residuals * gradient, None, None, None, None


def best(input, layer, k):
    """Return the k best scores of each row of input (N, in), and their labels, int64, both (N, k)."""
    weight, biases = layer.weight.detach(), layer.as_arrays().output.biases[:, 0]
    labels = np.zeros((len(input), k), dtype=np.int32)
    scores = np.full((len(input), k), -np.inf, dtype=biases.dtype)

    def merge(first_row, first_label, logits, start, stop):
        rows = slice(first_row + start, first_row + stop)
        chosen = biases[first_label : first_label + logits.shape[1]]
        merge_top_k(logits[start:stop], chosen, first_label, labels[rows], scores[rows])

    for row, last_row in blocks(0, len(input), _BLOCK_ROWS):
        for label, last_label in blocks(0, len(weight), _BLOCK_LABELS):
            logits = (input[row:last_row] @ weight[label:last_label].T).numpy()
            run_rows(partial(merge, row, label, logits), len(logits), layer.n_jobs, logits.shape[1])
    if not np.isfinite(scores).all():
        raise ValueError("The scores are not finite: the weights have diverged, or input is not finite.")
    return torch.from_numpy(scores), torch.from_numpy(labels).long()
