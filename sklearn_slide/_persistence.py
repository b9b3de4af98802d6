"""What is stored of a classifier, the stamp of the version, and the warning of another version."""

import warnings

from sklearn.exceptions import InconsistentVersionWarning

import sklearn_slide
from sklearn_slide._callbacks import without_running_fit
from sklearn_slide._memory import held_bytes

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


class PersistenceMixin:
    """What a classifier stores: all but a fit that is under way and what predictions make anew."""

    def __sizeof__(self):
        return super().__sizeof__() + held_bytes(vars(self))

    def __getstate__(self):
        state = without_running_fit(super().__getstate__())
        state.pop("_ranker", None)
        return {**state, _STAMP: sklearn_slide.__version__}

    def __setstate__(self, state):
        state = dict(state)
        name, version = type(self).__name__, state.pop(_STAMP, "of unknown version")
        if "_network" in state or "_labels" in state:
            raise ValueError(
                f"This {name} was stored by sklearn-slide {version} in a form that is no longer read. Fit "
                "it again, or read it with the version that stored it."
            )
        if version != sklearn_slide.__version__:
            warnings.warn(InconsistentSlideVersionWarning(name, version), stacklevel=2)
        super().__setstate__(state)
        if "_model" in state:
            self._take(self._model)
