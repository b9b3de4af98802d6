"""Omikuji: Parabel (balanced binary trees) and Bonsai (shallow trees, many branches); one to three trees."""

import omikuji
from job import THREADS, Job, folder_bytes
from omikuji import ffi, lib

job = Job()
settings = dict(job.settings)
n_trees, beam_size = settings.pop("trees"), settings.pop("beam_size")

path = job.folder / "train.txt"
job.write_training_rows(path)

# Model.train_on_data reads the file within the time of training; these are its two steps
pool = lib.init_omikuji_thread_pool(THREADS)
data = ffi.gc(
    lib.load_omikuji_data_set(ffi.new("char[]", str(path).encode()), pool), lib.free_omikuji_data_set
)

rows = [slice(*bounds) for bounds in zip(job.X_test.indptr[:-1], job.X_test.indptr[1:], strict=True)]
for n in range(1, n_trees + 1):
    parameters = omikuji.Model.default_hyper_param()
    parameters.n_trees = n
    for name, value in settings.items():
        setattr(parameters, name, value)
    job.restart()
    with job.training():
        model = omikuji.Model(lib.train_omikuji_model(data, parameters, pool))
    model.save(str(job.folder / f"trees{n}"))
    labels = []
    for row in rows:
        pairs = list(zip(job.X_test.indices[row].tolist(), job.X_test.data[row].tolist(), strict=True))
        labels.append([label for label, _ in model.predict(pairs, beam_size=beam_size, top_k=5)])
    job.report(f"{n} trees", labels, folder_bytes(job.folder / f"trees{n}"))
