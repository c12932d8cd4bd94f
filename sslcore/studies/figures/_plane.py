"""Panels of functions over the plane, and of what they cost."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...arrays import Array
from ...plotting.panels import BLUE, ORANGE, MaxNLocator, without_frame

__all__ = ["costs_panel", "plane_functions"]


def costs_panel(axes: Any, invariance: Array, norm: Array) -> None:
    """Draw the two parts of 1 - mu_i as bars on each other."""
    index = np.arange(1, len(norm) + 1)
    invariance, norm = (np.where(np.isfinite(part), part, 0.0) for part in (invariance, norm))
    axes.bar(index, invariance, color=ORANGE, width=0.7, label=r"invariance, $\beta\,\langle f_i, (I - T) f_i\rangle$")
    axes.bar(index, norm, bottom=invariance, color=BLUE, width=0.7, label=r"norm, $\lambda\,\|f_i\|^2$")
    axes.axhline(1.0, color="black", linewidth=0.6)  # beyond, a component is not active
    axes.set(xlabel="component $i$", ylim=(0.0, min(1.6, 1.35 * float((invariance + norm).max()))))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.legend(frameon=False, loc="upper left", fontsize=9)
    without_frame(axes)


def plane_functions(rep: Any, points: Array, steps: int = 120) -> tuple[Array, Array, Array]:
    """Return unit eigenfunctions (steps, steps, k) on a grid around points of the plane, and the grid's two axes."""
    low, high = points.min(axis=0), points.max(axis=0)
    margin = 0.12 * (high - low).max()
    first, second = (np.linspace(a - margin, b + margin, steps) for a, b in zip(low, high, strict=True))
    mesh = np.stack(np.meshgrid(first, second), axis=-1).reshape(-1, 2)
    dtype = rep.coefficients.dtype
    return (
        first,
        second,
        np.asarray(rep.to("numba").transform(mesh.astype(dtype), scale="unit")).reshape(steps, steps, -1),
    )
