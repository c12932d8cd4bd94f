"""The figure of the study of networks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ...arrays import Array
from ...plotting.panels import BLUE, ORANGE, Figure, FigureCanvasAgg, default_style, without_frame

if TYPE_CHECKING:
    from ..networks import Study

__all__ = ["errors_panel", "figure"]


@default_style
def figure(found: Study) -> Figure:
    """Draw errors along training, beside those of the closed form along lambda, which decreases to the right."""
    from ..downstream import TARGETS

    drawn = Figure(figsize=(11, 4.6), layout="constrained")
    FigureCanvasAgg(drawn)
    left, right = drawn.subplots(1, 2, sharey=True)
    names = [target.name for target in TARGETS]
    errors_panel(left, found.epochs, found.mean("trained"), found.standard_error("trained"), names)
    left.set(xlabel="epoch", ylabel="squared error of the probe / mean square of the target")
    left.set_xscale("symlog", linthresh=10)
    left.set_title(
        f"{found.repetitions} networks, trained by gradient descent; bands: twice the standard error", fontsize=10
    )
    errors_panel(right, np.array(found.regs), found.mean("exact"), found.standard_error("exact"), names)
    for t, color in enumerate((BLUE, ORANGE)):
        label = "T of pairs of different\nviews, as published" if t == 0 else None
        right.plot(found.regs, found.mean("published")[t], ":", color=color, linewidth=1.6, label=label)
    right.legend(frameon=False, fontsize=8.5)
    right.set(xscale="log", xlabel=r"reg $\lambda$, decreasing")
    right.invert_xaxis()
    right.set_title("the closed form, kernel of wide networks", fontsize=10)
    left.set_ylim(0.0, 1.1 * max(1.0, float(np.nanmax(found.mean("trained")))))
    left.legend(frameon=False, title="target")
    return drawn


def errors_panel(axes: Any, x: Array, mean: Array, error: Array, names: Sequence[str]) -> None:
    """Draw errors (t, len(x)) over x, with bands of twice the standard error."""
    for t, (name, color, style) in enumerate(zip(names, (BLUE, ORANGE), ("-", "--"), strict=True)):
        axes.plot(x, mean[t], style, color=color, linewidth=1.8, label=name)
        if not np.isnan(error[t]).any():
            axes.fill_between(x, mean[t] - 2 * error[t], mean[t] + 2 * error[t], color=color, alpha=0.2, linewidth=0)
    axes.grid(color="#e5e7eb", linewidth=0.6)
    without_frame(axes)
