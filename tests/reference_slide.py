"""The active labels of training, and those retrieved, in plain Python, slow and obvious."""

import math

import numpy as np
from reference import Stream, build_tables, hash_vector


class Slide:
    """Names the active labels of passes, as algorithm 1 of Chen et al. (2020) and other sources have them.

    samples are the numbers of the features and of the true labels of each sample, both lists of lists; keys
    are the epoch, the number of the pass and its sample, for all passes in order. counts say how many labels
    each source may add, lsh are the parameters of the tables. history has what was named, a list for each
    pass.
    """

    def __init__(self, samples, keys, seed, n_labels, n_active, counts, hasher, lsh):
        self.features, self.labels = samples
        self.keys, self.seed, self.n_labels, self.n_active = keys, seed, n_labels, n_active
        self.counts, self.hasher, self.lsh = counts, hasher, lsh
        self.due, self.interval, self.n_builds = 0, lsh["rehash_interval"], 0
        self.history = []

    def __call__(self, s, h, coef):
        """Return the active labels of pass s, the true ones first; coef (n_units, n_labels)."""
        epoch, number, i = self.keys[s]
        stream = Stream(self.seed, epoch, number)
        # sixteen passes, one after the other, share their other random numbers
        place = s - [key[0] for key in self.keys].index(epoch)
        shared = Stream(self.seed, epoch + 2**32, place // 16)
        active = list(self.labels[i])
        if self.counts["lsh"] and self.n_active < self.n_labels:
            if s >= self.due:
                self.tables = build_tables([self.hash(row) for row in coef.T])
                self.due, self.interval = self.due + self.interval, self.interval * self.lsh["rehash_growth"]
                self.n_builds += 1
            self.add(self.looked_up(h, stream, active), "lsh", active)
        if self.n_active >= self.n_labels:
            active += [y for y in range(self.n_labels) if y not in active]
        else:
            for source in ("cooccurrence", "frequency", "uniform"):
                n_draws = max(0, min(self.counts[source], self.n_active - len(active)))
                numbers = stream if source == "cooccurrence" else shared
                self.add(getattr(self, source)(numbers, i, n_draws), source, active)
        self.history.append(active)
        return active

    def add(self, labels, source, active):
        """Append labels that are not active yet, as many as the source may, and n_active in all at most."""
        limit = min(self.n_active, len(active) + self.counts[source])
        for y in labels:
            if len(active) >= limit:
                break
            if y not in active:
                active.append(y)

    def hash(self, vector):
        """Return the codes of a vector in float32, in which the estimator hashes."""
        return hash_vector(np.float32(vector), self.lsh["family"], self.hasher)

    def looked_up(self, h, stream, active):
        """Yield labels of the buckets of h, by the way of selection."""
        codes = self.hash(h)
        if self.lsh["selection"] == "vanilla":
            left = list(range(len(codes)))
            while left:  # the one drawn gives its place to the first
                place = stream.below(len(left))
                left[0], left[place] = left[place], left[0]
                t = left.pop(0)
                yield from self.read(t, codes[t], stream)
            return
        order = stream.permutation(len(codes))
        counts = {}
        for t in order:
            for y in self.read(t, codes[t], stream):
                if y not in active:
                    counts[y] = counts.get(y, 0) + 1
        if self.lsh["selection"] == "top_k":
            yield from sorted(counts, key=lambda y: -counts[y])  # ties as they were met
        else:
            yield from (y for y in counts if counts[y] >= self.lsh["min_collisions"])

    def read(self, table, code, stream):
        """Return the labels of a bucket; of more than bucket_size, those from a random one on, around."""
        bucket, size = self.tables[table].get(code, []), self.lsh["bucket_size"]
        if len(bucket) <= size:
            return bucket
        start = stream.below(len(bucket))
        return (bucket[start:] + bucket[:start])[:size]

    def cooccurrence(self, stream, i, n_labels):
        """Return labels of samples that share a feature with sample i; those without are left out.

        Of each sample come up to four labels in order, from a random one on, around; n_labels in all.
        """
        if not self.features[i]:
            return []
        mean = sum(map(len, self.labels)) // len(self.labels)
        n_draws = math.ceil(n_labels / min(max(mean, 1), 4))
        features = [stream.choice(self.features[i]) for _ in range(n_draws)]
        having = [[other for other, some in enumerate(self.features) if j in some] for j in features]
        with_labels = [[other for other in samples if self.labels[other]] for samples in having]
        others = [stream.choice(some or samples) for some, samples in zip(with_labels, having, strict=True)]
        drawn = []
        for labels in (self.labels[other] for other in others):
            start = stream.below(len(labels))
            drawn += (labels[start:] + labels[:start])[:4]
        return drawn[:n_labels]

    def frequency(self, stream, i, n_draws):
        """Return labels as often as samples have them."""
        entries = [y for labels in self.labels for y in labels]
        return [stream.choice(entries) for _ in range(n_draws if entries else 0)]

    def uniform(self, stream, i, n_draws):
        """Return any labels."""
        return [stream.below(self.n_labels) for _ in range(n_draws)]


def candidates(x, h, direct, biases, tables, codes, n_scored, k):
    """Return the labels that retrieval ranks for a sample x with hidden vector h, n_scored or at least k.

    direct (n_features, n_labels) are the direct weights, 0 where there is none; codes those of h.
    """
    named = []
    for j in np.flatnonzero(x):
        named += [y for y in np.flatnonzero(direct[j]).tolist() if y not in named]
    scores = x @ direct + biases
    found = sorted(named, key=lambda y: -scores[y])[: (n_scored + 1) // 2]
    met = {}
    for code, table in zip(codes, tables, strict=True):
        for y in table.get(code, []):
            if y not in found:
                met[y] = met.get(y, 0) + 1
    found += sorted(met, key=lambda y: -met[y])[: max(0, n_scored - len(found))]
    return found + [y for y in range(len(biases)) if y not in found][: max(0, k - len(found))]
