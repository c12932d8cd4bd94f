"""Augmentations on the cube: which functions diagonalise them, and the eigenvalues of A and of T = A* A.

(A f)(x) = E[f(xi) | x].  "a1 then a2" has A = A1 A2, a mixture A = sum_i w_i A_i; where all are diagonal in one basis,
their eigenvalues multiply and add.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..augmentations import (
    Affine,
    BitFlip,
    Compose,
    Crop,
    Cutout,
    GaussianNoise,
    HorizontalFlip,
    Mixture,
    RandomRotation,
    Resample,
    Reversal,
    Shift,
    SignFlip,
    TangentStep,
)
from ..declarations.registries import ByLaw, has_law, law_of
from .cube_sets import Space

__all__ = ["check_augmentation", "crop_widths", "eigenvalues", "leaves", "moves", "needs"]

ON_PARITIES = (BitFlip, Resample, SignFlip, Crop)


def check_augmentation(augmentation: Any, d: int) -> None:
    """Refuse what has no exact operator on the uniform cube, with the reason."""
    for part in leaves(augmentation):
        if not has_law(part, *ON_PARITIES, Shift, Reversal):
            reason = _REASONS.get(law_of(type(part)), "its law on {-1, 1}^d is not known here")
            raise ValueError(
                f"{part!r} has no closed form on the uniform cube: {reason}; BitFlip, Resample, Crop, Shift, Reversal, "
                f"SignFlip, and Compose and Mixture of them have"
            )
        if has_law(part, Crop) and part.width > d:
            raise ValueError(f"the width of a crop must be at most d = {d}, found {part!r}")
        if has_law(part, Shift) and len(part.law) > d:
            raise ValueError(
                f"the law of Shift must have at most d = {d} shifts, found {len(part.law)}; add up the probabilities "
                f"of shifts that differ by {d}"
            )


_REASONS: dict[type, str] = {
    Cutout: "it fills with a constant, so that views are not uniform on the cube: their law is another one than that "
    "of the kernel's and the parities' (a Crop resamples instead)",
    GaussianNoise: "its views leave the cube; use sslcore.population.Gaussian",
    Affine: "its views leave the cube",
    HorizontalFlip: "it is for images; Reversal turns the order of all coordinates",
    RandomRotation: "its views leave the cube; use sslcore.population.Sphere",
    TangentStep: "its views leave the cube; use sslcore.population.Sphere",
}


def leaves(augmentation: Any) -> list[Any]:
    """List the parts of all compositions and mixtures."""
    if has_law(augmentation, Compose) or has_law(augmentation, Mixture):
        return [leaf for part in augmentation.parts for leaf in leaves(part)]
    return [augmentation]


def needs(augmentation: Any) -> str:
    """Say what diagonalises it: "parities", "orbits" (Fourier functions of shifts) or "blocks" (none known)."""
    parts = leaves(augmentation)
    shifts = any(has_law(a, Shift) and a.law[0] != 1.0 for a in parts)
    reversals = any(has_law(a, Reversal) and a.p > 0 for a in parts)
    fixed = any(has_law(a, Crop) and not a.cyclic for a in parts)
    if reversals or (shifts and fixed):
        return "blocks"
    return "orbits" if shifts else "parities"


def moves(augmentation: Any) -> tuple[bool, bool]:
    """Tell whether shifts, and whether reversals, move the sets of an orbit."""
    parts = leaves(augmentation)
    return any(has_law(a, Shift) for a in parts), any(has_law(a, Reversal) for a in parts)


def crop_widths(augmentation: Any) -> set[tuple[int, bool]]:
    """Collect (width, cyclic) of all crops."""
    return {(a.width, a.cyclic) for a in leaves(augmentation) if has_law(a, Crop)}


@ByLaw
def eigenvalues(augmentation: Any, space: Space) -> np.ndarray:
    """Return the eigenvalue of A on each function of ``space``, real or complex."""
    raise TypeError(f"{augmentation!r} is not diagonal here")


@eigenvalues.register(BitFlip)
def _(augmentation: BitFlip, space: Space) -> np.ndarray:
    out: np.ndarray = ((1.0 - 2.0 * augmentation.p) ** np.arange(space.d + 1))[space.sizes]
    return out


@eigenvalues.register(Resample)
def _(augmentation: Resample, space: Space) -> np.ndarray:
    out: np.ndarray = ((1.0 - augmentation.p) ** np.arange(space.d + 1))[space.sizes]
    return out


@eigenvalues.register(SignFlip)
def _(augmentation: SignFlip, space: Space) -> np.ndarray:
    out: np.ndarray = np.where(np.arange(space.d + 1) % 2 == 0, 1.0, 1.0 - 2.0 * augmentation.p)[space.sizes]
    return out


@eigenvalues.register(Crop)
def _(augmentation: Crop, space: Space) -> np.ndarray:
    starts = space.d if augmentation.cyclic else space.d - augmentation.width + 1
    out: np.ndarray = (np.arange(starts + 1) / starts)[space.windows(augmentation.width, augmentation.cyclic)]
    return out


@eigenvalues.register(Shift)
def _(augmentation: Shift, space: Space) -> np.ndarray:
    return np.ones(len(space.sizes)) if augmentation.law[0] == 1.0 else space.character(augmentation.law)


@eigenvalues.register(Reversal)
def _(augmentation: Reversal, space: Space) -> np.ndarray:
    if augmentation.p > 0:
        raise TypeError(f"{augmentation!r} is not diagonal here")
    return np.ones(len(space.sizes))


@eigenvalues.register(Compose)
def _(augmentation: Compose, space: Space) -> np.ndarray:
    value = eigenvalues(augmentation.parts[0], space)
    for part in augmentation.parts[1:]:
        value = value * eigenvalues(part, space)
    return value


@eigenvalues.register(Mixture)
def _(augmentation: Mixture, space: Space) -> np.ndarray:
    parts = zip(augmentation.weights, augmentation.parts, strict=True)
    return sum((w * eigenvalues(part, space) for w, part in parts), np.zeros(len(space.sizes)))
