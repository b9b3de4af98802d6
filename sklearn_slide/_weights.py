"""The weights of samples, classes and labels that a user gives -> the weights that training works with."""

from reprlib import repr as shortened

import numpy as np
from sklearn.utils.class_weight import compute_sample_weight
from sklearn.utils.validation import _check_sample_weight

from sklearn_slide._labels import encode_classes
from sklearn_slide.metrics import propensity_curve

_LARGEST_WEIGHT = 1e9  # times a gradient, and squared, it is far from the largest float32


def keep_weighted(X, y, sample_weight):
    """Return the rows of validated X and y whose weight is not zero, and their weights, float32.

    Raise ValueError if a weight is negative or not finite, or all of them are zero.
    """
    weights = _check_sample_weight(sample_weight, X, dtype=np.float32, ensure_non_negative=True)
    _require_moderate(weights, "sample_weight")
    kept = np.flatnonzero(weights)
    if not len(kept):
        raise ValueError("All weights in sample_weight are zero: give at least one sample a larger weight.")
    if len(kept) == len(weights):
        return X, y, weights
    return X[kept], y[kept], weights[kept]


def check_weight_parameters(class_weight, label_weight, multilabel, partial):
    """Raise ValueError if class_weight or label_weight does not go with y, or with partial_fit."""
    if multilabel and class_weight is not None:
        raise ValueError(
            f"class_weight={shortened(class_weight)} is for class labels, but y is a multi-label indicator. "
            "Give class_weight=None, and weights of the labels as label_weight."
        )
    if not multilabel and label_weight is not None:
        raise ValueError(
            f"label_weight={shortened(label_weight)} is for a multi-label indicator, but y holds class "
            "labels. Give label_weight=None, and weights of the classes as class_weight."
        )
    if partial and isinstance(class_weight, str):
        raise ValueError(
            "class_weight='balanced' is not supported for partial_fit, which sees a part of the samples. Use "
            "compute_class_weight('balanced', classes=classes, y=y) of sklearn.utils.class_weight with all "
            "targets, or enough of them, and give class_weight=dict(zip(classes, weights))."
        )
    if partial and isinstance(label_weight, str):
        raise ValueError(
            "label_weight='propensity' is not supported for partial_fit, which sees a part of the samples. "
            "Give an array, for instance 1 / label_propensities(y) of sklearn_slide.metrics with the "
            "indicator of all samples, divided by its mean over the true labels."
        )


def weigh_classes(X, y, sample_weight, class_weight, classes):
    """Multiply the weights, or None for 1, of validated samples by those of their classes.

    Return X, y and the weights, float32 (n_samples,), of those samples whose weight is not zero.
    """
    positions = encode_classes(y, classes).indices
    if class_weight == "balanced":
        factors = compute_sample_weight("balanced", positions)
    else:
        factors = _weights_of_classes(class_weight, classes)[positions]
    if sample_weight is not None:
        factors = factors * sample_weight
    if not factors.any():
        raise ValueError(
            f"class_weight={shortened(class_weight)} gives every sample a weight of zero. Give at least one "
            "of the classes in y a larger weight."
        )
    return keep_weighted(X, y, factors)


def _weights_of_classes(class_weight, classes):
    """Return a weight for each class, 1 for those that the dict leaves out; check the dict."""
    names = classes.tolist()
    weights = np.array([class_weight.get(name, 1.0) for name in names], dtype=object)
    known = set(names)
    unknown = [name for name in class_weight if name not in known]
    # as compute_class_weight of scikit-learn: more classes than y has are no mistake if all of y's are there
    if unknown and not all(name in class_weight for name in names):
        raise ValueError(
            f"class_weight names {unknown[0]!r}, which is not among the classes {shortened(names)}, and does "
            "not name all of these. Name only classes of y, or all of them."
        )
    return _as_weights(weights, "class_weight", "a dict with such a number for each class")


def weigh_labels(label_weight, y, sample_weight, n_labels):
    """Return what the loss of a true label counts for, float32 (n_labels,), or None where all count 1.

    y is the Pattern of the true labels, sample_weight float32 (n_samples,) or None for 1.
    """
    if label_weight is None:
        return None
    if isinstance(label_weight, str):
        return _inverse_propensities(y, sample_weight, n_labels)
    way_out = f"an array of such a number for each of the {n_labels} labels"
    weights = _as_weights(label_weight, "label_weight", way_out)
    if weights.shape != (n_labels,):
        raise ValueError(
            f"label_weight must have shape (n_labels,) = ({n_labels},), a weight for each column of y. Got "
            f"shape {weights.shape}. Give {way_out}."
        )
    if not weights.any():
        raise ValueError(
            "label_weight is zero for all labels: there is nothing to learn. Give some a larger one."
        )
    return weights


def _as_weights(values, name, way_out):
    """Turn numbers into float32; raise ValueError if one is negative or not finite."""
    try:
        given = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{name} must hold numbers. Got {shortened(values)}. Give {way_out}.") from error
    with np.errstate(over="ignore"):
        weights = given.astype(np.float32)
    allowed = np.isfinite(weights) & (weights >= 0)
    if not allowed.all():
        raise ValueError(
            f"{name} must hold finite numbers, none of them negative. Got {given[~allowed][0]}. Give "
            f"{way_out}."
        )
    _require_moderate(weights, name)
    return weights


def _require_moderate(weights, name):
    """Raise ValueError if a weight is so large that squares of gradients would overflow."""
    if weights.max(initial=0.0) > _LARGEST_WEIGHT:
        raise ValueError(
            f"{name} holds {weights.max():.3g}; at most {_LARGEST_WEIGHT:.0e} is allowed. Divide the weights "
            "by their mean: they are meant to be about 1."
        )


def _inverse_propensities(y, sample_weight, n_labels):
    """Return the inverse propensities of the labels in the samples, divided by the mean of all true labels.

    A sample of weight w counts w times. Jain, Prabhu and Varma (2016): see label_propensities.
    """
    n_true = np.diff(y.indptr)
    weights = np.ones(len(n_true)) if sample_weight is None else sample_weight.astype(np.float64)
    counts = np.bincount(y.indices, np.repeat(weights, n_true), minlength=n_labels)
    if weights.sum() < 3:
        raise ValueError(
            f"label_weight='propensity' needs at least 3 samples to estimate propensities from. Got "
            f"{weights.sum():g}, counted by sample_weight. Give more, an array, or None."
        )
    inverse = 1 / propensity_curve(counts, weights.sum())
    mean = counts @ inverse / counts.sum() if counts.any() else 1.0
    return (inverse / mean).astype(np.float32)
