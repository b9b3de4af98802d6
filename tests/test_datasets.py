"""The bundled task and the generator, and what all data sets have in common."""

import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import scipy.sparse as sp
import sklearn
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.neighbors import NearestNeighbors
from test_xmc_files import HAND_WRITTEN, n_bytes, traced_peak, write

import sklearn_slide
from sklearn_slide import _generator, datasets
from sklearn_slide.datasets import load_wordnet, load_xmc_file, make_xmc_classification

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
    monkeypatch.setattr(_generator, "BLOCK_SIZE", 1000)
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
    assert peak < 1.15 * n_bytes(*result) + 100 * _generator.BLOCK_SIZE


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
