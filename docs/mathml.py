"""A Sphinx extension: formulas become MathML when the pages are built, so they need no script and no network."""

from __future__ import annotations

from typing import Any

from docutils import nodes
from math_core import LatexError, LatexToMathML
from sphinx.errors import ExtensionError
from sphinx.util.math import get_node_equation_number

CONVERTER = LatexToMathML()


def mathml(latex: str, *, display: bool) -> str:
    """One formula as a ``<math>`` element.

    Raises:
        ExtensionError: it is not LaTeX that can be shown.
    """
    if r"\\" in latex and r"\begin" not in latex:  # lines, aligned where they have an ampersand
        latex = rf"\begin{{aligned}}{latex}\end{{aligned}}"
    try:
        return CONVERTER.convert_with_local_state(latex, displaystyle=display)
    except LatexError as error:
        raise ExtensionError(f"the formula {latex!r} cannot be rendered: {error}") from error


def visit_math(self: Any, node: nodes.math) -> None:
    self.body.append(mathml(node.astext(), display=False))
    raise nodes.SkipNode


def visit_math_block(self: Any, node: nodes.math_block) -> None:
    number = get_node_equation_number(self, node) if node["number"] else None
    self.body.append(self.starttag(node, "div", CLASS="formula", IDS=node["ids"]))
    self.body.append(mathml(node.astext(), display=True))
    self.body.append(f'<span class="eqno">({number})</span></div>\n' if number else "</div>\n")
    raise nodes.SkipNode


def setup(app: Any) -> dict[str, bool]:
    app.add_html_math_renderer("mathml", (visit_math, None), (visit_math_block, None))
    return {"parallel_read_safe": True, "parallel_write_safe": True}
