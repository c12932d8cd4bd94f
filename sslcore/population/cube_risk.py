"""Moments E psi psi^T and <psi, T psi> of representations on the cube: by enumeration, and without it by identities.

By enumeration: the coefficients c_S = <psi, chi_S> are a Walsh-Hadamard transform of the values, and A acts on them.

Without, for psi = sum_a alpha_a k(., xi_a) + b and k(x, y) = sum_S nu_|S| chi_S(x y): c_S = nu_|S| sum_a alpha_a
chi_S(xi_a) + b 1{S empty}.  Where t depends on h = |S| alone, sum_S nu_h^2 t_h chi_S(x y) is a function of the Hamming
distance j, sum_h nu_h^2 t_h Kr_h(j), hence <psi, T psi> = alpha^T table[j(xi_a, xi_b)] alpha.  A crop changes t only
for those S that lie in a window: the c_S of all S inside of one window are the transform, of size 2^w, of the sums of
alpha over the centres with equal bits there.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from .. import tunables
from ..arrays import as_array, on_host
from ..augmentations import Augmentation, Compose, Crop, Mixture, Reversal, Shift
from ..backends import get_backend
from ..declarations.registries import has_law
from ..fitting.representation import Representation
from ..kernels import Kernel
from .cube_augmentations import crop_widths, eigenvalues, leaves, needs
from .cube_kernels import NotZonalError, zonal_eigenvalues
from .cube_sets import Masks, Space, reversals, rotations
from .cube_values import ENUMERATED, points
from .fitted import require_raw

__all__ = ["moments"]

WINDOW = 16
"""Widest crop of which the 2^w parities of each window are summed."""


def moments(d: int, psi: Any, augmentation: Augmentation) -> tuple[np.ndarray, np.ndarray]:
    """Return E psi psi^T and <psi, T psi>, (k, k), of values (2^d, k), a `Representation`, or a function of points."""
    if isinstance(psi, Representation):
        require_raw(psi)
        if psi.centres is not None and psi.centres.shape[1] != d:
            raise ValueError(
                f"the representation takes points of {psi.centres.shape[1]} coordinates, this is the cube of "
                f"dimension {d}"
            )
        reason = _obstacle(d, psi, augmentation)
        if reason is None:
            return _by_identities(d, psi, augmentation)
        if d > ENUMERATED:
            raise ValueError(f"the exact risk for d = {d} > {ENUMERATED} has no closed form here: {reason}")
    if d > ENUMERATED:
        raise ValueError(f"values at all 2^d points are enumerated up to d = {ENUMERATED} only, found d = {d}")
    if callable(psi):
        step = tunables.CUBE_GIVEN_POINTS
        psi = np.concatenate([on_host(psi(points(d, s, min(s + step, 1 << d)))) for s in range(0, 1 << d, step)])
    values = as_array(psi, "psi", ndim=(1, 2), shape_hint="(2^d, k)")
    if len(values) != 1 << d:
        raise ValueError(f"psi must have values at all 2^{d} = {1 << d} points of the cube, found shape {values.shape}")
    c = np.array(values.reshape(len(values), -1), np.float64, order="C")
    get_backend(c).walsh_hadamard(c)
    c /= len(c)
    smooth = _apply(augmentation, c, d)
    return c.T @ c, smooth.T @ smooth


# ---------------------------------------------------------------- by enumeration


def _apply(augmentation: Any, c: np.ndarray, d: int) -> np.ndarray:
    """Return the coefficients of A f on all parities, given those of f."""
    if needs(augmentation) == "parities":
        out: np.ndarray = eigenvalues(augmentation, Masks(d))[:, None] * c
        return out
    masks = np.arange(1 << d, dtype=np.uint32)
    if has_law(augmentation, Compose):  # A1 A2 f
        for part in reversed(augmentation.parts):
            c = _apply(part, c, d)
        return c
    if has_law(augmentation, Mixture):
        parts = zip(augmentation.weights, augmentation.parts, strict=True)
        return sum((w * _apply(part, c, d) for w, part in parts), np.zeros(c.shape))
    if has_law(augmentation, Reversal):
        out = (1.0 - augmentation.p) * c + augmentation.p * c[reversals(masks, d)]
        return out
    # Shift: A chi_S = sum_a p_a chi_(S - a), so that chi_S gets the coefficients of S + a
    out = sum(p * c[rotations(masks, a, d)] for a, p in enumerate(augmentation.law) if p)
    return out


# ---------------------------------------------------------------- by identities


def _obstacle(d: int, psi: Representation, augmentation: Any) -> str | None:
    """Say why the identities do not apply; None if they do."""
    if psi.centres is None or not isinstance(psi.model, Kernel):
        return "the model is not a kernel of points"
    try:
        zonal_eigenvalues(psi.model, d)
    except NotZonalError as error:
        return str(error)
    moved = _moves(augmentation, d)
    if moved is None:
        return f"the parts of {augmentation!r} do not commute, or it mixes shifts or reversals with other parts"
    if max((w for w, _ in _crops(moved[0], d)), default=0) > WINDOW and _pairs_of_windows(moved[0], d) is None:
        return f"crops wider than {WINDOW} have one when they are cyclic, alone of their kind, and composed with others"
    return None


def _crops(parts: list[Any], d: int) -> set[tuple[int, bool]]:
    """Collect (width, cyclic) of the crops that leave something out."""
    return {crop for part in parts for crop in crop_widths(part) if crop[0] < d}


Moves = dict[tuple[int, bool], float]
"""Probability of each (s, reversed): the map of centres c -> roll(c, s) or roll(c[::-1], s)."""


def _moves(augmentation: Any, d: int) -> tuple[list[Any], Moves] | None:
    """Split A = D P, D composed of parts that parities diagonalise, P of shifts and reversals; None if it is not so.

    D must commute with the moves: cyclic crops and flips do.
    """
    if needs(augmentation) == "parities":
        return [augmentation], {(0, False): 1.0}
    if has_law(augmentation, Shift):  # f(roll(x, a)) has the centres roll(c, -a)
        return [], {(-a % d, False): p for a, p in enumerate(augmentation.law) if p}
    if has_law(augmentation, Reversal):
        return [], {(0, False): 1.0 - augmentation.p, (0, True): augmentation.p}
    if not has_law(augmentation, Compose):
        return None
    parts: list[Any] = []
    moves: Moves = {(0, False): 1.0}
    for part in augmentation.parts:
        found = _moves(part, d)
        if found is None:
            return None
        parts += found[0]
        moves = _products(moves, found[1], d)
    shifted = any(s for s, _ in moves)
    if shifted and any(not cyclic for _, cyclic in _crops(parts, d)):
        return None
    return parts, moves


def _products(first: Moves, second: Moves, d: int) -> Moves:
    """Return the law of g1 g2: roll(rev^a(roll(rev^b(c), t)), s) = roll(rev^(a+b)(c), s +- t)."""
    out: Moves = {}
    for (s, a), p in first.items():
        for (t, b), q in second.items():
            key = ((s - t if a else s + t) % d, a != b)
            out[key] = out.get(key, 0.0) + p * q
    return out


def _by_identities(d: int, psi: Representation, augmentation: Any) -> tuple[np.ndarray, np.ndarray]:
    assert psi.centres is not None
    x = np.ascontiguousarray(on_host(psi.centres), np.float64)
    if not (np.abs(x) == 1.0).all():
        raise ValueError("the centres of the representation must be points of the cube, with coordinates -1 and 1")
    scale = psi._scale()
    alpha = np.ascontiguousarray(on_host(psi.coefficients) * scale, np.float64)
    intercept = on_host(psi.intercept).astype(np.float64) * scale
    model, moved = psi.model, _moves(augmentation, d)
    assert isinstance(model, Kernel)
    assert moved is not None
    parts, moves = moved
    nu = zonal_eigenvalues(model, d)
    outside = np.ones(d + 1)  # t of a set of each size that is in no window
    for part in parts:
        outside *= eigenvalues(part, _Outside(d)) ** 2
    crops = _crops(parts, d)
    wide = max((w for w, _ in crops), default=0)
    tables = [_table(nu * nu, d), _table(nu * nu * outside, d)]
    # <A f, A f> = sum over moves g, h of p_g p_h <D f_g, D f_h>, and that depends on g^-1 h alone
    inverse: Moves = {}
    for (s, a), p in moves.items():
        key = (s if a else -s % d, a)
        inverse[key] = inverse.get(key, 0.0) + p
    smooth = np.zeros((alpha.shape[1], alpha.shape[1]))
    still = (0, False)
    for key, p in _products(inverse, moves, d).items():
        y = np.roll(x[:, ::-1] if key[1] else x, key[0], axis=1)
        if key == still:
            second, part = _pair_sums(x, alpha, np.stack(tables))
        else:
            (part,) = _pair_sums(x, alpha, np.stack(tables[1:]), y)
        if wide > WINDOW:
            part = _wide_sums(x, y, alpha, nu, parts)
        elif crops:
            part = part + _window_sums(x, y, alpha, nu, parts, wide, outside)
        smooth += p * part
    mean = nu[0] * alpha.sum(axis=0)
    shift = np.outer(mean, intercept) + np.outer(intercept, mean) + np.outer(intercept, intercept)
    return second + shift, (smooth + smooth.T) / 2 + shift  # constants are invariant


class _Outside(Space):
    """One set of each size that lies in no window of a crop, save the empty set and windows of all d coordinates."""

    def __init__(self, d: int) -> None:
        self.d, self.sizes = d, np.arange(d + 1)

    def windows(self, width: int, cyclic: bool) -> np.ndarray:
        starts = self.d if cyclic else self.d - width + 1
        found = np.full(self.d + 1, starts if width == self.d else 0)
        found[0] = starts
        return found


def _table(weights: np.ndarray, d: int) -> np.ndarray:
    """Return sum_h weights[h] Kr_h(j), j = 0..d."""
    j = np.arange(d + 1)
    signs = np.where(j % 2 == 0, 1.0, -1.0)
    scaled = [math.comb(d, h) * w if w else 0.0 for h, w in enumerate(weights.tolist())]
    out = np.zeros(d + 1)
    before, now = np.zeros(d + 1), np.ones(d + 1)  # Kr_h(j) / C(d, h)
    for h in range(d // 2 + 1):
        out += scaled[h] * now
        if 2 * h != d:
            out += scaled[d - h] * signs * now
        if h < d:
            before, now = now, ((d - 2 * j) * now - h * before) / (d - h)
    return out


def _pair_sums(x: np.ndarray, alpha: np.ndarray, tables: np.ndarray, y: np.ndarray | None = None) -> np.ndarray:
    """Return sum_ab alpha_a table[j(x_a, y_b)] alpha_b^T for each table, (tables, k, k); y = None stands for x."""
    n, d = x.shape
    rows_of, columns_of = x.astype(np.float32), (x if y is None else y).astype(np.float32)  # exact: small integers
    flipped = [np.ascontiguousarray(table[(d - np.arange(-d, d + 1)) // 2]) for table in tables]  # by <x, y> + d
    same = len(tables) > 1 and np.array_equal(tables[0], tables[1])
    out = np.zeros((len(tables), alpha.shape[1], alpha.shape[1]))
    height, width = tunables.CUBE_TILE_PAIRS
    for top in range(0, n, height):
        rows = slice(top, top + height)
        for left in range(top if y is None else 0, n, width):
            columns = slice(left, left + width)
            index = (rows_of[rows] @ columns_of[columns].T + np.float32(d)).astype(np.int32)
            inner = max(0, min(top + height, n) - left)  # columns that are rows too: counted once, others twice
            for i, table in enumerate(flipped[: 1 if same else None]):
                values = table.take(index)
                if y is None:
                    values[:, inner:] *= 2.0
                out[i] += alpha[rows].T @ (values @ alpha[columns])
    if same:
        out[:] = out[0]
    return (out + out.transpose(0, 2, 1)) / 2 if y is None else out


def _window_sums(
    x: np.ndarray,
    y: np.ndarray,
    alpha: np.ndarray,
    nu: np.ndarray,
    parts: list[Any],
    width: int,
    outside: np.ndarray,
) -> np.ndarray:
    """Sum (t_S - t outside) c_S c'_S^T over the sets S inside of some window; c' has the centres y."""
    d, sizes = x.shape[1], Masks(width).sizes.astype(np.intp)
    fixed = any(not cyclic for _, cyclic in _crops(parts, d))

    def weights(start: int) -> np.ndarray:
        space = _Inside(d, (start + np.arange(width)) % d)
        t = np.ones(1 << width)
        for part in parts:
            t *= eigenvalues(part, space) ** 2
        # each set is met once in every cyclic window that holds it
        out: np.ndarray = (t - outside[sizes]) * nu[sizes] ** 2 / space.windows(width, True)
        return out

    k = alpha.shape[1]
    places, others = _places(x, width), None if y is x else _places(y, width)
    total = np.zeros((k, k))
    step = max(1, tunables.CUBE_SUMS_NUMBERS // (k << width))
    same = None if fixed else weights(0)
    for start in range(0, d, step):
        some = range(start, min(start + step, d))
        each = np.stack([weights(s) if same is None else same for s in some], axis=1)  # (2^w, windows)
        sums = _window_coefficients(places[:, start : some.stop], alpha, width)
        other = sums if others is None else _window_coefficients(others[:, start : some.stop], alpha, width)
        total += (sums * each[:, :, None]).reshape(-1, k).T @ other.reshape(-1, k)
    return total


def _places(x: np.ndarray, width: int) -> np.ndarray:
    """Write the bits inside of each cyclic window as a number, (n, d)."""
    bits = (x < 0).astype(np.int64)
    out = np.zeros_like(bits)
    for i in range(width):
        out += np.roll(bits, -i, axis=1) << i
    return out


def _window_coefficients(places: np.ndarray, alpha: np.ndarray, width: int) -> np.ndarray:
    """Return sum_a alpha_a chi_S(x_a) for all S inside of some windows, (2^w, windows, k)."""
    n_windows, k = places.shape[1], alpha.shape[1]
    cells = (places * n_windows + np.arange(n_windows)).ravel()
    sums = np.empty((1 << width, n_windows, k))
    for i in range(k):
        sums[:, :, i] = np.bincount(cells, np.repeat(alpha[:, i], n_windows), sums.shape[0] * n_windows).reshape(
            1 << width, n_windows
        )
    get_backend(sums).walsh_hadamard(sums.reshape(1 << width, -1))
    return sums


def _pairs_of_windows(parts: list[Any], d: int) -> tuple[int, list[Any]] | None:
    """Return the width of the only crop, if cyclic, and the other parts (functions of |S| alone); else None."""
    leaf = [a for part in parts for a in (leaves(part) if has_law(part, Compose) else [part])]
    crops = [a for a in leaf if crop_widths(a) and _crops([a], d)]
    if len(crops) != 1 or not has_law(crops[0], Crop) or not crops[0].cyclic:
        return None
    return crops[0].width, [a for a in leaf if a is not crops[0]]


def _wide_sums(x: np.ndarray, y: np.ndarray, alpha: np.ndarray, nu: np.ndarray, parts: list[Any]) -> np.ndarray:
    """Return d^-2 sum over windows W, W' of alpha^T table_m[j inside of W and W'] alpha, m = |W and W'|.

    A keeps the part of f that depends on W alone, on average over W: <A f, A f> has, for each pair of windows, the
    parities inside of both.  W and W' s places apart share an arc of w - s places and one of w - (d - s).
    """
    d = x.shape[1]
    found = _pairs_of_windows(parts, d)
    assert found is not None
    width, others = found
    weights = nu * nu
    for part in others:
        weights = weights * eigenvalues(part, _Outside(d)) ** 2
    tables = [_table(weights[: m + 1], m) if m else weights[:1] for m in range(width + 1)]
    out = np.zeros((alpha.shape[1], alpha.shape[1]))
    step = max(1, tunables.CUBE_RUNS_ENTRIES // (2 * d * len(y)))
    for top in range(0, len(x), step):
        differ = (x[top : top + step, None, :] != y[None, :, :]).astype(np.int16)
        runs = np.zeros((*differ.shape[:2], 2 * d + 1), np.int16)
        np.cumsum(np.concatenate([differ, differ], axis=2), axis=2, out=runs[:, :, 1:])
        values = np.zeros(differ.shape[:2])
        for s in range(d):
            arcs = [(s, width - s)] if s < width else []  # where each begins, from the start of W, and its length
            arcs += [(0, width - (d - s))] if s and d - s < width else []
            total = sum(length for _, length in arcs)
            inside: Any = np.zeros((1, 1, d), np.int16)
            for begin, length in arcs:
                place = (np.arange(d) + begin) % d
                inside = inside + runs[:, :, place + length] - runs[:, :, place]
            values += tables[total].take(inside).sum(axis=2)
        out += alpha[top : top + step].T @ (values @ alpha)
    out /= d**2
    return out


class _Inside(Space):
    """All sets inside of one window, in the order of their masks there."""

    def __init__(self, d: int, window: np.ndarray) -> None:
        self.d, self.window = d, window
        self.sizes = Masks(len(window)).sizes

    def windows(self, width: int, cyclic: bool) -> np.ndarray:
        d = self.d
        masks = np.arange(1 << len(self.window), dtype=np.uint32)
        restricted: dict[int, int] = {}
        for start in range(d if cyclic else d - width + 1):
            inside = (
                ((self.window - start) % d < width)
                if cyclic
                else (self.window >= start) & (self.window < start + width)
            )
            key = int(inside @ (1 << np.arange(len(self.window))))
            restricted[key] = restricted.get(key, 0) + 1
        found = np.zeros(len(masks), np.intp)
        full = (1 << len(self.window)) - 1
        for key, count in restricted.items():
            found += count * ((masks & np.uint32(full ^ key)) == 0)
        return found
