"""The figure of the study of rates."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from ...arrays import Array
from ...plotting.panels import BLUE, GREY, ORANGE, Figure, FigureCanvasAgg, default_style, without_frame

if TYPE_CHECKING:
    from ..rates import Study

__all__ = ["errors_panel", "figure"]

STYLES = tuple(zip((BLUE, ORANGE, GREY), ("o-", "s--", "^:"), strict=True))


@default_style
def figure(found: Study) -> Figure:
    """Draw errors over n for the least, the middle and the largest m, and over m at fixed numbers of views.

    At a fixed reg dotted lines are the limit of theory, which nothing was fitted to.
    """
    drawn = Figure(figsize=(14, 7.2), layout="constrained")
    FigureCanvasAgg(drawn)
    axes = drawn.subplots(2, 3)
    titles = {
        "fixed": "fixed reg, penalised; dotted: limit by theory",
        "tuned": "tuned reg",
        "shrinking": r"reg $\propto n^{-1/2}$",
    }
    budgets = found.budgets()
    some = [budgets[i] for i in sorted({0, len(budgets) // 2, len(budgets) - 1})]
    shown = sorted({0, len(found.m) // 2, len(found.m) - 1})
    for column, (way, title) in enumerate(titles.items()):
        mean, error = found.mean(way), found.standard_error(way)
        curves = {f"m = {found.m[i]}:  $n^{{-{found.slope(way, i).value:.2f}}}$": (mean[i], error[i]) for i in shown}
        errors_panel(axes[0, column], np.array(found.n), curves)
        axes[0, column].axvspan(found.n[0] * 0.8, found.n[found.first] * 0.75, color="#f3f4f6", zorder=0)
        axes[0, column].set(xlabel="samples $n$", ylabel="excess risk, $\\pm 2$ standard errors", title=title)
        over = {}
        for budget in some:
            values = found.at_budget(way, budget)
            spread = (
                values.std(axis=1, ddof=1) / values.shape[1] ** 0.5 if values.shape[1] > 1 else np.zeros(len(values))
            )
            over[f"$n\\,m$ = {budget:,}"] = (values.mean(axis=1), spread)
        errors_panel(axes[1, column], np.array(found.m), over)
        if way == "fixed":
            n, m = np.array(found.n), np.linspace(found.m[0], found.m[-1], 200)
            lines = [(found.limit.at(found.m[i]) / n, color) for i, (color, _) in zip(shown, STYLES, strict=False)]
            for values, color in lines:
                axes[0, 0].plot(n, values, ":", color=color, linewidth=1.2, zorder=1)
            for budget, (color, _) in zip(some, STYLES, strict=False):
                axes[1, 0].plot(m, m * found.limit.at(m) / budget, ":", color=color, linewidth=1.2, zorder=1)
        axes[1, column].set(xlabel="views of each sample $m$, with $n\\,m$ fixed", ylabel="excess risk")
        axes[1, column].set_xticks(found.m, labels=[str(m) for m in found.m])
    return drawn


def errors_panel(axes: Any, x: Array, curves: Mapping[str, tuple[Array, Array]]) -> None:
    """Draw ``{label: (mean, standard error)}`` over x, both axes logarithmic; bars are twice the standard error."""
    for (label, (mean, error)), (color, style) in zip(curves.items(), STYLES, strict=False):
        bars = None if np.isnan(error).any() else np.minimum(2 * error, 0.9 * np.abs(mean))
        axes.errorbar(x, mean, bars, fmt=style, color=color, markersize=4.5, linewidth=1.5, capsize=2, label=label)
    axes.set(xscale="log", yscale="log")
    axes.minorticks_off()
    axes.grid(color="#e5e7eb", linewidth=0.6)
    axes.legend(frameon=False, fontsize=9)
    without_frame(axes)
