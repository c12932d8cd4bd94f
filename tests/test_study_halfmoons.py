"""The controlled study: errors of the authors' method run plainly, their counting of lambda, its words and pictures."""

import numpy as np
import pytest

from sslcore import tunables
from sslcore.datasets import half_moons, half_moons_probabilities
from sslcore.fitting.nested import nested_fits
from sslcore.studies import _moons_errors, halfmoons
from sslcore.studies._registry import Run

from . import naive
from .comparators import assert_close

SIZES, LABELS = (30, 60, 120), (60, 120, 400)


def test_the_sizes_of_the_paper():
    for count in (50, 100):
        sizes = halfmoons.log_sizes(count)
        assert (len(sizes), sizes[0], sizes[-1]) == (count, 30, 1000)
        ratio = np.diff(np.log(sizes))
        assert abs(ratio.sum() / (count - 1) - np.log(1000 / 30) / (count - 1)) < 1e-12
        assert np.abs(np.log(sizes) - np.linspace(np.log(30), np.log(1000), count)).max() < 1 / 30


def test_the_counting_of_the_authors():
    found = halfmoons.study(40, 2, reg=halfmoons.published_reg(80), unbiased=False, center=False)
    points = np.asarray(found.views[:]).reshape(80, 2)
    mu, vectors = naive.published_method(found.kernel(points), 2, 5, halfmoons.LAMBDA_REF)
    assert_close(2 * found.representation.eigenvalues, mu, tol=1e-9)
    values = found.representation.transform(points, scale=False) / 80**0.5
    assert_close(np.abs(values.T @ vectors), np.eye(5), tol=1e-6)


@pytest.fixture(scope="module")
def found():
    return halfmoons.controlled(SIZES, LABELS, (16, 8), n=120, n_test=300)


@pytest.fixture(scope="module")
def plain():
    """Errors by the authors' method, (2, repetitions, P, D)."""
    with pytest.importorskip("threadpoolctl").threadpool_limits(1):  # small matrices: threads would wait for each other
        rng = np.random.default_rng(5)
        return naive.controlled_study(SIZES, LABELS, (16, 8), 300, half_moons_probabilities, rng)


@pytest.mark.parametrize("pool", [20_000, 700])
def test_the_same_means_as_the_authors_method_run_plainly(pool, found, plain, monkeypatch):
    """Least squares on few samples has heavy tails: four standard errors each, and 15 % on the whole."""
    if pool < 8 * LABELS[-1]:
        monkeypatch.setattr(_moons_errors, "POOL", pool)
        found = halfmoons.controlled(SIZES, LABELS, (16, 8), n=40, n_test=300, run=Run(seed=2))
    for name, right in zip(("squared", "zero_one"), plain, strict=True):
        mean, error = found.curves.mean[name], found.curves.standard_error[name]
        apart = (mean - right.mean(axis=0)) / np.hypot(error, right.std(axis=0, ddof=1) / 4)
        assert np.abs(apart).max() < 4, name
        assert abs(np.mean(np.log(mean / right.mean(axis=0)))) < 0.15, name


def test_a_repetition_step_by_step():
    """The same draws by the authors' formulas, a fit and a probe at a time."""
    settings = {"pretraining_sizes": [12, 20], "downstream_sizes": [15, 40], "downstream_draws": 3, "n_test": 30}
    settings |= {"seed": 3, "n_components": 5, "noise": 0.1, "scale": 0.2, "lambda_ref": 1e-3}
    found = _moons_errors.repetition(settings, 7)
    seeds = np.random.SeedSequence(3, spawn_key=(7,)).generate_state(5, np.uint64).tolist()
    samples, test, points = (
        half_moons(n, seed) for n, seed in zip((20, 30, 120), (seeds[0], *seeds[2:4]), strict=True)
    )
    views = np.asarray(halfmoons.NOISE.views(samples, 2, seed=seeds[1]))
    u = np.random.default_rng(seeds[4]).random((3, 40))
    chances = half_moons_probabilities(points).reshape(3, 40, 4)
    labels = [[int((chances[r, i].cumsum()[:3] <= u[r, i]).sum()) for i in range(40)] for r in range(3)]
    for p, n in enumerate((12, 20)):
        centres = views[:n].reshape(-1, 2)
        matrix = halfmoons.KERNEL(centres)
        weights = np.linalg.solve(matrix, naive.published_method(matrix, 2, 5, 1e-3)[1]) * (2 * n) ** 0.5
        z, at_test = (halfmoons.KERNEL(x, centres) @ weights for x in (points, test))
        target = half_moons_probabilities(test)
        right = naive.prefix_errors(z.reshape(3, 40, 5), np.eye(4)[labels], (15, 40), at_test, target, 0.0, False)
        for name, errors in zip(("squared", "zero_one"), right, strict=True):
            assert_close(found[name][p], errors.mean(axis=0), tol=1e-6)


def test_draws_of_labels_follow_the_probabilities():
    rng = np.random.default_rng(0)
    probabilities = np.array([[0.1, 0.2, 0.3, 0.4], [0.0, 1.0, 0.0, 0.0], [1.0, 0.0, 0.0, 0.0], [0.0, 0.0, 0.5, 0.5]])
    drawn = _moons_errors._one_hot(np.repeat(probabilities[:, None], 4000, axis=1), rng.random((4, 4000)))
    assert np.abs(drawn.mean(axis=1) - probabilities).max() < 0.04
    assert (drawn.sum(axis=2) == 1).all()
    assert (drawn.mean(axis=1)[probabilities == 0] == 0).all()


def test_functions_of_all_sizes_are_those_of_each(monkeypatch):
    monkeypatch.setattr(tunables, "KERNEL_BLOCK_BYTES", 8 * 120 * 1000)
    kernel, settings = halfmoons.KERNEL, [20, 30, 45, 60]
    points = np.asarray(halfmoons.NOISE.views(half_moons(60, seed=0), 2, seed=0))
    fits = nested_fits(points, kernel, 5, settings, reg_times_n=5e-4, unbiased=False)
    x = half_moons(2100, seed=1)  # three blocks
    for groups in (1, 3, 8):
        found = _moons_errors._Functions(kernel, points.reshape(-1, 2), fits, groups)(x)
        for values, fit in zip(found, fits, strict=True):
            assert_close(values, fit.representation.transform(x, scale=False), tol=1e-9)


def test_words_and_arrays(found):
    squared = found.curves.mean["squared"]
    assert "\n" not in found.verdict()
    assert "Measured at (samples, labels) = (30, 60), (30, 400), (120, 60), (120, 400)" in found.verdict()
    assert f"{squared[0, 0]:.4f} +- {found.curves.standard_error['squared'][0, 0]:.4f}" in found.verdict()
    assert all(f"{squared[i, j]:.4f} (" in found.table() for i in range(3) for j in range(3))
    arrays = found.arrays()
    assert arrays["squared_mean"].shape == arrays["zero_one_standard_error"].shape == (3, 3)
    document = found.document()
    assert (document["n"], document["n_views"], document["unbiased"], document["lambda_ref"]) == (120, 2, False, 1e-3)


def test_pictures(found):
    panels = pytest.importorskip("sslcore.plotting.panels")
    from sslcore.studies.figures import halfmoons as figures

    drawn = figures.figure(found)
    assert [axes.get_title()[:7] for axes in drawn.axes[:2]] == ["squared", "excess "]
    assert drawn.axes[0].get_xlim() == pytest.approx((60, 400))
    assert drawn.axes[0].get_ylim() == pytest.approx((30, 120))
    setup = figures.setup_figure(found)
    assert len(setup.axes) == 11  # classes, four probabilities and their bar of colours, five functions
    for picture in (drawn, setup):
        assert len(panels.png(picture)) > 20_000


@pytest.mark.parametrize("errors", [np.zeros((2, 2)), np.full((2, 2), 0.3), np.array([[0.1, 0.0], [0.2, 0.1]])])
def test_errors_that_are_zero_or_all_the_same_are_drawn(errors):
    panels = pytest.importorskip("sslcore.plotting.panels")
    from sslcore.studies.figures import halfmoons as figures

    drawn = panels.Figure()
    panels.FigureCanvasAgg(drawn)
    figures.errors_panel(drawn.subplots(), np.array([30, 60]), np.array([30, 60]), errors)
    assert len(panels.png(drawn)) > 5_000
