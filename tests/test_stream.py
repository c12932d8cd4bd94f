"""Streams: the same moments from any source, the same bits from any chunking, and words for what goes wrong."""

import contextlib
import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import sslcore
from sslcore import tunables
from sslcore.arrays import as_float_dtype
from sslcore.features import Identity, Nystrom, RandomFourier
from sslcore.fitting import accumulator
from sslcore.fitting.accumulator import Accumulator
from sslcore.io.tables import Source
from sslcore.kernels import Gaussian
from sslcore.solvers.sums import Sums
from sslcore.stream import _leaves, _sources, moments
from sslcore.stream._files import NpyFile

from . import naive
from .comparators import assert_close
from .strategies import seeds

LEAF = 16
RNG = np.random.default_rng(5)
VIEWS = RNG.normal(size=(203, 1, 4)) * [3, 2, 1, 1] + RNG.normal(size=(203, 2, 4)) + 5.0
FEATURES = {
    "identity": Identity(),
    "nystrom": Nystrom(Gaussian(3.0), VIEWS[:6, 0]),
    "fourier": RandomFourier(Gaussian(3.0), 8, seed=3),
}


@pytest.fixture(autouse=True)
def small_leaves(monkeypatch):
    """Leaves of 8 samples of two views, and nodes of three."""
    monkeypatch.setattr(tunables, "STREAM_LEAF_VIEWS", LEAF)
    monkeypatch.setattr(tunables, "STREAM_NODE_PARTS", 3)


@contextlib.contextmanager
def poisoned():
    """Fill all memory that is used again with NaN before it is; what this yields notes what was filled."""
    places = []

    def recycle(self, sums):
        if sums is not None:
            for array in (sums.mean, sums.between, sums.within, sums.unbiased):
                if array is not None:
                    array.fill(np.nan)
            places.append("sums")
        take(self, sums)

    def poured(total, phi, samples, weight, buffer, backend):
        buffer.fill(np.nan)
        places.append("buffer")
        add(total, phi, samples, weight, buffer, backend)

    def begun(self):
        self.views.fill(np.nan)
        places.append("leaf")
        begin(self)

    take, add, begin = Accumulator.recycle, accumulator.add_block, _sources._Open.begin
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Accumulator, "recycle", recycle)
        patch.setattr(accumulator, "add_block", poured)
        patch.setattr(_sources._Open, "begin", begun)
        yield places


def fields(found):
    """All sums of moments, as bytes."""
    parts = [vars(part) for part in (found._sums, *found._held)]
    return [{k: v.tobytes() if isinstance(v, np.ndarray) else v for k, v in part.items()} for part in parts]


def cut(views, ends):
    return [part for part in np.split(views, sorted(ends)) if len(part)]


# ---------------------------------------------------------------- what is summed


@pytest.mark.parametrize("name", FEATURES)
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("deterministic", [False, True])
def test_what_is_in_memory_that_is_used_again_does_not_matter(name, dtype, deterministic, monkeypatch):
    monkeypatch.setattr(tunables, "MOMENTS_SHIFT_ROWS", 4)  # some rows are gathered
    views = VIEWS.astype(dtype)
    clean = fields(moments(views, FEATURES[name], deterministic=deterministic))
    with poisoned() as places:
        assert fields(moments(views, FEATURES[name], deterministic=deterministic)) == clean
    assert {place: places.count(place) for place in ("buffer", "leaf")} == {"buffer": 26, "leaf": 26}
    assert places.count("sums") > 10


@pytest.mark.parametrize("name", FEATURES)
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("deterministic", [False, True])
def test_the_moments_are_those_of_all_views(name, dtype, deterministic):
    views, tol = VIEWS.astype(dtype), 1e-12 if dtype == np.float64 else 1e-5
    found = moments(cut(views, [3, 100, 101]), FEATURES[name], deterministic=deterministic)
    whole = sslcore.Moments(FEATURES[name]).update(views)
    assert (found.n, found.n_views) == (203, 406)
    upper = np.triu_indices(len(whole._sums.mean))
    total = found._total()
    assert_close(total.mean, whole._sums.mean, tol=tol)
    for part in ("between", "within"):
        assert_close(getattr(total, part)[upper], getattr(whole._sums, part)[upper], tol=tol)
    for center in (False, True):
        mine, theirs = (m.solve(3, reg=1e-2, center=center) for m in (found, whole))
        assert_close(mine.gamma, theirs.gamma, tol=10 * tol)


class Frame:
    """What frames of pandas have of an array."""

    shape = (3, 2)


def in_all_forms(folder):
    """The same views in each form that a stream takes."""
    yield "array", lambda: VIEWS
    path = folder / "all.npy"
    np.save(path, VIEWS)
    yield "memory map", lambda: np.load(path, mmap_mode="r")
    yield "file", lambda: path
    for i, part in enumerate(cut(VIEWS, [10, 11, 120])):
        np.save(folder / f"part-{i}.npy", part)
        np.save(folder / f"fortran-{i}.npy", np.asfortranarray(part))
    yield "pattern", lambda: str(folder / "part-*.npy")
    yield "names", lambda: [folder / f"part-{i}.npy" for i in (2, 0, 3, 1)]
    yield "Fortran order", lambda: str(folder / "fortran-?.npy")
    yield "big endian", lambda: [VIEWS[:50].astype(">f8"), VIEWS[50:].astype(">f8")]
    yield "generator", lambda: (VIEWS[i : i + 7] for i in range(0, 203, 7))
    yield "strided", lambda: [np.repeat(VIEWS, 2, axis=0)[::2]]
    starts = RNG.permutation(np.arange(0, 203, 7))
    yield "places", lambda: ((i, VIEWS[i : i + 7]) for i in starts)
    yield "names that a generator yields", lambda: (folder / f"part-{i}.npy" for i in range(4))


def test_any_source_gives_the_same_bits(tmp_path):
    expected = fields(moments(VIEWS, Identity(), deterministic=True))
    for name, blocks in in_all_forms(tmp_path):
        assert fields(moments(blocks(), Identity(), deterministic=True)) == expected, name
        assert_close(moments(blocks(), Identity())._total().mean, VIEWS.mean(axis=(0, 1)), tol=1e-13)


def test_parquet_files_hold_views_in_columns_or_in_one(tmp_path):
    pl = pytest.importorskip("polars")
    expected = fields(moments(VIEWS, Identity(), deterministic=True))
    arrays = pl.DataFrame({name: pl.Series(VIEWS[:, i]) for i, name in enumerate("ab")})
    lists = arrays.with_columns(pl.col("a", "b").arr.to_list())
    whole = pl.DataFrame({"views": pl.Series(VIEWS)})
    for frame in (arrays, lists, whole):
        frame[:90].write_parquet(tmp_path / "0.parquet")
        frame[90:].write_parquet(tmp_path / "1.parquet", row_group_size=20)
        assert fields(moments(str(tmp_path / "?.parquet"), Identity(), deterministic=True)) == expected
    for frame, words in (
        (pl.DataFrame({"a": [1.0]}), "column 'a' of .* holds Float64: each column must be a view"),
        (pl.DataFrame({"a": [[1.0], [1.0, 2.0]]}), "the lists of column 'a' of .* differ in length"),
        (pl.DataFrame({"a": [[1.0]], "b": [[1.0, 2.0]]}), "must be views of equal length"),
        (pl.DataFrame({"a": []}, schema={"a": pl.List(pl.Float64)}), "is empty: it has no row"),
    ):
        frame.write_parquet(tmp_path / "bad.parquet")
        with pytest.raises(ValueError, match=words):
            moments(tmp_path / "bad.parquet", Identity())
    (tmp_path / "bad.parquet").write_bytes(b"PAR1 is how it begins")
    with pytest.raises(ValueError, match="is damaged, or not what its name says"):
        moments(tmp_path / "bad.parquet", Identity())


def test_a_loader_of_torch_is_an_iterable():
    torch = pytest.importorskip("torch")
    data = torch.utils.data.TensorDataset(torch.from_numpy(VIEWS))
    loader = torch.utils.data.DataLoader(data, batch_size=9)
    expected = fields(moments(VIEWS, Identity(), deterministic=True))
    assert fields(moments(loader, Identity(), deterministic=True)) == expected
    assert fields(moments(torch.from_numpy(VIEWS), Identity(), deterministic=True)) == expected
    labels = torch.utils.data.TensorDataset(torch.from_numpy(VIEWS), torch.arange(203))
    with pytest.raises(TypeError, match="of a loader whose batches hold labels too"):
        moments(torch.utils.data.DataLoader(labels, batch_size=9), Identity())


def test_views_that_are_made_and_arrays_that_are_sliced():
    made = sslcore.Views(VIEWS[:, 0], sslcore.augmentations.GaussianNoise(0.5), 3, seed=0)
    assert fields(moments(made, Identity())) == fields(moments(np.asarray(made), Identity()))

    class Sliced:
        """An array of HDF5 or zarr, as far as a stream sees it."""

        shape, dtype, ndim = VIEWS.shape, VIEWS.dtype, 3

        def __getitem__(self, rows):
            assert isinstance(rows, slice)
            assert rows.stop - rows.start <= LEAF // 2
            return VIEWS[rows]

    assert fields(moments(Sliced(), Identity())) == fields(moments(VIEWS, Identity()))


def test_integers_and_halves_are_what_they_are_elsewhere(tmp_path):
    for dtype in (np.int16, np.float16, np.uint8, bool):
        views = np.abs(10 * VIEWS).astype(dtype)
        np.save(tmp_path / "all.npy", views)
        found = moments(tmp_path / "all.npy", Identity())
        assert fields(found) == fields(moments(views, Identity()))
        assert_close(found._total().mean, views.astype(float).mean(axis=(0, 1)), tol=1e-4)


@given(seed=seeds, ends=st.lists(st.integers(1, 202), max_size=12), order=st.randoms(use_true_random=False))
def test_no_chunking_and_no_order_changes_a_bit(seed, ends, order):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tunables, "STREAM_LEAF_VIEWS", LEAF)
        patch.setattr(tunables, "STREAM_NODE_PARTS", 3)
        views = np.random.default_rng(seed).normal(size=(203, 2, 3))
        expected = fields(moments(views, Identity(), deterministic=True))
        parts = cut(views, ends)
        assert fields(moments(parts, Identity(), deterministic=True)) == expected
        firsts = np.concatenate([[0], np.cumsum([len(part) for part in parts])[:-1]]).tolist()
        placed = list(zip(firsts, parts, strict=True))
        order.shuffle(placed)
        assert fields(moments(placed, Identity(), deterministic=True)) == expected


# ---------------------------------------------------------------- leaves and trees


def number(value):
    """Sums that tell the order in which they were added."""
    return Sums(1, 2, 1.0, np.array([value]), np.zeros((1, 1), order="F"), np.full((1, 1), value, order="F"), 2.0, None)


@given(n=st.integers(1, 40), order=st.randoms(use_true_random=False), stop=st.integers(0, 40))
def test_the_tree_is_the_recursion_in_any_order(n, order, stop):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tunables, "STREAM_NODE_PARTS", 3)
        values = np.random.default_rng(n).normal(size=n) * 10.0 ** np.arange(n)
        expected = naive.tree_sum(values.tolist(), 3)
        leaves = list(range(n))
        order.shuffle(leaves)
        tree = _leaves.Tree()
        for i, leaf in enumerate(leaves):
            if i == stop:  # carried to another process
                tree = _leaves.Tree(tree.nodes())
            tree.add(leaf, number(values[leaf]))
        assert tree.total().within[0, 0] == expected
        assert tree.total().within[0, 0] == expected  # asking changes nothing
        assert tree.total().n == n


def test_in_order_a_tree_keeps_one_sum_a_level():
    tree = _leaves.Tree()
    for i in range(100):
        tree.add(i, number(1.0))
        assert len(tree.nodes()) <= 5
    assert tree.total().within[0, 0] == 100


def test_every_leaf_has_a_place_of_its_own():
    places = [_leaves.place_of(i) for i in range(400)]
    assert len(set(places)) == 400
    for part in range(_leaves.GROUPS + 1):
        numbers = [index for p, index in places if p == part]
        assert numbers == list(range(len(numbers)))
        assert len(numbers) == (300 if part == 0 else 20)


# ---------------------------------------------------------------- samples held out


@pytest.mark.filterwarnings("ignore::sslcore.errors.SelectionWarning")
@pytest.mark.parametrize("beta", [0.0, 1.0, 3.0])
@pytest.mark.parametrize("unbiased", [True, False])
@pytest.mark.parametrize("center", [True, False])
def test_the_held_out_risk_is_that_of_pairs_of_different_groups(beta, unbiased, center):
    options = {"beta": beta, "unbiased": unbiased, "center": center}
    regs = (3.0, 1e-1, 1e-2)
    found = moments(VIEWS, Identity()).solve(3, reg=sslcore.selection.AutoReg(regs=regs), **options)
    leaves = np.arange(203) // 8
    group = np.where(leaves % 4 == 3, leaves // 4 % _leaves.GROUPS, -1)
    assert (found.selection.n_samples, found.selection.n_held_out) == (203, int((group >= 0).sum()))
    for reg, risk, training in zip(regs, found.selection.risks, found.selection.training_risks, strict=True):
        rep = sslcore.pretrain(VIEWS[group < 0], Identity(), 3, reg=reg, **options)
        z = rep.transform(VIEWS)
        assert_close(risk, naive.group_risk(z[group >= 0], group[group >= 0], beta, unbiased), tol=1e-9)
        seen = z[group < 0].reshape(-1, 3)
        second = seen.T @ seen / len(seen) - np.eye(3)
        assert_close(training, naive.view_differences(z[group < 0], beta, unbiased) + (second**2).sum(), tol=1e-9)
    whole = sslcore.pretrain(VIEWS, Identity(), 3, reg=found.reg, **options)
    assert_close(found.gamma, whole.gamma, tol=1e-10)
    assert found.reg == found.selection.reg


def test_the_search_is_that_of_pretrain_but_for_its_split():
    rng = np.random.default_rng(0)
    views = rng.normal(size=(4000, 1, 6)) * np.arange(1, 7) + 2 * rng.normal(size=(4000, 2, 6))
    mine = moments(views, Identity()).solve(4, reg="auto").selection
    theirs = sslcore.pretrain(views, Identity(), 4, reg="auto").selection
    assert abs(mine.n_held_out - theirs.n_held_out) <= 8
    assert abs(mine.risk - theirs.risk) < 4 * np.hypot(mine.standard_errors[0], theirs.standard_errors.max())
    assert 0 < mine.standard_errors[mine.chosen] < 0.5


def test_how_long_a_stream_must_be_for_reg_is_said():
    seven = moments(VIEWS[: 7 * LEAF // 2], Identity())
    with pytest.raises(ValueError, match=rf"of streams of 8 leaves or more \(over {7 * LEAF} views\); else give reg"):
        seven.solve(2, reg="auto")
    assert moments(VIEWS[: 7 * LEAF // 2 + 1], Identity()).solve(2, reg="auto").reg > 0


def test_groups_are_merged_saved_and_loaded(tmp_path):
    first, second = (moments(part, Identity()) for part in (VIEWS[:96], VIEWS[96:]))
    merged = moments(VIEWS[:96], Identity()).merge(second)
    assert merged.n == 203
    merged.save(tmp_path / "moments")
    loaded = sslcore.load(tmp_path / "moments")
    assert fields(loaded) == fields(merged)
    one, other = (m.solve(2, reg="auto") for m in (merged, loaded))
    assert one.reg == other.reg
    assert (one.gamma == other.gamma).all()
    plain = sslcore.Moments(Identity()).update(VIEWS[96:])
    assert_close(first.merge(plain).solve(2, reg=1e-2).gamma, sslcore.pretrain(VIEWS, Identity(), 2, reg=1e-2).gamma)
    assert plain.merge(moments(VIEWS[:96], Identity())).n == 203
    assert_close(first.update(VIEWS[:7]).n, 210)
    with pytest.raises(TypeError, match="reg must be a number > 0, found 'auto'"):
        sslcore.Moments(Identity()).update(VIEWS).solve(2, reg="auto")
    with pytest.raises(ValueError, match=r"needs samples that were held out, in two groups at least, .* have 1"):
        moments(VIEWS[:32], Identity()).solve(2, reg="auto")


# ---------------------------------------------------------------- bad input


def blocks_with(value, at):
    views = VIEWS.copy()
    views[at] = value
    return views


@pytest.mark.parametrize(
    ("blocks", "error", "words"),
    [
        (lambda: [], ValueError, "the stream is empty"),
        (lambda: [VIEWS[:0]], ValueError, "the stream is empty"),
        (lambda: 3, TypeError, "blocks must be an array .*, files, or an iterable of such, found 3 of int"),
        (lambda: [3], TypeError, r"block 0 must be views \(n, m, d\), .* found 3 of int"),
        (lambda: VIEWS[:, 0], ValueError, r"blocks must be views \(n, m, d\), the array has shape \(203, 4\)"),
        (lambda: [VIEWS, VIEWS[:, :1]], ValueError, "block 1 has 1 views of each sample, block 0 has 2"),
        (lambda: [VIEWS, VIEWS[..., :3]], ValueError, "block 1 has 3 coordinates, block 0 has 4: all blocks must be"),
        (lambda: iter([VIEWS, VIEWS.astype("f4")]), ValueError, "block 1 has dtype float32, block 0 has float64"),
        (lambda: [VIEWS.astype(complex)], TypeError, "block 0 must hold real numbers"),
        (lambda: [VIEWS[..., :0]], ValueError, "block 0 is empty"),
        (lambda: [VIEWS[:30], blocks_with(np.nan, (60, 1, 2))], ValueError,
         r"found nan at sample 60 of block 1 \(view 1, coordinate 2, counted from 0\)"),
        (lambda: blocks_with(1e300, (100,)), ValueError, r"overflow.* \(in sample 96 of the array to sample 103 of"),
        (lambda: [(0, VIEWS[:30]), (29, VIEWS[29:])], ValueError, "sample 29 came twice, the second time in block 1"),
        (lambda: [(0, VIEWS[:30]), (20, VIEWS[20:])], ValueError, "sample 20 came twice, the second time in block 1"),
        (lambda: [(0, VIEWS[:30]), (31, VIEWS[31:])], ValueError, "samples between 24 and 32 never came"),
        (lambda: [(-1, VIEWS[:30])], ValueError, "the first sample of block 0 must be at least 0"),
        (lambda: ["features.csv"], ValueError, "streams are read from .npy and .parquet files, found features.csv"),
        (lambda: Frame(), TypeError, "blocks must be an array .*, files, or an iterable of such, found .* of Frame"),
        (lambda: [Frame()], TypeError, r"block 0 must be views \(n, m, d\), the name of a file, .* of Frame"),
        (lambda: "there-is-none-*.npy", FileNotFoundError, r"no file matches there-is-none-\*.npy"),
        (lambda: "there-is-none.npy", FileNotFoundError, "cannot read there-is-none.npy: No such file"),
    ],
)  # fmt: skip
def test_bad_blocks(blocks, error, words):
    with pytest.raises(error, match=words):
        moments(blocks(), Identity())


@pytest.mark.parametrize("library", ["pandas", "polars"])
def test_frames_are_no_streams(library):
    """They iterate over the names of their columns, or the columns."""
    frame = pytest.importorskip(library).DataFrame(VIEWS[:, 0])
    words = rf"found DataFrame of {library}; .* frame.to_numpy\(\)"
    for blocks, place in ((frame, "blocks"), ([frame], "block 0")):
        with pytest.raises(TypeError, match=f"{place} .* {words}"):
            moments(blocks, Identity())


def test_bad_files_are_refused_by_name_and_row(tmp_path):
    def saved(name, views):
        np.save(tmp_path / name, views)
        return tmp_path / name

    good, bad = saved("a.npy", VIEWS[:100]), saved("b.npy", blocks_with(np.inf, (77, 0, 3)))
    with pytest.raises(ValueError, match=r"found inf at row 77 of .*b.npy \(view 0, coordinate 3"):
        moments([bad, good], Identity(), checkpoint=tmp_path / "ck")
    content = good.read_bytes()
    for broken, words in (
        (content[:-8], "b.npy is cut short: shape"),
        (b"", "b.npy is empty"),
        (content[:20], "header of .*b.npy is damaged"),
        (b"something else", "is not what its name says"),
    ):
        bad.write_bytes(broken)
        with pytest.raises(ValueError, match=words):
            moments([good, bad], Identity())
    saved("b.npy", VIEWS[:0])
    with pytest.raises(ValueError, match=r"b.npy is empty: its shape is"):
        moments([good, bad], Identity())
    with pytest.raises(ValueError, match=r"a.npy is named twice"):
        moments([good, str(good)], Identity())
    saved("b.npy", VIEWS[:50])

    def shortened(done, total, left):
        bad.write_bytes(bad.read_bytes()[:-100])

    def replaced(done, total, left):
        saved("b.npy", VIEWS[50:100])

    for change in (shortened, replaced):
        saved("b.npy", VIEWS[:50])
        with pytest.raises(ValueError, match=r"b.npy has changed since it was opened; write it first"):
            moments([good, bad], Identity(), progress=change)


@pytest.mark.parametrize("n_bytes", [1, 7, 64, 1000])
def test_files_are_read_in_parts_by_several_threads(tmp_path, monkeypatch, n_bytes):
    monkeypatch.setenv("SSLCORE_NUM_THREADS", "3")
    monkeypatch.setattr(tunables, "STREAM_READ_BYTES", n_bytes)
    path = tmp_path / "a.npy"
    for stored in (VIEWS, VIEWS.astype(">f4")):
        np.save(path, stored)
        block = NpyFile(Source(path))
        for start, stop in ((0, 203), (5, 6), (201, 203)):
            out = np.full((stop - start, 2, 4), np.nan, as_float_dtype(stored.dtype, "it"))
            block.fill(start, out)
            assert (out == stored[start:stop]).all()
    content = path.read_bytes()
    path.write_bytes(content[:-33])  # a row and a byte of the one before it
    monkeypatch.setattr(NpyFile, "_now", lambda self: self._state)
    with pytest.raises(ValueError, match=r"a.npy is cut short: row 20[12] is gone"):
        block.fill(0, np.empty((203, 2, 4), np.float32))


def test_bad_options():
    with pytest.raises(TypeError, match=r"features of sslcore.features were expected, found 'identity'"):
        moments(VIEWS, "identity")
    with pytest.raises(ValueError, match="every must be"):
        moments(VIEWS, Identity(), every=-1)
    with pytest.raises(ValueError, match="landmarks of Nystrom are not chosen yet"):
        moments(VIEWS, Nystrom(Gaussian(1.0), 5))
    with pytest.raises(ValueError, match="nothing to be invariant to"):
        moments(VIEWS[:, :1], Identity()).solve(1, reg=0.1)
    assert moments(VIEWS[:, :1], Identity()).solve(1, reg=0.1, beta=0).n_active == 1


def test_progress_counts_samples():
    said = []
    moments(cut(VIEWS, [100]), Identity(), progress=lambda *told: said.append(told))
    assert [done for done, _, _ in said] == [*range(8, 203, 8), 203]
    assert {total for _, total, _ in said} == {203}
    assert said[-1][2] == 0.0
    said.clear()
    moments(itertools.chain(cut(VIEWS, [100])), Identity(), progress=lambda *told: said.append(told))
    assert set(said[-1][1:]) == {None}


# ---------------------------------------------------------------- on a device


@pytest.mark.parametrize("deterministic", [False, True])
def test_sums_lie_where_the_blocks_do(backend, tmp_path, deterministic):
    views, options = VIEWS[:100], {"deterministic": deterministic}
    expected = moments(views, Identity(), **options).solve(2, reg="auto")
    blocks = [backend.asarray(part) for part in cut(views, [30])]
    there = moments(blocks, Identity(), checkpoint=tmp_path / "ck", **options)
    backend.asnumpy(there._sums.mean)
    again = moments(blocks, Identity(), checkpoint=tmp_path / "ck", **options)
    for found in (there, again):
        rep = found.solve(2, reg="auto")
        assert rep.reg == expected.reg
        assert_close(rep.gamma, expected.gamma, tol=1e-10)
        backend.asnumpy(rep.coefficients)
    brought = moments(views, Identity(), backend=backend.name, **options)
    backend.asnumpy(brought._sums.mean)
    rep = brought.solve(2, reg="auto")
    assert isinstance(rep.coefficients, np.ndarray)
    assert_close(rep.gamma, expected.gamma, tol=1e-10)
