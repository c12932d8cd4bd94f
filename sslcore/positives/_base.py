"""The class that every law of positive pairs is, and mixtures of them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np

from ..arrays import check_boolean, check_scalar
from ..declarations.parameters import Declared, converted
from ..declarations.registries import register
from ._law import Law

__all__ = ["Mixture", "Positives", "registry"]

registry: dict[str, type[Positives]] = {}
"""Every law by its name; tests iterate over it."""


class Positives(Declared, ABC):
    """A law of positive pairs, which becomes one of given points by :meth:`law`.

    Subclasses are frozen dataclasses.

    Examples
    --------
    >>> import numpy as np
    >>> from sslcore.positives import Labels, Positives, TimeLag
    >>> both = 0.5 * TimeLag(1) + 0.5 * Labels([0, 1, 0])
    >>> isinstance(both, Positives), both.law(np.zeros((3, 2))).weight
    (True, array([0.25, 0.5 , 0.25]))
    """

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if not cls.__name__.startswith("_"):
            register(registry, cls, home=__package__ or "")

    def law(self, x: Any, *, unbiased: bool = True) -> Law:
        """Make the law on the points x (N, d).

        Parameters
        ----------
        x : array (N, d)
            Most laws only count them.
        unbiased : bool
            `Groups` alone takes notice: False adds the pairs of each point with itself.

        Returns
        -------
        Law

        Raises
        ------
        ValueError
            What was declared does not fit N points.
        """
        return self._law(x, check_boolean(unbiased, "unbiased"))

    @abstractmethod
    def _law(self, x: Any, unbiased: bool) -> Law:
        """Make the law on the points x (N, d): what `law` asks a subclass for."""

    def __add__(self, other: Any) -> Mixture:
        return NotImplemented if not isinstance(other, Positives) else Mixture(self._terms() + other._terms())

    def __mul__(self, factor: Any) -> Mixture:
        if isinstance(factor, Positives):
            return NotImplemented
        factor = check_scalar(factor, "the weight of a law")
        return Mixture(tuple((factor * weight, part) for weight, part in self._terms()))

    __rmul__ = __mul__

    def __radd__(self, other: Any) -> Positives:
        """Let ``sum(laws)``, which begins at 0, be their sum."""
        return self if type(other) is int and other == 0 else NotImplemented

    def __truediv__(self, divisor: Any) -> Mixture:
        if isinstance(divisor, Positives):
            return NotImplemented
        divisor = check_scalar(divisor, "what a law is divided by")
        if divisor == 0:
            raise ZeroDivisionError("what a law is divided by must not be 0")
        return Mixture(tuple((weight / divisor, part) for weight, part in self._terms()))

    def __neg__(self) -> Mixture:
        return -1.0 * self

    def __sub__(self, other: Any) -> Mixture:
        """Only of operators: the weights of laws of pairs must be >= 0, which `law` says."""
        return self + -other if isinstance(other, Positives) else NotImplemented

    def _terms(self) -> tuple[tuple[float, Positives], ...]:
        return ((1.0, self),)

    @property
    def of_points(self) -> bool:
        """Whether the pairs depend on where the points lie, and not only on how many there are."""
        return any(part._by_distance for _, part in self._terms())

    _by_distance: ClassVar[bool] = False


def _as_terms(value: Any, name: str) -> tuple[tuple[float, Positives], ...]:
    try:
        terms = tuple((check_scalar(weight, f"a weight in {name}"), part) for weight, part in value)
    except TypeError as error:
        raise TypeError(f"{name} must be pairs (weight, law of positive pairs), found {value!r:.80}") from error
    wrong = [part for _, part in terms if not isinstance(part, Positives)]
    if wrong or not terms:
        raise TypeError(f"{name} must be pairs (weight, law of positive pairs), found {value!r:.80}")
    return terms


@dataclass(frozen=True, eq=False, repr=False)
class Mixture(Positives):
    r"""A sum of laws with weights, as ``+`` and ``*`` make it.

    Of laws of pairs P = sum_k w_k P_k / sum_k w_k: pairs are drawn from the k-th law with probability w_k / sum w, so
    that w_k >= 0.  With an `Operator` among the parts, T = sum_k w_k T_k; weights may have any sign, are taken as they
    are, and all parts must have one measure.

    Parameters
    ----------
    terms : tuple of (float, Positives)

    Examples
    --------
    >>> from sslcore.positives import Labels, Groups
    >>> 0.7 * Labels([0, 0, 1]) + 0.3 * Groups([0, 1, 1])
    0.7 * Labels(y=array([0, 0, 1]), by='pair') + 0.3 * Groups(groups=array([0, 1, 1]))
    """

    terms: Any = converted("pairs (weight, law of positive pairs)", _as_terms, bad=(None, 1, [(1.0, 2.0)], []))

    def __repr__(self) -> str:
        return " + ".join(f"{weight:g} * {part!r}" if weight != 1 else repr(part) for weight, part in self.terms)

    def _terms(self) -> tuple[tuple[float, Positives], ...]:
        out: tuple[tuple[float, Positives], ...] = self.terms
        return out

    def _law(self, x: Any, unbiased: bool) -> Law:
        weights = [weight for weight, _ in self.terms]
        laws = [part.law(x, unbiased=unbiased) for _, part in self.terms]
        n = laws[0].n_points
        if any(law.matrix is not None for law in laws):
            return _sum_of_operators(weights, laws)
        if min(weights) < 0 or max(weights) == 0:
            raise ValueError(
                f"weights of laws of pairs must be >= 0, not all 0, found {weights}; only an Operator may be subtracted"
            )
        unit = max(weights)  # far from overflow, and from subnormal numbers
        weights = [weight / unit for weight in weights]
        ends: list[list[np.ndarray]] = [[], [], []]
        for weight, law in zip(weights, laws, strict=True):
            itself = law.itself
            alone = np.flatnonzero(itself)
            ends[0] += [law.first, alone]
            ends[1] += [law.second, alone]
            ends[2] += [weight * law.weight, weight * itself[alone]]
        i, j, w = (np.concatenate(part) for part in ends)
        share = sum(weights)
        total = sum(weight * law.total for weight, law in zip(weights, laws, strict=True)) / share
        return replace(Law.of_pairs(i, j, w, n), total=total, order=max(law.order for law in laws))


def _sum_of_operators(weights: list[float], laws: list[Law]) -> Law:
    """Add matrices of one measure."""
    measure = laws[0].measure
    for law in laws[1:]:
        apart = float(np.abs(law.measure - measure).max())
        if apart > 1e-10 * float(measure.max()):
            raise ValueError(
                f"laws that are added to an Operator must have its measure, found measures that differ by {apart:.3g}; "
                f"give Operator(T, measure=...) that of the pairs"
            )
    total = sum(weight * law.operator() for weight, law in zip(weights, laws, strict=True))
    none = np.zeros(0, np.int64)
    return Law(measure, none, none, np.zeros(0), np.asarray(total))
