"""Fitted representations as sums of kernel functions: what the exact population risk is computed from.

For ``psi_i = sum_a W_ai k(., c_a) + b_i`` both moments are quadratic forms: with ``G = (<k(., c_a), k(., c_b)>)``,
``G_T = (<k(., c_a), T k(., c_b)>)`` and ``e = (E k(xi, c_a))``,

    ``E psi psi^T = W^T G W + W^T e b^T + b e^T W + b b^T``,    and ``<psi, T psi>`` the same with G_T (T 1 = 1).

A domain provides G, G_T and e in closed form: no sample is drawn, and nothing of the size of the domain is made.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, NamedTuple

import numpy as np

from ..arrays import on_host
from ..fitting.representation import Representation
from ..kernels import Kernel, Precomputed
from .base import Domain

__all__ = ["Expansion", "FittedDomain", "expansion", "require_raw"]


class Expansion(NamedTuple):
    """psi = W^T k(centres, .) + b, in float64 on the host."""

    kernel: Kernel
    centres: np.ndarray  # (N, d)
    weights: np.ndarray  # (N, k)
    intercept: np.ndarray  # (k,)


def expansion(representation: Any, d: int) -> Expansion:
    """Return the parts of a fitted kernel representation of points (n, d), or say in an error what to do instead."""
    if not isinstance(representation, Representation):
        raise TypeError(
            f"a fitted representation (sslcore.pretrain) was expected, found {type(representation).__name__}"
        )
    model = representation.model
    if not isinstance(model, Kernel) or isinstance(model, Precomputed) or representation.centres is None:
        raise TypeError(
            f"the exact population risk needs a representation fitted with a kernel of points, found "
            f"{type(model).__name__}; evaluate others on fresh views with sslcore.risk.vicreg(z, unbiased=True)"
        )
    require_raw(representation)
    centres = on_host(representation.centres).astype(np.float64)
    if centres.shape[1] != d:
        raise ValueError(f"the representation was fitted to points of {centres.shape[1]} coordinates, not {d}")
    scale = np.sqrt(np.maximum(representation.eigenvalues, 0.0))
    weights = on_host(representation.coefficients).astype(np.float64) * scale
    return Expansion(model, centres, weights, on_host(representation.intercept).astype(np.float64) * scale)


def require_raw(representation: Representation) -> None:
    """Refuse a representation that standardises its points: a domain is where points lie as they are."""
    if representation.standardization is not None:
        raise ValueError(
            "the representation standardises its points, and a population is of points as they are: take "
            "rep.of_standardized() if the domain is that of standardised points"
        )


class FittedDomain(Domain):
    """A domain that gives the three Gram matrices, and so the exact risks of fitted representations."""

    @abstractmethod
    def _grams(self, kernel: Kernel, augmentation: Any, centres: np.ndarray) -> tuple[Any, Any, Any]:
        """Return G (N, N), G_T (N, N) and e (N,) of the module's docstring."""

    def moments(self, psi: Any, augmentation: Any) -> tuple[np.ndarray, np.ndarray]:
        """Return E psi psi^T and <psi, T psi>, both (k, k), of a representation fitted with a kernel of this domain.

        Parameters
        ----------
        psi : Representation
            Of `sslcore.pretrain` with a kernel that the domain knows; its centres are points of the domain.
        augmentation
            The law of the views; it need not be the one that the representation was fitted to.

        Notes
        -----
        Nothing is sampled.  Exact up to rounding, which the size of the coefficients W magnifies: the absolute error is
        about eps |W|^2 |G|, 1e-9 at the usual penalties.
        """
        kernel, centres, weights, intercept = expansion(psi, self.d)  # type: ignore[attr-defined]
        gram, smooth, mean = self._grams(kernel, augmentation, centres)
        cross = np.outer(weights.T @ mean, intercept)
        constant = cross + cross.T + np.outer(intercept, intercept)
        return weights.T @ gram @ weights + constant, weights.T @ smooth @ weights + constant
