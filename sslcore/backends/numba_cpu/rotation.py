"""Two-sided rotation of blocks of a Gram matrix into the basis of means and contrasts."""

from __future__ import annotations

import numpy as np

from .compiling import compiled
from .elementary import FAST, wide_vectors
from .parallel import parallel_for
from .vectors import SIDE, aligned, copy_rows, transpose

__all__ = ["rotate_rows"]

_HEIGHT = 32
_TILE_VALUES = 4096  # kernel values per tile: with its two copies it stays in L1 and L2
_LARGE = 8 << 20  # bytes of a result that does not stay in the caches


@compiled(nogil=True, fastmath=FAST)
def _scale(weight, values, out):
    wide_vectors()
    for j in range(out.size):
        out[j] = weight * values[j]


@compiled(nogil=True, fastmath=FAST)
def _add_scaled(weight, values, out):
    wide_vectors()
    for j in range(out.size):
        out[j] += weight * values[j]


@compiled(nogil=True, fastmath=FAST)
def _combine_pairs(r00, r01, r10, r11, values, mean, contrast):
    """The right rotation of two views a sample."""
    wide_vectors()
    for j in range(mean.size):
        first, second = values[2 * j], values[2 * j + 1]
        mean[j] = r00[j] * first + r01[j] * second
        contrast[j] = r10[j] * first + r11[j] * second


@compiled(nogil=True)
def _store(tile, r0, r1, c0, c1, out, row, column):
    copy_rows(tile[r0:r1, c0:c1], out[row : row + r1 - r0, column : column + c1 - c0], False)


@compiled(nogil=True)
def _store_transposed(tile, r0, r1, c0, c1, out, row, column, large):
    # past the caches, where vectors are whole: what is written is short and far from the next
    streamed = large and aligned(out) and column % SIDE == 0
    transpose(tile[r0:r1, c0:c1], out[row : row + c1 - c0, column : column + r1 - r0], streamed)


@compiled(nogil=True)
def _copy_upper(tile, row, column, size):
    """Make a diagonal block exactly symmetric."""
    for i in range(size):
        for j in range(i):
            tile[row + i, column + j] = tile[row + j, column + i]


@compiled(nogil=True)
def _rotate_strip(
    block,
    row,
    left,
    left_start,
    left_stop,
    i,
    contrast_i,
    column,
    right,
    right_start,
    right_stop,
    j,
    contrast_j,
    diagonal,
    width,
    mean,
    cross_t,
    contrast,
    large,
):
    """Rotate the views of the samples i, i+1, ... against those of j, j+1, ..., tile by tile.

    Their kernel values begin at block[row, column], sample by sample; their rotations are
    left[:, :, left_start:left_stop] and right[:, :, right_start:right_stop]; their contrasts begin at
    contrast_i and contrast_j.  Results and their transposes go to A, B^T and C.
    """
    m_i, n_i = left.shape[0], left_stop - left_start
    m_j = right.shape[0]
    buffer = np.empty(width * m_j, block.dtype)
    tile = np.empty((n_i * m_i, width * m_j), block.dtype)
    for t0 in range(right_start, right_stop, width):
        t1 = min(t0 + width, right_stop)
        n_j = t1 - t0
        begin = column + (t0 - right_start) * m_j
        end = begin + n_j * m_j
        scratch = buffer[: end - begin]
        for s in range(n_i):
            for c in range(m_i):
                _scale(left[c, 0, left_start + s], block[row + s * m_i, begin:end], scratch)
                for a in range(1, m_i):
                    _add_scaled(left[c, a, left_start + s], block[row + s * m_i + a, begin:end], scratch)
                out = tile[s if c == 0 else n_i + s * (m_i - 1) + c - 1]
                if m_j == 2:
                    _combine_pairs(
                        right[0, 0, t0:t1],
                        right[0, 1, t0:t1],
                        right[1, 0, t0:t1],
                        right[1, 1, t0:t1],
                        scratch,
                        out[:n_j],
                        out[n_j : 2 * n_j],
                    )
                else:
                    for t in range(n_j):
                        for e in range(m_j):
                            total = right[e, 0, t0 + t] * scratch[t * m_j]
                            for b in range(1, m_j):
                                total += right[e, b, t0 + t] * scratch[t * m_j + b]
                            out[t if e == 0 else n_j + t * (m_j - 1) + e - 1] = total
        if diagonal and t0 == right_start:
            _copy_upper(tile, 0, 0, n_i)
            _copy_upper(tile, n_i, n_j, n_i * (m_i - 1))
        sample_j, place_j = j + t0 - right_start, contrast_j + (t0 - right_start) * (m_j - 1)
        last_i, last_j = n_i * m_i, n_j * m_j
        _store(tile, 0, n_i, 0, n_j, mean, i, sample_j)
        _store_transposed(tile, 0, n_i, 0, n_j, mean, sample_j, i, large)
        _store_transposed(tile, 0, n_i, n_j, last_j, cross_t, place_j, i, large)
        _store(tile, n_i, last_i, 0, n_j, cross_t, contrast_i, sample_j)
        _store(tile, n_i, last_i, n_j, last_j, contrast, contrast_i, place_j)
        _store_transposed(tile, n_i, last_i, n_j, last_j, contrast, place_j, contrast_i, large)


def rotate_rows(block, strip, samples, mean, cross_t, contrast):
    """Rotate the kernel values ``block`` of the samples of ``strip`` with themselves and all that follow.

    block[r, s] is the value of views strip.row_start + r and strip.row_start + s.  Fills the rows of these
    samples in A, B^T, C, and the columns that are their transposes.
    """
    mine = strip.sample_class
    height = max(1, _HEIGHT // mine.m)
    n_tasks = -(-(strip.sample_stop - strip.sample_start) // height)
    weighted = [c.weighted.astype(block.dtype, copy=False) for c in samples.classes]
    left = weighted[samples.classes.index(mine)]
    large = contrast.nbytes >= _LARGE

    def task(number):
        start = strip.sample_start + number * height
        stop = min(start + height, strip.sample_stop)
        offset = start - mine.sample_start
        for other, right in zip(samples.classes, weighted, strict=True):
            if other.sample_stop <= start:
                continue
            first = max(start, other.sample_start)  # what lies before `start` are other tasks' transposes
            skipped = first - other.sample_start
            _rotate_strip(
                block,
                (start - strip.sample_start) * mine.m,
                left,
                offset,
                stop - mine.sample_start,
                start,
                mine.contrast_start + offset * (mine.m - 1),
                other.row_start + skipped * other.m - strip.row_start,
                right,
                skipped,
                other.count,
                first,
                other.contrast_start + skipped * (other.m - 1),
                other is mine,
                max(height, _TILE_VALUES // (height * mine.m * other.m)),
                mean,
                cross_t,
                contrast,
                large,
            )

    parallel_for(task, n_tasks)


@compiled(nogil=True, fastmath=FAST)
def _scale_difference(weight, values, origin, out):
    wide_vectors()
    for j in range(out.size):
        out[j] = weight * (values[j] - origin[j])


@compiled(nogil=True, fastmath=FAST)
def _add_scaled_difference(weight, values, origin, out):
    wide_vectors()
    for j in range(out.size):
        out[j] += weight * (values[j] - origin[j])


@compiled(nogil=True)
def _rotate_some(features, rotation, shift, first, last, means, contrasts):
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


def rotate_views(features, rotation, shift, buffer):
    """Rotate the views of each sample less ``shift``: features (n, m, r) to means (n, r), contrasts (n (m-1), r).

    ``rotation`` (m, m, n) holds the matrix of each sample, the row of the mean first; the others' sums are 0 after
    the square roots of the weights in them, so that contrasts see neither the shift nor any other origin: they are
    taken of the differences to the first view, which are exact where views are near each other and far from 0.
    Results lie in ``buffer``.
    """
    n, m, r = features.shape
    rotation = rotation.astype(features.dtype, copy=False)
    means, contrasts = buffer[: n * r].reshape(n, r), buffer[n * r : n * m * r].reshape(n * (m - 1), r)
    size = max(1, (1 << 16) // (m * r))
    parallel_for(
        lambda t: _rotate_some(features, rotation, shift, t * size, min((t + 1) * size, n), means, contrasts),
        -(-n // size),
    )
    return means, contrasts
