"""Attributes after a failure, and warnings that do not apply to what was validated."""

import functools
import warnings
from contextlib import contextmanager


def attributes_kept_on_failure(method):
    """Decorate a method: if it fails or is interrupted, the estimator gets back the attributes it had."""

    @functools.wraps(method)
    def kept(estimator, *args, **kwargs):
        before = dict(vars(estimator))
        try:
            return method(estimator, *args, **kwargs)
        except BaseException:
            vars(estimator).update(before)  # first, for another thread may be predicting
            for name in vars(estimator).keys() - before.keys():
                del vars(estimator)[name]
            if "_ranker" in before:
                before["_ranker"].forget()  # training may have changed the weights in place
            raise

    return kept


@contextmanager
def names_not_missed():
    """Let scikit-learn not warn that samples have no names of features, which validation took off."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "X does not have valid feature names", UserWarning)
        yield
