"""
A layer of PyTorch in a net of skorch
=====================================

Train a net of PyTorch with a hundred thousand labels by ``fit``, as an estimator of scikit-learn.

skorch wraps modules of PyTorch as estimators. ``SlideLinear`` wants the labels where it scores, so that one
method of the net changes: a training step gives them to the module. Run it with

    python examples/torch_skorch.py [number of texts [number of epochs]]

It needs PyTorch and skorch: ``pip install "sklearn-slide[torch]" skorch``.
"""

import re
import sys

import numpy as np

from sklearn_slide.datasets import load_wordnet
from sklearn_slide.metrics import precision_at_k

try:
    import torch
    from skorch import NeuralNet
    from torch import nn
except ImportError as error:
    sys.exit(f'Skipped: {error.name} is not installed. pip install "sklearn-slide[torch]" skorch')

from sklearn_slide.torch import SlideLinear, slide_loss

n_texts = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000
n_epochs = int(sys.argv[2]) if len(sys.argv) > 2 else 2
torch.manual_seed(0)

# %%
# The data
# --------
# The words and glosses of WordNet; some texts are held out. A dataset has pairs: the numbers of the words of
# a text, and its labels.
texts, targets = load_wordnet("train", return_X_y=True)
texts, targets = texts[: n_texts + 2000], targets[: n_texts + 2000]
lists = [re.findall(r"\w+", text.lower()) for text in texts]
numbers = {word: n for n, word in enumerate(sorted({word for words in lists[:-2000] for word in words}), 1)}
words = [[numbers.get(word, 0) for word in words] for words in lists]
pairs = list(zip(words, np.split(targets.indices, targets.indptr[1:-1]), strict=True))


class Pairs(torch.utils.data.Dataset):
    """Pairs of words and labels."""

    def __init__(self, pairs):
        self.pairs = pairs

    def __len__(self):
        return len(self.pairs)

    def __getitem__(self, i):
        return self.pairs[i]


def collate(pairs):
    """Make a batch of pairs: words padded by 0, and labels as SlideLinear takes them."""
    words, labels = zip(*pairs, strict=True)
    words = nn.utils.rnn.pad_sequence([torch.tensor(row, dtype=torch.int64) for row in words], True)
    offsets = np.cumsum([0, *map(len, labels)])
    return words, (torch.from_numpy(np.concatenate(labels)), torch.from_numpy(offsets))


# %%
# The module and the net
# ----------------------
# Without labels the module gives the best ones. The fused layer steps itself, and its weights never have a
# gradient: the optimizer of the net passes them over.


class Tagger(nn.Module):
    """The mean of the words' vectors, and a layer of very many outputs."""

    def __init__(self, n_words, n_labels, n_units=128, rate=0.1):
        super().__init__()
        self.embedding = nn.EmbeddingBag(n_words, n_units, mode="mean", padding_idx=0, sparse=True)
        self.norm = nn.LayerNorm(n_units)
        self.output = SlideLinear(n_units, n_labels, n_jobs=-1).fuse_optimizer(rate)

    def forward(self, words, labels=None):
        vectors = self.norm(self.embedding(words))
        return self.output.top_k(vectors, 5).indices if labels is None else self.output(vectors, labels)


class SlideNet(NeuralNet):
    """A net whose module takes the labels in training, and whose loss is that of the active ones."""

    def train_step_single(self, batch, **fit_params):
        self._set_training(True)
        output = self.module_(*batch)
        loss = slide_loss(output, "sigmoid+softmax", reduction="sum")
        loss.backward()
        return {"loss": loss / len(output.logits), "y_pred": output.logits}


net = SlideNet(
    Tagger,
    criterion=nn.Identity,
    module__n_words=len(numbers) + 1,
    module__n_labels=targets.shape[1],
    optimizer=torch.optim.Adagrad,
    optimizer__initial_accumulator_value=0.1,
    lr=0.1,
    batch_size=64,
    max_epochs=n_epochs,
    iterator_train__shuffle=True,
    iterator_train__collate_fn=collate,
    iterator_valid__collate_fn=collate,
    train_split=None,
)

# %%
# Training
# --------
net.fit(Pairs(pairs[:-2000]), None)
best = net.predict(Pairs(pairs[-2000:]))  # the five best labels of each
print(f"P@1 on held-out texts: {100 * precision_at_k(targets[-2000:], best, k=1):.1f} %")
