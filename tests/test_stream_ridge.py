"""The streamed ridge probe is the one in memory, whatever the blocks, and says what it cannot do."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sslcore import tunables
from sslcore.probing import ridge_probe as in_memory
from sslcore.stream import ridge_probe

from .comparators import assert_close
from .strategies import seeds

RNG = np.random.default_rng(3)
Z = RNG.normal(size=(120, 6)) * np.arange(1, 7) + 10.0
CLASSES = (Z[:, 0] + RNG.normal(size=120) > 11).astype(int) + (Z[:, 5] > 14)
TARGETS = Z[:, :2] @ RNG.normal(size=(2, 3)) + RNG.normal(size=(120, 3)) - 100.0
REGS = [1e-6, 1e-3, 1.0, 100.0]


def cut(z, y, ends):
    ends = [0, *sorted(ends), len(z)]
    return [(z[a:b], y[a:b]) for a, b in itertools.pairwise(ends) if a < b]


def same(mine, theirs, z=Z, tol=1e-9):
    assert mine.reg == theirs.reg
    assert (mine.regs == theirs.regs).all()
    for name in ("coef", "intercept", "loo_squared_errors", "loo_errors"):
        assert_close(getattr(mine, name), getattr(theirs, name), tol=tol)
    assert mine.loo_decisions.shape == (0, theirs.coef.shape[1])
    if theirs.classes is not None:
        assert mine.classes.tolist() == theirs.classes.tolist()
        assert (mine.predict(z) == theirs.predict(z)).all()
    else:
        assert mine.predict(z).shape == theirs.predict(z).shape


LABELS = {
    "classes": CLASSES,
    "words": np.array(["one", "two", "and three"])[CLASSES],
    "booleans": CLASSES > 0,
    "with none": np.where(np.arange(120) % 5 == 0, -1, CLASSES),
    "targets": TARGETS,
    "target": TARGETS[:, 0],
    "targets with none": np.where((np.arange(120) % 7 == 0)[:, None], np.nan, TARGETS),
}


@pytest.mark.parametrize("name", LABELS)
@pytest.mark.parametrize("fit_intercept", [True, False])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_it_is_the_probe_in_memory(name, fit_intercept, dtype):
    z, y = Z.astype(dtype), LABELS[name]
    expected = in_memory(z.astype(float), y, REGS, fit_intercept)
    for blocks in ([(z, y)], (z, y), cut(z, y, [1, 30, 31, 99]), lambda: iter(cut(z, y, [50]))):
        same(ridge_probe(blocks, REGS, fit_intercept), expected)


@given(seed=seeds, ends=st.lists(st.integers(1, 39), max_size=6), k=st.integers(1, 8), rows=st.integers(1, 50))
def test_blocks_change_nothing_but_rounding(seed, ends, k, rows):
    rng = np.random.default_rng(seed)
    z, y = rng.normal(size=(40, k)) + rng.normal(), rng.integers(0, 3, 40)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tunables, "STREAM_PROBE_ROWS", rows)
        if len(np.unique(y)) > 1:
            mine, theirs = ridge_probe(cut(z, y, ends), 1e-2), in_memory(z, y, 1e-2)
            assert_close(mine.coef, theirs.coef, tol=1e-8)
            assert_close(mine.loo_squared_errors, theirs.loo_squared_errors, tol=1e-8)
        mine, theirs = ridge_probe(cut(z, z[:, 0] + y, ends), 1e-2), in_memory(z, z[:, 0] + y, 1e-2)
        assert_close(mine.coef, theirs.coef, tol=1e-8)
        assert_close(mine.loo_errors, theirs.loo_errors, tol=1e-8)


@pytest.mark.parametrize("fit_intercept", [True, False])
@pytest.mark.parametrize("rows", [12, 30, 120])
def test_the_default_penalties_are_those_in_memory(fit_intercept, rows):
    z, y = Z[:rows], CLASSES[:rows]
    same(ridge_probe(cut(z, y, [5]), fit_intercept=fit_intercept), in_memory(z, y, fit_intercept=fit_intercept), z)


def test_classes_that_come_late_and_in_any_order():
    order = np.argsort(-CLASSES, kind="stable")
    blocks = cut(Z[order], LABELS["words"][order], range(10, 120, 10))
    same(ridge_probe(blocks, REGS), in_memory(Z[order], LABELS["words"][order], REGS))


def test_files_and_memory_maps(tmp_path):
    blocks = []
    for i, (z, y) in enumerate(cut(Z, CLASSES, [70])):
        np.save(tmp_path / f"z-{i}.npy", z)
        np.save(tmp_path / f"y-{i}.npy", y)
        blocks.append((tmp_path / f"z-{i}.npy", str(tmp_path / f"y-{i}.npy")))
    same(ridge_probe(blocks, REGS), in_memory(Z, CLASSES, REGS))
    maps = [tuple(np.load(path, mmap_mode="r") for path in pair) for pair in blocks]
    same(ridge_probe(maps, REGS), in_memory(Z, CLASSES, REGS))
    blocks[1][0].write_bytes(blocks[1][0].read_bytes()[:-8])
    with pytest.raises(ValueError, match=r"z-1.npy is cut short"):
        ridge_probe(blocks, REGS)


def test_tensors_and_lists():
    torch = pytest.importorskip("torch")
    blocks = [(torch.from_numpy(z), torch.from_numpy(y)) for z, y in cut(Z, CLASSES, [50])]
    same(ridge_probe(blocks, REGS), in_memory(Z, CLASSES, REGS))
    blocks = [(z, LABELS["words"][:60].tolist()) for z in (Z[:60],)]
    same(ridge_probe(blocks, REGS), in_memory(Z[:60], LABELS["words"][:60], REGS))


def test_what_rounding_does_not_allow_is_refused():
    z = Z.copy()
    z[:, 1] = z[:, 0] * (1 + 1e-12)
    probe = ridge_probe([(z, TARGETS)], [0.0, 1e-14, 1e-2])
    assert np.isnan(probe.loo_errors[:2]).all()
    assert probe.reg == 1e-2
    with pytest.raises(ValueError, match="every reg is below what the rounding of the second moments of z allows"):
        ridge_probe([(z, TARGETS)], [0.0, 1e-14])
    same(ridge_probe([(Z, TARGETS)], 0.0), in_memory(Z, TARGETS, 0.0))
    z[0] = 1e9  # nothing is left of this sample's 1 - H
    with pytest.raises(ValueError, match="every reg is below"):
        ridge_probe([(z, TARGETS)], [1e-2])


def with_entry(array, at, value):
    array = array.astype(float)
    array[at] = value
    return array


@pytest.mark.parametrize(
    ("blocks", "error", "words"),
    [
        (lambda: iter([(Z, CLASSES)]), TypeError, "blocks must be something to go through twice"),
        (lambda: 3, TypeError, "blocks must be something to go through twice"),
        (lambda: [Z], TypeError, r"block 0 must be a pair \(z, y\)"),
        (lambda: [], ValueError, "at least 2 samples must have a label, for leave-one-out errors, found none"),
        (lambda: [(Z[:1], TARGETS[:1])], ValueError, r"at least 2 samples must have a label, .* found 1"),
        (lambda: [(Z, CLASSES[:5])], ValueError, "z and y of block 0 must have the same length, found 120 and 5"),
        (lambda: [(Z, 0 * CLASSES)], ValueError, r"y must hold at least 2 classes, found only .*0"),
        (lambda: [(Z[:, 0], CLASSES)], ValueError, r"z of block 0 must have 2 dimensions \(n, k\), found .*\(120,\)"),
        (lambda: [(Z, CLASSES), (Z[:, :2], CLASSES)], ValueError, r"block 1 \(row 0\) has 2 components, those before"),
        (lambda: [(Z, TARGETS), (Z, TARGETS[:, :2])], ValueError, r"block 1 \(row 0\) has 2 targets, those before"),
        (lambda: [(Z, CLASSES), (Z, LABELS["words"])], TypeError, r"labels must be of one kind, found .*0.* and .*and"),
        (lambda: [(Z, CLASSES), (with_entry(Z, (7, 2), np.nan), CLASSES)], ValueError,
         r"z of block 1 must be finite, found nan at row 7, column 2 \(counted from 0\)"),
        (lambda: [(Z, with_entry(TARGETS, (9, 1), np.inf))], ValueError, "y of block 0 must be finite, found inf"),
        (lambda: [(1e200 * Z, TARGETS)], OverflowError, "are too large to be represented"),
        (lambda: [("z.csv", CLASSES)], ValueError, "are read from .npy files, found z.csv"),
    ],
)  # fmt: skip
def test_bad_blocks(blocks, error, words):
    with pytest.raises(error, match=words):
        ridge_probe(blocks(), [1.0])


def test_blocks_that_are_others_the_second_time():
    for second in ([(Z[:-1], CLASSES[:-1])], [(Z, CLASSES), (Z, CLASSES)], [(Z[:, :2], CLASSES)], [(Z, CLASSES + 7)]):
        turns = iter([[(Z, CLASSES)], second])
        with pytest.raises(ValueError, match="the blocks were others in the second pass"):
            ridge_probe(lambda turns=turns: next(turns), 1.0)
