"""A library with sslcore as its backend: kernel mean embeddings, gradients in a loop, the best head for features."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

import sslcore
from sslcore.features import Identity
from sslcore.gram import gram, kernel_product
from sslcore.kernels import Gaussian, Kernel

Floats = npt.NDArray[np.float64]


def mean_embedding(kernel: Kernel, x: Floats, at: Floats) -> Floats:
    """Evaluate the mean of k(x_i, .) at points; the kernel matrix is never stored."""
    return np.asarray(kernel_product(kernel, at, x, np.full(len(x), 1 / len(x))))


def median_gram(batches: Iterable[Floats], kernel: Kernel) -> list[float]:
    """Take the median value of each batch's Gram matrix; batches of one size share its memory."""
    out: sslcore.arrays.Array | None = None
    found = []
    for batch in batches:
        if out is None or len(out) != len(batch):
            out = np.empty((len(batch), len(batch)))
        found.append(float(np.median(gram(kernel, batch, out=out))))
    return found


def descend(z: Floats, steps: int, rate: float) -> list[float]:
    """Lower the VICReg risk of an embedding (n, m, k) in place; all steps share the memory of one gradient."""
    gradient: sslcore.arrays.Array = np.empty_like(z)
    risks = []
    for _ in range(steps):
        value, gradient = sslcore.risk.vicreg(z, return_grad=True, out=gradient)
        risks.append(value)
        z -= rate * gradient
    return risks


def embed(rep: sslcore.Representation, batches: Iterable[Floats]) -> list[float]:
    """Take the mean of the first component over batches of one size, whose values share their memory."""
    out: sslcore.arrays.Array | None = None
    found = []
    for batch in batches:
        out = rep.transform(batch, out=out)
        found.append(float(out[:, 0].mean()))
    return found


def best_head(parts: Iterable[Floats], k: int, memory: str = "1GB") -> sslcore.Representation:
    """Fit the best linear head of k outputs to parts (n, m, r) of views' features; refuse what has no room."""
    moments = sslcore.Moments(Identity())
    for part in parts:
        n, m, r = part.shape
        sslcore.plan(n, m, r, Identity(), k, memory=memory)
        moments.update(part)
    return moments.solve(k, reg=1e-3, center=True)


if __name__ == "__main__":
    rng = np.random.default_rng(0)
    x = rng.normal(size=(200, 3))
    assert mean_embedding(Gaussian(1.0), x, x[:5]).shape == (5,)
    assert len(median_gram([x, 2 * x], Gaussian(1.0))) == 2
    first, last = descend(rng.normal(size=(100, 2, 4)), 20, 1.0)[::19]
    assert last < first
    head = best_head([rng.normal(size=(50, 2, 8)) for _ in range(3)], 4)
    assert len(embed(head, [rng.normal(size=(50, 8)) for _ in range(3)])) == 3
