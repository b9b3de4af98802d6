"""The best k of many scores, kept sorted while they come."""

import numpy as np

from sklearn_slide._core.compilation import inner

CHUNK = 64  # scores that are looked at together first: most chunks hold nothing for the best k


def no_best(n_samples, k):
    """Return labels and scores of the best k of no labels: int32 and float32 (n_samples, k)."""
    return np.zeros((n_samples, k), dtype=np.int32), np.full((n_samples, k), -np.inf, dtype=np.float32)


@inner
def insert_best(y, score, labels, scores):
    """Insert label y into the k best if it is better than the last; labels int32 (k,), scores float32 (k,).

    They are sorted, best first, and of equal scores the lower label first.
    """
    last = scores.shape[0] - 1
    if not (score > scores[last] or (score == scores[last] and y < labels[last])):
        return
    position = last
    while position > 0 and (
        score > scores[position - 1] or (score == scores[position - 1] and y < labels[position - 1])
    ):
        scores[position] = scores[position - 1]
        labels[position] = labels[position - 1]
        position -= 1
    scores[position] = score
    labels[position] = y


@inner
def holds_more(values, start, stop, least):
    """Tell whether one of values[start:stop], float32, is least or more, by counting, as vector units can."""
    n = np.int32(0)
    for a in range(start, stop):
        n = np.int32(n + np.int32(values[a] >= least))
    return n > 0


@inner
def kth_largest(values, n, k):
    """Return the k-th largest of values[:n], float32, which are put in another order (Hoare's selection)."""
    first, last = 0, n - 1
    while first < last:
        pivot, left, right = values[(first + last) // 2], first, last
        while left <= right:
            while values[left] > pivot:
                left += 1
            while values[right] < pivot:
                right -= 1
            if left <= right:
                values[left], values[right] = values[right], values[left]
                left, right = left + 1, right - 1
        # values[first:right + 1] >= pivot >= values[left:last + 1], and what lies between is the pivot
        if k - 1 <= right:
            last = right
        elif k - 1 >= left:
            first = left
        else:
            break
    return values[k - 1]
