"""Plans: the memory is kept, what is said to fit fits, and seconds are work over rates."""

import json
import math
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from bench.plans import GRID, kept, measured
from sslcore import plan, pretrain, pretrain_path
from sslcore.backends import get_backend
from sslcore.errors import MemoryBudgetError
from sslcore.features import Identity, Nystrom, RandomFourier
from sslcore.fitting import machine_rates as rates
from sslcore.fitting import plan as budget
from sslcore.fitting.data import as_data
from sslcore.fitting.machine_rates import Rates, Work
from sslcore.fitting.posing import pose
from sslcore.fitting.search import make_folds
from sslcore.fitting.sizes import Sizes, Uneven
from sslcore.kernels import Exponential, Function, Gaussian
from sslcore.selection import AutoReg
from sslcore.solvers.objective import Objective

from .test_features import noisy
from .traced import traced_peak

MODELS = {
    "exact": Exponential(1.0),
    "checked": Function(Gaussian(1.0)),
    "Nystrom": Nystrom(Gaussian(1.0), 64),
    "RandomFourier": RandomFourier(Gaussian(1.0), 64),
    "Identity": Identity(),
}


@pytest.mark.parametrize("model", MODELS.values(), ids=MODELS)
def test_memory_is_kept(model):
    """Peaks of what NumPy allocates, of a fit and of a path: at most as planned, and not far below."""
    n, m, d, k = 300, 2, 40 if isinstance(model, Identity) else 3, 4
    views = noisy(n, m, d)
    regs = np.logspace(-3, 0, 6)
    fit = plan(n, m, d, model, k)
    peak = traced_peak(lambda: pretrain(views, model, k, reg=1e-2))
    assert 0.2 * fit.bytes < peak <= 1.1 * fit.bytes
    path = plan(n, m, d, model, k, n_points=6)
    assert path.bytes > fit.bytes
    assert 0.2 * path.bytes < traced_peak(lambda: pretrain_path(views, model, k, regs=regs)) <= 1.1 * path.bytes
    with pytest.raises(MemoryBudgetError):
        pretrain_path(
            views, model, k, regs=regs, memory=path.bytes - 1, solver="dense" if path.algorithm == "exact" else None
        )
    assert pretrain_path(views, model, k, regs=regs, memory=path.bytes).regs.size == 6


@pytest.mark.parametrize(
    ("model", "n_folds", "solver", "dtype", "beta"),
    [
        (Gaussian(2.0), 2, "dense", "float32", 1.0),
        (Gaussian(2.0), 2, "matrix-free", "float32", 1.0),
        (Gaussian(2.0), 0, "matrix-free", "float32", 1.0),
        (Gaussian(2.0), 0, "matrix-free", "float64", 1.0),
        (Gaussian(2.0), 0, "dense", "float64", 0.0),  # whose solver is handed single views
        (Gaussian(2.0), 1, "dense", "float64", 0.0),
        (Gaussian(2.0), 2, "dense", "float32", 0.0),
        (Gaussian(2.0), 0, "matrix-free", "float64", 0.0),
        (Gaussian(2.0), 2, "matrix-free", "float64", 0.0),
        (Identity(), 1, None, "float64", 1.0),
        (Identity(), 2, None, "float64", 1.0),
        (Nystrom(Gaussian(2.0), 64), 5, None, "float32", 1.0),
    ],
)
@pytest.mark.filterwarnings("ignore")  # of searches on noise
def test_memory_of_one_large_sample(model, n_folds, solver, dtype, beta):
    """Rotations of m^2 numbers are most of it: of a sample that is held out, three times those of a fit."""
    rng = np.random.default_rng(0)
    groups = np.append(np.zeros(1200, int), 1 + np.arange(80) // 2)
    views = rng.normal(size=(len(groups), 4)).astype(dtype)
    reg = AutoReg(n_folds=n_folds, regs=(1e-2, 1e-1)) if n_folds else 1e-2

    def fit(memory):
        return pretrain(views, model, 2, groups=groups, reg=reg, beta=beta, solver=solver, memory=memory)

    with pytest.raises(MemoryBudgetError) as caught:
        fit(1)
    planned = caught.value.needed
    peak = traced_peak(lambda: fit(planned))
    assert 0.6 * planned < peak <= 1.02 * planned


@pytest.mark.parametrize(
    ("n", "m", "n_folds", "solver"),
    [(2, 1000, 0, "dense"), (2, 1000, 0, "matrix-free"), (4, 600, 2, "dense"), (4, 600, 1, "matrix-free")],
)
@pytest.mark.filterwarnings("ignore")  # of searches on noise
def test_memory_of_pairs_that_are_measured_after_the_fit(n, m, n_folds, solver):
    """With beta = 0 the solver is handed single views, and then the pairs of the samples are rotated, m^2 each."""
    views = np.random.default_rng(0).normal(size=(n, m, 3))
    reg = AutoReg(n_folds=n_folds, regs=(1e-1, 1.0)) if n_folds else 1e-1

    def fit(memory):
        return pretrain(views, Gaussian(2.0), 2, reg=reg, beta=0.0, solver=solver, memory=memory)

    with pytest.raises(MemoryBudgetError) as caught:
        fit(1)
    planned = caught.value.needed
    assert 0.6 * planned < traced_peak(lambda: fit(planned)) <= 1.02 * planned


@pytest.mark.parametrize("order", ["C", "F"])
def test_memory_of_features_that_are_the_data(order):
    """Blocks in C order are read as they lie; others are copied, one at a time."""
    views = np.asarray(noisy(20_000, 2, 100), order=order)
    planned = plan(20_000, 2, 100, Identity(), 2, made=order == "F").bytes
    peak = traced_peak(lambda: pretrain(views, Identity(), 2, reg=1e-2))
    assert 0.9 * planned < peak <= planned
    with pytest.raises(MemoryError, match="budget"):
        pretrain(views, Identity(), 2, reg=1e-2, memory=int(0.9 * peak))


@pytest.mark.parametrize(
    ("n", "m", "d", "scale", "dtype"), [(3000, 2, 3, 2.0, "float64"), (900, 3, 400, 40.0, "float32")]
)
def test_memory_of_a_fit_to_some_of_the_samples(n, m, d, scale, dtype):
    """The basis of the iteration without the kernel matrix begins with it, and it is not as large as its own matrix."""
    views = noisy(n, m, d).astype(dtype)
    planned = plan(n, m, d, Gaussian(scale), 2, solver="matrix-free", dtype=dtype).bytes
    peak = traced_peak(lambda: pretrain(views, Gaussian(scale), 2, reg=1e-2, solver="matrix-free"))
    assert 0.6 * planned < peak <= 1.02 * planned


@pytest.mark.parametrize(
    ("sizes", "n_folds"),
    [([2] * 10 + [1] * 10, 1), ([3] * 30 + [2] * 13, 5), ([2] * 7 + [1] * 2, 3), ([2] * 60_000, 1), ([2] * 60_000, 5)],
)
def test_training_parts_are_counted(sizes, n_folds):
    """As large as the folds that are made, of the samples with most views; many may be split once."""
    sizes, n = np.array(sizes), len(sizes)
    search = AutoReg(n_folds=None if n > 500 and n_folds > 1 else n_folds)
    folds = make_folds(sizes, search, False)
    trained = max(int((folds.part != f).sum()) for f in range(folds.count))
    of = Sizes(n, int(sizes.sum()), 3, 2, n_folds=n_folds)
    of = replace(of, uneven=Uneven.of(sizes, n_folds))
    assert of.training_part().n == trained
    assert of.training_part().n_views == np.sort(sizes)[n - trained :].sum()


@given(sizes=st.lists(st.integers(1, 4), min_size=8, max_size=40), single_views=st.booleans())
def test_one_split_is_counted_as_it_is_made(sizes, single_views):
    """With beta = 0 samples of one view are like the others, and quarters of both are rounded together."""
    sizes, n = np.array(sizes), len(sizes)
    assume(single_views or (sizes > 1).sum() >= 4)
    trained = int((make_folds(sizes, AutoReg(n_folds=1), single_views).part != 0).sum())
    most = int(np.sort(sizes)[n - trained :].sum())
    views = np.zeros((sizes.sum(), 3))
    data = as_data(views, np.repeat(np.arange(n), sizes), None, single_views=single_views)
    of = pose(
        Gaussian(1.0), data, Objective(2, 1.0, 0.0 if single_views else 1.0, True, False), get_backend(views), 10**9,
        n_folds=1,
    )._checked(1)  # fmt: skip
    part = of.training_part()
    assert part.n_views == most
    assert part.n == (most if single_views else trained)


def test_unlike_samples_have_no_number_that_fits():
    """What fewer samples take depends on whether the largest is among them: no number is named."""
    groups = np.append(np.zeros(100, int), 1 + np.arange(100) // 2)
    views = np.random.default_rng(0).normal(size=(200, 3))
    for solver in ("dense", "matrix-free"):
        with pytest.raises(MemoryBudgetError, match=r"use fewer samples$"):
            pretrain(views, Gaussian(1.0), 2, groups=groups, reg=0.1, solver=solver, memory=300_000)


@pytest.mark.parametrize("solver", ["dense", "matrix-free"])
def test_the_samples_that_would_fit_are_no_views(solver):
    """With beta = 0, where the solver is handed views one by one, samples are named nevertheless."""
    views = np.random.default_rng(0).normal(size=(400, 3, 2))

    def fit(n):
        return pretrain(views[:n], Gaussian(1.0), 2, reg=0.1, beta=0.0, solver=solver, memory=700_000)

    with pytest.raises(MemoryBudgetError, match=r"use fewer samples \(at most \d+ fit\)") as caught:
        fit(400)
    most = int(str(caught.value).split("at most ")[1].split()[0])
    fit(most)
    with pytest.raises(MemoryBudgetError):
        fit(most + 1)


RESIDENT = """
import ctypes, json
import numpy as np
from sslcore import Views, plan, pretrain, pretrain_path
from sslcore.augmentations import GaussianNoise
from sslcore.features import Nystrom
from sslcore.gram import release_memory
from sslcore.kernels import Exponential, Gaussian

def status(name):
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) * 1024 for line in file if line.startswith(name))

x = np.random.default_rng(0).standard_normal((1500, 3))
regs = [1e-2, 1e-1]
found = []
exact, features = (Exponential(1.0), Views(x[:1250], GaussianNoise(0.1), 2, 0)), (
    Nystrom(Gaussian(2.0), 512), Views(x, GaussianNoise(0.1), 2, 0))
for model, views in (exact, features):
    for points in (1, 2):
        def fit(views):
            if points == 1:
                return pretrain(views, model, 4, reg=1e-2)
            return pretrain_path(views, model, 4, regs=regs)
        fit(Views(x[:600], GaussianNoise(0.1), 2, 0))  # loads libraries, buffers of BLAS
        release_memory()
        ctypes.CDLL(None).malloc_trim(0)
        with open("/proc/self/clear_refs", "w") as file:
            file.write("5")  # sets VmHWM back to VmRSS
        before = status("VmRSS")
        result = fit(views)
        found.append([status("VmHWM") - before, plan(len(views), 2, 3, model, 4, n_points=points).bytes])
        del result
print(json.dumps(found))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_resident_memory_is_kept(monkeypatch):
    """The system's own count, with what LAPACK and our threads allocate: fits and paths, exact and of features."""
    monkeypatch.setenv("OPENBLAS_NUM_THREADS", "1")
    done = subprocess.run([sys.executable, "-c", RESIDENT], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert len(found) == 4
    for peak, planned in found:
        assert peak <= 1.1 * planned + (4 << 20), found
    assert found[0][0] > 0.4 * found[0][1]  # it is measured at all


# ---------------------------------------------------------------- what would fit


@given(
    n=st.integers(2, 3000),
    m=st.integers(1, 4),
    d=st.integers(1, 50),
    k=st.integers(1, 2),
    share=st.floats(0.0, 0.999),
    n_points=st.sampled_from([1, 1, 5]),
    dtype=st.sampled_from(["float64", "float32"]),
)
def test_the_largest_that_fits_is_named(n, m, d, k, share, n_points, dtype):
    for model in (Gaussian(1.0), Nystrom(Gaussian(1.0), n)):
        exact = isinstance(model, Gaussian)
        arguments = (n, m, d, model, k, dtype)
        whole = plan(*arguments, n_points=n_points)
        memory = max(1, int(share * whole.bytes))
        with pytest.raises(MemoryBudgetError) as caught:
            plan(*arguments, memory=memory, n_points=n_points, solver="dense" if exact else None)
        message = str(caught.value)
        assert message.endswith(whole.fitting(memory))
        assert whole.fitting(whole.bytes) == "this keeps it"

        def smaller(size, exact=exact):
            given = (size, m, d, Gaussian(1.0)) if exact else (n, m, d, Nystrom(Gaussian(1.0), size))
            return plan(*given, k, dtype, n_points=n_points).bytes

        if "at most" in message:
            largest = int(message.split("(at most ")[1].split(" fit)")[0].replace(",", ""))
            assert 1 <= largest < n
            assert smaller(largest) <= memory < smaller(largest + 1)
            exactly = smaller(largest)
            assert f"(at most {largest:,} fit)" in whole.fitting(exactly)
        else:
            assert smaller(1) > memory
        if "Nystrom(kernel, " in message:
            named = int(message.split("Nystrom(kernel, ")[1].split(")")[0])
            assert plan(n, m, d, Nystrom(Gaussian(1.0), named), k, dtype, n_points=n_points).bytes <= memory


# ---------------------------------------------------------------- seconds


def test_seconds_are_work_over_rates():
    speeds = Rates(products=2.0, factors=3.0, values=5.0, copies=7.0)
    assert Work(values=10.0).seconds(speeds) == pytest.approx(2.0)
    assert Work(products=10.0).seconds(speeds) == pytest.approx(5.0)
    assert Work(factors=9.0).seconds(speeds) == pytest.approx(3.0)
    assert Work(steps_flops=8.0, steps_bytes=7.0).seconds(speeds) == pytest.approx(4.0)  # bound by arithmetic
    assert Work(steps_flops=8.0, steps_bytes=70.0).seconds(speeds) == pytest.approx(10.0)  # bound by memory
    work = Work(10.0, 10.0, 9.0, 8.0, 70.0)
    assert work.seconds(speeds) == pytest.approx(20.0)
    assert work.flops == 27.0


def test_work_is_counted(monkeypatch):
    """Leading terms in closed form, and what each argument does to the time."""
    monkeypatch.setattr(budget, "measured_rates", lambda backend: Rates(1e11, 5e10, 2e9, 1e10))
    exact = plan(1000, 2, 8, Gaussian(1.0), 4)
    assert exact.work.values == 2000**2 / 2
    assert exact.work.products == 2000**2 * 8
    assert exact.work.factors == pytest.approx(1000**3 / 3)
    assert plan(1000, 2, 8, Function(Gaussian(1.0)), 4).work.factors == pytest.approx((1000**3 + 2000**3) / 3)
    for n_points, factors in ((5, 6), (9, 4)):  # kernel PCA is one more; many places share what four take
        work = plan(1000, 2, 8, Gaussian(1.0), 4, n_points=n_points).work
        assert work.factors == pytest.approx(factors * 1000**3 / 3)
    assert exact.flops == exact.work.products + exact.work.factors + exact.work.steps_flops
    nystrom = plan(1000, 2, 8, Nystrom(Gaussian(1.0), 64), 4)
    assert nystrom.work.values == 2000 * 64
    assert nystrom.work.products == 2000 * (2 * 64 * 8 + 2 * 64**2)
    assert nystrom.work.factors == pytest.approx(64**3 / 3)
    identity = plan(1000, 2, 64, Identity(), 4)
    assert (identity.work.values, identity.work.products) == (0.0, 2000 * 64**2)
    for model in MODELS.values():
        base = plan(500, 2, 60, model, 4)
        assert base.seconds > 0
        assert base.seconds < plan(600, 2, 60, model, 4).seconds
        assert base.seconds < plan(500, 3, 60, model, 4).seconds
        assert base.seconds < plan(500, 2, 60, model, 40).seconds
        assert base.seconds < plan(500, 2, 60, model, 4, n_points=2).seconds


def test_rates_are_measured_once(monkeypatch):
    calls = []
    monkeypatch.setattr(rates, "_measured", {})
    monkeypatch.setattr(rates, "_measure", lambda backend: calls.append(backend.NAME) or Rates(1.0, 1.0, 1.0, 1.0))
    first = plan(100, 2, 3, Gaussian(1.0), 4)
    assert calls == []  # planning measures nothing
    assert first.seconds == first.seconds > 0
    assert plan(100, 2, 3, Identity(), 2).seconds > 0
    assert calls == ["numba"]


def test_rates_of_a_backend(backend):
    measured = rates._measure(backend.primitives, n=48)
    for speed in (measured.products, measured.factors, measured.values, measured.copies):
        assert 1e3 < speed < 1e16
    assert plan(100, 2, 3, Gaussian(1.0), 4, backend=backend.name).bytes > 0


BAD = {
    "n": (0, -1, 2.0, math.nan, math.inf, "10", None, True, 10**400, [3]),
    "n_views": (0, -2, 1.5, "2", None, 10**30),
    "d": (0, -3, math.nan, "x", None, 10**400),
    "n_components": (0, -1, 0.5, "auto", None, 2**60),
    "n_points": (0, -1, math.inf, "3", None, 10**20),
    "dtype": ("complex64", "nonsense", "float128", object, 3, "U4"),
    "memory": (0, -1, 0.5, 1e9, math.nan, True, b"8GB", [8]),
    "backend": ("gpu", 3, "NUMBA"),
    "model": (None, "gaussian", 3, object()),
}
WORDS = "|much|GB|-8GB|0GB|8 G B|8IB|nan|inf|1e999|8PB|0x10|8,5GB|\u0663GB|" + "9" * 400
BAD["memory"] += tuple(WORDS.split("|"))


@pytest.mark.parametrize(("name", "value"), [(name, value) for name, values in BAD.items() for value in values])
def test_bad_arguments(name, value):
    """One clear error: what was expected, what was found."""
    arguments = {"n": 10, "n_views": 2, "d": 3, "model": Gaussian(1.0), "n_components": 2} | {name: value}
    with pytest.raises((TypeError, ValueError)) as caught:
        plan(**arguments)
    message = str(caught.value)
    assert {"dtype": "dtype", "model": "kernel"}.get(name, name) in message
    assert "found" in message
    assert len(message) < 700


@pytest.mark.parametrize(
    ("memory", "expected"),
    [
        *{1: 1, 10**400: 10**400, np.int64(5): 5, " 8 GB ": 8e9, "8gb": 8e9, "8GiB": 8 * 2**30, "1e3": 1000}.items(),
        *{"1.5k": 1500, "2.5e9 B": 25e8, "3TiB": 3 * 2**40, "12": 12, "7.": 7}.items(),
    ],
)
def test_budgets(memory, expected):
    assert budget.memory_budget(memory) == expected


def test_a_machine_that_has_nothing_left(monkeypatch):
    monkeypatch.setattr(budget, "free_memory", lambda: 0)
    with pytest.raises(
        MemoryBudgetError, match=r"needs .* the budget is 0 kB \(nothing was allocated\); use fewer samples"
    ):
        plan(1000, 2, 3, Gaussian(1.0), 2)


def test_bad_input():
    with pytest.raises(ValueError, match="n_points must be at least 1, found 0"):
        plan(10, 2, 3, Gaussian(1.0), 2, n_points=0)
    with pytest.raises(ValueError, match="backend must be one of"):
        plan(10, 2, 3, Gaussian(1.0), 2, backend="gpu")
    with pytest.raises(ValueError, match="memory must be a number of bytes"):
        plan(10, 2, 3, Gaussian(1.0), 2).fitting("much")


# ---------------------------------------------------------------- plans against the system's own count


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("cases", GRID.values(), ids=GRID)
def test_plans_hold(cases):
    """A budget equal to the plan is kept, whatever the model, the numbers and the layout; plans are of that size."""
    for case, (peak, planned) in zip(cases, measured(cases), strict=True):
        assert kept(case, peak, planned), (str(case), peak, planned)
