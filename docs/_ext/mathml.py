"""Mathematics as MathML, which browsers draw by themselves: no script, no font, no network."""

from docutils.nodes import SkipNode
from docutils.utils.math import latex2mathml
from sphinx.errors import ExtensionError


def write_mathml(writer, node, display):
    """Append the MathML of a formula in LaTeX to the page."""
    source = node.astext()
    try:
        formula = latex2mathml.tex2mathml(source, as_block=display)
    except Exception as error:
        raise ExtensionError(f"MathML cannot show {source!r}: {error}") from error
    writer.body.append(f'<div class="formula">{formula}</div>' if display else formula)


def visit_inline(writer, node):
    """Write a formula within a line."""
    write_mathml(writer, node, display=False)
    raise SkipNode


def visit_block(writer, node):
    """Write a formula in a paragraph of its own."""
    write_mathml(writer, node, display=True)
    raise SkipNode


def setup(app):
    """Register the renderer."""
    app.add_html_math_renderer("mathml", (visit_inline, None), (visit_block, None))
    return {"parallel_read_safe": True, "parallel_write_safe": True}
