"""Two files whose rows are pairs: options reach the columns that each has, and rows are left out of both."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from .common import colors_of, is_column

if TYPE_CHECKING:
    from ...io.tables import Source, Table

__all__ = ["colors_of_pairs", "label_columns", "matched", "of_each"]


def label_columns(sources: Sequence[Source], color: str | None) -> list[str]:
    """Return the column that a picture is coloured by, if it is one of a table, and no file."""
    return [color] if color is not None and any(is_column(source, color) for source in sources) else []


def of_each(
    sources: Sequence[Source],
    args: argparse.Namespace,
    labels: Sequence[str] = (),
    coordinates: Sequence[Sequence[str]] = ((), ()),
) -> list[argparse.Namespace]:
    """Return the options for each of two files: of the columns that they name, those that it has.

    ``labels`` are columns that are no coordinates but where ``coordinates`` has them.  ``columns`` of what is returned
    are those of each file, if they had to be looked up.

    Raises
    ------
    ValueError
        Neither has a column that is named.
    """
    from ...io.sheets import open_sheet
    from ...io.sources import TABLES, require_file

    tabular = [source.suffix in TABLES for source in sources]
    options = [argparse.Namespace(**vars(args) | {"columns": ()}) for _ in sources]
    for own, holds_words in zip(options, tabular, strict=True):
        own.categories = args.categories if holds_words or not any(tabular) else None
    if not (args.drop or labels or args.id is not None):
        return options
    for source in sources:
        require_file(source)
    sheets = {
        i: open_sheet(source.path, source.suffix, args.header, args.decimal)
        for i, source in enumerate(sources)
        if source.suffix in TABLES
    }
    if not sheets:
        return options  # of arrays, reading refuses what is said of columns
    path = " or ".join(str(sheet.path) for sheet in sheets.values())
    columns = dict.fromkeys(name for sheet in sheets.values() for name in sheet.columns)
    joined = replace(next(iter(sheets.values())), path=path, columns=tuple(columns))
    for text in (*args.drop, *labels):
        joined.resolve(text)
    if args.id is not None:
        joined.position(args.id)
    for i, own in enumerate(options):
        own.columns = sheets[i].columns if i in sheets else ()
        own.id = args.id if args.id in own.columns else None
        own.drop = [name for text in args.drop for name in sheets[i].resolve(text, lenient=True)] if i in sheets else []
        own.drop += [name for name in labels if name in own.columns and name not in coordinates[i]]
    return options


def matched(first: Table, second: Table) -> tuple[Table, Table]:
    """Return both tables with the rows that are left in both: rows are pairs, and stay pairs.

    Raises
    ------
    ValueError
        The files hold no rows, or not as many, no row is left, or one has two names.
    """
    import numpy as np

    tables = first, second
    for table in tables:
        if table.values.ndim != 2:
            raise ValueError(f"--with is for rows of numbers; {table.source} has the shape {table.values.shape}")
    a, b = (len(table.values) if table.n_rows is None else table.n_rows for table in tables)
    if a != b:
        raise ValueError(
            f"rows are pairs, and there must be as many: {first.source} has {a}, {second.source} has {b}; leave out "
            f"those that have no partner"
        )
    mine, theirs = (np.arange(a) if table.kept is None else table.kept for table in tables)
    rows = np.intersect1d(mine, theirs, assume_unique=True)
    if not len(rows):
        raise ValueError(
            f"no row of {first.source} and its partner in {second.source} both have all values: use --missing mean, or "
            f"leave columns out with --drop"
        )
    found = [_with_rows(table, rows, other) for table, other in zip(tables, reversed(tables), strict=True)]
    ids = [table.ids for table in found]
    if all(each is not None for each in ids):
        for row, *names in zip(rows, *(map(str, each) for each in ids), strict=True):
            if names[0] != names[1]:
                raise ValueError(
                    f"rows are pairs, and row {row + 1} is {names[0]!r} in {first.source}, {names[1]!r} in "
                    f"{second.source} (--id {ids[0].name}): bring both into one order"
                )
    return found[0], found[1]


def colors_of_pairs(tables: Sequence[Table], each: Sequence[argparse.Namespace], color: str) -> Any:
    """Return the labels or values of all pairs: a column of one of the files or of both, or another file.

    Raises
    ------
    ValueError
        Both files have the column, and it differs in a row: they are in unlike order.
    """
    import numpy as np

    labelled = [table for table, own in zip(tables, each, strict=True) if color in own.columns] or [tables[0]]
    first, *others = (colors_of(table, color, each[0].header, each[0].decimal) for table in labelled)
    for other in others:
        both = ~(np.ma.getmaskarray(first) | np.ma.getmaskarray(other))
        unlike = np.flatnonzero(both & (np.ma.getdata(first) != np.ma.getdata(other)))
        if len(unlike):
            row = int(unlike[0])
            place = row if tables[0].kept is None else int(tables[0].kept[row])
            raise ValueError(
                f"rows are pairs, and {color!r} of row {place + 1} is {str(first[row])!r} in {tables[0].source}, "
                f"{str(other[row])!r} in {tables[1].source} (--color {color}): bring both into one order"
            )
    return first


def _with_rows(table: Table, rows: Any, other: Table) -> Table:
    """Return the table with these rows alone, and a note of those that its partner lacks."""
    import numpy as np

    from ...io.encoding import rows_named

    mine = np.arange(len(table.values)) if table.kept is None else table.kept
    lost = np.setdiff1d(mine, rows, assume_unique=True)
    if not len(lost):
        return table
    more = f"{len(lost):,} more row{'s'[: len(lost) > 1]} ({rows_named(lost)})"
    note = f"left out, for cells of the partner in {other.source} without a value: {more}"
    left = table.at(rows)
    return replace(left, notes=(*left.notes, note))
