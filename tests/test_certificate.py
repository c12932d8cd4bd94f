"""The certificate refuses what is wrong, and only that: fits at the edge of rounding against 70 digits."""

import mpmath
import numpy as np
import pytest

from sslcore import CertificateError, NotPositiveSemidefiniteError, pretrain
from sslcore.augmentations import GaussianNoise
from sslcore.datasets import half_moons
from sslcore.features import Identity
from sslcore.kernels import Exponential, Gaussian, Linear, Polynomial

from . import naive
from .comparators import assert_close


def sqdist(x, y):
    return mpmath.fsum((a - b) ** 2 for a, b in zip(x, y, strict=True))


PAIRS = {
    Gaussian: lambda kernel: lambda x, y: mpmath.exp(-sqdist(x, y) / (2 * mpmath.mpf(kernel.scale) ** 2)),
    Exponential: lambda kernel: lambda x, y: mpmath.exp(-mpmath.sqrt(sqdist(x, y)) / mpmath.mpf(kernel.scale)),
    Linear: lambda kernel: mpmath.fdot,
    Polynomial: lambda kernel: lambda x, y: (mpmath.fdot(x, y) + kernel.offset) ** kernel.degree,
}

NEW = np.random.default_rng(7).normal(size=(4, 3))


def samples(n, m, seed, dtype):
    rng = np.random.default_rng(seed)
    return (rng.normal(size=(n, 1, 3)) + 0.3 * rng.normal(size=(n, m, 3))).astype(dtype)


def outcome(
    kernel, reg, dtype, *, n=7, m=2, seed=0, k=3, beta=1.0, unbiased=True, center=False, offset=0.0, solver=None
):
    """Whether a fit is accepted; what is accepted is right in every number."""
    views = samples(n, m, seed, dtype) + np.dtype(dtype).type(offset)
    numbers = {"reg": reg, "beta": beta, "unbiased": unbiased, "center": center}
    try:
        rep = pretrain(views, kernel, k, solver=solver, **numbers)
    except (CertificateError, NotPositiveSemidefiniteError):
        return "refused"
    except ValueError as error:
        if "far from the origin: subtract their mean" not in str(error):
            raise
        return "refused"
    groups = np.repeat(np.arange(n), m)
    new = (NEW + offset).astype(dtype)
    expected = naive.pretrain_exactly(PAIRS[type(kernel)](kernel), views.reshape(-1, 3), groups, new, k, **numbers)
    gamma, invariance, norms, values = expected
    tol = rep.certificate.tolerance
    rank = rep.certificate.rank
    assert (gamma[rank:k] > 1).all(), "an active component is lost"
    assert (np.abs(rep.gamma / gamma[:k] - 1)[:rank] <= 3 * tol).all()
    assert (np.abs(rep.norms / norms[:k] - 1)[:rank] <= 3 * tol**0.5).all()
    assert (beta * np.abs(rep.invariance - invariance[:k])[:rank] <= 3 * tol * gamma[:rank]).all()
    found = rep.transform(new, scale="unit")
    for i in range(rank):
        others = np.delete(gamma, i)
        gap = np.min(np.abs(others - gamma[i]) / np.maximum(others, gamma[i]))
        error = min(np.abs(found[:, i] - s * values[i]).max() for s in (-1, 1))
        assert error <= 10 * tol / gap * max(1.0, np.abs(values[i]).max())
    return "right"


REGS = [1e-2, 1e-5, 1e-8, 1e-11, 1e-16, 1e-20]


@pytest.mark.parametrize("reg", REGS)
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("kernel", [Exponential(0.3), Exponential(3.0), Gaussian(0.3)], ids=repr)
def test_kernels_of_full_rank_are_fitted_at_any_reg(kernel, dtype, reg):
    """gamma is of the order of reg: residuals of the old kind, eps beta / gamma, say nothing."""
    options = {"beta": 7.0, "center": True, "unbiased": False, "m": 3, "n": 5, "seed": 2} if reg in REGS[::2] else {}
    assert outcome(kernel, reg, dtype, **options) == "right"


@pytest.mark.parametrize("reg", REGS)
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("kernel", [Exponential(0.3), Gaussian(5.0)], ids=repr)
def test_fits_without_the_matrix_are_right_or_refused(kernel, dtype, reg):
    found = outcome(kernel, reg, dtype, solver="matrix-free")
    assert found == "right" or (found == "refused" and reg < 1e-4)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("kernel", [Gaussian(1.0), Gaussian(5.0), Linear(), Polynomial(2)], ids=repr)
def test_singular_kernels_are_fitted_or_refused(kernel, dtype):
    """The Gram matrix is singular to rounding: as reg falls, answers are right down to some reg, and refused below."""
    outcomes = []
    large = REGS[: 2 if dtype == np.float64 else 1]
    for regs, options in (
        (REGS, {}),
        (REGS, {"beta": 5.0, "center": True, "m": 3, "n": 6, "seed": 1}),
        (REGS[::2], {"beta": 0.5, "seed": 3, "n": 9}),
    ):
        found = {reg: outcome(kernel, reg, dtype, **options) for reg in regs}
        assert all(found[reg] == "right" for reg in regs if reg in large)
        outcomes += [found[reg] for reg in regs if reg not in REGS[:2]]
    assert "refused" in outcomes or isinstance(kernel, Gaussian)


@pytest.mark.parametrize("reg", [1e-2, 1e-4, 1e-6])
@pytest.mark.parametrize(
    ("dtype", "offset"), [(np.float64, 1e3), (np.float64, 1e7), (np.float32, 30.0), (np.float32, 3e3)]
)
@pytest.mark.parametrize("kernel", [Linear(), Polynomial(2), Gaussian(1.0)], ids=repr)
def test_no_component_is_lost_far_from_the_origin(kernel, dtype, offset, reg):
    """Right, or refused: a component counts as beyond the rank only if it is proved to be inactive."""
    for center in (False, True):
        assert outcome(kernel, reg, dtype, offset=offset, center=center) in ("right", "refused")
    if kernel == Gaussian(1.0) and dtype == np.float64:
        assert outcome(kernel, reg, dtype, offset=offset) == "right"


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_nothing_but_rounding_is_left_by_centring(dtype):
    views = samples(9, 2, 0, dtype)
    for kernel in (Linear(), 2.0 * Linear()):
        with pytest.raises(ValueError, match="far from the origin: subtract their mean"):
            pretrain(views + dtype(1e5 if dtype == np.float32 else 1e10), kernel, 2, reg=1e-2, center=True)
    with pytest.raises(ValueError, match="the kernel is constant at the views"):
        pretrain(views, Gaussian(1e12), 2, reg=1e-2, center=True)
    right = pretrain(views.astype(float), Linear(), 2, reg=1e-2, center=True)
    assert_close(pretrain(views, Linear(), 2, reg=1e-2, center=True).gamma, right.gamma, tol=1e-4)


@pytest.mark.parametrize("lambda_ref", [1e-10, 1e-20])
def test_the_published_study_of_capacity(lambda_ref):
    """exp(-|x - y|^2 / .1) / 200 on half-moons, T averaged over all pairs: the paper's weights are solved."""
    views = GaussianNoise(0.1).views(half_moons(100, seed=0), 2, seed=0)
    kernel = Gaussian(0.05**0.5)
    rep = pretrain(views, kernel, 5, reg=lambda_ref, unbiased=False)
    assert rep.n_active == 5
    # so small a reg fits each pair separately, and the spectrum is that of the norm alone: gamma / reg has a limit
    assert_close(rep.gamma / lambda_ref, pretrain(views, kernel, 5, reg=1e-14, unbiased=False).gamma / 1e-14, tol=1e-3)


@pytest.mark.parametrize(("degree", "reg", "beta"), [(1, 1e-7, 1.0), (2, 1e-8, 7.0), (2, 1e-9, 0.5)])
def test_norms_of_kernels_of_low_rank(degree, reg, beta):
    """Coefficients have a huge part in the null space of the Gram matrix; the norm has not: it is that of features."""
    cube = np.array([[1 - 2 * ((i >> b) & 1) for b in range(3)] for i in range(8)], float)
    views = np.stack([cube, *(cube * np.where(np.arange(3) == b, -1, 1) for b in range(3))], axis=1)
    rep = pretrain(views, Polynomial(degree, 1.0), 3, reg=reg, beta=beta, center=True)
    products = cube if degree == 1 else np.sqrt(2) * cube  # x_i x_j has another gamma
    by_features = pretrain(views * products[0, 0] / cube[0, 0], Identity(), 3, reg=reg, beta=beta, center=True)
    assert_close(rep.norms, by_features.norms, tol=1e-6)
    assert_close(rep.gamma, beta * rep.invariance + reg * rep.norms, tol=1e-6)


@pytest.mark.parametrize("ratio", [1e-8, 1e-12, 1e-16])
@pytest.mark.parametrize("kernel", [Gaussian(1.5), Exponential(1.0)], ids=repr)
def test_rows_of_little_weight_have_little_rounding(kernel, ratio):
    """Coefficients are huge where weights are tiny, and no more wrong for that."""
    views = samples(30, 2, 5, np.float64)
    weights = [np.tile([1.0, r], (30, 1)) for r in (1e-6, ratio)]
    right, found = (pretrain(views, kernel, 3, reg=1e-3, sample_weight=w) for w in weights)
    assert_close(found.gamma, right.gamma, tol=1e-4)
    assert_close(found.norms, right.norms, tol=1e-3)
