"""The estimator: its parameters, and the story of a fit."""

from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator, ClassifierMixin, _fit_context

from sklearn_slide._attributes import AttributeMixin
from sklearn_slide._calibrating import CalibrationMixin
from sklearn_slide._callbacks import CallbackSupportMixin, begin_fit
from sklearn_slide._explain import ExplanationMixin
from sklearn_slide._fitting import FittingMixin
from sklearn_slide._lsh import LSH
from sklearn_slide._model import join
from sklearn_slide._parameters import ParameterMixin
from sklearn_slide._persistence import PersistenceMixin
from sklearn_slide._predictions import PredictionMixin
from sklearn_slide._types import Metric, Seed
from sklearn_slide._validation import attributes_kept_on_failure


class SlideClassifier(
    FittingMixin,
    PredictionMixin,
    CalibrationMixin,
    ExplanationMixin,
    AttributeMixin,
    PersistenceMixin,
    ParameterMixin,
    CallbackSupportMixin,
    ClassifierMixin,
    BaseEstimator,
):
    """Multi-label and multi-class classifier for very many labels, by the SLIDE algorithm.

    A neural network whose output layer is never computed as a whole in training. The hidden vector of a
    sample is hashed, hash tables return labels that are likely to score high, and only these, the true labels
    and some other negatives are scored and updated, by several threads at once and without locks [1]_.

    Parameters marked *fixed* stay as they were in the first fit: a warm start and `partial_fit` refuse other
    ones. All others may change at any time, and count from then on, but for `random_state`.

    Parameters
    ----------
    hidden_layer_sizes : array-like of shape (n_layers - 2,), default=(256,)
        The ith element represents the number of neurons in the ith hidden layer. ``()`` is a linear
        model with a weight for each feature and label, for few features. *Fixed*.

    activation : {'identity', 'logistic', 'tanh', 'relu'}, default='identity'
        Activation function for the hidden layers. 'identity' makes the model linear, with a low rank; more
        than one hidden layer needs another one. *Fixed*.

    loss : {'auto', 'sigmoid', 'softmax', 'sigmoid+softmax'}, default='auto'
        'sigmoid' is the binary cross-entropy of each label by itself, 'softmax' the cross-entropy over the
        labels, 'sigmoid+softmax' the mean of both, which can rank the first label better: compare it on
        held-out samples. 'auto' is 'softmax' if y holds class labels, else 'sigmoid'. *Fixed*.

    solver : {'adagrad', 'adam'}, default='adagrad'
        The solver, for single rows of weights. 'adagrad' keeps a number for each row, 'adam' two for each
        weight, and corrects its bias by the updates of the row. *Fixed*.

    direct_limit : int, default=1000
        A feature seen with at most so many labels has a weight of its own for each, past the hidden layers; 0
        for none. Of more labels than this, a first call keeps the `direct_limit` / 3 strongest weights of a
        feature, or 300 if that is more; later calls add some up to the limit. Linear models have none, nor do
        features of most samples of a call with 1,000 or more, as those of dense X. *Fixed*.

    n_estimators : int, default=1
        Networks that `fit` trains from different random numbers, and joins to one with so many times the
        hidden units, whose scores are their means. More need one hidden layer. A warm start and `partial_fit`
        train the joined network further, and a first call of `partial_fit` trains one. *Fixed*.

    learning_rate : {'linear', 'constant'}, default='linear'
        'linear' lets `learning_rate_init` fall to zero over the epochs of `fit`; `partial_fit` goes on at the
        share of samples that came since, a tenth at least. 'constant' keeps it, as streams without `fit` do.

    learning_rate_init : float, default=0.1
        The initial learning rate used.

    init : {'centroid', 'random'}, default='centroid'
        The first weights of the output layer. 'centroid' takes the scaled sum of the hidden vectors
        of a label's samples, 'random' draws them. *Fixed*.

    n_active : int, 'auto' or None, default='auto'
        The number of labels scored for a training sample at most. True labels are always scored, even
        more than `n_active`. With no more labels than `n_active`, and with None, all are scored and no table
        is built. 'auto' scores all of up to 1000 labels, and 400 of more, or 1600 if X is dense.

    negatives : 'auto' or dict, default='auto'
        The sources of the active labels that are not true, and their shares of `n_active`. ``'lsh'`` are
        labels that the hash tables name, ``'cooccurrence'`` labels of other samples with a feature of this
        one, ``'frequency'`` labels drawn by their frequency, ``'uniform'`` any. The sum is at most 1; a label
        drawn twice counts once. 'auto' is 0.3 each, and 0.1 of ``'uniform'``.

    lsh : LSH, default=None
        The hash tables; None stands for ``LSH()``. Give an :class:`LSH` to set its parameters one by one or
        to search over them, as ``lsh__n_tables``: None has none. *Fixed*.

    retrieval : {'exact', 'lsh'}, default='exact'
        Whether `predict_top_k`, and `predict` for class labels, score every label, or at most 5 % of them:
        those that direct weights or the hash tables name. It can be changed in a fitted classifier.

    threshold : float or {'auto', 'micro_f1', 'macro_f1', 'samples_f1'}, default='auto'
        The probability, between 0 and 1, above which `predict` says a label of an indicator. A name takes the
        one of the best F1 on the samples of the calibration (see `calibrate`): of all pairs together, or the
        mean over labels or samples. 'auto' is 'micro_f1', or 0.5 without a calibration. It may change later.

    max_iter : int, default=3
        The number of epochs at most.

    tol : float, default=1e-4
        Training stops when the loss, or with `early_stopping` the score, is not improving by at least `tol`
        for `n_iter_no_change` epochs in a row: with the defaults, not before the last of 3.

    n_iter_no_change : int, default=2
        Maximum number of epochs to not meet `tol` improvement.

    early_stopping : 'auto' or bool, default='auto'
        Whether `fit` ends when the validation score is not improving, and keeps the best weights, of an epoch
        or the first ones. It sets samples aside, unless `X_val` and `y_val` are given. 'auto' does so from
        2000 on, with 1000 at most, learns from these too in the end, and tries ridge regression beside one
        hidden layer, with few samples or if training gains little.

    validation_fraction : float, default=0.1
        The proportion of training data to set aside at random for early stopping, unless `X_val` is given.

    scoring : str or callable, default='auto'
        The validation score: 'precision_at_1' or so, of precision, recall, ndcg or coverage; 'auto', the mean
        precision at 1, 3 and 5, at 1 of class labels; a scorer or a name of one, as scikit-learn has them.

    shuffle : bool, default=True
        Whether to shuffle samples in each epoch.

    class_weight : dict, {class_label: weight} or 'balanced', default=None
        Weights of the classes of y, by which `sample_weight` is multiplied. None, and a class that the dict
        leaves out, stand for 1. 'balanced' is ``n_samples / (n_classes * np.bincount(y))``, and refused by
        `partial_fit`. The scores of `early_stopping` do not know them.

    label_weight : array-like of shape (n_labels,) or 'propensity', default=None
        Weights of the labels of an indicator: the loss of a true label is multiplied by its weight, that of a
        negative never. 'propensity' takes inverse propensities [2]_ of y, as
        :func:`~sklearn_slide.metrics.label_propensities` estimates them, over their mean of all true labels:
        more hits on rare labels for fewer in all. `partial_fit` takes an array only. None stands for 1.

    warm_start : bool, default=False
        When True, reuse the solution of the previous call to `fit` as initialization; otherwise, erase it.

    random_state : int, RandomState instance, default=None
        Seeds all random numbers. Pass an int for reproducible results; they are bit-identical with one
        thread. It counts in a first fit, from which a warm start and `partial_fit` go on.

    n_jobs : int, default=None
        The number of threads. ``None`` means 1 unless in a :obj:`joblib.parallel_backend` context, ``-1``
        all processors. Several threads update the weights without locks: two fits then differ slightly.

    verbose : bool or int, default=False
        Whether to print a line for each epoch and five seconds of a prediction, and with 2 within epochs.

    Attributes
    ----------
    classes_ : ndarray of shape (n_outputs_,)
        Class labels; for a multi-label y, the numbers of its columns, or the names given to `partial_fit`.

    n_outputs_ : int
        Number of outputs, one for each label.

    loss_curve_ : list of float
        The mean loss of a sample over its active labels in each epoch, of all networks one after the other.

    loss_ : float
        The last element of `loss_curve_`.

    best_loss_ : float
        The minimum of `loss_curve_`.

    active_size_curve_ : list of float
        The mean number of labels scored for a sample, as `loss_curve_`.

    validation_scores_ : list of float or None
        The score on validation samples before the first epoch of a network and after each, of all networks
        one after the other. None without validation samples.

    best_validation_score_ : float or None
        The score of the weights that are kept: of the best epoch, or of several networks together.

    coefs_ : list of ndarray of shape (n_layers_ - 1,)
        The ith element in the list represents the weight matrix corresponding to layer i.

    direct_coef_ : sparse array of shape (n_features_in_, n_outputs_)
        The direct weights from features to labels; their part is added to the output of the last layer.

    intercepts_ : list of ndarray of shape (n_layers_ - 1,)
        The ith element in the list represents the bias vector corresponding to layer i + 1.

    n_features_in_ : int
        Number of features seen during :term:`fit`.

    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Names of features seen during :term:`fit`, where all of them are strings.

    n_iter_ : int
        The number of epochs that were run, of all networks together.

    n_layers_ : int
        Number of layers, the input and the output among them.

    n_ridge_axes_ : int
        Number of the last hidden units, which are axes of a ridge regression; 0 without one.

    out_activation_ : str
        Name of the output activation function.

    threshold_ : float
        The probability above which `predict` says a label of an indicator.

    t_ : int
        The number of passes over training samples, of all networks together.

    See Also
    --------
    LSH : The parameters of the hash tables.

    References
    ----------
    .. [1] B. Chen et al. SLIDE: In defense of smart algorithms over hardware acceleration for large-scale
       deep learning systems. MLSys 2020. arXiv:1903.03129.
    .. [2] H. Jain, Y. Prabhu, M. Varma. Extreme multi-label loss functions for recommendation, tagging,
       ranking & other missing label applications. KDD 2016.

    Examples
    --------
    >>> from sklearn_slide import SlideClassifier
    >>> from sklearn_slide.datasets import make_xmc_classification
    >>> X, Y = make_xmc_classification(n_samples=300, n_labels=20, random_state=0)
    >>> labels, scores = SlideClassifier(random_state=0).fit(X, Y).predict_top_k(X[:2], k=3)
    >>> labels.shape
    (2, 3)
    """

    def __init__(
        self,
        hidden_layer_sizes: ArrayLike = (256,),
        activation: str = "identity",
        *,
        loss: str = "auto",
        solver: str = "adagrad",
        direct_limit: int = 1000,
        n_estimators: int = 1,
        learning_rate: str = "linear",
        learning_rate_init: float = 0.1,
        init: str = "centroid",
        n_active: int | str | None = "auto",
        negatives: str | dict[str, float] = "auto",
        lsh: LSH | None = None,
        retrieval: str = "exact",
        threshold: float | str = "auto",
        max_iter: int = 3,
        tol: float = 1e-4,
        n_iter_no_change: int = 2,
        early_stopping: bool | str = "auto",
        validation_fraction: float = 0.1,
        scoring: Metric = "auto",
        shuffle: bool = True,
        class_weight: dict | str | None = None,
        label_weight: ArrayLike | str | None = None,
        warm_start: bool = False,
        random_state: Seed = None,
        n_jobs: int | None = None,
        verbose: bool | int = False,
    ) -> None:
        self.hidden_layer_sizes = hidden_layer_sizes
        self.activation = activation
        self.loss = loss
        self.solver = solver
        self.direct_limit = direct_limit
        self.n_estimators = n_estimators
        self.learning_rate = learning_rate
        self.learning_rate_init = learning_rate_init
        self.init = init
        self.n_active = n_active
        self.negatives = negatives
        self.lsh = lsh
        self.retrieval = retrieval
        self.threshold = threshold
        self.max_iter = max_iter
        self.tol = tol
        self.n_iter_no_change = n_iter_no_change
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.scoring = scoring
        self.shuffle = shuffle
        self.class_weight = class_weight
        self.label_weight = label_weight
        self.warm_start = warm_start
        self.random_state = random_state
        self.n_jobs = n_jobs
        self.verbose = verbose

    @attributes_kept_on_failure
    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X, y, sample_weight=None, *, X_val=None, y_val=None):
        """Fit the model to data matrix X and target(s) y.

        Parameters
        ----------
        X : ndarray or sparse matrix of shape (n_samples, n_features)
            The input data. CSR of float32 is used as it is.
        y : array-like of shape (n_samples,) or {array-like, sparse matrix} of shape (n_samples, n_labels)
            The class label of each sample, or a binary indicator of its labels, which may be sparse
            and is never made dense.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights of the samples; None stands for 1. A weight of 0 removes a sample, a whole number up to 10
            repeats it; others multiply the loss as well. The time grows with them: let their mean be about 1.
        X_val : ndarray or sparse matrix of shape (n_validation, n_features), default=None
            Samples for `early_stopping`, in place of a part of X. In a Pipeline,
            ``Pipeline(..., transform_input=["X_val"])`` transforms them as X.
        y_val : array-like or sparse matrix of n_validation rows, default=None
            Their targets, as y.

        Returns
        -------
        self : object
            The fitted classifier.

        Raises
        ------
        ValueError
            If a parameter or an argument is not allowed, or the weights diverge.
        MemoryError
            If the weights would not fit in this machine's memory.

        See Also
        --------
        partial_fit : One pass over more data, which may have new labels.

        Notes
        -----
        After an error or an interrupt the classifier has the attributes that it had before. A warm start
        trains their weights in place, and leaves them as a failed `partial_fit` does.

        Examples
        --------
        >>> from sklearn.datasets import load_digits
        >>> from sklearn_slide import SlideClassifier
        >>> X, y = load_digits(return_X_y=True)
        >>> SlideClassifier(max_iter=2, random_state=0).fit(X, y).n_iter_
        2
        """
        going_on = self.warm_start and self.__sklearn_is_fitted__()
        data, labels = self._check_data(X, y, sample_weight, self._model.labels if going_on else None)
        seeds = [self._model.seed] if going_on else self._draw_seeds(self.n_estimators)
        scale = self._scale(data[0], going_on)
        everything, (data, held_out, validation) = data, self._set_aside(data, labels, X_val, y_val, seeds[0])
        learn_all = held_out is not None and self.early_stopping == "auto"
        samples = self._encode(data, labels, scale)
        rates = self._rates(self.max_iter, self.learning_rate == "linear")
        several = len(seeds) > 1
        task = begin_fit(self, *data, "fit", len(seeds) if several else self.max_iter)
        if not going_on:
            self._start_history()
        models, n_epochs = [], []
        for seed in seeds:
            if going_on:
                model, samples = self._go_on(samples, labels)
            else:
                model = self._first_model(samples, labels, scale, seed, validation is not None)
            of_network = task.begin("network", self.max_iter) if several else task
            n_epochs.append(self._train(model, samples, rates, of_network, validation, models))
            models.append(model)
            if several and of_network.end(lambda: self._as_if_stopped(models)):
                break
        self._take(join(models))
        if learn_all:
            held_out = self._encode_held_out(held_out, samples)
        if learn_all and not going_on:
            self._choose_ridge([samples], held_out)
        if validation is not None:
            self._note_validation(validation, several)
        if learn_all and not going_on and not any(n_epochs):
            self._start_of_all(models, self._encode(everything, labels, scale))
        elif learn_all and min(n_epochs) == self.max_iter:
            self._learn_held_out(held_out, rates[-2:])
        self._settle(len(samples.passes) + (len(held_out.passes) if learn_all else 0))
        task.end(lambda: self._as_if_stopped([self._model]))
        return self

    @attributes_kept_on_failure
    @_fit_context(prefer_skip_nested_validation=True)
    def partial_fit(self, X, y, classes=None, sample_weight=None):
        """Update the model with a single iteration over the given data, which may have new labels.

        A binary indicator with more columns than before, or `classes` with more classes, adds labels. Labels
        start from the data of the call in which they are first true; what was learned is kept. Features get
        direct weights for labels that they meet, and the scale of X follows the lengths of the samples.

        Parameters
        ----------
        X : ndarray or sparse matrix of shape (n_samples, n_features)
            The input data.
        y : array-like of shape (n_samples,) or {array-like, sparse matrix} of shape (n_samples, n_labels)
            The target values, as in `fit`.
        classes : array-like of shape (n_classes,), default=None
            All classes that y will hold, required in a first call with class labels. For an indicator, the
            names of its columns in their order, instead of numbers. A later call may give more, and columns
            in another order: each name stays the same label.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights of the samples, as in `fit`.

        Returns
        -------
        self : object
            The classifier, trained further.

        Raises
        ------
        ValueError
            If an argument is not allowed or does not go with the earlier calls, or the weights diverge.

        See Also
        --------
        fit : Several passes, of which the best one is kept.

        Notes
        -----
        After an argument was refused, everything is as before. After an interrupt, the weights are as far as
        they were trained; the rest is as before. If the weights diverge, predictions and further training
        raise a ValueError until a `fit` without `warm_start`: keep a copy (``copy.deepcopy``) where that
        would be costly. After a first call that failed, the classifier is not fitted.

        Examples
        --------
        >>> from sklearn.datasets import load_digits
        >>> from sklearn_slide import SlideClassifier
        >>> X, y = load_digits(return_X_y=True)
        >>> model = SlideClassifier(random_state=0).partial_fit(X[:900], y[:900], classes=range(10))
        >>> model.partial_fit(X[900:], y[900:]).t_
        1797
        """
        going_on = self.__sklearn_is_fitted__()
        known = self._model.labels if going_on else None
        data, labels = self._check_data(X, y, sample_weight, known, classes, partial=True)
        scale = self._scale(data[0], going_on)
        samples = self._encode(data, labels, scale, partial=True)
        task = begin_fit(self, *data, "partial_fit", 1)
        if going_on:
            model, samples = self._go_on(samples, labels)
        else:
            self._start_history()
            model = self._first_model(samples, labels, scale, self._draw_seeds(1)[0])
        self._train(model, samples, self._rates_of_pass(model, samples), task)
        task.end(lambda: self._as_if_stopped([self._model]))
        return self
