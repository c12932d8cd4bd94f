"""Two-sided rotation of blocks of a Gram matrix into the basis of means and contrasts."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ... import tunables
from ..contract import Array, Groups, Matrix, Strip
from .compiling import compiled
from .elementary import FAST, wide_vectors
from .parallel import parallel_for, parts_for_threads
from .vectors import SIDE, add_scaled, aligned, copy_rows, put_scaled, transpose

__all__ = ["rotate_rows"]


@compiled(nogil=True, fastmath=FAST)
def _combine_pairs(rotation: Array, values: Array, mean: Array, contrast: Array) -> None:
    """Rotate on the right, for two views a sample: ``rotation`` (2, 2, count)."""
    wide_vectors()
    r00, r01, r10, r11 = rotation[0, 0], rotation[0, 1], rotation[1, 0], rotation[1, 1]
    for j in range(mean.size):
        first, second = values[2 * j], values[2 * j + 1]
        mean[j] = r00[j] * first + r01[j] * second
        contrast[j] = r10[j] * first + r11[j] * second


@compiled(nogil=True)
def _store(part: Matrix, out: Matrix, row: int, column: int) -> None:
    copy_rows(part, out[row : row + part.shape[0], column : column + part.shape[1]], False)


@compiled(nogil=True)
def _store_transposed(part: Matrix, out: Matrix, row: int, column: int, large: bool) -> None:
    # past the caches, where vectors are whole: what is written is short and far from the next
    streamed = large and aligned(out) and column % SIDE == 0
    transpose(part, out[row : row + part.shape[1], column : column + part.shape[0]], streamed)


@compiled(nogil=True)
def _copy_upper(tile: Matrix, row: int, column: int, size: int) -> None:
    """Make a diagonal block exactly symmetric."""
    for i in range(size):
        for j in range(i):
            tile[row + i, column + j] = tile[row + j, column + i]


class Side(NamedTuple):
    """Consecutive samples of one class, on the left or on the right of a rotation."""

    rotation: Array  # (m, m, count): rows h_c of each sample of the class
    start: int  # the samples, counted in their class
    stop: int
    row: int  # where their views begin in the block of kernel values
    sample: int  # where they begin among all samples
    contrast: int  # where their contrasts begin among all


class Blocks(NamedTuple):
    """The Gram matrix in the basis of means and contrasts."""

    mean: Matrix  # A, (n, n)
    cross_t: Matrix  # B^T, (n_contrasts, n)
    contrast: Matrix  # C, (n_contrasts, n_contrasts)
    large: bool  # whether they do not stay in the caches


@compiled(nogil=True)
def _rotate_strip(block: Matrix, left: Side, right: Side, diagonal: bool, width: int, out: Blocks) -> None:
    """Rotate the views of the samples ``left`` against those of ``right``, ``width`` of them at a time.

    ``block`` holds their kernel values.  Results and their transposes go to A, B^T and C.  ``diagonal``: the first tile
    has the same samples on both sides, and its diagonal blocks are made exactly symmetric.
    """
    m_i, n_i = left.rotation.shape[0], left.stop - left.start
    m_j = right.rotation.shape[0]
    buffer = np.empty(width * m_j, block.dtype)
    tile = np.empty((n_i * m_i, width * m_j), block.dtype)
    for t0 in range(right.start, right.stop, width):
        t1 = min(t0 + width, right.stop)
        n_j = t1 - t0
        begin = right.row + (t0 - right.start) * m_j
        end = begin + n_j * m_j
        scratch = buffer[: end - begin]
        for s in range(n_i):
            place, row = left.start + s, left.row + s * m_i
            for c in range(m_i):
                put_scaled(left.rotation[c, 0, place], block[row, begin:end], scratch)
                for a in range(1, m_i):
                    add_scaled(left.rotation[c, a, place], block[row + a, begin:end], scratch)
                turned = tile[s if c == 0 else n_i + s * (m_i - 1) + c - 1]
                if m_j == 2:
                    _combine_pairs(right.rotation[:, :, t0:t1], scratch, turned[:n_j], turned[n_j : 2 * n_j])
                else:
                    for t in range(n_j):
                        for e in range(m_j):
                            total = right.rotation[e, 0, t0 + t] * scratch[t * m_j]
                            for b in range(1, m_j):
                                total += right.rotation[e, b, t0 + t] * scratch[t * m_j + b]
                            turned[t if e == 0 else n_j + t * (m_j - 1) + e - 1] = total
        if diagonal and t0 == right.start:
            _copy_upper(tile, 0, 0, n_i)
            _copy_upper(tile, n_i, n_j, n_i * (m_i - 1))
        sample_j, contrast_j = right.sample + t0 - right.start, right.contrast + (t0 - right.start) * (m_j - 1)
        last_i, last_j = n_i * m_i, n_j * m_j
        means, crosses = tile[:n_i, :n_j], tile[:n_i, n_j:last_j]
        crosses_t, contrasts = tile[n_i:last_i, :n_j], tile[n_i:last_i, n_j:last_j]
        _store(means, out.mean, left.sample, sample_j)
        _store_transposed(means, out.mean, sample_j, left.sample, out.large)
        _store_transposed(crosses, out.cross_t, contrast_j, left.sample, out.large)
        _store(crosses_t, out.cross_t, left.contrast, sample_j)
        _store(contrasts, out.contrast, left.contrast, contrast_j)
        _store_transposed(contrasts, out.contrast, contrast_j, left.contrast, out.large)


def rotate_rows(block: Matrix, strip: Strip, samples: Groups, mean: Matrix, cross_t: Matrix, contrast: Matrix) -> None:
    """Rotate the kernel values ``block`` of the samples of ``strip`` with themselves and all that follow.

    block[r, s] is the value of views strip.row_start + r and strip.row_start + s.  Fills the rows of these
    samples in A, B^T, C, and the columns that are their transposes.
    """
    mine = strip.sample_class
    height = max(1, tunables.CPU_ROTATION_VIEWS // mine.m)
    n_tasks = -(-(strip.sample_stop - strip.sample_start) // height)
    weighted = [c.weighted.astype(block.dtype, copy=False) for c in samples.classes]
    rotation = weighted[samples.classes.index(mine)]
    out = Blocks(mean, cross_t, contrast, contrast.nbytes >= tunables.CPU_STREAMED_BYTES)
    pieces = parts_for_threads(n_tasks)

    def task(number: int) -> None:
        number, piece = divmod(number, pieces)
        start = strip.sample_start + number * height
        stop = min(start + height, strip.sample_stop)
        offset = start - mine.sample_start
        view, place = (start - strip.sample_start) * mine.m, mine.contrast_start + offset * (mine.m - 1)
        left = Side(rotation, offset, stop - mine.sample_start, view, start, place)
        for other, turn in zip(samples.classes, weighted, strict=True):
            if other.sample_stop <= start:
                continue
            first = max(start, other.sample_start)  # what lies before `start` are other tasks' transposes
            width = max(height, tunables.CPU_ROTATION_TILE_VALUES // (height * mine.m * other.m))
            size = width * -(-(other.sample_stop - first) // (width * pieces))
            first += piece * size
            if first >= other.sample_stop:
                continue
            skipped = first - other.sample_start
            view = other.row_start + skipped * other.m - strip.row_start
            place = other.contrast_start + skipped * (other.m - 1)
            right = Side(turn, skipped, min(skipped + size, other.count), view, first, place)
            _rotate_strip(block, left, right, other is mine and piece == 0, width, out)

    parallel_for(task, n_tasks * pieces)


@compiled(nogil=True, fastmath=FAST)
def _scale_difference(weight: float, values: Array, origin: Array, out: Array) -> None:
    wide_vectors()
    for j in range(out.size):
        out[j] = weight * (values[j] - origin[j])


@compiled(nogil=True, fastmath=FAST)
def _add_scaled_difference(weight: float, values: Array, origin: Array, out: Array) -> None:
    wide_vectors()
    for j in range(out.size):
        out[j] += weight * (values[j] - origin[j])


@compiled(nogil=True)
def _rotate_some(
    features: Array, rotation: Array, shift: Array, first: int, last: int, means: Matrix, contrasts: Matrix
) -> None:
    m = features.shape[1]
    for i in range(first, last):
        out = means[i]
        _scale_difference(rotation[0, 0, i], features[i, 0], shift, out)
        for a in range(1, m):
            _add_scaled_difference(rotation[0, a, i], features[i, a], shift, out)
        origin = features[i, 0]
        for c in range(1, m):
            out = contrasts[i * (m - 1) + c - 1]
            _scale_difference(rotation[c, 1, i], features[i, 1], origin, out)
            for a in range(2, m):
                _add_scaled_difference(rotation[c, a, i], features[i, a], origin, out)


def rotate_views(features: Array, rotation: Array, shift: Array, buffer: Array) -> tuple[Matrix, Matrix]:
    """Rotate the views of each sample less ``shift``: features (n, m, r) to means (n, r), contrasts (n (m-1), r).

    ``rotation`` (m, m, n) holds the matrix of each sample, the row of the mean first; the others' sums are 0 after
    the square roots of the weights in them, so that contrasts see neither the shift nor any other origin: they are
    taken of the differences to the first view, which are exact where views are near each other and far from 0.
    Results lie in ``buffer``.
    """
    n, m, r = features.shape
    rotation = rotation.astype(features.dtype, copy=False)
    means, contrasts = buffer[: n * r].reshape(n, r), buffer[n * r : n * m * r].reshape(n * (m - 1), r)
    size = max(1, tunables.CPU_ROTATION_FEATURE_VALUES // (m * r))
    parallel_for(
        lambda t: _rotate_some(features, rotation, shift, t * size, min((t + 1) * size, n), means, contrasts),
        -(-n // size),
    )
    return means, contrasts
