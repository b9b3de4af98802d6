"""The stamp of the version in a stored classifier, and the warning of another version."""

import warnings

from sklearn.exceptions import InconsistentVersionWarning

import sklearn_slide

_STAMP = "_sklearn_slide_version"


class InconsistentSlideVersionWarning(InconsistentVersionWarning):
    """A classifier was stored by another version of sklearn-slide than the one that reads it."""

    def __init__(self, estimator_name, original_version):
        self.estimator_name = estimator_name
        self.original_version, self.current_version = original_version, sklearn_slide.__version__

    def __str__(self):
        return (
            f"{self.estimator_name} was stored by sklearn-slide {self.original_version} and is read by "
            f"sklearn-slide {self.current_version}: its results may be wrong. Fit it again, or read it with "
            "the version that stored it."
        )


def stamp_version(state):
    """Return a copy of an estimator's state with the version that stores it."""
    return {**state, _STAMP: sklearn_slide.__version__}


def take_version_off(state, estimator_name):
    """Return a copy of a stored state without the stamp; warn if it is of another version or missing."""
    state = dict(state)
    version = state.pop(_STAMP, "of unknown version")
    if version != sklearn_slide.__version__:
        warnings.warn(InconsistentSlideVersionWarning(estimator_name, version), stacklevel=3)
    return state
