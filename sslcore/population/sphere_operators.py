"""Augmentations on the sphere: the eigenvalues of A on harmonics, and bounds of those of all higher degrees."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from ..augmentations import Compose, Mixture, RandomRotation, Shift, SignFlip, TangentStep
from ..declarations.registries import has_law
from .laws import HeatKernel
from .zonal import angles, legendre, rotation_eigenvalues

__all__ = ["Operator"]


class Operator:
    """A on degrees (and characters): ``values(L)`` is (L + 1, 1) or (L + 1, d), ``bound(l)`` bounds |A| from l on."""

    def __init__(
        self, values: Callable[[int], np.ndarray], bound: Callable[[int], float], by_character: bool = False
    ) -> None:
        self.values, self.bound, self.by_character = values, bound, by_character

    @classmethod
    def of(cls, augmentation: Any, d: int) -> Operator:
        """Return the operator of an augmentation on the sphere of R^d, or refuse one without a closed form."""
        if has_law(augmentation, Compose):
            parts = [cls.of(part, d) for part in augmentation.parts]
            return cls(
                lambda degree: math.prod((part.values(degree) for part in parts), start=np.ones((1, 1))),
                lambda degree: math.prod(part.bound(degree) for part in parts),
                any(part.by_character for part in parts),
            )
        if has_law(augmentation, HeatKernel):
            t = augmentation.time
            return cls(
                lambda degree: _column([math.exp(-t * n * (n + d - 2)) for n in range(degree + 1)]),
                lambda degree: math.exp(-t * degree * (degree + d - 2)),
            )
        if has_law(augmentation, TangentStep):
            return cls(
                lambda degree: legendre(d, degree, np.array([math.cos(augmentation.angle)])),
                lambda degree: float(_envelope(np.array([augmentation.angle]), d, degree)[0]),
            )
        if has_law(augmentation, RandomRotation):
            return cls(
                lambda degree: _column(rotation_eigenvalues(augmentation.angle, d, degree)),
                lambda degree: _rotation_bound(augmentation.angle, d, degree),
            )
        if has_law(augmentation, Mixture):
            parts = [cls.of(part, d) for part in augmentation.parts]
            weights = augmentation.weights
            return cls(
                lambda degree: sum(
                    (w * p.values(degree) for w, p in zip(weights, parts, strict=True)), np.zeros((1, 1))
                ),
                lambda degree: math.fsum(w * part.bound(degree) for w, part in zip(weights, parts, strict=True)),
                any(part.by_character for part in parts),
            )
        if has_law(augmentation, Shift):
            augmentation._check_coordinates(d)
            # a shift by a moves the function exp(2 pi i w j / d) by exp(-2 pi i a w / d)
            phases = np.fft.fft(augmentation.law, n=d)[None]
            return cls(lambda degree: np.broadcast_to(phases, (degree + 1, d)), lambda degree: 1.0, True)
        if has_law(augmentation, SignFlip):
            return cls(
                lambda degree: _column([1.0 - 2.0 * augmentation.p * (n % 2) for n in range(degree + 1)]),
                lambda degree: 1.0,
            )
        raise TypeError(
            f"on the sphere, TangentStep, RandomRotation, Shift, SignFlip, HeatKernel, Compose and Mixture have closed "
            f"forms, found {augmentation!r}"
        )


def _column(values: Any) -> np.ndarray:
    return np.asarray(values, float)[:, None]


def _envelope(angle: np.ndarray, d: int, degree: int) -> np.ndarray:
    """Return a bound of |P_l(cos angle)| for every l >= degree, decreasing in the degree.

    Laplace's integral P_l(cos t) = E (cos t + i u sin t)^l, u a coordinate of a uniform point of S^(d-2), and the
    modulus inside, (cos^2 t + u^2 sin^2 t)^(l/2).
    """
    if d == 2:
        return np.ones_like(angle)
    theta, weight = angles(d - 1, 8)
    base = np.cos(angle)[:, None] ** 2 + (np.sin(angle)[:, None] * np.cos(theta)) ** 2
    out: np.ndarray = np.minimum(1.0, (base ** (degree / 2) @ weight) * (1 + 1e-9))
    return out


def _rotation_bound(angle: float, d: int, degree: int) -> float:
    """Bound |A| in the same way for a random plane, where x moves by s: cos s = 1 - (1 - cos t) r^2.

    r is the length of x's projection to the plane, r^2 ~ Beta(1, d/2 - 1).
    """
    if d == 2:
        return 1.0
    v = (np.arange(512) + 0.5) / 512
    square = 1.0 - v ** (2.0 / (d - 2))
    steps = np.arccos(1.0 - (1.0 - math.cos(angle)) * square)
    return min(1.0, float(_envelope(steps, d, degree).mean()) * (1 + 1e-2))
