"""scikit-learn's own checks of estimators."""

from sklearn.utils.estimator_checks import parametrize_with_checks

from sklearn_slide import SlideClassifier

# These compare with repeated samples in another order, on which updates one after the other depend, as those
# of SGDClassifier do. tests/test_weights.py compares with repeated samples in the same order.
DEPEND_ON_ORDER = [f"check_sample_weight_equivalence_on_{kind}_data" for kind in ("dense", "sparse")]


@parametrize_with_checks(
    [SlideClassifier()],
    expected_failed_checks=lambda _: dict.fromkeys(
        DEPEND_ON_ORDER, "the result depends on the order of samples"
    ),
)
def test_scikit_learn_checks(estimator, check):
    check(estimator)
