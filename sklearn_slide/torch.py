"""SLIDE as a layer of PyTorch: an output layer that scores a few active labels of each sample.

It needs PyTorch, which ``pip install "sklearn-slide[torch]"`` brings, and computes on the CPU.
"""

import math
from numbers import Integral

import numpy as np
import torch
from sklearn.utils import check_random_state
from torch import nn

from sklearn_slide._core.layers import Layer, LayerState
from sklearn_slide._core.losses import SIGMOID_BIAS
from sklearn_slide._core.optimizers import Adagrad
from sklearn_slide._core.parallel import take
from sklearn_slide._core.sampled import ActiveRows, Fused
from sklearn_slide._first_weights import OUTPUT_ACCUMULATOR
from sklearn_slide._lsh import LSH, check_lsh, draw_hasher
from sklearn_slide._torch_answers import AnswerMixin
from sklearn_slide._torch_estimators import EstimatorMixin
from sklearn_slide._torch_functions import Call, best, score
from sklearn_slide._torch_input import check_arguments, check_frozen, check_input, check_rate, read_target
from sklearn_slide._torch_loss import SlideOutput, slide_loss
from sklearn_slide._torch_sampling import ActiveLabels

__all__ = ["SlideLinear", "SlideOutput", "slide_loss"]


def _outside_graphs(method):
    """Let torch.compile leave a method as it is, with a break of its graph that says why."""
    reason = "SlideLinear with a target runs kernels of sklearn_slide, which torch.compile cannot trace"
    try:
        return torch.compiler.disable(method, reason=reason)
    except TypeError:  # an older PyTorch takes no reason
        return torch.compiler.disable(method)


class SlideLinear(EstimatorMixin, AnswerMixin, nn.Module):
    """A linear layer to very many outputs, which in training computes a few active ones of each row.

    It stands in the place of :class:`torch.nn.Linear` as the last layer of a classifier. Given `target` as
    well, it scores the true labels of a row, labels that hash tables over its weights name for the row, and
    other negatives [1]_, and :func:`slide_loss` compares them. Gradients reach `input` and the rows of active
    labels alone. It computes on the CPU, in float32; float64 is there to check gradients.

    Parameters
    ----------
    in_features : int
        Size of each input vector.

    out_features : int
        Number of labels.

    bias : bool, default=True
        Whether to add a bias. All begin with -8, for nearly all labels of a row are false.

    n_active : int, 'auto' or None, default=400
        The number of labels scored for a row at most; true labels are always scored. With no more labels than
        that, and with None, all are scored. 'auto' scores all of up to 1000 labels, and 400 of more.

    negatives : 'auto' or dict, default='auto'
        Where the active labels come from that are not true, as shares of `n_active`: 'lsh' from the hash
        tables, 'frequency' from the true labels of earlier rows, up to 1,048,576 of them, 'uniform' from all.
        'auto' is ``{'lsh': 0.6, 'frequency': 0.3, 'uniform': 0.1}``.

    lsh : LSH, default=None
        The hash tables; None stands for ``LSH()``. They are rebuilt as its `rehash_interval` says, in rows.

    sparse : bool, default=True
        Whether gradients of the weights are sparse COO tensors of the active rows, for SGD, Adagrad and
        SparseAdam, or dense, for all other optimizers.

    random_state : int, RandomState instance, default=None
        Determines first weights, hash functions and the sampling of labels. None draws from the generator
        that `torch.manual_seed` sets.

    n_jobs : int, default=None
        The number of threads, which take rows of a batch side by side. None means 1, -1 all processors.

    device : 'cpu' or None, default=None
        The device, which can only be the CPU.

    dtype : torch.dtype, default=None
        The type of the weights, float32 or float64; None stands for the default of torch, float32.

    Attributes
    ----------
    weight : Parameter of shape (out_features, in_features)
        The weights.

    bias : Parameter of shape (out_features,) or None
        The biases.

    learning_rate : float or None
        The learning rate of the fused optimizer; None if there is none.

    See Also
    --------
    slide_loss : The loss of what it gives for a target.
    sklearn_slide.SlideClassifier : The estimator, with sparse input and layers of its own.

    Notes
    -----
    Weights that something else than the layer writes on, an optimizer too, are hashed anew when the tables
    are due; call `rebuild_tables` after larger changes. Loading a state does so.

    References
    ----------
    .. [1] B. Chen et al. SLIDE: In defense of smart algorithms over hardware acceleration for large-scale
       deep learning systems. MLSys 2020. arXiv:1903.03129.

    Examples
    --------
    >>> import torch
    >>> from sklearn_slide.torch import SlideLinear, slide_loss
    >>> _ = torch.manual_seed(0)
    >>> layer = SlideLinear(16, 5000, n_active=100).fuse_optimizer(lr=0.1)
    >>> input, target = torch.randn(8, 16), torch.randint(5000, (8,))
    >>> for _ in range(20):
    ...     slide_loss(layer(input, target), reduction="sum").backward()
    >>> bool((layer.predict(input) == target).all())
    True
    """

    def __init__(
        self,
        in_features,
        out_features,
        bias=True,
        *,
        n_active=400,
        negatives="auto",
        lsh=None,
        sparse=True,
        random_state=None,
        n_jobs=None,
        device=None,
        dtype=None,
    ):
        super().__init__()
        check_arguments(in_features, out_features, n_active, device, dtype)
        lsh = LSH() if lsh is None else LSH(**lsh.get_params())
        check_lsh(lsh)
        self.in_features, self.out_features = int(in_features), int(out_features)
        self.n_active, self.negatives, self.lsh = n_active, negatives, lsh
        self.sparse, self.random_state, self.n_jobs = sparse, random_state, n_jobs
        self.learning_rate = None
        seed = self._draw_seed()
        hasher = draw_hasher(lsh, self.in_features, self.out_features, seed)
        self.weight = nn.Parameter(torch.empty(self.out_features, self.in_features, dtype=dtype))
        self.register_parameter(
            "bias", nn.Parameter(torch.empty(len(self.weight), dtype=dtype)) if bias else None
        )
        self.active = ActiveLabels(self.out_features, n_active, negatives, lsh, hasher, seed)
        self._counts, self._arrays = [], (None, None)
        self.register_buffer(
            "no_bias", None if bias else torch.zeros(self.out_features, dtype=dtype), persistent=False
        )
        self.reset_parameters()
        self.register_load_state_dict_post_hook(_rebuild_after_loading)

    def _draw_seed(self):
        if self.random_state is None:
            return int(torch.randint(2**31, ()))
        return int(check_random_state(self.random_state).randint(2**31 - 1))

    def reset_parameters(self):
        """Draw the weights from a normal distribution, and forget what was learned.

        The scores of an input of length 1 are then of about 1 / sqrt(in_features), beside biases of -8.

        See Also
        --------
        fuse_optimizer : Start the sums of the optimizer anew.

        Examples
        --------
        >>> from sklearn_slide.torch import SlideLinear
        >>> SlideLinear(8, 1000).reset_parameters()
        """
        generator = None
        if self.random_state is not None:
            generator = torch.Generator().manual_seed(self.active.seed)
        nn.init.normal_(self.weight, std=1 / math.sqrt(self.in_features), generator=generator)
        if self.bias is not None:
            nn.init.constant_(self.bias, SIGMOID_BIAS)
        if self.learning_rate is not None:
            self._start_sums()
        self.active.forget()

    def forward(self, input, target=None):
        """Score all labels, or with a target the active ones.

        Parameters
        ----------
        input : Tensor of shape (N, in_features)
            The vectors. Without a target there may be any number of leading dimensions.
        target : Tensor or tuple, default=None
            The true labels of each row: int64 of shape (N,), one each; a tuple ``(indices, offsets)`` as
            :class:`torch.nn.EmbeddingBag` takes; or a sparse CSR tensor of shape (N, out_features). A row may
            have none.

        Returns
        -------
        output : Tensor of shape (N, out_features) or SlideOutput
            The scores of all labels, as :class:`torch.nn.Linear` gives them; with a target those of the
            active labels, in training and evaluation alike.

        Raises
        ------
        ValueError
            If input or target have a wrong shape, type or device, or a label is out of range.

        See Also
        --------
        top_k : The best labels, without the scores of all.

        Examples
        --------
        >>> import torch
        >>> from sklearn_slide.torch import SlideLinear
        >>> layer = SlideLinear(8, 1000, n_active=50)
        >>> input = torch.randn(2, 8)
        >>> layer(input).shape
        torch.Size([2, 1000])
        >>> indices, offsets = torch.tensor([5, 7, 9]), torch.tensor([0, 2])  # 5 and 7, and 9
        >>> layer(input, (indices, offsets)).n_true
        tensor([2, 1])
        """
        if target is None:
            return nn.functional.linear(input, self.weight, self.bias)
        compiles = torch.compiler.is_compiling()
        return (self._score_outside_graphs if compiles else self._score_active)(input, target)

    def _score_active(self, input, target):
        weight, bias = self.weight, self.bias
        check_input(input, weight, bias, self.fused)
        if self.fused:
            check_frozen(weight, bias)
        indices, offsets = read_target(target, len(input), self.out_features)
        input, arrays = input.contiguous(), self._as_arrays()
        h = input.detach().numpy()
        labels, n_true = self.active.draw(arrays.output.weights, h, indices, offsets, self.n_jobs)
        logits = score(input, weight, bias, Call(ActiveRows(h, labels), arrays, self))
        return SlideOutput(logits, torch.from_numpy(labels), torch.from_numpy(n_true))

    _score_outside_graphs = _outside_graphs(_score_active)

    @torch.no_grad()
    def top_k(self, input, k):
        """Find the k best labels of each row, without an array of the scores of all.

        Parameters
        ----------
        input : Tensor of shape (N, in_features)
            The vectors.
        k : int
            How many labels.

        Returns
        -------
        values : Tensor of shape (N, k)
            Their scores, the best first.
        indices : Tensor of shape (N, k)
            Their numbers, int64. Both are one named tuple, as :func:`torch.topk` gives it.

        See Also
        --------
        forward : The scores of all labels, or of active ones.

        Examples
        --------
        >>> import torch
        >>> from sklearn_slide.torch import SlideLinear
        >>> layer, input = SlideLinear(8, 1000), torch.randn(2, 8)
        >>> bool((layer.top_k(input, 5).indices == torch.topk(layer(input), 5).indices).all())
        True
        """
        check_input(input, self.weight, self.bias, False)
        if not isinstance(k, Integral) or not 1 <= k <= self.out_features:
            raise ValueError(
                f"k must be a whole number from 1 to out_features={self.out_features}. Got {k!r}."
            )
        return torch.return_types.topk(best(input.contiguous(), self, int(k)))

    @property
    def fused(self):
        """Whether backward steps the weights itself."""
        return self.learning_rate is not None

    def fuse_optimizer(self, lr):
        """Let backward step the weights in place, by row-wise Adagrad, instead of making gradients of them.

        A label steps by the sum of its gradients over a batch, g: s += mean(g**2), w -= lr g / sqrt(s), where
        s begins with 0.5; that is exact row-wise Adagrad as of FBGEMM. Processes that share the layer step
        without locks (Hogwild). An optimizer of torch trains the other layers; weight and bias never get a
        `grad`. So there is no clipping and no accumulation of their gradients, no averaging among processes
        (DistributedDataParallel), and a second backward through one output raises RuntimeError. The sums
        become a part of `state_dict`. Where `weight` requires no gradient, nothing steps.

        Parameters
        ----------
        lr : float
            The learning rate, positive.

        Returns
        -------
        self : SlideLinear
            The layer.

        See Also
        --------
        set_learning_rate : Change the rate later.

        Examples
        --------
        >>> import torch
        >>> from sklearn_slide.torch import SlideLinear, slide_loss
        >>> layer = SlideLinear(8, 1000, n_active=50).fuse_optimizer(lr=0.1)
        >>> slide_loss(layer(torch.randn(2, 8), torch.tensor([3, 5])), reduction="sum").backward()
        >>> layer.weight.grad is None
        True
        """
        started = self.fused
        self.learning_rate = check_rate(lr)
        if not started:
            self._start_sums()
        return self

    def _start_sums(self):
        """Let Adagrad begin; sums of infinity keep a bias that is not there at 0."""
        for name, first in (
            ("weight_sums", OUTPUT_ACCUMULATOR),
            ("bias_sums", OUTPUT_ACCUMULATOR if self.bias is not None else math.inf),
        ):
            self.register_buffer(name, torch.full((self.out_features,), first, dtype=torch.float32))

    def set_learning_rate(self, lr):
        """Change the learning rate of the fused optimizer.

        Parameters
        ----------
        lr : float
            The learning rate, not negative: a schedule may end with 0.

        Returns
        -------
        self : SlideLinear
            The layer.

        See Also
        --------
        fuse_optimizer : Let backward step the layer.

        Examples
        --------
        >>> from sklearn_slide.torch import SlideLinear
        >>> layer = SlideLinear(8, 1000).fuse_optimizer(lr=0.1)
        >>> for step in range(10):
        ...     _ = layer.set_learning_rate(0.1 * (1 - step / 10))
        """
        if not self.fused:
            raise RuntimeError("There is no fused optimizer. Call fuse_optimizer(lr) first.")
        self.learning_rate = check_rate(lr, allow_zero=True)
        return self

    def rebuild_tables(self):
        """Let the hash tables be built anew before they are read next.

        They are rebuilt on a schedule, and after `load_state_dict`; ask for it after you have written on the
        weights yourself.

        See Also
        --------
        reset_parameters : Draw weights anew, which rebuilds the tables.

        Examples
        --------
        >>> import torch
        >>> from sklearn_slide.torch import SlideLinear
        >>> layer = SlideLinear(8, 1000)
        >>> _ = torch.nn.init.orthogonal_(layer.weight)
        >>> layer.rebuild_tables()
        """
        self.active.make_due()

    def extra_repr(self):
        """Return the parameters for `repr`."""
        shape = (
            f"in_features={self.in_features}, out_features={self.out_features}, bias={self.bias is not None}"
        )
        rest = f", n_active={self.n_active!r}, sparse={self.sparse}"
        return shape + rest + (f", fused lr={self.learning_rate:g}" if self.fused else "")

    def __repr__(self):
        return f"{type(self).__name__}({self.extra_repr()})"

    def __getstate__(self):
        return vars(self) | {"_counts": [], "_arrays": (None, None)}

    def _as_arrays(self):
        """Return the weights as the kernels take them, and what the fused optimizer remembers: a Fused.

        They share the memory of the tensors, and are kept: to make them takes as long as the work of a row.
        """
        parameters, buffers = self._parameters, self._buffers  # an attribute of a module takes longer
        bias = parameters["bias"]
        tensors = [parameters["weight"], buffers["no_bias"] if bias is None else bias]
        if self.learning_rate is not None:
            tensors += [buffers["weight_sums"], buffers["bias_sums"]]
        addresses = [tensor.data_ptr() for tensor in tensors]
        if addresses != self._arrays[0]:
            weights, biases, *sums = [tensor.detach().numpy() for tensor in tensors]
            state = LayerState(*map(Adagrad, sums)) if sums else None
            self._arrays = addresses, Fused(Layer(weights, biases.reshape(-1, 1)), state)
        return self._arrays[1]

    def _borrow_counts(self):
        """Return an int64 array of a zero for each label; give it back when it is zero again."""
        return take(self._counts, lambda: np.zeros(self.out_features, dtype=np.int64))

    def _return_counts(self, counts):
        """Take back what _borrow_counts gave."""
        self._counts.append(counts)


def _rebuild_after_loading(layer, incompatible_keys):
    """Let the tables follow the weights that were loaded."""
    del incompatible_keys
    layer.rebuild_tables()
