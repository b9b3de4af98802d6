"""The parameters of the hash tables."""

import pytest

from sklearn_slide import LSH


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
        LSH(family, hash_length=hash_length).validate()


@pytest.mark.parametrize(("family", "longest"), [("simhash", 24), ("dwta", 8), ("wta", 8), ("minhash", 8)])
def test_the_longest_hashes_are_allowed(family, longest):
    lsh = LSH(family, hash_length=longest)
    lsh.validate()
    assert lsh.draw_hasher(16, 100, 0).code_bits == 24


def test_an_automatic_length_is_allowed():
    lsh = LSH("wta")
    lsh.validate()
    assert lsh.draw_hasher(4, 2**31 - 1, 0).code_bits == 24
