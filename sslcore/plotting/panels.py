"""Pictures; the only module that imports matplotlib, without its global state (no pyplot, no display).

Panels draw arrays onto axes, in the style of whoever made these; figures arrange panels, and `png` and `save` write
them, all of them in matplotlib's own default style and by Agg, whatever the user's settings are.
"""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any, BinaryIO

import numpy as np

from ..arrays import Array
from ..io.atomic import replacing

__all__ = [
    "banded_curve",
    "contours_panel",
    "curves_panel",
    "error_contours",
    "images_panel",
    "kind_of_file",
    "map_panel",
    "name_band",
    "png",
    "rendered",
    "save",
    "side_by_side",
    "spectrum_over_reg",
    "spectrum_panel",
]


# MPLBACKEND may name what is not installed here (a notebook's, say), and matplotlib would not be imported
_backend = os.environ.pop("MPLBACKEND", "") if "matplotlib" not in sys.modules else ""
try:
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg as FigureCanvasAgg
    from matplotlib.figure import Figure as Figure
    from matplotlib.patheffects import withStroke as withStroke
    from matplotlib.ticker import FormatStrFormatter as FormatStrFormatter
    from matplotlib.ticker import LogLocator as LogLocator
    from matplotlib.ticker import MaxNLocator as MaxNLocator
except ImportError as error:
    raise ImportError("pictures need matplotlib: pip install '.[plot]' in sslcore's folder") from error
finally:
    if _backend:
        os.environ["MPLBACKEND"] = _backend
if _backend:
    with suppress(ValueError):
        matplotlib.rcParams["backend"] = _backend  # as matplotlib does itself: for others, we need none

BLUE, ORANGE, GREY = "#0b5fa5", "#d9730d", "#8a8f98"
default_style = matplotlib.rc_context(
    {key: value for key, value in dict.items(matplotlib.rcParamsDefault) if not key.startswith("backend")}
)
CLASSES = (BLUE, ORANGE, "#6dd0f2", "#59002c", "#cccc00", "#b500f2", "#888888", "#19197f", "#f2af6d", "#7f5c39")
"""Colours of lines and classes, which differ without red, green or blue cones, too: of the ten that a search for the
largest of the smallest distances in CIELAB (26) found, the first two are the house's own."""

MARKERS = "os^Dv<>pPX"
"""Their marks, for whoever sees no colours at all."""

KINDS = ("png", "pdf", "svg")
"""The kinds of files that figures are written to, by the ends of names."""

CROWDED = 0.9
"""Where all active eigenvalues are above it, 1 - mu is drawn on a logarithmic axis in place of mu."""


def contours_panel(axes: Any, first: Array, second: Array, functions: Array, i: int, points: Array) -> None:
    """Draw function i over the plane, as filled contours symmetric about 0, under the points."""
    values = functions[..., i]
    top = float(np.quantile(np.abs(values), 0.995)) or 1.0
    levels = np.linspace(-top, top, 15)
    axes.contourf(first, second, values, levels, cmap="RdBu_r", extend="both")
    axes.contour(first, second, values, [0.0], colors="black", linewidths=0.7)
    axes.plot(*points.T, ".", color="black", markersize=1.6, alpha=0.5)
    axes.set(xticks=[], yticks=[], aspect="equal")


def images_panel(axes: Any, images: Array) -> None:
    """Draw images (rows, columns, height, width) side by side, ink on a grey tile; the first column is set apart."""
    rows, columns, height, width = images.shape
    sheet = np.full((rows * (height + 1) - 1, columns * (width + 1) + 1), np.nan)  # NaN is white
    for r, row in enumerate(images):
        for c, image in enumerate(row):
            left = c * (width + 1) + (2 if c else 0)
            sheet[r * (height + 1) :, left:][:height, :width] = image
    axes.imshow(sheet, cmap="gray_r", vmin=-0.1, vmax=1.0, interpolation="nearest")
    axes.set_axis_off()


def spectrum_panel(axes: Any, eigenvalues: Array, *, gamma: Array | None = None, legend: bool = True) -> None:
    """Draw eigenvalues mu_i in their order: stems, active ones (mu > 0) in colour.

    With ``gamma``, 1 - mu with its own digits, that is drawn on a logarithmic axis, 1 at the bottom, where all active
    ones crowd at mu = 1.
    """
    index = np.arange(1, len(eigenvalues) + 1)
    present, active = np.isfinite(eigenvalues), eigenvalues > 0
    crowded = gamma is not None and active.any() and eigenvalues[active].min() > CROWDED and (gamma > 0).all()
    values, base = (np.asarray(gamma), 1.0) if crowded else (eigenvalues, 0.0)
    for chosen, color, mark, label in (
        (present & active, BLUE, "o", "active"),
        (present & ~active, GREY, "D", "inactive"),
    ):
        if chosen.any():
            axes.vlines(index[chosen], base, values[chosen], color=color, linewidth=1.2)
            text = f"{chosen.sum()} {label}"
            axes.plot(index[chosen], values[chosen], mark, color=color, markersize=3.5, label=text)
    axes.axhline(base, color="black", linewidth=0.6)
    axes.set(xlabel="component $i$", ylabel=r"eigenvalue $\mu_i$")
    if crowded:
        axes.set(ylabel=r"$1 - \mu_i$ (logarithmic)", yscale="log")
        axes.set_ylim(max(2.0, 1.5 * float(values[present].max())), 0.5 * float(values[present].min()))
    else:
        axes.set_ylim(None, 1.0)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    if legend:
        axes.legend(frameon=False, loc="upper right")
    without_frame(axes)


def curves_panel(axes: Any, x: Array, curves: Mapping[str, tuple[Array, Array]]) -> None:
    """Draw curves ``{label: (mean, standard error)}`` over x, which is shown on a logarithmic axis."""
    for (label, (mean, error)), color, marker in zip(curves.items(), (BLUE, ORANGE, GREY), "os^", strict=False):
        axes.errorbar(x, mean, error, color=color, marker=marker, markersize=5, capsize=2.5, linewidth=1.6, label=label)
    axes.set_xscale("log")
    axes.set_xticks(x, labels=[str(value) for value in x])
    axes.minorticks_off()
    axes.grid(axis="y", color="#e5e7eb", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.legend(frameon=False, loc="lower right")
    without_frame(axes)


def banded_curve(axes: Any, x: Array, mean: Array, half: Array) -> None:
    """Draw a curve over x with the band mean +- half, both axes logarithmic; a band that is not finite is left out."""
    if np.isfinite(half).all():
        low = np.maximum(mean - half, np.min(mean) * 1e-3)
        axes.fill_between(x, low, mean + half, color=BLUE, alpha=0.2, linewidth=0, label="2 standard errors")
    axes.plot(x, mean, "o-", color=BLUE, markersize=4, linewidth=1.6)
    axes.set(xscale="log", yscale="log" if np.min(mean) > 0 else "linear")
    without_frame(axes)


def error_contours(axes: Any, x: Array, y: Array, error: Array) -> None:
    """Draw log10 of an error (len(x), len(y)) > 0 over both sizes, as filled contours with a bar of colours."""
    logs = np.log10(np.maximum(error, 1e-300)).T
    levels: Any = 12 if np.ptp(logs) > 0 else np.linspace(logs[0, 0] - 0.5, logs[0, 0] + 0.5, 3)
    filled = axes.contourf(x, y, logs, levels, cmap="viridis")
    axes.contour(x, y, logs, filled.levels, colors="white", linewidths=0.4)
    axes.set(xscale="log", yscale="log")
    axes.figure.colorbar(filled, ax=axes)


def map_panel(axes: Any, points: Array, labels: Array) -> None:
    """Draw points (n, 2) of the plane coloured by label, each class named at the median of its points."""
    for value, color, mark in zip(np.unique(labels), CLASSES, MARKERS, strict=False):
        x, y = points[labels == value].T
        axes.scatter(x, y, s=11, color=color, marker=mark, linewidths=0, alpha=0.85)
        axes.text(
            *(float(np.median(coordinate)) for coordinate in (x, y)),
            str(value),
            fontsize=19,
            fontweight="bold",
            color=color,
            ha="center",
            va="center",
            path_effects=[withStroke(linewidth=5, foreground="white")],
        )
    axes.set_aspect("equal", adjustable="datalim")
    axes.set(xticks=[], yticks=[])
    for spine in axes.spines.values():
        spine.set_color("#d1d5db")


REGIMES = {"augmentation": "#e8f1fa", "interplay": "#fdf3e7", "architecture": "#eef0f2"}
"""The colour of the band of each regime of a path."""


@default_style
def side_by_side(count: int, draw: Callable[[Any, int], Any]) -> Figure:
    """Make a figure of panels in one row, which ``draw(axes, i)`` fills, i = 0..count-1."""
    figure = Figure(figsize=(1.5 + 5.0 * count, 4.6), layout="constrained")
    FigureCanvasAgg(figure)
    for i in range(count):
        draw(figure.add_subplot(1, count, i + 1), i)
    return figure


def spectrum_over_reg(
    axes: Any,
    regs: Array,
    eigenvalues: Array,
    bands: Sequence[str] | Array = (),
    crossings: Sequence[tuple[float, float]] = (),
) -> None:
    """Draw eigenvalues over reg (logarithmic), a line a component, over bands in colour and under circles.

    Parameters
    ----------
    axes : matplotlib Axes
    regs : (L,)
        Increasing.
    eigenvalues : (L, k)
        What is not finite is left out.
    bands : (L,) of str, optional
        Which of `REGIMES` rules at each reg.  A band ends half way, in the logarithm, to the first reg of the next.
    crossings : sequence of (reg, eigenvalue), optional
        Where circles go.
    """
    edges = np.concatenate([regs[:1], np.sqrt(regs[1:] * regs[:-1]), regs[-1:]])
    names = np.asarray(bands)
    named: list[tuple[float, float, str]] = []
    starts = [0, *(np.flatnonzero(names[1:] != names[:-1]) + 1).tolist()] if len(names) else []
    for start, stop in zip(starts, [*starts[1:], len(regs)], strict=False):
        name = str(names[start])
        axes.axvspan(edges[start], edges[stop], color=REGIMES[name], linewidth=0, zorder=0)
        named.append((float(edges[start]), float(edges[stop]), name))
    for i, line in enumerate(eigenvalues.T):
        shown = np.where(np.isfinite(line), line, np.nan)
        axes.plot(regs, shown, color=CLASSES[i % len(CLASSES)], linewidth=1.6, marker="o", markersize=2.5)
    places = np.reshape(crossings, (-1, 2))
    axes.plot(*places.T, "o", color="black", markersize=9, fillstyle="none", linestyle="none")
    axes.axhline(0.0, color="black", linewidth=0.6)
    axes.set_xscale("log")
    axes.set(xlabel=r"reg $\lambda$", ylabel=r"eigenvalue $\mu_i$", ylim=(-0.6, 1.02))
    axes.set_xlim(*((regs[0], regs[-1]) if len(regs) > 1 else (regs[0] / 2, regs[0] * 2)))
    axes.xaxis.set_major_locator(LogLocator(numticks=9))
    for low, high, name in named:
        name_band(axes, low, high, name, 0.03)
    without_frame(axes)


def name_band(axes: Any, low: float, high: float, name: str, height: float, fontsize: float = 9) -> None:
    """Write the name of a band inside it, upwards where it is too narrow, at a height in shares of the axis.

    To be called when the axes have their limits.  Of a band that is narrower than a line of text nothing is written.
    """
    left, right = (axes.transAxes.inverted().transform(axes.transData.transform((x, 0.0)))[0] for x in (low, high))
    width = (right - left) * axes.get_position().width * axes.figure.get_figwidth() * 72  # points
    lying = 0.62 * fontsize * len(name) < width
    if width > 1.3 * fontsize:
        axes.text(
            0.5 * (left + right),
            height,
            name,
            transform=axes.transAxes,
            rotation=0 if lying else 90,
            ha="center",
            va="bottom" if height < 0.5 else "top",
            fontsize=fontsize,
            color="#4b5563",
            path_effects=[withStroke(linewidth=2.5, foreground="white")],
        )


def png(figure: Figure, dpi: int = 110) -> bytes:
    """Return the figure as a PNG."""
    return rendered(figure, "png", dpi)


@default_style
def rendered(figure: Figure, kind: str, dpi: int = 110) -> bytes:
    """Return the figure as the bytes of a png, pdf or svg: the same ones each time, without a date."""
    undated = {"png": None, "pdf": {"CreationDate": None}, "svg": {"Date": None}}[kind]
    file = io.BytesIO()
    with matplotlib.rc_context({"svg.hashsalt": "sslcore"}):
        figure.savefig(file, format=kind, dpi=dpi, metadata=undated)
    return file.getvalue()


def save(figure: Figure, path: str | os.PathLike[str] | BinaryIO, dpi: int = 110) -> None:
    """Write the figure to a .png, .pdf or .svg file, which appears whole or not at all, or as PNG to an open one."""
    content = rendered(figure, kind_of_file(path) if isinstance(path, str | os.PathLike) else "png", dpi)
    with replacing(path) as file:
        file.write(content)


def kind_of_file(path: str | os.PathLike[str]) -> str:
    """Return which of `KINDS` a path ends in, or refuse it."""
    kind = os.path.splitext(os.fspath(path))[1].lower().removeprefix(".")
    if kind not in KINDS:
        raise ValueError(f"a figure is a .png, .pdf or .svg file, found {path}")
    return kind


def without_frame(axes: Any) -> None:
    """Take away the upper and the right side of the frame."""
    axes.spines[["top", "right"]].set_visible(False)
