"""The figure of the interplay of augmentation and architecture."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ...plotting.panels import (
    CLASSES,
    GREY,
    Figure,
    FigureCanvasAgg,
    default_style,
    name_band,
    without_frame,
)

if TYPE_CHECKING:
    from .. import interplay
    from .._interplay_samples import Fits


__all__ = ["interplay_figure", "lines_panel", "paper_figure", "parities_panel"]


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


@default_style
def paper_figure(found: interplay.Paper) -> Figure:
    """Draw the paper's three lines, those of the cube, fits on samples beside both, and what dimension 12 shows."""
    figure = Figure(figsize=(13, 4.6), layout="constrained")
    FigureCanvasAgg(figure)
    grid = figure.subplots(1, 3)
    toy, exact = found.toy, found.exact
    slopes = 1 / np.array(toy.kappa)
    few_lines(grid[0], np.array(toy.t), slopes, [f"mode {i + 1}" for i in range(3)], 2.9, toy.crossings)
    for fits, marker, color in zip(toy.fits, "so", ("#7f7f7f", "black"), strict=True):
        fits_points(grid[0], fits, marker, color, every=2)
    grid[0].legend(frameon=False, fontsize=8)
    grid[0].set_title("the paper's three lines, and fits on samples")
    lines_panel(grid[1], exact)
    fits_points(grid[1], found.samples, "o", "black")
    grid[1].legend(frameon=False, fontsize=8, loc="upper right", bbox_to_anchor=(1.0, 0.93))
    grid[1].set_title(f"parities of the cube, d = {exact.cube.d}, and fits on samples")
    small = exact.small or exact
    names = [f"S = {{{', '.join(map(str, label))}}}" for label in small.lines.labels]
    stop = 3.7 * max([c.reg for c in small.crossings] or [1e-6])
    few_lines(grid[2], small.lines.augmentation, 1 / small.lines.kernel, names, stop, small.crossings, by=found.quoted)
    grid[2].set_title("d = 12: windows counted, and dashed as published")
    for axes in grid:
        axes.title.set_fontsize(10.5)
    figure.suptitle("crops to 8 coordinates of the cube, kernel of infinitely wide networks of two layers", fontsize=11)
    return figure


def few_lines(
    axes: Any, starts: Any, slopes: Any, names: Sequence[str], stop: float, crossings: Any, by: Any = None
) -> None:
    """Draw lines mu = start - reg slope with their crossings; dashed those of other starts, and both maxima."""
    reg = np.linspace(0.0, stop, 300)
    values = starts[:, None] - reg * slopes[:, None]
    for i, name in enumerate(names):
        axes.plot(reg, values[i], color=CLASSES[i], linewidth=1.8, label=name)
    axes.plot(reg, values.max(axis=0), color="black", linewidth=4.5, alpha=0.22, label="the maximum")
    if by is not None:
        other = by.augmentation[:, None] - reg / by.kernel[:, None]
        for i in range(len(names)):
            axes.plot(reg, other[i], color=CLASSES[i], linewidth=1.2, linestyle="--")
        axes.plot(reg, other.max(axis=0), color="black", linewidth=2.5, alpha=0.35, linestyle=":", label="as published")
    for crossing in crossings:
        mark(axes, crossing, 9)
    axes.axhline(0.0, color="black", linewidth=0.6)
    top = float(values.max())
    axes.set(xlim=(0.0, stop), ylim=(-0.1 * top, 1.1 * top))
    axes.set(xlabel=r"reg $\lambda$", ylabel=r"$\mu$")
    axes.ticklabel_format(axis="x", style="sci", scilimits=(-2, 3))
    axes.legend(frameon=False, fontsize=9)
    without_frame(axes)


def mark(axes: Any, crossing: Any, above: float) -> None:
    """Draw a crossing with its reg, so many points above."""
    place = crossing.reg, crossing.eigenvalue
    axes.plot(*place, "o", color="white", markeredgecolor="black", markersize=7, zorder=5)
    axes.annotate(f"{crossing.reg:.4g}", place, textcoords="offset points", xytext=(7, above), fontsize=9)


def fits_points(axes: Any, fits: Fits, marker: str, color: str, every: int = 1) -> None:
    """Draw mean eigenvalues of fits, in decreasing order, with two standard errors."""
    mean, error = fits.mean()[::every], fits.standard_error()[::every]
    label = f"fits, n = {fits.n:,}, {fits.m} views ({len(fits.eigenvalues)} draws, 2 s.e.)"
    for i in range(mean.shape[1]):
        axes.errorbar(
            fits.regs[::every],
            mean[:, i],
            2 * error[:, i],
            fmt=marker,
            color=color,
            markersize=3.2,
            linewidth=0.9,
            capsize=1.5,
            label=label if i == 0 else None,
            zorder=4,
        )


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
        mark(axes, crossing, 7)
    top = float(highest.max()) + room
    for index, regime in enumerate(study.regimes):
        shade = ("#eef4fb", "#fdf3e7", "#f1f1f3")[index % 3]
        axes.axvspan(regime.start, min(regime.stop, stop), color=shade, zorder=-5)
    axes.axhline(0.0, color="black", linewidth=0.6)
    axes.set(xlim=(0.0, stop), ylim=(low - 0.3 * room, top))
    axes.set(xlabel=r"reg $\lambda$", ylabel=r"$\mu_S = 1 - \beta + \beta t_S - \lambda / \kappa_S$")
    axes.set_title("which parity is learnt first")
    axes.ticklabel_format(axis="x", style="sci", scilimits=(-2, 3))
    for regime in study.regimes:
        name_band(axes, regime.start, min(regime.stop, stop), regime.name, 0.98, 10)
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
