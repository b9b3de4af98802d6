"""Kernels for few rows, where Numba's look at the types of all arguments takes longer than the work."""

import numba

from sklearn_slide._core import sampled


class Kernel:
    """A kernel whose compiled form is found by a key, with which the caller names the types of its arguments.

    Arguments with the same key must be of the same types, arrays C-contiguous and writable.
    """

    def __init__(self, kernel):
        self._kernel, self._forms = kernel, {}

    def __call__(self, key, *args):
        form = self._forms.get(key)
        return self._compile(key, args)(*args) if form is None else form(*args)

    def _compile(self, key, args):
        """Return the compiled form for the types of these arguments, and keep it."""
        form = self._kernel
        if not numba.config.DISABLE_JIT:
            form = form.compile(tuple(map(numba.typeof, args)))
        self._forms[key] = form
        return form


draw_active = Kernel(sampled.draw_active)
longest = Kernel(sampled.longest)
remember = Kernel(sampled.remember)
score_active = Kernel(sampled.score_active)
loss_rows = Kernel(sampled.loss_rows)
input_gradients = Kernel(sampled.input_gradients)
list_entries = Kernel(sampled.list_entries)
weight_gradients = Kernel(sampled.weight_gradients)
step_labels = Kernel(sampled.step_labels)
step_batch = Kernel(sampled.step_batch)
