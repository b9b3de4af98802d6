"""What a layer for PyTorch answers beside its scores: log probabilities, and the best label."""

from torch import nn


class AnswerMixin:
    """The answers of :class:`torch.nn.AdaptiveLogSoftmaxWithLoss`, for a layer that has `top_k`."""

    def log_prob(self, input):
        """Compute the logarithm of the softmax of the scores of all labels.

        Parameters
        ----------
        input : Tensor of shape (N, in_features)
            The vectors.

        Returns
        -------
        output : Tensor of shape (N, out_features)
            The log probabilities, as :class:`torch.nn.AdaptiveLogSoftmaxWithLoss` gives them.

        See Also
        --------
        predict : The best label.

        Examples
        --------
        >>> import torch
        >>> from sklearn_slide.torch import SlideLinear
        >>> SlideLinear(8, 1000).log_prob(torch.randn(2, 8)).shape
        torch.Size([2, 1000])
        """
        return nn.functional.log_softmax(self(input), dim=-1)

    def predict(self, input):
        """Find the best label of each row.

        Parameters
        ----------
        input : Tensor of shape (N, in_features)
            The vectors.

        Returns
        -------
        output : Tensor of shape (N,)
            The label with the highest score, int64.

        See Also
        --------
        top_k : The best labels and their scores.

        Examples
        --------
        >>> import torch
        >>> from sklearn_slide.torch import SlideLinear
        >>> SlideLinear(8, 1000).predict(torch.randn(2, 8)).shape
        torch.Size([2])
        """
        return self.top_k(input, 1).indices[:, 0]
