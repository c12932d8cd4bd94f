"""Figures of a fit and of a path, for the commands of these names."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ...arrays import Array
from ...plotting.maps import bimodal_figure, coloured, representation_figure
from ...plotting.panels import (
    BLUE,
    Figure,
    FigureCanvasAgg,
    contours_panel,
    default_style,
    side_by_side,
    spectrum_panel,
    without_frame,
)
from ._plane import costs_panel, plane_functions

if TYPE_CHECKING:
    from ...fitting.path import Path


__all__ = ["fit_figure", "map_figure", "pair_figure", "path_figure"]


@default_style
def fit_figure(rep: Any, x: Array, z: Array, color: Array | None = None, scale: str = "risk") -> Figure:
    """Draw spectrum, what each eigenvalue is made of, and the first functions: over the plane if the data lie in one.

    Parameters
    ----------
    rep : Representation
    x : array (n, d) or (n, m, d)
        The data.
    z : array (n, k) or (n, m, k)
        Their embedding.
    color : (n,), optional
        Labels or values of the samples.
    scale : str
        What the components of ``z`` are measured in, as of `sslcore.Representation.transform`.
    """
    figure = Figure(figsize=(13, 6.2), layout="constrained")
    FigureCanvasAgg(figure)
    grid = figure.add_gridspec(2, 4, width_ratios=(1.25, 1, 1, 1))
    panel = figure.add_subplot(grid[0, 0])
    spectrum_panel(panel, rep.eigenvalues, gamma=rep.gamma, legend=False)
    panel.set_title(f"spectrum: {rep.n_active} of {rep.n_components} active")
    panel = figure.add_subplot(grid[1, 0])
    costs_panel(panel, rep.beta * rep.invariance, rep.reg * rep.norms)
    panel.set_title(r"what it costs: $1 - \mu_i$")

    places = [grid[row, column] for row in range(2) for column in range(1, 4)]
    points, values = (array.reshape(-1, array.shape[-1]) for array in (x, z))
    some = np.sort(np.random.default_rng(0).permutation(len(points))[:4000])  # more would only hide each other
    points, values = np.asarray(points[some], dtype=float), np.asarray(values[some], dtype=float)
    shades = None if color is None else np.ma.masked_array(color)[some // (len(x.reshape(-1, x.shape[-1])) // len(x))]
    if points.shape[1] == 2:
        functions = plane_functions(rep, points)
        for i, place in zip(range(rep.n_components), places, strict=False):
            panel = figure.add_subplot(place)
            contours_panel(panel, *functions, i, points)
            if shades is not None:
                coloured(panel, points[:, 0], points[:, 1], shades, named=i == min(rep.n_components, 6) - 1, size=5)
            panel.set_title(rf"$f_{{{i + 1}}}$,  $\mu_{{{i + 1}}}$ = {rep.eigenvalues[i]:.3f}")
        return figure
    pairs = [(i, i + 1) for i in range(0, rep.n_components - 1, 2)] or [(0, 0)]
    for (i, j), place in zip(pairs, places, strict=False):
        panel = figure.add_subplot(place)
        if shades is None:
            panel.scatter(values[:, i], values[:, j], s=6, color=BLUE, linewidths=0, alpha=0.35)
        else:
            coloured(panel, values[:, i], values[:, j], shades, named=place is places[min(len(pairs), 6) - 1])
        panel.set(xlabel=f"component {i + 1}", ylabel=f"component {j + 1}")
        if place is places[0]:
            panel.set_title(f'values at the data, scale "{scale}"')
        without_frame(panel)
    return figure


def map_figure(rep: Any, z: Array, color: Array | None = None) -> Figure:
    """Draw the spectrum of a representation beside the map of an embedding (n, k) of its."""
    return representation_figure(rep.eigenvalues, rep.gamma, z, color)


def pair_figure(rep: Any, values: tuple[Array, Array], color: Array | None = None, scale: str = "risk") -> Figure:
    """Draw the spectrum of two modalities beside the maps of embeddings (n, k) of pairs, which are in this scale."""
    return bimodal_figure(rep.eigenvalues, rep.gamma, values, color, scale)


def path_figure(path: Path) -> Figure:
    """Draw the panel of each beta of a path, side by side."""
    return side_by_side(len(path.betas), path.plot)
