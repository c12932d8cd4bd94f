"""The ridge probe on blocks of samples: two passes, the second for exact leave-one-out errors.

With z and y about their means, Z^T Z = V diag(s) V^T and D = diag(1 / (s + n reg)), the probe is W = V D V^T Z^T y; the
leverage of sample i is H_ii = 1/n + u_i^T D u_i, u_i = V^T z_i, and its residual without itself is
(y_i - W^T z_i) / (1 - H_ii).  The first pass sums n, means, Z^T Z and Z^T y; the second has u_i, H_ii and the residuals
at all penalties.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from .. import tunables
from ..arrays import as_array, as_native, check_boolean, check_choice, on_host, shown
from ..arrays.labels import TASKS, read_part, task_of
from ..backends import get_backend
from ..io.stored import array_promise
from ..io.tables import Source
from ..probing import RidgeProbe
from ..probing._penalties import is_auto, least_error, log_odds, penalties, safe_penalties

__all__ = ["ridge_probe"]

_LARGEST_CONDITION = 2.0**40
"""Of Z^T Z + n reg: beyond it, its rounding leaves fewer than four digits."""

_LEAST_COMPLEMENT = 2.0**-20
"""Least 1 - H_ii, a difference: enough digits of it are left."""


def ridge_probe(
    blocks: Any,
    reg: float | Sequence[float] | str = "auto",
    fit_intercept: bool = True,
    *,
    task: str = "auto",
) -> RidgeProbe:
    """Fit `sslcore.probing.ridge_probe` to more samples than memory holds, in two passes.

    Parameters
    ----------
    blocks : iterable of (z, y), or a function that returns one
        Representations (n, k) and their labels or targets, (n,) or (n, t), with the marks for samples without one that
        `sslcore.probing.ridge_probe` knows: arrays, memory maps, or names of ``.npy`` files.  It is gone through
        twice, so that a generator comes as the function that makes it.  One pair will do.
    reg : "auto", float or sequence of floats
        Penalty, at least 0.  Of several, the one of least leave-one-out error is taken.  "auto": those that
        `sslcore.probing.ridge_probe` would try, and the one that it would take (but for points that are all equal).
    fit_intercept : bool, default True
        Fit b; otherwise b = 0.
    task : {"auto", "regression", "classification"}
        "auto": floating-point ``y`` of the first block is regression, anything else classification.

    Returns
    -------
    RidgeProbe
        Without ``loo_decisions``, whose shape is (0, t); errors are NaN at penalties that were refused.

    Raises
    ------
    ValueError
        Blocks of different widths; an entry that is not finite, with its block and row; fewer than 2 samples with a
        label, or one class only; every reg is below what the rounding of Z^T Z allows; blocks that were others in the
        second pass.
    TypeError
        What can be gone through only once; labels of several kinds.

    Notes
    -----
    The result is that of `sslcore.probing.ridge_probe` to rounding of Z^T Z, the square of Z: a reg is refused (its
    errors are NaN) where Z^T Z + n reg has a condition number above 10^12, or a sample has almost all of its leverage
    (1 - H_ii below 10^-6).  The memory is O(k^2 + k t) for each penalty, and a block of 4,096 samples.

    References
    ----------
    Allen, *The relationship between variable selection and data augmentation and a method for
    prediction*, Technometrics 1974 (PRESS).

    Examples
    --------
    >>> import numpy as np, sslcore
    >>> rng = np.random.default_rng(0)
    >>> blocks = [(z, z[:, 0] > 0) for z in (rng.normal(size=(50, 3)) for _ in range(4))]
    >>> probe = sslcore.stream.ridge_probe(blocks, reg=[1e-3, 1e-1, 10.0])
    >>> probe.classes.tolist(), probe.predict([[1.0, 0.0, 0.0]]).tolist(), bool(probe.loo_errors.min() < 0.1)
    ([False, True], [True], True)
    """
    regs = None if is_auto(reg) else penalties(reg)
    fit_intercept = check_boolean(fit_intercept, "fit_intercept")
    parts = _Parts(blocks, check_choice(task, "task", TASKS))
    with np.errstate(over="ignore", invalid="ignore"):
        sums = _sums(parts, fit_intercept)
        path = _Path(sums)
        odds = None
        if regs is None:
            regs = safe_penalties(path.squares, sums.n)
            if sums.classes is not None and len(sums.classes) == sums.n:
                odds = log_odds(path.squares, sums.n, regs)
        path.invert(sums.n * regs)
        squared_errors, errors = path.errors(parts)
        if not np.isfinite(errors).any():
            raise ValueError(
                f"every reg is below what the rounding of the second moments of z allows, found {regs.max():g} as the "
                f"largest: raise reg, scale the columns of z alike, or use sslcore.probing.ridge_probe on fewer samples"
            )
        best = least_error(errors, squared_errors, odds)
        coef, intercept = path.solution(best)
    if not (np.isfinite(coef).all() and np.isfinite(intercept).all()):
        raise OverflowError("the probe's solution is too large to be represented; rescale z and y")
    return RidgeProbe(
        coef=coef,
        intercept=intercept,
        reg=float(regs[best]),
        regs=regs,
        loo_errors=errors,
        loo_squared_errors=squared_errors,
        loo_decisions=np.empty((0, coef.shape[1])),
        classes=sums.classes,
        _flat_target=parts.flat,
    )


# ---------------------------------------------------------------- blocks


class _Parts:
    """Labelled samples of all blocks, checked, some thousand at a time; iterable twice.

    Yields z (n, k) in float64, what they are labelled with, and where they come from, in words.
    """

    def __init__(self, blocks: Any, task: str) -> None:
        if isinstance(blocks, tuple) and len(blocks) == 2 and not isinstance(blocks[0], list | tuple):
            blocks = [blocks]
        if not callable(blocks) and (not isinstance(blocks, Iterable) or isinstance(blocks, Iterator)):
            raise TypeError(
                f"blocks must be something to go through twice: a list of pairs (z, y), or a function that returns an "
                f"iterator of them, found {shown(blocks)} of {type(blocks).__name__}"
            )
        self._blocks, self.task, self.flat = blocks, task, True

    @property
    def classified(self) -> bool:
        """Whether labels are classes; known once the first block has come."""
        return self.task == "classification"

    def __iter__(self) -> Iterator[tuple[np.ndarray, np.ndarray, str]]:
        blocks = self._blocks() if callable(self._blocks) else self._blocks
        for number, block in enumerate(blocks):
            name = f"block {number}"
            if not isinstance(block, tuple | list) or len(block) != 2:
                raise TypeError(f"{name} must be a pair (z, y), found {shown(block)} of {type(block).__name__}")
            z, y = (_opened(each) for each in block)
            if isinstance(block[0], str | os.PathLike):
                name = os.fspath(block[0])
            if getattr(z, "ndim", 0) != 2:
                raise ValueError(f"z of {name} must have 2 dimensions (n, k), found shape {getattr(z, 'shape', None)}")
            if len(y) != len(z):
                raise ValueError(f"z and y of {name} must have the same length, found {len(z)} and {len(y)}")
            if self.task == "auto":
                self.task = task_of(y)
            self.flat = self.classified or getattr(y, "ndim", 1) == 1
            height = tunables.STREAM_PROBE_ROWS
            whole = None if isinstance(y, np.ndarray) else read_part(y, len(z), self.task)
            for start in range(0, len(z), height):
                stop = min(start + height, len(z))
                if whole is None:
                    values, there = read_part(y[start:stop], stop - start, self.task)
                else:
                    values, there = whole[0][start:stop], whole[1][start:stop]
                points = as_array(on_host(z[start:stop]), f"z of {name}", ndim=2, finite=False).astype(float)
                if not there.all():
                    points, values = points[there], values[there]
                if not len(points):
                    continue
                places = np.flatnonzero(there) + start
                for what, array in (("z", points), ("y", values)):
                    if array.dtype.kind == "f" and not np.isfinite(array).all():
                        _refuse(array, f"{what} of {name}", places)
                yield points, on_host(values), f"{name} (row {places[0]})"


def _refuse(array: np.ndarray, name: str, places: np.ndarray) -> None:
    bad = np.argwhere(~np.isfinite(array))[0]
    raise ValueError(
        f"{name} must be finite, found {array[tuple(bad)]} at row {places[bad[0]]}"
        f"{f', column {bad[1]}' if len(bad) > 1 else ''} (counted from 0); remove or impute it"
    )


def _opened(value: Any) -> Any:
    """Map a file, if it is the name of one; arrays of other libraries become NumPy's."""
    if isinstance(value, str | os.PathLike):
        path = Path(value)
        if path.suffix.lower() != ".npy":
            raise ValueError(f"samples of a streamed probe are read from .npy files, found {path}")
        array_promise(Source(path))
        return np.load(path, mmap_mode="r", allow_pickle=False)
    return as_native(value, "z or y")


# ---------------------------------------------------------------- the first pass


@dataclass
class _Sums:
    """Sums over the samples with a label, about ``shift`` and, for targets, ``y_shift``."""

    n: int
    shift: np.ndarray
    y_shift: np.ndarray
    z: np.ndarray  # (k,)
    zz: np.ndarray  # (k, k), upper triangle in Fortran order
    y: np.ndarray  # (t,)
    zy: np.ndarray  # (k, t)
    classes: np.ndarray | None
    centred: bool

    @classmethod
    def begin(cls, z: np.ndarray, y: np.ndarray, classified: bool, centred: bool) -> _Sums:
        """Make the sums over no samples, about the means of the first ones."""
        k, t = z.shape[1], 0 if classified else y.shape[1]
        shift = z.mean(axis=0) if centred else np.zeros(k)
        y_shift = y.mean(axis=0) if centred and t else np.zeros(t)
        zero = np.zeros(k), np.zeros((k, k), order="F"), np.zeros(t), np.zeros((k, t))
        return cls(0, shift, y_shift, *zero, np.empty(0) if classified else None, centred)

    def know(self, names: np.ndarray) -> np.ndarray:
        """Return the class of each name; new ones get a place in the sums."""
        assert self.classes is not None
        found, index = np.unique(names, return_inverse=True)
        if self.classes.size and (self.classes.dtype.kind in "US") != (found.dtype.kind in "US"):
            raise TypeError(f"labels must be of one kind, found {self.classes[0]!r} and {found[0]!r}")
        every = np.union1d(self.classes, found) if self.classes.size else found
        if len(every) > len(self.classes):
            places = np.searchsorted(every, self.classes)
            y, zy = np.zeros(len(every)), np.zeros((len(self.shift), len(every)))
            y[places], zy[:, places] = self.y, self.zy
            self.y, self.zy, self.y_shift, self.classes = y, zy, np.zeros(len(every)), every
        out: np.ndarray = np.searchsorted(every, found)[index]
        return out

    def add(self, z: np.ndarray, y: np.ndarray) -> None:
        """Add samples."""
        z = z - self.shift
        get_backend(z).add_second_moment(self.zz, z)
        self.z += z.sum(axis=0)
        self.n += len(z)
        if self.classes is None:
            y = y - self.y_shift
            self.zy += z.T @ y
            self.y += y.sum(axis=0)
        else:
            index = self.know(y)
            order = np.argsort(index, kind="stable")
            there, starts = np.unique(index[order], return_index=True)
            self.zy[:, there] += np.add.reduceat(z[order], starts, axis=0).T
            self.y[there] += np.diff(starts, append=len(z))


def _sums(parts: _Parts, centred: bool) -> _Sums:
    """Go through the blocks for the first time."""
    sums: _Sums | None = None
    for z, y, where in parts:
        sums = sums or _Sums.begin(z, y, parts.classified, centred)
        if z.shape[1] != len(sums.shift):
            raise ValueError(f"{where} has {z.shape[1]} components, those before have {len(sums.shift)}")
        if sums.classes is None and y.shape[1] != len(sums.y):
            raise ValueError(f"{where} has {y.shape[1]} targets, those before have {len(sums.y)}")
        sums.add(z, y)
    if sums is None or sums.n < 2:
        raise ValueError(
            f"at least 2 samples must have a label, for leave-one-out errors, found {sums.n if sums else 'none'}"
        )
    if sums.classes is not None and len(sums.classes) < 2:
        raise ValueError(f"y must hold at least 2 classes, found only {sums.classes[0]!r}")
    if not (np.isfinite(sums.zz).all() and np.isfinite(sums.zy).all() and np.isfinite(sums.y).all()):
        raise OverflowError("the second moments of z and y are too large to be represented; rescale them")
    return sums


# ---------------------------------------------------------------- all penalties


class _Path:
    """The probes of all penalties, in the eigenbasis of Z^T Z."""

    def __init__(self, sums: _Sums) -> None:
        self._sums, n = sums, sums.n
        zz, zy = np.triu(sums.zz) + np.triu(sums.zz, 1).T, sums.zy
        self._z_mean, self._y_mean = np.zeros_like(sums.z), np.zeros_like(sums.y)  # less the shifts
        if sums.centred:
            self._z_mean, self._y_mean = sums.z / n, sums.y / n
            zz = zz - n * self._z_mean[:, None] * self._z_mean
            zy = zy - n * self._z_mean[:, None] * self._y_mean
        values, self._basis = np.linalg.eigh(zz)
        self.squares = np.maximum(values, 0.0)
        self._projection = self._basis.T @ zy  # (k, t)

    def invert(self, weights: np.ndarray) -> None:
        """Take n reg of each penalty."""
        shrunk = self.squares[:, None] + weights  # (k, regs)
        self.refused = ~(shrunk[-1] <= _LARGEST_CONDITION * shrunk[0])
        self._inverse = np.divide(1.0, shrunk, out=np.zeros_like(shrunk), where=shrunk > 0)

    def errors(self, parts: _Parts) -> tuple[np.ndarray, np.ndarray]:
        """Go through the blocks again; return mean squared and mean leave-one-out errors, NaN where refused."""
        sums, t, count = self._sums, len(self._y_mean), self._inverse.shape[1]
        weights = [inverse[:, None] * self._projection for inverse in self._inverse.T]
        squared, wrong, n = np.zeros(count), np.zeros(count), 0
        for z, y, _ in parts:
            n += len(z)
            if n > sums.n or z.shape[1] != len(sums.shift):
                raise _others()
            turned = (z - sums.shift - self._z_mean) @ self._basis
            complement = (1.0 - sums.centred / sums.n) - turned**2 @ self._inverse  # (rows, regs)
            self.refused |= ~(complement.min(axis=0) >= _LEAST_COMPLEMENT)
            target = y - sums.y_shift - self._y_mean if sums.classes is None else self._one_hot(y) - self._y_mean
            expected = None if sums.classes is None else np.searchsorted(sums.classes, y)
            original = target + self._y_mean
            for r in range(count):  # one at a time: its outputs stay in the cache
                residual = turned @ weights[r]
                np.subtract(target, residual, out=residual)
                residual /= complement[:, r : r + 1]
                squared[r] += np.vdot(residual, residual)
                if expected is not None:
                    decision = np.subtract(original, residual, out=residual)
                    wrong[r] += np.count_nonzero(decision.argmax(axis=1) != expected)
        if n != sums.n:
            raise _others()
        squared[self.refused] = wrong[self.refused] = np.nan
        squared /= n * t
        return squared, squared if sums.classes is None else wrong / n

    def _one_hot(self, y: np.ndarray) -> np.ndarray:
        assert self._sums.classes is not None
        places = np.searchsorted(self._sums.classes, y)
        places = np.minimum(places, len(self._sums.classes) - 1)
        if (self._sums.classes[places] != y).any():
            raise _others()
        target = np.zeros((len(y), len(self._sums.classes)))
        target[np.arange(len(y)), places] = 1.0
        return target

    def solution(self, chosen: int) -> tuple[np.ndarray, np.ndarray]:
        """Return weights (k, t) and intercepts (t,)."""
        coef = self._basis @ (self._inverse[:, [chosen]] * self._projection)
        if not self._sums.centred:
            return coef, np.zeros(coef.shape[1])
        return coef, self._sums.y_shift + self._y_mean - (self._sums.shift + self._z_mean) @ coef


def _others() -> ValueError:
    return ValueError(
        "the blocks were others in the second pass (samples with a label, their width or their classes differ): hand "
        "over a list, or a function that returns the same blocks each time"
    )
