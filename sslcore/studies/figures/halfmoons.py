"""Figures of the half-moons."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ...arrays import Array
from ...plotting.panels import CLASSES, Figure, FigureCanvasAgg, contours_panel, default_style, withStroke
from ._plane import costs_panel, plane_functions

if TYPE_CHECKING:
    from ..halfmoons import Controlled

__all__ = ["errors_panel", "figure", "half_moons_figure", "regions_panel", "setup_figure"]


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


@default_style
def figure(found: Controlled) -> Figure:
    """Draw both errors over the numbers of pretraining samples and of labels."""
    curves = found.curves
    drawn = Figure(figsize=(12, 4.9), layout="constrained")
    FigureCanvasAgg(drawn)
    abouts = {"squared": "squared error to the true probabilities", "zero_one": "excess 0-1 error"}
    for axes, (name, about) in zip(drawn.subplots(1, 2), abouts.items(), strict=True):
        errors_panel(axes, np.asarray(curves.downstream_sizes), np.asarray(curves.pretraining_sizes), curves.mean[name])
        axes.set_title(f"{about}, mean of {found.draws[0]} x {found.draws[1]} draws")
    return drawn


def errors_panel(axes: Any, labels: Array, samples: Array, errors: Array) -> None:
    """Draw log10 of errors (samples, labels) as contours over both numbers."""
    positive = errors[errors > 0]
    values = np.log10(np.maximum(errors, positive.min() if positive.size else 1.0))
    levels = np.linspace(values.min(), max(values.max(), values.min() + 1e-3), 15)
    filled = axes.contourf(labels, samples, values, levels, cmap="viridis")
    lines = axes.contour(labels, samples, values, levels[1:-1:2], colors="white", linewidths=0.7, linestyles="solid")
    axes.clabel(lines, fmt=lambda value: f"{10**value:.2g}", fontsize=8.5)
    axes.figure.colorbar(filled, ax=axes, label=r"$\log_{10}$ of the error", format="%.2f")
    axes.set(xscale="log", yscale="log", xlabel="labelled samples", ylabel="pretraining samples (two views each)")
    for axis, sizes in ((axes.xaxis, labels), (axes.yaxis, samples)):
        shown = [size for size in (30, 100, 300, 1000) if sizes[0] <= size <= sizes[-1]] or [sizes[0], sizes[-1]]
        axis.set_ticks(shown, labels=[f"{size:,}" for size in shown])
        axis.set_ticks([], minor=True)


@default_style
def setup_figure(found: Controlled) -> Figure:
    """Draw the regions of the classes, their probabilities, and the first functions, over the plane."""
    from ...datasets import half_moons_probabilities

    rep, x = found.setup.representation, np.asarray(found.setup.views.x)
    first, second, functions = plane_functions(rep, x)
    mesh = np.stack(np.meshgrid(first, second), axis=-1)
    chances = half_moons_probabilities(mesh.reshape(-1, 2)).reshape(*mesh.shape[:2], 4)
    drawn = Figure(figsize=(13, 5.6), layout="constrained")
    FigureCanvasAgg(drawn)
    above, below = drawn.subplots(2, max(rep.n_components, 5))
    regions_panel(above[0], first, second, chances, x)
    above[0].set_title("classes: the most probable")
    for i, axes in enumerate(above[1:5]):
        filled = axes.contourf(first, second, chances[..., i], np.linspace(0, 1, 11), cmap="cividis")
        axes.set(xticks=[], yticks=[], aspect="equal", title=f"probability of class {i + 1}")
    drawn.colorbar(filled, ax=list(above[1:5]), shrink=0.9, ticks=(0, 0.5, 1), pad=0.01)
    for i, axes in enumerate(below[: rep.n_components]):
        contours_panel(axes, first, second, functions, i, x)
        axes.set_title(rf"$f_{{{i + 1}}}$,  $1 - \mu_{{{i + 1}}}$ = {rep.gamma[i]:.1e}", fontsize=10)
    return drawn


def regions_panel(axes: Any, first: Array, second: Array, chances: Array, points: Array) -> None:
    """Draw where each class is the most probable, under the points; classes differ in number and tone."""
    best = chances.argmax(axis=-1)
    tones = ("#08306b", "#f7d13d", "#7a9cc6", "#a65c00")  # dark blue, yellow, light blue, brown
    axes.contourf(first, second, best, np.arange(-0.5, 4.5), colors=tones)
    axes.plot(*points.T, ".", color="black", markersize=1.6, alpha=0.5)
    for i in np.unique(best):
        row, column = (float(np.median(place)) for place in np.nonzero(best == i))
        at = (first[round(column)], second[round(row)])
        axes.annotate(
            str(i + 1),
            at,
            color="white",
            fontsize=12,
            weight="bold",
            ha="center",
            path_effects=[withStroke(linewidth=3, foreground="black")],
        )
    axes.set(xticks=[], yticks=[], aspect="equal")
