"""What a layer is given -> arrays for the kernels, or an error that names the way out."""

import math
from numbers import Integral, Real

import numpy as np
import torch

from sklearn_slide import _torch_kernels as kernels

FLOATS = (torch.float32, torch.float64)


def check_input(input, weight, bias, fused):
    """Raise ValueError or TypeError unless input, weight and bias are what the kernels take."""
    if not isinstance(input, torch.Tensor):
        raise TypeError(f"input must be a tensor. Got {type(input).__name__}; use torch.as_tensor(input).")
    for name, tensor in (("input", input), ("weight", weight)):
        if not tensor.is_cpu:
            raise ValueError(
                f"{name} is on the device {tensor.device}, and active labels are computed on the CPU alone. "
                f"Move it by .to('cpu'); a model may have its other layers elsewhere."
            )
    if input.layout != torch.strided:
        raise ValueError(f"input must be a dense tensor. Got layout={input.layout}; use input.to_dense().")
    allowed = FLOATS[:1] if fused else FLOATS
    if weight.dtype not in allowed:
        raise ValueError(
            f"weight must be of float32{'' if fused else ', or float64'}. Got {weight.dtype}; use "
            f"layer.float()."
        )
    if input.dtype != weight.dtype:
        raise ValueError(
            f"input must be of the weight's {weight.dtype}. Got {input.dtype}; use input.to({weight.dtype}), "
            "and leave the layer out of torch.autocast."
        )
    if not weight.is_contiguous() or (bias is not None and not bias.is_contiguous()):
        raise ValueError(
            "weight and bias must be contiguous, a row for each label. Use weight.data.contiguous(), and the "
            "same of bias."
        )
    if input.ndim != 2 or input.shape[1] != weight.shape[1]:
        raise ValueError(
            f"input must have the shape (N, in_features), with in_features={weight.shape[1]}, where target "
            f"is given. Got {tuple(input.shape)}; flatten leading dimensions by input.flatten(0, -2)."
        )


def read_target(target, n_rows, n_labels):
    """Return the true labels, and where those of each row begin and end, as int64 arrays."""
    if isinstance(target, torch.Tensor):
        if target.layout == torch.sparse_csr:
            return _read_csr(target, n_rows, n_labels)
        return _read_classes(target, n_rows)
    if isinstance(target, (tuple, list)) and len(target) == 2:
        return _read_bags(*target, n_rows)
    raise TypeError(
        "target must be an int64 tensor of shape (N,), a tuple (indices, offsets) of such tensors, as "
        f"nn.EmbeddingBag takes, or a sparse CSR tensor of shape (N, out_features). Got {target!r}."[:400]
    )


def _read_classes(target, n_rows):
    """Read one label for each row."""
    if target.layout != torch.strided:
        raise ValueError(f"target has layout={target.layout}. Use target.to_sparse_csr().")
    if target.ndim == 2:
        raise ValueError(
            f"target is a dense matrix {tuple(target.shape)}. Use target.to_sparse_csr(), or (indices, "
            "offsets) of the labels of each row."
        )
    if target.shape != (n_rows,):
        raise ValueError(
            f"target must have a label for each of the {n_rows} rows of input. Got {tuple(target.shape)}; "
            "several labels of a row are given by (indices, offsets), or a sparse CSR tensor."
        )
    return _indices("target", target), np.arange(n_rows + 1)


def _read_bags(indices, offsets, n_rows):
    """Read labels and the place where those of each row begin; the end of the last may follow."""
    indices, offsets = _indices("indices", indices), _indices("offsets", offsets)
    if indices.ndim != 1 or offsets.ndim != 1 or len(offsets) not in (n_rows, n_rows + 1):
        raise ValueError(
            f"target=(indices, offsets) must be of one dimension, with {n_rows} offsets, one for each row of "
            f"input, or one more. Got the shapes {indices.shape} and {offsets.shape}."
        )
    if len(offsets) == n_rows:
        starts, offsets = offsets, np.empty(n_rows + 1, dtype=np.int64)
        offsets[:-1], offsets[-1] = starts, len(indices)
    if offsets[0] != 0 or offsets[-1] != len(indices) or kernels.longest(None, offsets) < 0:
        raise ValueError(
            "offsets of target must begin with 0 and never fall, up to len(indices)="
            f"{len(indices)}. Got {offsets.tolist()[:8]}; they are the sums of the labels of the rows before."
        )
    return indices, offsets


def _read_csr(target, n_rows, n_labels):
    """Read the columns that are not 0."""
    if target.shape != (n_rows, n_labels):
        raise ValueError(
            f"target must have the shape (N, out_features), {(n_rows, n_labels)}. Got {tuple(target.shape)}."
        )
    indices, offsets = _indices("target", target.col_indices()), _indices("target", target.crow_indices())
    kept = (target.values() != 0).numpy()
    if not kept.all():
        offsets, indices = np.concatenate([[0], np.cumsum(kept)])[offsets], indices[kept]
    return indices, offsets


def _indices(name, tensor):
    """Return an integer tensor on the CPU as an int64 array."""
    if not isinstance(tensor, torch.Tensor) or tensor.dtype not in (torch.int64, torch.int32):
        found = tensor.dtype if isinstance(tensor, torch.Tensor) else type(tensor).__name__
        raise TypeError(f"{name} must hold labels as int64. Got {found}; use torch.as_tensor({name}).long().")
    if not tensor.is_cpu:
        raise ValueError(f"{name} is on the device {tensor.device}. Use {name}.cpu().")
    if tensor.dtype != torch.int64:
        tensor = tensor.long()
    return tensor.contiguous().numpy()


def refuse_labels(indices, offsets, row, n_labels):
    """Raise the ValueError of a row whose labels are out of range."""
    labels = indices[offsets[row] : offsets[row + 1]]
    wrong = labels[(labels < 0) | (labels >= n_labels)]
    raise ValueError(
        f"target has the label {wrong[0]} in row {row}, and out_features={n_labels} allows 0 to "
        f"{n_labels - 1}. Leave rows without a label out, or give them no entry in (indices, offsets)."
    )


def check_frozen(weight, bias):
    """Raise ValueError if only one of weight and bias is to step by the fused optimizer."""
    if bias is not None and bias.requires_grad != weight.requires_grad:
        raise ValueError(
            "The fused optimizer steps weight and bias together, and only one of them has requires_grad. Set "
            "it for both or for none, or build the layer with bias=False."
        )


def check_arguments(in_features, out_features, n_active, device, dtype):
    """Raise ValueError if an argument of SlideLinear is not allowed."""
    for name, value in (("in_features", in_features), ("out_features", out_features)):
        if not isinstance(value, Integral) or value < 1:
            raise ValueError(f"{name} must be a whole number of at least 1. Got {value!r}.")
    if n_active not in ("auto", None) and not (isinstance(n_active, Integral) and n_active >= 1):
        raise ValueError(
            f"n_active must be a whole number of at least 1, 'auto', or None for all. Got {n_active!r}."
        )
    if device is not None and torch.device(device).type != "cpu":
        raise ValueError(
            f"device must be 'cpu': the layer computes there alone. Got {device!r}; leave device out, and "
            "move its input by .to('cpu')."
        )
    if dtype not in (None, *FLOATS):
        raise ValueError(f"dtype must be torch.float32, or torch.float64. Got {dtype}; leave dtype out.")


def check_rate(lr, allow_zero=False):
    """Return a learning rate as a float, or raise ValueError."""
    if not isinstance(lr, Real) or not math.isfinite(lr) or lr < 0 or (lr == 0 and not allow_zero):
        raise ValueError(
            f"lr must be a {'finite number of at least 0' if allow_zero else 'positive number'}. Got {lr!r}."
        )
    return float(lr)
