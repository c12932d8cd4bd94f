"""Sums over blocks: the shift that they are taken about."""

import copy
import pickle

import dask.array
import numpy as np
import pytest

import sslcore.dask
from sslcore import Moments, pretrain, stream
from sslcore.diagnostics import rankme
from sslcore.features import Identity
from sslcore.solvers.sums import Sums

FAR = 1e4


def weighted_views(n):
    """Two views far apart, of which one has nearly all of the weight."""
    return np.tile([1e-4, 1.0], (n, 1)), np.array([[[0.0], [FAR]]])


def light_and_heavy(n):
    """Samples of one view, each second far off and of hardly any weight."""
    return np.tile([1e-6, 1.0], n // 2)[:, None], np.tile([FAR, 0.0], n // 2)[:, None, None]


def alike(n):
    """Two views far apart whose weights are all the same: the shift is half-way, as the mean."""
    return None, np.array([[[0.0], [FAR]]])


@pytest.mark.parametrize("case", [weighted_views, light_and_heavy, alike])
def test_float32_keeps_the_variance_between_samples_whose_views_are_far_apart(case):
    """The first shift is near the weighted mean: subtracting the square of the rest costs no digits."""
    n = 8192
    weight, offset = case(n)
    m = offset.shape[1]
    rng = np.random.default_rng(0)
    views = (rng.normal(size=(n, m, 3)) + rng.normal(size=(n, 1, 3)) + offset).astype(np.float32)
    p = np.ones((n, m)) if weight is None else weight
    moments = Moments(Identity()).update(views, sample_weight=weight)
    exact = views.astype(float)
    share = p.sum(axis=1)
    means = np.einsum("ia,iak->ik", p / share[:, None], exact)
    means -= share / share.sum() @ means
    expected = np.einsum("i,ik->k", share / share.sum(), means**2)
    found = moments._total()
    variances = found.between.diagonal() / found.weight
    # means of about 10^4 have errors of 2^-10 in float32, beside deviations of 1
    np.testing.assert_allclose(variances, expected, rtol=2e-3)


def test_pretrain_in_float32_with_light_samples_far_off():
    """As in float64, where nothing is lost."""
    n = 4096
    rng = np.random.default_rng(1)
    views = (rng.normal(size=(n, 2, 4)) + rng.normal(size=(n, 1, 4)) * [3.0, 2.0, 1.0, 1.0]).astype(np.float32)
    views[::2] += np.float32(FAR)
    weight = np.tile([1e-10, 1.0], n // 2)
    found, exact = (
        pretrain(v, Identity(), 3, reg=1e-3, center=True, sample_weight=weight) for v in (views, views.astype(float))
    )
    np.testing.assert_allclose(found.gamma, exact.gamma, rtol=1e-3)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_sums_of_streams_are_of_the_type_that_was_summed(dtype):
    """Beside an offset that float64 carries and float32 does not, sums of streams say what those of `Moments` do."""
    views = (np.random.default_rng(2).normal(size=(600, 2, 3)) + 1e8).astype(dtype)
    expected = rankme(Moments(Identity()).update(views))
    assert (expected > 2.9) == (dtype == np.float64)
    array = dask.array.from_array(views, chunks=(200, -1, -1))
    for found in (stream.moments(views, Identity()), sslcore.dask.moments(array, Identity())):
        np.testing.assert_allclose(rankme(found), expected, rtol=1e-6)


@pytest.mark.parametrize("r", [1, 63, 64, 65, 300])
def test_sums_travel_as_triangles(r):
    """Half of the bytes, out of the pickle; what comes back is in Fortran order, and can be added to."""
    rng = np.random.default_rng(r)
    between, within, unbiased = (np.asfortranarray(np.triu(rng.normal(size=(r, r)))) for _ in range(3))
    sums, frames = Sums(3, 6, 6.0, rng.normal(size=r), between, within, None, unbiased), []
    content = pickle.dumps(sums, protocol=5, buffer_callback=frames.append)
    assert len(content) < 500
    assert sum(frame.raw().nbytes for frame in frames) <= 8 * (r + 3 * r * (r + 64) / 2)
    found = pickle.loads(content, buffers=[bytes(frame.raw()) for frame in frames])
    for one in (found, copy.copy(sums), pickle.loads(pickle.dumps(sums))):
        for name, value in vars(sums).items():
            assert np.array_equal(getattr(one, name), value), name
    for matrix in (found.between, found.within, found.unbiased):
        assert matrix.flags.f_contiguous
        assert matrix.flags.writeable
    assert pickle.loads(pickle.dumps(Sums(3, 6, 6.0, sums.mean, between, within, 2.0, None))).unbiased is None


@pytest.mark.parametrize("r", [5, 64, 65])
def test_pickles_of_whole_matrices_are_read(r):
    """As versions made them that pickled the attributes; a triangle of another size is refused."""
    rng = np.random.default_rng(r)
    between, within = (np.asfortranarray(np.triu(rng.normal(size=(r, r)))) for _ in range(2))
    state = vars(Sums(3, 6, 6.0, rng.normal(size=r), between, within, 2.0, None))
    found = Sums.__new__(Sums)
    found.__setstate__(dict(state))
    for name, value in state.items():
        assert np.array_equal(getattr(found, name), value), name
    assert found.within.flags.f_contiguous
    for size in (r * r + 1, r):
        with pytest.raises(ValueError, match=rf"a triangle of {r} x {r} sums has .* found an array of shape \({size},"):
            found.__setstate__({**state, "between": np.zeros(size)})
