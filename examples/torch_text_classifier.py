"""
An encoder of PyTorch before a sampled layer
============================================

Classify texts with 109,129 labels in PyTorch, on a CPU.

The words and the gloss of a WordNet synset are the text, the synsets that it points to its labels. An encoder
of ordinary PyTorch, an ``nn.EmbeddingBag`` and a small network, or an LSTM that reads the words in their
order, is trained together with ``SlideLinear`` as the last layer, which scores some hundred labels of each
text instead of all. Run it with

    python examples/torch_text_classifier.py [number of texts [number of epochs [bag or lstm]]]

It needs PyTorch: ``pip install "sklearn-slide[torch]"``.
"""

import re
import sys
import time
from collections import Counter

import numpy as np

from sklearn_slide.datasets import load_wordnet
from sklearn_slide.metrics import precision_at_k

try:
    import torch
    from torch import nn
    from torch.utils.data import DataLoader
except ImportError:
    sys.exit('Skipped: PyTorch is not installed. pip install "sklearn-slide[torch]"')

from sklearn_slide.torch import SlideLinear, slide_loss

N_UNITS, BATCH_SIZE, RATE = 128, 64, 0.1
n_texts = int(sys.argv[1]) if len(sys.argv) > 1 else None
n_epochs = int(sys.argv[2]) if len(sys.argv) > 2 else 3
kind = sys.argv[3] if len(sys.argv) > 3 else "bag"
torch.manual_seed(0)
# an LSTM takes many small steps: to wait for a second thread in each takes longer than half of its work
torch.set_num_threads(1)

# %%
# The data
# --------
# A text becomes the numbers of its words; number 0 is for words that are rare.
train, test = load_wordnet("train"), load_wordnet("test")
texts, targets = train.data[:n_texts], train.target[:n_texts]
counts = Counter(word for text in texts for word in re.findall(r"\w+", text.lower()))
numbers = {word: n for n, word in enumerate((w for w, count in counts.items() if count > 1), start=1)}


def encode(texts):
    """Return the numbers of the words of each text."""
    return [[numbers.get(word, 0) for word in re.findall(r"\w+", text.lower())] for text in texts]


def bags(lists):
    """Put lists together, as nn.EmbeddingBag and SlideLinear take them."""
    ends = np.cumsum([0, *map(len, lists)])
    return torch.from_numpy(np.concatenate(lists).astype(np.int64)), torch.from_numpy(ends[:-1])


def collate(samples):
    """Make a batch of pairs of words and labels."""
    words, labels = zip(*samples, strict=True)
    return bags(words), bags(labels)


labels = np.split(targets.indices, targets.indptr[1:-1])
loader = DataLoader(
    list(zip(encode(texts), labels, strict=True)), BATCH_SIZE, shuffle=True, collate_fn=collate
)
print(f"{len(texts)} texts, {len(numbers)} words, {targets.shape[1]} labels")

# %%
# The model
# ---------
# The fused layer steps its own weights in backward. An optimizer of torch trains the rest; here that is one
# for the embedding, whose gradients are sparse, and one for the dense layers.


class Bag(nn.Module):
    """The mean of the words' vectors, and a small network."""

    def __init__(self, n_words):
        super().__init__()
        self.embedding = nn.EmbeddingBag(n_words, N_UNITS, mode="mean", sparse=True)
        self.network = nn.Sequential(nn.Linear(N_UNITS, N_UNITS), nn.GELU(), nn.LayerNorm(N_UNITS))

    def forward(self, words):
        return self.network(self.embedding(*words))


class Reader(nn.Module):
    """An LSTM in both directions over the words' vectors; its last states are the text's vector."""

    def __init__(self, n_words):
        super().__init__()
        self.embedding = nn.Embedding(n_words, N_UNITS, sparse=True)
        self.network = nn.LSTM(N_UNITS, N_UNITS // 2, batch_first=True, bidirectional=True)

    def forward(self, words):
        indices, starts = words
        lengths = torch.diff(starts, append=torch.tensor([len(indices)]))
        vectors = nn.utils.rnn.pad_sequence(self.embedding(indices).split(lengths.tolist()), batch_first=True)
        lengths = lengths.clamp(min=1)  # a text without words reads as one word of zeros
        packed = nn.utils.rnn.pack_padded_sequence(vectors, lengths, batch_first=True, enforce_sorted=False)
        _, (states, _) = self.network(packed)
        return torch.cat(list(states), dim=1)


encoder = {"bag": Bag, "lstm": Reader}[kind](len(numbers) + 1)
output = SlideLinear(N_UNITS, targets.shape[1], random_state=0, n_jobs=-1).fuse_optimizer(RATE)
optimizers = [
    torch.optim.Adagrad(encoder.embedding.parameters(), RATE, initial_accumulator_value=0.1),
    torch.optim.Adam(encoder.network.parameters(), 1e-3),
]
n_steps = n_epochs * len(loader)
schedules = [torch.optim.lr_scheduler.LinearLR(o, 1.0, 0.0, n_steps) for o in optimizers]

# %%
# Training
# --------
test_words = encode(test.data)
for epoch in range(n_epochs):
    start, total = time.perf_counter(), 0.0
    for words, target in loader:
        loss = slide_loss(output(encoder(words), target), "sigmoid+softmax", reduction="sum")
        for optimizer in optimizers:
            optimizer.zero_grad()
        loss.backward()
        for optimizer, schedule in zip(optimizers, schedules, strict=True):
            optimizer.step()
            schedule.step()
        output.set_learning_rate(schedules[0].get_last_lr()[0])
        total += loss.item()
    seconds = time.perf_counter() - start
    with torch.no_grad():
        parts = [test_words[first : first + 1000] for first in range(0, len(test_words), 1000)]
        best = np.vstack([output.top_k(encoder(bags(part)), 5).indices.numpy() for part in parts])
    precisions = ", ".join(f"P@{k} {100 * precision_at_k(test.target, best, k=k):.1f} %" for k in (1, 5))
    print(f"epoch {epoch + 1}: {seconds:.0f} s, mean loss {total / len(texts):.2f}, {precisions}")
