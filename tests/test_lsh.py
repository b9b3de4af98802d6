"""The parameters of the hash tables."""

import pytest
from sklearn.base import BaseEstimator

from sklearn_slide import LSH
from sklearn_slide._lsh import check_lsh, draw_hasher


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
    assert (
        public
        == {name for name in dir(BaseEstimator) if not name.startswith("_")} | LSH().get_params().keys()
    )
