"""The figure of the downstream trade-off."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ...arrays import Array
from ...plotting.panels import BLUE, GREY, ORANGE, Figure, FigureCanvasAgg, default_style, without_frame

if TYPE_CHECKING:
    from ..downstream import Study

__all__ = ["errors_panel", "figure"]

STYLES = {"true": ("all pairs of views", BLUE, "o", 7.0), "published": ("diagonal left out", ORANGE, "s", 3.5)}
"""Name, colour, marker and its size: where both agree, both are seen."""


@default_style
def figure(found: Study) -> Figure:
    """Draw the error over lambda, a panel for each target, and the number of active components."""
    from ..downstream import N_COMPONENTS, TARGETS, D

    drawn = Figure(figsize=(13, 4.6), layout="constrained")
    FigureCanvasAgg(drawn)
    panels: Any = drawn.subplots(1, 3, width_ratios=(1.25, 1.25, 1))
    regs = np.array(found.lambda_refs)
    for t, (target, axes) in enumerate(zip(TARGETS, panels, strict=False)):
        curves = {
            operator: (
                found.mean(operator, "validation")[t],
                found.standard_error(operator, "validation")[t],
                found.mean(operator, "test")[t],
                (found.lines[operator][0], found.lines[operator][1][t]),
            )
            for operator in STYLES
        }
        errors_panel(axes, regs, curves)
        axes.set_title(f"target of degree {target.degree}, {target.name} under shifts", fontsize=11)
        if t == 0:
            axes.legend(frameon=False, loc="upper left", fontsize=8.5)
    axes = panels[-1]
    for operator, (label, color, marker, size) in STYLES.items():
        axes.plot(
            regs,
            found.active[operator].mean(axis=1),
            marker + "-",
            color=color,
            markersize=size,
            linewidth=1.4,
            label=label,
        )
        fine, _, count = found.lines[operator]
        axes.plot(fine, count, color=color, linewidth=3.5, alpha=0.3)
    axes.set(xscale="log", xlabel=r"$\lambda_{ref}$", ylim=(0, None), yticks=range(0, N_COMPONENTS + 1, 4))
    axes.set_title(r"active components ($\mu_i > 0$)", fontsize=11)
    axes.legend(frameon=False, loc="lower left", fontsize=8.5, title="T", title_fontsize=8.5)
    without_frame(axes)
    drawn.suptitle(
        rf"$S^{{{D - 1}}}$, {found.n[0]} points and their shifts by $\pm 1$; mean of {found.repetitions} draws, bars: "
        "twice the standard error; wide lines: infinitely many points",
        fontsize=10,
    )
    return drawn


def errors_panel(axes: Any, regs: Array, curves: dict[str, tuple[Array, Array, Array, tuple[Array, Array]]]) -> None:
    """Draw, for each T, (mean, its standard error, mean by the test points' own ridge) over lambda, and a line."""
    for operator, (mean, error, flattered, exact) in curves.items():
        label, color, marker, size = STYLES[operator]
        axes.plot(*exact, color=color, linewidth=3.5, alpha=0.3)
        axes.errorbar(
            regs, mean, 2 * error, fmt=marker + "-", color=color, markersize=size, linewidth=1.4, capsize=2, label=label
        )
        own = "ridge chosen on the test points" if operator == "published" else None
        axes.plot(regs, flattered, color=GREY, linewidth=1.0, linestyle="--", zorder=5, label=own)
    axes.set(xscale="log", xlabel=r"$\lambda_{ref}$", ylim=(-0.03, None))
    axes.set_ylabel("squared error / mean square of the target")
    without_frame(axes)
