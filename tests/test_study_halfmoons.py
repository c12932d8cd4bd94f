"""The controlled study: errors of the authors' method run plainly, their counting of lambda, its words and pictures."""

import numpy as np
import pytest

from sslcore.datasets import half_moons, half_moons_probabilities
from sslcore.studies import halfmoons
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
    values = found.representation.transform(points, scale="unit") / 80**0.5
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
    """Least squares on few samples has heavy tails: four standard errors each; 15 % on the whole for the squared."""
    if pool < 8 * LABELS[-1]:
        monkeypatch.setattr(halfmoons, "POOL", pool)
        found = halfmoons.controlled(SIZES, LABELS, (16, 8), n=40, n_test=300, run=Run(seed=2))
    for name, right in zip(("squared", "zero_one"), plain, strict=True):
        mean, error = found.curves.mean[name], found.curves.standard_error[name]
        apart = (mean - right.mean(axis=0)) / np.hypot(error, right.std(axis=0, ddof=1) / 4)
        assert np.abs(apart).max() < 4, name
        if name == "squared":  # excess errors of few samples differ by a factor from one repetition to the next
            assert abs(np.mean(np.log(mean / right.mean(axis=0)))) < 0.15


def test_a_repetition_step_by_step(monkeypatch):
    """The same draws by the authors' formulas, a fit and a probe at a time; labelled ones are parts of 70 points."""
    monkeypatch.setattr(halfmoons, "POOL", 70)
    found = halfmoons.controlled((12, 20), (15, 40), (1, 3), n=30, n_test=30, run=Run(seed=3)).curves

    def seed(*key):
        return int(np.random.SeedSequence(3, spawn_key=(0, *key)).generate_state(1, np.uint64)[0])

    samples, test, pool = (half_moons(n, seed(key)) for n, key in ((20, 0), (30, 2), (70, 6)))
    views = np.asarray(halfmoons.NOISE.views(samples, 2, seed=seed(1)))
    target, at_pool = half_moons_probabilities(test), half_moons_probabilities(pool)
    places = [np.random.default_rng(seed(3, r)).choice(70, 40, replace=False) for r in range(3)]
    u = [np.random.default_rng(seed(4, r)).uniform(size=40) for r in range(3)]
    labels = [
        [int((at_pool[i].cumsum()[:3] <= v).sum()) for i, v in zip(*drawn, strict=True)]
        for drawn in zip(places, u, strict=True)
    ]
    for p, n in enumerate((12, 20)):
        centres = views[:n].reshape(-1, 2)
        matrix = halfmoons.KERNEL(centres)
        weights = np.linalg.solve(matrix, naive.published_method(matrix, 2, 5, 1e-3)[1]) * (2 * n) ** 0.5
        z, at_test = (halfmoons.KERNEL(x, centres) @ weights for x in (pool, test))
        right = naive.prefix_errors(z[np.array(places)], np.eye(4)[labels], (15, 40), at_test, target, 0.0, False)
        for name, errors in zip(("squared", "zero_one"), right, strict=True):
            assert_close(found.mean[name][p], errors.mean(axis=0), tol=1e-6)


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
