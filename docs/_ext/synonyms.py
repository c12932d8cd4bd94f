"""A search that finds words of one meaning alike: `reg`, `lambda` and `regularisation` are one word to it.

Sphinx reduces words to stems, those of the pages when it builds the index, those of a query in the browser; here both
ends then replace a stem by the first of its meaning.
"""

from __future__ import annotations

import json
from typing import Any

from sphinx.search.en import SearchEnglish

ALIKE = [
    "reg lambda regularisation regularization regularizer regulariser penalty",
    "spectrum eigenvalue eigenvalues mu",
    "view views augmentation augmentations transformation transformations",
    "embedding embeddings representation representations",
    "colour color",
    "centre center",
    "normalise normalize",
    "gpu cuda cupy device",
    "pytorch torch",
    "resume resumed checkpoint checkpoints continue interrupted killed",
    "cite citation citing bibtex",
    "memory ram",
    "reproduce reproduction replicate",
    "cca canonical",
    "faq question questions",
]
"""Words of one meaning, a meaning a line."""


class English(SearchEnglish):
    """English with synonyms."""

    js_stemmer_rawcode = ""

    def __init__(self, options: dict[str, str]) -> None:
        super().__init__(options)
        stems = [[self.stemmer.stemWord(word) for word in line.split()] for line in ALIKE]
        self.first = {stem: line[0] for line in stems for stem in line}

    def stem(self, word: str) -> str:
        """The stem of a word, or the one that stands for its meaning."""
        stem = super().stem(word)
        return self.first.get(stem, stem)

    @property
    def js_stemmer_code(self) -> str:  # type: ignore[override]
        """The same for the browser."""
        from sphinx.search import _MINIFIED_JS_PATH

        code = "\n".join(
            (_MINIFIED_JS_PATH / name).read_text("utf-8") for name in ("base-stemmer.js", "english-stemmer.js")
        )
        return f"""{code}
const FIRST = new Map(Object.entries({json.dumps(self.first)}));
window.Stemmer = function () {{
  const english = new EnglishStemmer();
  this.stemWord = (word) => {{
    const stem = english.stemWord(word);
    return FIRST.get(stem) ?? stem;
  }};
}};"""


def setup(app: Any) -> dict[str, bool]:
    """Take the place of Sphinx's English."""
    app.add_search_language(English)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
