"""The scales of components, `transform(scale="risk" | "unit" | "norm" | "probe")`, against alpha^T K alpha."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import sslcore
from sslcore.features import Features, Identity, Nystrom
from sslcore.kernels import Gaussian, Linear

from . import naive
from .comparators import assert_close

RNG = np.random.default_rng(0)
VIEWS = RNG.normal(size=(30, 1, 3)) + 0.3 * RNG.normal(size=(30, 2, 3))
NEW = RNG.normal(size=(7, 3))
GAUSSIAN = Gaussian(1.0)
MODELS = [GAUSSIAN, Identity(), Nystrom(GAUSSIAN, VIEWS[:12, 0])]


def norms_of(rep, k=None):
    """||f_i||_H from the definition, alpha^T K alpha over centres; of features, whose kernel is <phi, phi>, |c_i|."""
    c = np.asarray(rep.coefficients, float)
    gram = np.eye(len(c)) if rep.centres is None else naive.gram(rep.model, np.asarray(rep.centres)).astype(float)
    return np.sqrt(np.einsum("ai,ab,bi->i", c, gram, c))


@given(
    st.sampled_from(MODELS),
    st.booleans(),
    st.booleans(),
    st.sampled_from([1.0, 2.5]),
    st.sampled_from([1e-3, 1e-1]),
)
def test_scales(model, center, unbiased, beta, reg):
    rep = sslcore.pretrain(VIEWS, model, 3, reg=reg, beta=beta, center=center, unbiased=unbiased)
    unit, tol = rep.transform(NEW, scale="unit"), 1e-8
    norm = norms_of(rep)
    size = float(np.abs(unit).max())
    assert_close(rep.transform(NEW), unit * np.sqrt(np.maximum(rep.eigenvalues, 0)), tol=tol, scale=size)
    assert_close(rep.transform(NEW, scale="norm"), unit / norm, tol=tol, scale=size)
    probe = unit / norm / np.sqrt(1 - rep.eigenvalues)
    assert_close(rep.transform(NEW, scale="probe"), probe, tol=tol, scale=float(np.abs(probe).max()))
    assert_close(rep(NEW), rep.transform(NEW, "risk"), tol=0)
    if isinstance(model, Features):
        phi = model.fit(VIEWS)(NEW)
        for scale in ("risk", "unit", "norm", "probe"):
            w, b = rep.linear_head(scale)
            assert_close(phi @ w.T + b, rep.transform(NEW, scale=scale), tol=tol, scale=size)


def test_unit_components_have_second_moment_one():
    rep = sslcore.pretrain(VIEWS, GAUSSIAN, 3, reg=1e-2)
    z = rep.transform(VIEWS, scale="unit").reshape(-1, 3)
    assert_close(z.T @ z / len(z), np.eye(3), tol=1e-10)


def test_components_beyond_the_rank_are_zero_and_collapsed_ones_are_not():
    collapsed = sslcore.pretrain(VIEWS, GAUSSIAN, 3, reg=50.0)
    assert collapsed.n_active == 0
    assert not collapsed.transform(NEW).any()
    assert_close(collapsed.transform(NEW, scale="norm"), collapsed.transform(NEW, scale="unit") / norms_of(collapsed))
    flat = sslcore.pretrain(VIEWS[..., :1] * [1.0, 2.0, 3.0], Identity(), 2, reg=1e-2)
    assert flat.certificate.rank == 1
    for scale in ("norm", "probe"):
        found = flat.transform(NEW, scale=scale)
        assert np.isfinite(found).all()
        assert found[:, 0].any()
        assert not found[:, 1].any()


def test_components_that_views_leave_alone_are_finite_without_a_penalty():
    rep = sslcore.pretrain(VIEWS[:, :1] + 1e-10 * VIEWS, Identity(), 2, reg=0.0)
    assert (rep.gamma < 2.0**-52).all()
    assert_close(rep.transform(NEW, scale="probe"), 2.0**26 * rep.transform(NEW, scale="norm"), tol=1e-12)


def test_both_modalities_share_one_norm():
    x, y = VIEWS[:, 0], VIEWS[:, 1]
    rep = sslcore.pretrain((x, y), (GAUSSIAN, Linear()), 3, reg=1e-2, center=True)
    norm = np.sqrt(norms_of(rep.first) ** 2 + norms_of(rep.second) ** 2)
    unit, found = (rep.transform((NEW, NEW), scale=scale) for scale in ("unit", "norm"))
    for one, expected in zip(found, unit, strict=True):
        assert_close(one, expected / norm, tol=1e-9)


@pytest.mark.parametrize("model", [GAUSSIAN, Identity()])
def test_saved_files_know_their_norms(tmp_path, model):
    rep = sslcore.pretrain(VIEWS, model, 2, reg=1e-2)
    rep.save(tmp_path / "model")
    assert_close(sslcore.load(tmp_path / "model").transform(NEW, scale="norm"), rep.transform(NEW, scale="norm"), tol=0)


def test_on_both_backends(backend):
    for model in (GAUSSIAN, Identity()):
        rep = sslcore.pretrain(backend.asarray(VIEWS), model, 2, reg=1e-2)
        expected = sslcore.pretrain(VIEWS, model, 2, reg=1e-2)
        for scale in ("unit", "norm", "probe"):
            found, wanted = backend.asnumpy(rep.transform(backend.asarray(NEW), scale)), expected.transform(NEW, scale)
            assert_close(np.abs(found), np.abs(wanted), tol=1e-7)


def test_other_scales_are_refused():
    rep = sslcore.pretrain(VIEWS, Identity(), 2, reg=1e-2)
    pair = sslcore.pretrain((VIEWS[:, 0], VIEWS[:, 1]), (GAUSSIAN, GAUSSIAN), 2, reg=1e-2)
    for call in (rep.transform, lambda x, s: pair.transform((x, None), s), lambda x, s: rep.linear_head(s)):
        for boolean in (True, False, np.True_):
            with pytest.raises(TypeError, match=r"scale must be .* found (True|False): write 'risk' for True, 'unit'"):
                call(NEW, boolean)
        for other in ("Risk", None, 1, 1.0):
            with pytest.raises(ValueError, match="scale must be one of 'risk', 'unit', 'norm', 'probe', found"):
                call(NEW, other)
