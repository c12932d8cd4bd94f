"""One product with the kernel matrix of 20,000 points, and 10 columns: never stored, beside Gram blocks and a BLAS.

The alternative makes blocks of rows of the Gram matrix, 16 MiB each, and multiplies them by NumPy's BLAS.  The limit is
the time for the values of half of the pairs, and for all products at the rate of a square ``dgemm``.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from sslcore.backends import get_backend
from sslcore.gram import kernel_product
from sslcore.kernels import Exponential, Gaussian, Kernel
from sslcore.kernels._rows import block_height

from . import rates
from .report import Row, require
from .timing import Task, measure

COLUMNS = 10
ERRORS = {"float64": 1e-13, "float32": 1e-5}
TARGET = 2.0


def by_blocks(kernel: Kernel, x: np.ndarray, c: np.ndarray, columns: int | None = None) -> np.ndarray:
    """Make blocks of rows and multiply them; with no ``columns`` of c only make the blocks, of half of the rows."""
    backend = get_backend()
    rows, out = kernel.rows(x, backend), np.empty((len(x), c.shape[1]), x.dtype)
    height = block_height(len(x), x.itemsize, backend)
    block = np.empty((height, len(x)), x.dtype)
    for start in range(0, len(x) if columns else len(x) // 2, height):
        part = x[start : start + height]
        rows.fill(part, 0, block[: len(part)])
        if columns:
            np.matmul(block[: len(part)], c, out=out[start : start + height])
    return out


def error(kernel: Gaussian | Exponential, x: np.ndarray, c: np.ndarray, found: np.ndarray) -> float:
    """Largest error of some rows, in long double, relative to sum_j |k(x_i, x_j)| |c_j|; values are at most 1."""
    some = np.random.default_rng(2).integers(0, len(x), 50)
    wide = x.astype(np.longdouble)
    scale = np.longdouble(kernel.scale)
    worst = 0.0
    for i in some:
        squared = ((wide - wide[i]) ** 2).sum(axis=1)
        gaussian = isinstance(kernel, Gaussian)
        values = np.exp(-squared / (2 * scale**2) if gaussian else -np.sqrt(squared) / scale)
        share = np.abs(found[i] - values @ c) / np.maximum(np.abs(values) @ np.abs(c), np.abs(c).max(axis=0))
        worst = max(worst, float(share.max()))
    return worst


def run(quick: bool = False) -> dict[str, Any]:
    """Both kernels, d = 2, 32 and 64, both precisions."""
    n, repeat = (2000, 2) if quick else (20_000, 3)
    result: dict[str, Any] = {"n": n, "columns": COLUMNS, "cases": []}
    ratios: dict[int, list[float]] = {}
    shares: dict[int, list[float]] = {}
    rng = np.random.default_rng(0)
    peak = measure({"gemm": rates.gemm(2000, 2000, 2000)}, 3)["gemm"].gflops
    for d in (2, 32, 64):
        for name, make in (("exponential", Exponential), ("gaussian", Gaussian)):
            kernel = make(float(np.sqrt(d)))
            for dtype in (np.float64, np.float32):
                label = np.dtype(dtype).name
                x, c = (rng.standard_normal(shape).astype(dtype) for shape in ((n, d), (n, COLUMNS)))
                y = x.copy()
                errors = []
                for against in (None, y):
                    errors.append(error(kernel, x, c, kernel_product(kernel, x, against, c)))
                    require(f"{name}, d = {d}, {label}", errors[-1], ERRORS[label])
                tasks = {
                    "symmetric": Task(lambda k=kernel, x=x, c=c: kernel_product(k, x, None, c)),
                    "against_other": Task(lambda k=kernel, x=x, y=y, c=c: kernel_product(k, x, y, c)),
                    "gram_and_matmul": Task(lambda k=kernel, x=x, c=c: by_blocks(k, x, c, COLUMNS)),
                    "half_of_the_values": Task(lambda k=kernel, x=x, c=c: by_blocks(k, x, c)),
                }
                times = measure(tasks, repeat)
                ratio = times["gram_and_matmul"].best / times["symmetric"].best
                other = times["gram_and_matmul"].best / times["against_other"].best
                flops = 2.0 * n * n * COLUMNS / (peak * (1 if dtype is np.float64 else 2)) / 1e9
                share = (times["half_of_the_values"].best + flops) / times["symmetric"].best
                if dtype is np.float64:
                    ratios.setdefault(d, []).append(ratio)
                    shares.setdefault(d, []).append(share)
                print(
                    f"  {name:<11} d = {d:<3} {label}  {times['symmetric'].ms:7.1f} ms = "
                    f"{times['symmetric'].best / n**2 * 1e9:.3f} ns a pair, {ratio:.2f} times faster than Gram and "
                    f"matmul by blocks ({times['gram_and_matmul'].ms:.1f} ms; processor time "
                    f"{times['symmetric'].cpu:.2f} and {times['gram_and_matmul'].cpu:.2f} s), "
                    f"{share:.0%} of the limit; against other points {times['against_other'].ms:.1f} ms, {other:.2f}",
                    flush=True,
                )
                result["cases"].append(
                    {"kernel": name, "d": d, "dtype": label, "errors": errors, "ratio": ratio, "times": times}
                )
    rows = [
        Row(
            f"product with K, {n} points, {COLUMNS} columns, d = {d}, exponential / Gaussian",
            f"at least {TARGET:g} times faster than Gram and matmul by blocks",
            " / ".join(f"{ratio:.1f}" for ratio in found) + " times",
            f"{min(shares[d]):.0%} to {max(shares[d]):.0%} of half of the values and a square dgemm's rate",
            min(found) >= TARGET if d <= 32 else None,
        )
        for d, found in ratios.items()
    ]
    return {**result, "rows": rows}
