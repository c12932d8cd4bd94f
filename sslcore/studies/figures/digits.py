"""The figure of the study of digits."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ...plotting.panels import (
    BLUE,
    GREY,
    ORANGE,
    Figure,
    FigureCanvasAgg,
    curves_panel,
    default_style,
    images_panel,
    map_panel,
    spectrum_panel,
    without_frame,
)

if TYPE_CHECKING:
    from ..digits import Study


__all__ = ["choice_figure", "digits_figure"]


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
def choice_figure(study: Study) -> Figure:
    """Draw held-out risk beside the error of probes over reg, and errors over numbers of images and labels."""
    assert study.choice is not None
    assert study.curves is not None
    figure = Figure(figsize=(11, 4.4), layout="constrained")
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2)
    found = study.choice.as_dict()
    left.errorbar(found["reg"], found["risk"], 2 * found["risk_standard_error"], color=BLUE, marker="o", capsize=2.5)
    left.axvline(found["reg_by_risk"], color=BLUE, linestyle=":", linewidth=1.2)
    left.set(xscale="log", xlabel=r"reg $\lambda$")
    left.set_ylabel("risk on images held out (no labels)", color=BLUE)
    other = left.twinx()
    other.errorbar(
        found["reg"],
        found["error"],
        2 * found["error_standard_error"],
        color=ORANGE,
        marker="s",
        capsize=2.5,
        linestyle="--",
    )
    other.axvline(found["reg_by_labels"], color=ORANGE, linestyle="--", linewidth=1.2)
    other.set_ylabel(f"error of a probe with {found['n_labels']} labels", color=ORANGE)
    left.set_title("reg chosen without labels, and with; bars: twice the standard error", fontsize=10.5)
    curves = study.curves
    mean, error = curves.mean["zero_one"], curves.standard_error["zero_one"]
    for column, (size, marker) in enumerate(zip(curves.downstream_sizes, "os^", strict=True)):
        right.errorbar(
            curves.pretraining_sizes,
            mean[:, column],
            2 * error[:, column],
            marker=marker,
            color=(BLUE, ORANGE, GREY)[column],
            capsize=2.5,
            label=f"{size} labels",
        )
    right.set(xscale="log", xlabel="images without labels", ylabel="error on other images")
    right.set_xticks(curves.pretraining_sizes, labels=[str(size) for size in curves.pretraining_sizes])
    right.minorticks_off()
    right.legend(frameon=False)
    right.set_title(f"learning curves, {curves.n_repetitions} repetitions; bars: the same", fontsize=10.5)
    without_frame(right)
    return figure
