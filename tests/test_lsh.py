"""The parameters of the hash tables."""

import numpy as np
import pytest
import reference
import scipy.sparse as sp
from sklearn.base import BaseEstimator

from sklearn_slide import LSH, SlideClassifier
from sklearn_slide._core.hashing import FAMILIES
from sklearn_slide._lsh import check_lsh, draw_hasher
from sklearn_slide._ranker import Ranker


@pytest.mark.parametrize(
    ("family", "hash_length", "message"),
    [
        ("simhash", 25, "'hash_length' parameter of LSH must be .* in the range .1, 24.. Got 25"),
        ("dwta", 9, r"hash_length=9 with family='dwta' .* of 27 bits\. .* from 1 to 8, or 'auto'"),
        ("minhash", 0, "'hash_length' parameter of LSH must be .* in the range .1, 24.. Got 0"),
        ("md5", 2, "'family' parameter of LSH must be .*'simhash'.* Got 'md5'"),
    ],
)
def test_errors_name_the_parameter_and_the_way_out(family, hash_length, message):
    with pytest.raises(ValueError, match=message):
        check_lsh(LSH(family, hash_length=hash_length))


@pytest.mark.parametrize(("family", "longest"), [("simhash", 24), ("dwta", 8), ("wta", 8), ("minhash", 8)])
def test_the_longest_hashes_are_allowed(family, longest):
    lsh = LSH(family, hash_length=longest)
    check_lsh(lsh)
    assert draw_hasher(lsh, 16, 100, 0).code_bits == 24


def test_an_automatic_length_is_allowed():
    lsh = LSH("wta")
    check_lsh(lsh)
    assert draw_hasher(lsh, 4, 2**31 - 1, 0).code_bits == 24


def test_a_user_sees_what_every_estimator_has_and_the_parameters():
    public = {name for name in dir(LSH()) if not name.startswith("_")}
    of_all = {name for name in dir(BaseEstimator) if not name.startswith("_")}
    assert public == of_all | LSH().get_params().keys() | {"codes"}


@pytest.mark.parametrize("family", FAMILIES)
def test_codes_are_those_of_the_tables_of_a_classifier(family, data):
    X, Y = data
    lsh = LSH(family, n_tables=5, hash_length=2)
    model = SlideClassifier((16,), lsh=lsh, random_state=3, n_active=10, max_iter=1).fit(X, Y)
    vectors = model.coefs_[-1].T
    codes = lsh.codes(vectors, Y.shape[1], random_state=3)
    assert codes.dtype == np.int32
    assert codes.shape == (Y.shape[1], 5)
    hasher = model._model.hasher
    assert np.array_equal(codes, [reference.hash_vector(row, family, hasher) for row in vectors])
    tables = Ranker(model._model, 1)._make_retrieval()[0].tables
    for t in range(5):
        buckets = np.split(tables.ids[t], tables.offsets[t, 1:-1])
        assert [sorted(bucket) for bucket in buckets] == [
            list(np.flatnonzero(codes[:, t] == code)) for code in range(len(buckets))
        ]


def test_codes_follow_from_the_numbers_alone():
    vectors = np.random.RandomState(0).randn(30, 12)
    vectors[4] = 0
    read_only = vectors.astype(np.float32)
    read_only.flags.writeable = False
    lsh = LSH("dwta", n_tables=4)
    codes = lsh.codes(vectors, 30, random_state=1)
    assert (codes[4] == 0).all()
    for form in (vectors.tolist(), np.asfortranarray(vectors), read_only):
        assert np.array_equal(lsh.codes(form, 30, random_state=1), codes)
    assert np.array_equal(lsh.codes(vectors[7:9], 30, random_state=1), codes[7:9])
    assert not np.array_equal(lsh.codes(vectors, 30, random_state=2), codes)
    # an automatic length has 3 bits for up to some thousand labels, and more for more
    assert codes.max() < 8 <= lsh.codes(vectors, 10**6, random_state=1).max()


@pytest.mark.parametrize(
    ("X", "n_labels", "message"),
    [
        (np.eye(3), 0, "n_labels must be a whole number, at least 1.* Got 0"),
        (np.eye(3), 2.5, "n_labels must be a whole number.* Got 2.5"),
        (np.ones(3), 9, r"Expected 2D array, got 1D array[\s\S]*Reshape your data"),
        (np.full((2, 3), np.nan), 9, "Input X contains NaN"),
        (np.full((2, 3), np.inf), 9, "Input X contains infinity"),
    ],
)
def test_codes_refuse_what_has_none(X, n_labels, message):
    with pytest.raises(ValueError, match=message):
        LSH().codes(X, n_labels)


def test_codes_refuse_sparse_vectors_and_parameters():
    with pytest.raises(TypeError, match=r"toarray\(\)"):
        LSH().codes(sp.csr_array(np.eye(3)), 3)
    with pytest.raises(ValueError, match=r"hash_length=9 .* from 1 to 8, or 'auto'"):
        LSH("dwta", hash_length=9).codes(np.eye(3), 3)
