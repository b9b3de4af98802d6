"""What hints of public functions are made of."""

import os
from collections.abc import Callable
from typing import IO, Any, TypeAlias

import numpy as np
import scipy.sparse as sp
from numpy.typing import ArrayLike

MatrixLike: TypeAlias = ArrayLike | sp.spmatrix | sp.sparray  # (n_rows, n_columns), dense or sparse
File: TypeAlias = str | os.PathLike[str] | IO[Any] | int
Metric: TypeAlias = str | Callable[..., float]  # by name, or a function
Seed: TypeAlias = int | np.random.RandomState | None
