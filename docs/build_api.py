"""Write docs/api.md from the docstrings: ``python docs/build_api.py`` (``--check``: fail if it is not current).

The page depends on the docstrings alone: no date, path, version or address.
"""

from __future__ import annotations

import importlib
import inspect
import itertools
import re
import sys
import types
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "api.md"
RULE = re.compile(r"^-{3,}$")


def page() -> str:
    """The whole page."""
    sslcore = importlib.import_module("sslcore")
    parts = [
        "# API reference",
        "Made from the docstrings by `python docs/build_api.py`; do not edit. Arrays are NumPy's, or CuPy's on a GPU.",
        "## sslcore",
    ]
    modules = []
    for name in sslcore.__all__:
        value = getattr(sslcore, name)
        if isinstance(value, types.ModuleType):
            modules.append(name)
        elif inspect.isclass(value) or inspect.isfunction(value):
            parts += entry(f"sslcore.{name}", value)
    for name in [*modules, "dask"]:  # what an extra brings is imported by name
        module = importlib.import_module(f"sslcore.{name}")
        parts += [f"## sslcore.{name}", *body(inspect.getdoc(module) or "")]
        for item in module.__all__:
            value = getattr(module, item)
            if inspect.isclass(value) or inspect.isfunction(value):
                parts += entry(f"sslcore.{name}.{item}", value)
    return "\n\n".join(parts) + "\n"


def entry(name: str, value: Any) -> list[str]:
    """Heading, signature and docstring of a class with its public methods (of a private base too), or of a function."""
    parts = [f"### {name}", f"```text\n{name.rpartition('.')[2]}{signature(value)}\n```"]
    parts += body(inspect.getdoc(value) or "")
    if inspect.isclass(value):
        fits = [base for base in value.__mro__[1:] if base.__module__.startswith("sslcore.fitting.")]
        private = [base for base in fits if base.__name__.startswith("_")]
        for key, member in itertools.chain(vars(value).items(), *(vars(base).items() for base in private)):
            function = member.__func__ if isinstance(member, classmethod | staticmethod) else member
            if key.startswith("_") or not inspect.isfunction(function) or not inspect.getdoc(function):
                continue
            parts += [f"#### {name.rpartition('.')[2]}.{key}", f"```text\n{key}{signature(function)}\n```"]
            parts += body(inspect.getdoc(function) or "")
    return parts


def signature(value: Any) -> str:
    """The signature as it is written in the source: annotations are strings there."""
    try:
        found = inspect.signature(value)
    except (TypeError, ValueError):
        return "(...)"
    parameters = [p.replace(annotation=inspect.Parameter.empty) for p in found.parameters.values()]
    return str(found.replace(parameters=parameters, return_annotation=inspect.Signature.empty))


def body(doc: str) -> list[str]:
    """A docstring in numpydoc's form as Markdown: sections, lists of parameters, examples, formulas as blocks."""
    lines = doc.splitlines()
    starts = [i for i in range(len(lines) - 1) if lines[i].strip() and RULE.match(lines[i + 1])]
    parts = paragraphs(lines[: starts[0]] if starts else lines)
    for start, end in itertools.pairwise([*starts, len(lines)]):
        title, content = lines[start].strip(), lines[start + 2 : end]
        parts.append(f"**{title}**")
        if title in ("Parameters", "Attributes", "Returns", "Yields", "Raises"):
            parts.append("\n".join(items(content)))
        else:
            parts += paragraphs(content)
    return [part for part in parts if part]


def items(lines: list[str]) -> list[str]:
    """``name : type`` and indented text, as a list."""
    found: list[str] = []
    for line in lines:
        if not line.strip():
            continue
        if line.startswith(" "):
            if found:
                found[-1] += " " + prose(line.strip())
            continue
        name, colon, kind = line.partition(" : ")
        found.append(f"* `{name}`" + (f" ({prose(kind)})" if colon else "") + ":")
    return [item.removesuffix(":") if item.endswith(":") else item for item in found]


def paragraphs(lines: list[str]) -> list[str]:
    """Paragraphs; examples and indented lines become blocks of code."""
    parts: list[str] = []
    block: list[str] = []

    def close() -> None:
        nonlocal block
        if not any(line.strip() for line in block):
            block = []
            return
        text = "\n".join(block).strip("\n")
        if block[0].startswith(">>>"):
            parts.append(f"```python\n{text}\n```")
        elif block[0].startswith("    "):
            parts.append(f"```text\n{inspect.cleandoc(text)}\n```")
        else:
            parts.append(prose(text))
        block = []

    for line in lines:
        if not line.strip():
            close()
        elif block and line.startswith(">>>") and not block[0].startswith(">>>"):
            close()
            block = [line]
        else:
            block.append(line.removesuffix("::") + ":" if line.endswith("::") else line)
    close()
    return merged(parts)


def merged(parts: list[str]) -> list[str]:
    """Examples with blank lines between them as one block."""
    found: list[str] = []
    for part in parts:
        if found and part.startswith("```python\n") and found[-1].startswith("```python\n"):
            found[-1] = found[-1].removesuffix("\n```") + "\n\n" + part.removeprefix("```python\n")
        else:
            found.append(part)
    return found


def prose(text: str) -> str:
    """Text in which ``code`` and `names` are code, and nothing else is markup."""
    text = re.sub(r"``([^`]+)``", r"`\1`", text)
    text = re.sub(r":\w+:`([^`]+)`", r"`\1`", text)
    pieces = re.split(r"(`[^`]*`)", text)
    return "".join(p if p.startswith("`") else re.sub(r"([<|_])", r"\\\1", p) for p in pieces)


def main(argv: list[str]) -> int:
    """Write the page, or compare."""
    text = page()
    if argv == ["--check"]:
        if not PAGE.exists() or PAGE.read_text(encoding="utf-8") != text:
            print("docs/api.md is not current: run python docs/build_api.py", file=sys.stderr)
            return 1
        return 0
    PAGE.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))
    sys.exit(main(sys.argv[1:]))
