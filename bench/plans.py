"""Plans of memory beside peaks: every case in a fresh process (Linux), each planned / peak.

A peak is what is resident at most, by the system's own count, or what is allocated at most, by Python's, whichever is
more: pages of a new array that are not yet written to are allocated and not resident, buffers of LAPACK the reverse.

The C library keeps some of the memory that is freed, up to twice the largest array that went before (64 MiB at most):
how much depends on all that the process did.  So the children are told to give every array back
(``MALLOC_MMAP_THRESHOLD_``), and BLAS, whose buffers stay once they were used, works before the count begins.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any

from .memory import in_fresh_process
from .report import Row

__all__ = ["GRID", "SLACK", "Case", "measured", "run"]

SLACK = 1 << 20
"""Code that the small fit did not load, stacks of threads that it did not start, and pages that are half used."""

MOST, MOST_WITHOUT = 1.3, 1.6
"""What a plan may be of the peak; and without the kernel matrix, where a basis is planned whole and ends half used."""


@dataclass(frozen=True)
class Case:
    """A fit, a path (``points`` > 1) or a search (``folds`` > 0) to be measured."""

    model: str
    n: int
    m: int
    d: int
    k: int = 4
    dtype: str = "float64"
    points: int = 1
    folds: int = 0
    made: bool = False
    groups: bool = False
    uneven: int = 0  # views of the largest sample, of groups
    weights: bool = False
    center: bool = False
    solver: str = ""

    def __str__(self) -> str:
        """The model and the sizes, and what is not as usual."""
        usual = asdict(Case("", 0, 0, 0, 0))
        other = [f"{name}={value}" for name, value in asdict(self).items() if name not in ("model", "n", "m", "d", "k")]
        other = [text for text in other if text != f"{text.split('=')[0]}={usual[text.split('=')[0]]}"]
        return " ".join([f"{self.model} n={self.n} m={self.m} d={self.d} k={self.k}", *other])


GRID = {
    "many components": [
        Case("Gaussian(2.0)", 700, 2, 5, 200),
        Case("Gaussian(2.0)", 700, 2, 5, 60),
        Case("Gaussian(2.0)", 500, 2, 3, 150, points=3),
    ],
    "many coordinates": [
        Case("VonMises(0.5)", 300, 2, 2000),
        Case("VonMises(0.5)", 800, 2, 20),
        Case("Gaussian(70.0)", 250, 2, 5000),
        Case("L1Exponential(1000.0)", 300, 2, 1500),
        Case("PeriodicGaussian(0.5)", 300, 2, 1500),
        Case("Polynomial(3)", 300, 2, 3000),
    ],
    "single precision": [
        Case("Gaussian(40.0)", 400, 2, 2500, dtype="float32"),
        Case("Gaussian(2.0)", 1000, 2, 5, 60, dtype="float32"),
        Case("NTK(2)", 400, 2, 1500, dtype="float32"),
        Case("VonMises(0.5)", 400, 2, 1500, dtype="float32"),
    ],
    "sums and products": [
        Case("Gaussian(3.0)*Exponential(3.0)+Linear()", 800, 2, 9),
        Case("Gaussian(3.0)+Exponential(3.0)*(Matern(1.5,3.0)+Linear())", 800, 2, 9),
        Case("Gaussian(60.0)+Linear()*Exponential(60.0)", 300, 2, 2500),
    ],
    "kernels of one's own": [Case("Even(Gaussian(3.0))", 800, 2, 9), Case("Even(Gaussian(60.0))", 300, 2, 2500)],
    "without the matrix": [
        Case("Exponential(0.3)", 2500, 2, 3, solver="matrix-free"),
        Case("Gaussian(2.0)", 1500, 3, 40, 12, solver="matrix-free"),
        Case("Exponential(1.0)", 2500, 2, 3, dtype="float32", solver="matrix-free"),
    ],
    "networks": [
        Case("NTK(2)", 500, 2, 1500),
        Case("NNGP(2,2.0,0.5)", 500, 2, 1500),
        Case("NTK(300)", 700, 2, 5),
        Case("Convolutional(NTK(1),5)", 500, 2, 30),
        Case("Convolutional(Gaussian(2.0),5)", 1000, 2, 12, dtype="float32"),
    ],
    "given": [Case("Precomputed()", 500, 2, 1), Case("Precomputed()", 500, 2, 1, groups=True)],
    "functions": [Case("Function(Gaussian(2.0))", 600, 2, 5), Case("Function(Gaussian(40.0))", 300, 2, 2000)],
    "layouts": [
        Case("Gaussian(2.0)", 300, 5, 4, weights=True, center=True),
        Case("Gaussian(40.0)", 300, 2, 2000, groups=True, weights=True),
        Case("Gaussian(70.0)", 200, 2, 5000, made=True),
        Case("Gaussian(2.0)", 1500, 1, 4),
    ],
    "uneven samples": [
        Case("Gaussian(2.0)", 300, 4, 4, groups=True, uneven=600),
        Case("Gaussian(2.0)", 300, 4, 4, groups=True, uneven=200, weights=True),
        Case("Identity()", 41, 31, 8, groups=True, uneven=1200, folds=1),
        Case("Identity()", 41, 31, 8, groups=True, uneven=1200, folds=2),
        Case("Nystrom(Gaussian(3.0),64)", 200, 8, 4, groups=True, uneven=1000, weights=True, folds=2),
        Case("Gaussian(2.0)", 300, 4, 4, groups=True, uneven=400, points=3),
    ],
    "searches": [
        Case("Gaussian(2.0)", 800, 2, 4, folds=1),
        Case("Gaussian(50.0)", 250, 2, 2500, folds=5),
        Case("Precomputed()", 450, 2, 1, folds=5),
        Case("Nystrom(Gaussian(3.0),256)", 4000, 2, 9, folds=1),
        Case("Identity()", 450, 20, 300, folds=5),
    ],
    "identity": [
        Case("Identity()", 3000, 2, 200),
        Case("Identity()", 3000, 2, 200, made=True),
        Case("Identity()", 2000, 2, 300, groups=True, weights=True, points=3),
        Case("Identity()", 3000, 2, 300, dtype="float32"),
        Case("Identity()", 1000, 2, 900, 60),
    ],
    "features": [
        Case("Nystrom(Gaussian(3.0),256)", 4000, 2, 9),
        Case("Nystrom(Gaussian(3.0),256)", 14000, 2, 9),
        Case("Nystrom(Gaussian(3.0),256)", 6000, 2, 9, dtype="float32"),
        Case("Nystrom(Gaussian(2.0),800)", 1000, 2, 9, 40),
        Case("Nystrom(Gaussian(3.0),64)", 1500, 10, 9, made=True),
        Case("Nystrom(Gaussian(3.0)+Linear(),128)", 6000, 2, 9),
        Case("Nystrom(Gaussian(200.0),16)", 100, 2, 40_000, 2),
    ],
    "cosines": [
        Case("RandomFourier(Gaussian(3.0),256)", 4000, 2, 9),
        Case("RandomFourier(Gaussian(3.0),256)", 14000, 2, 9),
        Case("RandomFourier(Gaussian(3.0),256)", 6000, 2, 9, dtype="float32"),
        Case("RandomFourier(Gaussian(50.0),512)", 1000, 2, 3000),
        Case("RandomFourier(Gaussian(3.0),600)", 1000, 2, 9, 30, points=4),
    ],
}

CHILD = """
import ctypes, dataclasses, json, tracemalloc, warnings
from dataclasses import dataclass
import numpy as np
from numba.core.dispatcher import Dispatcher
from scipy.linalg import blas, lapack
import sslcore
from sslcore import Views, pretrain, pretrain_path, tunables
from sslcore.augmentations import GaussianNoise
from sslcore.backends import numba_cpu as cpu
from sslcore.features import *
from sslcore.fitting.plan import exact_plan, features_plan
from sslcore.fitting.plan_matrix_free import matrix_free_plan
from sslcore.fitting.sizes import Sizes, Uneven
from sslcore.gram import release_memory
from sslcore.kernels import *
from sslcore.kernels import Kernel, Rows
from sslcore.selection import AutoReg
warnings.simplefilter("ignore")  # of searches on small data: memory alone is looked at

@dataclass(frozen=True)
class EvenRows(Rows):
    base: Rows
    def fill(self, x, first, out):
        self.base.fill(x, first, out)
        other = np.empty_like(out)
        self.base.fill(-x, first, other)
        out += other

@dataclass(frozen=True)
class Even(Kernel):
    base: Kernel
    def rows(self, y, backend):
        return EvenRows(self.base.rows(y, backend))

def status(name):
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) * 1024 for line in file if line.startswith(name))

def sizes_of(n, m):
    sizes = np.full(n, m)
    if uneven := min(options["uneven"], n * m - 2 * (n - 1)):  # one sample of many views, the others share the rest
        rest = n * m - uneven
        sizes = np.append(uneven, rest // (n - 1) + (np.arange(n - 1) < rest % (n - 1)))
    return sizes

def data(n, m, d, options):
    rng = np.random.default_rng(0)
    if options["made"]:
        return Views(rng.normal(size=(n, d)).astype(options["dtype"]), GaussianNoise(0.1), m, 0), {}
    if isinstance(model, Precomputed):
        views = Gaussian(3.0)(rng.normal(size=(n * m, 8)).astype(options["dtype"])).reshape(n, m, n * m)
    else:
        views = rng.normal(size=(n, m, d)).astype(options["dtype"])
    more = {}
    if options["groups"]:
        more["groups"], views = rng.permutation(np.repeat(np.arange(n), sizes_of(n, m))), views.reshape(n * m, -1)
    if options["weights"]:
        more["sample_weight"] = rng.uniform(0.5, 1.5, n * m if options["groups"] else n)
    return views, more

def planned(n, m, d, k, views):
    made, itemsize = options["made"] or options["groups"], np.dtype(options["dtype"]).itemsize
    numbers = {"n_folds": options["folds"], "made": made}
    if options["points"] > 1:
        numbers["n_points"] = options["points"] + 1
    sizes = Sizes(n, n * m, d, k, itemsize, **numbers)
    sizes = dataclasses.replace(sizes, uneven=Uneven.of(sizes_of(n, m), options["folds"]))
    if isinstance(model, Features):
        return features_plan(sizes, model.n_features(d), model).bytes
    if options["solver"]:
        return matrix_free_plan(sizes, model, 1 << 40).bytes
    return exact_plan(sizes, model).bytes

def prepared(n, m, d, k, model, regs):
    views, more = data(n, m, d, options)
    d = n * m if isinstance(model, Precomputed) else d
    more["center"], more["solver"] = options["center"], options["solver"] or None
    if m == 1:
        more["beta"] = 0.0
    expected = planned(n, m, d, k, views)
    if options["points"] > 1:
        return lambda: pretrain_path(views, model, k, regs=regs, memory=expected, **more), expected
    reg = AutoReg(n_folds=options["folds"]) if options["folds"] else 1e-2
    return lambda: pretrain(views, model, k, reg=reg, memory=max(expected, least), **more), expected

def settled():
    release_memory()
    ctypes.CDLL(None).malloc_trim(0)
    with open("/proc/self/clear_refs", "w") as file:
        file.write("5")  # sets VmHWM back to VmRSS

def warm_blas():
    kinds = [(letter, shape) for letter in "ds" for shape in ((768, 4096), (256, 28672))]
    for letter, (rows, columns) in kinds:
        tall, square = np.ones((rows, columns), letter.replace("s", "f")), np.eye(rows, dtype=letter.replace("s", "f"))
        square @ tall, tall.T @ square
        square = np.asfortranarray(square)
        tall = np.asfortranarray(tall)
        getattr(blas, letter + "gemm")(1.0, square, tall)
        for side in (0, 1):  # on some processors packs more of its buffer than a product of these sizes
            getattr(blas, letter + "trsm")(1.0, square, tall.T if side else tall, side=side)
        getattr(lapack, letter + "potrf")(square)

def warm_large():  # what fits of large matrices take in place of a BLAS
    apart = tunables.CPU_SOLVE_APART_ROWS
    for dtype in (np.float64, np.float32):
        square, thin = np.eye(768, dtype=dtype), np.ones((768, 9), dtype, order="F")
        factor = np.asfortranarray(square)
        cpu.cholesky(factor)
        for tunables.CPU_SOLVE_APART_ROWS in (0, apart):
            cpu.cholesky_solve(factor, thin.copy(order="F"))
        cpu.symmetric_product(factor, square.diagonal().copy(), thin)
        cpu.symmetric_product_alone(factor, square.diagonal().copy(), thin)
        cpu.matmul(square, thin), cpu.matmul(factor, thin)
        shifts = cpu.shifted(np.eye(64, dtype=dtype, order="F"))
        right, factors = np.ones((64, 9), dtype, order="F"), [(shifts.factor(1.0), slice(None))]
        shifts.solve(right, factors)
        shifts.rounded().solve(right.astype(np.float32, order="F"), factors)

compiled, add_overload = [], Dispatcher.add_overload

def noticed(self, result):
    compiled.append(self.py_func.__qualname__)
    return add_overload(self, result)

Dispatcher.add_overload = noticed
found, least = [], 1 << 28
for name, n, m, d, k, options in CASES:
    model = eval(name)
    few = model
    if hasattr(model, "landmarks"):
        few = Nystrom(model.kernel, 4)
    elif hasattr(model, "count"):
        few = RandomFourier(model.kernel, 4)
    model, whole = few, model
    prepared(80 if options["solver"] else 20, m, min(d, 64), 2, few, [0.1, 1.0])[0]()  # loads code
    if not found:  # after a fit: what it starts is not in a peak either
        warm_blas(), warm_large()
    model, least = whole, 0
    work, expected = prepared(n, m, d, k, model, list(np.logspace(-2, 0, options["points"])))
    settled()
    before = status("VmRSS")
    compiled.clear()
    result = work()
    peak = status("VmHWM") - before
    assert not compiled, f"{name}: the small fit compiled or loaded no {compiled}, whose memory was counted"
    del result
    tracemalloc.start()
    result = work()
    found.append([max(peak, tracemalloc.get_traced_memory()[1]), expected])
    tracemalloc.stop()
    del result, work
    least = 1 << 28
print(json.dumps(found))
"""


def measured(cases: list[Case]) -> list[tuple[int, int]]:
    """Peak and plan in bytes of each case, one after the other in one fresh process with BLAS on one thread."""
    listed = []
    for case in cases:
        options: dict[str, Any] = asdict(case)
        listed.append([options.pop(name) for name in ("model", "n", "m", "d", "k")] + [options])
    code = f"import json\nCASES = json.loads({json.dumps(json.dumps(listed))})\n{CHILD}"
    found = in_fresh_process(code, OPENBLAS_NUM_THREADS="1", MALLOC_MMAP_THRESHOLD_="131072")
    return [(int(peak), int(planned)) for peak, planned in found]


def most(case: Case) -> float:
    """Return what the plan of a case may be of its peak."""
    return MOST_WITHOUT if case.solver == "matrix-free" else MOST


def kept(case: Case, peak: int, planned: int) -> bool:
    """Whether the plan is no less than the peak, and at most `most` of it, but for the `SLACK`."""
    return peak <= planned + SLACK and planned <= most(case) * peak + SLACK


def run(quick: bool = False) -> dict[str, Any]:
    """Print planned / peak of the whole grid (``quick``: of one case of each group)."""
    rows, listed = [], []
    for group, cases in GRID.items():
        for case in cases[: 1 if quick else None]:
            ((peak, planned),) = measured([case])
            print(f"  {planned / peak:5.2f} {planned / 1e6:7.1f} {peak / 1e6:7.1f} MB  {case}", flush=True)
            listed.append({"group": group, "case": str(case), "peak": peak, "planned": planned})
            limit = f"0 to {100 * (most(case) - 1):+.0f} % of the peak, and {SLACK >> 20} MiB"
            text = f"{planned / peak:.2f} of {peak / 1e6:.1f} MB"
            rows.append(Row(f"plan: {case}", limit, text, "-", kept(case, peak, planned)))
    return {"cases": listed, "rows": rows}
