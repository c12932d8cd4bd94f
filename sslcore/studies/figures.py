"""Figures of the studies and of the command line: panels arranged on a page."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ..arrays import Array
from ..plotting.panels import (
    BLUE,
    CLASSES,
    GREY,
    ORANGE,
    Figure,
    FigureCanvasAgg,
    FormatStrFormatter,
    LogLocator,
    contours_panel,
    curves_panel,
    default_style,
    images_panel,
    map_panel,
    side_by_side,
    spectrum_panel,
    without_frame,
)

if TYPE_CHECKING:
    from ..fitting.path import Path
    from . import convergence, interplay
    from .digits import Study

__all__ = [
    "convergence_figure",
    "digits_figure",
    "fit_figure",
    "half_moons_figure",
    "interplay_figure",
    "lines_panel",
    "parities_panel",
    "path_figure",
]


@default_style
def digits_figure(study: Study) -> Figure:
    """Draw sample views, spectrum, accuracy against labels, and a map of the embedding coloured by digit."""
    figure = Figure(figsize=(13, 6.6), layout="constrained")
    FigureCanvasAgg(figure)
    grid = figure.add_gridspec(2, 3, width_ratios=(1, 1.15, 2.15))

    shown = [int(np.flatnonzero(study.labels == digit)[0]) for digit in np.unique(study.labels)[:6]]
    rows = [np.vstack([study.views.x[i], study.views[i]]) for i in shown]
    panel = figure.add_subplot(grid[0, 0])
    images_panel(panel, np.reshape(rows, (len(rows), -1, 8, 8)))
    panel.set_title(f"images, and their {study.settings.n_views} views")

    panel = figure.add_subplot(grid[0, 1])
    spectrum_panel(panel, study.representation.eigenvalues)
    panel.set_title("spectrum")

    panel = figure.add_subplot(grid[1, :2])
    names = {"sslcore": "sslcore", "kernel_pca": "kernel PCA", "raw": "raw pixels"}
    mean, error = study.mean_accuracy(), study.standard_error()
    curves = {label: (mean[name], error[name]) for name, label in names.items()}
    curves_panel(panel, np.array(study.settings.n_labels), curves)
    panel.set(xlabel="labelled images in all", ylabel="accuracy on the others")
    panel.set_title(f"ridge probe, {study.settings.n_draws} draws of the labelled images")

    panel = figure.add_subplot(grid[:, 2])
    map_panel(panel, study.map, study.labels)
    panel.set_title("the embedding, learnt without labels (t-SNE; colours: the true digits)")
    return figure


@default_style
def fit_figure(rep: Any, x: Array, z: Array) -> Figure:
    """Draw spectrum, what each eigenvalue is made of, and the first functions: over the plane if the data lie in one.

    Parameters
    ----------
    rep : Representation
    x : array (n, d) or (n, m, d)
        The data.
    z : array (n, k) or (n, m, k)
        Their embedding.
    """
    figure = Figure(figsize=(13, 6.2), layout="constrained")
    FigureCanvasAgg(figure)
    grid = figure.add_gridspec(2, 4, width_ratios=(1.25, 1, 1, 1))
    panel = figure.add_subplot(grid[0, 0])
    spectrum_panel(panel, rep.eigenvalues, legend=False)
    panel.set_title(f"spectrum: {rep.n_active} of {rep.n_components} active")
    panel = figure.add_subplot(grid[1, 0])
    costs_panel(panel, rep.beta * rep.invariance, rep.reg * rep.norms)
    panel.set_title(r"what it costs: $1 - \mu_i$")

    places = [grid[row, column] for row in range(2) for column in range(1, 4)]
    points, values = (array.reshape(-1, array.shape[-1]) for array in (x, z))
    some = np.sort(np.random.default_rng(0).permutation(len(points))[:4000])  # more would only hide each other
    points, values = np.asarray(points[some], dtype=float), np.asarray(values[some], dtype=float)
    if points.shape[1] == 2:
        functions = plane_functions(rep, points)
        for i, place in zip(range(rep.n_components), places, strict=False):
            panel = figure.add_subplot(place)
            contours_panel(panel, *functions, i, points)
            panel.set_title(rf"$f_{{{i + 1}}}$,  $\mu_{{{i + 1}}}$ = {rep.eigenvalues[i]:.3f}")
        return figure
    pairs = [(i, i + 1) for i in range(0, rep.n_components - 1, 2)] or [(0, 0)]
    for (i, j), place in zip(pairs, places, strict=False):
        panel = figure.add_subplot(place)
        panel.scatter(values[:, i], values[:, j], s=6, color=BLUE, linewidths=0, alpha=0.35)
        panel.set(xlabel=rf"$\psi_{{{i + 1}}}$", ylabel=rf"$\psi_{{{j + 1}}}$")
        without_frame(panel)
    return figure


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
    from ..datasets import half_moons_probabilities

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


def path_figure(path: Path) -> Figure:
    """Draw the panel of each beta of a path, side by side."""
    return side_by_side(len(path.betas), path.plot)


def plane_functions(rep: Any, points: Array, steps: int = 120) -> tuple[Array, Array, Array]:
    """Return unit eigenfunctions (steps, steps, k) on a grid around points of the plane, and the grid's two axes."""
    low, high = points.min(axis=0), points.max(axis=0)
    margin = 0.12 * (high - low).max()
    first, second = (np.linspace(a - margin, b + margin, steps) for a, b in zip(low, high, strict=True))
    mesh = np.stack(np.meshgrid(first, second), axis=-1).reshape(-1, 2)
    dtype = rep.coefficients.dtype
    return (
        first,
        second,
        np.asarray(rep.to("numba").transform(mesh.astype(dtype), scale=False)).reshape(steps, steps, -1),
    )


def costs_panel(axes: Any, invariance: Array, norm: Array) -> None:
    """Draw the two parts of 1 - mu_i as bars on each other."""
    index = np.arange(1, len(norm) + 1)
    invariance, norm = (np.where(np.isfinite(part), part, 0.0) for part in (invariance, norm))
    axes.bar(index, invariance, color=ORANGE, width=0.7, label=r"invariance, $\beta\,\langle f_i, (I - T) f_i\rangle$")
    axes.bar(index, norm, bottom=invariance, color=BLUE, width=0.7, label=r"norm, $\lambda\,\|f_i\|^2$")
    axes.axhline(1.0, color="black", linewidth=0.6)  # beyond, a component is not active
    axes.set(xlabel="component $i$", ylim=(0.0, min(1.6, 1.35 * float((invariance + norm).max()))))
    axes.legend(frameon=False, loc="upper left", fontsize=9)
    without_frame(axes)


@default_style
def interplay_figure(study: interplay.Study) -> Figure:
    """Draw the chosen lines with maximum, crossings and regimes, and the lines of all parities of the cube."""
    wide = bool(study.classes)
    figure = Figure(figsize=(13 if wide else 7.5, 5.4), layout="constrained")
    FigureCanvasAgg(figure)
    grid = figure.add_gridspec(1, 2 if wide else 1)
    lines_panel(figure.add_subplot(grid[0, 0]), study)
    if wide:
        parities_panel(figure.add_subplot(grid[0, 1]), study)
    figure.suptitle(f"{{-1, 1}}$^{{{study.cube.d}}}$, {study.augmentation}, {study.kernel}", fontsize=11)
    return figure


def lines_panel(axes: Any, study: interplay.Study) -> None:
    """Draw mu_S(reg) of a few parities, their maximum, the crossings, and the regimes between them in shades."""
    ends = [c.reg for c in study.crossings] or [float(study.lines.kernel.max())]
    stop = 1.55 * ends[-1]
    reg = np.unique(np.concatenate([np.linspace(0.0, stop, 200), [c.reg for c in study.crossings]]))
    values = np.stack([study.lines.values(float(r), study.beta) for r in reg], axis=1)
    highest = values.max(axis=0)
    low = min(float(highest.min()), 0.0)
    room = 0.16 * (float(highest.max()) - low)
    for i, label in enumerate(study.lines.labels):
        color, name = CLASSES[i % len(CLASSES)], "{" + ", ".join(map(str, label)) + "}"
        axes.plot(reg, values[i], color=color, linewidth=1.8, label=f"S = {name}")
    axes.plot(reg, highest, color="black", linewidth=4.5, alpha=0.22, solid_capstyle="round", label="the maximum")
    for crossing in study.crossings:
        axes.axvline(crossing.reg, color=GREY, linewidth=0.8, linestyle=":")
        axes.plot(
            crossing.reg, crossing.eigenvalue, "o", color="white", markeredgecolor="black", markersize=7, zorder=5
        )
        axes.annotate(
            f"{crossing.reg:.4g}",
            (crossing.reg, crossing.eigenvalue),
            textcoords="offset points",
            xytext=(7, 7),
            fontsize=9,
        )
    top = float(highest.max()) + room
    for index, regime in enumerate(study.regimes):
        start, end = regime.start, min(regime.stop, stop)
        axes.axvspan(start, end, color=("#eef4fb", "#fdf3e7", "#f1f1f3")[index % 3], zorder=-5)
        axes.text(0.5 * (start + end), top - 0.3 * room, regime.name, ha="center", va="top", fontsize=10)
    axes.axhline(0.0, color="black", linewidth=0.6)
    axes.set(xlim=(0.0, stop), ylim=(low - 0.3 * room, top))
    axes.set(xlabel=r"reg $\lambda$", ylabel=r"$\mu_S = 1 - \beta + \beta t_S - \lambda / \kappa_S$")
    axes.set_title("which parity is learnt first")
    axes.ticklabel_format(axis="x", style="sci", scilimits=(-2, 3))
    axes.legend(frameon=False, loc="best", fontsize=9)
    without_frame(axes)


def parities_panel(axes: Any, study: interplay.Study) -> None:
    """Draw the lines of all parities while they are active, over log reg, coloured by |S|: large sets go first."""
    from matplotlib import colormaps

    alive = [(h, t, kappa) for h, t, kappa, _ in study.classes if t > 1e-9 and kappa > 0 and h > 0]
    largest = max((h for h, _, _ in alive), default=1)
    start = min((kappa * t for _, t, kappa in alive), default=1.0)
    shown = set()
    for h, t, kappa in sorted(alive, reverse=True):
        reg = np.geomspace(0.3 * start, kappa * (1 - study.beta + study.beta * t), 200)
        color = colormaps["viridis"](0.95 * (h - 1) / max(largest - 1, 1))
        label = None if h in shown else f"|S| = {h}"
        shown.add(h)
        axes.plot(reg, 1 - study.beta + study.beta * t - reg / kappa, color=color, linewidth=1.1, label=label)
    for crossing in study.crossings:
        axes.axvline(crossing.reg, color=GREY, linewidth=0.8, linestyle=":")
    axes.set(xscale="log", xlabel=r"reg $\lambda$", ylabel=r"$\mu_S$")
    axes.set_ylim(0.0, 1.22 * axes.get_ylim()[1])
    axes.set_title("all parities of the cube, while active")
    handles, labels = axes.get_legend_handles_labels()
    axes.legend(handles[::-1], labels[::-1], frameon=False, loc="upper center", fontsize=8.5, ncols=4)
    without_frame(axes)


@default_style
def convergence_figure(study: convergence.Study) -> Figure:
    """Draw errors of fits against the exact population, a column for each domain, with fitted rates."""
    from .convergence import MEASURES

    rows, columns = len(MEASURES), len(study.settings)
    figure = Figure(figsize=(3.4 * columns + 0.6, 2.7 * rows + 0.4), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(rows, columns, squeeze=False, sharex=True)
    for column, setting in enumerate(study.settings):
        for row, (measure, about) in enumerate(MEASURES.items()):
            panel = axes[row, column]
            mean, rates = study.mean(setting.name, measure), study.rates(setting.name, measure)
            for i, m in enumerate(study.m):
                color = (BLUE, ORANGE, GREY)[i % 3]
                for values in study.errors[setting.name][measure][i].T:
                    panel.plot(study.n, values, ".", color=color, alpha=0.35, markersize=4)
                label = f"m = {m}: $n^{{{-rates[i]:.2f}}}$"
                panel.plot(
                    study.n, mean[i], "os^"[i % 3] + "-", color=color, markersize=4.5, linewidth=1.5, label=label
                )
            panel.set(xscale="log", yscale="log")
            panel.set_xticks(study.n, labels=[str(n) for n in study.n])
            panel.minorticks_off()
            panel.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
            panel.yaxis.set_major_formatter(FormatStrFormatter("%g"))
            panel.grid(color="#e5e7eb", linewidth=0.6)
            panel.legend(frameon=False, fontsize=8.5, loc="lower left")
            if row == 0:
                panel.set_title(f"{setting.name}\n{type(setting.augmentation).__name__}", fontsize=10.5)
            if row == rows - 1:
                panel.set_xlabel("samples $n$")
            if column == 0:
                panel.set_ylabel(about)
            without_frame(panel)
    return figure
