"""Maps of points in the plane of two components, coloured by labels or values, or with the images themselves."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..arrays import Array
from .panels import CLASSES, GREY, MARKERS, Figure, FigureCanvasAgg, default_style, spectrum_panel, without_frame

__all__ = ["bimodal_figure", "classes_of", "coloured", "representation_figure", "value_map"]

MOST_POINTS = 4000
"""Points of a map: more would only hide each other."""

LONGEST_LABEL = 32
"""Characters of a class in a legend."""

THUMBNAILS = 14
"""Cells along each side of a map that hold at most one image."""


@default_style
def representation_figure(
    eigenvalues: Array, gamma: Array, z: Array, color: Array | None = None, images: Array | None = None
) -> Figure:
    """Draw the spectrum beside the map of the first two components."""
    figure = Figure(figsize=(11.5, 4.8), layout="constrained")
    FigureCanvasAgg(figure)
    grid = figure.add_gridspec(1, 2, width_ratios=(1, 1.35))
    _spectrum(figure.add_subplot(grid[0, 0]), eigenvalues, gamma)
    value_map(figure.add_subplot(grid[0, 1]), z, color, images)
    return figure


@default_style
def bimodal_figure(
    eigenvalues: Array, gamma: Array, values: tuple[Array, Array], color: Array | None = None, scale: str = "risk"
) -> Figure:
    """Draw the spectrum beside the maps of two modalities, in a scale, whose axes are the same.

    A pair has one place in each.
    """
    figure = Figure(figsize=(15.5, 4.8), layout="constrained")
    FigureCanvasAgg(figure)
    grid = figure.add_gridspec(1, 3, width_ratios=(1, 1.2, 1.2))
    _spectrum(figure.add_subplot(grid[0, 0]), eigenvalues, gamma)
    first = figure.add_subplot(grid[0, 1])
    second = figure.add_subplot(grid[0, 2], sharex=first, sharey=first)
    for panel, z, name in zip((first, second), values, ("first", "second"), strict=True):
        value_map(panel, z, color, named=panel is second)
        panel.set_title(f'{name} modality, scale "{scale}"')
    return figure


def _spectrum(panel: Any, eigenvalues: Array, gamma: Array) -> None:
    spectrum_panel(panel, eigenvalues, gamma=gamma, legend=False)
    panel.set_title(f"spectrum: {int((eigenvalues > 0).sum())} of {len(eigenvalues)} active")


def value_map(
    axes: Any, z: Array, color: Array | None = None, images: Array | None = None, *, named: bool = True
) -> None:
    """Draw the first two components of z (n, k) as points, or as thumbnails.

    Parameters
    ----------
    axes : matplotlib Axes
    z : (n, k)
        Of one component, the second axis counts the samples.
    color : (n,), optional
        Words, booleans and few different integers are classes, with a mark and a line of the legend each, the rarest
        beyond nine together; numbers are shown by a bar of colours.  What is masked or NaN is drawn in grey.
    images : (n, height, width) or (n, height, width, 3 or 4), optional
    named : bool
        Whether there is a legend, or a bar.
    """
    z = np.asarray(z, dtype=float)
    some = np.sort(np.random.default_rng(0).permutation(len(z))[:MOST_POINTS])
    x, y = z[some, 0], z[some, 1] if z.shape[1] > 1 else some.astype(float)
    tints = None
    if color is not None:
        tints = coloured(axes, x, y, np.ma.masked_array(color)[some], named=named)
    elif images is None:
        axes.scatter(x, y, s=9, color=CLASSES[0], linewidths=0, alpha=0.5)
    if images is not None:
        _thumbnails(axes, x, y, np.asarray(images)[some], tints)
    axes.set(xlabel="component 1", ylabel="component 2" if z.shape[1] > 1 else "sample")
    axes.set_title("the first two components" if z.shape[1] > 1 else "the only component")
    without_frame(axes)


def coloured(axes: Any, x: Array, y: Array, color: Any, *, named: bool = True, size: float = 14) -> Array:
    """Scatter points by class, or by value, with a legend or a bar if ``named``; return the colour of each."""
    tints = np.full(len(x), GREY, object)
    missing = np.ma.getmaskarray(color).copy()
    values = np.ma.getdata(color)
    if values.dtype.kind == "f":
        missing |= ~np.isfinite(values)
    if missing.any():
        axes.scatter(x[missing], y[missing], s=size, color=GREY, marker=".", linewidths=0, label="no value")
    known = np.flatnonzero(~missing)
    classes = classes_of(values[known])
    if classes is None and len(known):
        shade = values[known].astype(float)
        drawn = axes.scatter(x[known], y[known], s=size, c=shade, cmap="viridis", linewidths=0, alpha=0.85)
        if named:
            axes.figure.colorbar(drawn, ax=axes)
        for place, tint in zip(known, drawn.to_rgba(shade), strict=True):
            tints[place] = tuple(tint)
        return tints
    names, codes = ([], known) if classes is None else classes
    for i, name in enumerate(names):
        chosen = known[codes == i]
        style = {"s": size, "color": CLASSES[i], "marker": MARKERS[i], "linewidths": 0, "alpha": 0.8}
        axes.scatter(x[chosen], y[chosen], label=_label(name), **style)
        tints[chosen] = CLASSES[i]
    if named:
        axes.legend(frameon=False, fontsize=9, loc="center left", bbox_to_anchor=(1.0, 0.5))
    return tints


def _label(name: str) -> str:
    """Return a class's name as a label: matplotlib's legends leave out empty ones, and those that begin with _.

    Of a long one both ends: a legend takes its room from the map.
    """
    half = LONGEST_LABEL // 2
    shown = (name if len(name) <= LONGEST_LABEL else f"{name[: half - 2]}...{name[1 - half :]}").replace("$", r"\$")
    return f'"{shown}"' if not name or name.startswith("_") else shown


def classes_of(values: Array) -> tuple[list[str], Array] | None:
    """Return names and codes of at most ten classes, the last of which may be all others; None of real values."""
    values = values.astype(str) if values.dtype.kind == "O" else values
    kinds, codes, counts = np.unique(values, return_inverse=True, return_counts=True)
    if values.dtype.kind == "f" or (values.dtype.kind in "iu" and len(kinds) > len(CLASSES)):
        return None
    if len(kinds) <= len(CLASSES):
        return [str(kind) for kind in kinds], codes.ravel()
    kept = np.sort(np.argsort(-counts, kind="stable")[: len(CLASSES) - 1])
    place = np.full(len(kinds), len(kept))
    place[kept] = np.arange(len(kept))
    return [*(str(kinds[i]) for i in kept), f"{len(kinds) - len(kept)} others"], place[codes.ravel()]


def _thumbnails(axes: Any, x: Array, y: Array, images: Array, tints: Array | None) -> None:
    """Draw, in each cell of a grid that holds points, the image nearest to its middle, framed in its colour."""
    from matplotlib.offsetbox import AnnotationBbox, OffsetImage

    places = np.stack([x, y], axis=1)
    low, spread = places.min(axis=0), np.ptp(places, axis=0)
    spread = np.where(spread > 0, spread, 1.0)
    scaled = (places - low) / spread * (THUMBNAILS - 1e-9)
    cell = np.floor(scaled).astype(int)
    order = np.lexsort((((scaled - cell - 0.5) ** 2).sum(axis=1), cell[:, 1], cell[:, 0]))
    first = np.ones(len(order), bool)
    first[1:] = (cell[order[1:]] != cell[order[:-1]]).any(axis=1)
    axes.set_xlim(low[0] - 0.06 * spread[0], low[0] + 1.06 * spread[0])
    axes.set_ylim(low[1] - 0.06 * spread[1], low[1] + 1.06 * spread[1])
    ends = float(images.min()), float(images.max())
    shown = (images - ends[0]) / ((ends[1] - ends[0]) or 1.0)
    for i in order[first]:
        ink = shown[i] if images.ndim == 4 else np.repeat(1.0 - shown[i][..., None], 3, axis=2)
        picture = OffsetImage(ink, zoom=15.0 / max(ink.shape[:2]), interpolation="nearest")
        frame = {"linewidth": 1.2, "edgecolor": "none" if tints is None else tints[i]}
        axes.add_artist(AnnotationBbox(picture, (x[i], y[i]), bboxprops=frame, pad=0.12))
