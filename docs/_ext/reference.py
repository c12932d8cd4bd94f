"""Pages of the reference, from the packages' own `__all__` and the command line's own parsers.

``write(folder)`` makes one page for each public name, one for each module and one for each command.  Sphinx's
autosummary makes pages too, but lists every inherited method on each of them; here a class has its own methods and
those of its private bases, and names its public bases.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import inspect
import re
import textwrap
import types
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

DOCS = Path(__file__).parents[1]
EXTRAS = {"dask": "distributed", "torch": "torch"}
"""Modules that are imported by name, and what they need."""

CODE = re.compile(r"(``[^`]*``|`[^`]*`)")


def modules() -> dict[str, types.ModuleType]:
    """Public modules by name, those of extras that are not installed left out."""
    sslcore = importlib.import_module("sslcore")
    names = [name for name in sslcore.__all__ if inspect.ismodule(getattr(sslcore, name))]
    names += [name for name, needs in EXTRAS.items() if importlib.util.find_spec(needs)]
    return {f"sslcore.{name}": importlib.import_module(f"sslcore.{name}") for name in names}


def public() -> dict[str, list[str]]:
    """The public names of each module, functions and classes alone."""
    rooms = {"sslcore": importlib.import_module("sslcore")} | modules()
    return {
        module: [n for n in room.__all__ if inspect.isclass(getattr(room, n)) or inspect.isfunction(getattr(room, n))]
        for module, room in rooms.items()
        if module != "sslcore.arrays"  # of which users name the type `Array` alone
    }


def members(value: type) -> list[str]:
    """The public methods and properties of a class and of its private bases, in their order."""
    private = [base for base in value.__mro__[1:] if base.__module__.startswith("sslcore.") and base.__name__[0] == "_"]
    found = {}
    for base in (value, *private):
        for name, member in vars(base).items():
            function = getattr(member, "__func__", member)
            if name[0] != "_" and (inspect.isfunction(function) or isinstance(member, property) or _cached(member)):
                found[name] = inspect.getdoc(getattr(value, name, None))
    return [name for name, doc in found.items() if doc]


def _cached(member: object) -> bool:
    return type(member).__name__ == "cached_property"


def write(folder: Path) -> None:
    """Write all pages below ``folder``; one that has not changed keeps its time, so that Sphinx reads it once."""
    pages = dict(_pages())
    for path in folder.glob("*.rst"):
        if path.name not in pages:
            path.unlink()
    folder.mkdir(exist_ok=True)
    for name, text in pages.items():
        path = folder / name
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")


def _pages() -> Iterator[tuple[str, str]]:
    seen: dict[Any, str] = {}  # what two modules hand on has its page at the first
    told = _told()
    for module, names in public().items():
        places = {}
        for name in names:
            value = getattr(importlib.import_module(module), name)
            places[name] = (value, seen.setdefault(value, f"{module}.{name}"))
        for name, (value, place) in places.items():
            if place == f"{module}.{name}":
                pages = {**told.get(place, {}), **(told.get(module, {}) if module != "sslcore" else {})}
                others = [other for _, other in places.values() if other != place]
                yield f"{place}.rst", _entry(place, value) + _beside(module, others, pages)
        yield f"{module}.rst", _module(module, places)
    main = importlib.import_module("sslcore.cli.main")
    (commands,) = (a for a in main._parser()._actions if isinstance(a, argparse._SubParsersAction))
    for name, parser in commands.choices.items():
        yield f"command-{name}.rst", _command(name, parser)
    yield "modules.rst", _contents("By module", list(public()))
    yield "commands.rst", _contents("Command line", [f"command-{name}" for name in commands.choices])


def public_bases(app: Any, name: str, obj: type, options: Any, bases: list[Any]) -> None:
    """Name in place of private bases those of theirs that users see."""
    seen = {value for module, names in public().items() for value in _values(module, names)}
    outside = [base for base in bases if not getattr(base, "__module__", "").startswith("sslcore.")]
    bases[:] = [base for base in obj.__mro__[1:] if base in seen][:1] or outside or [object]


def _values(module: str, names: list[str]) -> list[Any]:
    return [getattr(importlib.import_module(module), name) for name in names]


def bars(app: Any, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    """Keep the bars of formulas in docstrings, ||x|| and |S|, from being read as markup; code and blocks stay."""
    literal: int | None = None
    for i, line in enumerate(lines):
        indent = len(line) - len(line.lstrip())
        if literal is not None and line.strip() and indent <= literal:
            literal = None
        if literal is None and not line.lstrip().startswith((">>>", "...")):
            pieces = CODE.split(line)
            lines[i] = "".join(p if p[:1] == "`" else p.replace("|", "\\|").replace(", *", ", \\*") for p in pieces)
        if literal is None and line.rstrip().endswith("::"):
            literal = indent


def _told() -> dict[str, dict[str, None]]:
    """The pages that name each function, class or module: links lead both ways."""
    found: dict[str, dict[str, None]] = {}
    for path in (path for folder in ("theory", ".") for path in sorted((DOCS / folder).glob("*.md"))):
        for name in re.findall(r"\{(?:func|class|mod)\}`~?([\w.]+)`", path.read_text(encoding="utf-8")):
            found.setdefault(name, {})[str(path.relative_to(DOCS).with_suffix(""))] = None
    return found


def _beside(module: str, others: list[str], pages: Iterable[str]) -> str:
    """See also: the pages that tell about it, and what else is in its module."""
    parts = [_heading("See also", "-")] if pages or others else []
    parts += [f"Pages: {', '.join(f':doc:`/{page}`' for page in pages)}.\n"] if pages else []
    parts += [f"In :py:mod:`{module}`: {', '.join(f':py:obj:`~{other}`' for other in others)}.\n"] if others else []
    return "\n" + "\n".join(parts)


def _heading(text: str, line: str = "=") -> str:
    return f"{text}\n{line * len(text)}\n"


def _contents(title: str, pages: list[str]) -> str:
    return f"{_heading(title)}\n.. toctree::\n   :maxdepth: 1\n\n" + "".join(f"   {page}\n" for page in pages)


def _module(module: str, places: dict[str, tuple[Any, str]]) -> str:
    parts = [_heading(module), f".. automodule:: {module}\n   :no-members:\n", f".. currentmodule:: {module}\n"]
    for title, is_kind in (("Functions", inspect.isfunction), ("Classes", inspect.isclass)):
        names = [place.removeprefix(f"{module}.") for value, place in places.values() if is_kind(value)]
        if names:
            parts.append(f".. rubric:: {title}\n")
            parts.append(".. autosummary::\n\n" + "".join(f"   {name}\n" for name in names))
    pages = "".join(f"   {place}\n" for _, place in places.values() if place.startswith(f"{module}."))
    parts.append(f".. toctree::\n   :hidden:\n\n{pages}")
    return "\n".join(parts)


def _entry(name: str, value: Any) -> str:
    if inspect.isclass(value):
        listed = ", ".join(members(value))
        options = "   :show-inheritance:\n" + (f"   :members: {listed}\n" if listed else "")
        text = f".. autoclass:: {name}\n{options}"
    else:
        text = f".. autofunction:: {name}\n"
    return f"{_heading(name)}\n{text}\n.. minigallery:: {name}\n   :add-heading: In the gallery\n   :heading-level: -\n"


def _command(name: str, parser: argparse.ArgumentParser) -> str:
    usage = " ".join(parser.format_usage().removeprefix("usage: ").split())
    about = [" ".join(paragraph.split()) for paragraph in (parser.description or "").split("\n\n")]
    parts = [_heading(f"sslcore {name}"), f".. program:: sslcore {name}\n", *(f"{_escaped(text)}\n" for text in about)]
    parts.append(_literal("\n    ".join(textwrap.wrap(usage, 72, break_long_words=False, break_on_hyphens=False))))
    for group in parser._action_groups:
        actions = [action for action in group._group_actions if action.help is not argparse.SUPPRESS]
        if actions:
            parts.append(_heading((group.title or "options").capitalize(), "-"))
        for action in actions:
            meaning = _escaped((action.help or "") % (vars(action) | {"prog": parser.prog}))
            if not action.option_strings:
                parts.append(f"``{action.metavar or action.dest}``\n    {meaning}\n")
                continue
            value = "" if action.nargs == 0 else " " + _value(action)
            parts.append(f".. option:: {', '.join(flag + value for flag in action.option_strings)}\n\n   {meaning}\n")
    if parser.epilog:
        parts += [_heading("Words", "-"), _literal(parser.epilog)]
    return "\n".join(parts)


def _value(action: argparse.Action) -> str:
    if action.choices and action.metavar is None:
        return "{" + "|".join(map(str, action.choices)) + "}"
    metavar = action.metavar or action.dest.upper()
    return metavar if isinstance(metavar, str) else " ".join(metavar)


def _literal(text: str) -> str:
    return ".. code-block:: none\n\n" + "\n".join(f"   {line}".rstrip() for line in text.splitlines()) + "\n"


def _escaped(text: str) -> str:
    return "".join(f"\\{c}" if c in "*`|_:\\" else c for c in text)


def setup(app: Any) -> dict[str, bool]:
    """Connect what docstrings need, after numpydoc."""
    app.connect("autodoc-process-docstring", bars, priority=900)
    app.connect("autodoc-process-bases", public_bases)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
