"""Formulas as MathML, which browsers draw themselves: no script, no font and no picture from elsewhere."""

from __future__ import annotations

from typing import Any

from accents import with_indices_aside
from docutils import nodes
from docutils.utils.math.latex2mathml import tex2mathml


def inline(self: Any, node: nodes.math) -> None:
    """Write a formula within a line."""
    self.body.append(with_indices_aside(tex2mathml(node.astext())))
    raise nodes.SkipNode


def block(self: Any, node: nodes.math_block) -> None:
    """Write a formula on lines of its own."""
    text = node.astext().strip()
    rows = r"\\" in text and r"\begin" not in text
    formula = tex2mathml(rf"\begin{{align}}{text}\end{{align}}" if rows or "&" in text else text, as_block=True)
    self.body.append(f'<div class="formula">{with_indices_aside(formula)}</div>')
    raise nodes.SkipNode


def setup(app: Any) -> dict[str, bool]:
    """Register the renderer."""
    app.add_html_math_renderer("mathml", (inline, None), (block, None))
    return {"parallel_read_safe": True, "parallel_write_safe": True}
