"""Scores and losses of active labels, with their derivatives, as functions of autograd."""

from functools import partial
from typing import NamedTuple

import numpy as np
import torch
from torch import nn

from sklearn_slide import _torch_kernels as kernels
from sklearn_slide._core import sampled
from sklearn_slide._core.exact import merge_top_k
from sklearn_slide._core.parallel import blocks
from sklearn_slide._torch_threads import count_parts, run_rows

# As in the estimator: a block of scores stays in the last level of cache.
_BLOCK_ROWS, _BLOCK_LABELS = 512, 8192


def refuse_graph():
    """Raise RuntimeError if a graph of a backward pass is asked for: there are no second derivatives."""
    if torch.is_grad_enabled():
        raise RuntimeError(
            "SlideLinear and slide_loss have no second derivatives: call backward() without "
            "create_graph=True."
        )


class Call(NamedTuple):
    """A call of a layer, with the arrays of its tensors."""

    batch: sampled.ActiveRows
    arrays: sampled.Fused
    layer: nn.Module


def score(input, weight, bias, call):
    """Score the active labels of a Call with input (N, in): (N, A), -inf after the last."""
    return _Score.apply(input, weight, bias, call)


class _Score(torch.autograd.Function):
    """z = w_y . h + b_y of the active labels y; gradients by h, and by the rows of active labels alone."""

    @staticmethod
    def forward(ctx, input, weight, bias, call):
        batch, arrays, layer = call
        logits = np.empty(batch.labels.shape, dtype=batch.h.dtype)
        run_rows(
            lambda start, stop: kernels.score_active(logits.dtype, batch, start, stop, arrays.output, logits),
            len(logits),
            layer.n_jobs,
            logits.shape[1] * batch.h.shape[1],
        )
        ctx.fused = layer.fused and ctx.needs_input_grad[1]
        # autograd watches over what is saved; it need not see that the fused step writes on the weights
        ctx.save_for_backward(input, *(() if ctx.fused else (weight,)))
        ctx.call, ctx.stepped = call, False
        return torch.from_numpy(logits)

    @staticmethod
    def backward(ctx, gradient):
        refuse_graph()
        _ = ctx.saved_tensors  # raises RuntimeError where input or weight were written on since
        (batch, arrays, layer), by_input, by_weight, by_bias = ctx.call, None, None, None
        residuals = gradient.contiguous().numpy()
        work = residuals.shape[1] * batch.h.shape[1]
        if ctx.fused and count_parts(len(residuals), layer.n_jobs, work) == 1:
            return _step_alone(ctx, residuals), None, None, None
        if ctx.needs_input_grad[0]:
            out, weights = np.empty_like(batch.h), arrays.output.weights
            run_rows(
                lambda start, stop: kernels.input_gradients(
                    out.dtype, batch, start, stop, residuals, weights, out
                ),
                len(out),
                layer.n_jobs,
                work,
            )
            by_input = torch.from_numpy(out)
        if ctx.fused:
            _step(ctx, residuals)
        elif ctx.needs_input_grad[1] or ctx.needs_input_grad[2]:
            by_weight, by_bias = _weight_gradients(layer, batch, residuals)
        return by_input, by_weight, by_bias if ctx.needs_input_grad[2] else None, None


def _entries(layer, batch, residuals):
    """Sort the residuals by label."""
    counts = layer._borrow_counts()
    entries = kernels.list_entries(residuals.dtype, batch, residuals, counts)
    layer._return_counts(counts)
    return entries


def _run_labels(function, layer, batch, entries):
    """Call function(first, last) on parts of the labels of Entries."""
    n = len(entries.labels)
    run_rows(function, n, layer.n_jobs, len(entries.rows) / max(n, 1) * batch.h.shape[1])


def _step_alone(ctx, residuals):
    """Step the active labels in place, in one call, and return the gradient by the input, or None."""
    _refuse_second_step(ctx)
    batch, arrays, layer = ctx.call
    n_rows, n_units = batch.h.shape
    wanted, counts = ctx.needs_input_grad[0], layer._borrow_counts()
    out = np.empty((n_rows if wanted else 0, n_units), dtype=np.float32)
    rate = np.float32(layer.learning_rate)
    n_broken = kernels.step_batch(None, batch, residuals, counts, arrays, rate, out)
    layer._return_counts(counts)
    _refuse_broken(n_broken, n_rows)
    return torch.from_numpy(out) if wanted else None


def _refuse_second_step(ctx):
    """Raise RuntimeError if this output has stepped the weights."""
    if ctx.stepped:
        raise RuntimeError(
            "A second backward through a fused SlideLinear: the first has stepped the weights. Call forward "
            "anew, or train without fuse_optimizer() and by an optimizer of torch."
        )
    ctx.stepped = True


def _refuse_broken(n_broken, n_rows):
    """Raise FloatingPointError if there are broken rows."""
    if n_broken:
        raise FloatingPointError(
            f"{n_broken} of {n_rows} rows have an input or a gradient that is not finite, and no weight was "
            "stepped. Lower the learning rates, or scale the input."
        )


def _step(ctx, residuals):
    """Step the active labels in place."""
    _refuse_second_step(ctx)
    batch, fused, layer = ctx.call
    entries, rate = _entries(layer, batch, residuals), np.float32(layer.learning_rate)
    _refuse_broken(entries.n_broken, len(batch.h))
    _run_labels(
        lambda first, last: kernels.step_labels(None, batch.h, entries, first, last, fused, rate),
        layer,
        batch,
        entries,
    )


def _weight_gradients(layer, batch, residuals):
    """Return the gradients by weight and bias, COO of the touched rows or dense."""
    entries, weight = _entries(layer, batch, residuals), layer.weight
    n = len(entries.labels)
    if layer.sparse:
        places = np.arange(n)
        rows, biases = weight.new_empty((n, weight.shape[1])), weight.new_empty(n)
    else:
        places = entries.labels
        rows, biases = torch.zeros_like(weight), weight.new_zeros(len(weight))
    out = rows.detach().numpy(), biases.numpy()
    _run_labels(
        lambda first, last: kernels.weight_gradients(
            residuals.dtype, batch.h, entries, first, last, places, *out
        ),
        layer,
        batch,
        entries,
    )
    if not layer.sparse:
        return rows, biases
    indices = torch.from_numpy(entries.labels)[None]
    return tuple(
        torch.sparse_coo_tensor(indices, values, shape, check_invariants=False)
        for values, shape in ((rows, weight.shape), (biases, (len(weight),)))
    )


def loss(output, mixture, reduction):
    """Compute the losses of the rows of a SlideOutput, (N,), or their 'sum' or 'mean'."""
    return _Loss.apply(*output, mixture, reduction)


class _Loss(torch.autograd.Function):
    """The loss of the active labels of each row."""

    @staticmethod
    def forward(ctx, logits, labels, n_true, mixture, reduction):
        scores = sampled.Scores(
            *(tensor.detach().contiguous().numpy() for tensor in (logits, labels, n_true))
        )
        residuals = np.empty_like(scores.logits)
        values = np.empty(len(residuals), dtype=residuals.dtype)
        kernels.loss_rows(
            tuple(part.dtype for part in scores), scores, 0, len(values), mixture, residuals, values
        )
        ctx.residuals, ctx.reduction = torch.from_numpy(residuals), reduction
        if reduction != "none":
            total = values.sum()
            values = np.asarray(total if reduction == "sum" else total / len(values), dtype=residuals.dtype)
        return torch.from_numpy(values)

    @staticmethod
    def backward(ctx, gradient):
        refuse_graph()
        residuals = ctx.residuals
        if ctx.reduction == "none":
            gradient = gradient[:, None]
        elif ctx.reduction == "mean":
            gradient = gradient / len(residuals)
        return residuals * gradient, None, None, None, None


def best(input, layer, k):
    """Return the k best scores of each row of input (N, in), and their labels, int64, both (N, k)."""
    weight, biases = layer.weight.detach(), layer._as_arrays().output.biases[:, 0]
    labels = np.zeros((len(input), k), dtype=np.int32)
    scores = np.full((len(input), k), -np.inf, dtype=biases.dtype)

    def merge(first_row, first_label, logits, start, stop):
        rows = slice(first_row + start, first_row + stop)
        chosen = biases[first_label : first_label + logits.shape[1]]
        none = np.zeros(stop - start, biases.dtype), np.zeros(len(chosen), biases.dtype)
        merge_top_k(logits[start:stop], chosen, none, first_label, labels[rows], scores[rows])

    for row, last_row in blocks(0, len(input), _BLOCK_ROWS):
        for label, last_label in blocks(0, len(weight), _BLOCK_LABELS):
            logits = (input[row:last_row] @ weight[label:last_label].T).numpy()
            run_rows(partial(merge, row, label, logits), len(logits), layer.n_jobs, logits.shape[1])
    if not np.isfinite(scores).all():
        raise ValueError("The scores are not finite: the weights have diverged, or input is not finite.")
    return torch.from_numpy(scores), torch.from_numpy(labels).long()
