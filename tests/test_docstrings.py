"""Public docstrings are as numpydoc wants them, and their examples give what they say."""

import doctest
import importlib
import inspect

import pytest

import sklearn_slide
from sklearn_slide import (
    LSH,
    SlideClassifier,
    _calibrating,
    _classifier,
    _explain,
    _fitting,
    _generator,
    _lsh,
    _predictions,
    datasets,
    metrics,
)

try:
    from sklearn_slide import dask
except ImportError:  # without the extra
    dask = None

PARTS = [_classifier, _fitting, _predictions, _calibrating, _explain, _lsh, datasets, _generator]
EXCEPTED = {
    "ES01": "a summary that says all needs no second paragraph",
    "RT02": "as in scikit-learn, a result has a name",
}
EXCEPTED_OF_PROPERTIES = {
    **EXCEPTED,
    "EX01": "a fitted attribute is read, not called",
    "SA01": "the other attributes stand beside it",
}


def public_names():
    """Return the full names of the public classes, methods, properties, functions and modules."""
    package = sklearn_slide.__name__
    names = [f"{package}.{name}" for name in sklearn_slide.__all__]
    classes = [(f"{package}.SlideClassifier", SlideClassifier), (f"{package}.LSH", LSH)]
    if dask is not None:
        classes.append((f"{dask.__name__}.DaskSlideClassifier", dask.DaskSlideClassifier))
    for class_name, cls in classes:
        for name, member in inspect.getmembers_static(cls):
            function = member.fget if isinstance(member, property) else member
            ours = (getattr(function, "__module__", None) or "").startswith(f"{package}.")
            if ours and not name.startswith("_"):
                names.append(f"{class_name}.{name}")
    for module in filter(None, (metrics, datasets, dask)):
        names += [module.__name__, *(f"{module.__name__}.{name}" for name in module.__all__)]
    return names


def test_names_are_all_found():
    names = public_names()
    assert {LSH.__name__, SlideClassifier.__name__} == set(sklearn_slide.__all__)
    for name in (
        "SlideClassifier.fit",
        "SlideClassifier.compact",
        "SlideClassifier.coefs_",
        "LSH.codes",
        "metrics.ndcg_at_k",
    ):
        assert f"sklearn_slide.{name}" in names


@pytest.mark.parametrize("name", public_names())
def test_docstring_is_valid(name):
    validate = pytest.importorskip("numpydoc.validate", reason="needs numpydoc").validate
    found = validate(name)
    excepted = EXCEPTED_OF_PROPERTIES if found["type"] == "property" else EXCEPTED
    assert [error for error in found["errors"] if error[0] not in excepted] == []


@pytest.fixture(scope="module")
def torch_layer():
    """Return the module of the layer for PyTorch."""
    pytest.importorskip("torch", reason="needs PyTorch: pip install 'sklearn-slide[torch]'")
    return importlib.import_module("sklearn_slide.torch")


def test_layer_docstrings_are_valid(torch_layer):
    validate = pytest.importorskip("numpydoc.validate", reason="needs numpydoc").validate
    names = [f"sklearn_slide.torch.{name}" for name in torch_layer.__all__]
    layer = torch_layer.SlideLinear
    names += [
        f"{names[0]}.{name}"
        for cls in layer.__mro__
        if cls.__module__.startswith("sklearn_slide")
        for name, member in vars(cls).items()
        if inspect.isfunction(member) or isinstance(member, classmethod)
        if not name.startswith("_") and name != "extra_repr"
    ]
    assert len(names) > 12
    for name in names:
        assert [error for error in validate(name)["errors"] if error[0] not in EXCEPTED] == []


@pytest.mark.parametrize("name", ["torch", "_torch_answers", "_torch_estimators", "_torch_loss"])
def test_layer_examples_run(torch_layer, name):
    failed, attempted = doctest.testmod(importlib.import_module(f"sklearn_slide.{name}"))
    assert attempted > 0
    assert failed == 0


@pytest.mark.parametrize("module", PARTS)
def test_examples_run(module):
    failed, attempted = doctest.testmod(module)
    assert attempted > 0
    assert failed == 0


def test_examples_of_dask_run():
    if dask is None:
        pytest.skip("needs sklearn-slide[dask]")
    test_examples_run(dask)
