"""Directive and role ``measured``: what the files have that benchmarks write, so that no measured number is typed.

The arguments of the directive are names of files in ``bench/results``, all those of times if there is none: tables.
The role makes a number of a name, keys of its first result, and a format: {measured}`exact ratio .0f`.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from docutils import nodes
from sphinx.util.docutils import SphinxDirective, SphinxRole

from bench.pages import busy

RESULTS = Path(__file__).parents[2] / "bench" / "results"
OF_THEIR_OWN = {"practice", "wine"}
"""Files of accuracies, not of times: a page has a table of these where it names them."""


def tables(paths: list[Path]) -> str:
    """Markdown: one table for each machine, with what it is and when it measured."""
    rows: dict[str, list[str]] = {}
    dates: dict[str, list[str]] = {}
    for path in paths:
        content = json.loads(path.read_text(encoding="utf-8"))
        if "machine" not in content:  # numbers that no clock has part in
            continue
        for result in content["results"]:
            where = _machine(content["machine"], result) + (", beside other work" if busy(content["machine"]) else "")
            dates.setdefault(where, []).append(content["machine"]["date"][:10])
            rows.setdefault(where, []).extend(_row(row) for row in result["rows"])
    parts = []
    for where, lines in sorted(rows.items(), key=lambda item: -len(item[1])):
        first, last = min(dates[where]), max(dates[where])
        when = first if first == last else f"{first} to {last}"
        parts.append(f"On {where}, {when}:\n\n| work | to reach | measured | limit |\n|---|---|---|---|")
        parts[-1] += "".join(f"\n{line}" for line in lines)
    return "\n\n".join(parts)


def _machine(machine: dict[str, Any], result: dict[str, Any]) -> str:
    host = f"{machine['cores']} cores ({machine['processor']}; {machine['memory_gib']:.0f} GiB)"
    return f"an {result['device']['device']}, beside {host}" if "device" in result else host


def _row(row: dict[str, Any]) -> str:
    missed = " (**missed**)" if row["met"] is False else ""
    cells = (row["work"], row["to_reach"], row["measured"] + missed, row["limit"])
    return "| " + " | ".join(str(cell).replace("|", "\\|") for cell in cells) + " |"


class Measured(SphinxDirective):
    """The directive."""

    optional_arguments = 100

    def run(self) -> list[nodes.Node]:
        """Make the tables, and have the page built anew when a file changes."""
        paths = [RESULTS / f"{name}.json" for name in self.arguments] or [
            path for path in sorted(RESULTS.glob("*.json")) if path.stem not in OF_THEIR_OWN
        ]
        for path in paths:
            self.env.note_dependency(str(path))
        return self.parse_text_to_nodes(tables(paths))


class Number(SphinxRole):
    """The role."""

    def run(self) -> tuple[list[nodes.Node], list[nodes.system_message]]:
        """Look the number up, and have the page built anew when the file changes."""
        name, *keys, form = self.text.split()
        path = RESULTS / f"{name}.json"
        self.env.note_dependency(str(path))
        value = json.loads(path.read_text(encoding="utf-8"))["results"][0]
        for key in keys:
            value = value[key]
        return [nodes.Text(format(value, form))], []


def setup(app: Any) -> dict[str, bool]:
    """Register it."""
    app.add_directive("measured", Measured)
    app.add_role("measured", Number())
    return {"parallel_read_safe": True, "parallel_write_safe": True}
