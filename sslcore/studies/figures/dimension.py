"""The figure of bias, variance and effective dimension."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ...arrays import Array
from ...plotting.panels import BLUE, GREY, ORANGE, Figure, FigureCanvasAgg, default_style, without_frame

if TYPE_CHECKING:
    from ..dimension import Study

__all__ = ["curves_beside_exact", "figure"]


@default_style
def figure(found: Study) -> Figure:
    """Draw errors over k at some reg, bias and variance over k at the smallest, and dimensions over reg."""
    from ..dimension import standard_error

    drawn = Figure(figsize=(13, 4.5), layout="constrained")
    FigureCanvasAgg(drawn)
    first, second, third = drawn.subplots(1, 3)
    k, last = np.array(found.components), len(found.regs) - 1
    errors, spread = found.errors.mean(axis=2), standard_error(found.errors)
    some = list(dict.fromkeys([0, last // 2, last]))
    curves = {f"reg = {found.regs[i]:.0e}": (errors[i], spread[i], found.exact_errors[i]) for i in some}
    curves_beside_exact(first, k, curves)
    first.set(xlabel="components $k$", ylabel="squared error of the probe", ylim=(0, None))
    first.set_title("error: bias and variance together", fontsize=11)

    names = {"bias": "squared bias", "variance": "variance"}
    curves = {
        label: (found.measured[name][0].mean(axis=1), standard_error(found.measured[name][0]), found.exact[name][0])
        for name, label in names.items()
    }
    curves_beside_exact(second, k, curves)
    second.set(xlabel="components $k$", ylabel="share of the squared error", ylim=(0, None))
    second.set_title(f"apart, at reg = {found.regs[0]:.0e}", fontsize=11)

    names = {"dimension": r"tr $(S + g)^{-1} S$", "squared_dimension": r"tr $(S + g)^{-2} S^2$"}
    curves = {
        label: (
            found.measured[name][:, -1].mean(axis=1),
            standard_error(found.measured[name][:, -1]),
            found.exact[name][:, -1],
        )
        for name, label in names.items()
    }
    curves_beside_exact(third, np.array(found.regs), curves)
    third.set(xlabel=r"reg $\lambda$", ylabel="effective dimension", yscale="log")
    third.set_title(f"dimensions, k = {found.components[-1]}", fontsize=11)
    drawn.suptitle(
        f"the cube, d = 8, {found.n} samples of two views, {found.n_labels} noisy labels; mean of {found.repetitions} "
        "fits, bars: twice the standard error; wide lines: the population",
        fontsize=10,
    )
    return drawn


def curves_beside_exact(axes: Any, x: Array, curves: dict[str, tuple[Array, Array, Array]]) -> None:
    """Draw ``{label: (mean, standard error, exact)}`` over x, which is shown on a logarithmic axis."""
    for (label, (mean, error, exact)), color, marker in zip(curves.items(), (BLUE, ORANGE, GREY), "os^", strict=False):
        axes.plot(x, exact, color=color, linewidth=4, alpha=0.3)
        axes.errorbar(
            x, mean, 2 * error, color=color, marker=marker, markersize=4.5, linewidth=1.3, capsize=2, label=label
        )
    axes.set(xscale="log")
    axes.legend(frameon=False, fontsize=9)
    without_frame(axes)
