"""The bundled task, the text format of the Extreme Classification Repository, and the generator."""

import gzip
import importlib.util
import re
import subprocess
import sys
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import scipy.sparse as sp
import sklearn
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.neighbors import NearestNeighbors

import sklearn_slide
from sklearn_slide import datasets
from sklearn_slide.datasets import dump_xmc_file, load_wordnet, load_xmc_file, make_xmc_classification

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def train_set():
    return load_wordnet()


@pytest.fixture(scope="module")
def test_set():
    return load_wordnet("test")


def labels_of(bunch, name):
    row = np.flatnonzero(bunch.sample_names == name).item()
    return set(bunch.target_names[bunch.target[row].indices])


def test_wordnet_shapes(train_set, test_set):
    assert len(train_set.data) == 104981
    assert train_set.target.shape == (104981, 109129)
    assert train_set.target.nnz == 326234
    assert len(test_set.data) == 11562
    assert test_set.target.shape == (11562, 109129)
    assert test_set.target.nnz == 30627
    for bunch in (train_set, test_set):
        assert bunch.target.dtype == np.uint8
        assert bunch.target.has_canonical_format
        assert set(bunch.target.data) == {1}
        assert all(isinstance(text, str) for text in bunch.data)
        assert len(bunch.sample_names) == len(bunch.data)
        assert np.diff(bunch.target.indptr).min() == 1
        assert_array_equal(bunch.target_names, train_set.target_names)
    assert np.bincount(train_set.target.indices, minlength=109129).min() == 1
    assert len(set(train_set.target_names)) == 109129


def test_wordnet_split(train_set, test_set):
    assert not set(train_set.sample_names) & set(test_set.sample_names)
    everything = load_wordnet("all")
    assert everything.data == train_set.data + test_set.data
    assert_array_equal(
        everything.sample_names, np.concatenate([train_set.sample_names, test_set.sample_names])
    )
    assert (everything.target != sp.vstack([train_set.target, test_set.target])).nnz == 0


def test_wordnet_known_facts(train_set, test_set):
    dog = np.flatnonzero(train_set.sample_names == "dog.n.01").item()
    assert train_set.data[dog] == (
        "dog, domestic dog, Canis familiaris: a member of the genus Canis (probably descended from the "
        "common wolf) that has been domesticated by man since prehistoric times; occurs in many breeds; "
        '"the dog barked all night" lex_05 pos_n'
    )
    labels = labels_of(train_set, "dog.n.01")
    assert {"canine.n.02", "domestic_animal.n.01", "puppy.n.01", "canis.n.01", "flag.n.07"} <= labels
    assert len(labels) == 23
    assert labels_of(train_set, "lupine.n.01") >= {"lupinus.n.01", "woody_plant.n.01"}
    assert labels_of(test_set, "purge.n.03") == {"removal.n.02", "purge.v.01"}
    most_frequent = np.bincount(train_set.target.indices).argmax()
    assert train_set.target_names[most_frequent] == "city.n.01"


def test_wordnet_return_X_y(test_set):
    data, target = load_wordnet("test", return_X_y=True)
    assert data == test_set.data
    assert (target != test_set.target).nnz == 0


def test_wordnet_description(test_set):
    assert "WORDNET_LICENSE.txt" in test_set.DESCR
    assert "WordNet 3.0 Copyright 2006 by Princeton University.  All rights reserved." in test_set.license
    assert test_set.license.startswith(
        "This software and database is being provided to you, the LICENSEE, by\n"
    )
    assert test_set.license.endswith("Princeton University and LICENSEE agrees to preserve same.\n")
    assert "feature_names" not in test_set


def test_wordnet_vectorized(shared_data):
    bunches = load_wordnet(vectorize=True), load_wordnet("test", vectorize=True)
    X_train, Y_train, X_test, Y_test = shared_data("wordnet-related")
    for bunch, X, Y in zip(bunches, (X_train, X_test), (Y_train, Y_test), strict=True):
        assert bunch.data.dtype == np.float32
        assert bunch.data.shape == X.shape
        assert_array_equal(bunch.data.indptr, X.indptr)
        assert_array_equal(bunch.data.indices, X.indices)
        assert_allclose(bunch.data.data, X.data, rtol=1e-5)
        assert (bunch.target != Y).nnz == 0


def test_wordnet_tfidf_by_hand(train_set, test_set):
    bunch = load_wordnet("test", vectorize=True)
    assert bunch.data.shape == (11562, 51698)
    assert len(bunch.feature_names) == 51698
    row = np.flatnonzero(test_set.sample_names == "purge.n.03").item()
    tokens = re.findall(r"\b\w\w+\b", test_set.data[row].lower())
    counts = {token: tokens.count(token) for token in tokens if token not in datasets.WORDNET_STOP_WORDS}
    documents = [set(re.findall(r"\b\w\w+\b", text.lower())) for text in train_set.data]
    weights = {}
    for token, count in counts.items():
        frequency = sum(token in document for document in documents)
        weights[token] = (1 + np.log(count)) * (np.log((1 + len(documents)) / (1 + frequency)) + 1)
    norm = np.sqrt(sum(weight**2 for weight in weights.values()))
    found = dict(zip(bunch.feature_names[bunch.data[row].indices], bunch.data[row].data, strict=True))
    assert found == pytest.approx({token: weight / norm for token, weight in weights.items()}, rel=1e-5)


def test_wordnet_bad_subset():
    with pytest.raises(ValueError, match="subset must be 'train', 'test' or 'all', got 'valid'"):
        load_wordnet("valid")


def test_wordnet_files_are_small():
    folder = ROOT / "sklearn_slide" / "data"
    sizes = [path.stat().st_size for path in folder.iterdir()]
    assert max(sizes) < 4 * 2**20
    assert sum(sizes) < 5 * 2**20


def test_make_wordnet(tmp_path, monkeypatch):
    notice = "  1 You may copy this.  \n  2   \n  3 Keep the notice.  \n"
    files = {
        "data.noun": "00000057 05 n 02 dog 0 domestic_dog 0 003 ~ 00000180 n 0000 ! 00000057 v 0101 "
        "@ 00000180 n 0000 | a pet; it barks  \n"
        "00000180 05 n 01 Pet 0 000 | a tame animal  \n",
        "index.noun": "dog n 2 1 ~ 2 1 00000099 00000057  \npet n 1 0 1 0 00000180  \n",
        "data.verb": "00000057 30 v 01 bark 1 001 + 00000057 n 0101 01 + 02 00 | make a noise  \n",
        "index.verb": "bark v 1 0 1 0 00000057  \n",
        "data.adj": "00000057 00 s 01 tame(p) 0 001 & 00000057 r 0000 | not wild  \n",
        "index.adj": "tame a 1 0 1 0 00000057  \n",
        "data.adv": "00000057 02 r 01 tamely 0 001 \\ 00000057 a 0101 | in a tame way  \n",
        "index.adv": "tamely r 1 0 1 0 00000057  \n",
    }
    source = tmp_path / "dict"
    source.mkdir()
    for name, text in files.items():
        (source / name).write_text(notice + text)
    spec = importlib.util.spec_from_file_location("make_wordnet", ROOT / "examples" / "make_wordnet.py")
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    contents = []
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
        script.main(source, tmp_path / name)
        contents.append({path.name: path.read_bytes() for path in (tmp_path / name).iterdir()})

    assert contents[0] == contents[1]
    assert contents[0]["WORDNET_LICENSE.txt"] == b"You may copy this.\n\nKeep the notice.\n"
    names, texts = datasets._read_synsets(tmp_path / "first" / "wordnet.txt.xz")
    assert names.tolist() == ["tame.s.01", "dog.n.02", "pet.n.01", "tamely.r.01", "bark.v.01"]
    assert texts[0] == "tame(p): not wild lex_00 pos_a"
    assert texts[1] == "dog, domestic dog: a pet; it barks lex_05 pos_n"
    pointers = sp.load_npz(tmp_path / "first" / "wordnet_pointers.npz")
    assert [pointers[row].indices.tolist() for row in range(5)] == [[3], [2, 4], [], [0], [1]]


def write(folder, content, name="data.txt"):
    path = folder / name
    path.write_bytes(content)
    return path


HAND_WRITTEN = b"6 5 4\n2,0 0:1.5 4:-2\n 1:1e-3\n3\n\n1,1  2:+.5\t3:4. \r\n\t\n"
HAND_X = [[1.5, 0, 0, 0, -2], [0, 1e-3, 0, 0, 0], [0] * 5, [0] * 5, [0, 0, 0.5, 4, 0], [0] * 5]
HAND_Y = [[1, 0, 1, 0], [0] * 4, [0, 0, 0, 1], [0] * 4, [0, 1, 0, 0], [0] * 4]


@pytest.mark.parametrize("chunk_size", [1, 9, 2**20])
@pytest.mark.parametrize("content", [HAND_WRITTEN, HAND_WRITTEN[:-1], HAND_WRITTEN + b"\n \r\n"])
def test_load_by_hand(tmp_path, monkeypatch, chunk_size, content):
    monkeypatch.setattr(datasets, "CHUNK_SIZE", chunk_size)
    X, Y = load_xmc_file(str(write(tmp_path, content)))
    assert X.format == Y.format == "csr"
    assert X.dtype == np.float32
    assert Y.dtype == np.uint8
    assert X.has_canonical_format
    assert Y.has_canonical_format
    assert_array_equal(X.toarray(), np.array(HAND_X, dtype=np.float32))
    assert_array_equal(Y.toarray(), HAND_Y)


@pytest.mark.parametrize(
    ("content", "x_shape", "y_shape"),
    [(b"0 5 4\n", (0, 5), (0, 4)), (b"2 0 4\n3\n\n", (2, 0), (2, 4)), (b"1 5 0\n 4:1\n", (1, 5), (1, 0))],
)
def test_load_empty_sides(tmp_path, content, x_shape, y_shape):
    X, Y = load_xmc_file(write(tmp_path, content))
    assert X.shape == x_shape
    assert Y.shape == y_shape


@pytest.mark.parametrize(
    ("content", "line", "message"),
    [
        (b"", 1, "expected the header 'n_samples n_features n_labels'.*got ''"),
        (b"0,1 0:1 2:3\n", 1, "expected the header .* got '0,1 0:1 2:3"),
        (b"2 3\n1 1:1\n", 1, "expected the header"),
        (b"2 3 4 5\n1 1:1\n", 1, "expected the header"),
        (b"-2 3 4\n1 1:1\n", 1, "expected the header"),
        (
            b"2 3 2147483648\n1 1:1\n",
            1,
            "expected the header .*, three integers from 0 to 2147483647, got '2 3 2147483648",
        ),
        (b"x" * 1000, 1, "expected the header .*x{60}\\.\\.\\.'$"),
        (b"\xff\xfe2 3 4\n", 1, r"expected the header .*\\xff"),
        (b"1 3 4\n-1 1:1\n", 2, "expected labels from 0 to below 4, joined by commas, got '-1'"),
        (b"2 3 4\n0 1:1\n1,4 1:1\n", 3, "expected labels from 0 to below 4, joined by commas, got '4'"),
        (b"1 3 4\n99999999999999999999 1:1\n", 2, "expected labels from 0 to below 4"),
        (b"1 3 4\n1, 1:1\n", 2, "expected labels .* got ''"),
        (b"1 3 4\n1.5 1:1\n", 2, "expected labels .* got '1.5'"),
        (b"1 3 4\n1_0 1:1\n", 2, "expected labels .* got '1_0'"),
        (b"2 3 4\n\nqid 1:1\n", 3, "expected labels .* got 'qid'"),
        (b"1 3 4\n1 -1:1\n", 2, "expected feature:value, the feature from 0 to below 3, got '-1:1'"),
        (b"1 3 4\n1 3:1\n", 2, "expected feature:value, the feature from 0 to below 3, got '3:1'"),
        (b"1 3 4\n1 9999999999:1\n", 2, "expected feature:value, the feature from 0 to below 3"),
        (b"1 3 4\n1 qid:1 1:1\n", 2, "expected feature:value, .* got 'qid:1'"),
        (b"1 3 4\n1 1:1 # 2\n", 2, "expected feature:value, .* got '#'"),
        (b"1 3 4\n1 2\n", 2, "expected feature:value, .* got '2'"),
        (b"1 3 4\n1 1: 2\n", 2, "expected a value that is finite in float32, got '1:'"),
        (b"1 3 4\n1 1:one\n", 2, "expected a value that is finite in float32, got '1:one'"),
        (b"1 3 4\n1 1:1:1\n", 2, "expected a value that is finite in float32, got '1:1:1'"),
        (b"1 3 4\n1 1:nan\n", 2, "expected a value that is finite in float32, got '1:nan'"),
        (b"1 3 4\n1 1:-inf\n", 2, "expected a value that is finite in float32, got '1:-inf'"),
        (b"1 3 4\n1 1:1e39\n", 2, "expected a value that is finite in float32, got '1:1e39'"),
        (b"1 3 4\n1 2:1 1:1\n", 2, "expected ascending features, got 1 after 2"),
        (b"1 3 4\n1 1:1 1:1\n", 2, "expected ascending features, got 1 after 1"),
        (b"2 3 4\n1 1:1\n1 1:1\0\n", 3, "expected text, got a NUL byte"),
        (b"1 3 4\n1 1:1\r2 1:1\n", 2, "expected feature:value, .* got '2'"),
        (b"1 3 4\n1 1:1\x0b2:1\n", 2, "expected spaces or tabs between the fields"),
        (b"1 3 4\n00000000001 1:1\n", 2, "expected .* ids of at most ten digits"),
        (b"3 3 4\n1 1:1\n1 1:1\n", 4, "expected 3 rows, as the header says, got only 2"),
        (b"1 3 4\n1 1:1\n\n1 2:1\n", 4, "expected 1 rows, as the header says, got also '1 2:1"),
        (b"0 3 4\n1 1:1\n", 2, "expected 0 rows, as the header says, got also"),
    ],
)
@pytest.mark.parametrize("chunk_size", [1, 2**20])
def test_malformed(tmp_path, monkeypatch, content, line, message, chunk_size):
    monkeypatch.setattr(datasets, "CHUNK_SIZE", chunk_size)
    path = write(tmp_path, content)
    with pytest.raises(ValueError, match=f"^{re.escape(str(path))}, line {line}: {message}"):
        load_xmc_file(path)


def parse_obviously(content):
    """Return the dense X and Y of a file, or None if the file breaks a rule of the format."""
    header, *lines = content.decode("latin-1").removesuffix("\n").split("\n")
    if not re.fullmatch(r"[ \t]*\d+[ \t]+\d+[ \t]+\d+\s*", header, flags=re.ASCII):
        return None
    n_samples, n_features, n_labels = map(int, header.split())
    if len(lines) < n_samples or any(not re.fullmatch("[ \t\r]*", line) for line in lines[n_samples:]):
        return None
    X, Y = (
        np.zeros((n_samples, n_features), dtype=np.float32),
        np.zeros((n_samples, n_labels), dtype=np.uint8),
    )
    for x, y, line in zip(X, Y, lines, strict=False):
        if not re.fullmatch(r"[-+.:,0-9eE \t]*\r?", line):
            return None
        tokens = [token for token in re.split("[ \t\r]+", line) if token]
        try:
            labels = tokens.pop(0).split(",") if tokens and ":" not in tokens[0] else []
            pairs = [token.split(":") for token in tokens]
            features = [int(feature) for feature, _ in pairs]
            if not all(text.isdigit() for text in labels + [feature for feature, _ in pairs]):
                return None
            if features != sorted(set(features)):
                return None
            y[[int(label) for label in labels]] = 1
            x[features] = [float(value) for _, value in pairs]
        except (ValueError, IndexError):
            return None
        if not np.isfinite(x).all():
            return None
    return X, Y


@pytest.mark.filterwarnings("ignore:overflow encountered:RuntimeWarning")
def test_mutated_files(tmp_path):
    """A changed file is read as a slow parser reads it, or refused with a line where that refuses it."""
    rng = np.random.RandomState(0)
    n_read = 0
    for _ in range(1500):
        content = bytearray(HAND_WRITTEN)
        for position in rng.randint(len(content), size=rng.randint(1, 3)):
            content[position] = rng.choice(list(b"0123456789999:,. \t\r\n\n-+eEnx#\0\xe9"))
        expected = parse_obviously(bytes(content))
        path = write(tmp_path, content)
        if expected is None:
            with pytest.raises(ValueError, match=rf"^{re.escape(str(path))}, line \d: expected"):
                load_xmc_file(path)
        else:
            n_read += 1
            for found, matrix in zip(load_xmc_file(path), expected, strict=True):
                assert_array_equal(found.toarray(), matrix)
    assert 100 < n_read < 1400


@pytest.mark.parametrize("suffix", [".gz", ".bz2"])
@pytest.mark.parametrize("damage", ["cut", "plain", "changed"])
def test_damaged_compression(tmp_path, suffix, damage):
    X, Y = make_xmc_classification(200, random_state=0)
    path = tmp_path / f"data.txt{suffix}"
    dump_xmc_file(X, Y, path)
    content = bytearray(path.read_bytes())
    if damage == "cut":
        del content[len(content) // 2 :]
    elif damage == "plain":
        content = HAND_WRITTEN
    else:
        content[len(content) // 2 :] = bytes(len(content) // 2)
    path.write_bytes(content)
    message = (
        f"^{re.escape(str(path))}, after line 1: expected a whole {suffix} file, got a damaged or cut one"
    )
    with pytest.raises(ValueError, match=message):
        load_xmc_file(path)


def test_load_missing_file(tmp_path):
    with pytest.raises(FileNotFoundError):
        load_xmc_file(tmp_path / "none.txt")


@pytest.mark.parametrize("suffix", ["", ".gz", ".bz2"])
def test_round_trip(tmp_path, suffix):
    rng = np.random.RandomState(0)
    X = sp.random(300, 70, density=0.1, format="csr", dtype=np.float32, random_state=rng)
    X.data = rng.randint(2**32, size=X.nnz, dtype=np.uint32).view(np.float32)  # all exponents, both signs
    X.data[~(np.abs(X.data) < 1e30)] = np.finfo(np.float32).tiny
    X.data[0] = np.finfo(np.float32).max
    Y = sp.random(300, 50, density=0.03, format="csr", random_state=rng)
    Y.data[:] = 1
    assert np.diff(X.indptr).min() == np.diff(Y.indptr).min() == 0
    path = tmp_path / f"data.txt{suffix}"
    dump_xmc_file(X, Y, path)
    assert (path.read_bytes()[:2] == b"\x1f\x8b") == (suffix == ".gz")
    X_read, Y_read = load_xmc_file(path)
    assert_array_equal(X_read.data, X.data)
    assert_array_equal(X_read.indices, X.indices)
    assert_array_equal(X_read.indptr, X.indptr)
    assert (Y_read != Y).nnz == 0


@pytest.mark.parametrize("container", [np.array, sp.csr_matrix, sp.csr_array, sp.csc_matrix, sp.coo_array])
@pytest.mark.parametrize("dtype", [bool, np.int64, np.float32])
def test_dump_accepts(tmp_path, container, dtype):
    path = tmp_path / "data.txt"
    dump_xmc_file(container(np.array(HAND_X)), container(np.array(HAND_Y, dtype=dtype)), path)
    expected = b"6 5 4\n0,2 0:1.5 4:-2\n 1:0.001000000047497451\n3 \n \n1 2:0.5 3:4\n \n"
    assert path.read_bytes() == expected


def test_dump_tidies(tmp_path):
    """Entries out of order, double or zero, and 64-bit indices; the input stays as it was."""
    indices, indptr = np.array([2, 0, 2, 1]), np.array([0, 3, 4])
    X = sp.csr_array((np.array([1.0, 2, 3, 0], dtype=np.float32), indices, indptr), shape=(2, 3))
    Y = sp.csr_array((np.array([1, 1, 1, 0]), indices.copy(), indptr.copy()), shape=(2, 3))
    X.indices, X.indptr = X.indices.astype(np.int64), X.indptr.astype(np.int64)
    dump_xmc_file(X, Y, tmp_path / "data.txt")
    assert (tmp_path / "data.txt").read_bytes() == b"2 3 3\n0,2 0:2 2:4\n \n"
    assert X.nnz == Y.nnz == 4
    assert_array_equal(X.indices, [2, 0, 2, 1])


@pytest.mark.parametrize(
    ("X", "Y", "message"),
    [
        ([[1.0], [2.0]], [[1]], "X and Y must have the same number of rows, got 2 and 1"),
        ([[1.0]], [[2]], "Y must be an indicator of labels, with no values but 0 and 1"),
        ([[np.nan]], [[1]], "Input X contains NaN"),
        ([[1e39]], [[1]], "Input X contains infinity"),
        ([[1.0]], [[np.nan]], "Input Y contains NaN"),
    ],
)
@pytest.mark.filterwarnings("ignore:overflow encountered in cast:RuntimeWarning")
def test_dump_bad_input(tmp_path, X, Y, message):
    path = tmp_path / "data.txt"
    with pytest.raises(ValueError, match=message):
        dump_xmc_file(X, Y, path)
    assert not path.exists()


def traced_peak(function, *args):
    tracemalloc.start()
    try:
        result = function(*args)
        return result, tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def n_bytes(*matrices):
    return sum(m.data.nbytes + m.indices.nbytes + m.indptr.nbytes for m in matrices)


def test_load_bounded_memory(tmp_path):
    X, Y = make_xmc_classification(20000, 5000, 3000, random_state=0)
    dump_xmc_file(X, Y, tmp_path / "data.txt")
    assert (tmp_path / "data.txt").stat().st_size > 14e6
    (X_read, Y_read), peak = traced_peak(load_xmc_file, tmp_path / "data.txt")
    assert (X_read != X).nnz == (Y_read != Y).nnz == 0
    assert peak < 1.15 * n_bytes(X, Y) + 8 * datasets.CHUNK_SIZE


@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_header_allocates_nothing(tmp_path, suffix):
    content = b"2147483647 2147483647 2147483647\n2147483646 2147483646:1\n"
    path = write(tmp_path, gzip.compress(content) if suffix else content, f"data.txt{suffix}")

    def load():
        with pytest.raises(ValueError, match=r"line 3: expected 2147483647 rows, .* got only 1"):
            load_xmc_file(path)

    assert traced_peak(load)[1] < 2e6


@pytest.mark.skipif("sparse_interface" not in sklearn.get_config(), reason="scikit-learn has no such setting")
@pytest.mark.parametrize(("interface", "container"), [("sparray", sp.csr_array), ("spmatrix", sp.csr_matrix)])
def test_sparse_interface(tmp_path, interface, container):
    with sklearn.config_context(sparse_interface=interface):
        matrices = [
            *make_xmc_classification(10, random_state=0),
            *load_xmc_file(write(tmp_path, HAND_WRITTEN)),
        ]
        matrices += load_wordnet("test", vectorize=True, return_X_y=True)
    assert {type(matrix) for matrix in matrices} == {container}


def test_generator_shapes():
    X, Y = make_xmc_classification(
        3000, 4000, 5000, n_features_per_sample=40, n_labels_per_sample=4, random_state=0
    )
    assert X.shape == (3000, 4000)
    assert Y.shape == (3000, 5000)
    assert X.format == Y.format == "csr"
    assert X.dtype == np.float32
    assert Y.dtype == np.uint8
    assert X.has_canonical_format
    assert Y.has_canonical_format
    assert set(Y.data) == {1}
    # 1 + Poisson(m - 1) has the standard deviation sqrt(m - 1); five standard errors
    assert X.nnz / 3000 == pytest.approx(40, abs=5 * np.sqrt(39 / 3000))
    assert Y.nnz / 3000 == pytest.approx(4, abs=5 * np.sqrt(3 / 3000))
    assert np.diff(X.indptr).min() >= 1
    assert np.diff(Y.indptr).min() >= 1
    assert_allclose(np.sqrt(X.multiply(X).sum(axis=1)), 1, rtol=1e-6)


@pytest.mark.parametrize("exponent", [0, 0.5, 1.0])
def test_generator_power_law(exponent):
    """With one label a row, the label of rank r has the frequency r**-a / sum(r**-a)."""
    n = 100_000
    _, Y = make_xmc_classification(
        n, 10, 50, n_features_per_sample=1, n_labels_per_sample=1, label_exponent=exponent, random_state=1
    )
    assert_array_equal(np.diff(Y.indptr), 1)
    share = np.arange(1, 51.0) ** -exponent
    share /= share.sum()
    counts = np.bincount(Y.indices, minlength=50)
    expected = n * share
    sorted_counts = np.sort(counts)[::-1]
    assert np.all(np.abs(sorted_counts - expected) < 6 * np.sqrt(expected))
    if exponent:  # ranks are given out by chance
        assert not np.array_equal(np.argsort(-counts), np.arange(50))


def test_generator_power_law_of_noise():
    X, _ = make_xmc_classification(
        100_000, 50, 5, n_features_per_sample=1, noise=1, feature_exponent=1.0, random_state=1
    )
    share = 1 / np.arange(1, 51.0)
    expected = 100_000 * share / share.sum()
    counts = np.sort(np.bincount(X.indices, minlength=50))[::-1]
    assert np.all(np.abs(counts - expected) < 6 * np.sqrt(expected))


def precision_at_1_of_neighbours(noise):
    X, Y = make_xmc_classification(3000, 2000, 300, noise=noise, label_exponent=0.8, random_state=0)
    X_train, Y_train, X_test, Y_test = X[:2500], Y[:2500].astype(float), X[2500:], Y[2500:]
    neighbours = NearestNeighbors(n_neighbors=10).fit(X_train).kneighbors_graph(X_test)
    predicted = np.asarray((neighbours @ Y_train).todense()).argmax(axis=1)
    frequent = np.asarray(Y_train.sum(axis=0)).argmax()
    Y_test = Y_test.toarray()
    return Y_test[np.arange(500), predicted].mean(), Y_test[:, frequent].mean()


def test_generator_is_learnable():
    reached, frequent = precision_at_1_of_neighbours(noise=0.3)
    assert reached > 0.5
    assert reached > 3 * frequent


def test_generator_noise_hides_the_labels():
    reached, frequent = precision_at_1_of_neighbours(noise=1)
    assert reached < frequent + 0.05


def test_generator_without_noise():
    """Features of a sample are characteristic ones of its label, at most as many as there are."""
    X, Y = make_xmc_classification(
        400,
        5000,
        20,
        n_features_per_sample=100,
        n_labels_per_sample=1,
        n_features_per_label=6,
        noise=0,
        random_state=0,
    )
    for label in range(20):
        rows = X[Y.toarray()[:, label] == 1]
        assert len(np.unique(rows.indices)) <= 6
    assert np.diff(X.indptr).min() >= 5


def test_generator_repeats():
    first = make_xmc_classification(200, random_state=3)
    again = make_xmc_classification(200, random_state=np.random.RandomState(3))
    other = make_xmc_classification(200, random_state=4)
    for a, b, c in zip(first, again, other, strict=True):
        assert (a != b).nnz == 0
        assert (a != c).nnz > 0


def test_generator_blocks(monkeypatch):
    """More blocks than one give the same shapes and full rows."""
    monkeypatch.setattr(datasets, "BLOCK_SIZE", 1000)
    X, Y = make_xmc_classification(1000, random_state=0)
    assert X.shape[0] == Y.shape[0] == 1000
    assert X.nnz / 1000 == pytest.approx(30, abs=5 * np.sqrt(29 / 1000))
    assert_allclose(np.sqrt(X.multiply(X).sum(axis=1)), 1, rtol=1e-6)


def test_generator_fills_narrow_shapes():
    X, Y = make_xmc_classification(
        50,
        3,
        2,
        n_features_per_sample=3,
        n_labels_per_sample=2,
        label_exponent=0,
        feature_exponent=0,
        noise=1,
        random_state=0,
    )
    assert np.diff(X.indptr).max() == 3
    assert np.diff(Y.indptr).max() == 2


def test_generator_bounded_memory():
    result, peak = traced_peak(
        lambda: make_xmc_classification(
            60000, 20000, 100_000, n_features_per_sample=50, n_labels_per_sample=4, random_state=0
        )
    )
    assert peak < 1.15 * n_bytes(*result) + 100 * datasets.BLOCK_SIZE


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"n_samples": 0}, "n_samples must be an int from 1 to 2147483647, got 0"),
        ({"n_features": 2.5}, "n_features must be an int from 1 to 2147483647, got 2.5"),
        ({"n_labels": "many"}, "n_labels must be an int from 1 to 2147483647, got 'many'"),
        ({"n_features_per_sample": 0.5}, "n_features_per_sample must be a number from 1 to 2000, got 0.5"),
        ({"n_labels_per_sample": 501}, "n_labels_per_sample must be a number from 1 to 500, got 501"),
        ({"n_features_per_label": 0}, "n_features_per_label must be an int from 1 to 2147483647, got 0"),
        ({"noise": 1.1}, "noise must be a number from 0 to 1, got 1.1"),
        ({"noise": np.nan}, "noise must be a number from 0 to 1, got nan"),
        ({"label_exponent": -1}, "label_exponent must be a number from 0 to 10, got -1"),
        ({"feature_exponent": None}, "feature_exponent must be a number from 0 to 10, got None"),
        ({"random_state": "seed"}, "'seed' cannot be used to seed"),
    ],
)
def test_generator_bad_parameters(parameters, message):
    with pytest.raises(ValueError, match=message):
        make_xmc_classification(**parameters)


def test_package_does_not_import_datasets():
    code = "import sys, sklearn_slide; print('sklearn_slide.datasets' in sys.modules)"
    folder = Path(sklearn_slide.__file__).parents[1]
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=folder, check=True)
    assert run.stdout.strip() == "False"
