"""The study of rates: moments from counts against those of features, exact risks against enumeration, the picture."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import sslcore
from sslcore import datasets, features, population
from sslcore.backends import get_backend
from sslcore.solvers.pencil import Pencil
from sslcore.studies import rates
from sslcore.studies._rates_limit import Limit, limit
from sslcore.studies._registry import Run

from .comparators import assert_close
from .strategies import seeds


def drawn(d, n, m, seed=0):
    return sslcore.augmentations.Views(datasets.hypercube(n, d, seed), rates.LAW, m, seed + 1)


@settings(max_examples=20, deadline=None)
@given(d=st.integers(1, 5), n=st.integers(2, 40), m=st.integers(2, 9), seed=seeds)
def test_moments_from_counts_are_those_of_the_features(d, n, m, seed):
    views = drawn(d, n, m, seed % 1000)
    phi = rates.parities(np.asarray(views[:]))
    found = rates.sums(d, views)
    assert (found.n, found.n_views) == (n, n * m)
    assert found.factor == pytest.approx(m / (m - 1))
    means = phi.mean(axis=1)
    assert_close(found.mean, means.mean(axis=0), tol=1e-12)
    away, inside = means - means.mean(axis=0), phi - means[:, None]
    scale = float((phi**2).sum(axis=0).max())  # all samples, or all views of each, may be alike: then one of them is 0
    assert_close(found.between, away.T @ away, tol=1e-12, scale=scale)
    assert_close(found.within, np.einsum("iar,ias->rs", inside, inside) / m, tol=1e-12, scale=scale)


def test_moments_do_not_depend_on_blocks():
    """More views than a block has: 2^18."""
    views = drawn(3, 5000, 64)
    found = rates.sums(3, views)
    moments = sslcore.Moments(features.Identity()).update(
        rates.parities(np.asarray(views[:]).reshape(-1, 3)).reshape(5000, 64, 8)
    )
    rep = moments.solve(4, reg=1e-3)
    pencil = Pencil(found, get_backend("numba"), finest=0.0, epsilon=0.0, unbiased=True, center=False)
    risk, penalty = rates.risks(pencil, 3, 4, 1e-3)
    assert_close(penalty, 2e-3 * float(np.maximum(rep.eigenvalues, 0) @ rep.norms), tol=1e-9)
    exact = population.Hypercube(3).risk(lambda x: rep(rates.parities(x)), rates.LAW)
    assert_close(risk, exact, tol=1e-10)


def test_one_cell_is_the_fit_with_the_kernel():
    """Scaled parities are features of the kernel: the same functions, the same exact risk."""
    at = [60, 3, 2]
    found = rates.cell({"d": 5, "k": 6, "seed": 4}, at)
    one, two = (int(s) for s in np.random.SeedSequence(4, spawn_key=(60, 3, 2)).generate_state(2))
    views = sslcore.augmentations.Views(datasets.hypercube(60, 5, one), rates.LAW, 3, two)
    for i, reg in enumerate((*rates.REGS, rates.FIXED, rates.SHRINKING * 60**-0.5)):
        rep = sslcore.pretrain(views, rates.KERNEL, 6, reg=reg)
        assert_close(found["risk"][i], population.Hypercube(5).risk(rep, rates.LAW), tol=1e-7)
        assert_close(found["penalty"][i], 2 * reg * float(np.maximum(rep.eigenvalues, 0) @ rep.norms), tol=1e-7)


@pytest.fixture(scope="module")
def found():
    return rates.study((64, 256, 1024, 4096), (2, 32), repetitions=5, d=4, first=1, run=Run(seed=3))


def test_the_excess_falls_as_one_over_n(found):
    assert (found.penalised > 0).all()  # nothing is below the minimum
    assert (found.grid > 0).all()
    for i in range(2):
        slope = found.slope("fixed", i)
        assert slope.low < slope.value < slope.high
        assert slope.value == pytest.approx(1.0, abs=0.25)
    assert (found.values("tuned").mean(axis=2) <= found.grid.mean(axis=2).min(axis=2) + 1e-15).all()
    assert found.budgets() == [2048, 8192]
    np.testing.assert_array_equal(found.at_budget("fixed", 8192)[0], found.penalised[0, 3])
    np.testing.assert_array_equal(found.at_budget("fixed", 8192)[1], found.penalised[1, 1])
    assert found.price("fixed", 1).low > 1  # beside 31 more views of each, new samples are worth more
    assert found.penalised[:, 1:].std(axis=2).min() > 0  # each repetition has its own draws


def by_enumeration(nu, flip, reg, k, m, beta):
    """Find the limit of n times the excess, (1/2) E g^T H^+ g: points and signs listed, derivatives by differences."""
    size = len(nu)
    d = size.bit_length() - 1
    points = np.array([[1.0 - 2.0 * (p >> i & 1) for i in range(d)] for p in range(size)])
    chi = np.array([[points[p, [i for i in range(d) if s >> i & 1]].prod() for s in range(size)] for p in range(size)])
    odds = np.array([flip ** p.bit_count() * (1 - flip) ** (d - p.bit_count()) for p in range(size)])
    mean = odds @ chi  # E chi_S(f)
    mu = 1 - beta * (1 - mean**2) - reg / nu
    order = np.argsort(-mu, kind="stable")[:k]
    best = np.zeros((k, size))
    best[np.arange(k), order] = np.sqrt(mu[order])

    def gradient(c, s, away):
        inside = c @ s @ c.T - np.eye(k)
        return (4 * inside @ c @ s + 4 * beta * c @ away + 4 * reg * c / nu).ravel()

    s, away = np.eye(size), np.diag(1 - mean**2)
    assert np.abs(gradient(best, s, away)).max() < 1e-12
    steps = np.eye(best.size).reshape(-1, *best.shape) * 1e-5
    hessian = np.array([(gradient(best + h, s, away) - gradient(best - h, s, away)) / 2e-5 for h in steps])
    inverse = np.linalg.pinv(hessian, rcond=1e-6, hermitian=True)
    total = 0.0
    for flips in itertools.product(range(size), repeat=m):
        for p in range(size):
            z = chi[[p ^ f for f in flips]]
            one = z.T @ z / m
            two = (np.outer(z.sum(axis=0), z.sum(axis=0)) - z.T @ z) / (m * (m - 1))
            h = 1e-5
            up = gradient(best, s + h * (one - s), away + h * (one - two - away))
            down = gradient(best, s - h * (one - s), away - h * (one - two - away))
            g = (up - down) / (2 * h)
            total += odds[list(flips)].prod() / size * 0.5 * g @ inverse @ g
    return total


@pytest.mark.parametrize(
    ("d", "k", "m", "beta", "reg", "flip"),
    [
        *((1, 1, m, 1.0, 1e-3, 0.1) for m in (2, 3, 5)),
        *((2, 3, m, 1.0, 1e-3, 0.1) for m in (2, 3, 4)),
        *((2, 2, 3, 0.7, 3e-2, 0.2), (2, 4, 2, 1.3, 1e-3, 0.05)),
    ],
)
def test_the_limit_against_enumeration(d, k, m, beta, reg, flip):
    nu = np.array([0.7, 0.25, 0.2, 0.1])[: 2**d]
    found = limit(nu, flip, reg, k, beta)
    assert found.at(m) == pytest.approx(by_enumeration(nu, flip, reg, k, m, beta), rel=1e-5)


def test_the_measured_excess_is_that_of_the_limit(found):
    for i in range(2):
        ratio = found.over_limit(i)
        assert abs(ratio.value - 1) < 4 * ratio.standard_error + 0.05
    many = Limit(1.0, 5.0, 9.0)
    at_budget = [m * many.at(m) for m in (3, many.best_views, 5)]
    assert many.best_views == 4.0
    assert at_budget[1] < min(at_budget[0], at_budget[2])


def test_without_a_gap_there_is_no_law():
    nu = np.array([0.7, 0.2, 0.2, 0.1])
    with pytest.raises(ValueError, match="needs 2 active components and a gap after them"):
        limit(nu, 0.1, 1e-3, 2)
    with pytest.raises(ValueError, match="needs 3 active components"):
        limit(nu, 0.1, 0.5, 3)


def test_what_is_fitted_to_exact_laws():
    """Errors 3 (1 + 4 / (m - 1)) / n without noise: the exponent is 1, the interval a point, the share found."""
    n, m = np.array([64, 128, 256, 512]), np.array([2, 4, 8])
    law = 3.0 * (1 + 4.0 / (m - 1))[:, None, None] / n[None, :, None] * np.ones(4)
    exact = Limit(3.0, 12.0, 12.0)  # 12 / (m - 1) = 12 / m + 12 / (m (m - 1))
    made = rates.Study(4, 5, tuple(n), tuple(m), law, law[..., None] * np.arange(1, 8), law**0.5, 0, exact)
    assert str(made.slope("fixed", 0)) == "1.00 (1.00 to 1.00)"
    assert str(made.slope("tuned", 2)) == "1.00 (1.00 to 1.00)"
    assert made.slope("shrinking", 1).value == pytest.approx(0.5)
    assert [str(made.over_limit(i)) for i in range(3)] == ["1.00 (1.00 to 1.00)"] * 3
    assert exact.best_views == 3.0
    levels = np.log(1 + 4.0 / (m - 1))
    slope = -np.polyfit(np.log(m), levels, 1)[0]
    assert made.slope_of_views("fixed").value == pytest.approx(slope)
    assert made.slope_of_views("shrinking").value == pytest.approx(slope / 2)
    assert made.price("fixed", 2).value == pytest.approx(4 * (1 + 4 / 7) / 5)
    assert (made.best() == rates.REGS[0]).all()


def test_the_interval_covers_what_is_true():
    rng = np.random.default_rng(0)
    covered = 0
    for _ in range(300):
        values = rng.normal(size=6)
        slope = rates.Slope.of(lambda kept, values=values: float(values[kept].mean()), 6)
        covered += slope.low < 0 < slope.high
    assert 0.92 < covered / 300 < 0.98


def test_words_and_picture(found):
    panels = pytest.importorskip("sslcore.plotting.panels")
    from sslcore.studies.figures import rates as figures

    verdict = found.verdict()
    assert "\n" not in verdict
    assert str(found.slope("fixed", 0)) in verdict
    assert f"measured over that: {found.over_limit(0)} at m = 2, {found.over_limit(1)} at m = 32" in verdict
    assert f"tuned {found.price('tuned', 1)}; by the law {found.limit.best_views:.1f} views" in verdict
    assert f"{found.mean('tuned')[0, 3]:.3e}" in found.table()
    assert str(found.slope_of_views("tuned")) in found.table()
    document = found.document()
    assert document["limit"]["samples"] == found.limit.samples
    assert document["minimum_risk"] == pytest.approx(5 - 1 - 4 * 0.8**4)
    assert len(document["measures"]["tuned"]["slopes"]) == 2
    assert found.arrays()["grid"].shape == (2, 4, 5, len(rates.REGS))
    drawn = figures.figure(found)
    assert len(drawn.axes) == 6
    assert panels.png(drawn)[:4] == b"\x89PNG"
