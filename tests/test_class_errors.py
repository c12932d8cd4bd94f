"""Errors against class probabilities; kernel ridge curves with their effective dimensions; against plain formulas."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sslcore import datasets, diagnostics
from sslcore.features import Nystrom
from sslcore.kernels import Exponential
from sslcore.probing import probability_errors, ridge_probe
from sslcore.probing._prefixes import prefix_errors

from .comparators import assert_close


def drawn(n, t, seed):
    rng = np.random.default_rng(seed)
    return rng.standard_normal((n, t)), rng.dirichlet(np.ones(t), n)


@given(n=st.integers(1, 9), t=st.integers(1, 5), seed=st.integers(0, 9))
def test_by_loops(n, t, seed):
    decision, p = drawn(n, t, seed)
    squared = sum(sum((decision[i, c] - p[i, c]) ** 2 for c in range(t)) for i in range(n)) / n
    excess = sum(max(p[i]) - p[i, max(range(t), key=lambda c, i=i: decision[i, c])] for i in range(n)) / n
    found = probability_errors(decision, p)
    assert_close(found.squared, squared, tol=1e-13)
    assert_close(found.zero_one, excess, tol=1e-13)
    assert probability_errors(p, p) == (0.0, 0.0)


def test_on_the_backends(backend):
    decision, p = drawn(50, 4, 0)
    expected = probability_errors(decision, p)
    assert_close(
        np.array(probability_errors(backend.asarray(decision), backend.asarray(p))), np.array(expected), tol=1e-13
    )
    single = probability_errors(backend.asarray(decision, np.float32), backend.asarray(p, np.float32))
    assert_close(np.array(single), np.array(expected), tol=1e-5)


def test_of_a_probe_as_along_a_learning_curve():
    """The errors of `ridge_probe` on drawn labels are those that `prefix_errors` finds for one draw and size."""
    rng = np.random.default_rng(0)
    x, new = datasets.half_moons(80, seed=0), datasets.half_moons(60, seed=1)
    p = datasets.half_moons_probabilities(x)
    labels = (rng.random((80, 1)) > p.cumsum(axis=1)).sum(axis=1)
    probe = ridge_probe(x, labels, reg=1e-2, fit_intercept=False)
    target = datasets.half_moons_probabilities(new)
    found = probability_errors(probe.decision_function(new), target)
    squared, zero_one = prefix_errors(x[None], np.eye(4)[labels][None], [80], new, target, reg=1e-2)
    assert_close(np.array(found), np.array([squared[0, 0], zero_one[0, 0]]), tol=1e-10)


@pytest.mark.parametrize(
    ("decision", "probabilities", "message"),
    [
        (np.zeros((3, 2)), np.full((3, 3), 1 / 3), "must have one shape"),
        (np.zeros((2, 2)), [[0.5, 0.4], [0.5, 0.5]], "off by 0.1"),
        (np.zeros((1, 2)), [[1.5, -0.5]], "a least entry of -0.5"),
        (np.zeros((1, 2)), [[np.nan, 1.0]], "probabilities must be finite"),
        (np.zeros(2), [[0.5, 0.5]], "decision"),
    ],
)
def test_refused(decision, probabilities, message):
    with pytest.raises(ValueError, match=message):
        probability_errors(decision, probabilities)


@pytest.mark.parametrize("reg", [1e-2, 1e-5])
def test_kernel_ridge_curves(reg):
    """(K + n reg I)^-1 y by features of all points; its leave-one-out errors; tr K (K + n reg I)^-1."""
    x, new = datasets.half_moons(90, seed=0), datasets.half_moons(40, seed=1)
    y, kernel = np.sin(3 * x[:, 0]) + x[:, 1], Exponential(0.5)
    phi = Nystrom(kernel, x)
    k = kernel(x)
    inverse = np.linalg.inv(k + 90 * reg * np.eye(90))
    probe = ridge_probe(phi(x), y, reg=[reg], fit_intercept=False)
    assert_close(probe.predict(phi(new)), kernel(new, x) @ inverse @ y, tol=1e-8)
    residuals = (inverse @ y) / np.diag(inverse)
    assert_close(probe.loo_errors[0], np.mean(residuals**2), tol=1e-8)
    hat, spectrum = k @ inverse, np.linalg.eigvalsh(k / 90)
    assert_close(diagnostics.effective_dimension(spectrum, reg), np.trace(hat), tol=1e-9)
    assert_close(diagnostics.effective_dimension(spectrum, reg, power=2), np.trace(hat @ hat), tol=1e-9)
    with pytest.raises(ValueError, match="power must be at least 1 and at most 9007199254740992, found 0"):
        diagnostics.effective_dimension(spectrum, reg, power=0)
