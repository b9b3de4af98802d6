"""Tools of scikit-learn around the estimator at 50,000 labels, with a sparse y that may not become dense."""

import html
import warnings

import joblib
import numpy as np
import pytest
import scipy.sparse as sp
import sklearn
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import ColumnTransformer
from sklearn.datasets import make_classification
from sklearn.ensemble import StackingClassifier, VotingClassifier
from sklearn.experimental import enable_halving_search_cv  # noqa: F401
from sklearn.feature_extraction.text import HashingVectorizer, TfidfVectorizer
from sklearn.feature_selection import SelectKBest, VarianceThreshold, chi2, f_classif
from sklearn.model_selection import (
    GridSearchCV,
    HalvingGridSearchCV,
    KFold,
    RandomizedSearchCV,
    StratifiedKFold,
    cross_val_predict,
    cross_val_score,
    cross_validate,
    learning_curve,
    permutation_test_score,
    validation_curve,
)
from sklearn.pipeline import FeatureUnion, make_pipeline
from sklearn.preprocessing import MaxAbsScaler, StandardScaler

from sklearn_slide import LSH, SlideClassifier
from sklearn_slide.metrics import predict_top_k, top_k_scorer

N_SAMPLES, N_LABELS = 60, 50_000


@pytest.fixture(scope="module")
def texts():
    rng = np.random.default_rng(0)
    return [" ".join(f"w{word}" for word in rng.integers(80, size=8)) for _ in range(N_SAMPLES)]


@pytest.fixture(scope="module")
def Y():
    rng = np.random.default_rng(1)
    rows = np.repeat(np.arange(N_SAMPLES), 3)
    return sp.csr_matrix((np.ones(180), (rows, rng.integers(N_LABELS, size=180))), (N_SAMPLES, N_LABELS))


@pytest.fixture(autouse=True)
def refuse_dense(monkeypatch):
    """Let nothing of as many columns as there are labels become dense."""
    original = sp.csr_matrix.toarray

    def toarray(self, *args, **kwargs):
        assert self.shape[1] < N_LABELS, "made dense"
        return original(self, *args, **kwargs)

    monkeypatch.setattr(sp.csr_matrix, "toarray", toarray)
    monkeypatch.setattr(sp.csr_matrix, "todense", toarray)


def make(n_jobs=None):
    model = SlideClassifier((8,), n_active=50, lsh=LSH(n_tables=4), max_iter=1, random_state=0, n_jobs=n_jobs)
    return make_pipeline(TfidfVectorizer(), model)


def test_pipeline_of_a_union(texts, Y):
    union = FeatureUnion([("words", TfidfVectorizer()), ("hashed", HashingVectorizer(n_features=64))])
    model = make_pipeline(union, make()[-1]).fit(texts, Y)
    labels, _ = predict_top_k(model, texts, 4)
    assert labels.shape == (N_SAMPLES, 4)
    assert model.predict(texts).shape == Y.shape


def test_pipeline_of_a_column_transformer(texts, Y):
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({"text": texts, "length": [len(text) for text in texts]})
    columns = ColumnTransformer([("words", TfidfVectorizer(), 0), ("scaled", MaxAbsScaler(), [1])])
    model = make_pipeline(columns, make()[-1]).fit(frame, Y)
    assert model[-1].n_features_in_ == len(columns.fit(frame).get_feature_names_out())
    assert predict_top_k(model, frame, 4)[0].shape == (N_SAMPLES, 4)


def test_selection_of_features(texts, Y):
    with pytest.raises(TypeError, match="dense data is required"):
        make_pipeline(TfidfVectorizer(), SelectKBest(f_classif, k=20), make()[-1]).fit(texts, Y)
    # chi2 makes a dense array of labels x features
    for selector in (SelectKBest(chi2, k=20), VarianceThreshold(0.005)):
        model = make_pipeline(TfidfVectorizer(), selector, make()[-1]).fit(texts, Y)
        assert model[-1].n_features_in_ == selector.get_support().sum() < model[0].transform(texts).shape[1]
        assert predict_top_k(model, texts, 3)[0].shape == (N_SAMPLES, 3)


@pytest.mark.parametrize("search", [GridSearchCV, RandomizedSearchCV])
@pytest.mark.parametrize(("backend", "n_jobs", "ours"), [("threading", 2, 2), ("threading", 1, None)])
def test_searches(texts, Y, search, backend, n_jobs, ours):
    grid = {"slideclassifier__learning_rate_init": [0.05, 0.1]}
    scoring = {"P@1": top_k_scorer("precision_at_k", k=1), "nDCG": top_k_scorer("ndcg_at_k")}
    params = {"scoring": scoring, "refit": "nDCG", "cv": KFold(2), "error_score": "raise", "n_jobs": n_jobs}
    with joblib.parallel_config(backend=backend):
        found = search(make(ours), grid, **params | ({"n_iter": 2} if search is RandomizedSearchCV else {}))
        found.fit(texts, Y)
    assert predict_top_k(found, texts, 3)[0].shape == (N_SAMPLES, 3)
    assert set(found.cv_results_) >= {"mean_test_P@1", "mean_test_nDCG"}


@pytest.mark.parametrize("ours", [None, 2])
def test_search_in_processes(texts, Y, ours):
    found = RandomizedSearchCV(
        make(ours),
        {"slideclassifier__learning_rate_init": [0.05, 0.1]},
        n_iter=2,
        scoring=top_k_scorer("precision_at_k"),
        cv=KFold(2),
        error_score="raise",
        n_jobs=2,
    )
    with joblib.parallel_config(backend="loky"):
        found.fit(texts, Y)
    labels, scores = predict_top_k(found, texts, 3)
    expected, expected_scores = predict_top_k(found.best_estimator_, texts, 3)
    assert (labels == expected).all()
    assert (scores == expected_scores).all()
    assert ((found.cv_results_["mean_test_score"] >= 0) & (found.cv_results_["mean_test_score"] <= 1)).all()


@pytest.mark.parametrize("function", [cross_val_score, cross_validate, learning_curve, validation_curve])
def test_cross_validation_refuses_a_sparse_target(texts, Y, function):
    params = {"scoring": top_k_scorer("precision_at_k"), "cv": KFold(2), "error_score": "raise"}
    if function is validation_curve:
        params |= {"param_name": "slideclassifier__max_iter", "param_range": [1]}
    try:
        function(make(), texts, Y, **params)
    except (TypeError, ValueError) as error:
        assert f"The 'y' parameter of {function.__name__} must be" in str(error)  # noqa: PT017
    else:
        pytest.skip(f"scikit-learn {sklearn.__version__} accepts a sparse y")


def test_learning_curve_needs_a_context(texts, Y):
    with sklearn.config_context(skip_parameter_validation=True):
        sizes, train_scores, test_scores = learning_curve(
            make(),
            texts,
            Y,
            train_sizes=[10, 20],
            scoring=top_k_scorer("precision_at_k"),
            cv=KFold(2),
            error_score="raise",
        )
    assert list(sizes) == [10, 20]
    for scores in (train_scores, test_scores):
        assert scores.shape == (2, 2)
        assert ((scores >= 0) & (scores <= 1)).all()


def test_validation_curve_needs_a_context(texts, Y):
    scorer, name = top_k_scorer("precision_at_k", k=1), "slideclassifier__learning_rate_init"
    with sklearn.config_context(skip_parameter_validation=True):
        train_scores, test_scores = validation_curve(
            make(),
            texts,
            Y,
            param_name=name,
            param_range=[1e-6, 0.5],
            scoring=scorer,
            cv=KFold(2),
            error_score="raise",
        )
    train, test = next(KFold(2).split(texts))
    model = make().set_params(**{name: 0.5}).fit([texts[i] for i in train], Y[train])
    assert train_scores[1, 0] == scorer(model, [texts[i] for i in train], Y[train])
    assert test_scores[1, 0] == scorer(model, [texts[i] for i in test], Y[test])
    assert not np.array_equal(train_scores[0], train_scores[1])


COMBINED = [
    lambda model: StackingClassifier([("a", model), ("b", model)], cv=3),
    lambda model: VotingClassifier([("a", model), ("b", model)], voting="soft"),
    lambda model: CalibratedClassifierCV(model, cv=3),
]


@pytest.mark.parametrize("combine", COMBINED, ids=["stacking", "voting", "calibrated"])
def test_combined_classifiers_of_single_labels(combine):
    X, y = make_classification(150, 10, n_informative=6, n_classes=3, class_sep=2.0, random_state=0)
    names = np.array(["a", "b", "c"])[y]
    model = combine(SlideClassifier((16,), max_iter=20, random_state=0)).fit(X, names)
    probabilities = model.predict_proba(X)
    assert np.allclose(probabilities.sum(axis=1), 1)
    assert (model.predict(X) == model.classes_[probabilities.argmax(axis=1)]).all()
    assert model.score(X, names) > 0.8


@pytest.mark.parametrize("combine", COMBINED, ids=["stacking", "voting", "calibrated"])
def test_combined_classifiers_refuse_a_sparse_target(texts, Y, combine):
    features = TfidfVectorizer().fit_transform(texts)
    with pytest.raises((TypeError, NotImplementedError), match=r"dense data is required|[Mm]ultilabel"):
        combine(make()[-1]).fit(features, Y)


@pytest.mark.parametrize("function", [cross_val_score, cross_validate])
def test_cross_validation_needs_a_context(texts, Y, function):
    params = {"scoring": top_k_scorer("precision_at_k"), "cv": KFold(2), "error_score": "raise"}
    with sklearn.config_context(skip_parameter_validation=True):
        scores = function(make(), texts, Y, **params)
    scores = scores["test_score"] if isinstance(scores, dict) else scores
    assert ((scores >= 0) & (scores <= 1)).all()


def test_cross_validated_predictions_are_sparse(texts, Y):
    predicted = cross_val_predict(make(), texts, Y, cv=KFold(3))
    assert sp.issparse(predicted)
    assert predicted.shape == Y.shape
    assert predicted.dtype == Y.dtype


@pytest.mark.parametrize("n_labels", [40, N_LABELS])
def test_cross_validated_top_k(texts, Y, n_labels):
    Y = Y if n_labels == N_LABELS else sp.csr_matrix(np.random.default_rng(2).random((N_SAMPLES, 40)) < 0.1)
    labels = np.empty((N_SAMPLES, 3), dtype=np.int64)
    for train, test in KFold(3).split(texts):
        model = make().fit([texts[i] for i in train], Y[train])
        labels[test] = predict_top_k(model, [texts[i] for i in test], 3)[0]
    if n_labels == N_LABELS:
        assert labels.max() < N_LABELS
    else:
        scores = cross_val_predict(make(), texts, Y.toarray(), cv=KFold(3), method="decision_function")
        assert (labels == np.argsort(-scores, axis=1)[:, :3]).all()


def test_refused_in_any_context(texts, Y):
    params = {"scoring": top_k_scorer("precision_at_k"), "cv": KFold(2)}
    with sklearn.config_context(skip_parameter_validation=True):
        with pytest.raises((TypeError, ValueError)):
            HalvingGridSearchCV(make(), {"slideclassifier__max_iter": [1, 2]}, **params).fit(texts, Y)
        with pytest.raises((TypeError, ValueError)):
            permutation_test_score(make(), texts, Y, n_permutations=1, **params)
        with pytest.raises((TypeError, ValueError)):
            cross_val_score(make(), texts, Y, **params | {"cv": StratifiedKFold(2)})


@pytest.mark.parametrize("library", ["pandas", "polars"])
def test_names_of_features(library):
    frames = pytest.importorskip(library)
    rng = np.random.default_rng(0)
    X, y = rng.random((40, 3)), rng.integers(3, size=40)

    def frame(names):
        return frames.DataFrame(dict(zip(names, X.T, strict=True)))

    if not hasattr(StandardScaler().fit(frame("abc")), "feature_names_in_"):
        pytest.skip(f"scikit-learn {sklearn.__version__} takes no names from {library} {frames.__version__}")
    model, unnamed = (SlideClassifier((4,), random_state=0) for _ in range(2))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model.fit(frame("abc"), y).partial_fit(frame("abc"), y).predict_top_k(frame("abc"), 2)
    unnamed.fit(X, y).partial_fit(X, y)
    assert model.feature_names_in_.tolist() == ["a", "b", "c"]
    assert np.array_equal(model.predict_proba(frame("abc")), unnamed.predict_proba(X))
    for names in ("bac", "abz"):
        for call in (model.predict, lambda X: model.predict_top_k(X, 2), lambda X: model.partial_fit(X, y)):
            with pytest.raises(
                ValueError, match="feature names should match those that were passed during fit"
            ):
                call(frame(names))
    with pytest.warns(
        UserWarning, match="X does not have valid feature names, but SlideClassifier was fitted"
    ):
        model.predict_top_k(X, 2)
    with pytest.warns(UserWarning, match="SlideClassifier was fitted without feature names"):
        unnamed.predict_top_k(frame("abc"), 2)


@pytest.mark.parametrize("shown", ["new", "fitted", "tables"])
def test_representation_in_a_notebook(texts, Y, shown, monkeypatch):
    # scikit-learn shows the descriptions where documentation has an address, which the templates make up
    cls = LSH if shown == "tables" else SlideClassifier
    monkeypatch.setattr(cls, "_doc_link_module", "sklearn_slide", raising=False)
    monkeypatch.setattr(cls, "_doc_link_template", "{estimator_name}.html", raising=False)
    model = {"new": make(), "fitted": make().fit(texts, Y), "tables": LSH(n_tables=4)}[shown]
    page = html.unescape(model._repr_html_())
    assert f"{cls.__name__}.html" in page
    if shown != "tables":
        assert all(name in page for name in ("Pipeline", "TfidfVectorizer", "LSH(n_tables=4)"))
    if "param-doc-description" not in page:
        pytest.skip(f"scikit-learn {sklearn.__version__} shows no descriptions of parameters")
    parts = {part.split(";")[0]: part for part in page.split("--doc-link-")}
    for name in cls().get_params():
        assert f"{name}: " in parts[name], name
        description = parts[name].split("<br><br>")[1].split("</span>")[0]
        first_line = description.split("<br>")[0].strip()
        assert len(first_line) > 20, name
        assert first_line in cls.__doc__
