"""The population theory: Walsh-Hadamard transforms, and spectra of cubes by enumeration and by classes."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np

from sslcore import kernels, pretrain
from sslcore.augmentations import BitFlip, Compose, Crop
from sslcore.backends import get_backend
from sslcore.datasets import hypercube
from sslcore.gram import gram
from sslcore.kernels import Exponential, Gaussian, Kernel
from sslcore.population import CutBlockWarning, Hypercube
from sslcore.population.cube_kernels import compute_zonal_eigenvalues, forget

from . import rates
from .report import Row, require
from .timing import Task, measure


def butterfly(values: np.ndarray) -> np.ndarray:
    """The textbook transform in NumPy, in place."""
    distance = 1
    while distance < len(values):
        pairs = values.reshape(-1, 2, distance, *values.shape[1:])
        total = pairs[:, 0] + pairs[:, 1]
        np.subtract(pairs[:, 0], pairs[:, 1], out=pairs[:, 1])
        pairs[:, 0] = total
        distance *= 2
    return values


def run_walsh(quick: bool = False) -> dict[str, Any]:
    """2^24 doubles in place, beside a copy and the NumPy butterfly; and 64 columns."""
    transform = get_backend(backend="numba").walsh_hadamard
    d = 16 if quick else 24
    x = np.random.default_rng(0).standard_normal(2**d)
    expected = butterfly(x.copy())
    error = require(
        "against the NumPy butterfly", np.abs(transform(x.copy()) - expected).max() / np.abs(expected).max(), 1e-13
    )
    y, z = x.copy(), x.copy()
    batch = x.reshape(-1, 64).copy()
    single = x.astype(np.float32)

    def reset() -> np.ndarray:
        np.multiply(x, 1e-3, out=y)  # so that repeated transforms do not overflow
        return y

    tasks = {
        "copy": Task(lambda: np.copyto(z, x), bytes=2 * x.nbytes),
        "transform": Task(transform, reset, flops=d * x.size, bytes=2 * x.nbytes),
        "float32": Task(transform, lambda: np.copyto(single, x) or single, flops=d * x.size, bytes=2 * single.nbytes),
        "64 columns": Task(transform, lambda: np.copyto(batch, x.reshape(-1, 64)) or batch, bytes=2 * x.nbytes),
        "one-thread copy": rates.copy(),
    }
    times = measure(tasks, 3 if quick else 7)
    times |= measure({"butterfly": Task(butterfly, reset, bytes=2 * x.nbytes)}, 1 if quick else 3, warm=False)
    copies = times["transform"].best / times["copy"].best
    faster = times["butterfly"].best / times["transform"].best
    for name, t in times.items():
        print(
            f"  {name:<15} {t.ms:8.1f} ms  {t.gflops:6.2f} GFLOP/s  {t.gb_per_s:5.1f} GB/s of reading and writing once"
        )
    print(f"  {copies:.2f} copies, {faster:.1f} times faster than the NumPy butterfly")
    # of all threads: says what the work is where other programs have the cores
    processor = {name: times[name].cpu / times["copy"].cpu for name in ("transform", "butterfly")}
    print("  processor time, in copies: " + ", ".join(f"{name} {ratio:.1f}" for name, ratio in processor.items()))
    rows = [
        Row(f"Walsh-Hadamard, 2^{d} float64", "at most 8 copies",
            f"{copies:.2f} copies ({times['transform'].ms:.0f} ms)",
            f"1 ({times['copy'].ms:.0f} ms)", copies <= 8),
        Row("the same, beside a NumPy butterfly", "15 times faster", f"{faster:.1f} times", "", faster >= 15),
    ]  # fmt: skip
    return {"error": error, "times": times, "copies": copies, "faster": faster, "processor": processor, "rows": rows}


def network() -> Kernel:
    """The NTK of depth 3; without it, a kernel whose eigenvalues are found in the same way."""
    return kernels.NTK(3) if hasattr(kernels, "NTK") else Exponential(10.0)


def run_cube(quick: bool = False) -> dict[str, Any]:
    """All of T and K and the first 1,000 of T_lambda: d = 20 enumerated, d = 1,000 by classes."""
    top = 1000
    few, many = (12 if quick else 20), (100 if quick else 1000)
    kernel = network()
    law = Compose(Crop(8), BitFlip(0.1))
    wide = Compose(Crop(many * 2 // 5), BitFlip(0.1))
    by_classes = Hypercube(many)
    reference = Hypercube(few).kernel_eigenvalues(kernel)
    error = require(
        "eigenvalues of K: their sum with multiplicities against k(x, x)",
        abs(_trace(reference, few) / float(kernel(np.ones((1, few)))[0, 0]) - 1.0),
        1e-12,
    )

    def enumerated() -> None:
        forget()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", CutBlockWarning)
            Hypercube(few).spectrum(law, kernel, reg=1e-6, n_components=top)

    def classes() -> None:
        forget()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", CutBlockWarning)
            by_classes.spectrum(wide, kernel, reg=1e-9, n_components=top)

    times = measure(
        {
            "enumerated": Task(enumerated),
            "classes": Task(classes),
            "kernel alone": Task(lambda: compute_zonal_eigenvalues(kernel, many)),
        },
        2 if quick else 5,
    )
    for name, t in times.items():
        print(f"  {name:<12} {t.ms:8.1f} ms")
    rows = [
        Row(f"T, K and the top {top} of T_lambda, cube of d = {few}", "2 s", f"{times['enumerated'].best:.2f} s", "",
            times["enumerated"].best <= 2),
        Row(f"the same by classes, d = {many}: crop, flip, {type(kernel).__name__}", "2 s",
            f"{times['classes'].best:.2f} s", "", times["classes"].best <= 2),
    ]  # fmt: skip
    return {"error": error, "times": times, "rows": rows}


def run_risk(quick: bool = False) -> dict[str, Any]:
    """The exact population risk of a fitted model, beside one Gram matrix of its centres."""
    d, n = 64, 400 if quick else 4000
    law, kernel = Compose(Crop(8), BitFlip(0.1)), Gaussian(8.0)
    small = pretrain(BitFlip(0.1).views(hypercube(20, 7, seed=0), 2, seed=1), Gaussian(3.0), 3, reg=1e-2)
    found, expected = (Hypercube(7).risk(psi, Compose(Crop(4), BitFlip(0.1))) for psi in (small, lambda x: small(x)))
    error = require("against enumeration, d = 7", abs(found - expected) / expected, 1e-10)
    rep = pretrain(law.views(hypercube(n // 2, d, seed=0), 2, seed=1), kernel, 16, reg=1e-4)
    centres = np.ascontiguousarray(rep.centres)
    cube = Hypercube(d)
    times = measure(
        {
            "Gram": Task(lambda: gram(kernel, centres)),
            "risk, flips": Task(lambda: cube.risk(rep, BitFlip(0.1))),
            "risk, crop and flips": Task(lambda: cube.risk(rep, law)),
        },
        3 if quick else 9,
    )
    ratios = {name: t.best / times["Gram"].best for name, t in times.items() if name != "Gram"}
    for name, t in times.items():
        print(f"  {name:<20} {t.ms:8.1f} ms  {t.best / times['Gram'].best:5.2f} Gram matrices")
    processor = {name: t.cpu / times["Gram"].cpu for name, t in times.items() if name != "Gram"}
    print(
        "  processor time, in Gram matrices: " + ", ".join(f"{name} {ratio:.1f}" for name, ratio in processor.items())
    )
    row = Row(
        f"exact population risk, {n} centres, d = {d}, k = 16: flips / crop and flips",
        "at most 5 Gram matrices",
        " / ".join(f"{r:.2f}" for r in ratios.values()) + f" ({times['risk, crop and flips'].ms:.0f} ms)",
        f"1 ({times['Gram'].ms:.0f} ms)",
        max(ratios.values()) <= 5,
    )
    return {"error": error, "times": times, "ratios": ratios, "processor": processor, "rows": [row]}


def _trace(values: np.ndarray, d: int) -> float:
    from math import comb

    return float(sum(comb(d, h) * v for h, v in enumerate(values)))
