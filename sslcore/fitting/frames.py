"""A model's values at the rows of a frame of pandas, polars or pyarrow, as a frame of the same kind."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..arrays import as_entries
from ..io.encoding import Encoding
from ..io.frames import frame_like, is_frame, names_of, selected, sheet_of, unnamed
from ..io.sheets import listed
from ..io.tables import Source, Wanted, component_columns, read_sheets

if TYPE_CHECKING:
    from .representation import Representation

__all__ = ["encoding_of", "is_frame", "transform_frame"]


def encoding_of(rep: Representation) -> Encoding | None:
    """Return how columns become the coordinates of a model; None if they had no names, or nobody wrote them down."""
    if rep.table is not None:
        return rep.table
    names = rep.notes.get("columns")
    width = rep.n_coordinates if rep.centres is None else rep.centres.shape[1]
    if not isinstance(names, list) or len(names) != width or not all(isinstance(name, str) for name in names):
        return None
    return Encoding(tuple(names))


def transform_frame(rep: Representation, frame: Any, scale: Any, backend: str | None) -> Any:
    """Return the values of a model at the rows of a frame, as a frame of the same kind.

    Columns are matched by name if the model knows the names of its own, whatever their order, and others are left out;
    by place only where a frame of pandas has no names.
    """
    known = encoding_of(rep)
    if known is not None and not known.plain:
        wanted = Wanted(tuple(known.columns), "the model", known)
        table = read_sheets([sheet_of(frame)], Source(Path("the frame")), wanted=wanted)
        z = np.asarray(rep.transform(table.values, scale, backend=backend))
        return frame_like(frame, table.marks() | component_columns(z), table.kept)
    if known is not None and known.named and not unnamed(frame):
        names = names_of(frame)
        lacking = next((name for name in known.columns if name not in names), None)
        if lacking is not None:
            raise ValueError(
                f"the frame has no column {lacking!r}, which the model has; it has: {listed(names)}; rename its "
                f"columns, or give an array"
            )
        frame = selected(frame, known.columns)
    z = np.asarray(rep.transform(as_entries(frame, "x"), scale, backend=backend))
    return frame_like(frame, component_columns(z), None)
