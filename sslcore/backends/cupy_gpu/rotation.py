"""Two-sided rotation of blocks of a Gram matrix, and of features, into the basis of means and contrasts."""

from __future__ import annotations

from typing import Any

import cupy as xp
import numpy as np

from . import sources
from .loader import blocks_of, kernel, launch

__all__ = ["rotate_rows", "rotate_views"]


def rotate_rows(block: Any, strip: Any, samples: Any, mean: Any, cross_t: Any, contrast: Any) -> None:
    """Rotate the kernel values ``block`` of the samples of ``strip`` with themselves and all that follow.

    block[r, s] is the value of views strip.row_start + r and strip.row_start + s.  Fills the rows of these
    samples in A, B^T, C, and the columns that are their transposes.
    """
    numbers = sources.numbers("rotate")
    side, lines = numbers["SIDE"], numbers["LINES"]
    mine = strip.sample_class
    offset = strip.sample_start - mine.sample_start
    left = mine.weighted.astype(block.dtype, copy=False)
    for other in samples.classes:
        if other.sample_stop <= strip.sample_start:
            continue
        first = max(strip.sample_start, other.sample_start)
        skipped = first - other.sample_start
        rows, columns = strip.sample_stop - strip.sample_start, other.sample_stop - first
        known = {
            "LD": block.shape[1],
            "SAMPLES_I": rows,
            "SAMPLES_J": columns,
            "VIEWS_I": mine.m,
            "VIEWS_J": other.m,
            "COLUMN": other.row_start + skipped * other.m - strip.row_start,
            "COUNT_I": mine.count,
            "COUNT_J": other.count,
            "OFFSET_I": offset,
            "OFFSET_J": skipped,
            "SAMPLE_I": strip.sample_start,
            "SAMPLE_J": first,
            "CONTRAST_I": mine.contrast_start + offset * (mine.m - 1),
            "CONTRAST_J": other.contrast_start + skipped * (other.m - 1),
            "N": samples.n,
            "N_CONTRASTS": samples.n_contrasts,
        }
        place = np.zeros(numbers["PLACE_SIZE"], np.int64)
        for key, value in known.items():
            place[numbers[key]] = value
        name = "rotate_two_views" if mine.m == other.m == 2 else "rotate_any_views"
        kernel("rotate", name, block.dtype)(
            (blocks_of(columns, side), blocks_of(rows, side)),
            (side, lines),
            (
                block,
                xp.asarray(place),
                left,
                other.weighted.astype(block.dtype, copy=False),
                mean,
                cross_t,
                contrast,
            ),
        )


def rotate_views(features: Any, rotation: Any, shift: Any, buffer: Any) -> tuple[Any, Any]:
    """Rotate the views of each sample less ``shift``: features (n, m, r) to means (n, r), contrasts (n (m-1), r).

    ``rotation`` (m, m, n) holds the matrix of each sample, the row of the mean first; the others' sums are 0 after
    the square roots of the weights in them, so that contrasts see neither the shift nor any other origin: they are
    taken of the differences to the first view, which are exact where views are near each other and far from 0.
    Results lie in ``buffer``.
    """
    n, m, r = features.shape
    rotation = rotation.astype(features.dtype, copy=False)
    means, contrasts = buffer[: n * r].reshape(n, r), buffer[n * r : n * m * r].reshape(n * (m - 1), r)
    launch(
        kernel("rotate", "rotate_features", features.dtype),
        n * r,
        features,
        rotation,
        shift,
        np.int64(n),
        np.int64(m),
        np.int64(r),
        means,
        contrasts,
    )
    return means, contrasts
