"""All kernels of the GPU backend in the checking build: nothing out of bounds, no race, in every order of threads."""

from __future__ import annotations

import re

import numpy as np
import pytest

from sslcore import Moments, pretrain, risk
from sslcore.backends import get_backend
from sslcore.features import Identity, Nystrom
from sslcore.gram import gram, kernel_product
from sslcore.kernels import Gaussian, L1Exponential, Polynomial, VonMises
from sslcore.solvers.rotated_gram import contrast_gram

from ..comparators import assert_close
from ..examples import AUGMENTATIONS, KERNELS
from . import launcher, settings, standin
from .compiler import has_compiler
from .package import sources

pytestmark = pytest.mark.skipif(not has_compiler(), reason="CUDA code on the host is compiled by g++")

KERNEL = r"__global__ void\s+(?:__launch_bounds__\([^)]*\)\s*)?(\w+)\("
launched: set[str] = set()


@pytest.fixture(autouse=True)
def record(monkeypatch):
    """Which kernels the tests of this file call."""
    call = launcher.RawKernel.__call__

    def recorded(self, *args, **kwargs):
        launched.add(self.name)
        return call(self, *args, **kwargs)

    monkeypatch.setattr(launcher.RawKernel, "__call__", recorded)


@pytest.fixture(params=settings.ORDERS)
def order(request):
    return request.param


def compare(order, function, *arrays, tol=1e-12):
    """A function of arrays on the CPU, and with every kernel checked."""
    expected = function(*arrays)
    with standin.installed() as cupy, settings.running(order=order, seed=5, checked=True):
        found = function(*(cupy.asarray(a) for a in arrays))
        if not isinstance(expected, tuple):
            found, expected = (found,), (expected,)
        for f, e in zip(found, expected, strict=True):
            f = cupy.asnumpy(f) if isinstance(f, cupy.ndarray) else np.asarray(f)
            assert_close(f, np.asarray(e), tol=tol, scale=max(1.0, float(np.abs(e).max())))


def samples(*shape, dtype=np.float64, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


@pytest.mark.parametrize("name", sorted(AUGMENTATIONS))
def test_views(order, name):
    for a, d in AUGMENTATIONS[name]:
        if d < 100:
            compare(order, lambda x, a=a: a.views(x, 3, seed=1, first=7), samples(9, d), tol=0.0)
            compare(order, lambda x, a=a: a.views(x, 2, seed=3), samples(5, d, dtype=np.float32), tol=0.0)


@pytest.mark.parametrize("d", [1, 17, 60])
@pytest.mark.parametrize(
    "kernel",
    [makes[-1](1.5) for _, makes in sorted(KERNELS.items())],
    ids=lambda k: type(k).__name__,
)
def test_gram(order, kernel, d):
    x, y = samples(66, d), samples(71, d, seed=1)
    y[:3] = x[:3]
    compare(order, lambda x, y: (gram(kernel, x, y), gram(kernel, x)), x, y)
    compare(order, lambda x, y: kernel_product(kernel, x, y, y[:, :1]), x, y, tol=1e-11)


@pytest.mark.parametrize("kernel", [Gaussian(1.5), L1Exponential(1.5), VonMises(0.7)], ids=repr)
@pytest.mark.parametrize("columns", [3, 10, 19])
def test_products(order, kernel, columns, monkeypatch):
    """Several blocks of threads and shares of points; columns in groups of 4, 8 and 12, not all of which are used."""
    monkeypatch.setattr("sslcore.tunables.CUDA_PRODUCT_POINTS", 50)
    x, c = samples(530, 3), samples(530, columns, seed=2)
    compare(order, lambda x, c: (kernel_product(kernel, x, None, c), kernel_product(kernel, x[:9], x, c)), x, c)


@pytest.mark.parametrize("kernel", [Gaussian(30.0), Polynomial(2)])
def test_gram_of_many_coordinates(order, kernel):
    """Products are cuBLAS's there."""
    x, y = samples(66, 600), samples(71, 600, seed=1)
    y[:3] = x[:3]
    compare(order, lambda x, y: (gram(kernel, x, y), gram(kernel, x)), x, y, tol=1e-11)


@pytest.mark.parametrize("kernel", [Gaussian(1.0), Gaussian(1.0) + 0.5 * Polynomial(2)])
@pytest.mark.parametrize("m", [2, 3])
def test_contrast_gram(order, m, kernel):
    def blocks(v):
        rotated = contrast_gram(kernel, v)
        return rotated.mean, rotated.cross, rotated.contrast

    compare(order, blocks, samples(35, m, 2))
    compare(order, blocks, samples(36, m, 12))  # whose blocks can be stored by runs


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shape", [(37, 3, 5), (20, 3, 8), (9, 9, 5), (17, 2, 132), (9, 2, 276), (11, 4, 72)])
def test_risk(order, shape, dtype):
    z = samples(*shape, dtype=dtype)
    tol = 1e-12 if dtype == np.float64 else 1e-5
    compare(order, lambda z: risk.vicreg(z, beta=0.7, return_grad=True), z, tol=tol)
    compare(order, lambda z: risk.spectral_contrastive(z, unbiased=True, return_grad=True), z, tol=tol)


@pytest.mark.parametrize(("d", "columns"), [(3, 5), (13, 1), (5, 300), (2, 5000)])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_walsh_hadamard(order, d, columns, dtype):
    x = np.random.default_rng(0).integers(-9, 9, (2**d, columns)).astype(dtype)
    compare(order, lambda x: get_backend(x).walsh_hadamard(x.copy()), x, tol=0.0)  # sums of integers are exact


@pytest.mark.parametrize(("k", "q", "t"), [(1, 1, 3), (5, 4, 200), (17, 3, 130)])
def test_prefix_probes(order, k, q, t):
    def probes(z, y, test, target):
        sizes, penalty = np.array([4, 30, 41]), np.full(k, 1e-3)
        return get_backend(z).prefix_probes(z, y, sizes, test, target, penalty, 1e-6)

    z, y, test, target = samples(3, 41, k), samples(3, 41, q, seed=1), samples(t, k, seed=2), samples(t, q, seed=3)
    compare(order, probes, z, y, test, target, tol=1e-9)


def test_exact_pretraining(order):
    views = samples(20, 1, 3) + 0.2 * samples(20, 2, 3, seed=1)

    def solve(v):
        fitted = pretrain(v, Gaussian(1.5), 4, reg=1e-2, center=True)
        return fitted.eigenvalues, abs(fitted.transform(v[:, 0]))

    compare(order, solve, views, tol=1e-8)


def test_features(order):
    views = samples(40, 1, 3) + 0.2 * samples(40, 2, 3, seed=1)

    def solve(v):
        moments = Moments(Identity()).update(v[:15]).update(v[15:])
        fitted = moments.solve(3, reg=1e-2, beta=1.0)
        return fitted.eigenvalues, abs(fitted.transform(v[:, 0]))

    compare(order, solve, views, tol=1e-9)
    compare(order, lambda v: pretrain(v, Nystrom(Gaussian(1.0), 12, seed=0), 3, reg=1e-2).eigenvalues, views, tol=1e-9)


def test_second_moments_in_float32(order):
    def moments(rows):
        backend = get_backend(rows)
        total = backend.xp.ones((rows.shape[1], rows.shape[1]), order="F")
        backend.add_second_moment(total, rows, 0.5)
        return backend.xp.triu(total)

    for r in (1, 31, 300):
        compare(order, moments, samples(20, r, dtype=np.float32), tol=1e-6)


def test_every_kernel_was_launched(request):
    """After the others of this file, of which a selection may have run."""
    selected = {item.function.__name__ for item in request.session.items if item.path == request.path}
    if not {name for name in globals() if name.startswith("test_")} <= selected or request.config.option.keyword:
        pytest.skip("a selection of this file's tests runs")
    declared = {n for s in sources.NAMES for n in re.findall(KERNEL, sources.text(s))}
    assert declared <= {re.sub("<.*", "", n) for n in launched}
