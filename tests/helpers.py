"""What several test files share."""

import inspect
from functools import cache
from types import FunctionType

import numba
import numpy as np
import reference
from numpy.testing import assert_array_equal

from sklearn_slide import LSH, SlideClassifier
from sklearn_slide._core.compilation import _OPTIONS, njit
from sklearn_slide._first_weights import first_model
from sklearn_slide._labels import Labels, encode_indicator
from sklearn_slide._model import ModelSettings
from sklearn_slide._samples import InputScale, as_rows, make_samples
from sklearn_slide._trainer import Trainer, TrainingSettings


def make(**params):
    """Return a small SlideClassifier with these parameters."""
    return SlideClassifier(
        **{"hidden_layer_sizes": (12,), "n_active": 15, "max_iter": 2, "random_state": 0} | params
    )


def assert_same(one, two):
    """Assert that two classifiers have the same weights and biases, bit by bit."""
    for a, b in zip(one.coefs_ + one.intercepts_, two.coefs_ + two.intercepts_, strict=True):
        assert_array_equal(a, b)


def to_samples(X, Y, weights=None, label_weights=None):
    """Return Samples of CSR X, float32, and an indicator Y, with weights, float32, of samples and labels."""
    return make_samples(as_rows(X), encode_indicator(Y), weights, label_weights)


def make_labels(n_labels):
    """Return the Labels of a sparse indicator with so many columns."""
    return Labels(np.arange(n_labels), multilabel=True, sparse=True, dtype=bool)


def make_model(samples, n_features, n_labels, seed=3, **settings):
    """Return the Model that training on Samples begins with, for these ModelSettings."""
    defaults = {"hidden_layer_sizes": (8,), "activation": "identity", "loss": "sigmoid", "solver": "adagrad"}
    defaults |= {"direct_limit": 1000, "n_estimators": 1, "init": "centroid", "lsh": LSH()}
    return first_model(
        samples,
        ModelSettings(**defaults | settings),
        n_features,
        make_labels(n_labels),
        InputScale(),
        seed,
        1,
    )


def train_model(X, Y, n_active=40, **settings):
    """Return a Model of one hidden layer of 16 units, unless settings say otherwise, after two epochs."""
    samples = to_samples(X, Y)
    model = make_model(samples, X.shape[1], Y.shape[1], **{"hidden_layer_sizes": (16,)} | settings)
    trainer = Trainer(model, samples, TrainingSettings(n_active, "auto", shuffle=True, n_jobs=1))
    for rates in ((0.1, 0.05), (0.05, 0.0)):
        trainer.run_epoch(rates)
    return model


def all_scores(model, X):
    """Compute the scores of every label in float64 from what the Model says of its weights; X CSR."""
    coefs, intercepts = ([a.astype(float) for a in part] for part in (model.coefs(), model.intercepts()))
    outputs = reference.forward(X.toarray().astype(float), coefs, intercepts, model.settings.activation)
    return outputs[-1] + X.astype(float) @ model.direct_coef().toarray()


def no_report(n_samples):
    """Hear how many samples are done."""


@cache
def callable_kernel(kernel):
    """Compile a kernel that has no Python wrapper, `inner` or by_type, so that Python can call it."""
    if not hasattr(kernel, "py_func"):
        # by names: in *args, Numba 0.60 took one NamedTuple for another
        arguments = ", ".join(inspect.signature(kernel).parameters)
        return numba.njit(**_OPTIONS)(eval(f"lambda {arguments}: kernel({arguments})", {"kernel": kernel}))
    function = FunctionType(kernel.py_func.__code__, kernel.py_func.__globals__)
    function.__qualname__ = f"callable_{kernel.__name__}"  # files of its own in the cache on disk
    return njit(function)
