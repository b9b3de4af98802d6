"""fastText: the mean of the vectors of the features, a linear layer, one-vs-all or hierarchical softmax.

It reads text: every feature is a word, and the values of the features are lost on it.
"""

import fasttext
from job import THREADS, Job, label_rows

job = Job()
settings = dict(job.settings)
epochs = settings.pop("epochs")


def texts(X):
    return [" ".join(f"f{feature}" for feature in features) for features in label_rows(X)]


path = job.folder / "train.txt"
with path.open("w") as file:
    for labels, text in zip(label_rows(job.Y), texts(job.X), strict=True):
        file.write(" ".join(f"__label__{label}" for label in labels) + f" {text}\n")

rows = texts(job.X_test)
for epoch in epochs:
    job.restart()
    with job.training():
        model = fasttext.train_supervised(
            str(path), epoch=epoch, thread=THREADS, minCount=1, verbose=0, **settings
        )
    model.save_model(str(job.folder / "model.bin"))
    best, _ = model.predict(rows, k=5)
    labels = [[int(name.removeprefix("__label__")) for name in names] for names in best]
    size = (job.folder / "model.bin").stat().st_size
    job.report(f"{epoch} epochs", labels, size, epochs=[other for other in epochs if other <= epoch])
