"""The container of sparse results, for the estimator and the data sets."""

import scipy.sparse as sp
import sklearn


def as_configured(matrix):
    """Turn CSR into the matrix or array that scikit-learn's configuration asks for, without a copy."""
    is_array = sklearn.get_config().get("sparse_interface") == "sparray"
    return sp.csr_array(matrix) if is_array else sp.csr_matrix(matrix)
