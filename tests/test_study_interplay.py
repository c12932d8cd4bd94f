"""The study of the interplay: its fits on samples against dense algebra and the exact lines, its words and picture."""

import numpy as np
import pytest

from sslcore.population import Hypercube
from sslcore.studies import _interplay_samples as samples
from sslcore.studies import interplay


def test_fits_of_few_functions_against_the_dense_problem():
    """Of Sigma c = (beta Delta + reg K^-1) c / gamma in the coordinates chi, from sums over all pairs of views."""
    rng = np.random.default_rng(0)
    values = rng.choice([-1.0, 1.0], (40, 3, 3))
    kappa, regs, beta = np.array([1e-6, 3e-5, 2e-3]), np.array([1e-7, 3e-6]), 0.8
    eigenvalues, shares = samples.fit_lines(values, kappa, regs, beta)
    n, m, _ = values.shape
    sigma = np.einsum("nmi,nmj->ij", values, values) / (n * m)
    pairs = [np.outer(v[a], v[b]) for v in values for a in range(m) for b in range(m) if a != b]
    t = np.mean(pairs, axis=0)
    for row, reg in enumerate(regs):
        whole = (1 - beta) * sigma + beta * t - reg * np.diag(1 / kappa)
        left = np.linalg.cholesky(np.linalg.inv(sigma))
        mu, vectors = np.linalg.eigh(left.T @ whole @ left)
        np.testing.assert_allclose(eigenvalues[row], mu[::-1], rtol=1e-8, atol=1e-10)
        first = (left @ vectors[:, -1]) ** 2
        np.testing.assert_allclose(shares[row], first / first.sum(), rtol=1e-6, atol=1e-9)


@pytest.fixture(scope="module")
def found():
    return interplay.paper(13, (3000, 8, 6), 8, 0, lambda step: None)


def test_samples_beside_the_exact_lines(found):
    """Away from the crossings each mean is within 5 standard errors of its line."""
    lines, fits = found.exact.lines, found.samples
    exact = np.sort([lines.values(float(r), 1.0) for r in fits.regs], axis=1)[:, ::-1]
    gaps = np.diff(exact, axis=1).max(axis=1)
    far = gaps < -0.15 * exact[:, 0]
    assert far.sum() > 5
    error = np.abs(fits.mean() - exact)[far]
    assert (error < 5 * fits.standard_error()[far] + 2e-3).all()
    assert (found.agreement() >= 0.5).all()
    assert found.agreement().shape == (3,)
    again = samples.crop_fits(lines, 13, interplay.Crop(8), fits.regs[:2], 1.0, (3000, 8, 2), 0)
    np.testing.assert_allclose(again.eigenvalues, fits.eigenvalues[:2, :2], rtol=1e-10)
    assert np.ptp(fits.eigenvalues[:, 0, 0]) > 0


def test_the_three_lines(found):
    toy = found.toy
    np.testing.assert_allclose([c.reg for c in toy.crossings], [1.0, 2.0], rtol=1e-14)
    large = toy.fits[-1]
    exact = np.array([np.array(toy.t) - r / np.array(toy.kappa) for r in large.regs])
    places = np.abs(large.regs[:, None] - [0.3, 1.5, 2.6]).argmin(axis=0)
    error = large.mean()[places, 0] - exact[places].max(axis=1)
    assert (np.abs(error) < 5 * large.standard_error()[places, 0] + 0.02).all()
    # more samples: nearer to the exact lines
    farthest = [np.abs(f.mean() - np.sort(exact, axis=1)[:, ::-1]).max() for f in toy.fits]
    assert farthest[1] < farthest[0]


def test_the_notebook_beside_the_counts(found):
    np.testing.assert_allclose(found.quoted.augmentation, [1 / 16, 1 / 9, 25 / 144], rtol=1e-14)
    np.testing.assert_allclose(found.exact.small.lines.augmentation, [1 / 9, 1 / 9, 25 / 144], rtol=1e-14)
    np.testing.assert_allclose(found.quoted.kernel, found.exact.small.lines.kernel)
    assert isinstance(found.exact.cube, Hypercube)


def test_words_and_picture(found):
    pytest.importorskip("matplotlib")
    from sslcore.plotting import panels
    from sslcore.studies.figures import interplay as figures

    assert "On 3,000 samples the first function is that of the theory in" in found.verdict()
    draws = len(found.samples.eigenvalues)
    counts = ", ".join(str(round(share * draws)) for share in found.agreement())
    assert f"in {counts} of {draws} draws" in found.verdict()
    assert "\n" not in found.verdict()
    assert "crossings at reg = 1, 2" in found.table()
    assert found.document()["toy"]["crossings"] == pytest.approx([1.0, 2.0])
    assert len(found.document()["samples"]["mean"]) == 30
    drawn = figures.paper_figure(found)
    assert len(drawn.axes) == 3
    assert 20_000 < len(panels.png(drawn)) <= 200_000
