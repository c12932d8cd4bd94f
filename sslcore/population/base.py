"""Domains, and what all of them share: their lines in lambda, the crossings of these, risks of what they select.

Where T (eigenvalue t) and K (eigenvalue kappa) have common eigenfunctions, so has
T_lambda = (1 - beta) I + beta T - lambda K^-1, with the eigenvalue mu = 1 - beta + beta t - lambda / kappa: a line in
lambda.  A domain (`Domain`) names its eigenfunctions and computes t and kappa; everything else happens here.
"""

from __future__ import annotations

import itertools
import math
import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from ..arrays import Array, as_array, check_scalar
from ..declarations.parameters import Declared
from .lines import (
    TIE,
    CutBlockWarning,
    Label,
    Lines,
    PopulationSpectrum,
    check_components,
    check_numbers,
    first_components,
    ordered,
)

__all__ = ["Crossing", "Domain", "Regime", "risk_of_moments"]


class Crossing(NamedTuple):
    """Two lines that meet: at lambda = ``reg`` both have the value ``eigenvalue``; ``after`` is above beyond it.

    Examples
    --------
    >>> from sslcore.population import Crossing
    >>> Crossing(1.0, 0.5, "augmentation's", "architecture's").reg
    1.0
    """

    reg: float
    eigenvalue: float
    before: Label
    after: Label


class Regime(NamedTuple):
    """An interval of lambda in which the order of the first components does not change.

    ``name`` is "augmentation" for the first (from 0, where T alone decides), "architecture" for the last (up to inf,
    the order of kernel PCA), "interplay" between; "both" if there is one only.

    Examples
    --------
    >>> from sslcore.population import Regime
    >>> Regime("augmentation", 0.0, 1.0, ("a", "b")).labels
    ('a', 'b')
    """

    name: str
    start: float
    stop: float
    labels: tuple[Label, ...]


class Domain(Declared, ABC):
    """A domain with its distribution; subclasses are frozen dataclasses that implement `lines`.

    Beside it they offer ``augmentation_eigenvalues(augmentation)`` and ``kernel_eigenvalues(kernel)``, in a shape and
    with labels of their own, and override `canonical` if several spellings of a label are accepted.

    Examples
    --------
    >>> from dataclasses import dataclass
    >>> from sslcore.population import Domain, Lines
    >>> @dataclass(frozen=True)
    ... class Toy(Domain):  # the picture of three lines in the paper
    ...     def lines(self, augmentation, kernel, n, *, reg=None, beta=1.0):
    ...         return Lines([0.9, 0.75, 0.5], [1 / 0.4, 1 / 0.25, 1 / 0.125], [1, 1, 1], ["f", "g", "h"])
    >>> [(c.reg, c.before, c.after) for c in Toy().crossings(None, None, 1)]
    [(1.0, 'f', 'g'), (2.0, 'g', 'h')]
    >>> [(r.name, r.labels) for r in Toy().regimes(None, None, 1)]
    [('augmentation', ('f',)), ('interplay', ('g',)), ('architecture', ('h',))]
    >>> Toy().spectrum(None, None, reg=1.5, n_components=2).labels
    ('g', 'h')
    """

    @abstractmethod
    def lines(self, augmentation: Any, kernel: Any, n: int, *, reg: float | None = None, beta: float = 1.0) -> Lines:
        """Return at least all lines that can be among the first ``n`` components, counted with multiplicity.

        For ``reg`` given: at that lambda and ``beta``; for None: at any lambda >= 0 and beta >= 0.  Since mu grows
        with t and with kappa, a line above which n components lie in both t and kappa can be left out.  ``kernel``
        is None where only lambda = 0 matters: any kappa will do then.
        """

    def canonical(self, label: Label) -> Label:
        """Return the one spelling of a label; refuse, by a ``ValueError`` or ``TypeError``, what is no label."""
        return label

    def select(self, augmentation: Any, kernel: Any, labels: Iterable[Label]) -> Lines:
        """Return the lines of the given labels, in this order."""
        given = list(labels)
        lines = self.lines(augmentation, kernel, max(1, len(given)))
        wanted = [(lines.spelling or self.canonical)(label) for label in given]
        place = {label: i for i, label in enumerate(lines.labels)}
        missing = [label for label in wanted if label not in place]
        if missing:
            raise ValueError(f"no line has the label {missing[0]!r}; some of those there: {list(place)[:8]}")
        return lines.at([place[label] for label in wanted])

    def spectrum(
        self, augmentation: Any, kernel: Any, *, reg: float, beta: float = 1.0, n_components: int
    ) -> PopulationSpectrum:
        """Return the first eigenvalues of (1 - beta) I + beta T - reg K^-1, with labels, multiplicities, block ends.

        Warns
        -----
        CutBlockWarning
            If ``n_components`` ends inside a degenerate block, which the message names.
        """
        reg, beta = check_numbers(reg, beta)
        k = check_components(n_components)
        found = PopulationSpectrum.of(self.lines(augmentation, kernel, k, reg=reg, beta=beta), k, reg=reg, beta=beta)
        return found if found.spelling is not None else replace(found, spelling=self.canonical)

    def minimum_risk(
        self, augmentation: Any, kernel: Any, n_components: int, *, reg: float = 0.0, beta: float = 1.0
    ) -> float:
        """Return the least penalised risk, k - sum_{i <= k} max(mu_i, 0)^2, of k = ``n_components`` components."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", CutBlockWarning)  # the risk is defined all the same
            spectrum = self.spectrum(augmentation, kernel, reg=reg, beta=beta, n_components=n_components)
        return spectrum.minimum_risk()

    def moments(self, psi: Any, augmentation: Any) -> tuple[np.ndarray, np.ndarray]:
        """Return E psi psi^T and <psi, T psi>, (k, k), of a representation, exactly; some domains refuse."""
        raise TypeError(f"{type(self).__name__} computes no exact risks of representations")

    def risk(self, psi: Any, augmentation: Any, beta: float = 1.0) -> float:
        """Return the exact population risk L(psi; beta) of a representation, without the penalty (see ``moments``)."""
        beta = check_numbers(0.0, beta)[1]
        return risk_of_moments(*self.moments(psi, augmentation), beta)

    def excess_risk(self, psi: Any, augmentation: Any, beta: float = 1.0) -> float:
        """Return L(psi; beta) less its minimum over all functions, k - sum_{i <= k} max(1 - beta + beta t_i, 0)^2."""
        beta = check_numbers(0.0, beta)[1]
        second, smooth = self.moments(psi, augmentation)
        return risk_of_moments(second, smooth, beta) - self.minimum_risk(augmentation, None, len(second), beta=beta)

    def crossings(
        self,
        augmentation: Any,
        kernel: Any,
        n_components: int = 1,
        *,
        labels: Iterable[Label] | None = None,
        beta: float = 1.0,
    ) -> list[Crossing]:
        """List every lambda > 0 at which the order of the first ``n_components`` changes, increasing.

        Two lines cross at lambda = beta (t_i - t_j) / (1/kappa_i - 1/kappa_j): exact, no search.  Listed are the
        crossings that have fewer than ``n_components`` components above them.

        Parameters
        ----------
        augmentation, kernel
        n_components : int
        labels : iterable, optional
            Look at these lines alone.
        beta : float
        """
        beta = check_numbers(0.0, beta)[1]
        k = check_components(n_components)
        return _crossings(self._candidates(augmentation, kernel, k, labels), k, beta)

    def regimes(
        self,
        augmentation: Any,
        kernel: Any,
        n_components: int = 1,
        *,
        labels: Iterable[Label] | None = None,
        beta: float = 1.0,
    ) -> list[Regime]:
        """List the intervals of lambda between the crossings, with the labels of the first components in order.

        Arguments as for `crossings`.
        """
        beta = check_numbers(0.0, beta)[1]
        k = check_components(n_components)
        lines = self._candidates(augmentation, kernel, k, labels)
        k = min(k, lines.total)
        cuts = [0.0, *sorted({c.reg for c in _crossings(lines, k, beta)}), math.inf]
        found = []
        for i, (start, stop) in enumerate(itertools.pairwise(cuts)):
            first, last = i == 0, stop == math.inf
            name = "both" if first and last else "augmentation" if first else "architecture" if last else "interplay"
            middle = (start + stop) / 2 if not last else 2 * start or 1.0
            order, _ = ordered(lines, k, middle, beta)
            chosen = first_components(order, lines.multiplicity, k)
            found.append(Regime(name, start, stop, tuple(lines.labels[int(i)] for i in chosen)))
        return found

    def _candidates(self, augmentation: Any, kernel: Any, k: int, labels: Iterable[Label] | None) -> Lines:
        if labels is not None:
            return self.select(augmentation, kernel, labels)
        return _undominated(self.lines(augmentation, kernel, k), k)


def risk_of_moments(second: np.ndarray, smooth: np.ndarray, beta: float) -> float:
    """Return the population risk L(psi; beta) from M = E psi psi^T and M_T = <psi, T psi>, both (k, k).

    E||psi(xi) - psi(xi')||^2 = 2 tr(M - M_T), since two views of one sample have E psi(xi) psi(xi')^T = M_T; hence
    L = 2 beta tr(M - M_T) + ||M - I||_F^2 (Cabannes et al. 2023, section 2).

    Examples
    --------
    >>> import numpy as np
    >>> from sslcore.population import risk_of_moments
    >>> mu = np.array([0.9, 0.5])  # the minimiser of T = diag(mu): L = k - sum mu^2
    >>> round(risk_of_moments(np.diag(mu), np.diag(mu * mu), 1.0), 12), 2 - 0.9**2 - 0.5**2
    (0.94, 0.94)
    """
    beta = check_scalar(beta, "beta", minimum=0.0)
    second = as_array(second, "second", ndim=2, shape_hint="(k, k)").astype(np.float64)
    smooth = as_array(smooth, "smooth", ndim=2, shape_hint="(k, k)").astype(np.float64)
    if not second.shape == smooth.shape == (len(second),) * 2:
        raise ValueError(f"second and smooth must both have shape (k, k), found {second.shape} and {smooth.shape}")
    return float(2 * beta * np.trace(second - smooth) + ((second - np.eye(len(second))) ** 2).sum())


# ---------------------------------------------------------------- order


def _undominated(lines: Lines, k: int) -> Lines:
    """Keep the lines with fewer than k components above them in both t and kappa; others never are among the first k.

    Lines of equal (t, kappa) are all kept, or none.
    """
    order = np.lexsort((-lines.kernel, -lines.augmentation))
    ranks = np.unique(-lines.kernel, return_inverse=True)[1]  # 0: the largest kappa
    tree = [0] * (int(ranks.max(initial=0)) + 2)  # multiplicities by rank of kappa (Fenwick), capped at k

    def above(rank: int) -> int:
        total, i = 0, rank + 1
        while i > 0:
            total += tree[i]
            i -= i & -i
        return total

    t, kappa = lines.augmentation[order], lines.kernel[order]
    starts = np.flatnonzero(np.r_[True, (np.diff(t) != 0) | (np.diff(kappa) != 0)][: len(order)])
    keep: list[np.ndarray] = []
    for start, stop in itertools.pairwise([*starts.tolist(), len(order)]):
        group = order[start:stop]
        rank = int(ranks[group[0]])
        if above(rank) < k:
            keep.append(group)
            i, added = rank + 1, min(k, int(lines.multiplicity[group].sum()))
            while i < len(tree):
                tree[i] += added
                i += i & -i
    kept = np.sort(np.concatenate(keep)) if keep else order
    return lines.at(kept)


def _crossings(lines: Lines, k: int, beta: float) -> list[Crossing]:
    inverse = np.full(len(lines), math.inf)
    inside = lines.kernel > 0
    inverse[inside] = 1.0 / lines.kernel[inside]
    # one line for each (t, kappa): equal ones never cross
    points, first, groups = np.unique(
        np.stack([lines.augmentation, inverse], axis=1)[inside], axis=0, return_index=True, return_inverse=True
    )
    names = np.flatnonzero(inside)[first]
    counts = np.zeros(len(points))
    np.add.at(counts, groups.ravel(), np.minimum(lines.multiplicity[inside], k).astype(np.float64))
    t, slope = points[:, 0], points[:, 1]
    found: list[tuple[float, float, int, int]] = []
    for i in range(len(points)):
        # i is above for small lambda (larger t), j after the crossing (smaller slope)
        others = np.flatnonzero((t < t[i]) & (slope < slope[i]))
        at = beta * (t[i] - t[others]) / (slope[i] - slope[others])
        value = (1.0 - beta) + beta * t[i] - at * slope[i]
        for start in range(0, len(others), 512):  # blocks: (crossings, lines) values at a time
            part = slice(start, start + 512)
            mu = (1.0 - beta) + beta * t - at[part, None] * slope
            scale = abs(1.0 - beta) + beta * np.abs(t) + at[part, None] * slope
            higher = ((mu - value[part, None] > TIE * np.maximum(scale, at[part, None] * slope[i])) * counts).sum(
                axis=1
            )
            for c in np.flatnonzero(higher < k) + start:
                if at[c] > 0:
                    found.append((float(at[c]), float(value[c]), i, int(others[c])))
    found.sort()
    return [Crossing(reg, mu, lines.labels[int(names[i])], lines.labels[int(names[j])]) for reg, mu, i, j in found]


def functions_of_classes(
    labels: Sequence[Label], basis: Callable[[Label], Callable[[Array], Array]]
) -> Callable[[Array], Array]:
    """Make the function x -> (n, k) whose columns are, for each label, the next function of ``basis(label)``."""
    order = {label: [i for i, other in enumerate(labels) if other == label] for label in labels}
    parts = [(places, basis(label)) for label, places in order.items()]

    def function(x: Array) -> Array:
        values = [(places, part(x)) for places, part in parts]
        out = np.empty((len(values[0][1]), len(labels)))
        for places, columns in values:
            out[:, places] = columns[:, : len(places)]
        return out

    return function
