"""Gram matrices of 8000 points beside scikit-learn's, float64 and float32; errors against a long-double oracle.

scikit-learn's best: ``rbf_kernel(x)``, and for the exponential kernel ``euclidean_distances(x)``, then scaling and exp
in place.  Each call makes the matrix of x with itself.  ``into`` is sslcore with ``out=``, an array made before,
of 64-byte alignment: how a loop calls it.  ``fresh`` is a result in memory of its own, as scikit-learn's all are;
``first_touch`` what fresh memory alone costs: writing zeros to it, on all threads.
sslcore computes half of the pairs and mirrors them; ``against_other`` is the time for x against another array.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.metrics.pairwise import euclidean_distances, rbf_kernel

from sslcore.backends.numba_cpu.parallel import n_threads, parallel_for
from sslcore.backends.pairing import TOLERANCE
from sslcore.gram import gram
from sslcore.kernels import Exponential, Gaussian

from . import rates
from .report import Row, require
from .timing import Task, measure

TARGETS = {2: 8.0, 32: 4.0, 784: 1.2}
KERNELS = {"exponential": Exponential, "gaussian": Gaussian}


def points(n: int, d: int, seed: int = 0) -> np.ndarray:
    """Draw normal points (n, d); a scale of sqrt(d) makes typical kernel values of order 0.3."""
    return np.random.default_rng(seed).standard_normal((n, d))


def sklearn_gram(name: str, x: np.ndarray, scale: float) -> np.ndarray:
    """Make the same matrix by scikit-learn."""
    if name == "gaussian":
        return rbf_kernel(x, gamma=0.5 / scale**2)
    distances = euclidean_distances(x)
    distances *= -1 / scale
    return np.exp(distances, out=distances)


def hard_points(n: int, d: int, scale: float, dtype: type) -> np.ndarray:
    """Make n points and n neighbours of theirs, the i-th and the (n + i)-th a pair.

    A third of the pairs at distances from 1e-12 to 10, in units of the scale; two thirds within a factor 2 of the
    distance below which the library computes a pair again from its differences (on either side: the worst place).
    """
    rng = np.random.default_rng(1)
    x = points(n, d, seed=2)
    centred = x - x.mean(axis=0)
    twice_norm = 2 * (centred**2).sum(axis=1)
    threshold = np.finfo(dtype).eps / TOLERANCE[np.dtype(dtype)] * twice_norm / scale
    distance = threshold * np.exp2(rng.uniform(-1, 1, n))
    distance[::3] = scale * np.logspace(-12, 1, len(distance[::3]))
    direction = rng.standard_normal((n, d))
    direction /= np.linalg.norm(direction, axis=1, keepdims=True)
    return np.concatenate([x, x + distance[:, None] * direction]).astype(dtype)


def oracle_errors(name: str, d: int, dtype: type, n: int = 1500) -> tuple[float, float]:
    """Largest error, absolute and over the bound 4 eps (1 + (|x|^2 + |y|^2) / (r scale)), against long doubles.

    Over all hard pairs, and as many random ones, of one symmetric matrix.
    """
    scale = np.sqrt(d)
    x = hard_points(n, d, scale, dtype)
    found = KERNELS[name](scale)(x)
    if not np.array_equal(found, found.T):
        raise AssertionError("the Gram matrix is not exactly symmetric")
    i, j = np.random.default_rng(3).integers(0, 2 * n, (2, n))
    first, second = np.concatenate([np.arange(n), i]), np.concatenate([np.arange(n) + n, j])
    exact_x, exact_scale = x.astype(np.longdouble), np.longdouble(scale)
    squared = ((exact_x[first] - exact_x[second]) ** 2).sum(axis=1)
    ratio = squared / (2 * exact_scale**2) if name == "gaussian" else np.sqrt(squared) / exact_scale
    error = np.abs(found[first, second] - np.exp(-ratio)).astype(float)
    norms = (exact_x**2).sum(axis=1)
    with np.errstate(divide="ignore"):
        spread = ((norms[first] + norms[second]) / (np.sqrt(squared) * exact_scale)).astype(float)
    return float(error.max()), float((error / (4 * np.finfo(dtype).eps * (1 + spread))).max())


def check(name: str, d: int) -> dict[str, float]:
    """Errors in both precisions, held to the limits of the table."""
    error64, _ = oracle_errors(name, d, np.float64)
    error32, share32 = oracle_errors(name, d, np.float32)
    require(f"{name}, d = {d}, float64", error64, 1e-13)
    if d <= 8:
        require(f"{name}, d = {d}, float32", error32, 1e-6)
    else:
        require(f"{name}, d = {d}, float32, over 4 eps (1 + (|x|^2 + |y|^2)/(r scale))", share32, 1.0)
    return {"float64": error64, "float32": error32, "float32_over_bound": share32}


def first_touch(n: int, dtype: type) -> None:
    """Write zeros to a fresh matrix, on all threads: what the system asks for before any value is made."""
    out = np.empty((n, n), dtype)
    height = -(-n // n_threads())
    parallel_for(lambda s: out[s * height : (s + 1) * height].fill(0), n_threads())


def run(quick: bool = False) -> dict[str, Any]:
    """All kernels, dimensions and precisions."""
    n, repeat = (2000, 3) if quick else (8000, 5)
    result: dict[str, Any] = {"n": n, "cases": []}
    measured: dict[int, list[float]] = {}
    fresh: dict[int, list[float]] = {}
    errors64, float32 = [], []
    for d in TARGETS:
        for name, kernel in KERNELS.items():
            errors = check(name, d)
            errors64.append(errors["float64"])
            for dtype in (np.float64, np.float32):
                x, other = points(n, d).astype(dtype), points(n, d, seed=1).astype(dtype)
                k, scale = kernel(np.sqrt(d)), float(np.sqrt(d))
                size = float(x.itemsize) * n * n
                out = k(x)  # of 64-byte alignment
                tasks = {
                    "into": Task(lambda k=k, x=x, out=out: gram(k, x, out=out), bytes=size),
                    "fresh": Task(lambda k=k, x=x: k(x), bytes=size),
                    "sklearn": Task(lambda x=x, s=scale, name=name: sklearn_gram(name, x, s), bytes=size),
                    "first_touch": Task(lambda dtype=dtype: first_touch(n, dtype), bytes=size),
                    "against_other": Task(lambda k=k, x=x, y=other: k(x, y), bytes=size),
                    "gemm": rates.gemm(n, n, d, dtype, library="numpy"),
                }
                times = measure(tasks, repeat)
                ratio = times["sklearn"].best / times["into"].best
                ratio_fresh = times["sklearn"].best / times["fresh"].best
                label = np.dtype(dtype).name
                if dtype is np.float64:
                    measured.setdefault(d, []).append(ratio)
                    fresh.setdefault(d, []).append(ratio_fresh)
                else:
                    float32.append(ratio)
                print(
                    f"  {name:<11} d = {d:<3} {label}  {times['into'].ms:7.1f} ms  "
                    f"{times['into'].gb_per_s:5.1f} GB/s  ratio {ratio:5.2f}  "
                    f"(scikit-learn {times['sklearn'].ms:.1f}, in fresh memory {times['fresh'].ms:.1f} = "
                    f"{ratio_fresh:.2f}, "
                    f"touching fresh memory {times['first_touch'].ms:.1f}, "
                    f"against other points {times['against_other'].ms:.1f}, "
                    f"bare product {times['gemm'].ms:.1f} ms = {times['gemm'].gflops:.0f} GFLOP/s)",
                    flush=True,
                )
                case = {"kernel": name, "d": d, "dtype": label, "ratio": ratio, "ratio_fresh": ratio_fresh}
                case |= {"errors": errors, "times": times}
                result["cases"].append(case)
    rows = [
        Row(
            f"Gram {n} x {n}, d = {d}, float64, exponential / Gaussian, in a loop (out=)",
            f"at least {target} times faster than scikit-learn",
            f"{_ratios(measured[d])} times",
            f"in fresh memory: {_ratios(fresh[d])}",
            min(measured[d]) >= target,
        )
        for d, target in TARGETS.items()
    ]
    rows.append(
        Row("its error, long-double oracle", "at most 1e-13", f"{max(errors64):.0e}", "", max(errors64) <= 1e-13)
    )
    text = f"{min(float32):.1f} to {max(float32):.1f} times; errors within the limits"
    rows.append(Row("the same in float32", "1e-6 (d <= 8), else 4 eps (1 + ...)", text, ""))
    return {**result, "rows": rows}


def _ratios(values: list[float]) -> str:
    return " / ".join(f"{ratio:.2f}" if ratio < 2 else f"{ratio:.1f}" for ratio in values)
