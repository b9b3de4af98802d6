"""napkinXC: probabilistic label trees, logistic regression or SVMs in their nodes; one to three trees."""

from job import THREADS, Job, folder_bytes, label_rows
from napkinxc.models import PLT

job = Job()
settings = dict(job.settings)
n_trees = settings.pop("trees")
labels = label_rows(job.Y)

for n in range(1, n_trees + 1):
    folder = job.folder / f"trees{n}"
    job.restart()
    with job.training():
        # the models of all nodes are written to the folder while they are trained
        model = PLT(str(folder), threads=THREADS, seed=0, ensemble=n if n > 1 else 0, **settings)
        model.fit(job.X, labels)
    job.report(f"{n} trees", model.predict(job.X_test, top_k=5), folder_bytes(folder))
    model.unload()
