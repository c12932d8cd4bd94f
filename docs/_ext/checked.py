"""Look at the built site as a visitor without JavaScript would: ``python docs/_ext/checked.py build/site``.

Titles, headings, links with their anchors, pictures with their words, and nothing from other servers; a search index in
which words of one meaning are one word.  Prints what is wrong, and exits with 1 if anything is.
"""

from __future__ import annotations

import json
import re
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

VOID = {"area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "source", "track", "wbr"}
LEAST_WORDS = 15
"""Of the text of a page, or it says nothing to who has no script."""

WITHOUT_TEXT = {"search.html"}
"""The search needs its script, and says so."""


class Page(HTMLParser):
    """A page: its title, headings, anchors, links, pictures, what it loads, and its text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.title, self.words, self.headings = "", 0, 0
        self.anchors: set[str] = set()
        self.links: list[str] = []
        self.pictures: list[tuple[str, str]] = []
        self.loaded: list[str] = []
        self._open: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note what a tag says."""
        values = {name: value or "" for name, value in attrs}
        if tag not in VOID:
            self._open.append(tag)
        self.anchors.add(values.get("id", ""))
        self.headings += tag == "h1"
        if tag == "a" and "href" in values:
            self.links.append(values["href"])
        elif tag == "img":
            self.pictures.append((values.get("src", ""), values.get("alt", "")))
        elif tag == "script" and "src" in values:
            self.loaded.append(values["src"])
        elif tag == "link" and values.get("rel") in ("stylesheet", "icon", "preload"):
            self.loaded.append(values.get("href", ""))

    def handle_endtag(self, tag: str) -> None:
        """Leave a tag, and what was left open within it."""
        if tag in self._open:
            while self._open.pop() != tag:
                pass

    def handle_data(self, data: str) -> None:
        """Count the words of the article."""
        if self._open[-1:] == ["title"] and "svg" not in self._open:
            self.title += data
        elif "article" in self._open and not {"script", "style"} & set(self._open):
            self.words += len(data.split())


def faults(site: Path) -> list[str]:
    """Return what is wrong with the pages, in a line each."""
    paths = [path for path in sorted(site.rglob("*.html")) if "_static" not in path.parts]  # the theme's are no pages
    pages = {path.resolve(): Page(path.read_text(encoding="utf-8")) for path in paths}
    found = [] if pages else [f"no pages in {site}"]
    for path, page in pages.items():
        name = path.relative_to(site.resolve()).as_posix()
        found += [f"{name}: {fault}" for fault in _faults_of(name, page)]
        for link in page.links:
            found += [f"{name}: {fault}" for fault in _fault_of_link(link, path, pages)]
        for source, words in page.pictures:
            if not urlsplit(source).scheme and not (path.parent / unquote(source.split("?")[0])).is_file():
                found.append(f"{name}: no picture {source}")
            if not words.strip() and not source.endswith("_thumb.png"):  # the title of the page stands below these
                found.append(f"{name}: the picture {source} has no words for who cannot see it")
        for source in page.loaded:
            if urlsplit(source).netloc or not (path.parent / unquote(source.split("?")[0])).is_file():
                found.append(f"{name}: loads {source}")
    return found


def _faults_of(name: str, page: Page) -> list[str]:
    found = []
    if not page.title.strip() or page.title.strip().startswith("<no title>"):
        found.append("no title")
    if page.headings != 1:
        found.append(f"{page.headings} headings of the first level")
    if name not in WITHOUT_TEXT and page.words < LEAST_WORDS:
        found.append(f"only {page.words} words without script")
    return found


def _fault_of_link(link: str, path: Path, pages: dict[Path, Page]) -> list[str]:
    parts = urlsplit(link)
    if not link:
        return ["a link to nothing"]
    if parts.scheme or parts.netloc:
        return []
    target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
    if not target.is_file():
        return [f"the link {link} leads to no file"]
    anchor = unquote(parts.fragment)
    if anchor and target in pages and anchor not in pages[target].anchors:
        return [f"the link {link} leads to no place on its page"]
    return []


def faults_of_search(site: Path) -> list[str]:
    """Tell words of one meaning that the index holds apart, or does not hold."""
    from synonyms import ALIKE, English

    index = json.loads(re.fullmatch(r"Search\.setIndex\((.*)\)", (site / "searchindex.js").read_text("utf-8"))[1])
    known = set(index["terms"]) | set(index["titleterms"])
    english = English({})
    found = []
    for line in ALIKE:
        first, *others = line.split()
        if english.stem(first) not in known:
            found.append(f"search: nothing has the word {first}")
        for other in others:
            if english.stem(other) != english.stem(first):
                found.append(f"search: {other} is not {first}")
            plain = english.stemmer.stemWord(other)
            if plain != english.stem(first) and plain in known:
                found.append(f"search: {other} has entries of its own beside those of {first}")
    return found


def main(argv: list[str]) -> int:
    """Print what is wrong with the site in the folder that is named."""
    found = faults(Path(argv[0])) + faults_of_search(Path(argv[0]))
    print("\n".join(found) or f"{len(list(Path(argv[0]).rglob('*.html')))} pages of the site: nothing is wrong")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
