"""Kernel canonical correlation analysis beside the dense ways of other libraries."""

from __future__ import annotations

import importlib.util
import time
from typing import Any

import numpy as np
import scipy.linalg

import sslcore
from sslcore.features import Identity
from sslcore.kernels import Gaussian
from sslcore.positives import TimeLag

from .report import Row, require
from .timing import Task, measure

K, REG = 5, 1e-3


def modalities(n: int) -> tuple[np.ndarray, np.ndarray]:
    """Pairs that share two of five coordinates, one modality bent."""
    rng = np.random.default_rng(0)
    z = rng.normal(size=(n, 2))
    return np.hstack([z, rng.normal(size=(n, 3))]), np.hstack([np.tanh(z), rng.normal(size=(n, 3))])


def centred(kernel: Any, x: np.ndarray) -> np.ndarray:
    """Centre the kernel matrix."""
    gram = kernel(x)
    gram -= gram.mean(axis=0)
    gram -= gram.mean(axis=1)[:, None]
    return gram


def textbook(x: np.ndarray, y: np.ndarray, kernels: Any, epsilon: float) -> np.ndarray:
    """Squared correlations, as deeptime's KernelCCA has them: eig of (K_x + e I)^-1 K_x (K_y + e I)^-1 K_y."""
    grams = [centred(kernel, part) for kernel, part in zip(kernels, (x, y), strict=True)]
    shift = epsilon * np.eye(len(x))
    first, second = (scipy.linalg.solve(gram + shift, gram, assume_a="pos") for gram in grams)
    values, _ = scipy.linalg.eig(first @ second)
    return np.sort(values.real)[::-1]


def generalised(x: np.ndarray, y: np.ndarray, kernels: Any, epsilon: float) -> np.ndarray:
    """Compute the top k correlations by the symmetric generalised problem of size 2 N, [[0, K_x K_y], [K_y K_x, 0]]."""
    n = len(x)
    first, second = (centred(kernel, part) for kernel, part in zip(kernels, (x, y), strict=True))
    left, right = np.zeros((2 * n, 2 * n)), np.zeros((2 * n, 2 * n))
    left[:n, n:] = first @ second
    left[n:, :n] = left[:n, n:].T
    for block, gram in ((slice(n), first), (slice(n, None), second)):
        right[block, block] = gram @ gram + epsilon * gram
        right[block, block][np.diag_indices(n)] += 1e-10 * n  # which is singular otherwise
    values = scipy.linalg.eigh(left, right, eigvals_only=True, subset_by_index=(2 * n - K, 2 * n - 1))
    return values[::-1]


def kernel_cca(quick: bool) -> tuple[dict[str, Any], list[Row]]:
    """Time n pairs, k = 5; the alternative once, for it takes minutes."""
    n = 300 if quick else 5000
    x, y = modalities(n)
    kernels = Gaussian(2.0), Gaussian(2.0)

    def ours() -> Any:
        return sslcore.pretrain((x, y), kernels, K, reg=REG, center=True)

    rep = ours()
    rho = rep.canonical_correlations()
    few = slice(min(n, 1000))  # at this size against dense algebra, each component at its own kappa
    small = sslcore.pretrain((x[few], y[few]), kernels, K, reg=REG, center=True)
    worst = 0.0
    for i in (0, K - 1):
        epsilon = 2 * len(x[few]) * REG / float(small.eigenvalues[i])
        expected = textbook(x[few], y[few], kernels, epsilon)[i] ** 0.5
        worst = max(worst, abs(float(expected - small.canonical_correlations()[i])))
    require("canonical correlations, dense eigenvalues at each component's kappa", worst, 1e-8)
    require("residuals of the certificate", rep.certificate.worst, 1e-8)
    epsilon = 2 * len(x[few]) * REG / float(small.eigenvalues[0])
    found = generalised(x[few], y[few], kernels, epsilon)
    require("first correlation, eigh of size 2 N", abs(float(found[0] - small.canonical_correlations()[0])), 1e-5)
    times = measure({"ours": Task(ours)}, 2 if quick else 5)["ours"]
    epsilon = 2 * n * REG / float(rep.eigenvalues[0])
    name = "deeptime's KernelCCA" if importlib.util.find_spec("deeptime") else "its steps in SciPy"
    seconds = (by_deeptime if importlib.util.find_spec("deeptime") else by_steps)(x, y, epsilon, float(rho[0]))
    ratio = seconds / times.best
    print(f"  kernel CCA, {n:,} pairs: {times.best:.2f} s; {name} {seconds:.1f} s; ratio {ratio:.0f}")
    row = Row(
        f"kernel CCA, {n:,} pairs, k = {K}",
        "at least 100 times as fast",
        f"{ratio:.0f} times ({times.best:.2f} s)",
        f"{name} ({seconds:.0f} s)",
        ratio >= 100,
    )
    return {"ours": times, "alternative": name, "seconds": seconds, "ratio": ratio}, [row]


def by_steps(x: np.ndarray, y: np.ndarray, epsilon: float, rho: float) -> float:
    """Time the steps of deeptime's KernelCCA, where that is not installed."""
    started = time.perf_counter()
    found = textbook(x, y, (Gaussian(2.0), Gaussian(2.0)), epsilon)
    seconds = time.perf_counter() - started
    require("first correlation, eig of size N", abs(float(found[0]) ** 0.5 - rho), 1e-5)
    return seconds


def by_deeptime(x: np.ndarray, y: np.ndarray, epsilon: float, rho: float) -> float:
    """Time deeptime's KernelCCA of the same kernel, whose bandwidth is our scale."""
    from deeptime.decomposition import KernelCCA  # type: ignore[import-not-found, unused-ignore]  # only there with the extra
    from deeptime.kernels import GaussianKernel  # type: ignore[import-not-found, unused-ignore]  # only there with the extra

    started = time.perf_counter()
    model = KernelCCA(GaussianKernel(2.0), n_eigs=K, epsilon=epsilon).fit((x, y)).fetch_model()
    seconds = time.perf_counter() - started
    found = float(np.real(model.eigenvalues[0])) ** 0.5
    require("first correlation, deeptime", abs(found - rho), 1e-5)
    return seconds


def tica(quick: bool) -> tuple[dict[str, Any], list[Row]]:
    """Time TICA of a trajectory of 100,000 points of 64 coordinates beside deeptime's, or its eigenproblem alone."""
    n, d, lag = (2000, 8, 2) if quick else (100_000, 64, 2)
    rng = np.random.default_rng(0)
    decay = np.linspace(0.2, 0.99, d)
    noise = rng.normal(size=(n, d))
    x = np.zeros((n, d))
    for t in range(1, n):
        x[t] = decay * x[t - 1] + noise[t]
    x = x @ rng.normal(size=(d, d))

    def ours() -> Any:
        return sslcore.pretrain(x, Identity(), K, reg=0, center=True, positives=TimeLag(lag))

    def by_covariances() -> np.ndarray:
        first, second = x[:-lag], x[lag:]
        mean = (first.mean(axis=0) + second.mean(axis=0)) / 2
        first, second = first - mean, second - mean
        cross = first.T @ second
        values = scipy.linalg.eigh(cross + cross.T, first.T @ first + second.T @ second, eigvals_only=True)
        return np.asarray(values[::-1][:K])

    found = ours().autocorrelations()
    require("autocorrelations, covariances and eigh", float(np.abs(found - by_covariances()).max()), 1e-9)
    tasks = {"ours": Task(ours), "NumPy": Task(by_covariances)}
    if importlib.util.find_spec("deeptime"):
        from deeptime.decomposition import TICA  # type: ignore[import-not-found, unused-ignore]  # only there with the extra

        def by_deeptime() -> Any:
            return TICA(lagtime=lag, dim=K).fit((x[:-lag], x[lag:])).fetch_model()

        theirs = np.asarray(by_deeptime().singular_values)[:K]
        require("autocorrelations, deeptime", float(np.abs(found - theirs).max()), 1e-6)
        tasks["deeptime"] = Task(by_deeptime)
    times = measure(tasks, 2 if quick else 5)
    other = "deeptime" if "deeptime" in times else "NumPy"
    ratio = times["ours"].best / times[other].best
    print(f"  TICA, {n:,} x {d}: " + ", ".join(f"{name} {time.best:.3f} s" for name, time in times.items()))
    row = Row(
        f"TICA, {n:,} x {d}, k = {K}",
        "at most the alternative",
        f"{ratio:.2f} times its time ({times['ours'].best:.3f} s)",
        f"{other} ({times[other].best:.3f} s)",
        ratio <= 1,
    )
    return {"times": times, "ratio": ratio}, [row]


def run(quick: bool = False) -> dict[str, Any]:
    """Kernel CCA and TICA."""
    pairs, rows = kernel_cca(quick)
    lagged, more = tica(quick)
    return {"kernel_cca": pairs, "tica": lagged, "rows": rows + more}
