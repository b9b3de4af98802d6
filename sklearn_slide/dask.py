"""Shards of labels on a Dask cluster: needs the extra ``sklearn-slide[dask]``.

Transport, scheduling and recovery are Dask's: a shard is a task, its inputs are tasks that can be run again,
and where a worker is lost, so are they.
"""

from numbers import Integral

import dask.array as da
import distributed
import joblib
import numpy as np
import scipy.sparse as sp
from sklearn.base import BaseEstimator, clone

from sklearn_slide import _dask_tasks as tasks
from sklearn_slide._classifier import SlideClassifier
from sklearn_slide._dask_client import TrainingMixin, key
from sklearn_slide._shards import join_shards, split_classifier
from sklearn_slide._validation import attributes_kept_on_failure

__all__ = ["DaskSlideClassifier"]


class DaskSlideClassifier(TrainingMixin, BaseEstimator):
    """SlideClassifier whose labels are dealt to shards, which the workers of a Dask cluster train and rank.

    The first shard has the most frequent labels, trains the hidden layers, and finds out on rows that it sets
    aside how long to train, and whether ridge regression helps; the others use its layers as they are, and do
    as it found. Each is a task that Dask runs again where a worker was lost; no shard is ever left out.

    Parameters
    ----------
    n_shards : int
        The number of shards. With 1, a worker trains a plain :class:`~sklearn_slide.SlideClassifier`.
    client : distributed.Client, default=None
        The client of the cluster; None takes the current one. It is not pickled.
    folder : str, default=None
        A folder that all workers see. Finished shards are written to it, and taken from there by a later call
        with the same data and parameters. Files are pickles: read only those that you trust.
    timeout : float, default=86400
        Seconds to wait for the next task to finish; more is a TimeoutError.
    worker_timeout : float, default=300
        Seconds to wait for a worker while there is none; more is a TimeoutError.
    **parameters : dict
        Those of :class:`~sklearn_slide.SlideClassifier`. `n_active` and `direct_limit` are divided among the
        shards, and the first one gets more of them; `n_jobs=None` stands for the threads of a worker, which
        trains one shard at a time; `verbose` prints a line for each shard. Several networks, class weights,
        ``label_weight='propensity'`` and the softmax loss need ``n_shards=1``. With more, `early_stopping`
        and `scoring` are for the first shard, which judges by its own labels, and nothing is calibrated.

    Attributes
    ----------
    client_ : distributed.Client
        The client in use.
    shards_ : list of distributed.Future
        The shards, on the workers.
    loss_curves_ : list of list of float
        The loss curve of each shard; empty where it was told to keep its first weights.
    classes_ : ndarray of shape (n_outputs_,)
        The numbers of the columns of y.
    n_outputs_ : int
        The number of labels.
    n_features_in_ : int
        The number of features.

    See Also
    --------
    sklearn_slide.SlideClassifier : The same on one machine.

    Examples
    --------
    >>> import dask.array as da
    >>> from distributed import Client, LocalCluster
    >>> from sklearn_slide.dask import DaskSlideClassifier
    >>> from sklearn_slide.datasets import make_xmc_classification
    >>> X, Y = make_xmc_classification(n_samples=300, n_labels=40, random_state=0)
    >>> quiet = {"n_workers": 1, "threads_per_worker": 1, "dashboard_address": ":0"}
    >>> with LocalCluster(processes=False, **quiet) as cluster, Client(cluster) as client:
    ...     model = DaskSlideClassifier(n_shards=2, hidden_layer_sizes=(16,), random_state=0).fit(X, Y)
    ...     labels, scores = model.predict_top_k(da.from_array(X, chunks=(100, -1)), k=3)
    ...     labels.compute().shape
    (300, 3)
    """

    def __init__(
        self, *, n_shards, client=None, folder=None, timeout=86400.0, worker_timeout=300.0, **parameters
    ):
        unknown = set(parameters) - set(SlideClassifier._get_param_names())
        if unknown:
            raise TypeError(
                f"{min(unknown)!r} is a parameter neither of DaskSlideClassifier nor of SlideClassifier."
            )
        self.n_shards, self.client, self.folder = n_shards, client, folder
        self.timeout, self.worker_timeout = timeout, worker_timeout
        vars(self).update(SlideClassifier().get_params(deep=False) | parameters)

    @classmethod
    def _get_param_names(cls):
        return sorted([*super()._get_param_names(), *SlideClassifier._get_param_names()])

    def __sklearn_clone__(self):
        parameters = self.get_params(deep=False)
        client = parameters.pop("client")
        copies = {name: clone(part, safe=False) for name, part in parameters.items()}
        return type(self)(client=client, **copies)

    def __sklearn_is_fitted__(self):
        return "shards_" in vars(self)

    def __getstate__(self):
        if self.__sklearn_is_fitted__():
            raise TypeError(
                "A fitted DaskSlideClassifier cannot be pickled or copied: its shards are on workers. Store "
                "to_local(), and put it back on a cluster by from_local()."
            )
        return {**super().__getstate__(), "client": None}

    @property
    def client_(self):
        """The client in use: the one that was given, or the current one."""
        client = self.client
        if client is None:
            try:
                client = distributed.get_client()
            except ValueError as error:
                raise ValueError(
                    "There is no Dask client. Make one, distributed.Client(address), or give client=."
                ) from error
        if client.asynchronous:
            raise ValueError("An asynchronous client is not supported. Give one of asynchronous=False.")
        return client

    @property
    def classes_(self):
        """The numbers of the columns of y: ndarray of shape ``(n_outputs_,)``."""
        return np.arange(self._fitted("n_outputs_"))

    @attributes_kept_on_failure
    def fit(self, X, y, sample_weight=None):
        """Fit the shards to data matrix X and targets y.

        Parameters
        ----------
        X : dask array or sparse matrix of shape (n_samples, n_features)
            Blocks of CSR or dense rows, all columns in one chunk; float32 is used as it is. What is not a
            dask array becomes one block, which travels in the graph.
        y : dask array or sparse matrix of shape (n_samples, n_labels)
            A binary indicator in as many blocks, with the same rows.
        sample_weight : dask array or array-like of shape (n_samples,), default=None
            Weights of the samples; None stands for 1.

        Returns
        -------
        self : object
            The fitted classifier.

        Raises
        ------
        ValueError
            If a parameter or an argument is not allowed. A block is named by its number, from 0.
        TimeoutError
            If no task finished for `timeout` seconds, or there was no worker for `worker_timeout`.
        RuntimeError
            If a shard or a block was lost and could not be made again.

        See Also
        --------
        partial_fit : One pass over more rows.

        Notes
        -----
        Blocks that are read or computed by tasks are made again where a worker was lost. Data that were
        scattered cannot be.

        Examples
        --------
        >>> from distributed import Client, LocalCluster
        >>> from sklearn_slide.dask import DaskSlideClassifier
        >>> from sklearn_slide.datasets import make_xmc_classification
        >>> X, Y = make_xmc_classification(n_samples=300, n_labels=40, random_state=0)
        >>> quiet = {"n_workers": 1, "threads_per_worker": 1, "dashboard_address": ":0"}
        >>> with LocalCluster(processes=False, **quiet) as cluster, Client(cluster) as client:
        ...     DaskSlideClassifier(n_shards=2, random_state=0).fit(X, Y).n_outputs_
        40
        """
        return self._train(X, y, sample_weight, going_on=False, one_pass=False)

    @attributes_kept_on_failure
    def partial_fit(self, X, y, sample_weight=None):
        """Update the shards with a single pass over the given data, or begin with it.

        Parameters
        ----------
        X : dask array or sparse matrix of shape (n_samples, n_features)
            The samples, as in `fit`.
        y : dask array or sparse matrix of shape (n_samples, n_labels)
            Their targets, of as many labels as before.
        sample_weight : dask array or array-like of shape (n_samples,), default=None
            Weights of the samples, as in `fit`.

        Returns
        -------
        self : object
            The classifier, trained further.

        Raises
        ------
        ValueError
            If an argument is not allowed, or y has another number of labels than before.

        See Also
        --------
        fit : Several passes.

        Examples
        --------
        >>> from distributed import Client, LocalCluster
        >>> from sklearn_slide.dask import DaskSlideClassifier
        >>> from sklearn_slide.datasets import make_xmc_classification
        >>> X, Y = make_xmc_classification(n_samples=300, n_labels=40, random_state=0)
        >>> quiet = {"n_workers": 1, "threads_per_worker": 1, "dashboard_address": ":0"}
        >>> with LocalCluster(processes=False, **quiet) as cluster, Client(cluster) as client:
        ...     model = DaskSlideClassifier(n_shards=2, random_state=0).partial_fit(X[:150], Y[:150])
        ...     model.partial_fit(X[150:], Y[150:]).to_local().t_
        300
        """
        return self._train(X, y, sample_weight, going_on=self.__sklearn_is_fitted__(), one_pass=True)

    def predict_top_k(self, X, k=5):
        """Find the k labels with the highest scores for each sample, lazily.

        Each shard ranks its labels where it is, and these few are merged.

        Parameters
        ----------
        X : dask array or sparse matrix of shape (n_samples, n_features)
            The samples, all columns in one chunk.
        k : int, default=5
            The number of labels; of fewer than k labels, all are returned.

        Returns
        -------
        labels : dask array of shape (n_samples, min(k, n_outputs_))
            Column numbers of y, best first.
        scores : dask array of shape (n_samples, min(k, n_outputs_))
            Their outputs before the output activation, float32. Compute both at once, by
            ``dask.compute(labels, scores)``.

        See Also
        --------
        predict_proba : Probabilities of chosen labels.

        Examples
        --------
        >>> from distributed import Client, LocalCluster
        >>> from sklearn_slide.dask import DaskSlideClassifier
        >>> from sklearn_slide.datasets import make_xmc_classification
        >>> X, Y = make_xmc_classification(n_samples=300, n_labels=40, random_state=0)
        >>> quiet = {"n_workers": 1, "threads_per_worker": 1, "dashboard_address": ":0"}
        >>> with LocalCluster(processes=False, **quiet) as cluster, Client(cluster) as client:
        ...     labels, _ = DaskSlideClassifier(n_shards=2, random_state=0).fit(X, Y).predict_top_k(X, k=3)
        ...     labels.compute().shape
        (300, 3)
        """
        X = self._samples(X)
        if not isinstance(k, Integral) or k < 1:
            raise ValueError(f"k must be an int of at least 1. Got {k!r}.")
        k, form = (
            int(min(k, self.n_outputs_)),
            {"dtype": tasks.RANKED, "meta": np.empty((0, 0), dtype=tasks.RANKED)},
        )
        parts = [
            X.map_blocks(tasks.rank_block, shard, k=k, chunks=(X.chunks[0], (min(k, n_labels),)), **form)
            for shard, n_labels in zip(self.shards_, self._sizes, strict=True)
        ]
        best = da.map_blocks(tasks.merge_ranked, *parts, k=k, chunks=(X.chunks[0], (k,)), **form)
        return best["label"], best["score"]

    def predict(self, X):
        """Predict the labels with a probability above the `threshold`, lazily.

        'auto' stands for a half. Shards are not calibrated, and where ridge regression stands beside a
        network its scores are no log-odds: for probabilities to act on, take ``to_local().calibrate(X, y)``.

        Parameters
        ----------
        X : dask array or sparse matrix of shape (n_samples, n_features)
            The samples, all columns in one chunk.

        Returns
        -------
        y : dask array of shape (n_samples, n_outputs_)
            A binary indicator in blocks of CSR.

        See Also
        --------
        predict_top_k : The best labels, however likely they are.

        Examples
        --------
        >>> from distributed import Client, LocalCluster
        >>> from sklearn_slide.dask import DaskSlideClassifier
        >>> from sklearn_slide.datasets import make_xmc_classification
        >>> X, Y = make_xmc_classification(n_samples=300, n_labels=40, random_state=0)
        >>> quiet = {"n_workers": 1, "threads_per_worker": 1, "dashboard_address": ":0"}
        >>> with LocalCluster(processes=False, **quiet) as cluster, Client(cluster) as client:
        ...     DaskSlideClassifier(n_shards=2, random_state=0).fit(X, Y).predict(X).compute().shape
        (300, 40)
        """
        X, n_labels = self._samples(X), self.n_outputs_
        form = {"dtype": self._dtype, "chunks": (X.chunks[0], (n_labels,))}
        form["meta"] = sp.csr_array((0, 0), dtype=self._dtype)
        parts = [
            X.map_blocks(tasks.predict_block, shard, n_labels=n_labels, **form) for shard in self.shards_
        ]
        return da.map_blocks(tasks.add, *parts, **form)

    def predict_proba(self, X, labels):
        """Estimate the probability of chosen labels, lazily; it is not calibrated, see `predict`.

        Parameters
        ----------
        X : dask array or sparse matrix of shape (n_samples, n_features)
            The samples, all columns in one chunk.
        labels : array-like of shape (n_chosen,)
            Column numbers of y.

        Returns
        -------
        probabilities : dask array of shape (n_samples, n_chosen)
            The probability of each of these labels.

        See Also
        --------
        predict_top_k : The best labels and their scores.

        Examples
        --------
        >>> from distributed import Client, LocalCluster
        >>> from sklearn_slide.dask import DaskSlideClassifier
        >>> from sklearn_slide.datasets import make_xmc_classification
        >>> X, Y = make_xmc_classification(n_samples=300, n_labels=40, random_state=0)
        >>> quiet = {"n_workers": 1, "threads_per_worker": 1, "dashboard_address": ":0"}
        >>> with LocalCluster(processes=False, **quiet) as cluster, Client(cluster) as client:
        ...     model = DaskSlideClassifier(n_shards=2, random_state=0).fit(X, Y)
        ...     model.predict_proba(X, [3, 7]).compute().shape
        (300, 2)
        """
        X, labels = self._samples(X), np.asarray(labels)
        n_labels = self.n_outputs_
        whole = labels.ndim == 1 and labels.dtype.kind in "iu"
        if not (whole and (labels >= 0).all() and (labels < n_labels).all()):
            raise ValueError(
                f"labels must be a list of column numbers of y, from 0 to {n_labels - 1}. Got {labels!r}."
            )
        form = {"dtype": np.float64, "chunks": (X.chunks[0], (len(labels),)), "meta": np.empty((0, 0))}
        labels = labels.astype(np.int64)
        parts = [
            X.map_blocks(tasks.probabilities_block, shard, labels=labels, **form) for shard in self.shards_
        ]
        return da.map_blocks(tasks.add, *parts, **form)

    def to_local(self):
        """Join the shards into one SlideClassifier in this process.

        Returns
        -------
        model : SlideClassifier
            Fitted, with the parameters of this one. It ranks alike, up to rounding; `partial_fit` goes on. It
            is not calibrated, and its validation scores are those of the first shard.

        See Also
        --------
        from_local : The way back.

        Examples
        --------
        >>> from distributed import Client, LocalCluster
        >>> from sklearn_slide.dask import DaskSlideClassifier
        >>> from sklearn_slide.datasets import make_xmc_classification
        >>> X, Y = make_xmc_classification(n_samples=300, n_labels=40, random_state=0)
        >>> quiet = {"n_workers": 1, "threads_per_worker": 1, "dashboard_address": ":0"}
        >>> with LocalCluster(processes=False, **quiet) as cluster, Client(cluster) as client:
        ...     model = DaskSlideClassifier(n_shards=2, random_state=0).fit(X, Y).to_local()
        >>> model.predict_top_k(X, k=3)[0].shape
        (300, 3)
        """
        futures = self._fitted("shards_")
        shards = dict(self._cluster().results(futures, "Shard"))
        return join_shards([shards[number] for number in range(len(futures))], self._parameters())

    @classmethod
    def from_local(cls, model, *, n_shards=1, client=None, **others):
        """Put a fitted SlideClassifier on the workers, its labels dealt to shards.

        Parameters
        ----------
        model : SlideClassifier
            Fitted to a multi-label indicator, and not compact.
        n_shards : int, default=1
            The number of shards.
        client : distributed.Client, default=None
            The client of the cluster; None takes the current one.
        **others : dict
            `folder`, `timeout` and `worker_timeout`.

        Returns
        -------
        classifier : DaskSlideClassifier
            Fitted, with the parameters of the model.

        See Also
        --------
        to_local : The way back.

        Examples
        --------
        >>> from distributed import Client, LocalCluster
        >>> from sklearn_slide import SlideClassifier
        >>> from sklearn_slide.dask import DaskSlideClassifier
        >>> from sklearn_slide.datasets import make_xmc_classification
        >>> X, Y = make_xmc_classification(n_samples=300, n_labels=40, random_state=0)
        >>> model = SlideClassifier(random_state=0).fit(X, Y)
        >>> quiet = {"n_workers": 1, "threads_per_worker": 1, "dashboard_address": ":0"}
        >>> with LocalCluster(processes=False, **quiet) as cluster, Client(cluster) as client:
        ...     DaskSlideClassifier.from_local(model, n_shards=2).predict_top_k(X)[0].compute().shape
        (300, 5)
        """
        made = cls(n_shards=n_shards, client=client, **others, **model.get_params(deep=False))
        made._checked_parameters(one_pass=True)
        shards, used = split_classifier(model, n_shards), made.client_
        futures = [
            used.submit(tasks.as_it_is, shard, key=key(f"shard-{number}"))
            for number, shard in enumerate(shards)
        ]
        made._take(
            futures, [len(shard.columns) for shard in shards], model.n_features_in_, model._model.labels.dtype
        )
        made._origin, made.loss_curves_ = joblib.hash(shards), [list(model.loss_curve_)] * n_shards
        return made
