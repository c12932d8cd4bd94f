"""Bias, variance and effective dimension: theory against linear algebra and simulation, fits against plain loops."""

import itertools
import math

import numpy as np
import pytest

from sslcore import diagnostics, pretrain
from sslcore.augmentations import Views
from sslcore.datasets import hypercube
from sslcore.population import Hypercube
from sslcore.studies import _registry, dimension

from . import naive
from .comparators import assert_close


def table():
    return naive.cube_points(8)


def test_the_target():
    chi = naive.parities(8, [s for h in range(9) for s in itertools.combinations(range(8), h)])
    coefficients = chi.T @ dimension.target(table()) / 256
    expected = [e / math.comb(8, h) for h, e in enumerate([0, 0.6, 0.3, 0.1, *[0] * 5]) for _ in range(math.comb(8, h))]
    assert_close(coefficients**2, np.array(expected), tol=1e-12, scale=1.0)


@pytest.mark.parametrize("reg", [1e-6, 1e-3])
@pytest.mark.parametrize("k", [1, 9, 37, 93])
def test_the_population_against_its_spectrum(reg, k):
    """Whole blocks: the ridge risk at c and both dimensions, of the library's own spectrum."""
    found = dimension.population(reg, k, 10**7)  # c is g there
    spectrum = Hypercube(8).spectrum(dimension.LAW, dimension.KERNEL, reg=reg, n_components=k)
    sets = {
        s: (e / math.comb(8, h)) ** 0.5
        for h, e in enumerate(dimension.ENERGIES)
        for s in itertools.combinations(range(8), h)
    }
    assert_close(found["bias"], spectrum.ridge_risk(sets, dimension.RIDGE), tol=1e-4)
    assert_close(found["dimension"], spectrum.effective_dimension(dimension.RIDGE), tol=1e-10)
    share = [mu / (mu + dimension.RIDGE) for mu in spectrum.eigenvalues if mu > 0]
    assert_close(found["squared_dimension"], sum(s**2 for s in share), tol=1e-10)
    assert_close(found["variance"] * 1e7, (found["bias"] + 0.25) * found["squared_dimension"], tol=1e-4)


def test_theory_against_simulation():
    """Of many draws, with few labels: the first order alone would be off by a third."""
    z = dimension._exact_functions(table(), 1e-6, 93)
    found = dimension.probes(z, (9, 37, 93), 400, 200, np.random.default_rng(0))
    for j, k in enumerate((9, 37, 93)):
        exact = dimension.population(1e-6, k, 200)
        assert abs(found["bias"][j] - exact["bias"]) < 0.06 * exact["bias"] + 0.002
        assert abs(found["variance"][j] - exact["variance"]) < 0.12 * exact["variance"]
        assert_close(found["expected"][j], exact["bias"] + exact["variance"], tol=1e-9)
        assert_close(found["dimension"][j], exact["dimension"], tol=1e-9)
    first_order = (exact["bias"] + 0.25) * exact["squared_dimension"] / 200
    assert first_order < 0.75 * found["variance"][2]


def test_theory_of_a_large_ridge(monkeypatch):
    """Then the penalty c that the probe acts with, g / (1 - d1 / n), is seen in the bias."""
    monkeypatch.setattr(dimension, "RIDGE", 0.3)
    found = dimension.probes(dimension._exact_functions(table(), 1e-6, 93), (93,), 400, 150, np.random.default_rng(0))
    exact = dimension.population(1e-6, 93, 150)
    assert abs(found["bias"][0] - exact["bias"]) < 0.05 * exact["bias"]
    assert abs(found["variance"][0] - exact["variance"]) < 0.08 * exact["variance"]


def test_a_repetition_against_plain_loops():
    settings = {"regs": [1e-4, 1e-2], "components": [2, 9, 20], "n": 60, "n_labels": 50, "draws": 3, "seed": 4}
    found = dimension.repetition(settings, 2)
    one, two, three = (int(w) for w in np.random.SeedSequence(4, spawn_key=(2,)).generate_state(3))
    views = Views(hypercube(60, 8, one), dimension.LAW, 2, two)
    truth = dimension.target(table())
    for i, reg in enumerate(settings["regs"]):
        rep = pretrain(views, dimension.KERNEL, 20, reg=reg)
        z = rep(table())
        rng = np.random.default_rng(three)
        where = rng.integers(256, size=(3, 50))
        labels = truth[where] + 0.5 * rng.standard_normal((3, 50))
        for j, k in enumerate(settings["components"]):
            guesses = []
            for r in range(3):
                weights, _ = naive.ridge(z[where[r], :k], labels[r][:, None], 50 * dimension.RIDGE, False)
                guesses.append(z[:, :k] @ weights[:, 0])
            variance = np.mean([np.var([g[x] for g in guesses], ddof=1) for x in range(256)])
            bias = np.mean([(np.mean([g[x] for g in guesses]) - truth[x]) ** 2 for x in range(256)]) - variance / 3
            assert_close(found["variance"][i, j], variance, tol=1e-6)
            assert_close(found["bias"][i, j], bias, tol=1e-6)
            second = z[:, :k].T @ z[:, :k] / 256
            inverse = np.linalg.inv(second + dimension.RIDGE * np.eye(k)) @ second
            assert_close(found["dimension"][i, j], np.trace(inverse), tol=1e-6)
            assert_close(found["squared_dimension"][i, j], np.trace(inverse @ inverse), tol=1e-6)
            values = np.linalg.eigvalsh(second)
            assert_close(diagnostics.effective_dimension(values, dimension.RIDGE), np.trace(inverse), tol=1e-6)


def test_the_study():
    found = dimension.study(
        (1e-6, 1e-3), (1, 9, 37, 93, 163), repetitions=3, n=200, n_labels=300, draws=12, run=_registry.Run(seed=1)
    )
    assert (np.diff(found.exact["bias"][0][:4]) < 0).all()
    assert (np.diff(found.exact["variance"][0][1:]) > 0).all()
    assert int(found.exact_errors[0].argmin()) == 3
    assert (found.exact["squared_dimension"] <= found.exact["dimension"]).all()
    assert np.abs(found.simulated["bias"] + found.simulated["variance"] - found.exact_errors).max() < 0.1
    assert found.verdict().startswith("The paper: ")
    assert len(found.table().splitlines()) == 4 + 2 + 2 + 4
    assert found.document()["fits"]["error"]["mean"].shape == (2, 5)
    assert _registry.registered("dimension").pictures == {"": "figure"}
    pytest.importorskip("matplotlib")
    from sslcore.plotting.panels import png
    from sslcore.studies.figures import dimension as pictures

    assert len(png(pictures.figure(found))) > 20_000
