"""Lines about the progress of training and of long predictions."""

import time

_SECONDS_BETWEEN_LINES = 5.0


class Progress:
    """Print a line for each epoch if verbose is at least 1, and lines within long epochs if it is 2.

    A line gives the mean loss, the labels scored per sample, the samples per second and the time that the
    remaining epochs will take.
    """

    def __init__(self, verbose, n_samples, max_iter):
        self._verbose, self._n_samples, self._max_iter = int(verbose), n_samples, max_iter
        self._n_epochs_done = 0
        self._start_epoch()

    def _start_epoch(self):
        self._n_done, self._loss, self._n_active = 0, 0.0, 0
        self._started = self._last_line = time.perf_counter()

    def add(self, n_samples, loss, n_active):
        """Count the samples of a round, the sum of their losses and of their active labels."""
        self._n_done += n_samples
        self._loss += loss
        self._n_active += n_active
        overdue = time.perf_counter() - self._last_line > _SECONDS_BETWEEN_LINES
        if self._verbose >= 2 and overdue and self._n_done < self._n_samples:
            self._print()

    def end_epoch(self):
        """Close an epoch."""
        self._n_epochs_done += 1
        if self._verbose:
            self._print()
        self._start_epoch()

    def _print(self):
        self._last_line = time.perf_counter()
        rate = self._n_done / max(self._last_line - self._started, 1e-9)
        epochs_left = self._max_iter - self._n_epochs_done
        samples_left = epochs_left * self._n_samples
        epoch = self._n_epochs_done
        if self._n_done < self._n_samples:
            samples_left -= self._n_done
            epoch += 1
        print(
            f"Epoch {epoch}/{self._max_iter}, {self._n_done / self._n_samples:4.0%}: "
            f"loss = {self._loss / self._n_done:.6f}, labels scored = {self._n_active / self._n_done:.1f}, "
            f"samples/s = {rate:.0f}, remaining = {samples_left / rate:.0f} s",
            flush=True,
        )


class RowProgress:
    """Print a line about a prediction for n_samples samples every five seconds, if verbose is at least 1.

    The clock starts after the first round, in which kernels may have been compiled.
    """

    def __init__(self, verbose, n_samples):
        self._verbose, self._n_samples, self._n_done = int(verbose), n_samples, 0
        self._n_first, self._started, self._last_line = None, None, None

    def add(self, n_samples):
        """Count the samples of a round."""
        self._n_done += n_samples
        now = time.perf_counter()
        if self._n_first is None:
            self._n_first, self._started, self._last_line = n_samples, now, now
        elif self._verbose and now - self._last_line > _SECONDS_BETWEEN_LINES:
            self._last_line = now
            rate = (self._n_done - self._n_first) / (now - self._started)
            print(
                f"Predicted {self._n_done} of {self._n_samples} samples, samples/s = {rate:.0f}, "
                f"remaining = {(self._n_samples - self._n_done) / rate:.0f} s",
                flush=True,
            )
