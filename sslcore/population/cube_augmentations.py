"""Augmentations on the cube: which functions diagonalise them, and the eigenvalues of A and of T = A* A.

(A f)(x) = E[f(xi) | x].  "a1 then a2" has A = A1 A2, a mixture A = sum_i w_i A_i; where all are diagonal in one basis,
their eigenvalues multiply and add.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .cube_sets import Space

__all__ = ["check_augmentation", "crop_widths", "eigenvalues", "leaves", "needs"]

ON_PARITIES = ("BitFlip", "Resample", "SignFlip", "Crop")


def check_augmentation(augmentation: Any, d: int) -> None:
    """Refuse what has no exact operator on the uniform cube, with the reason."""
    for part in leaves(augmentation):
        name = type(part).__name__
        if name not in (*ON_PARITIES, "Shift", "Reversal"):
            reason = _REASONS.get(name, "its law on {-1, 1}^d is not known here")
            raise ValueError(
                f"{part!r} has no closed form on the uniform cube: {reason}; BitFlip, Resample, Crop, Shift, Reversal, "
                f"SignFlip, and Compose and Mixture of them have"
            )
        if name == "Crop" and part.width > d:
            raise ValueError(f"the width of a crop must be at most d = {d}, found {part!r}")
        if name == "Shift" and len(part.law) > d:
            raise ValueError(
                f"the law of Shift must have at most d = {d} shifts, found {len(part.law)}; add up the probabilities "
                "of "
                f"shifts that differ by {d}"
            )


_REASONS = {
    "Cutout": "it fills with a constant, so that views are not uniform on the cube: their law is another one than "
    "that of "
    "the kernel's and the parities' (a Crop resamples instead)",
    "GaussianNoise": "its views leave the cube; use sslcore.population.Gaussian",
    "Affine": "its views leave the cube",
    "HorizontalFlip": "it is for images; Reversal turns the order of all coordinates",
    "RandomRotation": "its views leave the cube; use sslcore.population.Sphere",
    "TangentStep": "its views leave the cube; use sslcore.population.Sphere",
}


def leaves(augmentation: Any) -> list[Any]:
    """The parts of all compositions and mixtures."""
    if type(augmentation).__name__ in ("Compose", "Mixture"):
        return [leaf for part in augmentation.parts for leaf in leaves(part)]
    return [augmentation]


def needs(augmentation: Any) -> str:
    """What diagonalises it: "parities", "orbits" (Fourier functions on orbits of shifts) or "blocks" (none known)."""
    parts = leaves(augmentation)
    shifts = any(type(a).__name__ == "Shift" and a.law[0] != 1.0 for a in parts)
    reversals = any(type(a).__name__ == "Reversal" and a.p > 0 for a in parts)
    fixed = any(type(a).__name__ == "Crop" and not a.cyclic for a in parts)
    if reversals or (shifts and fixed):
        return "blocks"
    return "orbits" if shifts else "parities"


def crop_widths(augmentation: Any) -> set[tuple[int, bool]]:
    """(width, cyclic) of all crops."""
    return {(a.width, a.cyclic) for a in leaves(augmentation) if type(a).__name__ == "Crop"}


def eigenvalues(augmentation: Any, space: Space) -> np.ndarray:
    """The eigenvalue of A on each function of ``space``, real or complex."""
    name, d = type(augmentation).__name__, space.d
    powers = np.arange(d + 1)
    if name == "BitFlip":
        return ((1.0 - 2.0 * augmentation.p) ** powers)[space.sizes]
    if name == "Resample":
        return ((1.0 - augmentation.p) ** powers)[space.sizes]
    if name == "SignFlip":
        return np.where(powers % 2 == 0, 1.0, 1.0 - 2.0 * augmentation.p)[space.sizes]
    if name == "Crop":
        starts = d if augmentation.cyclic else d - augmentation.width + 1
        return (np.arange(starts + 1) / starts)[space.windows(augmentation.width, augmentation.cyclic)]
    if name == "Shift":
        return np.ones(len(space.sizes)) if augmentation.law[0] == 1.0 else space.character(augmentation.law)
    if name == "Reversal" and augmentation.p == 0:
        return np.ones(len(space.sizes))
    if name == "Compose":
        value = eigenvalues(augmentation.parts[0], space)
        for part in augmentation.parts[1:]:
            value = value * eigenvalues(part, space)
        return value
    if name == "Mixture":
        parts = zip(augmentation.weights, augmentation.parts, strict=True)
        return sum(w * eigenvalues(part, space) for w, part in parts)
    raise TypeError(f"{augmentation!r} is not diagonal here")
