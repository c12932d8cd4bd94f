"""An operator known by its eigenvalues alone: those that were computed elsewhere, or made up."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..arrays import check_integer, check_scalar
from ..declarations.parameters import Declared, converted, real
from .base import Domain
from .lines import Label, Lines

__all__ = ["Eigenvalues", "Modes", "lines_of", "select_of"]


def _pairs(values: Any, name: str) -> tuple[tuple[Label, float], ...]:
    """Return (label, eigenvalue) pairs of a mapping, of such pairs, or of a sequence of numbers for 0, 1, ..."""
    if isinstance(values, str | bytes) or not isinstance(values, Mapping | Sequence | np.ndarray):
        raise TypeError(
            f"{name} must be a mapping from labels to eigenvalues, or a sequence of them for the labels 0, 1, ..., "
            f"found {type(values).__name__}"
        )
    found: dict[Label, float] = {}
    items = values.items() if isinstance(values, Mapping) else enumerate(values)
    for label, value in items:
        if not isinstance(values, Mapping) and isinstance(value, tuple) and len(value) == 2:
            label, value = value
        if isinstance(label, set):
            label = tuple(sorted(label))
        if label in found:
            raise ValueError(f"{name} names {label!r} twice; give one eigenvalue for it")
        found[label] = check_scalar(value, f"the eigenvalue of {label!r}")
    return tuple(found.items())


@dataclass(frozen=True, repr=False)
class Eigenvalues(Declared):
    """T given by its eigenvalues on the functions of a domain: one's own, in place of an augmentation.

    Every such T is diagonal where the domain's kernels are, so each function has its line in lambda, and spectra,
    crossings, regimes and least risks follow: mu = 1 - beta + beta t - lambda / kappa (Cabannes et al. 2023, section
    2).  On `Modes` an architecture K can be given so too.

    Parameters
    ----------
    values : mapping or sequence
        From labels to eigenvalues t; a sequence is for the labels 0, 1, 2, ....  Labels are those of the domain: the
        degree on `Sphere`, a frequency on `Torus`, a set of coordinates on `Hypercube`.  There a whole number h stands
        for all sets of that size which are not named by themselves.
    rest : float
        Eigenvalue of all functions that are not named.

    Notes
    -----
    The operators of augmentations have 0 <= t <= 1.  Here any finite number will do: T may be signed, or of another
    scale.

    Examples
    --------
    >>> from sslcore.kernels import Gaussian
    >>> from sslcore.population import Eigenvalues, Hypercube, Sphere
    >>> own = Eigenvalues([1.0, 0.5, 0.25])  # by degree, and zero from degree 3 on
    >>> s = Sphere(3).spectrum(own, Gaussian(1.0), reg=0.01, n_components=4)
    >>> s.labels, s.eigenvalues.round(4)
    ((0, 1, 1, 1), array([0.9769, 0.4261, 0.4261, 0.4261]))
    >>> own = Eigenvalues({(): 1.0, 1: 0.5, (0, 5): 0.75})  # the constant, all single coordinates, one pair
    >>> Hypercube(8).crossings(own, Gaussian(2.0), 2)[0].before
    (0, 5)
    """

    values: Any = converted(
        "Eigenvalues by label: a mapping, or a sequence for the labels 0, 1, 2, ...",
        _pairs,
        good=((1.0, 0.5), {"a": -1.0}, ()),
        bad=(1.0, None, "ab", {1.0}, (math.nan,), ("x",), ((0, 1.0), (0, 2.0))),
    )
    rest: float = real("eigenvalue of all functions that are not named", default=0.0)

    def named(self, spelling: Callable[[Label], Label]) -> dict[Label, float]:
        """Return the eigenvalues by the labels as ``spelling`` writes them; no function may be named twice."""
        found: dict[Label, float] = {}
        for label, value in self.values:
            name = spelling(label)
            if name in found:
                raise ValueError(f"values names {name!r} twice, here as {label!r}; give one eigenvalue for it")
            found[name] = value
        return found


@dataclass(frozen=True, repr=False)
class Modes(Domain):
    """Functions that are known by name only: T and K are given by their eigenvalues on them.

    Parameters
    ----------
    labels : sequence
        The names of the functions, or of spaces of them; or how many there are, for the names 0, 1, 2, ....
    multiplicities : sequence of int, optional
        The dimensions of the spaces; by default each name is of one function.

    Examples
    --------
    >>> from sslcore.population import Eigenvalues, Modes
    >>> three = Modes("fgh")  # the picture of three lines in the paper
    >>> t = Eigenvalues({"f": 0.9, "g": 0.75, "h": 0.5})
    >>> kappa = Eigenvalues({"f": 1 / 0.4, "g": 1 / 0.25, "h": 1 / 0.125})
    >>> [(round(c.reg, 12), c.before, c.after) for c in three.crossings(t, kappa)]
    [(1.0, 'f', 'g'), (2.0, 'g', 'h')]
    >>> [(r.name, r.labels) for r in three.regimes(t, kappa)]
    [('augmentation', ('f',)), ('interplay', ('g',)), ('architecture', ('h',))]
    """

    labels: Any = converted(
        "The names of the functions, or of spaces of them; or how many there are, for the names 0, 1, 2, ...",
        lambda value, name: _names(value, name),
        good=(3, "ab", ((0, 1), 2)),
        bad=(0, -1, 1.5, None, "aa", (), [[1], [1]], 10**9),
    )
    multiplicities: Sequence[int] | None = converted(
        "The dimensions of the spaces; by default each name is of one function",
        lambda value, name: (
            None if value is None else tuple(check_integer(m, "a multiplicity", minimum=1) for m in value)
        ),
        bad=((0,), (1.5,), ("x",)),
        default=None,
    )

    def _complete(self) -> None:
        if self.multiplicities is not None and len(self.multiplicities) != len(self.labels):
            raise ValueError(
                f"multiplicities must be as many as labels, {len(self.labels)}, found {len(self.multiplicities)}"
            )

    def canonical(self, label: Label) -> Label:
        """Return a label that there is; refuse others."""
        if label not in self.labels:
            raise ValueError(f"no function has the label {label!r}; some of those there: {list(self.labels[:8])}")
        return self.labels[self.labels.index(label)]

    def augmentation_eigenvalues(self, augmentation: Any) -> np.ndarray:
        """Return the given eigenvalues by the order of the labels.

        Examples
        --------
        >>> from sslcore.population import Eigenvalues, Modes
        >>> Modes("ab").augmentation_eigenvalues(Eigenvalues({"b": 0.5}, rest=0.25))
        array([0.25, 0.5 ])
        """
        if not isinstance(augmentation, Eigenvalues):
            raise TypeError(f"on Modes, T and K are given by population.Eigenvalues, found {augmentation!r}")
        named = augmentation.named(self.canonical)
        return np.array([named.get(label, augmentation.rest) for label in self.labels])

    def kernel_eigenvalues(self, kernel: Any) -> np.ndarray:
        """Return the given eigenvalues of K by the order of the labels; they must be >= 0.

        Examples
        --------
        >>> from sslcore.population import Eigenvalues, Modes
        >>> Modes(2).kernel_eigenvalues(Eigenvalues([2.0, 1.0]))
        array([2., 1.])
        """
        return self.augmentation_eigenvalues(kernel)

    def lines(  # noqa: D102
        self, augmentation: Any, kernel: Any, n: int, *, reg: float | None = None, beta: float = 1.0
    ) -> Lines:
        t = self.augmentation_eigenvalues(augmentation)
        kappa = np.ones(len(t)) if kernel is None and reg == 0 else self.kernel_eigenvalues(kernel)
        sizes = np.ones(len(t), np.int64) if self.multiplicities is None else np.array(self.multiplicities, object)
        return Lines(t, kappa, sizes, self.labels, self.canonical)


def _names(value: Any, name: str) -> tuple[Label, ...]:
    """Return different hashable names: those given, or 0, 1, ... for a number."""
    if not isinstance(value, Iterable):
        return tuple(range(check_integer(value, f"{name}, if it is their number,", minimum=1, maximum=1_000_000)))
    found = tuple(value)
    try:
        different = len(set(found))
    except TypeError:
        raise TypeError(f"{name} must be hashable, such as words, numbers or tuples, found {value!r}") from None
    if not found or different < len(found):
        raise ValueError(f"{name} must be different, and one at least, found {value!r}")
    return found


def lines_of(domain: Domain, neutral: Any, given: Eigenvalues, kernel: Any, n: int, reg: float | None) -> Lines:
    """Return the lines of all functions that are named, and of the n others of largest kappa, which have one t.

    ``neutral`` is a law of the domain with T = I: at any reg > 0 the order of its lines is that of kappa.
    """
    named = given.named(domain.canonical)
    chosen = domain.select(neutral, kernel, named)
    above = sum(int(m) for m, t in zip(chosen.multiplicity, named.values(), strict=True) if t > given.rest)
    if reg == 0 and above < n:
        raise ValueError(
            f"without a penalty (reg=0) all functions that are not named are equal, and {above} of those that are "
            f"named have a larger eigenvalue than {given.rest:g}; take n_components={above} at most, or reg > 0"
        )
    whole = domain.lines(neutral, kernel, n + chosen.total, reg=1.0)
    others = whole.at([i for i, label in enumerate(whole.labels) if label not in named])
    return Lines(
        np.concatenate([[*named.values()], np.full(len(others), given.rest)]),
        np.concatenate([chosen.kernel, others.kernel]),
        np.array([*chosen.multiplicity, *others.multiplicity], object),
        [*itertools.chain(chosen.labels, others.labels)],
        whole.spelling,
    )


def select_of(domain: Domain, neutral: Any, given: Eigenvalues, kernel: Any, labels: Iterable[Label]) -> Lines:
    """Return the lines of the given labels, in this order."""
    named = given.named(domain.canonical)
    found = domain.select(neutral, kernel, labels)
    t = np.array([named.get(label, given.rest) for label in found.labels])
    return Lines(t, found.kernel, found.multiplicity, found.labels, found.spelling)
