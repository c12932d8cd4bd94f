"""The study of capacity: tiny weights of the norm against 70 digits, risks against sums over pairs, its picture."""

import numpy as np
import pytest

from sslcore import datasets
from sslcore.studies import capacity

from . import naive
from .comparators import assert_close


def views(n, seed):
    return np.asarray(capacity.NOISE.views(datasets.half_moons(n, seed=seed), 2, seed=seed))


@pytest.mark.parametrize("lambda_ref", [1e-20, 1e-10, 1e-3])
def test_the_published_weights_against_70_digits(lambda_ref):
    """Both are solved, and so is what they tend to: functions that agree on the views of each sample."""
    import mpmath

    x, new = views(9, 3), datasets.half_moons(6, seed=8)

    def pair(a, b):
        return mpmath.exp(-sum((s - t) ** 2 for s, t in zip(a, b, strict=True)) / (2 * mpmath.mpf(0.05**0.5) ** 2))

    numbers = {"reg": lambda_ref / 2, "beta": 1.0, "unbiased": False, "center": False}
    gamma, invariance, norms, values = naive.pretrain_exactly(
        pair, x.reshape(18, 2), np.repeat(np.arange(9), 2), new, 5, **numbers
    )
    found = capacity.fit(x, lambda_ref)
    assert_close(found.gamma, gamma[:5], tol=1e-6)
    assert_close(found.norms, norms[:5], tol=1e-6)
    assert_close(found.norms * lambda_ref / 2 + invariance[:5], gamma[:5], tol=1e-6)
    at = found.transform(new, scale="unit")
    assert_close(np.abs(at), np.abs(values[:5].T), tol=1e-5)


def test_what_is_measured():
    x, fresh = views(12, 0), views(7, 1)
    rep = capacity.fit(x, 1e-3)
    training, held_out, *distances = capacity.measure(rep, x, fresh)
    assert_close(training, naive.vicreg(rep(x)), tol=1e-10)
    assert_close(held_out, naive.vicreg(rep(fresh), 0.5, unbiased=True), tol=1e-10)
    for distance, z in zip(distances, (rep(x), rep(fresh)), strict=True):
        assert_close(distance, np.mean([np.sum((a - b) ** 2) for a, b in z]), tol=1e-12)


@pytest.fixture(scope="module")
def found():
    return capacity.study((1e-20, 1e-10, 1e-3, 1e-1), (1e-20, 1e-3), repetitions=6, n_held_out=300, seed=1)


def test_the_risk_on_fresh_samples_tells_what_training_does_not(found):
    training = found.mean("training")
    assert (np.diff(training) > 0).all()
    assert training[1] < 1e-10
    assert found.lambda_refs[found.best] == 1e-3
    above = found.measured["held_out"][:2] - found.measured["held_out"][2]
    assert (above.mean(axis=1) > 2 * above.std(axis=1, ddof=1) / 6**0.5).all()
    assert found.measured["held_out"].std(axis=1).min() > 0  # each repetition has its own draws
    again = capacity.study((1e-3,), (), repetitions=2, n_held_out=300, seed=1)
    np.testing.assert_allclose(again.measured["held_out"][0], found.measured["held_out"][2, :2], rtol=1e-9)


def test_words_and_picture(found):
    pytest.importorskip("matplotlib")
    from sslcore.plotting import panels
    from sslcore.studies.figures import capacity as figures

    fresh = found.mean("held_out")
    assert f"at lambda_ref = 1e-20 (training {found.mean('training')[0]:.1g}; above the best" in found.verdict()
    assert "\n" not in found.verdict()
    assert f"{fresh[2]:.4g}" in found.table()
    document = found.document()
    assert document["best_lambda_ref"] == 1e-3
    assert document["reg"][0] == 5e-21
    assert max(document["certificates"].values()) < 1e-6
    drawn = figures.figure(found)
    assert len(drawn.axes) == 2 * 5 + 1
    assert panels.png(drawn)[:4] == b"\x89PNG"
