"""The estimator: parameters, validation, epochs and predictions."""

import warnings
from copy import copy, deepcopy
from itertools import pairwise
from numbers import Integral, Real

import numpy as np
import scipy.sparse as sp
from joblib import effective_n_jobs
from sklearn.base import BaseEstimator, ClassifierMixin, _fit_context, clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import check_random_state
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.validation import check_is_fitted, column_or_1d, validate_data

from sklearn_slide import _compact, _inference, _retrieval, _screening, _training
from sklearn_slide._callbacks import CallbackSupportMixin, begin_fit, without_running_fit
from sklearn_slide._direct import count_products, find_pairs, no_pairs
from sklearn_slide._early_stopping import Validation, hold_out
from sklearn_slide._growth import grow_output
from sklearn_slide._hashing import FAMILIES, auto_hash_length, make_hasher
from sklearn_slide._losses import LOSSES, OUTPUT_ACTIVATIONS, worse_than_guessing
from sklearn_slide._network import (
    ACTIVATIONS,
    DIRECT_NORM,
    float_rows,
    initialise_output,
    join_networks,
    make_network,
    network_bytes,
    norm_scale,
    sum_hidden_vectors,
)
from sklearn_slide._optimizers import SOLVERS
from sklearn_slide._persistence import stamp_version, take_version_off
from sklearn_slide._progress import Progress, RowProgress
from sklearn_slide._sampling import SELECTIONS, make_sampler, make_samples
from sklearn_slide._sparse import as_configured
from sklearn_slide._tables import NO_TABLES, RehashSchedule, allocate_tables, auto_rehash_interval
from sklearn_slide._validation import (
    as_rows,
    attributes_kept_on_failure,
    check_classes,
    choose_scale,
    encode_classes,
    encode_indicator,
    is_clean,
    is_multilabel,
    require_memory,
    scale_rows,
    transpose_pattern,
    writable,
)
from sklearn_slide._weights import (
    check_weight_parameters,
    keep_weighted,
    mean_label_weight,
    weigh_classes,
    weigh_labels,
)


class SlideClassifier(CallbackSupportMixin, ClassifierMixin, BaseEstimator):
    """Multi-label and multi-class classifier for very many labels, by the SLIDE algorithm.

    A neural network whose output layer is never computed as a whole in training. The hidden vector of
    a sample is hashed, hash tables return labels whose weights are likely to score high, and only
    these, the sample's true labels and some other negatives are scored and updated, by several
    threads at once and without locks [1]_.

    Parameters
    ----------
    hidden_layer_sizes : array-like of shape (n_layers - 2,), default=(256,)
        The ith element represents the number of neurons in the ith hidden layer. ``()`` is a linear
        model with a weight for each feature and label, for few features.

    activation : {'identity', 'logistic', 'tanh', 'relu'}, default='identity'
        Activation function for the hidden layers. 'identity' keeps the geometry of the samples and
        makes the model linear with a low rank; more than one hidden layer needs another one.

    loss : {'auto', 'sigmoid', 'softmax', 'sigmoid+softmax'}, default='auto'
        'sigmoid' is the binary cross-entropy of each label by itself, 'softmax' the cross-entropy over
        the labels, 'sigmoid+softmax' the mean of the two, which can rank the first label better: compare it
        on held-out samples. 'auto' is 'softmax' if y holds one class label for each sample, else 'sigmoid'.

    solver : {'adagrad', 'adam'}, default='adagrad'
        The solver for weight optimization, applied to single rows of weights after each sample.
        'adagrad' keeps one number for each row; 'adam' two for each weight, and corrects its bias by
        the updates that a row has had.

    direct_limit : int, default=1000
        A feature that was seen with at most so many labels in the first call to `fit` or `partial_fit` has,
        past the hidden layers, a weight of its own for each of them; 0 for no such weights. They are not
        used by a linear model, which has all of them.

    n_estimators : int, default=1
        The number of networks that `fit` trains, one after the other, from different random numbers. Their
        mean score ranks the labels: they become one network with so many times the hidden units. More
        than one need a single hidden layer. `partial_fit` trains one network.

    learning_rate : {'linear', 'constant'}, default='linear'
        Learning rate schedule for weight updates. 'linear' lets `learning_rate_init` fall to zero over the
        `max_iter` epochs of `fit`, 'constant' keeps it. `partial_fit`, which does not know how much will
        come, keeps it.

    learning_rate_init : float, default=0.1
        The initial learning rate used.

    init : {'centroid', 'random'}, default='centroid'
        The first weights of the output layer. 'centroid' takes the scaled sum of the hidden vectors
        of a label's samples, 'random' draws them.

    sampling : {'lsh', 'uniform', 'full'}, default='lsh'
        Where the active labels come from that neither are true nor come from `negatives`: the hash
        tables, or all labels with equal probability. 'full' scores every label.

    n_active : int or 'auto', default='auto'
        The number of labels scored for a training sample at most. True labels are always scored, even
        more than `n_active`. With no more labels than `n_active`, all are scored and no table is built.
        'auto' scores all of up to 1000 labels, and 400 of more.

    negatives : 'auto', dict or None, default='auto'
        The shares of `n_active` that come from other sources than `sampling`: ``'cooccurrence'``
        draws labels of other samples that have a feature of this one, ``'frequency'`` labels in
        proportion to their frequency, ``'uniform'`` any. 'auto' is
        ``{'cooccurrence': 0.3, 'frequency': 0.3, 'uniform': 0.1}``. None leaves everything to
        `sampling`. A label drawn twice counts once, so that fewer than `n_active` may be scored.

    selection : {'vanilla', 'top_k', 'threshold'}, default='vanilla'
        Which of the labels in the buckets of a sample are taken: as they are met in tables in random
        order, those in most tables, or those in at least `min_collisions` tables.

    min_collisions : int, default=2
        The number of tables for ``selection='threshold'``.

    hash_family : {'simhash', 'dwta', 'wta', 'minhash'}, default='simhash'
        The locality-sensitive hash functions: signs of random projections, (densified)
        winner-take-all, or min-hash of the largest coordinates.

    n_tables : int, default=50
        The number of hash tables.

    hash_length : int or 'auto', default='auto'
        The number of hashes that make up the key of a table. 'auto' chooses it so that a bucket
        holds about 128 labels on average.

    bucket_size : int, default=128
        The labels that are read from one bucket at most, from a random position on.

    rehash_interval : int or 'auto', default='auto'
        The number of training samples between the first two builds of the tables. 'auto' is 20,000, or a
        quarter of the number of labels where that is more, so that rebuilding takes a sample no more time
        where labels are more.

    rehash_growth : float, default=1.5
        The factor by which the interval grows from one build of the tables to the next.

    retrieval : {'exact', 'lsh'}, default='exact'
        Whether `predict_top_k`, and `predict` for class labels, score every label, or at most 5 % of them:
        those that direct weights or the hash tables name. It can be changed in a fitted classifier.

    max_iter : int, default=3
        The number of epochs at most.

    tol : float, default=1e-4
        Tolerance for the optimization. When the loss is not improving by at least `tol` for
        `n_iter_no_change` consecutive epochs, training stops; with `early_stopping`, when the score is not.

    n_iter_no_change : int, default=2
        Maximum number of epochs to not meet `tol` improvement.

    early_stopping : bool, default=False
        Whether `fit` uses early stopping to terminate training when the validation score is not improving. It
        then sets aside a part of the training data as validation, unless `X_val` and `y_val` are given, and
        keeps the weights of the epoch with the best score. The learning rate still falls over `max_iter`
        epochs.

    validation_fraction : float, default=0.1
        The proportion of training data to set aside at random as validation set for early stopping. Only
        used if `early_stopping` is True, and `X_val` is not given to `fit`.

    scoring : str or callable, default='precision_at_1'
        What the validation score is: 'precision_at_1', 'recall_at_5' and the like, with any number, of
        precision, recall, ndcg and coverage; the name of a scorer of scikit-learn; or a callable
        ``scorer(estimator, X, y)``. Only used if `early_stopping` is True.

    shuffle : bool, default=True
        Whether to shuffle samples in each epoch.

    class_weight : dict, {class_label: weight} or 'balanced', default=None
        Weights of the classes where y holds class labels: `sample_weight` is multiplied by them. None, and a
        class that the dict leaves out, stand for 1. 'balanced' gives the classes weights inversely
        proportional to their frequencies in y, ``n_samples / (n_classes * np.bincount(y))``; `partial_fit`,
        which sees a part of y, refuses it. The scores of `early_stopping` do not know these weights.

    label_weight : array-like of shape (n_labels,) or 'propensity', default=None
        Weights of the labels where y is a multi-label indicator: the loss of a true label is multiplied by
        its weight, the loss of a negative never. Weights above 1 let a label rank higher. 'propensity' takes
        inverse propensities [2]_, as :func:`~sklearn_slide.metrics.label_propensities` estimates them from y,
        over their mean of all true labels: more hits on rare labels for fewer hits in all. `partial_fit`
        takes an array only, in which labels that are new have weights as well. None stands for 1.

    warm_start : bool, default=False
        When set to True, reuse the solution of the previous call to fit as initialization, otherwise,
        just erase the previous solution.

    random_state : int, RandomState instance, default=None
        Determines random numbers for first weights, hash functions, the order of samples and the
        sampling of labels. Pass an int for reproducible results; they are bit-identical with
        one thread.

    n_jobs : int, default=None
        The number of threads. ``None`` means 1 unless in a :obj:`joblib.parallel_backend` context.
        ``-1`` means using all processors. Several threads update the weights without locks: the
        results of two fits with the same seed then differ slightly.

    verbose : bool or int, default=False
        Whether to print a line for each epoch, and every five seconds of a prediction; 2 adds lines within
        long epochs.

    Attributes
    ----------
    classes_ : ndarray of shape (n_outputs_,)
        Class labels; for a multi-label y, the numbers of its columns.

    n_outputs_ : int
        Number of outputs, one for each label.

    loss_ : float
        The mean loss of a sample over its active labels, in the last epoch.

    best_loss_ : float
        The minimum loss reached throughout fitting.

    loss_curve_ : list of float
        The ith element is `loss_` of the ith epoch.

    validation_scores_ : list of float or None
        The score on the validation samples after each epoch, of the last network. None without
        `early_stopping`.

    best_validation_score_ : float or None
        The score of the epoch whose weights are kept. None without `early_stopping`.

    active_size_curve_ : list of float
        The mean number of labels scored for a sample, for each epoch.

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
        The number of epochs the solver has run.

    n_layers_ : int
        Number of layers, the input and the output among them.

    out_activation_ : str
        Name of the output activation function.

    t_ : int
        The number of training samples seen by the solver during fitting; repeated ones count each time.

    References
    ----------
    .. [1] B. Chen, T. Medini, J. Farwell, S. Gobriel, C. Tai, A. Shrivastava (2020). SLIDE: In
       defense of smart algorithms over hardware acceleration for large-scale deep learning systems.
       Proceedings of Machine Learning and Systems 2. arXiv:1903.03129.

    .. [2] H. Jain, Y. Prabhu, M. Varma (2016). Extreme multi-label loss functions for recommendation,
       tagging, ranking & other missing label applications. Proceedings of the 22nd ACM SIGKDD International
       Conference on Knowledge Discovery and Data Mining.

    Examples
    --------
    >>> from sklearn.datasets import make_multilabel_classification
    >>> from sklearn_slide import SlideClassifier
    >>> X, Y = make_multilabel_classification(n_classes=20, sparse=True, return_indicator="sparse",
    ...                                       random_state=0)
    >>> model = SlideClassifier(hidden_layer_sizes=(32,), max_iter=10, random_state=0).fit(X, Y)
    >>> labels, scores = model.predict_top_k(X[:2], k=3)
    >>> labels.shape
    (2, 3)
    """

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
        "sampling": [StrOptions({"lsh", "uniform", "full"})],
        "n_active": [StrOptions({"auto"}), Interval(Integral, 1, None, closed="left")],
        "negatives": [StrOptions({"auto"}), dict, None],
        "selection": [StrOptions(set(SELECTIONS))],
        "min_collisions": [Interval(Integral, 1, None, closed="left")],
        "hash_family": [StrOptions(set(FAMILIES))],
        "n_tables": [Interval(Integral, 1, None, closed="left")],
        "hash_length": [StrOptions({"auto"}), Interval(Integral, 1, None, closed="left")],
        "bucket_size": [Interval(Integral, 1, None, closed="left")],
        "rehash_interval": [StrOptions({"auto"}), Interval(Integral, 1, None, closed="left")],
        "rehash_growth": [Interval(Real, 1, None, closed="left")],
        "retrieval": [StrOptions({"exact", "lsh"})],
        "max_iter": [Interval(Integral, 1, None, closed="left")],
        "tol": [Interval(Real, 0, None, closed="left")],
        "n_iter_no_change": [Interval(Integral, 1, None, closed="left")],
        "early_stopping": ["boolean"],
        "validation_fraction": [Interval(Real, 0, 1, closed="neither")],
        "scoring": [str, callable],
        "shuffle": ["boolean"],
        "class_weight": [StrOptions({"balanced"}), dict, None],
        "label_weight": ["array-like", StrOptions({"propensity"}), None],
        "warm_start": ["boolean"],
        "random_state": ["random_state"],
        "n_jobs": [Integral, None],
        "verbose": ["verbose"],
    }

    def __init__(
        self,
        hidden_layer_sizes=(256,),
        activation="identity",
        *,
        loss="auto",
        solver="adagrad",
        direct_limit=1000,
        n_estimators=1,
        learning_rate="linear",
        learning_rate_init=0.1,
        init="centroid",
        sampling="lsh",
        n_active="auto",
        negatives="auto",
        selection="vanilla",
        min_collisions=2,
        hash_family="simhash",
        n_tables=50,
        hash_length="auto",
        bucket_size=128,
        rehash_interval="auto",
        rehash_growth=1.5,
        retrieval="exact",
        max_iter=3,
        tol=1e-4,
        n_iter_no_change=2,
        early_stopping=False,
        validation_fraction=0.1,
        scoring="precision_at_1",
        shuffle=True,
        class_weight=None,
        label_weight=None,
        warm_start=False,
        random_state=None,
        n_jobs=None,
        verbose=False,
    ):
        self.hidden_layer_sizes = hidden_layer_sizes
        self.activation = activation
        self.loss = loss
        self.solver = solver
        self.direct_limit = direct_limit
        self.n_estimators = n_estimators
        self.learning_rate = learning_rate
        self.learning_rate_init = learning_rate_init
        self.init = init
        self.sampling = sampling
        self.n_active = n_active
        self.negatives = negatives
        self.selection = selection
        self.min_collisions = min_collisions
        self.hash_family = hash_family
        self.n_tables = n_tables
        self.hash_length = hash_length
        self.bucket_size = bucket_size
        self.rehash_interval = rehash_interval
        self.rehash_growth = rehash_growth
        self.retrieval = retrieval
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

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        tags.classifier_tags.multi_label = True
        tags.non_deterministic = effective_n_jobs(self.n_jobs) > 1
        return tags

    def __getstate__(self):
        state = without_running_fit(super().__getstate__())
        if "_serving" in state:  # what predictions make anew
            state = {**state, "_serving": {}}
        if state.get("_compact") == "float16":
            state = {**state, "_network": _compact.store_weights(state["_network"], np.float16)}
        return stamp_version(state)

    def __setstate__(self, state):
        state = take_version_off(state, type(self).__name__)
        if state.get("_compact") == "float16":
            state["_network"] = _compact.store_weights(state["_network"], np.float32)
        super().__setstate__(state)

    @property
    def n_layers_(self):
        return self._network.n_hidden + 2

    @property
    def coefs_(self):
        hidden = self._network.hidden[: self._network.n_hidden]
        weights = [layer.weights for layer in (*hidden, self._network.output)]
        coefs = [float_rows(each, 0, len(each.values)) for each in weights]
        coefs[-1] = coefs[-1].T
        if hidden:
            coefs[0] = _compact.spread_rows(coefs[0], self._places)
        return [self._unscaled(coefs[0]), *coefs[1:]]

    @property
    def direct_coef_(self):
        direct = _compact.direct_matrix(self._network.direct, self._places, self.n_outputs_)
        direct.data = self._unscaled(direct.data)
        return direct

    def _unscaled(self, weights):
        """Turn weights of the scaled input into those of X as it is."""
        return weights if self._input_scale == 1 else weights * np.float32(self._input_scale)

    @property
    def intercepts_(self):
        hidden = self._network.hidden[: self._network.n_hidden]
        return [layer.biases.values[0] for layer in hidden] + [self._network.output.biases.values[:, 0]]

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
            Weights of the samples, not negative; None stands for 1. A weight of 0 removes a sample, a whole
            number up to 10 repeats it; other weights multiply the loss as well. The time of an epoch grows
            with the weights: they are meant to be about 1 on average.

        X_val : ndarray or sparse matrix of shape (n_validation, n_features), default=None
            Samples for `early_stopping`, in place of a part of X. In a Pipeline,
            ``Pipeline(..., transform_input=["X_val"])`` transforms them as X.

        y_val : array-like of shape (n_validation,) or {array-like, sparse matrix} of shape \
                (n_validation, n_labels), default=None
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

        Notes
        -----
        After an error or an interrupt the classifier has the attributes that it had before.
        """
        going_on = self.warm_start and hasattr(self, "_network")
        data = self._check_data(X, y, not going_on, sample_weight)
        seeds = [] if going_on else self._draw_seeds(self.n_estimators)
        data, validation = self._set_aside(data, X_val, y_val)
        samples = self._encode(*data)
        decay = self.learning_rate == "linear"
        several = len(seeds) > 1
        task = begin_fit(self, *data, "fit", len(seeds) if several else self.max_iter)
        if going_on:
            self._require_trainable()
            self._train(samples, self.max_iter, task, decay, validation)
        networks = []
        for seed in seeds:
            self._initialise(samples, seed)
            of_network = task.begin("network", self.max_iter) if several else task
            self._train(samples, self.max_iter, of_network, decay, validation, networks)
            networks.append(self._network)
            if several and of_network.end(lambda: self._as_if_stopped(networks)):
                break
        if several:
            self._join(networks)
        task.end(lambda: self._as_if_stopped([self._network]))
        return self

    @attributes_kept_on_failure
    @_fit_context(prefer_skip_nested_validation=True)
    def partial_fit(self, X, y, classes=None, sample_weight=None):
        """Update the model with a single iteration over the given data, which may have new labels.

        A binary indicator with more columns than before, or `classes` with more classes, adds labels. They
        start from the given data, as all labels do in the first call; what was learned is kept.

        Parameters
        ----------
        X : ndarray or sparse matrix of shape (n_samples, n_features)
            The input data.

        y : array-like of shape (n_samples,) or {array-like, sparse matrix} of shape (n_samples, n_labels)
            The target values, as in `fit`.

        classes : array-like of shape (n_classes,), default=None
            All classes that y will hold. Required in the first call if y holds class labels, not needed for a
            binary indicator. A later call may give more classes than were known.

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

        Notes
        -----
        After an argument was refused, everything is as before. After an interrupt, or if the weights diverge,
        these are as far as they were trained, and finite; the other attributes are as before.
        """
        first, known = not hasattr(self, "_network"), getattr(self, "classes_", None)
        data = self._check_data(X, y, first, sample_weight, classes, partial=True)
        samples = self._encode(*data, partial=True)
        task = begin_fit(self, *data, "partial_fit", 1)
        if first:
            self._initialise(samples, *self._draw_seeds(1))
        else:
            self._require_trainable()
        if not first and len(known) < self.n_outputs_:
            self._grow(samples, known)
        self._train(samples, 1, task)
        task.end(lambda: self._as_if_stopped([self._network]))
        return self

    def compact(self, dtype="float32"):
        """Drop what only training needs, and round the weights if asked for, to serve predictions.

        Features that no training sample had are dropped as well: their weights are still the random ones.

        Parameters
        ----------
        dtype : {'float32', 'float16', 'int8'}, default='float32'
            'float32' leaves the weights as they are. 'float16' rounds them to two bytes, which they take when
            stored; in memory they take four. 'int8' rounds them to one byte, stored and in memory, with a
            scale for each row; direct weights that round to 0 are dropped.

        Returns
        -------
        self : object
            The classifier, changed in place. It predicts, but `partial_fit` and a warm start refuse it.

        Raises
        ------
        ValueError
            If dtype is not allowed or cannot hold the weights, or the classifier is compact already.
        """
        check_is_fitted(self)
        if dtype not in _compact.DTYPES:
            raise ValueError(f"dtype must be one of {list(_compact.DTYPES)}. Got {dtype!r}.")
        if self._compact is not None:
            raise ValueError(
                f"The classifier is already compact, with dtype={self._compact!r}. Compact the one that was "
                "fitted, or fit again."
            )
        kept = np.flatnonzero(self._seen).astype(np.int32)
        self._network = _compact.compact_network(self._network, kept, dtype, self.n_jobs)
        if self._network.n_hidden:
            self._places = _compact.feature_places(kept, self.n_features_in_)
        self._tables, self._schedule, self._serving = NO_TABLES, None, {}
        self._compact = dtype
        return self

    def _require_trainable(self):
        if self._compact is not None:
            raise ValueError(
                f"compact({self._compact!r}) has dropped what training goes on from. Call it on a copy "
                "(copy.deepcopy) and train the original, or fit anew with warm_start=False."
            )

    def estimate_memory(self, X, y):
        """Estimate the memory that `fit` needs for X and y, without fitting.

        Parameters
        ----------
        X : ndarray or sparse matrix of shape (n_samples, n_features)
            The input data.

        y : array-like of shape (n_samples,) or {array-like, sparse matrix} of shape (n_samples, n_labels)
            The target values, as in `fit`.

        Returns
        -------
        n_bytes : int
            The bytes for weights, the state of the solver, and first weights or hash tables, whichever are
            more. The data come on top, and copies of those that are not CSR of float32.

        Raises
        ------
        ValueError
            If X or y is not allowed in `fit`.
        """
        model = clone(self)
        return model._fit_bytes(model._encode(*model._check_data(X, y, reset=True)))

    def _check_data(self, X, y, reset, sample_weight=None, classes=None, partial=False):
        """Validate X, y and weights, set or compare what is known of the classes, and return the three.

        Samples of weight 0 are left out.
        """
        X, y = validate_data(
            self, X, y, accept_sparse="csr", dtype=np.float32, order="C", multi_output=True, reset=reset
        )
        multilabel = is_multilabel(y)
        if not multilabel:
            y = column_or_1d(y, warn=True)
        if sample_weight is not None:
            X, y, sample_weight = keep_weighted(X, y, sample_weight)
        known = None if reset else self.classes_
        found = check_classes(y, multilabel, classes, known, partial)
        self.classes_, self.n_outputs_ = found, len(found)
        if reset:
            self._multilabel, self._sparse_y, self._y_dtype = multilabel, hasattr(y, "tocsr"), y.dtype
            self._input_scale = choose_scale(as_rows(X))
        elif multilabel != self._multilabel:
            kinds = {True: "a multi-label indicator", False: "class labels"}
            raise ValueError(
                f"y is {kinds[multilabel]}, but the classifier was fitted with {kinds[self._multilabel]}. "
                "Give y of the same kind, or fit a new classifier."
            )
        return X, y, sample_weight

    def _encode(self, X, y, sample_weight, partial=False):
        """Turn validated data into Samples, with the weights of classes or labels."""
        check_weight_parameters(self.class_weight, self.label_weight, self._multilabel, partial)
        if self.class_weight is not None:
            X, y, sample_weight = weigh_classes(X, y, sample_weight, self.class_weight, self.classes_)
        pattern = encode_indicator(y) if self._multilabel else encode_classes(y, self.classes_)
        label_weights = weigh_labels(self.label_weight, pattern, sample_weight, self.n_outputs_)
        x = scale_rows(as_rows(X), self._input_scale)
        return make_samples(x, pattern, sample_weight, label_weights)

    def _set_aside(self, data, X_val, y_val):
        """Return the validated data to train with, and the Validation that stops training early, or None."""
        if (X_val is None) != (y_val is None):
            raise ValueError("X_val and y_val must be given together. Got only one of them.")
        if not self.early_stopping:
            if X_val is not None:
                raise ValueError(
                    "X_val and y_val are only used with early_stopping=True. Got early_stopping=False."
                )
            return data, None
        if X_val is not None:
            return data, Validation(self.scoring, *self._check_data(X_val, y_val, reset=False))
        data, held_out = hold_out(*data, self.validation_fraction, self._split_seed)
        return data, Validation(self.scoring, *held_out)

    def _draw_seeds(self, n):
        """Draw a seed for each of n networks; the first one also says which samples are set aside."""
        seeds = check_random_state(self.random_state).randint(np.iinfo(np.int32).max, size=n)
        self._split_seed = int(seeds[0])
        return seeds

    def _initialise(self, samples, seed):
        """Set the network, the hash functions and the counters to where training begins."""
        sizes, loss = self._hidden_sizes(), self._loss_name()
        limit = self.direct_limit if sizes else 0
        require_memory(
            self._fit_bytes(samples),
            f"n_estimators={self.n_estimators}: a network of {self.n_features_in_} features, "
            f"hidden_layer_sizes={self.hidden_layer_sizes!r} and {self.n_outputs_} labels",
            "Give smaller hidden_layer_sizes, at least one hidden layer, or n_estimators=1.",
        )
        self._seed = int(seed)
        rng = np.random.default_rng(self._seed)
        direct = no_pairs(self.n_features_in_)
        if limit:
            gain = norm_scale(samples, DIRECT_NORM) ** 2
            direct = find_pairs(samples, self.n_features_in_, self.n_outputs_, limit, gain)
        self._network = make_network(
            self.n_features_in_, self.n_outputs_, sizes, self.activation, self.solver, samples, direct, rng
        )
        centroids = None
        if self.init == "centroid":
            centroids = sum_hidden_vectors(samples, self._network, ACTIVATIONS[self.activation], self.n_jobs)
        initialise_output(self._network, centroids, LOSSES[loss], rng)
        self._make_hash_functions()
        self.out_activation_ = "softmax" if loss == "softmax" else "logistic"
        self._loss = loss
        self._solver = self.solver
        self._seen = np.zeros(self.n_features_in_, dtype=bool)
        self._places, self._compact = None, None
        self.t_, self.n_iter_ = 0, 0
        self.loss_curve_, self.active_size_curve_ = [], []
        self.best_loss_ = np.inf
        self.validation_scores_, self.best_validation_score_ = None, None

    def _fit_bytes(self, samples):
        """Bound the memory that a fit to the samples takes beside the data, in bytes."""
        sizes = self._hidden_sizes()
        n_pairs = min(count_products(samples), self.direct_limit * self.n_features_in_) if sizes else 0
        network = network_bytes(self.n_features_in_, self.n_outputs_, sizes, self.solver, n_pairs)
        n_units = sizes[-1] if sizes else self.n_features_in_
        n_samples = len(samples.x.indptr) - 1
        # sums of hidden vectors, with these or with random weights for labels without samples
        first_weights = 4 * n_units * (self.n_outputs_ + max(n_samples, self.n_outputs_))
        tables = 4 * self.n_tables * self.n_outputs_ if self._make_sampler().n_hashed else 0
        networks = self.n_estimators * network
        most = networks + max(first_weights, 2 * tables)  # tables are built from codes of the same size
        return max(most, 2 * networks + tables) if self.n_estimators > 1 else most  # to join them is to copy

    def _grow(self, samples, known):
        """Add rows for the labels that are not among the known ones, and draw hash functions anew."""
        sizes = [layer.weights.values.shape[1] for layer in self._network.hidden[: self._network.n_hidden]]
        limit = self.direct_limit if self._network.direct.gain else 0
        n_pairs = len(self._network.direct.labels) + min(count_products(samples), limit * self.n_features_in_)
        require_memory(
            network_bytes(self.n_features_in_, self.n_outputs_, sizes, self._solver, n_pairs),
            f"A network of {self.n_features_in_} features, {sizes} hidden units and {self.n_outputs_} labels",
            "Add fewer labels.",
        )
        self._network = grow_output(
            self._network,
            samples,
            np.searchsorted(self.classes_, known).astype(np.int32),
            self.n_outputs_,
            limit,
            self.init,
            ACTIVATIONS[self.activation],
            self._solver,
            LOSSES[self._loss],
            self.n_jobs,
            np.random.default_rng((self._seed, len(known))),
        )
        self._make_hash_functions()

    def _join(self, networks):
        """Make one network of several that have one hidden layer each."""
        self._network = join_networks(networks) if len(networks) > 1 else networks[0]
        self._make_hash_functions()

    def _as_if_stopped(self, networks):
        """Return the attributes of a classifier of these networks that further training leaves as it is."""
        model = copy(self)
        model._join(deepcopy(networks) if len(networks) == 1 else networks)
        return vars(model)

    def _make_hash_functions(self):
        """Draw hash functions for the hidden vectors; the tables come when a sample asks for them."""
        n_units = self._network.output.weights.values.shape[1]
        hash_length = self.hash_length
        if hash_length == "auto":
            hash_length = auto_hash_length(self.hash_family, self.n_outputs_)
        self._hasher = make_hasher(
            self.hash_family, n_units, self.n_tables, hash_length, np.random.RandomState(self._seed)
        )
        self._tables, self._schedule = NO_TABLES, None
        self._serving = {}

    def _train(self, samples, max_iter, task, decay=False, validation=None, earlier=()):
        """Pass over the samples until the loss no longer improves, max_iter times at most.

        With decay, the learning rate falls linearly to zero over that many epochs. With a Validation, its
        score takes the place of the loss, and the network becomes what it was when the score was best.
        Callbacks hear of each epoch as a part of the Task, and may end training. earlier are the networks
        that were trained before, to be joined with this one.
        """
        self._serving.clear()
        self._seen = self._seen | (np.bincount(samples.x.indices, minlength=self.n_features_in_) > 0)
        state = (self._network, self._hasher, self._tables)
        self._network, self._hasher, self._tables = writable(state)
        engine = self._make_engine()
        n_passes = len(samples.passes)
        if engine.sampler.n_cooccurrence:
            samples = samples._replace(rows_with=transpose_pattern(samples.x, self.n_features_in_))
        most_labels = int(np.diff(samples.y.indptr).max(initial=0))
        scratches = [
            _training.make_scratch(samples.x, engine.network, engine.hasher, engine.sampler, most_labels)
            for _ in range(effective_n_jobs(self.n_jobs))
        ]

        def attributes():
            return self._as_if_stopped([*earlier, self._network])

        order, best, n_unimproved = np.arange(n_passes), np.inf, 0
        progress = Progress(self.verbose, n_passes, max_iter)
        rates = np.linspace(self.learning_rate_init, 0 if decay else self.learning_rate_init, max_iter + 1)
        for epoch_rates in pairwise(rates):
            epoch = task.begin("epoch", attributes=attributes)
            if self.shuffle:
                order = np.random.default_rng((self._seed, self.n_iter_)).permutation(n_passes)
            loss, active_size = self._train_epoch(samples, order, engine, scratches, epoch_rates, progress)
            self.loss_ = loss
            self.loss_curve_ = [*self.loss_curve_, loss]
            self.active_size_curve_ = [*self.active_size_curve_, active_size]
            self.best_loss_ = min(self.best_loss_, loss)
            progress.end_epoch()
            if validation is not None:
                score = validation.score(self)
                self.validation_scores_ = [*(self.validation_scores_ or []), score]
                if self.verbose:
                    print(f"Validation score: {score:f}", flush=True)
                if -score < best:
                    self.best_validation_score_, best_network = score, deepcopy(self._network)
                loss = -score
            n_unimproved = n_unimproved + 1 if loss > best - self.tol else 0
            best = min(best, loss)
            if epoch.end(attributes) or n_unimproved >= self.n_iter_no_change:
                break
        if validation is not None:
            self._network = best_network
            self._serving.clear()
        n_true = len(samples.y.indices) / (len(samples.y.indptr) - 1)
        if self.loss_ > worse_than_guessing(engine.loss, n_true, active_size, mean_label_weight(samples)):
            warnings.warn(
                f"The mean loss is {self.loss_:.3g}, more than guessing would have: the weights diverge with "
                f"learning_rate_init={self.learning_rate_init!r}. Lower it, or scale the rows of X, for "
                "instance by sklearn.preprocessing.normalize.",
                ConvergenceWarning,
                stacklevel=5,  # the caller of fit, past two decorators
            )

    def _train_epoch(self, samples, order, engine, scratches, rates, progress):
        """Make the passes of an epoch and return the means of the loss of a sample and of its active labels.

        rates are the learning rates with which the epoch begins and ends.
        """
        schedule = self._schedule if engine.sampler.n_hashed else None
        total_loss, total_active = 0.0, 0
        passes_per_weight = len(order) / np.sum(samples.weights, dtype=np.float64)
        rounds = _training.train_rounds(
            samples, order, engine, scratches, rates, schedule, self.t_, self._seed, self.n_iter_
        )
        for n_passes, loss, n_active in rounds:
            if not np.isfinite(loss):
                raise ValueError(
                    f"The loss became {loss} in epoch {self.n_iter_ + 1}: the weights diverge with "
                    f"learning_rate_init={self.learning_rate_init!r}. Lower it, or scale X, for instance by "
                    "sklearn.preprocessing.normalize."
                )
            loss *= passes_per_weight
            total_loss, total_active = total_loss + loss, total_active + n_active
            progress.add(n_passes, loss, n_active)
        self.t_ += len(order)
        self.n_iter_ += 1
        return total_loss / len(order), total_active / len(order)

    def _make_engine(self):
        """Collect what the threads share, as the parameters are now."""
        sampler = self._make_sampler()
        if sampler.n_hashed and not len(self._tables.ids):
            self._tables = allocate_tables(self._hasher, self.n_outputs_)
            interval = self.rehash_interval
            if interval == "auto":
                interval = auto_rehash_interval(self.n_outputs_)
            self._schedule = RehashSchedule(interval, self.rehash_growth, self.t_)
        return _training.Engine(
            self._network,
            self._hasher,
            self._tables,
            sampler,
            SOLVERS[self._solver],
            ACTIVATIONS[self.activation],
            LOSSES[self._loss],
        )

    def _make_sampler(self):
        return make_sampler(
            self.n_outputs_,
            self.sampling,
            self.n_active,
            self.negatives,
            self.selection,
            self.min_collisions,
            self.bucket_size,
        )

    def _hidden_sizes(self):
        sizes = [self.hidden_layer_sizes] if np.isscalar(self.hidden_layer_sizes) else self.hidden_layer_sizes
        sizes = list(sizes)
        if not all(isinstance(size, Integral) and size >= 1 for size in sizes):
            raise ValueError(
                "hidden_layer_sizes must hold whole numbers of neurons, each at least 1, or be () for a "
                f"linear model. Got {self.hidden_layer_sizes!r}."
            )
        if self.n_estimators > 1 and len(sizes) != 1:
            raise ValueError(
                f"n_estimators={self.n_estimators} needs hidden_layer_sizes of one layer. Got "
                f"{self.hidden_layer_sizes!r}. Give one layer, or n_estimators=1."
            )
        return [int(size) for size in sizes]

    def _loss_name(self):
        if self.loss == "auto":
            return "sigmoid" if self._multilabel else "softmax"
        return self.loss

    def predict_top_k(self, X, k=5, *, check_input=True):
        """Find the k labels with the highest scores for each sample.

        No array of all samples and labels is made. The first call for a single sample makes a small copy of
        the output layer, of 128 bytes for a label at most, and with ``retrieval="lsh"`` the first call makes
        hash tables as well; let one call warm up a service. They are not pickled.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            The input data.

        k : int, default=5
            The number of labels, at most `n_outputs_`.

        check_input : bool, default=True
            False leaves out the checks of X, which take longer than the ranking of a single sample among some
            thousand labels. X must then be CSR of float32 with `n_features_in_` columns, sorted indices, no
            duplicates and only finite values; anything else may crash the process.

        Returns
        -------
        labels : ndarray of shape (n_samples, k)
            Class labels, or column numbers of a multi-label y, best first; of equal scores the one that
            comes first in `classes_`.

        scores : ndarray of shape (n_samples, k)
            Their outputs before the output activation, float32. For a multi-label y these are the
            values of `decision_function`.
        """
        x = self._check_rows(X) if check_input else self._to_network(X)
        if not isinstance(k, Integral) or not 1 <= k <= self.n_outputs_:
            raise ValueError(
                f"k must be an int from 1 to the number of labels, {self.n_outputs_}. Got {k!r}."
            )
        positions, scores = self._rank(x, int(k))
        return self.classes_[positions], scores

    def predict(self, X):
        """Predict class labels, or the labels with a probability above a half for a multi-label y.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            The input data.

        Returns
        -------
        y : ndarray of shape (n_samples,) or (n_samples, n_outputs_), or sparse matrix
            The predicted classes. A multi-label prediction has the type of value that y had in `fit`,
            and is sparse (CSR) if y was.
        """
        x = self._check_rows(X)
        if not self._multilabel:
            return self.classes_[self._rank(x, 1)[0][:, 0]]
        if self.out_activation_ == "logistic":
            # p > 1/2 where the score is positive
            indptr, indices = _inference.positive_labels(
                x, self._network, ACTIVATIONS[self.activation], self.n_jobs, self._report(x)
            )
        else:
            likely = sp.csr_array(self._probabilities(x) > 0.5)
            indptr, indices = likely.indptr, likely.indices
        values = np.ones(len(indices), dtype=self._y_dtype)
        shape = (len(indptr) - 1, self.n_outputs_)
        y = as_configured(sp.csr_array((values, indices, indptr), shape=shape))
        return y if self._sparse_y else y.toarray()

    def decision_function(self, X):
        """Compute the outputs before the output activation.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            The input data.

        Returns
        -------
        scores : ndarray of shape (n_samples, n_outputs_), or (n_samples,)
            A score for each label, float32; for two classes the second one's less the first one's.

        Raises
        ------
        MemoryError
            If the array would not fit in this machine's memory; use `predict_top_k`.
        """
        scores = self._dense_scores(self._check_rows(X))
        if not self._multilabel and self.n_outputs_ == 2:
            return scores[:, 1] - scores[:, 0]
        return scores

    def predict_proba(self, X):
        """Estimate the probability of each label.

        Labels that were trained against a sample of negatives get probabilities for ranking; they are
        not calibrated.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            The input data.

        Returns
        -------
        probabilities : ndarray of shape (n_samples, n_outputs_)
            The probability of each label, by itself for a multi-label y with the sigmoid loss.

        Raises
        ------
        MemoryError
            If the array would not fit in this machine's memory; use `predict_top_k`.
        """
        return self._probabilities(self._check_rows(X))

    def predict_log_proba(self, X):
        """Compute the logarithm of `predict_proba`.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            The input data.

        Returns
        -------
        log_probabilities : ndarray of shape (n_samples, n_outputs_)
            The logarithm of the probability of each label.

        Raises
        ------
        MemoryError
            If the array would not fit in this machine's memory; use `predict_top_k`.
        """
        return np.log(self.predict_proba(X))

    def _check_rows(self, X):
        check_is_fitted(self)
        if hasattr(self, "feature_names_in_") or not is_clean(X, self.n_features_in_):
            X = validate_data(self, X, accept_sparse="csr", dtype=np.float32, order="C", reset=False)
        return self._to_network(X)

    def _to_network(self, X):
        """Turn validated samples into the Rows that the network takes."""
        return _compact.place_features(scale_rows(as_rows(X), self._input_scale), self._places)

    def _report(self, x):
        """Return a function that is told how many of the Rows x are done."""
        return RowProgress(self.verbose, len(x.indptr) - 1).add

    def _rank(self, x, k):
        """Return the positions in classes_ of the k best labels, and their scores."""
        network, activation = self._network, ACTIVATIONS[self.activation]
        if self.retrieval == "lsh":
            index = self._serve("index", self._make_index)
            return _retrieval.retrieved_top_k(x, k, network, index, activation, self.n_jobs, self._report(x))
        if len(x.indptr) == 2:
            screen = self._serve("screen", self._screen)
            return _screening.screened_top_k(x, k, network, screen, activation)
        return _inference.exact_top_k(x, k, network, activation, self.n_jobs, self._report(x))

    def _serve(self, name, build):
        """Return what predictions make of the weights; it is made anew once these were trained further."""
        if self._serving.get(name, (None, None))[0] != self.t_:
            self._serving[name] = self.t_, build()
        return self._serving[name][1]

    def _make_index(self):
        screen = self._serve("screen", self._screen)
        return _retrieval.make_index(self._network, self._hasher, screen, self.n_jobs)

    def _screen(self):
        return _screening.make_screen(self._network.output.weights, self.n_jobs)

    def _probabilities(self, x):
        """Compute the probability of every label, float64 (n_samples, n_outputs_)."""
        scores = self._dense_scores(x, copies=4)
        probabilities = OUTPUT_ACTIVATIONS[self.out_activation_](scores)
        if self.out_activation_ == "logistic" and not self._multilabel:
            probabilities /= probabilities.sum(axis=1, keepdims=True)
        return probabilities

    def _dense_scores(self, x, copies=1):
        """Compute the score of every label, if that many copies of the array fit in memory."""
        n_samples = len(x.indptr) - 1
        require_memory(
            4 * copies * n_samples * self.n_outputs_,
            f"A dense result of {n_samples} samples x {self.n_outputs_} labels",
            "Use predict_top_k, or fewer samples at a time.",
        )
        return _inference.dense_scores(
            x, self._network, ACTIVATIONS[self.activation], self.n_jobs, self._report(x)
        )
