"""The gallery: where examples save their pictures, and why some of them were not run."""

import tempfile
from importlib.util import find_spec
from pathlib import Path

EXTRAS = {"torch": ["torch"], "dask": ["dask", "distributed"]}
# what is missing of the packages of an extra
ABSENT = {extra: [name for name in names if find_spec(name) is None] for extra, names in EXTRAS.items()}


def reset_argv(gallery_conf, script_vars):
    """Let an example save its picture in a temporary folder: the page takes it from the figure."""
    del gallery_conf
    return [str(Path(tempfile.gettempdir()) / Path(script_vars["src_file"]).with_suffix(".png").name)]


class PlotsFirst:
    """The order of examples: the quick start, those with pictures, the others."""

    def __init__(self, src_dir):
        self.src_dir = src_dir

    def __call__(self, name):
        """Return what the name is sorted by."""
        return name != "plot_quick_start.py", not name.startswith("plot_"), name


def say_why_not_run(app, page, source):
    """Begin the page of an example that was not run with the reason."""
    name = page.removeprefix("auto_examples/")
    if name in (page, "index", "sg_execution_times"):
        return
    extra = next((extra for extra in EXTRAS if name.startswith(f"{extra}_")), None)
    if not name.startswith("plot_"):
        reason = f"it is a script to run by itself, ``python examples/{name}.py``."
        if extra is not None and ABSENT[extra]:
            reason = f'it needs ``pip install "sklearn-slide[{extra}]"``, which was absent.'
    elif not app.config.sphinx_gallery_conf["plot_gallery"]:
        reason = "these pages were built without running the examples."
    else:
        return
    marker = ".. GENERATED FROM PYTHON SOURCE LINES"
    note = f".. note::\n\n    Not run: {reason}\n\n"
    source[0] = source[0].replace(marker, note + marker, 1)


def setup(app):
    """Read the pages of examples with their reasons."""
    app.connect("source-read", say_why_not_run)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
