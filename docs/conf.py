"""Sphinx configuration. Pages are built without a network, and without the extras ``torch`` and ``dask``."""

import os
import re
import sys
from pathlib import Path

import sklearn_slide

sys.path.insert(0, str(Path(__file__).parent / "_ext"))
from gallery import ABSENT

project = "sklearn-slide"
author = "the sklearn-slide developers"
copyright = author
version = release = sklearn_slide.__version__

extensions = [
    "gallery",
    "mathml",
    "numpydoc",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.intersphinx",
    "sphinx_copybutton",
    "sphinx_design",
    "sphinx_gallery.gen_gallery",
]
exclude_patterns = ["build", "_build", "auto_examples/*.ipynb", "auto_examples/*.py"]
templates_path = ["_templates"]

html_math_renderer = "mathml"
html_theme = "pydata_sphinx_theme"
html_title = "sklearn-slide"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_show_sourcelink = False
html_theme_options = {
    "header_links_before_dropdown": 6,
    "navigation_with_keys": False,
    "show_prev_next": True,
    "secondary_sidebar_items": ["page-toc"],
    "footer_start": ["copyright"],
    "footer_end": [],
}
# pages of their own need no list of neighbours: their text gets the room
html_sidebars = {"*": [], "auto_examples/*": []}

default_role = "autolink"
autodoc_typehints = "none"
toc_object_entries_show_parents = "hide"
# :term:`fit` and the like are of scikit-learn's glossary
suppress_warnings = ["ref.term"]
# the members are listed in full on the page of their class
numpydoc_show_class_members = False
# what an extra brings may be absent: its classes are then documented over stand-ins
autodoc_mock_imports = [name for names in ABSENT.values() for name in names]

# fitted attributes are listed in the docstring of their class, and have no entries of their own
nitpick_ignore_regex = [("py:obj", r"\w+_")]

# Links to other projects need their inventories, hence a network: SKLEARN_SLIDE_INTERSPHINX=1 asks for them.
if os.environ.get("SKLEARN_SLIDE_INTERSPHINX") == "1":
    intersphinx_mapping = {
        "joblib": ("https://joblib.readthedocs.io/en/stable/", None),
        "numpy": ("https://numpy.org/doc/stable/", None),
        "python": ("https://docs.python.org/3/", None),
        "scipy": ("https://docs.scipy.org/doc/scipy/", None),
        "sklearn": ("https://scikit-learn.org/stable/", None),
        "torch": ("https://docs.pytorch.org/docs/stable/", None),
    }
else:
    nitpick_ignore_regex += [("py:.*", r"(joblib|numpy|scipy|sklearn|torch)\..*")]

sphinx_gallery_conf = {
    "examples_dirs": "../examples",
    "gallery_dirs": "auto_examples",
    # the others are listed: they start processes, or need an extra
    "filename_pattern": r"[/\\]plot_",
    "ignore_pattern": r"^(benchmark|make_|sampled_layers)",
    "reset_argv": "gallery.reset_argv",
    "within_subsection_order": "gallery.PlotsFirst",
    "download_all_examples": False,
    "remove_config_comments": True,
    "show_signature": False,
    "write_computation_times": False,
}


def escape_shapes(app, what, name, obj, options, lines):
    """Escape the last underscore in a shape such as (n_outputs_,), which makes a link otherwise."""
    for number, line in enumerate(lines):
        if " of shape (" in line:
            lines[number] = re.sub(r"\b(n_\w+)_(?=[,) ])", r"\1\\_", line)


def setup(app):
    """Run escape_shapes before numpydoc, whose priority is 500."""
    app.connect("autodoc-process-docstring", escape_shapes, priority=400)
