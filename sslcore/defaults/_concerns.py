"""Concerns about data and views before any fit, in words."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from ..arrays import Array, ArrayLike, as_array, as_native, gives_memory_back, ignore_overflow, listed, on_host
from ..augmentations._views import as_readable
from ..fitting.spread import spread_of
from ..fitting.standardization import Standardization

__all__ = ["concerns"]

FEWEST = 10
"""Rows of which chance alone does not make an increasing column: one in three million is."""

SHOWN = 4
"""Columns that one sentence names."""

ONE_RULES = 0.95
"""A column with a larger share of the total variance is what distances between samples consist of."""

FAR = 8.0
"""Deviations from the mean; by Chebyshev's inequality one row in 64 at most is farther away: a word of fewer, one-hot,
or a heavy tail.  Of 1,000 normal values hardly any is beyond 4."""


@gives_memory_back
def concerns(
    x: ArrayLike,
    views: Any = None,
    *,
    standardization: Standardization | None = None,
    columns: Sequence[str] | None = None,
) -> tuple[str, ...]:
    """Say in words what looks as if it were not meant so; nothing is changed, and nothing refused.

    * A column that is constant, that counts the rows, or that increases from row to row as an index or a time does.
    * One column that holds nearly all of the variance, without a standardisation.
    * With one, a column some of whose values are more than 8 deviations away: a heavy tail, or a rare word (one-hot).
    * Views that hardly differ from their samples (a hundredth of the distance between samples), or differ by
      more than three times that.

    Parameters
    ----------
    x : array (n, d)
        Samples; of another rank (images, series) columns are not looked at.
    views : array (n, m, d) or `sslcore.Views`, optional
        Of these samples, as they are given to the fit: of standardised samples, if it is fitted to such.
    standardization : Standardization, optional
        What brings the columns to one scale before the fit.
    columns : sequence of str, optional
        Their names; without, they are counted from 0.

    Returns
    -------
    tuple of str
        Empty where nothing is found.

    Raises
    ------
    ValueError
        ``x`` is empty, ``views`` are not (n, m, d), or ``columns`` are not as many as the columns of ``x``.

    Examples
    --------
    >>> import numpy as np, sslcore
    >>> x = np.random.default_rng(0).normal(size=(50, 3)) * [1.0, 0.0, 1.0]
    >>> x[:, 2] = np.arange(50)
    >>> for sentence in sslcore.defaults.concerns(x, columns=["size", "unit", "id"]):
    ...     print(sentence)
    column unit is constant: it tells nothing
    column id counts the rows: it tells nothing of a new sample; leave it out
    column id holds 99.4 % of the variance: distances are its differences; bring the columns to one scale
    """
    array = as_array(as_native(x, "x"), "x", ndim=tuple(range(2, 8)), finite=False)
    said: list[str] = []
    if array.ndim == 2:
        n, d = array.shape
        if columns is not None and (isinstance(columns, str) or not isinstance(columns, Iterable)):
            raise TypeError(f"columns must be a sequence of names, found {columns!r:.80}")
        names = list(map(str, range(d) if columns is None else columns))
        if len(names) != d:
            raise ValueError(f"columns must be {d} names, one a column, found {len(names)}")
        with ignore_overflow():
            said = _of_columns(array, names, standardization) if n > 1 else []
    spread = None if views is None else spread_of(_read(views))
    words = None if spread is None else spread.words()
    return tuple(said if words is None else [*said, words])


def _read(views: Any) -> Any:
    """Return views as those that a fit takes."""
    views = as_readable(views)
    if views.ndim != 3:
        raise ValueError(f"views must have 3 dimensions (n, m, d), found shape {views.shape}")
    return views


def _of_columns(x: Array, names: list[str], standardization: Standardization | None) -> list[str]:
    """Tell of single columns, and of their shares where they are not on one scale."""
    low, high = on_host(x.min(axis=0)), on_host(x.max(axis=0))
    constant = low == high
    said = []
    if constant.any():
        said.append(_said(names, constant, "is constant: it tells nothing", "are constant: they tell nothing"))
    if len(x) >= FEWEST:
        rising = np.array([bool((column[1:] > column[:-1]).all()) for column in x.T])
        counts = rising & np.array([bool((column[1:] - column[:-1] == 1).all()) for column in x.T])
        remedy = "tells nothing of a new sample; leave it out"
        if counts.any():
            said.append(_said(names, counts, f"counts the rows: it {remedy}", "count the rows: leave them out"))
        if (rising & ~counts).any():
            single = f"increases from row to row, as an index or a time does: if it is one, it {remedy}"
            several = "increase from row to row, as an index or a time does: leave out those that are"
            said.append(_said(names, rising & ~counts, single, several))
    if standardization is not None:
        said += _of_tails(x, names, standardization, low, high)
    elif x.shape[1] > 1:
        size = float(max(abs(low).max(), abs(high).max())) or 1.0
        variance = np.array([float((column / size).var(dtype=float)) for column in x.T])  # X may fill the memory
        share = variance / variance.sum() if variance.sum() > 0 else variance
        most = int(share.argmax())
        if share[most] > ONE_RULES:
            said.append(
                f"column {names[most]} holds {100 * share[most]:.3g} % of the variance: distances are its differences; "
                f"bring the columns to one scale"
            )
    return said


def _of_tails(x: Array, names: list[str], scale: Standardization, low: np.ndarray, high: np.ndarray) -> list[str]:
    """Tell of columns whose values lie far out: the squares of a few distances are nearly all of the sum then."""
    if len(scale.mean) != x.shape[1]:
        return []
    farthest = np.maximum(high - scale.mean, scale.mean - low) / scale.deviation
    far = farthest > FAR
    if not far.any():
        return []
    rows = np.zeros(len(x), bool)
    for j in np.flatnonzero(far):
        rows |= on_host(abs(x[:, int(j)] - scale.mean[j]) > FAR * scale.deviation[j])
    count = int(rows.sum())
    where = f", in {count:,} row{'s' * (count != 1)}: a few samples may fill the first components; bring"
    more = "(log, ranks), or take more components and a larger reg"
    single = f"has values of {farthest.max():.3g} deviations{where} its tail in {more}"
    return [
        _said(names, far, single, f"have values of up to {farthest.max():.3g} deviations{where} their tails in {more}")
    ]


def _said(names: list[str], which: np.ndarray, single: str, several: str) -> str:
    """Say it of one column, or of several by their names."""
    found = [name for name, chosen in zip(names, which, strict=True) if chosen]
    if len(found) == 1:
        return f"column {found[0]} {single}"
    return f"columns {listed(found, SHOWN)} {several}"
