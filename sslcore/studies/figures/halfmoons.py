"""Figures of the half-moons."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...plotting.panels import CLASSES, Figure, FigureCanvasAgg, contours_panel, default_style
from ._plane import costs_panel, plane_functions

__all__ = ["half_moons_figure"]


@default_style
def half_moons_figure(rep: Any, views: Any) -> Figure:
    """Draw the classes over the plane, samples with their views, the spectrum, each eigenfunction as contours.

    Parameters
    ----------
    rep : Representation
        Of points of the plane.
    views : Views
        What it was fitted to.
    """
    from ...datasets import half_moons_probabilities

    figure = Figure(figsize=(13, 7), layout="constrained")
    FigureCanvasAgg(figure)
    halves: Any = figure.subfigures(2, 1, height_ratios=(1.15, 1))
    above, below = halves
    x = np.asarray(views.x)
    first, second, functions = plane_functions(rep, x)
    extent = (first[0], first[-1], second[0], second[-1])

    panel, beside, last = above.subplots(1, 3, width_ratios=(1, 1, 1.2))
    mesh = np.stack(np.meshgrid(first, second), axis=-1)
    chances = half_moons_probabilities(mesh.reshape(-1, 2)).reshape(*mesh.shape[:2], 4)
    colors = np.array([[int(c[i : i + 2], 16) / 255 for i in (1, 3, 5)] for c in CLASSES[:4]])
    panel.imshow(1 - 0.55 * (1 - chances @ colors), origin="lower", extent=extent, interpolation="bilinear")
    panel.scatter(*x.T, s=5, c=colors[half_moons_probabilities(x).argmax(axis=1)], linewidths=0)
    panel.set_title("four classes (unknown to the fit)")

    beside.plot(*x.T, ".", color="#d1d5db", markersize=3)
    shown = np.argsort(np.random.default_rng(0).permutation(len(x)))[:12]
    for i, color in zip(shown, CLASSES * 2, strict=False):
        made = np.asarray(views[int(i)])
        beside.plot(
            *np.stack([np.repeat(x[i : i + 1], len(made), 0), made]).T.swapaxes(1, 2), color=color, linewidth=0.9
        )
        beside.plot(*made.T, "o", color=color, markersize=4)
        beside.plot(*x[i], "o", color="black", markersize=3)
    beside.set_title(f"samples (black) and their {views.n_views} views")
    for axes in (panel, beside):
        axes.set(xticks=[], yticks=[], aspect="equal", xlim=extent[:2], ylim=extent[2:])

    costs_panel(last, rep.beta * rep.invariance, rep.reg * rep.norms)
    last.set(xticks=range(1, rep.n_components + 1), title=r"what the functions cost: $1 - \mu_i$")

    for i, axes in enumerate(np.atleast_1d(below.subplots(1, rep.n_components))):
        contours_panel(axes, first, second, functions, i, x)
        axes.set_title(rf"$f_{{{i + 1}}}$,  $\mu_{{{i + 1}}}$ = {rep.eigenvalues[i]:.3f}")
    return figure


def figure(found: Any) -> Figure:
    """Draw the results of the study."""
    return half_moons_figure(found.representation, found.views)
