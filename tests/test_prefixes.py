"""Probes on growing prefixes: against a probe a prefix, by its singular value decomposition."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sslcore.probing._prefixes import prefix_errors

from . import naive
from .comparators import assert_close
from .strategies import seeds


def problem(draws, n, k, q, t, seed, kind="values"):
    rng = np.random.default_rng(seed)
    z, test = rng.standard_normal((draws, n, k)), rng.standard_normal((t, k))
    y, target = rng.standard_normal((draws, n, q)), rng.standard_normal((t, q))
    if kind == "classes":
        y = np.eye(q)[rng.integers(0, q, (draws, n))]
        target = rng.dirichlet(np.ones(q), t)
    return z, y, test, target


def compare(backend, z, y, sizes, test, target, **options):
    there = [backend.asarray(a) for a in (z, y, test, target)]
    found = prefix_errors(there[0], there[1], sizes, there[2], there[3], **options)
    wanted = naive.prefix_errors(
        z, y, sizes, test, target, options.get("reg", 0.0), options.get("fit_intercept", False)
    )
    for a, b in zip(found, wanted, strict=True):
        assert_close(backend.asnumpy(a), b, tol=1e-9, scale=max(1.0, float(np.abs(b).max())))


@given(
    st.integers(1, 4),
    st.sampled_from([1, 2, 3, 4, 5, 8, 13]),
    st.integers(1, 5),
    st.sampled_from([1, 7, 64, 130]),
    st.sampled_from([0.0, 1e-3, 0.5]),
    st.booleans(),
    st.sampled_from(["values", "classes"]),
    seeds,
)
def test_against_a_decomposition_a_prefix(backend, draws, k, q, t, reg, fit_intercept, kind, seed):
    """From one point on: where there are fewer points than components the solution of least norm."""
    z, y, test, target = problem(draws, 40, k, q, t, seed, kind)
    compare(backend, z, y, [1, 2, k + 3, k + 4, 30, 40], test, target, reg=reg, fit_intercept=fit_intercept)


@pytest.mark.parametrize("fit_intercept", [False, True])
def test_components_that_are_zero_or_copies(backend, fit_intercept):
    """As a representation has where mu <= 0; copies share their weight."""
    z, y, test, target = problem(3, 50, 6, 3, 20, 0)
    z[:, :, 4], test[:, 4] = 0.0, 0.0
    compare(backend, z, y, [10, 50], test, target, fit_intercept=fit_intercept)
    z[:, :, 5], test[:, 5] = z[:, :, 1], test[:, 1]
    compare(backend, z, y, [10, 50], test, target, fit_intercept=fit_intercept)


def test_a_large_mean(backend):
    z, y, test, target = problem(2, 60, 4, 2, 30, 0)
    compare(backend, z + 1e4, y + 5.0, [12, 60], test + 1e4, target + 5.0, fit_intercept=True)


def test_ties_go_to_the_first_class(backend):
    z, y, test, target = problem(1, 20, 2, 3, 9, 0)
    compare(backend, z, np.zeros_like(y), [20], test, np.abs(target))


def test_float32_is_summed_in_float64(backend):
    z, y, test, target = (a.astype(np.float32) for a in problem(2, 200, 3, 2, 50, 0))
    compare(backend, z, y, [20, 200], test, target)
