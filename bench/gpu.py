"""The GPU backend beside the device's own rates, measured in the same run, and beside code of array functions.

``gpu_gram``, ``gpu_exact``, ``gpu_features``, ``gpu_risk``: each first compares a small case with the CPU backend, then
times the sizes of the table on the device that is there.  With ``--quick`` the sizes are tiny, which also runs on the
host's stand-in for CuPy (the tests do): that checks the benchmark, its times mean nothing.

The bound of a piece of work is the longer of two times: its least bytes at the rate of a copy, its operations at the
rate of a large matrix product of that precision.  "Share" is that time over the time taken.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from sslcore import Views, features, pretrain, risk
from sslcore.augmentations import GaussianNoise
from sslcore.backends import get_backend
from sslcore.gram import gram
from sslcore.kernels import Exponential, Gaussian
from sslcore.solvers.rotated_gram import contrast_gram

from .problems import half_moon_views
from .report import Row, require
from .timing import Task, Timing, measure

__all__ = ["device", "run_exact", "run_features", "run_gram", "run_risk"]

SHARE, TIMES, MEMORY = 0.7, 3.0, 5.0  # to reach: of the bounding rate, over array code, in its memory


def device() -> dict[str, Any]:
    """The GPU, for the JSON."""
    cp = get_backend(backend="cupy").xp
    properties = cp.cuda.runtime.getDeviceProperties(0)
    return {
        "device": properties["name"].decode(),
        "memory_gib": round(properties["totalGlobalMem"] / 2**30, 1),
        "compute_capability": cp.cuda.Device().compute_capability,
        "driver": cp.cuda.runtime.driverGetVersion(),
        "cuda": cp.cuda.runtime.runtimeGetVersion(),
        "cupy": cp.__version__,
    }


def on_device(call: Callable[..., Any], setup: Callable[[], Any] | None = None, **work: float) -> Task:
    """A task that ends when the device has ended; nor does the clock start before the device has done the setup."""
    stream = get_backend(backend="cupy").xp.cuda.get_current_stream()

    def run(*arguments: Any) -> None:
        call(*arguments)
        stream.synchronize()

    def prepare() -> Any:
        made = setup() if setup else None
        stream.synchronize()
        return made

    return Task(run, prepare if setup else None, **work)


def timed(tasks: dict[str, Task], repeat: int, *, warm: bool = True) -> dict[str, Timing]:
    """Times without pauses: no thread of a BLAS waits busily here, and a device is rented by the second."""
    return measure(tasks, repeat, warm=warm, pause=0.0)


def bare(quick: bool, *dtypes: Any) -> dict[str, Timing]:
    """The device's own rates: a copy, and matrix products in these precisions, large enough for their full rates."""
    backend = get_backend(backend="cupy")
    cp = backend.xp
    n = 64 if quick else 8192
    source = cp.ones((1 << 12) if quick else (1 << 28))
    target = cp.empty_like(source)
    tasks = {"copy": on_device(lambda: cp.copyto(target, source), bytes=2.0 * source.nbytes)}
    for dtype in dtypes:
        a, b, c = (cp.ones((n, n), dtype, order="F") for _ in range(3))
        tasks[product(dtype)] = on_device(lambda a=a, b=b, c=c: backend.matmul(a, b, out=c), flops=2.0 * n**3)
    return timed(tasks, 1 if quick else 5)


def product(dtype: Any) -> str:
    """BLAS's name of a matrix product."""
    return "dgemm" if np.dtype(dtype) == np.float64 else "sgemm"


def normals(shape: tuple[int, ...], dtype: Any, seed: int = 0) -> Any:
    """Standard normal numbers on the host, by all cores; the same whatever their number."""
    drawn = np.empty(shape, dtype)
    parts = np.array_split(drawn, 64)
    seeds = np.random.SeedSequence(seed).spawn(len(parts))

    def fill(seed: Any, part: Any) -> None:
        np.random.default_rng(seed).standard_normal(out=part, dtype=part.dtype)

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(fill, seeds, parts))
    return drawn


def bound(times: dict[str, Timing], dtype: Any, n_bytes: float, flops: float) -> float:
    """Seconds that the work takes at the rates of this run."""
    return max(n_bytes / (times["copy"].gb_per_s * 1e9), flops / (times[product(dtype)].gflops * 1e9))


def peak(call: Callable[[], Any]) -> int:
    """Bytes that CuPy's pool grows by during a call."""
    pool = get_backend(backend="cupy").xp.get_default_memory_pool()
    pool.free_all_blocks()
    before = pool.total_bytes()
    call()
    return max(1, pool.total_bytes() - before)


def array_gram(x: Any, name: str, scale: float, cp: Any) -> Any:
    """The kernel matrix as one writes it with array functions."""
    squares = (x**2).sum(axis=1)
    distances = cp.maximum(squares[:, None] + squares - 2 * (x @ x.T), 0)
    return cp.exp(-distances / (2 * scale**2)) if name == "gaussian" else cp.exp(-cp.sqrt(distances) / scale)


def torch_gram(x: Any, name: str, scale: float) -> Callable[[], Any] | None:
    """The same with ``torch.cdist``, where PyTorch has a CUDA device."""
    try:
        import torch
    except ImportError:
        return None
    if not torch.cuda.is_available():
        return None
    t = torch.from_dlpack(x)
    if name == "gaussian":
        return lambda: torch.exp(-(torch.cdist(t, t) ** 2) / (2 * scale**2))
    return lambda: torch.exp(-torch.cdist(t, t) / scale)


def run_gram(quick: bool = False) -> dict[str, Any]:
    """Gram matrices of x with itself, and contrast Gram matrices of pairs of views."""
    backend = get_backend(backend="cupy")
    cp = backend.xp
    n, repeat = (96, 1) if quick else (32768, 5)
    errors = []
    for d in (2, 32, 784):
        x = np.random.default_rng(d).standard_normal((70, d))
        for dtype, limit in ((np.float64, 1e-13), (np.float32, 1e-5)):
            given = x.astype(dtype)
            k = Gaussian(np.sqrt(d))
            found = cp.asnumpy(gram(k, cp.asarray(given)))
            errors.append(require(f"d = {d}, {np.dtype(dtype)}", float(np.abs(found - k(given)).max()), limit))
    cases, rows = [], []
    for dtype in (np.float64, np.float32):
        shares, ratios, memories, of_contrasts = [], [], [], []
        rates = bare(quick, dtype)
        for d in (2, 32, 784):
            for name, kernel in (("gaussian", Gaussian), ("exponential", Exponential)):
                scale = float(np.sqrt(d))
                x = cp.asarray(np.random.default_rng(d).standard_normal((n, d)).astype(dtype))
                views = x.reshape(n // 2, 2, d)
                k, size = kernel(scale), float(x.dtype.itemsize) * n * n
                # half of the products are enough; what is rotated is three quarters of the matrix, written once
                tasks = {
                    "sslcore": on_device(lambda k=k, x=x: gram(k, x), bytes=size),  # type: ignore[misc]
                    "contrasts": on_device(lambda k=k, v=views: contrast_gram(k, v), bytes=0.75 * size),  # type: ignore[misc]
                    "arrays": on_device(lambda x=x, name=name, s=scale: array_gram(x, name, s, cp), bytes=size),  # type: ignore[misc]
                }
                other = torch_gram(x, name, scale)
                if other is not None:
                    tasks["torch.cdist"] = on_device(other, bytes=size)
                times = rates | timed(tasks, repeat)
                flops = float(n) * n * d
                share = bound(times, dtype, size, flops) / times["sslcore"].best
                of_contrasts.append(bound(times, dtype, 0.75 * size, flops) / times["contrasts"].best)
                alternative = min(times[t].best for t in ("arrays", "torch.cdist") if t in times)
                memory = peak(lambda x=x, name=name, s=scale: array_gram(x, name, s, cp)) / peak(
                    lambda k=k, x=x: gram(k, x)
                )
                shares.append(share)
                ratios.append(alternative / times["sslcore"].best)
                memories.append(memory)
                print(
                    f"  {name} d = {d} {np.dtype(dtype)}: {share:.0%} of the bound, {ratios[-1]:.1f} times array code"
                )
                cases.append({"kernel": name, "d": d, "dtype": str(np.dtype(dtype)), "share": share, "times": times})
        label = f"{np.dtype(dtype)}, n = {n}, d = 2, 32, 784"
        for what, found_shares in (("Gram", shares), ("contrast Gram", of_contrasts)):
            rows.append(
                Row(
                    f"GPU: {what}, {label}",
                    f"at least {SHARE:.0%} of the bounding rate",
                    f"{min(found_shares):.0%} to {max(found_shares):.0%}",
                    "the rate of a copy or of a product",
                    min(found_shares) >= SHARE,
                )
            )
        rows.append(
            Row(
                f"GPU: Gram beside array functions, {label}",
                f"at least {TIMES:.0f} times faster, in a fifth of the memory",
                f"{min(ratios):.1f} to {max(ratios):.1f} times; memory 1/{min(memories):.1f}",
                "1",
                min(ratios) >= TIMES and min(memories) >= MEMORY,
            )
        )
    return {"device": device(), "n": n, "errors": errors, "cases": cases, "rows": rows}


def dense_method(views: Any, reg: float, k: int, cp: Any) -> Any:
    """Top k eigenvalues of T - reg Khat^-1 with array functions: dense, by an inverse and all eigenpairs."""
    n, m, d = views.shape
    total = n * m
    matrix = array_gram(views.reshape(total, d), "exponential", 0.2, cp) / total
    sample = cp.arange(total) // m
    operator = (sample[:, None] == sample) / m - reg * cp.linalg.inv(matrix + 1e-12 * cp.eye(total))
    return cp.linalg.eigvalsh(0.5 * (operator + operator.T))[::-1][:k]


def run_exact(quick: bool = False) -> dict[str, Any]:
    """Exact pretraining of 100,000 views and its bare Cholesky; and beside the dense method at a size it can do."""
    backend = get_backend(backend="cupy")
    cp = backend.xp
    n, k, reg = (60, 4, 1e-4) if quick else (50_000, 16, 1e-6)
    views = half_moon_views(300)
    expected = pretrain(views, Exponential(0.2), 5, reg=1e-4)
    found = pretrain(cp.asarray(views), Exponential(0.2), 5, reg=1e-4)
    errors = [require("gamma, 600 views, against the CPU", float(np.abs(found.gamma - expected.gamma).max()), 1e-10)]

    small = cp.asarray(half_moon_views(40 if quick else 4000))
    ours: list[Any] = []
    compared = timed(
        {
            "dense": on_device(lambda: dense_method(small, 1e-4, 5, cp)),
            "sslcore": on_device(lambda: pretrain(small, Exponential(0.2), 5, reg=1e-4, unbiased=False)),
        },
        1 if quick else 3,
    )
    ratio = compared["dense"].best / compared["sslcore"].best
    memory = peak(lambda: dense_method(small, 1e-4, 5, cp)) / peak(
        lambda: pretrain(small, Exponential(0.2), 5, reg=1e-4, unbiased=False)
    )

    def positive() -> Any:
        matrix = cp.ones((n, n), order="F")
        index = cp.arange(n)
        matrix[index, index] = float(n)
        return matrix

    def factorize(matrix: Any) -> None:
        if not backend.cholesky(matrix):  # which waits for the device
            raise AssertionError("the matrix of the bare Cholesky is not positive definite")

    rates = bare(quick, np.float64)
    rates |= timed({"cholesky": on_device(factorize, positive, flops=n**3 / 3)}, 1 if quick else 3)
    cp.get_default_memory_pool().free_all_blocks()
    large = cp.asarray(half_moon_views(n))
    times = timed(
        {"sslcore": on_device(lambda: ours.append(pretrain(large, Exponential(0.2), k, reg=reg)))},
        1,
        warm=not quick,
    )
    errors.append(require(f"worst residual, {2 * n} views", ours[-1].certificate.worst, 1e-6))
    share = rates["cholesky"].gflops / rates["dgemm"].gflops
    rows = [
        Row(
            f"GPU: exact pretraining, {2 * n} views, m = 2, k = {k}, float64",
            "at most 8 s",
            f"{times['sslcore'].best:.2f} s ({ours[-1].certificate.iterations} block steps)",
            f"its Cholesky alone: {rates['cholesky'].best:.2f} s",
            times["sslcore"].best <= 8,
        ),
        Row(
            f"GPU: its Cholesky of {n}",
            f"at least {SHARE:.0%} of dgemm's rate",
            f"{share:.0%} ({rates['cholesky'].gflops / 1e3:.1f} TFLOP/s)",
            f"{rates['dgemm'].gflops / 1e3:.1f} TFLOP/s",
            share >= SHARE,
        ),
        Row(
            f"GPU: exact pretraining beside the dense method with array functions, {2 * len(small)} views",
            f"at least {TIMES:.0f} times faster, in a fifth of the memory",
            f"{ratio:.1f} times; memory 1/{memory:.1f}",
            "1",
            ratio >= TIMES and memory >= MEMORY,
        ),
    ]
    certificate = ours[-1].certificate.as_dict()
    return {
        "device": device(),
        "errors": errors,
        "rates": rates,
        "times": times,
        "compared": compared,
        "certificate": certificate,
        "rows": rows,
    }


def run_features(quick: bool = False) -> dict[str, Any]:
    """Nystrom features of views that are made on the device from samples that stream from the host, float32."""
    n, d, r = (300, 8, 16) if quick else (5_000_000, 128, 4096)
    kernel, noise = Gaussian(2.0 * np.sqrt(d)), GaussianNoise(0.5)
    x = normals((n, d), np.float32)
    model = features.Nystrom(kernel, x[: r // 2].copy() if quick else x[:r].copy())
    few = Views(x[:200].astype(float), noise, 2, seed=0)
    expected = pretrain(few, features.Nystrom(kernel, x[:16].astype(float)), 4, reg=1e-4)
    found = pretrain(few, features.Nystrom(kernel, x[:16].astype(float)), 4, reg=1e-4, backend="cupy")
    error = require("gamma, 400 views, against the CPU", float(np.abs(found.gamma - expected.gamma).max()), 1e-9)
    views = Views(x, noise, 2, seed=0)
    rank = model.rank
    flops = 2.0 * n * (2.0 * r * d + float(r) * r + float(rank) * rank)
    tasks = {"sslcore": on_device(lambda: pretrain(views, model, 8, reg=1e-4, backend="cupy"), flops=flops)}
    times = bare(quick, np.float32) | timed(tasks, 1 if quick else 2, warm=False)  # the better of the two is warm
    t, rate = times["sslcore"], times["sgemm"].gflops
    row = Row(
        f"GPU: features, {2 * n} views, d = {d}, r = {r}, float32 products, float64 sums",
        "at most 20 s; at least 60% of the product's rate",
        f"{t.best:.1f} s; {t.gflops / rate:.0%}",
        f"{rate / 1e3:.1f} TFLOP/s",
        t.best <= 20 and t.gflops >= 0.6 * rate,
    )
    return {"device": device(), "error": error, "rank": rank, "times": times, "rows": [row]}


def run_risk(quick: bool = False) -> dict[str, Any]:
    """Risk and gradient, both estimators, both precisions."""
    cp = get_backend(backend="cupy").xp
    n, m, k = (50, 2, 8) if quick else (1_000_000, 2, 256)
    errors, shares, cases = [], [], []
    rates, drawn = bare(quick, np.float64), cp.asarray(normals((n, m, k), np.float64))
    for dtype, limit in ((np.float64, 1e-12), (np.float32, 1e-5)):
        z = np.random.default_rng(0).standard_normal((40, 3, 8)).astype(dtype)
        for unbiased in (False, True):
            value, gradient = risk.vicreg(z, unbiased=unbiased, return_grad=True)
            found, slope = risk.vicreg(cp.asarray(z), unbiased=unbiased, return_grad=True)
            error = max(abs(found - value), float(np.abs(cp.asnumpy(slope) - gradient).max()) / np.abs(gradient).max())
            errors.append(require(f"value and gradient, {np.dtype(dtype)}", float(error), limit))
        large = drawn.astype(dtype, copy=False)
        tasks = {
            name: on_device(lambda z=large, u=unbiased: risk.vicreg(z, unbiased=u, return_grad=True))  # type: ignore[misc]
            for name, unbiased in (("biased", False), ("unbiased", True))
        }
        times = rates | timed(tasks, 1 if quick else 5)
        # read for the sums and for the gradient, which is written; a triangle of z^T z and z times a matrix, float64
        least = bound(times, np.float64, 3.0 * large.nbytes, 3.0 * n * m * k * k)
        for name in ("biased", "unbiased"):
            shares.append(least / times[name].best)
            print(f"  {name} {np.dtype(dtype)}: {times[name].ms:.1f} ms, {shares[-1]:.0%} of the bound")
        cases.append({"dtype": str(np.dtype(dtype)), "times": times})
    row = Row(
        f"GPU: risk and gradient, n = {n}, m = {m}, k = {k}, float64 and float32",
        "at least 60% of the bounding rate",
        f"{min(shares):.0%} to {max(shares):.0%}",
        "the rate of a copy or of a product",
        min(shares) >= 0.6,
    )
    return {"device": device(), "errors": errors, "cases": cases, "rows": [row]}
