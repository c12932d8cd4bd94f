"""Feature solver on 10^6 views that are made when needed, beside the block products that it cannot avoid.

The bare products, block by block with the solver's own block size: X Z^T (rows x d x r), a triangular solve
(rows x r x r) and one symmetric rank-k update (rows x r), all with the BLAS the solver uses and in memory that is there
already: no views, no exponential, no rotation.  Solver and bare products run over the same number of blocks.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.linalg as sl
from scipy.linalg import blas

import sslcore
from sslcore.fitting.plan import feature_rows

from . import rates
from .memory import peak_rise
from .problems import matched_basis_error
from .report import Row, require
from .timing import Task, measure

D, R, K, REG, SCALE = 32, 1024, 16, 1e-4, 8.0


def views(n: int) -> Any:
    """Return n samples from 32 clusters in 32 dimensions, two views with noise 0.1 each, never stored."""
    rng = np.random.default_rng(0)
    x = 2 * rng.standard_normal((32, D))[rng.integers(0, 32, n)]
    x += rng.standard_normal((n, D))
    return sslcore.Views(x, sslcore.augmentations.GaussianNoise(0.1), 2, seed=0)


def model(r: int = R) -> Any:
    """Uniform landmarks, Gaussian kernel."""
    return sslcore.features.Nystrom(sslcore.kernels.Gaussian(SCALE), r, seed=0)


def fit(data: Any, r: int = R, k: int = K) -> Any:
    return sslcore.pretrain(data, model(r), k, reg=REG)


def check(n: int = 1000, r: int = 200) -> dict[str, float]:
    """Compare a subset with a dense computation: all features at once, another whitening, all eigenpairs."""
    data = views(n)
    rep = fit(data, r, 8)
    xi = np.asarray(data)
    z = rep.model.landmarks

    def kernel(x: np.ndarray) -> np.ndarray:
        squared = ((x[:, None] - z[None]) ** 2).sum(axis=2)
        return np.exp(-squared / (2 * SCALE**2))

    values, vectors = sl.eigh(kernel(z))
    phi = np.stack([kernel(xi[:, view]) @ (vectors / np.sqrt(values)) for view in range(2)], axis=1)
    sigma = np.einsum("nvi,nvj->ij", phi, phi) / (2 * n)
    difference = phi[:, 0] - phi[:, 1]
    delta = difference.T @ difference / (2 * n)  # unbiased: half the mean squared difference
    gamma, c = sl.eigh(delta + REG * np.eye(r), sigma)
    functions = (phi @ c[:, :8]).reshape(2 * n, 8)
    return {
        "gamma": float(np.abs(rep.gamma / gamma[:8] - 1).max()),
        "projector": matched_basis_error(rep.transform(data, scale="unit").reshape(2 * n, 8), functions),
    }


def bare_products(n_views: int) -> Task:
    """See the module's docstring."""
    rows = feature_rows(R, D)
    rng = np.random.default_rng(0)
    points, landmarks = rng.standard_normal((rows, D)), rng.standard_normal((R, D))
    factor = np.asfortranarray(np.linalg.cholesky(landmarks @ landmarks.T / D + 10 * np.eye(R)).T)
    values_t = np.zeros((R, rows), order="F")  # (rows, R) in C order, as the solver has it
    total = np.zeros((R, R), order="F")

    def run() -> None:
        for start in range(0, n_views, rows):
            height = min(rows, n_views - start)
            block = values_t[:, :height]
            blas.dgemm(1.0, landmarks.T, points[:height].T, trans_a=1, beta=0.0, c=block, overwrite_c=1)
            blas.dtrsm(1.0, factor, block, trans_a=1, lower=0, overwrite_b=1)
            blas.dsyrk(1.0, block, beta=1.0, c=total, overwrite_c=1)

    return Task(run, flops=n_views * (2.0 * D * R + 2.0 * R * R))


def run(quick: bool = False) -> dict[str, Any]:
    """Time over that of the bare products, and peak memory in a fresh process."""
    n = 25_000 if quick else 500_000
    errors = check()
    require("1/gamma on a subset, dense", errors["gamma"], 1e-6)
    require("projector on a subset, dense", errors["projector"], 1e-5)
    data = views(n)
    bare = bare_products(2 * n)
    rate = measure({"dgemm": rates.gemm(4096, 1024, 1024), "dsyrk": rates.syrk(8192, R)}, 5)
    times = measure({"fit": Task(lambda: fit(data), flops=bare.flops), "bare": bare}, 2, warm=quick)
    rep = fit(data[:2000])
    ratio = times["fit"].best / times["bare"].best
    peak = peak_rise(
        f"from bench.features import *; data = views({n}); fit(sslcore.Views(data.x[:2048], data.augmentation, 2, 0))",
        "fit(data)",
    )
    for name, timing in times.items():
        share = timing.gflops / rate["dgemm"].gflops
        print(f"  {name:<5} {timing.best:7.2f} s  {timing.gflops:6.1f} GFLOP/s, {share:.0%} of dgemm")
    print(f"  dgemm {rate['dgemm'].gflops:.1f}, dsyrk {rate['dsyrk'].gflops:.1f} GFLOP/s at the size in use")
    print(f"  ratio {ratio:.2f}; peak {peak / 2**20:.0f} MiB; rank of the features {rep.model.rank}")
    name = f"features, {2 * n} views made on the fly, Nystrom r = {R}"
    rows = [
        Row(
            name,
            "at most 1.6 times the bare block products",
            f"{ratio:.2f} times ({times['fit'].best:.1f} s)",
            f"1 ({times['bare'].best:.1f} s)",
            ratio <= 1.6,
        ),
        Row(f"{name}, peak memory", "under 1 GiB", f"{peak / 2**20:.0f} MiB", "", peak < 2**30),
    ]
    return {"errors": errors, "times": {**times, **rate}, "ratio": ratio, "peak_bytes": peak, "rows": rows}
