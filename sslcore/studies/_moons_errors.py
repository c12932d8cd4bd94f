"""Errors of the probe of the half-moons over the numbers of pretraining samples and of labels, a repetition a cell."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .. import datasets, tunables
from ..arrays import Array
from ..augmentations import GaussianNoise
from ..fitting.nested import NestedFit, nested_fits
from ..kernels import Exponential
from ..probing._prefixes import prefix_errors

__all__ = ["Errors", "repetition"]

POOL = 20_000
"""Fresh points of each repetition, from which draws of labelled samples are taken without replacement where all draws
together would need more.  A random part of independent points is one of independent points: each draw has the law that
it has alone, and means are unbiased.  Draws that share points are not independent; the standard error contains that."""

MEASURES = ("squared", "zero_one")


@dataclass(frozen=True, eq=False)
class Errors:
    """Means over all draws, with standard errors.

    Attributes
    ----------
    pretraining_sizes, downstream_sizes : tuple of int
        P numbers of samples of two views, D of labelled samples.
    repetitions : (int, int)
        Draws of pretraining samples, and of labelled ones for each of these.
    all : dict of arrays (repetitions, P, D)
        ``"squared"``, the mean of the summed squared difference to the true probabilities, and ``"zero_one"``, the best
        probability less that of the class predicted; averaged over the draws of labelled samples.
    """

    pretraining_sizes: tuple[int, ...]
    downstream_sizes: tuple[int, ...]
    repetitions: tuple[int, int]
    all: dict[str, np.ndarray]

    @classmethod
    def of(cls, settings: dict[str, Any], cells: Sequence[dict[str, np.ndarray]]) -> Errors:
        """Collect the results of `repetition`."""
        sizes = (tuple(settings["pretraining_sizes"]), tuple(settings["downstream_sizes"]))
        found = {name: np.stack([cell[name] for cell in cells]) for name in MEASURES}
        return cls(*sizes, (len(cells), settings["downstream_draws"]), found)

    @property
    def mean(self) -> dict[str, np.ndarray]:
        """Return the means (P, D)."""
        return {name: values.mean(axis=0) for name, values in self.all.items()}

    @property
    def standard_error(self) -> dict[str, np.ndarray]:
        """Return their standard errors: repetitions of pretraining are independent of each other."""
        root = self.repetitions[0] ** 0.5
        return {name: values.std(axis=0, ddof=1) / root for name, values in self.all.items()}

    def as_dict(self) -> dict[str, Any]:
        """Return sizes, means and standard errors, for machines."""
        found = {"pretraining_sizes": self.pretraining_sizes, "downstream_sizes": self.downstream_sizes}
        return found | {"repetitions": self.repetitions, "mean": self.mean, "standard_error": self.standard_error}


def repetition(settings: dict[str, Any], index: int) -> dict[str, np.ndarray]:
    """Return both errors (P, D) for one draw of pretraining samples: a cell of `sslcore.runs.run_cells`.

    All numbers of samples are the first ones of one draw, and all see the same test points and labelled ones.  N reg is
    the same at each of them, lambda_ref / 2: one Cholesky factor serves all.
    """
    sizes, labels = settings["pretraining_sizes"], np.array(settings["downstream_sizes"])
    words = np.random.SeedSequence(settings["seed"], spawn_key=(index,)).generate_state(5, np.uint64)
    seeds = [int(word) for word in words]
    samples = datasets.half_moons(sizes[-1], seed=seeds[0])
    views = GaussianNoise(settings["noise"]).views(samples, 2, seed=seeds[1])
    kernel, k = Exponential(settings["scale"]), settings["n_components"]
    fits = nested_fits(views, kernel, k, sizes, reg_times_n=settings["lambda_ref"] / 2, unbiased=False)
    functions = _Functions(kernel, np.asarray(views).reshape(-1, 2), fits)
    test = datasets.half_moons(settings["n_test"], seed=seeds[2])
    target, at_test = datasets.half_moons_probabilities(test), functions(test)
    draws, most = settings["downstream_draws"], int(labels[-1])
    rng = np.random.default_rng(seeds[4])
    pool = datasets.half_moons(max(most, min(draws * most, POOL)), seed=seeds[3])
    if draws * most <= len(pool):
        places = np.arange(draws * most).reshape(draws, most)
    else:
        places = np.stack([rng.permutation(len(pool))[:most] for _ in range(draws)])
    y = _one_hot(datasets.half_moons_probabilities(pool)[places], rng.random((draws, most)))
    found = []
    for z, tests in zip(functions(pool), at_test, strict=True):
        errors = prefix_errors(z[places], y, labels, tests, target)
        found.append([each.mean(axis=0) for each in errors])
    return dict(zip(MEASURES, np.array(found).swapaxes(0, 1), strict=True))


def _one_hot(probabilities: Array, chances: Array) -> Array:
    """Draw a class for each row of probabilities (..., q), from numbers (...) uniform on [0, 1)."""
    classes = (chances[..., None] >= probabilities.cumsum(axis=-1)[..., :-1]).sum(axis=-1)
    return np.asarray(np.eye(probabilities.shape[-1])[classes])


class _Functions:
    """Unit eigenfunctions of all sizes, whose kernel values are computed once.

    Sizes are taken in groups with the centres of the largest: few products with many columns, and few zeros.
    """

    def __init__(self, kernel: Exponential, centres: Array, fits: Sequence[NestedFit], groups: int = 8) -> None:
        self.kernel, self.centres, self.parts = kernel, centres, []
        for part in np.array_split(np.arange(len(fits)), min(groups, len(fits))):
            chosen = [np.asarray(fits[i].coefficients) for i in part]
            weights = np.zeros((len(chosen), len(chosen[-1]), chosen[0].shape[1]))
            for place, coefficients in zip(weights, chosen, strict=True):
                place[: len(coefficients)] = coefficients
            self.parts.append(weights)

    def __call__(self, x: Array) -> list[np.ndarray]:
        """Return the values (len(x), k) of each size."""
        shapes = [weights.shape for weights in self.parts]
        found = [np.empty((len(x), k)) for count, _, k in shapes for _ in range(count)]
        step = max(1, tunables.KERNEL_BLOCK_BYTES // (8 * len(self.centres)))
        for start in range(0, len(x), step):
            block, place = slice(start, start + step), 0
            values = self.kernel(x[block], self.centres)
            for weights, (count, rows, k) in zip(self.parts, shapes, strict=True):
                product = values[:, :rows] @ weights.transpose(1, 0, 2).reshape(rows, count * k)
                for i in range(count):
                    found[place + i][block] = product[:, i * k : (i + 1) * k]
                place += count
        return found
