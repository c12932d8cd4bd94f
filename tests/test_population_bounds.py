"""Sizes beyond all measure have an answer in a moment, or an error that says what is too much."""

from __future__ import annotations

import math
import signal
import warnings
from contextlib import contextmanager

import mpmath
import numpy as np
import pytest

from sslcore.augmentations import BitFlip, Crop, GaussianNoise, Shift, TangentStep
from sslcore.kernels import Exponential, PeriodicGaussian, VonMises
from sslcore.kernels import Gaussian as GaussianKernel
from sslcore.population import (
    CutBlockWarning,
    Gaussian,
    HeatKernel,
    Hypercube,
    Lines,
    PopulationSpectrum,
    Sphere,
    Torus,
)
from sslcore.population.fourier import VonMisesSeries
from sslcore.population.zonal import hermite_multiplicities, multiplicities

NOISE, KERNEL = GaussianNoise(0.1), GaussianKernel(5.0)
HUGE = [10**6 + 1, 2**31, 2**63, 2**70, 10**400, 10**5000]
DOMAINS = [
    *((Torus(d), NOISE, PeriodicGaussian(0.2)) for d in (1, 2, 10**6)),
    *((Sphere(d), HeatKernel(0.1), KERNEL) for d in (2, 3, 10**6)),
    *((Gaussian(d, 1.0), NOISE, KERNEL) for d in (1, 3, 10**6)),
    *((Hypercube(d), BitFlip(0.1), KERNEL) for d in (3, 25, 10**4)),
]


@contextmanager
def within(seconds):
    """A signal ends what takes longer."""

    def late(*_):
        raise AssertionError(f"no answer in {seconds} s")

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(seconds)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", CutBlockWarning)
            yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


@pytest.mark.parametrize(("domain", "law", "kernel"), DOMAINS)
@pytest.mark.parametrize("n", HUGE, ids=range(len(HUGE)))
def test_more_components_than_fit(domain, law, kernel, n):
    for use in (
        lambda: domain.spectrum(law, kernel, reg=1e-3, n_components=n),
        lambda: domain.spectrum(law, None, reg=0.0, n_components=n),
        lambda: domain.minimum_risk(law, kernel, n, reg=1e-3),
        lambda: domain.crossings(law, kernel, n),
        lambda: domain.regimes(law, kernel, n),
    ):
        with within(5), pytest.raises(ValueError, match="n_components must be at least 1 and at most 1000000"):
            use()


@pytest.mark.parametrize(("domain", "law", "kernel"), DOMAINS)
@pytest.mark.parametrize("reg", [0.0, 1e-3])
def test_a_million_components(domain, law, kernel, reg):
    """An answer, or the reason why there is none."""
    with within(30):
        try:
            found = domain.spectrum(law, kernel, reg=reg, n_components=10**6)
        except ValueError as error:
            assert "components" in str(error)  # noqa: PT017
        else:
            assert len(found.labels) == found.n_components == 10**6
            assert found.block_ends[-1] >= 10**6


@pytest.mark.parametrize("size", [1, 10**6, 2**62, 2**63, 2**70, 10**300, 10**5000], ids=range(7))
def test_multiplicities_of_any_size(size):
    with within(5):
        lines = Lines([1.0, 0.5, 0.25], [1.0, 0.5, 0.1], [1, size, size], "abc")
        assert lines.total == 2 * size + 1
        found = PopulationSpectrum.of(lines, 3, reg=0.1, beta=1.0)
        assert found.labels == (("a", "b", "b") if size > 1 else ("a", "b", "c"))
        assert found.block_ends[-1] == (1 + size if size > 1 else 3)
        assert found.minimum_risk() > 0


@pytest.mark.parametrize("bad", [2.5, -1, 0, math.nan, math.inf, "2", None, True, 1j])
def test_what_is_no_multiplicity(bad):
    with pytest.raises((TypeError, ValueError), match="multiplicit"):
        Lines([1.0, 0.5], [1.0, 0.5], [1, bad], "ab")
    assert Lines([1.0], [1.0], [np.uint64(2**63)], "a").total == 2**63


def test_crossings_in_high_dimension():
    with within(20):
        assert Torus(100).crossings(NOISE, PeriodicGaussian(0.4), 5) == []
        with pytest.raises(ValueError, match="outside of the RKHS"):  # 0.5^(10^6) is 0
            Torus(10**6).crossings(NOISE, PeriodicGaussian(0.2), 5)
        assert len(Hypercube(18).crossings(Crop(8), KERNEL, 3)) < 10
        shifts = Shift([0.5, 0.5])
        with pytest.raises(ValueError, match="characters of the shifts"):
            Sphere(10**6).spectrum(shifts, KERNEL, reg=1e-3, n_components=2)
        found = Sphere(20_000).spectrum(TangentStep(0.3), Exponential(1.0), reg=1e-3, n_components=3)
        assert found.labels == (0, 1, 1)


def test_degrees():
    with within(20):
        for d in (1, 3, 10**6):
            assert len(Gaussian(d, 1.0).multiplicities(10_000)) == 10_001
        assert len(Sphere(10**6).multiplicities(10_000)) == 10_001
        for use in (Sphere(3).multiplicities, Gaussian(3, 1.0).multiplicities):
            with pytest.raises(ValueError, match="degree must be at least 0 and at most 10000"):
                use(10**10)
        with pytest.raises(ValueError, match="degree"):
            Gaussian(3, 1.0).augmentation_eigenvalues(NOISE, 10**10)
    for d in (2, 3, 8):
        expected = [math.comb(n + d - 1, d - 1) for n in range(9)]
        assert hermite_multiplicities(d, 8) == expected
        assert multiplicities(d, 8) == [expected[n] - (expected[n - 2] if n > 1 else 0) for n in range(9)]


@pytest.mark.parametrize("scale", [1e-12, 1e-9, 1e-5, 1e-4, 4e-3, 3.92e-3, 0.1, 1.0, 30.0])
@pytest.mark.parametrize("w", [0, 1, 7, 1000, 65_535, 65_537, 10**6, 2**40])
def test_von_mises_coefficients_at_any_scale(scale, w):
    with within(10):
        found = VonMisesSeries(scale)[w]
    z = mpmath.mpf(1) / mpmath.mpf(scale) ** 2
    with mpmath.workdps(40):
        p = mpmath.hypot(w, z)
        if p > 10**4:  # Debye's expansion, one term further
            t = (w / p) ** 2
            u = 1 + (3 - 5 * t) / (24 * p) + (81 - 462 * t + 385 * t**2) / (1152 * p**2)
            u += (30375 - 369603 * t + 765765 * t**2 - 425425 * t**3) / (414720 * p**3)
            expected = mpmath.exp(p - z - w * mpmath.asinh(w / z)) / mpmath.sqrt(2 * mpmath.pi * p) * u
        else:
            expected = mpmath.exp(-z) * mpmath.besseli(w, z)
    assert abs(found - expected) <= 1e-11 * expected + 1e-300


def test_frequencies_beyond_measure():
    with within(20):
        assert Torus(1).kernel_eigenvalues(VonMises(1.0), [2**35])[0] == 0.0
        product = PeriodicGaussian(0.2) * VonMises(1.0)
        with pytest.raises(ValueError, match="up to the frequency"):
            Torus(1).select(NOISE, product, [2**20])
        assert Torus(1).select(NOISE, product, [100]).kernel[0] < 1e-100
