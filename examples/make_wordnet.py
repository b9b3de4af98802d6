"""Make the files of the bundled WordNet data set anew.

``sklearn_slide.datasets.load_wordnet`` reads three files in ``sklearn_slide/data``. This script makes them
from the database files of WordNet 3.0, the folder that holds ``data.noun`` and ``index.noun`` (``dict`` in
Princeton's archive, ``/usr/share/wordnet`` where Debian's package ``wordnet-base`` is installed)::

    python examples/make_wordnet.py /usr/share/wordnet sklearn_slide/data

The same folder always gives the same bytes with the same versions of zlib and liblzma.
"""

import argparse
import lzma
from pathlib import Path

import numpy as np
import scipy.sparse as sp

PARTS_OF_SPEECH = {"a": "adj", "n": "noun", "r": "adv", "v": "verb"}  # in the order of the rows


def read_lines(path):
    """Return the lines of a file without the licence notice, whose lines start with a space."""
    return [line for line in path.read_text("ascii").splitlines() if not line.startswith(" ")]


def read_notice(path):
    """Return the licence notice at the head of a database file without its line numbers."""
    lines = [line for line in path.read_text("ascii").splitlines() if line.startswith(" ")]
    return "".join(line.strip().partition(" ")[2].rstrip() + "\n" for line in lines)


def read_senses(path):
    """Map (lemma, offset of a synset) to the number of that sense of the lemma, 1 for the most frequent."""
    senses = {}
    for line in read_lines(path):
        fields = line.split()
        n_synsets = int(fields[2])
        for number, offset in enumerate(fields[-n_synsets:], start=1):
            senses[fields[0], offset] = number
    return senses


def read_synsets(folder, part):
    """Yield key, line of text and keys of the targets of each synset of a part of speech, by offset."""
    senses = read_senses(folder / f"index.{PARTS_OF_SPEECH[part]}")
    for line in read_lines(folder / f"data.{PARTS_OF_SPEECH[part]}"):
        fields, _, gloss = line.partition(" | ")
        offset, lexicographer_file, kind, n_lemmas, *fields = fields.split()
        end = 2 * int(n_lemmas, 16)
        lemmas, n_pointers, pointers = fields[:end:2], int(fields[end]), fields[end + 1 :]
        sense = senses[
            lemmas[0].partition("(")[0].lower(), offset
        ]  # "(a)" marks where an adjective may stand
        text = f"{kind} {lexicographer_file} {sense} {' '.join(lemmas)}\t{gloss.strip()}\n"
        targets = {(pointers[i + 2], pointers[i + 1]) for i in range(0, 4 * n_pointers, 4)}
        yield (part, offset), text, targets


def main(source, destination):
    """Write the three files of the data set."""
    synsets = [synset for part in PARTS_OF_SPEECH for synset in read_synsets(source, part)]
    row_of = {key: row for row, (key, _, _) in enumerate(synsets)}

    texts = "".join(text for _, text, _ in synsets)
    filters = [{"id": lzma.FILTER_LZMA2, "preset": 9 | lzma.PRESET_EXTREME}]
    (destination / "wordnet.txt.xz").write_bytes(lzma.compress(texts.encode("utf-8"), filters=filters))

    rows = [sorted(row_of[target] for target in targets) for _, _, targets in synsets]
    indptr = np.cumsum([0, *map(len, rows)], dtype=np.int32)
    indices = np.concatenate(rows).astype(np.int32)
    data = np.ones(len(indices), dtype=np.uint8)
    pointers = sp.csr_matrix((data, indices, indptr), shape=(len(rows), len(rows)))
    sp.save_npz(destination / "wordnet_pointers.npz", pointers)

    (destination / "WORDNET_LICENSE.txt").write_text(read_notice(source / "data.noun"), "ascii")
    print(f"{len(synsets)} synsets, {pointers.nnz} pairs of synsets")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Make the files of the bundled WordNet data set.")
    parser.add_argument("source", type=Path, help="folder of the WordNet 3.0 database files")
    parser.add_argument("destination", type=Path, help="folder to write to")
    arguments = parser.parse_args()
    main(arguments.source, arguments.destination)
