"""The peers: how each is installed and run, and the settings among which ``--search`` chooses.

The settings that were chosen are in settings.json beside this file; the table of the search is
docs/benchmarks/settings.rst.
"""

from typing import NamedTuple

import benchmarking

ALL = benchmarking.DATA_SETS
SMALL, MEDIUM = ALL[:2], ALL[:3]
# what the scripts themselves need
NUMERIC = "numpy scipy"
# requirements, installed one line after the other; None stands for the environment that runs the benchmark
ENVIRONMENTS = {
    "here": None,
    "torch": ["torch==2.13.0", NUMERIC],
    "pecos": ["torch==2.13.0", "libpecos==1.2.8"],  # its build of PyTorch is to be the same
    "omikuji": ["omikuji==0.5.2", NUMERIC],
    "napkinxc": ["napkinxc==0.7.2", NUMERIC],
    "fasttext": ["fasttext-numpy2-wheel==0.9.2", NUMERIC],
}
# whose versions a page names
PACKAGES = {
    "here": ["sklearn-slide", "scikit-learn", "numpy", "scipy", "numba"],
    "torch": ["torch"],
    "pecos": ["libpecos"],
    "omikuji": ["omikuji"],
    "napkinxc": ["napkinxc"],
    "fasttext": ["fasttext-numpy2-wheel"],
}


class Peer(NamedTuple):
    """A way to train: its script and environment, what is fixed, and what the search tries.

    `fixed` maps "" to settings for all data sets, and the name of a data set to some that go before whatever
    is chosen. `choices` are dicts of settings: the search begins with the first, and keeps each of the rest,
    a change, if it improves on the best so far. It is made on the data sets `searched`, with what stands in
    `search_with`; the data sets after these take the settings of the last one. With `every_point`, each point
    of the curve is a row of the tables. `like` names a peer whose settings are taken over.
    """

    name: str
    script: str
    environment: str
    fixed: dict = {}
    choices: tuple = ()
    searched: tuple = ALL
    search_with: dict = {}
    every_point: bool = False
    like: str = ""


OURS = "SlideClassifier"
OURS_FIXED = {"early_stopping": False}  # the search chooses the epochs, as those of the peers
TORCH_FIXED = {
    "": {"first_point": 1.0, "hidden": 256, "scale": 0.05},
    "bibtex": {"first_point": 0.1},
    "delicious": {"first_point": 0.1},
    "wordnet-related": {"first_point": 10.0},
}
TORCH_CHOICES = (
    {"epochs": 12, "batch": 128, "learning_rate": 0.003},
    {"learning_rate": 0.001},
    {"learning_rate": 0.01},
    {"scale": 0.5},
    {"batch": 512, "learning_rate": 0.01},
)

PEERS = (
    Peer(OURS, "run_ours.py", "here", {"": OURS_FIXED}),
    Peer(
        "the same, 3 networks",
        "run_ours.py",
        "here",
        {"": {**OURS_FIXED, "n_estimators": 3}, "debian-deps-min2": {"n_active": 1000}},
        like=OURS,
    ),
    Peer(
        "the same, uniform",
        "run_ours.py",
        "here",
        {"": {**OURS_FIXED, "negatives": {"uniform": 1.0}}},
        like=OURS,
    ),
    Peer("the same, full", "run_ours.py", "here", {"": {**OURS_FIXED, "n_active": None}}, like=OURS),
    Peer(
        "PyTorch, BCE",
        "run_torch.py",
        "torch",
        {name: {"loss": "bce", **settings} for name, settings in TORCH_FIXED.items()},
        TORCH_CHOICES,
        MEDIUM,
    ),
    Peer(
        "PyTorch, softmax",
        "run_torch.py",
        "torch",
        {name: {"loss": "softmax", **settings} for name, settings in TORCH_FIXED.items()},
        TORCH_CHOICES,
        MEDIUM,
    ),
    Peer(
        "MLPClassifier",
        "run_sklearn.py",
        "here",
        {"": {"hidden_layer_sizes": [256], "first_point": 1.0}},
        (
            {"epochs": 30, "batch_size": 128, "learning_rate_init": 0.003},
            {"learning_rate_init": 0.01},
            {"batch_size": 512, "learning_rate_init": 0.01},
            {"alpha": 0.01},
        ),
        SMALL,
    ),
    Peer(
        "one-vs-rest linear",
        "run_sklearn.py",
        "here",
        {},
        (
            {"estimator": "LinearSVC", "C": 0.3},
            {"C": 0.1},
            {"C": 1.0},
            {"estimator": "LogisticRegression", "solver": "liblinear", "C": 3.0},
            {"estimator": "LogisticRegression", "solver": "liblinear", "C": 10.0},
        ),
        SMALL,
    ),
    Peer(
        "PECOS XR-Linear",
        "run_pecos.py",
        "pecos",
        {"": {"trees": 3, "beam_size": 20}},
        (
            {"nr_splits": 16, "max_leaf_size": 100},
            {"max_leaf_size": 400},
            {"nr_splits": 2},
            {"Cp": 0.3, "Cn": 0.3},
            {"Cp": 4.0, "Cn": 1.0},
            {"threshold": 0.01},
            {"negative_sampling_scheme": "tfn+man"},
        ),
        search_with={"trees": 1},
        every_point=True,
    ),
    Peer(
        "omikuji, Parabel",
        "run_omikuji.py",
        "omikuji",
        {"": {"trees": 3, "beam_size": 20}},
        (
            {"linear_c": 1.0},
            {"linear_c": 0.3},
            {"linear_c": 3.0},
            {"linear_eps": 0.01},
            {"linear_loss_type": 1, "linear_c": 10.0},
            {"min_branch_size": 400},
            {"linear_weight_threshold": 0.01},
        ),
        search_with={"trees": 1},
        every_point=True,
    ),
    Peer(
        "omikuji, Bonsai",
        "run_omikuji.py",
        "omikuji",
        {"": {"trees": 3, "beam_size": 20, "cluster_balanced": False, "max_depth": 3}},
        (
            {"cluster_k": 100, "linear_c": 1.0},
            {"cluster_k": 16},
            {"linear_c": 0.3},
            {"linear_c": 3.0},
            {"linear_loss_type": 1, "linear_c": 10.0},
        ),
        search_with={"trees": 1},
        every_point=True,
    ),
    Peer(
        "napkinXC, PLT",
        "run_napkinxc.py",
        "napkinxc",
        {"": {"trees": 3}},
        (
            {"liblinear_c": 10.0},
            {"liblinear_c": 3.0},
            {"liblinear_c": 30.0},
            {"loss": "l2", "liblinear_c": 1.0},
            {"arity": 16},
            {"max_leaves": 400},
        ),
        search_with={"trees": 1},
        every_point=True,
    ),
    Peer(
        "fastText, one-vs-all",
        "run_fasttext.py",
        "fasttext",
        {"": {"loss": "ova"}, "debian-deps-min2": {"epochs": [1, 5]}, "wordnet-related": {"epochs": [1]}},
        ({"epochs": [1, 5, 25], "dim": 100, "lr": 0.5}, {"lr": 1.0}, {"lr": 0.2}, {"dim": 256}),
        SMALL,
    ),
    Peer(
        "fastText, hierarchical",
        "run_fasttext.py",
        "fasttext",
        {"": {"loss": "hs"}},
        ({"epochs": [1, 5, 25], "dim": 100, "lr": 0.5}, {"lr": 1.0}, {"lr": 0.2}, {"dim": 256}),
    ),
)
