"""PECOS XR-Linear: a tree of clusters of the labels, linear SVMs in its nodes; one to three trees."""

from job import THREADS, Job, folder_bytes, rank_sparse
from pecos.utils.smat_util import CsrEnsembler
from pecos.xmc import Indexer, LabelEmbeddingFactory
from pecos.xmc.xlinear.model import XLinearModel

job = Job()
settings = dict(job.settings)
n_trees, beam_size = settings.pop("trees"), settings.pop("beam_size")
nr_splits, max_leaf_size = settings.pop("nr_splits"), settings.pop("max_leaf_size")
Y = job.Y.tocsc()

predictions, size = [], 0
for seed in range(n_trees):
    with job.training():
        embedding = LabelEmbeddingFactory.create(Y, job.X, method="pifa")
        clusters = Indexer.gen(
            embedding, nr_splits=nr_splits, max_leaf_size=max_leaf_size, seed=seed, threads=THREADS
        )
        model = XLinearModel.train(job.X, Y, C=clusters, threads=THREADS, nr_splits=nr_splits, **settings)
    model.save(str(job.folder / f"tree{seed}"))
    size += folder_bytes(job.folder / f"tree{seed}")
    predictions.append(model.predict(job.X_test, beam_size=beam_size, only_topk=20, threads=THREADS))
    scores = CsrEnsembler.average(*predictions) if len(predictions) > 1 else predictions[0]
    job.report(f"{seed + 1} trees", rank_sparse(scores.tocsr()), size)
