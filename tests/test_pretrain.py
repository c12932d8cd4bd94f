"""The solvers: against dense linear algebra, against published formulations, on degenerate and singular data."""

import itertools
import json
import math

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from sklearn.decomposition import KernelPCA

import sslcore
from sslcore import CertificateError, Views, pretrain, tunables
from sslcore.augmentations import BitFlip, GaussianNoise
from sslcore.features import Identity, Nystrom
from sslcore.kernels import Exponential, Function, Gaussian, Linear, Matern, Polynomial, Precomputed, _rows
from sslcore.risk import vicreg

from . import naive
from .comparators import assert_close, assert_same_eigenspaces, assert_same_subspace
from .strategies import LAYOUTS, layouts, seeds, sizes, with_layout
from .test_samples import groupings

KERNELS = [Gaussian(1.0), Exponential(0.7), Matern(1.5, 2.0), Linear(), Polynomial(2), Gaussian(2.0) + 0.5 * Linear()]
betas = st.sampled_from([0.0, 0.5, 1.0, 1.5])
regs = st.sampled_from([1e-1, 1e-2, 1e-3])
booleans = st.booleans()


def normal(shape, seed=0, dtype=np.float64):
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


def noisy(n, m, d, seed=0, noise=0.3):
    """Views of samples: the same point with noise."""
    rng = np.random.default_rng(seed)
    return rng.standard_normal((n, 1, d)) + noise * rng.standard_normal((n, m, d))


def unit_values(rep):
    """Unit eigenfunctions at the training views, (N, k), from the coefficients and the kernel."""
    return rep.transform(rep.centres, scale="unit")


def check_against_dense(rep, matrix, groups, weight, *, tol=1e-8):
    """All that a fit says, against the dense operator on the same Gram matrix."""
    numbers = {"reg": rep.reg, "beta": rep.beta, "unbiased": rep.unbiased, "center": rep.center}
    values, vectors = naive.pretrain(matrix, groups, weight, **numbers)
    p = weight / weight.sum()
    k, rank = rep.n_components, rep.certificate.rank
    assert rep.gamma.shape == rep.invariance.shape == rep.norms.shape == (k,)
    # what is not there is inactive and near the rounding of the largest, and it is all zero
    assert (values[rank:k] <= np.minimum(1e-5 * values[0], 1.0)).all()
    assert np.isinf(rep.gamma[rank:]).all()
    assert (np.diff(rep.gamma[:rank]) >= 0).all()
    assert (rep.coefficients[:, rank:] == 0).all()
    assert (rep.eigenvalues[rank:] == -np.inf).all()

    found = unit_values(rep)
    v = np.sqrt(p)[:, None] * found[:, :rank]
    assert_same_eigenspaces(1 / rep.gamma[:rank], v, values, vectors, tol=100 * tol, gap=1e-3)
    relative = np.abs(rep.gamma[:rank] * values[:rank] - 1)
    assert (relative <= tol * values[0] / values[:rank]).all()
    assert_close(rep.eigenvalues[:rank], 1 - rep.gamma[:rank], tol=0)
    # transform at the training views gives the stored values, and they are orthonormal under the weights; rounding of
    # the Gram matrix, relative to a small 1/gamma, is what the certificate allows
    solid = int((values[:rank] > 1e-4 * values[0]).sum())
    for some, within in ((solid, 10 * tol), (rank, 1e-5)):
        stored = rep.values.reshape(-1, k)[:, :some]
        assert_close(stored, found[:, :some], tol=within, scale=float(np.abs(found).max()) + 1e-300)
        assert_close(v[:, :some].T @ v[:, :some], np.eye(some), dtype=v.dtype, tol=10 * within, scale=1.0)
    if rep.center and rank:
        assert np.abs(p @ found[:, :solid]).max(initial=0.0) <= 10 * tol
    # what gamma splits into
    f = found[:, :rank].astype(float)
    w = np.sqrt(p)[:, None] * f
    inv = np.einsum("ak,ab,bk->k", w, naive.invariance(groups, p, rep.unbiased), w)
    assert_close(rep.invariance[:solid], inv[:solid], tol=10 * tol, scale=2.0)
    assert_close(rep.invariance[:rank], inv, tol=1e-5, scale=2.0)
    alpha = rep.coefficients[:, :rank].astype(float)
    norms = np.einsum("ak,ab,bk->k", alpha, matrix, alpha)
    for some, within in ((solid, 10 * tol), (rank, 1e-5)):
        scale = float(rep.gamma[:some].max(initial=0.0))
        assert_close(rep.reg * rep.norms[:some], rep.reg * norms[:some], tol=within, scale=scale)
        assert_close((rep.beta * inv + rep.reg * norms)[:some], rep.gamma[:some], tol=within, scale=scale)
    # risk and activity
    mu = np.clip(rep.eigenvalues, 0, None)
    assert rep.n_active == int((rep.eigenvalues > 0).sum())
    assert rep.risk == pytest.approx(k - float((mu**2).sum()), abs=1e-12 * k)
    assert_close(rep.embedding.reshape(-1, k), rep.values.reshape(-1, k) * np.sqrt(mu), dtype=found.dtype, tol=1e-6)
    # and the evidence
    certificate = rep.certificate
    if rank < k:
        assert certificate.eigengap == 0
        assert not certificate.cuts_block
    elif k < len(values) and values[k] > 1e-6 * values[0]:
        assert certificate.cuts_block == (values[k] > (1 - 1e-6) * values[k - 1])
        assert certificate.eigengap == pytest.approx(1 / values[k] - 1 / values[k - 1], rel=1e-2, abs=1e-8 / values[k])
    assert certificate.worst <= certificate.tolerance
    assert certificate.orthonormality <= 10 * tol
    assert certificate.residuals.shape == (k,)


# ---------------------------------------------------------------- against dense linear algebra


@given(
    n=sizes(7, minimum=1),
    m=st.integers(2, 4),
    d=st.integers(1, 4),
    k=st.integers(1, 6),
    kernel=st.sampled_from(KERNELS),
    beta=betas,
    reg=regs,
    unbiased=booleans,
    center=booleans,
    layout=layouts,
    seed=seeds,
)
def test_exact_solver_property(backend, n, m, d, k, kernel, beta, reg, unbiased, center, layout, seed):
    views = with_layout(noisy(n, m, d, seed), layout)
    k = min(k, n * m)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_rows, "block_rows", lambda columns, itemsize: 7)
        patch.setattr(tunables, "CPU_ROTATION_TILE_VALUES", 60)
        patch.setattr(backend.primitives, "BLOCK_FACTOR", 1)
        there = backend.asarray(views)
        rep = pretrain(there, kernel, k, reg=reg, beta=beta, unbiased=unbiased, center=center)
        embedding = backend.asnumpy(rep.embedding)
    rep = rep.to("numba")
    assert_close(rep.embedding, embedding, tol=0)
    x = views.reshape(-1, d)
    matrix = naive.gram(kernel, x).astype(float)
    check_against_dense(rep, matrix, np.repeat(np.arange(n), m), np.ones(n * m))
    assert rep.values.shape == rep.embedding.shape == (n, m, k)
    assert rep(views).shape == (n, m, k)
    assert rep(x[:3]).shape == (min(3, n * m), k)
    assert np.array_equal(rep.centres, x)
    assert rep.coefficients.shape == (n * m, k)


@given(
    grouping=groupings(max_samples=7),
    k=st.integers(1, 5),
    kernel=st.sampled_from(KERNELS),
    beta=betas,
    reg=regs,
    unbiased=booleans,
    center=booleans,
    seed=seeds,
)
def test_groups_and_weights_property(backend, grouping, k, kernel, beta, reg, unbiased, center, seed):
    groups, weight = grouping
    if len(set(groups)) == len(groups) and beta > 0:
        groups = np.append(groups, 0)
        weight = None if weight is None else np.append(weight, 0.7)
    k = min(k, len(groups))
    x = normal((len(groups), 2), seed) + normal((len(groups), 2), seed + 1)[groups]
    if len(groups) == 1:
        return  # one point: constant data, refused
    names = np.array(["z", "b", "ab", "x", "y", "q", "w"])[groups]  # names of samples may be anything that sorts
    numbers = {"reg": reg, "beta": beta, "unbiased": unbiased, "center": center, "groups": names}
    there = None if weight is None else backend.asarray(weight)
    rep = pretrain(backend.asarray(x), kernel, k, sample_weight=there, **numbers).to("numba")
    matrix = naive.gram(kernel, x).astype(float)
    check_against_dense(rep, matrix, groups, np.ones(len(groups)) if weight is None else weight)
    assert rep.embedding.shape == (len(groups), k)


@given(
    n=st.integers(3, 12),
    m=st.integers(2, 3),
    k=st.integers(1, 4),
    beta=betas,
    center=booleans,
    layout=layouts,
    kernel=st.sampled_from(KERNELS),
    seed=seeds,
)
def test_float32_property(backend, n, m, k, beta, center, layout, kernel, seed):
    """mu to 1e-4, eigenspaces to 1e-2 where they are separated by 3 %."""
    views = with_layout(noisy(n, m, 3, seed).astype(np.float32), layout)
    x = views.reshape(-1, 3)
    try:
        rep = pretrain(backend.asarray(views), kernel, k, reg=1e-2, beta=beta, center=center).to("numba")
    except CertificateError:  # directions of which float32 holds three digits or less in the Gram matrix
        spectrum = np.linalg.eigvalsh(naive.gram(kernel, x).astype(float))
        assert spectrum[0] < 1e-4 * spectrum[-1]
        return
    assert rep.coefficients.dtype == rep.values.dtype == rep.embedding.dtype == rep(x).dtype == np.float32
    assert rep.gamma.dtype == np.float64
    numbers = {"reg": 1e-2, "beta": beta, "unbiased": True, "center": center}
    matrix = naive.gram(kernel, x).astype(float)
    values, vectors = naive.pretrain(matrix, np.repeat(np.arange(n), m), np.ones(n * m), **numbers)
    rank = rep.certificate.rank
    active = min(rank, int((values > 1e-4 * values[0]).sum()))
    v = unit_values(rep)[:, :active] / math.sqrt(n * m)
    assert_same_eigenspaces(1 / rep.gamma[:active], v, values, vectors, tol=1e-2, gap=3e-2)
    allowed = 1e-4 * np.maximum(1.0, 1 / values[:active])
    assert (np.abs(rep.gamma[:active] - 1 / values[:active]) <= allowed).all()
    assert rep.certificate.tolerance == 3e-3


@pytest.mark.parametrize("kernel", [k for k in KERNELS if k != Linear()], ids=repr)
def test_small_reg(kernel):
    """The bound of the docstring: absolute errors of 1/gamma grow as eps |Khat| / reg."""
    views = noisy(30, 2, 3)
    x = views.reshape(-1, 3)
    matrix = naive.gram(kernel, x).astype(float)
    for reg in (1e-4, 1e-6, 1e-8):
        rep = pretrain(views, kernel, 4, reg=reg)
        groups = np.repeat(np.arange(30), 2)
        values, _ = naive.pretrain(matrix, groups, np.ones(60), reg=reg, beta=1.0, unbiased=True, center=False)
        assert_close(
            rep.gamma, 1 / values[:4], tol=1e-14 * np.trace(matrix) / 60 / reg + 1e-12, scale=float(rep.gamma[3])
        )
        assert rep.certificate.worst <= 1e-6


@pytest.mark.parametrize("layout", LAYOUTS)
def test_layouts_and_dtypes_of_the_input(layout):
    views = noisy(8, 3, 2)
    expected = pretrain(views, Gaussian(1.0), 3, reg=1e-2)
    rep = pretrain(with_layout(views, layout), Gaussian(1.0), 3, reg=1e-2)
    assert_close(rep.embedding, expected.embedding, tol=1e-10)
    whole = np.round(10 * views)
    assert_close(
        pretrain(whole.astype(np.int16), Gaussian(9.0), 2, reg=0.1).gamma,
        pretrain(whole, Gaussian(9.0), 2, reg=0.1).gamma,
        tol=0,
    )
    assert pretrain(views.tolist(), Gaussian(1.0), 2, reg=0.1).gamma.dtype == np.float64


# ---------------------------------------------------------------- other people's formulations


def test_oracle_g():
    """Values computed elsewhere (oracles.json, entry G), to the digits given."""
    i, j = np.mgrid[:10, :2]
    views = np.stack(
        [np.cos(i) + 0.1 * np.cos(3 * i + 7 * j + 1), np.sin(2 * i) + 0.1 * np.sin(5 * i + 11 * j + 2)], axis=-1
    )
    expected = {
        (Gaussian(1.0), False): (
            [0.997738493829, 0.995028358894],
            [1.19995547114, 0.306435488307],
            [2.10412311905, 4.46723661147],
        ),
        (Gaussian(1.0), True): (
            [0.99761525788, 0.994592840159],
            [1.15673443076, 0.299310349232],
            [2.18905462656, 4.63413759248],
        ),
        (Linear(), False): (
            [0.997268659342, 0.991879939129],
            [0.340563950169, 0.457710824301],
            [1.70788817055, 2.50244228468],
        ),
        (Linear(), True): (
            [0.996257225914, 0.986250301484],
            [0.356222030653, 0.445633108862],
            [1.73285173514, 2.47747872009],
        ),
    }
    for (kernel, unbiased), (mu, at_a_point, norms) in expected.items():
        models = [kernel] if isinstance(kernel, Gaussian) else [kernel, Identity()]
        for model in models:
            rep = pretrain(views, model, 2, reg=1e-3, unbiased=unbiased)
            assert_close(rep.eigenvalues, np.array(mu), tol=2e-12)
            assert_close(rep.gamma, 1 - np.array(mu), tol=1e-12, scale=1.0)
            assert_close(np.abs(rep.transform([[0.3, -0.2]], scale="unit")[0]), np.array(at_a_point), tol=2e-11)
            assert_close(rep.norms, np.array(norms), tol=2e-11)


@pytest.mark.parametrize("m", [2, 3])
def test_published_formulation(m):
    """T_ref - lambda_ref K^-1 = m (That - lambda Khat^-1), lambda = lambda_ref / (m N), by pinv and eigh."""
    views = noisy(25, m, 2, seed=3)
    x = views.reshape(-1, 2)
    total = len(x)
    matrix = Exponential(0.5)(x)
    lambda_ref = 0.05
    values, vectors = naive.published_method(matrix, m, 4, lambda_ref)
    rep = pretrain(views, Exponential(0.5), 4, reg=lambda_ref / (m * total), unbiased=False)
    assert_close(m * rep.eigenvalues, values, tol=1e-10)
    assert_same_eigenspaces(
        rep.eigenvalues, rep.values.reshape(total, 4) / math.sqrt(total), values / m, vectors, tol=1e-8
    )
    # rows in view-major order and T_ref = kron(ones - I, I): (m - 1) (That_unbiased - lambda Khat^-1)
    by_view = views.swapaxes(0, 1).reshape(-1, 2)
    operator = np.kron(np.ones((m, m)) - np.eye(m), np.eye(25)) - lambda_ref * np.linalg.pinv(Exponential(0.5)(by_view))
    values = np.linalg.eigvalsh(operator)[::-1][:4]
    rep = pretrain(views, Exponential(0.5), 4, reg=lambda_ref / ((m - 1) * total), unbiased=True)
    assert_close((m - 1) * rep.eigenvalues, values, tol=1e-10)


@pytest.mark.parametrize("kernel", [Gaussian(1.0), Linear(), Polynomial(2)], ids=repr)
def test_beta_zero_is_kernel_pca(kernel):
    views = noisy(20, 2, 4)
    x = views.reshape(-1, 4)
    reg = 1e-2
    rep = pretrain(views, kernel, 3, reg=reg, beta=0, center=True)
    pca = KernelPCA(3, kernel="precomputed", eigen_solver="dense").fit(kernel(x))
    # unit eigenfunctions are the scores over their standard deviation; gamma = reg / (eigenvalue / N)
    assert_close(rep.gamma, reg / (pca.eigenvalues_ / len(x)), tol=1e-11)
    new = normal((15, 4), 9)
    scores = pca.transform(kernel(new, x)) / np.sqrt(pca.eigenvalues_) * math.sqrt(len(x))
    found = rep.transform(new, scale="unit")
    signs = np.sign(np.sum(scores * found, axis=0))
    assert_close(found, scores * signs, tol=1e-9)
    assert rep.certificate.algorithm == "exact: kernel PCA"
    # samples, and so unbiasedness, play no part; one view each is enough
    for same in (
        pretrain(x[:, None], kernel, 3, reg=reg, beta=0, center=True, unbiased=False),
        pretrain(x, kernel, 3, reg=reg, beta=0.0, center=True, groups=np.arange(40)),
    ):
        assert_close(same.gamma, rep.gamma, tol=1e-12)
        assert_close(same.transform(new), rep.transform(new), tol=1e-9)


def test_unbiased_is_beta_times_m_over_m_minus_one():
    views = noisy(10, 3, 2)
    unbiased = pretrain(views, Gaussian(1.0), 3, reg=1e-2, beta=0.6)
    biased = pretrain(views, Gaussian(1.0), 3, reg=1e-2, beta=0.6 * 3 / 2, unbiased=False)
    assert_close(unbiased.gamma, biased.gamma, tol=1e-12)
    assert_close(unbiased.invariance, 1.5 * biased.invariance, tol=1e-11)
    # many views: the difference vanishes as 1 / m
    views = noisy(4, 60, 2)
    first, second = (pretrain(views, Gaussian(1.0), 2, reg=1e-2, unbiased=u) for u in (True, False))
    assert_close(first.invariance, second.invariance, tol=0.05)
    assert (first.gamma > second.gamma).all()


@pytest.mark.parametrize("unbiased", [False, True])
@pytest.mark.parametrize("model", [Gaussian(1.0), Polynomial(2), Identity()], ids=repr)
@pytest.mark.parametrize("reg", [1e-1, 1e-2, 1e-4])
def test_risk_is_that_of_the_embedding(unbiased, model, reg):
    """L_V + 2 lambda |Theta|^2 = rep.risk: the value of the loss at the minimiser is the minimum."""
    views = noisy(40, 3, 3)
    beta = 0.8
    rep = pretrain(views, model, 3, reg=reg, beta=beta, unbiased=unbiased)
    mu = np.clip(rep.eigenvalues, 0, None)
    theta = float(np.sum(mu[mu > 0] * rep.norms[mu > 0]))
    value = vicreg(rep.embedding, beta * (1.5 if unbiased else 1.0)) + 2 * reg * theta
    assert abs(value - rep.risk) <= 1e-12 * max(1, 2 * reg * theta)
    # and nothing near it is lower
    rng = np.random.default_rng(0)
    scale = np.sqrt(mu)
    for _ in range(5):
        turn = np.eye(3) + 0.1 * rng.standard_normal((3, 3))
        moved = (rep.transform(views, scale="unit") * scale) @ turn
        # |Theta turn|^2 = tr(turn^T <f_i, f_j>_H turn)
        inner = scale[:, None] * h_products(rep) * scale
        assert (
            vicreg(moved, beta * (1.5 if unbiased else 1.0)) + 2 * reg * np.trace(turn.T @ inner @ turn)
            >= rep.risk - 1e-9
        )


def h_products(rep):
    """Inner products of the unit eigenfunctions in H."""
    matrix = np.eye(len(rep.coefficients)) if rep.centres is None else rep.model(rep.centres)
    return rep.coefficients.T @ matrix @ rep.coefficients


def test_slopes_of_mu():
    """d mu / d beta = -invariance, d mu / d reg = -norm."""
    views = noisy(15, 2, 2)
    at = {"reg": 1e-2, "beta": 1.0}
    rep = pretrain(views, Exponential(1.0), 3, **at)
    for name, slope in (("beta", rep.invariance), ("reg", rep.norms)):
        h = 1e-3 * at[name]
        up, down = (pretrain(views, Exponential(1.0), 3, **at | {name: at[name] + s * h}).gamma for s in (1, -1))
        assert_close((up - down) / (2 * h), slope, tol=1e-5)


# ---------------------------------------------------------------- singular and degenerate problems


@pytest.mark.parametrize("center", [False, True])
@pytest.mark.parametrize("kernel", [Gaussian(1.0), Linear()], ids=repr)
def test_duplicated_samples_and_views(kernel, center):
    """Copies of samples, copies of views within samples: the Gram matrix is singular and nothing minds."""
    base = noisy(8, 2, 2)
    once = pretrain(base, kernel, 2, reg=1e-2, center=center)
    twice = pretrain(np.concatenate([base, base]), kernel, 2, reg=1e-2, center=center)
    new = normal((5, 2), 3)
    assert_close(twice.gamma, once.gamma, tol=1e-11)
    assert_same_subspace(twice(new), once(new), tol=1e-8)
    weighted = pretrain(base, kernel, 2, reg=1e-2, center=center, sample_weight=np.full(8, 3.5))
    assert_close(weighted.gamma, once.gamma, tol=1e-12)
    # a weight of two is a copy
    some = np.array([2.0, 1.0, 1.0, 1.0, 2.0, 1.0, 1.0, 1.0])
    copied = pretrain(np.concatenate([base, base[[0, 4]]]), kernel, 2, reg=1e-2, center=center)
    assert_close(pretrain(base, kernel, 2, reg=1e-2, center=center, sample_weight=some).gamma, copied.gamma, tol=1e-11)
    # identical views of each sample: nothing to be invariant to, kernel PCA
    same = np.repeat(base[:, :1], 3, axis=1)
    still = pretrain(same, kernel, 2, reg=1e-2, center=center)
    assert np.abs(still.invariance).max() < 1e-14
    pca = pretrain(base[:, :1], kernel, 2, reg=1e-2, beta=0, center=center)
    assert_close(still.gamma, pca.gamma, tol=1e-11)
    check_against_dense(still, kernel(same.reshape(-1, 2)), np.repeat(np.arange(8), 3), np.ones(24))


def polygon(sides, m=2, spread=0.2):
    """m views of each corner of a regular polygon, arranged so that rotations of the polygon map views to views."""
    angles = 2 * np.pi * np.arange(sides) / sides
    offsets = spread * (np.arange(m) - (m - 1) / 2)
    radii = 1 + offsets
    return np.stack([np.cos(angles)[:, None] * radii, np.sin(angles)[:, None] * radii], axis=-1)


@pytest.mark.parametrize("sides", [3, 5, 6, 12])
@pytest.mark.parametrize("center", [False, True])
def test_regular_polygons(sides, center):
    """Rotations commute with everything: eigenspaces come in pairs of equal eigenvalues."""
    views = polygon(sides)
    groups, ones = np.repeat(np.arange(sides), 2), np.ones(2 * sides)
    for k in range(1, min(6, 2 * sides - 1)):
        rep = pretrain(views, Gaussian(0.8), k, reg=1e-2, center=center)
        check_against_dense(rep, Gaussian(0.8)(views.reshape(-1, 2)), groups, ones)
        pair = rep.gamma[:2] if center else rep.gamma[1:3]  # uncentred, the nearly constant function comes first
        if len(pair) == 2:
            assert_close(pair[1], pair[0], tol=1e-12)
        assert rep.certificate.cuts_block or k != (1 if center else 2)
        assert rep.certificate.eigengap < 1e-9 or not rep.certificate.cuts_block


def cube(d, copies=1):
    return np.array(list(itertools.product([-1.0, 1.0], repeat=d)) * copies)


def test_cube_with_exact_duplicates():
    """Vertices of a cube, views that flip one bit: parities of equal size have equal eigenvalues."""
    d = 4
    x = cube(d)
    flips = np.concatenate([np.ones((1, d)), 1 - 2 * np.eye(d)])
    views = x[:, None] * flips  # (16, 5, 4): 80 views of 16 points
    rep = pretrain(views, Gaussian(2.0), 11, reg=1e-3, unbiased=False)
    matrix = Gaussian(2.0)(views.reshape(-1, d))
    check_against_dense(rep, matrix, np.repeat(np.arange(16), 5), np.ones(80))
    # blocks of 1, 4, 6: the parities of degree 0, 1, 2
    gamma = rep.gamma
    assert_close(gamma[1:5], np.full(4, gamma[1]), tol=1e-9)
    assert_close(gamma[5:11], np.full(6, gamma[5]), tol=1e-9)
    assert gamma[0] < 0.9 * gamma[1]
    assert gamma[1] < 0.9 * gamma[5]
    f = rep.transform(x, scale="unit")
    for degree, block in ((1, f[:, 1:5]), (2, f[:, 5:11])):
        parities = np.stack([np.prod(x[:, list(s)], axis=1) for s in itertools.combinations(range(d), degree)], axis=1)
        assert_same_subspace(block, parities)
    assert not rep.certificate.cuts_block
    assert rep.certificate.eigengap > 1e-3
    for k in (3, 7):
        cut = pretrain(views, Gaussian(2.0), k, reg=1e-3, unbiased=False)
        assert cut.certificate.cuts_block
        assert cut.certificate.eigengap < 1e-9
        assert_close(cut.gamma, gamma[:k], tol=1e-9)
    # the same through features
    features = pretrain(views, Nystrom(Gaussian(2.0), x), 11, reg=1e-3, unbiased=False)
    assert_close(features.gamma, gamma, tol=1e-9)
    assert_close(features.transform(x, scale="unit")[:, 1:5] ** 2 @ np.ones(4), f[:, 1:5] ** 2 @ np.ones(4), tol=1e-7)


def test_bit_flips_of_a_cube():
    x = cube(3, copies=4)
    views = BitFlip(0.2).views(x, 2, seed=0)
    rep = pretrain(views, Polynomial(2), 5, reg=1e-2)
    check_against_dense(rep, Polynomial(2)(views.reshape(-1, 3)), np.repeat(np.arange(32), 2), np.ones(64))


@pytest.mark.parametrize("center", [False, True])
@pytest.mark.parametrize("m", [2, 3])
def test_more_components_than_the_rank(m, center):
    """Linear kernel in 2 dimensions: two components, the rest zero and reported."""
    views = noisy(20, m, 2)
    rep = pretrain(views, Linear(), 7, reg=1e-2, center=center)
    assert rep.certificate.rank == 2
    assert rep.n_active == 2
    check_against_dense(rep, Linear()(views.reshape(-1, 2)), np.repeat(np.arange(20), m), np.ones(20 * m))
    assert (rep.embedding[..., 2:] == 0).all()
    assert (rep(views)[..., 2:] == 0).all()
    assert (rep.invariance[2:] == 0).all()
    assert np.isinf(rep.norms[2:]).all()
    assert rep.certificate.eigengap == 0
    assert not rep.certificate.cuts_block
    assert (rep.certificate.residuals[2:] == 0).all()


@pytest.mark.parametrize(("n", "m"), [(1, 2), (1, 3), (2, 2), (3, 2), (2, 4)])
@pytest.mark.parametrize("center", [False, True])
def test_tiny_problems_with_all_components(n, m, center):
    views = noisy(n, m, 2)
    for k in (1, n * m):
        for kernel in (Exponential(1.0), Gaussian(1.0)):
            rep = pretrain(views, kernel, k, reg=1e-2, center=center)
            check_against_dense(rep, kernel(views.reshape(-1, 2)), np.repeat(np.arange(n), m), np.ones(n * m))
            assert rep.certificate.rank == min(k, n * m - center)


def test_all_components_of_a_larger_problem():
    views = noisy(40, 2, 3)
    rep = pretrain(views, Exponential(1.0), 80, reg=1e-2)
    assert rep.certificate.rank == 80
    check_against_dense(rep, Exponential(1.0)(views.reshape(-1, 3)), np.repeat(np.arange(40), 2), np.ones(80))


def test_total_collapse():
    """A large reg: no component is worth its norm, the representation is zero and its risk k."""
    views = noisy(10, 2, 2)
    rep = pretrain(views, Gaussian(1.0), 3, reg=100.0)
    assert rep.n_active == 0
    assert (rep.eigenvalues < 0).all()
    assert (rep.embedding == 0).all()
    assert rep.risk == 3.0
    assert vicreg(rep.embedding) == 3.0
    assert rep.transform(views, scale="unit").std() > 0.1


# ---------------------------------------------------------------- determinism


def test_the_same_again_is_the_same_to_the_bit():
    views = noisy(30, 2, 3)
    first, second = (pretrain(views, Gaussian(1.0), 4, reg=1e-3) for _ in range(2))
    assert np.array_equal(first.gamma, second.gamma)
    assert np.array_equal(first.coefficients, second.coefficients)


def exact_cube_views(order):
    x = cube(3)[order]
    return x[:, None] * np.concatenate([np.ones((1, 3)), 1 - 2 * np.eye(3)])


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_signs_and_bases_do_not_depend_on_rounding(dtype, monkeypatch):
    """Another start, other blocks, another number of threads: the same functions, inside degenerate blocks too.

    The blocks have 1, 3, 1 and 3 functions; the Gram matrix of the 32 views has rank 8.
    """
    views = exact_cube_views(np.arange(8)).astype(dtype)
    tol = 1e-7 if dtype == np.float64 else 1e-2
    expected = pretrain(views, Gaussian(1.5), 8, reg=1e-2).values
    monkeypatch.setattr(_rows, "block_rows", lambda columns, itemsize: 4)
    monkeypatch.setenv("SSLCORE_NUM_THREADS", "1")
    assert_close(pretrain(views, Gaussian(1.5), 8, reg=1e-2).values, expected, tol=tol)
    import sslcore.backends.numba_cpu as backend

    original = backend.reference_normals

    def other_start(n, k, stream):
        return original(n, k, 7 if stream == 0 else stream)

    monkeypatch.setattr(backend, "reference_normals", other_start)
    assert_close(pretrain(views, Gaussian(1.5), 8, reg=1e-2).values, expected, tol=tol)


@pytest.mark.parametrize(
    ("dtype", "reg"), [(np.float64, 1e-2), (np.float64, 1e-7), (np.float32, 1e-2), (np.float32, 1e-4)]
)
def test_cut_blocks_are_reported_in_either_precision(dtype, reg):
    views = exact_cube_views(np.arange(8)).astype(dtype)
    cuts = [pretrain(views, Gaussian(1.5), k, reg=reg).certificate.cuts_block for k in range(1, 9)]
    assert cuts == [False, True, True, False, False, True, True, False]


@pytest.mark.parametrize(("dtype", "step"), [(np.float64, 2.9e-8), (np.float64, 1e-6), (np.float32, 9e-5)])
def test_a_chain_of_close_eigenvalues_is_fitted(dtype, step):
    """200 samples with eigenvalues each of which is nearly the next: the ends of the chain are far apart."""
    heights = 1 + step * np.random.default_rng(0).uniform(0.8, 1.0, 200).cumsum()
    matrix = np.kron(np.diag(heights), np.ones((2, 2))) + 1e-3 * np.eye(400)
    rep = pretrain(matrix.astype(dtype), Precomputed(), 180, reg=1e-3, groups=np.repeat(np.arange(200), 2))
    expected = 1e-3 * 400 / (2 * np.sort(heights)[::-1][:180] + 1e-3)
    assert_close(rep.gamma, expected, tol=1e-8 if dtype == np.float64 else 1e-5)


def test_order_of_features_and_of_samples():
    """Reordered coordinates give the same functions, signs included; reordered samples the same spaces."""
    views = noisy(12, 2, 3)
    rep = pretrain(views, Gaussian(1.0), 4, reg=1e-2)
    turned = pretrain(views[:, :, [2, 0, 1]], Gaussian(1.0), 4, reg=1e-2)
    assert_close(turned.values, rep.values, tol=1e-9)
    assert_close(pretrain(-views, Gaussian(1.0), 4, reg=1e-2).values, rep.values, tol=1e-9)
    order = np.random.default_rng(0).permutation(12)
    moved = pretrain(views[order], Gaussian(1.0), 4, reg=1e-2)
    assert_close(moved.gamma, rep.gamma, tol=1e-11)
    assert_close(np.abs(moved.values), np.abs(rep.values[order]), tol=1e-8)
    # groups that come interleaved are the same problem as an array (n, m, d), signs included
    x = views.reshape(-1, 3)
    shuffle = np.random.default_rng(1).permutation(24)
    interleaved = pretrain(x[shuffle], Gaussian(1.0), 4, reg=1e-2, groups=np.repeat(np.arange(12), 2)[shuffle])
    assert_close(interleaved.gamma, rep.gamma, tol=1e-11)
    assert_close(np.abs(interleaved.values), np.abs(rep.values.reshape(24, 4)[shuffle]), tol=1e-8)


def test_signs_of_feature_models_do_not_depend_on_order():
    views = noisy(50, 2, 3)
    model = Nystrom(Gaussian(1.0), views[:10, 0])
    rep = pretrain(views, model, 4, reg=1e-2)
    order = np.random.default_rng(0).permutation(50)
    moved = pretrain(views[order], model, 4, reg=1e-2)
    assert_close(moved.coefficients, rep.coefficients, tol=1e-8)


# ---------------------------------------------------------------- exact against features


@given(
    n=st.integers(2, 9),
    m=st.integers(2, 4),
    beta=betas,
    reg=regs,
    unbiased=booleans,
    center=booleans,
    weighted=booleans,
    seed=seeds,
)
@example(n=2, m=2, beta=0.0, reg=0.1, unbiased=False, center=True, weighted=False, seed=101095)
def test_linear_kernel_is_identity_features(backend, n, m, beta, reg, unbiased, center, weighted, seed):
    views = noisy(n, m, 3, seed)
    weight = np.random.default_rng(seed).uniform(0.5, 2, n) if weighted else None
    numbers = {"reg": reg, "beta": beta, "unbiased": unbiased, "center": center}
    k = min(3, n * m - 1)
    numbers["sample_weight"] = None if weight is None else backend.asarray(weight)
    there = backend.asarray(views)
    exact, features = (pretrain(there, model, k, **numbers).to("numba") for model in (Linear(), Identity()))
    solid = int((exact.gamma < 1e4 * exact.gamma[0]).sum())
    assert_close(features.gamma[:solid], exact.gamma[:solid], tol=1e-10)
    assert_close(features.invariance[:solid], exact.invariance[:solid], tol=1e-8, scale=2.0)
    # the N x N matrix may round away what the 3 x 3 one still shows: then it is far from active, and not found
    rank = exact.certificate.rank
    assert (features.gamma[rank:] > 1e6 * exact.gamma[0]).all()
    assert_close(features.gamma[:rank], exact.gamma[:rank], tol=1e-5)
    assert_close(features.invariance[:rank], exact.invariance[:rank], tol=1e-5, scale=2.0)
    assert_close(reg * features.norms[:rank], reg * exact.norms[:rank], tol=1e-5, scale=float(exact.gamma[rank - 1]))
    assert features.risk == pytest.approx(exact.risk, abs=1e-9)
    new = normal((6, 3), seed)
    if rank == k and (np.diff(exact.gamma) / exact.gamma[1:]).min() > 1e-3:
        assert_close(np.abs(features(new)), np.abs(exact(new)), tol=1e-7)


@pytest.mark.parametrize("center", [False, True])
@pytest.mark.parametrize("kernel", [Exponential(1.0), Matern(1.5, 1.0), Polynomial(2)], ids=repr)
def test_nystrom_with_all_points_is_exact(kernel, center):
    views = noisy(25, 2, 2)
    x = views.reshape(-1, 2)
    exact = pretrain(views, kernel, 4, reg=1e-2, center=center)
    features = pretrain(views, Nystrom(kernel, x), 4, reg=1e-2, center=center)
    assert_close(features.gamma, exact.gamma, tol=1e-9)
    new = normal((10, 2), 5)
    assert_close(np.abs(features(new)), np.abs(exact(new)), tol=1e-7)
    assert_close(np.abs(features.embedding), np.abs(exact.embedding), tol=1e-7)
    assert features.embedding.shape == (25, 2, 4)


@given(
    grouping=groupings(max_samples=7),
    beta=betas,
    reg=regs,
    unbiased=booleans,
    center=booleans,
    k=st.integers(1, 3),
    seed=seeds,
)
def test_feature_solver_property(backend, grouping, beta, reg, unbiased, center, k, seed):
    groups, weight = grouping
    if len(set(groups)) == len(groups) and beta > 0:
        groups = np.append(groups, 0)
        weight = None if weight is None else np.append(weight, 0.7)
    if len(groups) == 1:
        return
    x = normal((len(groups), 3), seed) + normal((len(groups), 3), seed + 1)[groups]
    p = np.ones(len(groups)) if weight is None else weight
    numbers = {"reg": reg, "beta": beta, "unbiased": unbiased, "center": center}
    there = None if weight is None else backend.asarray(weight)
    rep = pretrain(backend.asarray(x), Identity(), k, groups=groups, sample_weight=there, **numbers).to("numba")
    values, c = naive.pretrain_features(x, groups, p, **numbers)
    rank = rep.certificate.rank
    assert_close(1 / rep.gamma[:rank], values[:rank], tol=1e-11, scale=float(values[0]))
    assert (values[rank:k] <= 1e-10 * values[0]).all()
    steady = rank if rank == 3 else int((-np.diff(values[: rank + 1]) > 1e-4 * values[0]).argmin())
    for i in range(min(rank, steady)):
        if all(abs(values[i] - values[j]) > 1e-3 * values[0] for j in range(3) if j != i):
            assert_close(np.abs(rep.coefficients[:, i]), np.abs(c[:, i]), tol=1e-8)
    assert_close(rep.beta * rep.invariance[:rank] + reg * rep.norms[:rank], rep.gamma[:rank], tol=1e-9)
    values_at = rep.transform(x, scale="unit")[:, :rank]
    root = np.sqrt(p / p.sum())[:, None]
    assert_close((root * values_at).T @ (root * values_at), np.eye(rank), tol=1e-8, scale=1.0)
    if center:
        assert np.abs((p / p.sum()) @ values_at).max() < 1e-9


# ---------------------------------------------------------------- kinds of input and of output


def test_views_are_their_array():
    x = normal((20, 3))
    views = Views(x, GaussianNoise(0.3), 3, seed=5)
    for model in (Gaussian(1.0), Identity(), Nystrom(Gaussian(1.0), 8)):
        lazy, array = pretrain(views, model, 3, reg=1e-2), pretrain(np.asarray(views), model, 3, reg=1e-2)
        assert np.array_equal(lazy.gamma, array.gamma)
        assert np.array_equal(lazy.coefficients, array.coefficients)
        assert np.array_equal(lazy.embedding, array.embedding)
        assert np.array_equal(lazy(views), array(np.asarray(views)))


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.float16, np.int16])
def test_memmaps(tmp_path, dtype):
    array = (3 * noisy(20, 2, 3)).astype(dtype)
    array.tofile(tmp_path / "views.bin")
    on_disk = np.memmap(tmp_path / "views.bin", mode="r", dtype=dtype, shape=(20, 2, 3))
    for model in (Gaussian(3.0), Identity(), Nystrom(Gaussian(3.0), 8)):
        expected = pretrain(array, model, 2, reg=0.1)
        rep = pretrain(on_disk, model, 2, reg=0.1)
        assert np.array_equal(rep.gamma, expected.gamma)
        assert np.array_equal(rep.coefficients, expected.coefficients)
        assert np.array_equal(rep(on_disk), expected(array))
        assert np.array_equal(rep.embedding, expected.embedding)
    flat = np.memmap(tmp_path / "views.bin", mode="r", dtype=dtype, shape=(40, 3))
    groups = np.repeat(np.arange(20), 2)
    assert np.array_equal(pretrain(flat, Identity(), 2, reg=0.1, groups=groups).gamma, expected_gamma(array, groups))


def expected_gamma(array, groups):
    return pretrain(array.reshape(40, 3), Identity(), 2, reg=0.1, groups=groups).gamma


def test_precomputed():
    views = noisy(12, 2, 3)
    x = views.reshape(-1, 3)
    expected = pretrain(views, Exponential(1.0), 3, reg=1e-2)
    matrix = Exponential(1.0)(x)
    rep = pretrain(matrix.reshape(12, 2, 24), Precomputed(), 3, reg=1e-2)
    assert_close(rep.gamma, expected.gamma, tol=1e-12)
    assert_close(rep.values, expected.values, tol=1e-10)
    new = normal((5, 3), 7)
    assert_close(rep(Exponential(1.0)(new, x)), expected(new), tol=1e-10)
    assert rep.centres is None
    groups = np.repeat(np.arange(12), 2)
    shuffle = np.random.default_rng(0).permutation(24)
    mixed = pretrain(matrix[np.ix_(shuffle, shuffle)], Precomputed(), 3, reg=1e-2, groups=groups[shuffle])
    assert_close(mixed.gamma, expected.gamma, tol=1e-11)
    assert_close(np.abs(mixed.values), np.abs(expected.values.reshape(24, 3)[shuffle]), tol=1e-8)
    pca = pretrain(matrix, Precomputed(), 3, reg=1e-2, beta=0, groups=np.arange(24))
    assert_close(pca.gamma, pretrain(x[:, None], Exponential(1.0), 3, reg=1e-2, beta=0).gamma, tol=1e-11)
    with pytest.raises(ValueError, match="x must hold the kernel values against the 24 training views, found shape"):
        rep(new)


def test_functions_as_kernels():
    views = noisy(12, 2, 3)

    def gaussian(x, y):
        return np.exp(-((x[:, None] - y) ** 2).sum(axis=2) / 2)

    expected = pretrain(views, Gaussian(1.0), 3, reg=1e-2)
    for kernel in (gaussian, Function(gaussian), Function(gaussian) * Polynomial(1, 1.0)):
        rep = pretrain(views, kernel, 3, reg=1e-2)
        if not isinstance(kernel, sslcore.kernels.Product):
            assert_close(rep.gamma, expected.gamma, tol=1e-11)
            assert_close(rep(views[:2]), expected(views[:2]), tol=1e-9)


@pytest.mark.parametrize(
    "model", [Gaussian(1.0), Identity(), Nystrom(Gaussian(1.0), 9)], ids=["exact", "id", "nystrom"]
)
def test_transform(model, monkeypatch):
    views = noisy(15, 2, 3)
    rep = pretrain(views, model, 3, reg=1e-2, center=True)
    x = normal((50, 3), 2)
    whole = rep(x)
    assert np.array_equal(rep.transform(x), whole)
    unit = rep.transform(x, scale="unit")
    assert_close(whole, unit * np.sqrt(np.clip(rep.eigenvalues, 0, None)), tol=1e-12)
    # in blocks, one point at a time, in any layout, of any rank
    monkeypatch.setattr(_rows, "block_rows", lambda columns, itemsize: 7)
    assert_close(rep(x), whole, tol=1e-13)
    assert_close(np.concatenate([rep(x[i : i + 1]) for i in range(50)]), whole, tol=1e-13)
    assert_close(rep(x.reshape(25, 2, 3)), whole.reshape(25, 2, 3), tol=1e-13)
    for layout in LAYOUTS:
        assert_close(rep(with_layout(x, layout)), whole, tol=1e-13)
    assert rep(x.astype(np.float32)).dtype == np.float32
    assert_close(rep(x.astype(np.float32)), whole, dtype=np.float32, tol=1e-4)
    assert rep(np.ones((2, 3), int)).dtype == np.float64
    # the kernel's or the features' own formula
    if isinstance(model, Gaussian):
        assert_close(unit, model(x, rep.centres) @ rep.coefficients + rep.intercept, tol=1e-12)
        with pytest.raises(TypeError, match="no finite linear head"):
            rep.linear_head()
    else:
        assert_close(unit, rep.model(x) @ rep.coefficients + rep.intercept, tol=1e-12)
        weight, bias = rep.linear_head()
        assert weight.shape == (3, rep.model(x).shape[1])
        assert_close(rep.model(x) @ weight.T + bias, whole, tol=1e-12)


def test_transform_of_views_goes_by_blocks():
    x = normal((300, 2))
    rep = pretrain(Views(x, GaussianNoise(0.2), 2, 0), Gaussian(1.0), 2, reg=1e-2)
    many = Views(normal((20, 2)), GaussianNoise(0.2), 70_000 // 10, 0)
    assert_close(rep(many), rep(np.asarray(many)), tol=1e-13)


@pytest.mark.parametrize(
    ("x", "error", "message"),
    [
        (np.ones((2, 4)), ValueError, r"x and the training views must have the same number of coordinates, found 4"),
        (np.ones(3), ValueError, "x must have 2 or 3 dimensions"),
        (np.full((2, 3), np.nan), ValueError, r"x must be finite, found nan at index \(0, 0\)"),
        (np.ones((0, 3)), ValueError, "x must not be empty"),
        (np.ones((2, 3), complex), TypeError, "complex128"),
    ],
)
def test_bad_points_to_transform(x, error, message):
    rep = pretrain(noisy(5, 2, 3), Gaussian(1.0), 2, reg=1e-2)
    with pytest.raises(error, match=message):
        rep(x)


def test_the_fit_does_not_touch_or_keep_its_input():
    views = noisy(10, 2, 3)
    before = views.copy()
    rep = pretrain(views, Gaussian(1.0), 2, reg=1e-2)
    assert np.array_equal(views, before)
    expected = rep(before[:2])
    views[:] = 0
    assert np.array_equal(rep(before[:2]), expected)
    matrix = Gaussian(1.0)(before.reshape(-1, 3))
    kept = matrix.copy()
    pretrain(matrix.reshape(10, 2, 20), Precomputed(), 2, reg=1e-2)
    assert np.array_equal(matrix, kept)


def test_certificate_and_repr():
    views = noisy(30, 2, 3)
    for model, algorithm in ((Gaussian(1.0), "exact: contrast Cholesky"), (Identity(), "features: moments")):
        rep = pretrain(views, model, 2, reg=1e-2)
        certificate = rep.certificate
        assert certificate.algorithm.startswith(algorithm)
        assert certificate.rank == 2
        assert certificate.jitter == 0
        assert certificate.condition >= 1
        assert certificate.iterations >= 1
        assert 0 < certificate.seconds < 60
        assert certificate.bytes > 0
        assert certificate.eigengap > 0
        assert not certificate.cuts_block
        assert certificate.orthonormality < 1e-10
        assert certificate.worst < 1e-8
        assert certificate.tolerance == 1e-6
        assert json.loads(json.dumps(certificate.as_dict()))["rank"] == 2
        assert "Representation(2 components, 2 active" in repr(rep)
        three = pretrain(views, model, 3, reg=1e-2)
        assert certificate.eigengap == pytest.approx(float(three.gamma[2] - three.gamma[1]), rel=1e-2)
        assert (rep.reg, rep.beta, rep.unbiased, rep.center) == (1e-2, 1.0, True, False)


def test_residuals_are_those_of_the_dense_operator():
    """The certificate's numbers are true: measured again with dense matrices, where reg is small enough to see them."""
    views = noisy(40, 2, 2)
    x = views.reshape(-1, 2)
    reg = 1e-9
    rep = pretrain(views, Gaussian(1.0), 3, reg=reg)
    matrix = Gaussian(1.0)(x)
    v = rep.values.reshape(80, 3) / math.sqrt(80)
    measured = np.linalg.norm(matrix @ rep.coefficients - math.sqrt(80) * v, axis=0) / math.sqrt(80)
    assert (measured <= 10 * rep.certificate.coefficient_residuals + 1e-11).all()
    found, claimed = v.T @ v - np.eye(3), rep.certificate.coefficient_residuals
    assert 1e-14 < np.abs(found).max() <= 3 * claimed.max() + 1e-14
    groups = np.repeat(np.arange(40), 2)
    stationarity = naive.invariance(groups, np.full(80, 1 / 80), True) @ v + reg * math.sqrt(80) * rep.coefficients
    measured = np.linalg.norm(stationarity - v * rep.gamma, axis=0) / rep.gamma
    assert (measured <= 10 * rep.certificate.stationarity_residuals + 3 * claimed / rep.gamma).all()
