"""Sphinx configuration."""

import re

import sklearn_slide

project = "sklearn-slide"
author = "the sklearn-slide developers"
copyright = author
version = release = sklearn_slide.__version__

extensions = ["sphinx.ext.autodoc", "sphinx.ext.autosummary", "sphinx.ext.mathjax", "numpydoc"]
exclude_patterns = ["_build"]

html_theme = "alabaster"
html_theme_options = {
    "description": "Extreme multi-label classification for scikit-learn",
    "page_width": "1080px",
}
html_sidebars = {"**": ["about.html", "navigation.html", "searchbox.html"]}

default_role = "autolink"
autodoc_typehints = "none"
# :term:`fit` and the like are of scikit-learn's glossary
suppress_warnings = ["ref.term"]
# the members are listed in full on the page of their class
numpydoc_show_class_members = False


def escape_shapes(app, what, name, obj, options, lines):
    """Escape the last underscore in a shape such as (n_outputs_,), which makes a link otherwise."""
    for number, line in enumerate(lines):
        if " of shape (" in line:
            lines[number] = re.sub(r"\b(n_\w+)_(?=[,) ])", r"\1\\_", line)


def setup(app):
    """Run escape_shapes before numpydoc, whose priority is 500."""
    app.connect("autodoc-process-docstring", escape_shapes, priority=400)
