"""Runs of many seeded cells, on any number of processes, that a kill at any moment only delays.

It knows no study: a cell is a function's result for a small value, and a finished one is a file.
"""

from __future__ import annotations

from ._run import CellError, run_cells

__all__ = ["CellError", "run_cells"]
