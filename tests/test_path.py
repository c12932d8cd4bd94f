"""Paths over reg and beta: every point against a separate fit, closed forms of lines, crossings and slopes."""

import dataclasses
import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import sslcore
from sslcore import Views, pretrain, pretrain_path
from sslcore.augmentations import GaussianNoise
from sslcore.backends import get_backend
from sslcore.errors import CertificateError, MemoryBudgetError, NotPositiveSemidefiniteError
from sslcore.features import Identity, Nystrom, RandomFourier
from sslcore.fitting import problem as problems
from sslcore.fitting.crossings import crossings, least
from sslcore.kernels import Exponential, Gaussian, Linear, Polynomial, Precomputed
from sslcore.solvers.exact import ConditionedKernel, solve_exact
from sslcore.solvers.groups import Samples
from sslcore.solvers.reduced_basis import ReducedBasis
from sslcore.solvers.rotated_gram import rotated_gram

from .comparators import assert_close, assert_same_subspace
from .strategies import seeds
from .test_features import noisy, normal

REGS = [1e-4, 1e-2, 0.3]
VIEWS = noisy(25, 2, 3)
GROUPS = np.repeat(np.arange(17), [1, 2, 4, 3] * 4 + [10])[np.random.default_rng(3).permutation(50)]
CASES = {
    "exact": (VIEWS, Exponential(1.0), {}),
    "centred, three views": (noisy(12, 3, 2), Gaussian(1.0), {"center": True}),
    "biased": (VIEWS, Gaussian(0.5) + Linear(), {"unbiased": False}),
    "groups and weights": (
        normal((50, 3), 7),
        Exponential(2.0),
        {"groups": GROUPS, "sample_weight": np.linspace(1, 2, 50), "center": True},
    ),
    "Identity": (noisy(30, 2, 6), Identity(), {}),
    "Nystrom": (VIEWS, Nystrom(Gaussian(1.5), 12), {"center": True}),
    "RandomFourier": (VIEWS, RandomFourier(Gaussian(1.5), 16), {"unbiased": False}),
    "groups of features": (normal((50, 3), 7), Nystrom(Gaussian(1.5), 12), {"groups": GROUPS}),
}


@pytest.mark.parametrize("betas", [(1.0,), (0.0, 0.5, 3.0)], ids=str)
@pytest.mark.parametrize(("views", "model", "options"), CASES.values(), ids=CASES)
def test_every_point_is_a_separate_fit(views, model, options, betas, backend):
    there = backend.asarray(views)
    path = pretrain_path(there, model, 4, regs=REGS[::-1], betas=betas, **options)
    assert path.regs.tolist() == REGS
    assert path.betas.tolist() == list(betas)
    x = normal((9, views.shape[-1]), 4)
    for (i, reg), (j, beta) in itertools.product(enumerate(REGS), enumerate(betas)):
        point = path.at(i, j)
        expected = pretrain(there, model, 4, reg=reg, beta=beta, **options)
        assert (point.reg, point.beta, point.unbiased, point.center) == (reg, beta, expected.unbiased, expected.center)
        assert type(point.model) is type(expected.model)
        for name in ("gamma", "invariance", "norms"):
            assert_close(getattr(path, name)[i, j], getattr(expected, name), tol=1e-6)
            assert np.array_equal(getattr(path, name)[i, j], getattr(point, name))
        assert point.certificate.worst <= point.certificate.tolerance
        assert abs(point.certificate.eigengap - expected.certificate.eigengap) <= 1e-4 * max(expected.gamma)
        assert_close(path.risk[i, j], expected.risk, tol=1e-6, scale=4.0)
        assert path.n_active[i, j] == expected.n_active
        found, wanted = (backend.asnumpy(r.transform(backend.asarray(x), scale="unit")) for r in (point, expected))
        assert_close(found, wanted, tol=1e-5)
        assert_close(backend.asnumpy(point.embedding), backend.asnumpy(expected.embedding), tol=1e-5, scale=1.0)
    assert np.array_equal(path.eigenvalues, 1 - path.gamma)
    assert np.array_equal(path.reg_slopes, -path.norms)
    assert np.array_equal(path.beta_slopes, -path.invariance)
    assert [rep.reg for rep in path] == [reg for reg in REGS for _ in betas]


def test_other_sources(tmp_path):
    """Views that are made when needed, memory maps, matrices, float32, another library's arrays."""
    x = normal((40, 3))
    made = Views(x, GaussianNoise(0.3), 2, seed=0)
    stored = np.asarray(made)
    on_disk = np.lib.format.open_memmap(tmp_path / "views.npy", "w+", shape=stored.shape)
    on_disk[...] = stored
    for model in (Exponential(1.0), Nystrom(Gaussian(1.0), 12)):
        expected = pretrain_path(stored, model, 3, regs=REGS)
        for views in (made, on_disk):
            found = pretrain_path(views, model, 3, regs=REGS)
            assert_close(found.gamma, expected.gamma, tol=1e-12)
            assert_close(found.at(1).embedding, expected.at(1).embedding, tol=1e-9)
        single = pretrain_path(stored.astype(np.float32), model, 3, regs=REGS)
        assert single.at(0)(x.astype(np.float32)).dtype == np.float32
        assert_close(single.gamma, expected.gamma, tol=1e-3)
    gram = Exponential(1.0)(stored.reshape(80, 3)).reshape(40, 2, 80)
    found = pretrain_path(gram, Precomputed(), 3, regs=REGS)
    assert_close(found.gamma, pretrain_path(stored, Exponential(1.0), 3, regs=REGS).gamma, tol=1e-10)
    assert found.at(0).centres is None


def test_work_is_shared(monkeypatch):
    counts = {"gram": 0, "cholesky": 0, "shifted": 0, "pass": 0}
    backend = get_backend()

    def counted(name, function):
        def call(*args, **kwargs):
            counts[name] += 1
            return function(*args, **kwargs)

        return call

    monkeypatch.setattr(problems, "rotated_gram", counted("gram", rotated_gram))
    for name in ("cholesky", "shifted"):
        monkeypatch.setattr(backend, name, counted(name, getattr(backend, name)))
    monkeypatch.setattr(problems.Moments, "update_from", counted("pass", problems.Moments.update_from))
    regs = np.logspace(-3, 0, 5)
    pretrain_path(VIEWS, Exponential(1.0), 3, regs=regs[:2], betas=(0.0, 1.0, 2.0))
    assert counts == {"gram": 1, "cholesky": 4, "shifted": 0, "pass": 0}  # none at beta = 0
    pretrain_path(VIEWS, Exponential(1.0), 3, regs=regs, betas=(0.0, 1.0, 2.0))
    assert counts == {"gram": 2, "cholesky": 4, "shifted": 1, "pass": 0}  # all share one reduction
    pretrain_path(VIEWS, Identity(), 3, regs=regs, betas=(0.0, 1.0, 2.0))
    assert counts == {"gram": 2, "cholesky": 4, "shifted": 1, "pass": 1}


def test_progress():
    calls = []
    pretrain_path(VIEWS, Identity(), 2, regs=REGS, betas=(0.5, 1.0), progress=lambda *done: calls.append(done))
    assert calls == [(i + 1, 6) for i in range(6)]


# ---------------------------------------------------------------- one operator, conditioned again and again


@given(seed=seeds, order=st.permutations([(1e-3, 1.0), (1e-3, 0.0), (0.1, 2.0), (0.05, 1.0), (5.0, 1.0)]))
def test_conditioned_again_as_if_new(seed, order, backend):
    """The Gram matrix survives every factorisation: in any order, each point as from a new operator."""
    primitives = backend.primitives
    x = backend.asarray(noisy(9, 2, 3, seed).reshape(18, 3))
    samples = Samples.from_views(9, 2, primitives)

    def operator():
        return ConditionedKernel(
            rotated_gram(Exponential(1.0), x, samples, primitives),
            Exponential(1.0),
            primitives,
            unbiased=True,
            center=False,
        )

    again = operator()
    v = primitives.reference_normals(18, 4, 2)
    for reg, beta in (*order, order[0]):
        expected, found = operator().condition(reg, beta), again.condition(reg, beta)
        for name in ("apply", "times_kernel"):
            assert_close(
                backend.asnumpy(getattr(found, name)(v)), backend.asnumpy(getattr(expected, name)(v)), tol=1e-12
            )
        assert (found.jitter, found.condition_number) == pytest.approx((expected.jitter, expected.condition_number))
        if beta == 0:
            assert_close(backend.asnumpy(found.apply(v)), backend.asnumpy(found.times_kernel(v)), tol=1e-15)


def test_conditioned_after_a_failure():
    """A kernel that is not positive: the factorisation fails at small reg, and the operator can still be used."""
    backend = get_backend()
    x = noisy(9, 2, 3).reshape(18, 3)
    samples = Samples.from_views(9, 2, backend)
    blocks = rotated_gram(Gaussian(1.0), x, samples, backend)
    operator = ConditionedKernel(blocks, Gaussian(1.0), backend, unbiased=True, center=False)
    expected = operator.condition(10.0, 1.0).apply(np.eye(18))
    index = np.arange(9)
    operator.kept_diagonal -= 1.0  # indefinite now
    with pytest.raises(NotPositiveSemidefiniteError, match="contrasts is not positive semi-definite"):
        operator.condition(1e-6, 1.0)
    operator.kept_diagonal += 1.0
    operator.c[index, index] = operator.kept_diagonal
    # the factor that it had before is gone
    assert_close(operator.condition(10.0, 1.0).apply(np.eye(18)), expected, tol=1e-12)


def test_near_vectors_do_not_hide_others():
    """Vectors that are exact eigenvectors, but no longer the leading ones, as after a crossing."""
    backend = get_backend()
    x = normal((40, 3))
    samples = Samples.from_views(40, 1, backend)
    operator = ConditionedKernel(
        rotated_gram(Exponential(1.0), x, samples, backend), Exponential(1.0), backend, unbiased=True, center=False
    )
    values, vectors = np.linalg.eigh(Exponential(1.0)(x) / 40)
    numbers = sslcore.solvers.objective.Objective(3, 1e-2, 0.0, True, False)
    for near in (vectors[:, :3], vectors[:, -5:-2], vectors[:, -2:], vectors[:, -4:-1]):
        solution = solve_exact(operator, numbers, tolerance=1e-6, planned_bytes=0, near=np.asfortranarray(near))
        assert_close(1e-2 / solution.spectrum.gamma, values[:-4:-1], tol=1e-9)


@pytest.mark.parametrize("model", [Exponential(0.3), Nystrom(Gaussian(1.0), 300)], ids=["exact", "features"])
def test_near_vectors_save_steps(model, monkeypatch):
    """A path begins each point near others, and takes fewer block applications than from random vectors."""
    views = noisy(300, 2, 3)
    regs = np.logspace(-4, -3, 12)
    warm = pretrain_path(views, model, 6, regs=regs)
    at = problems.FeatureProblem.at
    monkeypatch.setattr(problems.FeatureProblem, "at", lambda self, objective, near=None: at(self, objective))
    monkeypatch.setattr(ReducedBasis, "near", lambda self, operator, ratio, count: None)
    cold = pretrain_path(views, model, 6, regs=regs)
    steps = [sum(rep.certificate.iterations for rep in path) for path in (warm, cold)]
    assert steps[0] < steps[1]
    assert_close(warm.gamma, cold.gamma, tol=1e-7)


# ---------------------------------------------------------------- closed forms


def lattice(scales, noise):
    """Views s_c x_c + e_c z_c for all signs x, z: Sigma and Delta are diagonal, s^2 + e^2 and (biased) e^2."""
    d = len(scales)
    signs = np.array(list(itertools.product([-1.0, 1.0], repeat=d)))
    # all pairs of one sample are views of it, so that its mean over z is s x
    return np.array([[x * scales + z * noise for z in signs] for x in signs])


SCALES, NOISE = np.array([2.0, 1.0, 1.5]), np.array([1.0, 0.1, 0.9])


def lines(regs, betas):
    """gamma of the coordinates, in the order of the coordinates: straight lines."""
    sigma, delta = SCALES**2 + NOISE**2, NOISE**2
    return (betas[:, None] * delta + regs[:, None, None]) / sigma


@pytest.mark.parametrize("model", [Identity(), Linear()], ids=["features", "exact"])
def test_straight_lines_and_their_crossings(model):
    """T and K commute: eigenvalues are lines in reg and in beta, whose crossings have no gap."""
    views = lattice(SCALES, NOISE)
    regs, betas = np.logspace(-3, 1, 41), np.array([0.0, 0.5, 1.0, 4.0])
    path = pretrain_path(views, model, 3, regs=regs, betas=betas, unbiased=False)
    exact = lines(regs, betas)
    assert_close(path.gamma, np.sort(exact, axis=2), tol=1e-9)
    order = np.argsort(exact, axis=2)
    sigma = SCALES**2 + NOISE**2
    assert_close(path.norms, (1 / sigma)[order], tol=1e-7)
    assert_close(path.invariance, (NOISE**2 / sigma)[order], tol=1e-7)
    expected = []
    for beta in betas[1:]:
        for a, b in itertools.combinations(range(3), 2):
            reg = beta * (NOISE[a] ** 2 * sigma[b] - NOISE[b] ** 2 * sigma[a]) / (sigma[a] - sigma[b])
            if regs[0] < reg < regs[-1]:
                at = np.sort(lines(np.array([reg]), np.array([beta]))[0, 0])
                expected.append((float(beta), int(np.argmin(np.diff(at))), reg))
    assert len(expected) == 6
    found = [(c.beta, c.component, c.reg) for c in path.avoided_crossings if c.along == "reg"]
    assert_close(sorted(found), sorted(expected), tol=1e-5)
    for c in path.avoided_crossings:
        assert c.exchange > 0.99
        assert c.along == "beta" or c.gap < 1e-5
    along = [c for c in path.avoided_crossings if c.along == "beta"]
    assert along
    assert all(c.reg in regs and betas[0] < c.beta < betas[-1] for c in along)


def test_overlaps_are_between_neighbours():
    """Rows: components of the point before; columns: of the point after."""
    regs, betas = [0.01, 0.3], [0.5, 2.0]
    for model in (Exponential(1.0), Identity()):
        path = pretrain_path(VIEWS, model, 3, regs=regs, betas=betas)
        f = [[rep.transform(VIEWS, scale="unit").reshape(50, 3) for rep in row] for row in path.representations]
        for j in range(2):
            assert_close(path.reg_overlaps[0, j], (f[0][j].T @ f[1][j] / 50) ** 2, tol=1e-6, scale=1.0)
        for i in range(2):
            assert_close(path.beta_overlaps[i, 0], (f[i][0].T @ f[i][1] / 50) ** 2, tol=1e-6, scale=1.0)


def two_levels(seed):
    """Views in the plane, and the gap of their two eigenvalues as a function: its square is a parabola in reg."""
    views = noisy(30, 2, 2, seed) * [1.0, 0.8] @ np.array([[1.0, 0.3], [0.0, 1.0]])
    phi = views.reshape(-1, 2)
    sigma = phi.T @ phi / 60
    within = views - views.mean(axis=1, keepdims=True)
    delta = 2 * within.reshape(-1, 2).T @ within.reshape(-1, 2) / 60
    root = np.linalg.inv(np.linalg.cholesky(sigma))
    t, k = root @ delta @ root.T, root @ root.T

    def parabola(matrix):  # (difference of the eigenvalues)^2 = (a - d)^2 + 4 b^2
        return np.array([matrix[0, 0] - matrix[1, 1], 2 * matrix[0, 1]])

    p, q = parabola(t), parabola(k)
    reg = -float(p @ q) / float(q @ q)
    return views, reg, float(np.linalg.norm(p + reg * q))


def test_two_levels_repel_each_other():
    """The gap of an avoided crossing and its place, in closed form, from a coarse path and from a fine one."""
    tried = 0
    for seed in range(40):
        views, reg, gap = two_levels(seed)
        if not 1e-3 < reg < 0.2:
            continue
        tried += 1
        # so far to both sides that the two have exchanged most of themselves
        for regs in (np.logspace(-6, 3, 10), np.logspace(-6, 3, 91)):
            path = pretrain_path(views, Identity(), 2, regs=regs)
            gaps = path.gamma[:, 0, 1] - path.gamma[:, 0, 0]
            assert gaps.min() >= gap * (1 - 1e-9)
            found = [c for c in path.avoided_crossings if c.along == "reg"]
            if found:
                (crossing,) = found
                assert crossing.reg == pytest.approx(reg, rel=1e-6)
                assert crossing.gap == pytest.approx(gap, rel=1e-6)
                assert 0.5 <= crossing.exchange <= 1 + 1e-9
            turned = path.at(0).transform(views, scale="unit"), path.at(-1).transform(views, scale="unit")
            overlap = (turned[0][..., 0] * turned[1][..., 1]).mean() ** 2  # how much has changed places in all
            if abs(overlap - 0.5) > 0.05:
                assert bool(found) == (overlap > 0.5)
    assert tried >= 5


def test_no_crossing_without_an_exchange():
    """A gap that is least where nothing changes places, and equal eigenvalues, are none."""
    x, even = np.arange(4.0), np.full((4, 2), 0.1)
    gamma = np.stack([x, x + 1 + (x - 1.5) ** 2], axis=1)
    slopes = np.stack([np.ones(4), 1 + 2 * (x - 1.5)], axis=1)
    stays, swaps = np.tile(np.eye(2), (3, 1, 1)), np.tile(np.eye(2), (3, 1, 1))
    swaps[1] = np.eye(2)[::-1]
    assert list(crossings(x, gamma, slopes, stays)) == []
    ((component, place, gap, exchange),) = crossings(x, gamma, slopes, swaps)
    assert (component, exchange) == (0, 1.0)
    assert place == pytest.approx(1.5)
    assert 0.9 < gap < 1.1
    slow = np.tile([[0.75, 0.25], [0.25, 0.75]], (3, 1, 1))  # 30 degrees a step
    ((_, _, _, exchange),) = crossings(x, gamma, slopes, slow)
    assert exchange == pytest.approx(1.0)
    assert list(crossings(x, gamma, slopes[::-1], swaps)) == []  # a gap that is largest
    copies = np.stack([x, x * (1 + 1e-12)], axis=1)
    noise = np.stack([np.ones(4), 1 + 1e-9 * (x - 1.5)], axis=1)
    assert list(crossings(x, copies, noise, swaps)) == []
    assert list(crossings(x, np.where(x[:, None] < 2, gamma, math.inf), slopes, swaps)) == []
    assert list(crossings(x[:1], gamma[:1], slopes[:1], even[:0].reshape(0, 2, 2))) == []


@given(p=st.floats(0, 10), q=st.floats(0, 10), u=st.floats(-10, 0), v=st.floats(0, 10))
def test_least_of_a_cubic(p, q, u, v):
    t = np.linspace(0, 1, 2001)
    cubic = p * (2 * t**3 - 3 * t**2 + 1) + u * (t**3 - 2 * t**2 + t) + q * (3 * t**2 - 2 * t**3) + v * (t**3 - t**2)
    place, lowest = least(np.array([p, q]), np.array([u, v]))
    assert 0 <= place <= 1
    assert lowest == pytest.approx(cubic.min(), abs=1e-4)
    assert lowest <= cubic.min() + 1e-9


@pytest.mark.parametrize("model", [Exponential(1.0), Nystrom(Gaussian(1.5), 12)], ids=["exact", "features"])
@pytest.mark.parametrize("center", [False, True])
def test_slopes_are_derivatives(model, center):
    """Hellmann and Feynman, against central differences."""
    h = 1e-3
    regs, betas = 0.05 * np.array([1 - h, 1, 1 + h]), 0.8 * np.array([1 - h, 1, 1 + h])
    path = pretrain_path(VIEWS, model, 3, regs=regs, betas=betas, center=center)
    mu = path.eigenvalues
    assert_close((mu[2, 1] - mu[0, 1]) / (regs[2] - regs[0]), path.reg_slopes[1, 1], tol=1e-4)
    assert_close((mu[1, 2] - mu[1, 0]) / (betas[2] - betas[0]), path.beta_slopes[1, 1], tol=1e-4)
    # the second derivative that is left over is that of a convex combination of lines: mu_1 is convex in reg
    assert (mu[2, 1, 0] + mu[0, 1, 0]) / 2 >= mu[1, 1, 0] - 1e-12


# ---------------------------------------------------------------- regimes


def naive_position(path, j, pca):
    """From the values at the training views, by projectors of full size."""

    def projector(rep):
        z = rep.transform(VIEWS, scale="unit").reshape(50, -1)
        q, _ = np.linalg.qr(z)
        return q @ q.T

    first, last = projector(path.at(0, j)), projector(pca)
    out = []
    for i in range(len(path.regs)):
        p = projector(path.at(i, j))
        start, end = np.sum((p - first) ** 2) / 2, np.sum((p - last) ** 2) / 2
        out.append(start / (start + end))
    return np.array(out)


@pytest.mark.parametrize("model", [Exponential(1.0), Nystrom(Gaussian(1.5), 12)], ids=["exact", "features"])
@pytest.mark.parametrize("center", [False, True])
def test_regimes(model, center):
    regs = np.logspace(-6, 3, 10)
    path = pretrain_path(VIEWS, model, 3, regs=regs, betas=(0.5, 2.0), center=center)
    pca = pretrain(VIEWS, model, 3, reg=1.0, beta=0.0, center=center)
    for j in range(2):
        assert_close(path.position[:, j], naive_position(path, j, pca), tol=1e-5, scale=1.0)
        regimes = path.regimes[:, j].tolist()
        assert regimes[0] == "augmentation"
        assert regimes[-1] == "architecture"
        for position, regime in zip(path.position[:, j], regimes, strict=True):
            assert regime == ("augmentation" if position <= 0.1 else "architecture" if position >= 0.9 else "interplay")
    assert set(path.regimes.ravel()) == {"augmentation", "interplay", "architecture"}


def test_where_augmentations_have_no_say():
    """The path begins where kernel PCA rules already, or has beta = 0: no end to be far from."""
    assert set(pretrain_path(VIEWS, Exponential(1.0), 3, regs=[1.0, 10.0, 1e3]).regimes.ravel()) == {"architecture"}
    path = pretrain_path(VIEWS, Exponential(1.0), 3, regs=[1e-3, 1e2], betas=(0.0, 1.0))
    assert path.regimes.tolist() == [["architecture", "augmentation"], ["architecture", "architecture"]]
    assert path.position[:, 0].tolist() == [1.0, 1.0]
    # as many components as there are functions: there is one span only
    assert set(pretrain_path(noisy(20, 2, 3), Identity(), 3, regs=[1e-4, 1.0]).regimes.ravel()) == {"architecture"}


def test_components_beyond_the_rank():
    path = pretrain_path(noisy(20, 2, 3), Linear(), 6, regs=REGS)
    assert np.isinf(path.gamma[:, 0, 3:]).all()
    assert np.isfinite(path.gamma[:, 0, :3]).all()
    assert (path.n_active <= 3).all()
    assert all(rep.certificate.rank == 3 for rep in path)
    assert all(c.component < 2 for c in path.avoided_crossings)


# ---------------------------------------------------------------- bad input


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"regs": []}, ValueError, "regs must not be empty"),
        ({"regs": 0.1}, TypeError, "regs must be a sequence of numbers, found 0.1"),
        ({"regs": "auto"}, TypeError, "regs must be a sequence of numbers, found 'auto'"),
        ({"regs": [0.1, 0.0]}, ValueError, "each reg of regs must be a finite number > 0, found 0"),
        ({"regs": [0.1, math.nan]}, ValueError, "each reg of regs must be a finite number > 0, found nan"),
        ({"regs": [0.1, "1"]}, TypeError, "each reg of regs must be a real number, found '1'"),
        ({"regs": [0.1, 0.2, 0.1]}, ValueError, "regs must be different numbers, found 0.1 twice"),
        ({"regs": np.ones((2, 2))}, TypeError, "each reg of regs must be a real number"),
        ({"betas": [-1.0]}, ValueError, "each beta of betas must be a finite number >= 0"),
        ({"betas": 1.0}, TypeError, "betas must be a sequence of numbers"),
        ({"betas": ()}, ValueError, "betas must not be empty"),
        ({"n_components": 51}, ValueError, "n_components must be at most the number of views, 50, found 51"),
        ({"n_components": 13, "model": Nystrom(Gaussian(1.0), 12)}, ValueError, "at most the number of features, 12"),
        ({"center": 1}, TypeError, "center must be True or False"),
        ({"model": "gaussian"}, TypeError, "a kernel of sslcore.kernels or a callable"),
        ({"views": VIEWS[:, :1]}, ValueError, "at least one sample must have 2 or more views"),
        ({"views": np.ones((5, 2, 3))}, ValueError, "constant"),
        ({"views": np.ones((5, 2, 3)), "model": Identity(), "center": True}, ValueError, "constant"),
        ({"memory": 1000}, MemoryBudgetError, "nothing was allocated"),
        ({"memory": 1000, "model": Identity()}, MemoryBudgetError, "nothing was allocated"),
    ],
    ids=str,
)
def test_bad_input(options, error, message):
    arguments = {"views": VIEWS, "model": Exponential(1.0), "n_components": 3, "regs": REGS} | options
    with pytest.raises(error, match=message):
        pretrain_path(**arguments)


def test_single_views_at_beta_zero():
    """Kernel PCA alone needs no second view."""
    x = normal((30, 1, 3))
    for model in (Exponential(1.0), Identity()):
        path = pretrain_path(x, model, 2, regs=REGS, betas=[0.0])
        assert_close(path.gamma[1, 0], pretrain(x, model, 2, reg=1e-2, beta=0.0).gamma, tol=1e-10)
        with pytest.raises(ValueError, match="at least one sample must have 2 or more views"):
            pretrain_path(x, model, 2, regs=REGS, betas=[0.0, 1.0])


def test_a_reg_below_rounding_says_how_far_the_path_is_good():
    x = sslcore.datasets.half_moons(200, seed=0)
    views = GaussianNoise(0.1).views(x, 2, seed=0)
    with pytest.raises(
        CertificateError, match=r"at reg = 1e-15, beta = 1: the path is good down to reg = 0.001; "
    ) as e:
        pretrain_path(views, Gaussian(1.0), 5, regs=[1e-15, 1e-3, 1.0])
    assert e.value.certificate.worst > e.value.certificate.tolerance
    with pytest.raises(NotPositiveSemidefiniteError) as e:
        pretrain_path(views, lambda x, y: -Polynomial(2)(x, y), 3, regs=REGS)
    assert e.value.eigenvalue < 0


# ---------------------------------------------------------------- the picture


def test_picture(tmp_path):
    pytest.importorskip("matplotlib")
    from matplotlib.figure import Figure

    path = pretrain_path(lattice(SCALES, NOISE), Identity(), 3, regs=np.logspace(-3, 1, 25), betas=(0.5, 1.0))
    path.plot(tmp_path / "path.png")
    assert [p.name for p in tmp_path.iterdir()] == ["path.png"]
    assert (tmp_path / "path.png").read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    axes = Figure().add_subplot()
    assert path.plot(axes, beta=1) is axes
    drawn = axes.get_lines()
    for i in range(3):
        assert np.array_equal(drawn[i].get_ydata(), path.eigenvalues[:, 1, i])
        assert np.array_equal(drawn[i].get_xdata(), path.regs)
    circles = drawn[3]
    crossings = [c for c in path.avoided_crossings if c.along == "reg" and c.beta == 1.0]
    assert len(crossings) >= 2
    assert np.array_equal(circles.get_xdata(), [c.reg for c in crossings])
    bands = [patch.get_x() for patch in axes.patches]
    assert len(bands) == len([r for r, _ in itertools.groupby(path.regimes[:, 1])])
    assert [t.get_text() for t in axes.texts] == [r for r, _ in itertools.groupby(path.regimes[:, 1])]
    new = path.plot(beta=1)
    assert new.figure.axes == [new]
    assert [line.get_xydata().tolist() for line in new.get_lines()] == [line.get_xydata().tolist() for line in drawn]
    one = pretrain_path(VIEWS, Linear(), 6, regs=[0.1])  # a point alone, components without an eigenvalue
    one.plot(tmp_path / "one.png")


def test_the_panel_takes_arrays():
    pytest.importorskip("matplotlib")
    from matplotlib.figure import Figure

    from sslcore.plotting.panels import spectrum_over_reg

    regs, values = np.array([0.01, 0.1, 1.0]), np.array([[0.9, 0.5], [0.8, 0.4], [0.1, -np.inf]])
    plain, full = Figure().subplots(1, 2)
    spectrum_over_reg(plain, regs, values)
    assert not plain.patches
    assert plain.get_lines()[2].get_xydata().shape == (0, 2)
    spectrum_over_reg(full, regs, values, ["augmentation", "interplay", "interplay"], [(0.2, 0.45)])
    assert [text.get_text() for text in full.texts] == ["augmentation", "interplay"]
    assert np.allclose([band.get_x() for band in full.patches], [0.01, np.sqrt(0.001)])
    for axes, circles in ((plain, []), (full, [[0.2, 0.45]])):
        first, second, places = (line.get_xydata() for line in axes.get_lines()[:3])
        assert np.array_equal(first, np.column_stack([regs, values[:, 0]]))
        assert np.array_equal(second[:2], np.column_stack([regs, values[:, 1]])[:2])
        assert np.isnan(second[2, 1])
        assert places.tolist() == circles


def test_points_are_saved(tmp_path):
    point = pretrain_path(VIEWS, Exponential(1.0), 3, regs=REGS).at(1)
    point.save(tmp_path / "model")
    loaded = sslcore.load(tmp_path / "model")
    assert np.array_equal(loaded(VIEWS), point(VIEWS))
    assert dataclasses.asdict(loaded.certificate).keys() == dataclasses.asdict(point.certificate).keys()
    assert_same_subspace(loaded(VIEWS).reshape(50, 3), point(VIEWS).reshape(50, 3))
