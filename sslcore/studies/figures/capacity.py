"""The figure of the study of capacity."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ...arrays import Array
from ...plotting.panels import (
    BLUE,
    ORANGE,
    Figure,
    FigureCanvasAgg,
    contours_panel,
    default_style,
    without_frame,
)
from ._plane import plane_functions

if TYPE_CHECKING:
    from ..capacity import Study

__all__ = ["figure", "risks_panel"]


@default_style
def figure(found: Study) -> Figure:
    """Draw the first functions at some lambdas, a row each, and the two risks over lambda."""
    drawn = Figure(figsize=(13, 1.95 * len(found.shown) + 0.6), layout="constrained")
    FigureCanvasAgg(drawn)
    halves: Any = drawn.subfigures(1, 2, width_ratios=(1.6, 1))
    left, right = halves
    points = np.asarray(found.views.x)
    columns = found.shown[0][1].n_components
    for row, (value, rep) in zip(left.subplots(len(found.shown), columns, squeeze=False), found.shown, strict=True):
        first, second, functions = plane_functions(rep, points)
        for i, axes in enumerate(row):
            contours_panel(axes, first, second, functions, i, points)
            axes.set_title(rf"$f_{{{i + 1}}}$,  $1 - \mu$ = {rep.gamma[i]:.1e}", fontsize=8.5)
        row[0].set_ylabel(rf"$\lambda_{{ref}}$ = {value:g}")
    risks = {name: (found.mean(name), found.standard_error(name)) for name in ("training", "held_out")}
    axes = right.subplots()
    risks_panel(axes, np.array(found.lambda_refs), risks["training"], risks["held_out"])
    for value, _ in found.shown:
        axes.axvline(value, color="black", linewidth=0.6, linestyle=":", zorder=0)
    axes.set_title(f"mean of {found.repetitions} draws; bars: twice the standard error", fontsize=10)
    return drawn


def risks_panel(axes: Any, regs: Array, training: tuple[Array, Array], fresh: tuple[Array, Array]) -> None:
    """Draw both risks, (mean, standard error) each, over the weight of the norm."""
    styles = {
        "on the views that were fitted": (training, ORANGE, "s--"),
        "on fresh samples": (fresh, BLUE, "o-"),
    }
    for label, ((mean, error), color, style) in styles.items():
        axes.errorbar(regs, mean, 2 * error, fmt=style, color=color, markersize=4.5, linewidth=1.5, label=label)
    axes.set(xscale="log", xlabel=r"weight of the norm, $\lambda_{ref}$", ylabel=r"risk ($\beta$ = 1/2)")
    top = float(np.max(fresh[0][: (len(regs) + 1) // 2] + 3 * fresh[1][: (len(regs) + 1) // 2]))  # collapse goes beyond
    axes.set_ylim(-0.04 * top, 1.15 * top)
    axes.legend(frameon=False, loc="upper left")
    without_frame(axes)
