"""`run_cells`: what is in the folder is read, the rest is computed, and each result is kept as soon as it is there."""

from __future__ import annotations

import functools
import os
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import closing, nullcontext
from typing import Any

import numpy as np

from ..arrays import check_integer
from ._folder import Folder, plain
from ._workers import CellError, Result, as_arrays, by_workers, failure, pickled

__all__ = ["CellError", "run_cells"]

Progress = Callable[[int, int, float | None], Any]


def run_cells(
    function: Callable[[Any, Any], dict[str, Any]],
    cells: Sequence[Any],
    *,
    settings: dict[str, Any],
    folder: str | os.PathLike[str] | None = None,
    workers: int = 1,
    progress: Progress | None = None,
) -> list[dict[str, np.ndarray]]:
    """Compute ``function(settings, cell)`` for each cell, on several processes, keeping what is finished.

    If the function is pure (its random numbers come from seeds in ``settings`` and ``cell``), the results have the same
    bits for any number of workers >= 1, any order, and any number of interruptions: each worker is a fresh process with
    one thread for BLAS and one for the kernels, since sums depend on the number of threads.

    Parameters
    ----------
    function : callable
        (settings, cell) to a dict of arrays of float64, float32, int64 or bool, by names made of letters, digits and
        ``_.-``.  Of a module, since workers import it; `functools.partial` may add arguments in front, which are sent
        to each worker once, and which ``settings`` must tell of, by a checksum say.
    cells : sequence
        Small plain values (numbers, strings, lists, dicts), from which files are known again.
    settings : dict
        Plain values: all that the results depend on beside the cell.
    folder : path, optional
        Where finished cells are kept, ``cell-00000.npz`` and so on (`numpy.load` reads them), beside ``settings.json``.
        A run that was ended at any moment, SIGKILL included, goes on there when it is called again.  More cells may be
        added at the end of ``cells`` later.
    workers : int
        Processes.  0: no new one, with this process's own threads: for tests and debuggers, and the last bits differ.
    progress : callable, optional
        (done, total, seconds left, or None while that is unknown), at the beginning and after each cell.

    Returns
    -------
    list of dict
        In the order of the cells.

    Raises
    ------
    CellError
        The function raised an exception (which is its ``__cause__``, with the original traceback as a note), or the
        process died; which cell it was is said.
    ValueError
        The folder holds cells of another function, of other settings, other cells, or of other versions.
    OSError
        A file cannot be written; no space is left, say.  Finished cells stay.
    TypeError
        The function cannot be sent to another process; settings or cells are no plain values.

    Warns
    -----
    RuntimeWarning
        A file of the folder is damaged: it is kept aside, as ``cell-00017.npz.damaged``, and its cell is done again.

    Examples
    --------
    >>> import numpy as np
    >>> from sslcore.runs import run_cells
    >>> def mean(settings, cell):
    ...     return {"mean": np.random.default_rng([settings["seed"], cell]).normal(size=settings["n"]).mean()}
    >>> found = run_cells(mean, range(100), settings={"seed": 0, "n": 50}, workers=0)
    >>> len(found), bool(np.std([cell["mean"] for cell in found]) < 0.2)
    (100, True)
    """
    workers = check_integer(workers, "workers", minimum=0)
    settings = plain(settings, "settings")
    if not isinstance(settings, dict):
        raise TypeError(f"settings must be a dict, found {type(settings).__name__}")
    cells = [plain(cell, f"cells[{i}]") for i, cell in enumerate(cells)]
    payload = pickled(function, settings) if workers else b""
    report: Progress = progress or (lambda done, total, left: None)
    with Folder(folder, _name(function), settings) if folder is not None else nullcontext() as kept:
        found = [kept.read(i, cell) if kept else None for i, cell in enumerate(cells)]
        missing = [(i, cell) for i, cell in enumerate(cells) if found[i] is None]
        begin, before = time.monotonic(), len(cells) - len(missing)
        report(before, len(cells), None if missing else 0.0)
        results = by_workers(payload, missing, workers) if workers else _here(function, settings, missing)
        with closing(results):
            for done, (i, arrays) in enumerate(results, 1):
                if kept:
                    kept.write(i, cells[i], arrays)
                found[i] = arrays
                report(before + done, len(cells), (time.monotonic() - begin) / done * (len(missing) - done))
    return [arrays for arrays in found if arrays is not None]


def _here(function: Any, settings: dict[str, Any], cells: list[tuple[int, Any]]) -> Generator[Result]:
    for i, cell in cells:
        try:
            yield i, as_arrays(function(settings, cell))
        except Exception as error:
            raise failure(i, cell, error) from error


def _name(function: Any) -> str:
    while isinstance(function, functools.partial):
        function = function.func
    return f"{function.__module__}.{function.__qualname__}"
