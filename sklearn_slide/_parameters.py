"""Which parameters a classifier may have, how they are set, and what they tell scikit-learn."""

from numbers import Integral, Real

from sklearn.utils._param_validation import Interval, StrOptions

from sklearn_slide._calibration import AVERAGES
from sklearn_slide._core.layers import ACTIVATIONS
from sklearn_slide._core.losses import LOSSES
from sklearn_slide._core.optimizers import SOLVERS
from sklearn_slide._core.parallel import count_threads
from sklearn_slide._early_stopping import check_scoring
from sklearn_slide._lsh import LSH


class ParameterMixin:
    """What is allowed of the parameters of a classifier, one of which is `lsh`, an LSH or None."""

    _parameter_constraints = {
        "hidden_layer_sizes": ["array-like", Interval(Integral, 1, None, closed="left")],
        "activation": [StrOptions(set(ACTIVATIONS))],
        "loss": [StrOptions({"auto", *LOSSES})],
        "solver": [StrOptions(set(SOLVERS))],
        "direct_limit": [Interval(Integral, 0, None, closed="left")],
        "n_estimators": [Interval(Integral, 1, None, closed="left")],
        "learning_rate": [StrOptions({"linear", "constant"})],
        "learning_rate_init": [Interval(Real, 0, None, closed="neither")],
        "init": [StrOptions({"centroid", "random"})],
        "n_active": [StrOptions({"auto"}), Interval(Integral, 1, None, closed="left"), None],
        "negatives": "no_validation",  # check_shares names the sources
        "lsh": "no_validation",  # ModelSettings says how to give one
        "retrieval": [StrOptions({"exact", "lsh"})],
        "threshold": [StrOptions({"auto", *AVERAGES}), Interval(Real, 0, 1, closed="neither")],
        "max_iter": [Interval(Integral, 1, None, closed="left")],
        "tol": [Interval(Real, 0, None, closed="left")],
        "n_iter_no_change": [Interval(Integral, 1, None, closed="left")],
        "early_stopping": [StrOptions({"auto"}), "boolean"],
        "validation_fraction": [Interval(Real, 0, 1, closed="neither")],
        "scoring": [str, callable],
        "shuffle": ["boolean"],
        "class_weight": [StrOptions({"balanced"}), dict, None],
        "label_weight": ["array-like", StrOptions({"propensity"}), None],
        "warm_start": ["boolean"],
        "random_state": ["random_state"],
        "n_jobs": [
            Interval(Integral, None, -1, closed="right"),
            Interval(Integral, 1, None, closed="left"),
            None,
        ],
        "verbose": ["verbose"],
    }

    def _validate_params(self):
        """Raise ValueError if a parameter is not allowed, also one that this fit would not use."""
        super()._validate_params()
        check_scoring(self.scoring)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        tags.classifier_tags.multi_label = True
        allowed = self.n_jobs is None or (isinstance(self.n_jobs, Integral) and self.n_jobs != 0)
        tags.non_deterministic = allowed and count_threads(self.n_jobs) > 1
        return tags

    def set_params(self, **params):
        """Set the parameters of this estimator, and those of its `lsh` as ``lsh__<parameter>``.

        Parameters
        ----------
        **params : dict
            Parameters and their values.

        Returns
        -------
        self : object
            The estimator.

        Raises
        ------
        ValueError
            If there is no such parameter, or one of `lsh` is given and that is no LSH.

        See Also
        --------
        partial_fit : Refuses other values of parameters that shape the model.

        Examples
        --------
        >>> from sklearn_slide import LSH, SlideClassifier
        >>> SlideClassifier(lsh=LSH()).set_params(n_active=300, lsh__n_tables=20)
        SlideClassifier(lsh=LSH(n_tables=20), n_active=300)
        """
        lsh, nested = params.get("lsh", self.lsh), [name for name in params if name.startswith("lsh__")]
        if nested and not isinstance(lsh, LSH):
            raise ValueError(
                f"{nested[0]}={params[nested[0]]!r} cannot be set: lsh={lsh!r} has no parameters. Pass "
                "lsh=LSH(), to the constructor or to set_params."
            )
        return super().set_params(**params)
