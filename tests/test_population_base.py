"""The common part of the population theory, on lines made up here: order, blocks, crossings, regimes, targets."""

import json
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sslcore.population import CutBlockWarning, Domain, Lines, PopulationSpectrum, risk_of_moments

from . import naive
from .strategies import seeds


@dataclass(frozen=True)
class Fixed(Domain):
    """A domain that is given its lines."""

    given: Lines

    def lines(self, augmentation, kernel, n, *, reg=None, beta=1.0):
        return self.given


def some_lines(seed, size=8, levels=6):
    """Random lines on coarse levels: equal values of t, of kappa and of both happen, and so do zeros."""
    rng = np.random.default_rng(seed)
    t = rng.integers(0, levels + 1, size) / levels
    kappa = rng.integers(0, levels + 1, size) / 7.0
    return Lines(t, kappa, rng.integers(1, 4, size), [f"f{i}" for i in range(size)])


def quietly(lines, k, **numbers):
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", CutBlockWarning)
        return PopulationSpectrum.of(lines, k, **numbers)


@given(seeds, st.integers(1, 12), st.sampled_from([0.0, 0.013, 0.1, 3.0]), st.sampled_from([0.0, 0.5, 1.0, 1.7]))
def test_spectrum_against_sorting_all_components(seed, k, reg, beta):
    lines = some_lines(seed, 14)
    found = quietly(lines, k, reg=reg, beta=beta)
    _, values = naive.population_top(lines.augmentation, lines.kernel, lines.multiplicity, reg, beta, k)
    np.testing.assert_allclose(found.eigenvalues, values, rtol=0, atol=1e-13)
    mu = lines.values(reg, beta)
    # blocks: complete, equal inside, different outside
    for start, stop in zip((0, *found.block_ends), found.block_ends, strict=False):
        level = found.eigenvalues[start]
        same = (mu == level) | (np.abs(mu - level) < 1e-12)
        assert lines.multiplicity[same].sum() == stop - start
        inside = [int(label[1:]) for label in found.labels[start:stop]]
        assert inside == sorted(inside)
    assert found.cuts_block == (found.block_ends[-1] > k)
    assert found.n_active == sum(v > 0 for v in values)
    assert math.isclose(found.minimum_risk(), k - sum(max(v, 0) ** 2 for v in values), abs_tol=1e-12)


def test_rounding_does_not_order_a_block():
    """Equal values that are computed in two ways: the lines keep the order in which they are given."""
    lines = Lines([0.3, 0.1 + 0.2, 0.3, 0.1 + 0.2, 0.9], np.ones(5), np.ones(5, int), "abcde")
    assert lines.augmentation[1] > lines.augmentation[0]
    found = PopulationSpectrum.of(lines, 5, reg=1e-3, beta=1.0)
    assert found.labels == tuple("eabcd")
    assert found.block_ends == (1, 5)


def test_only_the_lines_near_the_top_are_sorted():
    """The short way for many lines finds the same as sorting them all, ties at the end included."""
    rng = np.random.default_rng(0)
    lines = Lines(rng.integers(0, 40, 6000) / 40, np.ones(6000), np.ones(6000, int), range(6000))
    found = quietly(lines, 300, reg=1e-3, beta=1.0)
    expected, _ = naive.population_top(lines.augmentation, lines.kernel, lines.multiplicity, 1e-3, 1.0, 300)
    assert list(found.labels) == expected
    assert found.block_ends[-1] == (lines.augmentation >= found.augmentation[-1]).sum() > 300


@given(seeds, st.integers(1, 9), st.sampled_from([0.5, 1.0, 2.0]))
def test_order_between_crossings(seed, k, beta):
    """Inside each regime the order is that of sorting, and the listed crossings are where it changes."""
    rng = np.random.default_rng(seed)
    size = 7
    lines = Lines(rng.random(size), 10.0 ** rng.uniform(-3, 0, size), rng.integers(1, 4, size), list(range(size)))
    domain = Fixed(lines)
    k = min(k, lines.total)
    crossings = domain.crossings(None, None, k, beta=beta)
    regimes = domain.regimes(None, None, k, beta=beta)
    assert [c.reg for c in crossings] == sorted(c.reg for c in crossings)
    assert [r.start for r in regimes[1:]] == sorted({c.reg for c in crossings})
    assert regimes[0].start == 0
    assert regimes[-1].stop == math.inf
    for regime in regimes:
        stop = 100 * regime.start + 1 if regime.stop == math.inf else regime.stop
        for share in (0.001, 0.5, 0.999):
            reg = regime.start + share * (stop - regime.start)
            order, _ = naive.population_top(lines.augmentation, lines.kernel, lines.multiplicity, reg, beta, k)
            assert tuple(order) == regime.labels
    for c in crossings:  # both lines have the value there, and exchange their places
        for label in (c.before, c.after):
            at = 1 - beta + beta * lines.augmentation[label] - c.reg / lines.kernel[label]
            assert math.isclose(at, c.eigenvalue, abs_tol=1e-12 * (1 + c.reg / lines.kernel[label]))
        below, above = lines.values(0.999 * c.reg, beta), lines.values(1.001 * c.reg, beta)
        assert below[c.before] > below[c.after]
        assert above[c.before] < above[c.after]


@given(seeds, st.integers(1, 5))
def test_crossings_with_equal_lines_and_zeros(seed, k):
    """As before, on coarse levels: the first k values are those of sorting on both sides of every crossing."""
    lines = some_lines(seed)
    regimes = Fixed(lines).regimes(None, None, k)
    inside = Lines(*(getattr(lines, n)[lines.kernel > 0] for n in ("augmentation", "kernel", "multiplicity")),
                   np.array(lines.labels)[lines.kernel > 0])  # fmt: skip
    for regime in regimes:
        reg = (regime.start + regime.stop) / 2 if regime.stop < math.inf else 2 * regime.start or 1.0
        found = sorted(regime.labels[: min(k, inside.total)])
        order, values = naive.population_top(lines.augmentation, lines.kernel, lines.multiplicity, reg, 1.0, k)
        if values[-1] > -math.inf and not quietly(lines, k, reg=reg, beta=1.0).cuts_block:
            assert found == sorted(lines.labels[i] for i in order)


def test_three_lines_of_the_paper():
    lines = Lines([0.9, 0.75, 0.5], [1 / 0.4, 1 / 0.25, 1 / 0.125], [1, 1, 1], ["f", "g", "h"])
    crossings = Fixed(lines).crossings(None, None)
    assert [(round(c.reg, 12), c.before, c.after) for c in crossings] == [(1.0, "f", "g"), (2.0, "g", "h")]
    assert Fixed(lines).crossings(None, None, labels=["f", "h"])[0].reg == pytest.approx(0.4 / 0.275)
    assert Fixed(lines).crossings(None, None, beta=0.0) == []
    assert [r.name for r in Fixed(lines).regimes(None, None, beta=0.0)] == ["both"]


def test_projection_error_and_ridge_risk_against_the_dense_probe():
    """min_w E(w^T psi - f*)^2 + g |w|^2, written out in the coordinates of the eigenfunctions."""
    lines = Lines([1.0, 0.6, 0.3, 0.1], [1.0, 0.5, 0.4, 0.01], [1, 1, 1, 1], "abcd")
    spectrum = PopulationSpectrum.of(lines, 4, reg=0.002, beta=1.0)  # d has mu < 0
    assert spectrum.n_active == 3
    target = {"a": 0.5, "b": -2.0, "c": 0.3, "d": 0.7, "beyond": 0.2}
    f = np.array([*target.values()])
    roots = np.sqrt(np.maximum(spectrum.eigenvalues, 0))
    psi = np.vstack([np.diag(roots), np.zeros((1, 4))])  # columns: components in an orthonormal basis
    for g in (0.0, 0.03, 2.0):
        s = psi.T @ psi
        w = np.linalg.pinv(s + g * np.eye(4)) @ psi.T @ f
        assert spectrum.ridge_risk(target, g) == pytest.approx(((psi @ w - f) ** 2).sum(), abs=1e-13)
    assert spectrum.projection_error(target) == pytest.approx(0.7**2 + 0.2**2)
    assert spectrum.effective_dimension(0.03) == pytest.approx(np.trace(np.linalg.solve(s + 0.03 * np.eye(4), s)))


def test_minimum_is_the_risk_of_the_minimiser():
    """At lambda = 0 the components sqrt(mu_i) f_i have the moments diag(mu) and diag(mu t)."""
    spectrum = PopulationSpectrum.of(Lines([1, 0.5, 0.2], [1, 1, 1], [1, 1, 1], "abc"), 3, reg=0.0, beta=1.3)
    mu = np.maximum(spectrum.eigenvalues, 0)
    risk = risk_of_moments(np.diag(mu), np.diag(mu * spectrum.augmentation), 1.3)
    assert risk == pytest.approx(spectrum.minimum_risk(), abs=1e-14)


def test_multiplicities_beyond_int64():
    lines = Lines([1.0, 0.5, 0.25], [1.0, 1.0, 1.0], [1, 10**300, 3], "abc")
    assert lines.total == 10**300 + 4
    found = quietly(lines, 5, reg=0.0, beta=1.0)
    assert found.labels == tuple("abbbb")
    assert found.block_ends == (1, 10**300 + 1)


def test_cut_block_is_named():
    lines = Lines([1.0, 0.5, 0.25], [1.0, 1.0, 1.0], [1, 8, 3], ["constant", "linear", "quadratic"])
    with pytest.warns(CutBlockWarning, match=r"components 2 to 9 .*'linear' and 7 more.*n_components=1 or 9"):
        found = Fixed(lines).spectrum(None, None, reg=0.0, n_components=4)
    with pytest.raises(ValueError, match=r"components 2 to 9 that n_components=4 cuts"):
        found.projection_error({"linear": 1.0})
    assert found.projection_error({"constant": 1.0, "quadratic": 2.0}) == 4.0
    assert Fixed(lines).minimum_risk(None, None, 4) == pytest.approx(4 - 1 - 3 * 0.25)  # no warning: it is defined


def test_bad_input():
    lines = Lines([1.0, 0.5], [1.0, 0.0], [1, 2], "ab")
    domain = Fixed(lines)
    with pytest.raises(ValueError, match="at most 3, the number of eigenfunctions"):
        domain.spectrum(None, None, reg=0.0, n_components=4)
    with pytest.raises(ValueError, match="reg must be"):
        domain.spectrum(None, None, reg=-1.0, n_components=1)
    with pytest.raises(ValueError, match="beta must be"):
        domain.crossings(None, None, beta=-0.5)
    with pytest.raises(TypeError, match="n_components must be an integer"):
        domain.minimum_risk(None, None, 1.5)
    with pytest.raises(ValueError, match="no line has the label 'z'"):
        domain.crossings(None, None, labels=["a", "z"])
    with pytest.raises(ValueError, match="must be >= 0"):
        Lines([1.0], [-1e-17], [1], "a")
    with pytest.raises(ValueError, match="as many values"):
        Lines([1.0, 0.5], [1.0], [1], "a")
    spectrum = PopulationSpectrum.of(lines, 3, reg=0.1, beta=1.0)
    assert spectrum.eigenvalues.tolist() == [0.9, -math.inf, -math.inf]
    with pytest.raises(ValueError, match="at most 3"):
        spectrum.minimum_risk(4)
    with pytest.raises(ValueError, match="reg must be"):
        spectrum.effective_dimension(0.0)


def test_lines_of_the_population_page():
    """The oracle of section I: block ends are checked on the cube; here the arithmetic of the risk of its lines."""
    oracle = json.loads((Path(__file__).parent / "oracles.json").read_text())["I"]
    ends = oracle["sorted_block_ends_d8_w5_p.1_ntk2_lam1e-4"]
    counts = np.diff([0, *(e["k"] for e in ends)])
    lines = Lines([e["l"] for e in ends], np.ones(len(ends)), counts, range(len(ends)))
    spectrum = PopulationSpectrum.of(lines, 9, reg=0.0, beta=1.0)
    assert spectrum.effective_dimension(0.01) == pytest.approx(oracle["deff_gamma0.01_k9"], abs=2e-11)
    target = {0: 0.3, 1: 1.0, 2: math.sqrt(0.3125)}
    assert spectrum.projection_error(target) == pytest.approx(oracle["proj_err_sq"], abs=1e-12)
    assert spectrum.ridge_risk(target, 0.01) == pytest.approx(oracle["pop_ridge_risk_gamma0.01"], abs=1e-12)


@pytest.mark.parametrize("bad", ["x", None, 10**400, 1j, [1.0], np.ones((2, 3)), np.full((2, 2), np.nan)])
def test_moments_and_beta_are_checked(bad):
    for arguments in ((bad, np.eye(2), 1.0), (np.eye(2), bad, 1.0), (np.eye(2), np.eye(2), bad)):
        with pytest.raises((TypeError, ValueError), match=r"second|smooth|beta"):
            risk_of_moments(*arguments)
    for beta in (-1.0, np.nan, np.inf, True):
        with pytest.raises((TypeError, ValueError), match="beta"):
            risk_of_moments(np.eye(2), np.eye(2), beta)
