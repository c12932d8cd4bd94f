"""The studies by name: each is a file of this folder that ends in ``STUDY = Registered(...)``.

``sslcore study NAME`` runs what is registered here; nothing else has to be entered anywhere.  A study NAME has

* ``sslcore/studies/NAME.py``: pure computations.  Its function ``run(run: Run) -> Results`` computes; it prints and
  draws nothing, and calls ``run.begin(step)`` with each key of ``Registered.seconds`` in turn.  Seeds come from
  ``run.seed`` alone.  Work that is long, or repeated with other seeds, goes into cells, which workers share, and
  which are kept in a folder until the study is finished::

      run_cells(function, cells, settings=settings, **run.cells("errors"))
      learning_curves(..., seed=run.seed, **run.cells("curves"))

  (``run.cells(name)`` returns folder, workers and progress, another folder for each name.)
* ``sslcore/studies/figures/NAME.py``: a function ``figure(found)`` of the results that returns a matplotlib Figure;
  further pictures are entered in ``Registered.pictures``.  Panels take arrays.
* ``tests/test_study_NAME.py``, and a section of docs/gallery.md.

The results have four methods (`Results`); ``verdict()`` is the line that the command prints last: what the paper
claims, and what was measured, with error bars.  `plus_minus` writes these.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np

__all__ = ["Registered", "Results", "Run", "names", "plus_minus", "registered"]


class Results(Protocol):
    """The results of a study.  A method ``arrays() -> dict`` may stand beside these: it goes to NAME.npz."""

    def document(self) -> dict[str, Any]:
        """Return all results, for machines: JSON, where arrays become lists."""

    def table(self) -> str:
        """Return the results as lines, for people."""

    def verdict(self) -> str:
        """Return one line: what the paper claims, and what was measured, with error bars."""


@dataclass(frozen=True)
class Run:
    """The request to a study: its size and seed, and whom it tells how far it is.

    Attributes
    ----------
    full : bool
        Whether it should have the size that takes longer, the paper's.
    seed : int
        Of all that is drawn.
    workers : int
        Processes among which cells are shared; the results do not depend on how many.  0: this process alone.
    folder : Path or None
        Where finished cells are kept, and found again by a run that goes on; None keeps nothing.
    begin : callable
        Called with each step, a key of `Registered.seconds`, as it begins.
    progress : callable
        Called as (done, total) or (done, total, seconds left) within a step, first with what an earlier run has done;
        `cells` hands it over.

    Examples
    --------
    >>> from sslcore.studies._registry import Run, registered
    >>> registered("interplay").run(Run()).verdict()[:10]
    'The paper:'
    """

    full: bool = False
    seed: int = 0
    workers: int = 0
    folder: Path | None = None
    begin: Callable[[str], Any] = field(default=lambda step: None, repr=False)
    progress: Callable[..., Any] = field(default=lambda done, total, *left: None, repr=False)

    def cells(self, name: str) -> dict[str, Any]:
        """Return what `sslcore.runs.run_cells` and `sslcore.probing.learning_curves` take to run these cells.

        Examples
        --------
        >>> from pathlib import Path
        >>> from sslcore.studies._registry import Run
        >>> sorted(Run(workers=2).cells("errors"))
        ['folder', 'progress', 'workers']
        >>> Run(folder=Path("cells")).cells("errors")["folder"].as_posix()
        'cells/errors'
        """
        folder = None if self.folder is None else self.folder / name
        return {"folder": folder, "workers": self.workers, "progress": self.progress}


@dataclass(frozen=True)
class Registered:
    """A study that the command line can run.

    Attributes
    ----------
    sentence : str
        What it shows; without a full stop.
    run : callable
        From a `Run` to `Results`.
    seconds : mapping
        What each step takes on two cores at the small size; their ratios move the progress bar.
    pictures : mapping
        Functions of `sslcore.studies.figures.NAME`, which take the results, by the end of the file: ``""`` is NAME.png,
        ``"-setup"`` NAME-setup.png.
    """

    sentence: str
    run: Callable[[Run], Results]
    seconds: Mapping[str, float]
    pictures: Mapping[str, str] = field(default_factory=lambda: {"": "figure"})


def names() -> list[str]:
    """Return the names of all studies, without importing them.

    Examples
    --------
    >>> from sslcore.studies import _registry
    >>> "halfmoons" in _registry.names()
    True
    """
    package = importlib.import_module(__package__)
    found = (module.name for module in pkgutil.iter_modules(package.__path__))
    return sorted(name for name in found if not name.startswith("_") and name != "figures")


def registered(name: str) -> Registered:
    """Return the study of this name.

    Raises
    ------
    ValueError
        With the names that there are.
    """
    if name not in names():
        raise ValueError(f"there is no study {name!r}; there are: {', '.join(names())}")
    found: Registered = importlib.import_module(f"{__package__}.{name}").STUDY
    return found


def plus_minus(values: Any, digits: int = 2) -> str:
    """Write the mean of independent values with its standard error, to so many digits of that.

    Examples
    --------
    >>> from sslcore.studies._registry import plus_minus
    >>> plus_minus([0.51, 0.49, 0.52, 0.48]), plus_minus([3.0])
    ('0.5000 +- 0.0091', '3')
    """
    values = np.asarray(values, dtype=float).ravel()
    if len(values) < 2:
        return f"{values[0]:.4g}"
    error = values.std(ddof=1) / len(values) ** 0.5
    if not error > 0:
        return f"{values.mean():.4g} +- {error:g}"
    places = max(0, digits - 1 - int(np.floor(np.log10(error))))
    if places > 6 or values.mean() == 0:
        return f"{values.mean():.{max(digits, 4)}g} +- {error:.{digits}g}"
    return f"{values.mean():.{places}f} +- {error:.{places}f}"
