"""The figure of fits beside the exact population."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...plotting.panels import (
    BLUE,
    GREY,
    ORANGE,
    Figure,
    FigureCanvasAgg,
    FormatStrFormatter,
    LogLocator,
    default_style,
    without_frame,
)

if TYPE_CHECKING:
    from .. import convergence


__all__ = ["convergence_figure"]


@default_style
def convergence_figure(study: convergence.Study) -> Figure:
    """Draw errors of fits against the exact population, a column for each domain, with fitted rates."""
    from ..convergence import MEASURES

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
