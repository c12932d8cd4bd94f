"""The downstream trade-off: its fits against the published formulation, dense, and its targets against integrals."""

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from sslcore import datasets, pretrain
from sslcore.population import Sphere
from sslcore.studies import _registry, downstream

from . import naive
from .comparators import assert_close

SMALL = {"lambda_refs": [1e-2, 0.3, 10.0], "n": 40, "n_points": 120, "seed": 3}


def published(x, lambda_ref, diagonal):
    """The authors' formulation, rows in view-major order: T_ref - lambda_ref K^-1, and K^-1 F for unit functions."""
    rows = np.concatenate([np.roll(x, a, axis=1) for a in (0, 1, -1)])
    n = len(x)
    matrix = naive.gram(downstream.KERNEL, rows).astype(float)
    t = np.kron(np.ones((3, 3)) - (0.0 if diagonal else 1.0) * np.eye(3), np.eye(n))
    values, vectors = np.linalg.eigh(t - lambda_ref * np.linalg.inv(matrix))
    order = np.argsort(-values)[:20]
    functions = np.sqrt(len(rows)) * vectors[:, order]
    return values[order], functions, np.linalg.solve(matrix, functions), rows


@pytest.mark.parametrize("lambda_ref", SMALL["lambda_refs"])
def test_both_operators_against_the_published_formulation(lambda_ref):
    """One fit has the functions of both: mu_published = (3 mu - 1) / 2, in the authors' units 2 mu and 3 mu."""
    x = datasets.sphere(40, 8, seed=1)
    mine = pretrain(downstream.views(x), downstream.KERNEL, 20, reg=lambda_ref / (9 * 40), unbiased=False)
    theirs = pretrain(downstream.views(x), downstream.KERNEL, 20, reg=lambda_ref / (6 * 40))
    one, _, _, _ = published(x, lambda_ref, diagonal=False)
    other, functions, alpha, rows = published(x, lambda_ref, diagonal=True)
    assert_close(2 * theirs.eigenvalues, one, tol=1e-8)
    assert_close(3 * mine.eigenvalues, other, tol=1e-8)
    assert_close(theirs.eigenvalues, (3 * mine.eigenvalues - 1) / 2, tol=1e-9)
    counts = downstream.active_components(mine.eigenvalues)
    assert counts == (int((one > 0).sum()), int((other > 0).sum()))
    new = datasets.sphere(30, 8, seed=2)
    values, expected = mine.transform(new, scale="unit"), naive.gram(downstream.KERNEL, new, rows).astype(float) @ alpha
    # the span of functions whose eigenvalue stands apart: projections on it agree
    gaps = np.flatnonzero(np.diff(other) < -0.02) + 1
    for k in gaps[-1:]:
        assert_close(values[:, :k] @ values[:, :k].T, expected[:, :k] @ expected[:, :k].T, tol=1e-5)
    assert_close(functions.T @ functions / 120, np.eye(20), tol=1e-9)


def test_a_repetition_against_plain_loops():
    found = downstream.repetition(SMALL, 5)
    seed = int(np.random.SeedSequence(3, spawn_key=(5,)).generate_state(1)[0])
    x = datasets.sphere(120, 8, seed=seed)
    y = np.stack([target(x) for target in downstream.TARGETS], axis=1)
    for i, lambda_ref in enumerate(SMALL["lambda_refs"]):
        values, functions, alpha, rows = published(x[:40], lambda_ref, diagonal=True)
        for o, count in enumerate((int((values > 1).sum()), int((values > 0).sum()))):
            assert found["active"][o, i] == count
            phi = naive.gram(downstream.SMOOTH, x, rows).astype(float) @ alpha[:, :count]
            assert_close(phi[:40] + 1e-4 * alpha[:40, :count], functions[:40, :count], tol=1e-6, scale=1.0)
            for t in range(2):

                def error(fit, at, r, t=t, phi=phi):
                    weights, _ = naive.ridge(phi[fit], y[fit, t : t + 1], r * len(phi[fit]), False)
                    return np.mean((phi[at] @ weights[:, 0] - y[at, t]) ** 2) / np.mean(y[40:, t] ** 2)

                tests = [error(slice(40), slice(40, 120), r) for r in downstream.RIDGES]
                trials = [error(slice(26), slice(26, 40), r) for r in downstream.RIDGES]
                assert_close(found["errors"][o, 1, t, i], min(tests), tol=1e-5)
                assert_close(found["errors"][o, 0, t, i], tests[int(np.argmin(trials))], tol=1e-5)
                assert found["ridges"][o, 0, t, i] == downstream.RIDGES[int(np.argmin(trials))]


@given(degree=st.integers(1, 5), shifts=st.sets(st.integers(-3, 4), min_size=1), a=st.integers(0, 7))
@settings(max_examples=8)
def test_targets_in_characters(degree, shifts, a):
    """<f, R_a f> / <f, f> = sum_w energy_w cos(2 pi a w / d): by the energies, and by an average over points."""
    assume(degree != 2 or len(shifts) < 8)  # a multiple of sum_a x_a^2 - 1: zero
    target = downstream.Target("any", degree, tuple(shifts))
    energies = {label: c**2 for label, c in target.coefficients().items()}
    assert_close(sum(energies.values()), 1.0, tol=1e-12)
    x = datasets.sphere(60_000, 8, seed=degree)
    one, other = target(x), target(np.roll(x, -a, axis=1))
    found = sum(e * np.cos(2 * np.pi * a * w / 8) for (_, w), e in energies.items())
    assert abs(found - (one * other).mean() / (one**2).mean()) < 0.05


def test_the_population():
    """At small lambda the 20 functions are the invariant ones of degree 3 and less; a block that is cut is shared."""
    invariant, other = downstream.TARGETS
    assert invariant.coefficients() == {(3, 0): pytest.approx(1.0)}
    for operator in downstream.OPERATORS:
        first = downstream.spectrum(operator, 1e-2, 300)
        assert (set(first.labels), first.block_ends[-1]) == ({(0, 0), (1, 0), (2, 0), (3, 0)}, 20)
        assert downstream.exact_error(first, invariant) < 1e-12
        assert_close(downstream.exact_error(first, other), first.projection_error(other.coefficients()), tol=1e-12)
    cut = downstream.spectrum("true", 1.93, 300)
    assert cut.block_ends[-2:] == (16, 30)
    assert_close(downstream.exact_error(cut, invariant), 1 - 4 / 14, tol=1e-12)
    # what the published T is: T_distinct = (3 T - I) / 2 on every function, dense on the shifts of Z_8
    shift = np.roll(np.eye(8), 1, axis=0)
    mean = (np.eye(8) + shift + shift.T) / 3
    pairs = (2 * shift + 2 * shift.T + shift @ shift + shift.T @ shift.T) / 6
    assert_close(pairs, (3 * mean @ mean.T - np.eye(8)) / 2, tol=1e-15)
    lines = Sphere(8).select(downstream.LAW, downstream.KERNEL, [(1, w) for w in range(5)])
    assert_close(lines.augmentation, np.abs(np.fft.fft(mean[0])[:5]) ** 2, tol=1e-12)


def test_the_trade_off():
    found = downstream.study((1e-2, 0.5, 10.0), repetitions=3, n=150, n_points=700, seed=1)
    errors = found.mean("true", "validation")
    assert errors[0, 0] < 0.1 < 0.9 < errors[0, -1]
    assert errors[1, -1] < 0.2 < 0.5 < errors[1, 0]
    for operator in downstream.OPERATORS:
        assert (found.mean(operator, "test") <= found.mean(operator, "validation")).all()
        fine, errors, count = found.lines[operator]  # of the population, with the same ends
        np.testing.assert_array_equal(errors[:, [0, -1]], found.exact[operator][:, [0, -1]])
        np.testing.assert_array_equal(count[[0, -1]], found.exact_active[operator][[0, -1]])
        middle = int(np.abs(np.log(fine / 0.5)).argmin())
        np.testing.assert_allclose(errors[:, middle], found.exact[operator][:, 1], atol=1e-9)
    assert (found.active["published"] <= found.active["true"]).all()
    words = found.verdict()
    assert words.startswith("The paper: ")
    assert "+-" in words
    assert len(found.table().splitlines()) == 3 + 2 * (3 + 3)
    assert found.document()["repetitions"] == 3
    assert _registry.registered("downstream").pictures == {"": "figure"}
    pytest.importorskip("matplotlib")
    from sslcore.plotting.panels import png
    from sslcore.studies.figures import downstream as pictures

    assert len(png(pictures.figure(found))) > 20_000
