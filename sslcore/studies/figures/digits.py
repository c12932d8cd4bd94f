"""The figure of the study of digits."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ...plotting.panels import (
    Figure,
    FigureCanvasAgg,
    curves_panel,
    default_style,
    images_panel,
    map_panel,
    spectrum_panel,
)

if TYPE_CHECKING:
    from ..digits import Study


__all__ = ["digits_figure"]


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
