"""The figure of the study of the sphere."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ...arrays import Array
from ...plotting.panels import Figure, FigureCanvasAgg, default_style

if TYPE_CHECKING:
    from ..sphere import Study

__all__ = ["figure", "sphere_panel"]


@default_style
def figure(found: Study) -> Figure:
    """Draw the first functions, a row each, at each lambda, and at the last one those of the published script."""
    columns, rows = len(found.lambda_refs) + 1, found.eigenvalues.shape[1]
    drawn = Figure(figsize=(1.85 * columns, 1.08 * rows + 0.9), layout="constrained")
    FigureCanvasAgg(drawn)
    panels = drawn.subplots(rows, columns, squeeze=False, subplot_kw={"projection": "mollweide"})
    for row, i in zip(panels, range(rows), strict=True):
        for axes, mu, functions in zip(row, found.eigenvalues, found.functions, strict=False):
            sphere_panel(axes, functions[:, i].reshape(found.resolution, -1), active=bool(mu[i] > 0))
            axes.set_title(f"{mu[i]:.4g}", fontsize=7.5, pad=2)
        last, share = row[-1], found.outside[-1, i]
        sphere_panel(last, found.published_functions[-1, :, i].reshape(found.resolution, -1))
        outside = ", not in the RKHS" if share > 0.5 else ""
        last.set_title(f"{found.published[-1, i]:.4g}{outside}", fontsize=7.5, pad=2)
        row[0].set_ylabel(f"$f_{{{i + 1}}}$", rotation=0, labelpad=10, va="center")
    for axes, value in zip(panels[0], found.lambda_refs, strict=False):
        name = r"$\lambda_{ref}$ = " + f"{value:g}" + ("\n(augmentation alone)" if value == 0 else "\n")
        axes.set_title(f"{name}\n\n{axes.get_title()}", fontsize=7.5, pad=2)
    last = panels[0, -1]
    heading = f"$\\lambda_{{ref}}$ = {found.lambda_refs[-1]:g},\nby the pseudo-inverse of K"
    last.set_title(f"{heading}\n\n{last.get_title()}", fontsize=7.5, pad=2)
    drawn.supxlabel(
        "eigenfunctions of $T - \\lambda_{ref} K^{-1}$ on the whole sphere (equal-area maps), above each its "
        "eigenvalue; pale: not above 0, zero in the representation",
        fontsize=8,
    )
    return drawn


def sphere_panel(axes: Any, values: Array, *, active: bool = True) -> None:
    """Draw a function on a grid of longitudes, from 0 to 2 pi, and polar angles, from 0 to pi, ends included."""
    around, up = values.shape
    longitude, latitude = np.linspace(-np.pi, np.pi, around), np.pi / 2 - np.linspace(0, np.pi, up)
    size = float(np.abs(values).max()) or 1.0
    levels, most = np.linspace(-size, size, 12), size if active else 4 * size  # an even number: none is at 0
    axes.contourf(longitude, latitude[::-1], values.T[::-1], levels=levels, cmap="PuOr_r", vmin=-most, vmax=most)
    axes.set(xticks=[], yticks=[])
    axes.spines["geo"].set_linewidth(0.4)
