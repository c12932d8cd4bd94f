"""Where an exact fit begins: what some samples know saves steps, and nothing that they miss is missed."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import sslcore
from sslcore import pretrain, tunables
from sslcore.augmentations import GaussianNoise
from sslcore.kernels import Exponential, Gaussian, Linear
from sslcore.solvers.exact import ConditionedKernel

from .comparators import assert_close
from .strategies import dtypes, seeds
from .test_pretrain import check_against_dense, noisy

FEW = 10


@pytest.fixture
def few(monkeypatch):
    monkeypatch.setattr(tunables, "EXACT_FIRST_SAMPLES", FEW)


def chosen(n):
    """The samples that a fit of n begins with."""
    return np.sort(np.random.default_rng(0).choice(n, FEW, replace=False))


def check(x, kernel, k, **numbers):
    n, m, d = x.shape
    rep = pretrain(x, kernel, k, **numbers)
    check_against_dense(rep, kernel(x.reshape(n * m, d)), np.repeat(np.arange(n), m), np.ones(n * m))


@given(
    n=st.integers(8 * FEW - 1, 90),
    m=st.integers(1, 3),
    kernel=st.sampled_from([Gaussian(1.0), Exponential(0.7), Linear(), Gaussian(2.0) + 0.5 * Linear()]),
    beta=st.sampled_from([0.0, 1.0, 1.5]),
    center=st.booleans(),
    k=st.integers(1, 6),
    seed=seeds,
)
def test_the_same_fits(few, n, m, kernel, beta, center, k, seed):
    check(noisy(n, m, 3, seed), kernel, k, reg=1e-2, beta=beta if m > 1 else 0.0, center=center)


@pytest.mark.parametrize("kernel", [Gaussian(1.0), Linear()])
def test_what_these_samples_miss_is_found(few, kernel):
    """All of them are at 0, or far from the rest, of which their rows of K know nothing at all."""
    x = noisy(90, 2, 4)
    x[chosen(90)] = 0.0 if isinstance(kernel, Linear) else x[chosen(90)] + 1000.0
    assert np.abs(kernel(x[chosen(90), 0], np.delete(x[:, 0], chosen(90), axis=0))).max() == 0
    check(x, kernel, 4, reg=1e-3)


def test_several_equal_directions_that_they_miss(few):
    """Samples in six far clusters of equal shape, five of which are not among the chosen: each leads as the others."""
    n, part = 84, noisy(14, 2, 2)
    order = np.argsort(~np.isin(np.arange(n), chosen(n)), kind="stable")
    x = np.empty((n, 2, 2))
    for cluster in range(6):
        x[order[14 * cluster : 14 * cluster + 14]] = part + 1000.0 * cluster
    check(x, Gaussian(1.0), 6, reg=1e-2)


@given(dtype=dtypes)
def test_guesses_are_near_vectors_of_length_one(few, dtype):
    seen = []
    real = ConditionedKernel.guess

    def guess(self, k):
        seen.append((real(self, k), self))
        return seen[-1][0]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ConditionedKernel, "guess", guess)
        pretrain(noisy(90, 2, 3).astype(dtype), Gaussian(1.0), 1, reg=1e-1)
        found, _ = seen[0]
        assert found.shape == (180, 5)
        assert found.dtype == dtype
        assert_close(np.linalg.norm(found, axis=0), np.ones(5), dtype=dtype, tol=0.03)


def test_backends_begin_alike(few, backend):
    x = noisy(90, 2, 3)
    fits = [pretrain(backend.asarray(x), Gaussian(1.0), 3, reg=1e-2), pretrain(x, Gaussian(1.0), 3, reg=1e-2)]
    assert_close(fits[0].gamma, fits[1].gamma, tol=1e-9)
    assert fits[0].certificate.iterations == fits[1].certificate.iterations


def test_it_saves_steps(monkeypatch):
    x = sslcore.datasets.half_moons(900, seed=0)
    views = GaussianNoise(0.1).views(x, 2, seed=0)
    fits = [pretrain(views, Exponential(0.2), 5, reg=1e-5)]
    monkeypatch.setattr(ConditionedKernel, "guess", lambda self, k: None)
    fits.append(pretrain(views, Exponential(0.2), 5, reg=1e-5))
    assert fits[0].certificate.iterations < fits[1].certificate.iterations
    assert_close(fits[0].gamma, fits[1].gamma, tol=1e-10)
