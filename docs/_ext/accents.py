r"""Letters with an accent and an index, as MathML should have them: the index at the right of the letter, not below it.

docutils 0.22 writes the index and the accent of ``\bar z_i`` under and over the letter.
"""

from __future__ import annotations

import html
import re
from xml.etree import ElementTree

MATHML = "http://www.w3.org/1998/Math/MathML"
ElementTree.register_namespace("", MATHML)


def with_indices_aside(formula: str) -> str:
    """Return MathML in which what stands under a letter with an accent is its index."""
    named = re.compile(r"&(?!(?:lt|gt|amp|quot|apos);)[A-Za-z]+;")  # such as &nbsp;, which XML does not know
    root = ElementTree.fromstring(named.sub(lambda found: html.unescape(found[0]), formula))
    for both in list(root.iter(f"{{{MATHML}}}munderover")):
        letter, index, over = both
        if over.tag == f"{{{MATHML}}}mo" and over.get("stretchy") == "false":  # no sum or limit has such a sign above
            accented = ElementTree.Element(f"{{{MATHML}}}mover", {"accent": "true"})
            accented.extend([letter, over])
            both[:] = [accented, index]
            both.tag = f"{{{MATHML}}}msub"
    return ElementTree.tostring(root, encoding="unicode")
