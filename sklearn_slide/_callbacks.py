"""What callbacks of scikit-learn hear of a fit: its tasks are the fit, each network of several, each epoch.

Callbacks came with scikit-learn 1.9. Before, the classifier has no ``set_callbacks``, and nothing here does
anything.
"""

from typing import Any, NamedTuple

from sklearn_slide._validation import names_not_missed

try:
    from sklearn.callback import CallbackSupportMixin
except ImportError:

    class CallbackSupportMixin:
        """The mixin of a scikit-learn without callbacks."""


# What the mixin keeps on an estimator from the beginning of a fit to its end.
_OF_A_RUNNING_FIT = ("_callback_fit_ctx", "_skl_callbacks_to_teardown")


class Task(NamedTuple):
    """A task of a fit, as callbacks know it: the estimator, the data it learns from, and its place."""

    estimator: Any
    data: dict  # X, y and metadata, as the hooks of callbacks name them
    context: Any  # of scikit-learn, or None before 1.9

    def begin(self, name, max_subtasks=0, attributes=None):
        """Begin a task within this one, and return it.

        attributes is a function that gives the attributes of an estimator as if fit had stopped here. It is
        called if a callback asks for that estimator.
        """
        if self.context is None:
            return self
        return self._replace(context=self.context.subcontext(name, max_subtasks=max_subtasks))._begin(
            attributes
        )

    def end(self, attributes):
        """End the task, and tell whether a callback asks to leave out the ones that would follow it."""
        if self.context is None:
            return False
        with names_not_missed():
            return self.context.call_on_fit_task_end(
                estimator=self.estimator, **self.data, reconstruction_attributes=attributes
            )

    def _begin(self, attributes=None):
        with names_not_missed():
            self.context.call_on_fit_task_begin(
                estimator=self.estimator, **self.data, reconstruction_attributes=attributes
            )
        return self


def begin_fit(estimator, X, y, sample_weight, name, max_subtasks):
    """Begin the Task of a whole fit to validated data, sample_weight being None or the weights."""
    metadata = None if sample_weight is None else {"sample_weight": sample_weight}
    task = Task(estimator, {"X": X, "y": y, "metadata": metadata}, None)
    if not hasattr(estimator, "set_callbacks"):
        return task
    return task._replace(context=estimator._init_callback_context(name, max_subtasks=max_subtasks))._begin()


def without_running_fit(state):
    """Return a copy of an estimator's state that does not tell of a fit that is under way."""
    return {name: value for name, value in state.items() if name not in _OF_A_RUNNING_FIT}
