"""scikit-learn's own checks of estimators."""

from sklearn.utils.estimator_checks import parametrize_with_checks

from sklearn_slide import SlideClassifier


@parametrize_with_checks([SlideClassifier()])
def test_scikit_learn_checks(estimator, check):
    check(estimator)
