"""The rotated basis: Helmert's matrices, weights, order, and the Gram matrix in it."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import sslcore.backends.numba_cpu as primitives
from sslcore import tunables
from sslcore.kernels import Exponential, Gaussian, Linear, Polynomial, Precomputed, _rows
from sslcore.solvers.groups import Samples
from sslcore.solvers.rotated_gram import contrast_gram, rotated_gram

from . import naive
from .comparators import assert_close
from .strategies import LAYOUTS, arrays, dtypes, seeds, sizes, with_layout


@st.composite
def groupings(draw, max_samples=6, max_views=4, minimum_views=1):
    """Groups 0..n-1 in any order with unequal numbers of views, and weights or None."""
    counts = draw(st.lists(st.integers(minimum_views, max_views), min_size=1, max_size=max_samples))
    rng = np.random.default_rng(draw(seeds))
    groups = rng.permutation(np.repeat(np.arange(len(counts)), counts))
    weight = rng.uniform(0.2, 3.0, len(groups)) if draw(st.booleans()) else None
    return groups, weight


def full(blocks):
    """All of Khat in the rotated basis."""
    return np.block([[blocks.mean, blocks.cross], [blocks.cross.T, blocks.contrast]])


def dense_rotation(samples):
    """The rotation as a matrix on vectors in the caller's order of the views."""
    u, c = samples.rotate(np.eye(samples.n_views)[samples.order])
    return np.concatenate([u, c])


@pytest.fixture
def small_blocks(monkeypatch):
    monkeypatch.setattr(_rows, "block_rows", lambda columns, itemsize: 7)
    monkeypatch.setattr(tunables, "CPU_ROTATION_TILE_VALUES", 60)
    monkeypatch.setenv("SSLCORE_NUM_THREADS", "3")


@pytest.mark.parametrize("m", range(1, 9))
def test_equal_weights_give_helmert_matrices(m):
    samples = Samples.from_views(3, m, primitives)
    expected = naive.helmert(m)
    assert_close(expected @ expected.T, np.eye(m), tol=1e-15)
    (part,) = samples.classes
    for i in range(3):
        assert_close(part.rotation[:, :, i], expected, tol=1e-15)
        assert_close(part.weighted[:, :, i], expected / np.sqrt(3 * m), tol=1e-15)
    assert (samples.n, samples.n_views, samples.n_contrasts) == (3, 3 * m, 3 * (m - 1))
    assert samples.identity_order
    assert_close(samples.unbiased_factor, np.full(3, m / (m - 1) if m > 1 else 1.0))
    # sample by sample, the mean first
    u, c = samples.rotate(np.eye(3 * m))
    assert_close(u, np.kron(np.eye(3), expected[:1]), tol=1e-15)
    if m > 1:
        assert_close(c, np.kron(np.eye(3), expected[1:]), tol=1e-15)


@pytest.mark.parametrize(("n", "m"), [(1, 1), (6, 1), (1, 4), (7, 2), (5, 3)])
def test_equal_samples_are_groups_of_equal_size(backend, n, m):
    """`from_views` sorts nothing, and must agree with what sorting finds."""
    found = Samples.from_views(n, m, backend.primitives)
    expected = Samples.from_groups(np.repeat(np.arange(n), m), primitives)
    counts = "n", "n_views", "n_contrasts", "identity_order"
    assert [getattr(found, c) for c in counts] == [getattr(expected, c) for c in counts]
    pairs = [(getattr(found, a), getattr(expected, a)) for a in ("order", "weight", "unbiased_factor", "labels")]
    for f, e in zip(found.classes, expected.classes, strict=True):
        starts = "m", "sample_start", "sample_stop", "row_start", "contrast_start"
        assert [getattr(f, s) for s in starts] == [getattr(e, s) for s in starts]
        assert f.factor == pytest.approx(e.factor, rel=1e-15)
        pairs += [(f.rotation, e.rotation), (f.weighted, e.weighted)]
    for f, e in pairs:
        assert_close(backend.asnumpy(f), e, tol=1e-15)


@given(grouping=groupings())
def test_rotation_property(grouping):
    groups, weight = grouping
    samples = Samples.from_groups(groups, primitives, weight)
    n = len(set(groups))
    p = np.full(len(groups), 1 / len(groups)) if weight is None else weight / weight.sum()
    assert (samples.n, samples.n_views, samples.n_contrasts) == (n, len(groups), len(groups) - n)
    assert_close(samples.weight, p[samples.order], tol=1e-15)

    # views are sorted by the size of their sample, then by sample, then as they came
    counts = np.bincount(groups)
    keys = [(counts[groups[a]], groups[a], a) for a in samples.order]
    assert keys == sorted(keys)
    assert np.array_equal(
        samples.labels, [g for i, g in enumerate(groups[samples.order]) if i == 0 or keys[i - 1][1] != g]
    )
    assert samples.identity_order == np.array_equal(samples.order, np.arange(len(groups)))

    # orthonormal; the first n rows are the weighted means, so the others are the contrasts: their projector is I - T
    r = dense_rotation(samples)
    assert_close(r @ r.T, np.eye(len(groups)), tol=1e-14)
    for row, label in zip(r, samples.labels, strict=False):
        mine = groups == label
        assert_close(row, np.where(mine, np.sqrt(p / p[mine].sum()), 0.0), tol=1e-14)
    contrasts = r[n:]
    assert_close(contrasts.T @ contrasts, np.eye(len(groups)) - naive.averaging(groups, p), tol=1e-14, scale=1.0)
    factor = samples.contrast_factor(True)[:, None]
    assert_close(contrasts.T @ (factor * contrasts), naive.invariance(groups, p, True), tol=1e-13, scale=2.0)
    assert np.array_equal(samples.contrast_factor(False), np.ones(len(contrasts)))

    # back and forth
    v = np.random.default_rng(0).standard_normal((len(groups), 3))
    assert_close(samples.rotate_back(*samples.rotate(v)), v, tol=1e-14)
    assert np.array_equal(samples.restore_order(v[samples.order]), v)
    assert samples.rotate(v.astype(np.float32))[0].dtype == np.float32


@given(
    logs=st.lists(st.lists(st.integers(-140, 0), min_size=1, max_size=4), min_size=1, max_size=4),
    seed=seeds,
)
def test_any_weights_within_a_sample(logs, seed):
    """Views of one sample whose weights differ by hundreds of orders of magnitude, in any order."""
    groups = np.repeat(np.arange(len(logs)), [len(part) for part in logs])
    rng = np.random.default_rng(seed)
    weight = 10.0 ** np.concatenate(logs) * rng.uniform(1, 9, len(groups))
    samples = Samples.from_groups(groups, primitives, weight)
    r = dense_rotation(samples)
    assert_close(r @ r.T, np.eye(len(groups)), tol=1e-14)
    for i, part in enumerate(logs):
        w = weight[groups == i] / weight[groups == i].max()
        expected = (
            w.sum() ** 2 / sum(w[a] * w[b] for a in range(len(w)) for b in range(len(w)) if a != b) if part[1:] else 1
        )
        assert_close(samples.unbiased_factor[np.flatnonzero(samples.labels == i)[0]] / expected, 1.0, tol=1e-14)
    x = rng.standard_normal((len(groups), 2))
    delta = np.zeros((2, 2))
    for part in samples.classes:
        values = x[samples.order][part.rows()].reshape(part.count, part.m, 2)
        contrasts = np.einsum("cai,iak->ick", samples.unbiased_rotation(part), values - values[:, :1])[:, 1:]
        delta += np.einsum("ick,icl->kl", contrasts, contrasts)
    assert_close(delta, naive.pair_moment(x, groups, weight), tol=1e-13)


@pytest.mark.parametrize("weight", [[1e-300, 1.0], [1.0, 5e-324], [1.0, 1.0, 1e-295]])
def test_weights_that_are_zero_beside_the_others_are_refused(weight):
    with pytest.raises(
        ValueError, match=r"differs too much within a sample: one view has the share .* leave such views"
    ):
        Samples.from_groups(np.zeros(len(weight), int), primitives, np.array(weight))


@given(grouping=groupings(), height=st.integers(1, 12))
def test_strips_cover_every_view_once(grouping, height):
    samples = Samples.from_groups(grouping[0], primitives)
    strips = list(samples.strips(height))
    assert [s.row_start for s in strips] == [0, *(s.row_stop for s in strips[:-1])]
    assert strips[-1].row_stop == samples.n_views
    assert [s.sample_start for s in strips] == [0, *(s.sample_stop for s in strips[:-1])]
    for s in strips:
        count = s.sample_stop - s.sample_start
        assert s.row_stop - s.row_start == count * s.sample_class.m
        assert count == 1 or s.row_stop - s.row_start <= height


@given(
    n=sizes(7, minimum=1),
    m=st.integers(2, 4),
    d=st.sampled_from([1, 2, 5, 50]),
    dtype=dtypes,
    k=st.sampled_from([Gaussian(1.0), Exponential(0.5), Linear(), Polynomial(2), 2.0 * Gaussian(2.0) + Linear()]),
    data=st.data(),
)
def test_contrast_gram_property(n, m, d, dtype, k, data):
    views = data.draw(arrays((n, m, d), dtype))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_rows, "block_rows", lambda columns, itemsize: 7)
        patch.setattr(tunables, "CPU_ROTATION_TILE_VALUES", 60)
        patch.setattr(tunables, "CPU_STREAMED_BYTES", data.draw(st.sampled_from([0, 1 << 30])))
        patch.setenv("SSLCORE_NUM_THREADS", "3")
        blocks = contrast_gram(k, views)
    x = views.astype(float).reshape(-1, d)
    h = np.kron(np.eye(n), naive.helmert(m))
    h = np.concatenate([h[::m], np.delete(h, np.s_[::m], axis=0)])  # means first, then contrasts sample by sample
    expected = h @ (k(x, x) / (n * m)) @ h.T
    found = full(blocks)
    scale = float(np.abs(k(x, x)).max()) / n  # the rotation sums m values, N = n m
    assert_close(found, expected, dtype=dtype, tol=1e-13 if dtype == np.float64 else 2e-5, scale=scale)
    assert np.array_equal(found, found.T)
    assert blocks.cross.flags.f_contiguous
    assert blocks.contrast.flags.f_contiguous
    assert_close(blocks.diagonal(), np.diagonal(found).copy(), tol=0)


@given(grouping=groupings(max_samples=8), dtype=dtypes, seed=seeds)
def test_rotated_gram_with_groups_and_weights(grouping, dtype, seed):
    groups, weight = grouping
    samples = Samples.from_groups(groups, primitives, weight)
    x = np.random.default_rng(seed).standard_normal((len(groups), 3)).astype(dtype)
    k = Exponential(1.0)
    matrix = k(x, x).astype(float)
    root = np.sqrt(np.full(len(groups), 1 / len(groups)) if weight is None else weight / weight.sum())
    r = dense_rotation(samples)
    expected = r @ (root[:, None] * matrix * root) @ r.T
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_rows, "block_rows", lambda columns, itemsize: 5)
        patch.setattr(tunables, "CPU_ROTATION_TILE_VALUES", 40)
        patch.setenv("SSLCORE_NUM_THREADS", "3")
        found = full(rotated_gram(k, x[samples.order], samples, primitives))
        given_matrix = full(rotated_gram(Precomputed(), matrix.astype(dtype), samples, primitives))
    assert_close(found, expected, dtype=dtype, tol=1e-14 if dtype == np.float64 else 1e-6, scale=1.0)
    assert_close(given_matrix, expected, dtype=dtype, tol=1e-14 if dtype == np.float64 else 1e-6, scale=1.0)
    assert np.array_equal(found, found.T)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_layouts(layout, small_blocks):
    views = np.random.default_rng(0).standard_normal((9, 3, 4))
    expected = full(contrast_gram(Gaussian(1.0), views))
    assert_close(full(contrast_gram(Gaussian(1.0), with_layout(views, layout))), expected, tol=1e-15)


@pytest.mark.parametrize(("n", "m"), [(600, 2), (350, 3), (40, 33), (3, 70), (1032, 2), (1033, 2), (512, 3)])
def test_sizes_of_real_blocks(n, m):
    """The block sizes that are in use, crossed; large results whose rows are whole vectors, and others."""
    x = np.random.default_rng(0).standard_normal((n * m, 2))
    blocks = contrast_gram(Exponential(0.3), x.reshape(n, m, 2))
    samples = Samples.from_views(n, m, primitives)
    expected = np.concatenate(samples.rotate(np.concatenate(samples.rotate(Exponential(0.3)(x) / (n * m))).T))
    assert_close(full(blocks), expected.T, tol=1e-14, scale=1.0)


def test_rotate_views_is_the_rotation():
    """Of features less a shift, times the square roots of the weights; contrasts do not see the shift."""
    rng = np.random.default_rng(0)
    for n, m, r in [(1, 2, 1), (5, 2, 3), (4, 3, 7), (7, 4, 2), (3, 1, 2)]:
        phi = rng.standard_normal((n, m, r))
        shift = rng.standard_normal(r)
        samples = Samples.from_views(n, m, primitives, rng.uniform(0.5, 2, n * m))
        u, c = samples.rotate((phi - shift).reshape(n * m, r) * np.sqrt(samples.weight)[:, None])
        means, contrasts = primitives.rotate_views(
            phi, samples.classes[0].weighted, shift, np.empty(phi.size, phi.dtype)
        )
        assert_close(means, u, tol=1e-14, scale=3.0)
        assert_close(contrasts, c, tol=1e-14, scale=3.0)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_rotate_views_is_exact_far_from_the_origin(backend, dtype):
    """Views near each other and far from 0: their differences are exact, and contrasts are made of nothing else."""
    rng = np.random.default_rng(0)
    far = 2.0**20 if dtype == np.float32 else 2.0**44
    phi = (far + rng.integers(-32, 33, (6, 3, 5)) / 4).astype(dtype)  # no rounding
    samples = Samples.from_views(6, 3, backend.primitives, rng.uniform(0.5, 2, 18))
    weighted = backend.asnumpy(samples.classes[0].weighted)
    expected = np.einsum("cai,iak->ick", weighted, phi.astype(float) - far)
    shift = backend.asarray(np.full(5, far, dtype))
    buffer = backend.asarray(np.empty(phi.size, dtype))
    found = backend.primitives.rotate_views(backend.asarray(phi), samples.classes[0].weighted, shift, buffer)
    means, contrasts = map(backend.asnumpy, found)
    assert_close(means, expected[:, 0], dtype=dtype, tol=20 * np.finfo(dtype).eps, scale=8.0)
    assert_close(contrasts, expected[:, 1:].reshape(12, 5), dtype=dtype, tol=20 * np.finfo(dtype).eps, scale=8.0)


@pytest.mark.parametrize(
    ("views", "error", "message"),
    [
        (np.ones((3, 1, 2)), ValueError, r"at least 2 views of each sample \(m >= 2\), found shape \(3, 1, 2\)"),
        (np.ones((3, 2)), ValueError, r"views must have 3 dimensions \(n, m, d\), found shape \(3, 2\)"),
        (np.ones((0, 2, 2)), ValueError, "views must not be empty"),
        (np.full((2, 2, 1), np.nan), ValueError, r"views must be finite, found nan at index \(0, 0, 0\)"),
        (np.ones((2, 2, 2), complex), TypeError, "views must hold real numbers"),
    ],
)
def test_bad_views(views, error, message):
    with pytest.raises(error, match=message):
        contrast_gram(Gaussian(1.0), views)


@pytest.mark.parametrize("kernel", [Gaussian(1.0), Exponential(0.5)])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_more_threads_than_rows_change_no_bit(monkeypatch, kernel, dtype):
    """Blocks of very many points have few rows, which are then cut into runs of columns."""
    n = 700
    rng = np.random.default_rng(0)
    groups = np.repeat(np.arange(n), np.where(np.arange(n) % 5, 2, 3))
    samples = Samples.from_groups(groups, primitives)
    x = rng.standard_normal((len(groups), 3)).astype(dtype)[samples.order]
    monkeypatch.setattr(_rows, "block_rows", lambda columns, itemsize: 64)
    found = []
    for threads in ("1", "40"):
        monkeypatch.setenv("SSLCORE_NUM_THREADS", threads)
        blocks = rotated_gram(kernel, x, samples, primitives)
        found.append((blocks.mean, blocks.cross, blocks.contrast, kernel(x[:9], x)))
    for one, many in zip(*found, strict=True):
        assert np.array_equal(one, many)
