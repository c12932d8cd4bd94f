"""The exact limit of n times the excess risk at a fixed reg, for n samples of m views: A + B / m + C / (m (m - 1)).

In coefficients c (k, 2^d) on the parities, the penalised empirical risk is |c S c^T - I|_F^2 + 2 beta tr c D c^T +
2 reg tr c diag(1 / nu) c^T, with the means over samples of S_i, all products of parities at one view, averaged over m
views, and of D_i, which is S_i less the products at two different views, averaged over the m (m - 1) pairs.  The
population's minimum is at the largest mu_S = 1 - beta (1 - t_S) - reg / nu_S: c_S = sqrt(mu_S) on the first k sets.  A
small change (E, F) of the means of (S, D) moves the gradient there by 4 sqrt(mu_i) X_iS with

    X_iS = (mu_i + [S is one of the first k] mu_S - 1) E_iS + beta F_iS,

and the second derivatives at the minimum make this an excess risk of sum_i sum_S w_iS X_iS^2, where w_iS = 1 inside the
first k sets (rotations of the components cost nothing) and 2 mu_i / (mu_i - mu_S) for all others.  X is a mean over
n independent samples: n times its variance is that of one sample.

One sample is x times random signs f, and so its share of X_iS is chi_R(x), R the symmetric difference of S_i and S,
times a mean over pairs of views of h(f_a, f_b), which does not know x.  With h = theta + h_1(f_a) + h_1(f_b) +
h_2(f_a, f_b), the parts uncorrelated (Hoeffding 1948), the second moment is

    theta^2 + 4 Var h_1 / m + 2 Var h_2 / (m (m - 1)),

without theta^2 where S_i = S, as chi_R(x) is 1 there.  At a fixed number N = n m of views the excess is
(A m + B + C / (m - 1)) / N: least at m = 1 + sqrt(C / A), whatever B is.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from ..arrays import Array

__all__ = ["Limit", "limit"]


@dataclass(frozen=True)
class Limit:
    """The law n times excess risk = A + B / m + C / (m (m - 1)).

    Attributes
    ----------
    samples : float
        A: the part that more views do not lower.
    views : float
        B: what depends on single views.
    pairs : float
        C: what depends on pairs of views.
    """

    samples: float
    views: float
    pairs: float

    def at(self, m: float | Array) -> float | Array:
        """Return n times the excess risk with m views of each sample."""
        return self.samples + self.views / m + self.pairs / (m * (m - 1))

    @property
    def best_views(self) -> float:
        """The m, not rounded, of least excess at a fixed number n m of views."""
        return 1.0 + math.sqrt(self.pairs / self.samples)


def limit(nu: Array, flip: float, reg: float, k: int, beta: float = 1.0) -> Limit:
    """Return the law for scaled parities, k components, unbiased and not centred (see the module's docstring).

    Parameters
    ----------
    nu : array (2^d,)
        The kernel's eigenvalues by the masks of the sets, > 0.
    flip : float
        Probability with which the augmentation flips each sign.
    reg, beta : float
    k : int
        All of these components must be active, and the eigenvalue after them smaller than the last.

    Raises
    ------
    ValueError
        If some component is not active or the last one is not told from the next: then there is no such law.

    Examples
    --------
    >>> import numpy as np
    >>> from sslcore.studies._rates_limit import limit
    >>> found = limit(np.array([0.7, 0.2, 0.2, 0.1]), flip=0.1, reg=1e-3, k=3)
    >>> round(found.best_views, 2), bool(found.at(2) > found.at(3) > found.samples)
    (2.91, True)
    """
    sets = np.arange(len(nu))
    power = (1.0 - 2.0 * flip) ** np.bitwise_count(sets.astype(np.uint32))  # E chi_S(f)
    mu = 1.0 - beta * (1.0 - power**2) - reg / nu
    order = np.argsort(-mu, kind="stable")
    first, after = order[:k], mu[order[k]] if k < len(nu) else -np.inf
    last = mu[first[-1]]
    if not (last > 0 and last - after > 1e-9):
        raise ValueError(
            f"the law needs {k} active components and a gap after them: mu = {last:.3g}, the next one {after:.3g}"
        )
    inside = np.isin(sets, first)
    found = np.zeros(3)
    for i in first:
        weight = np.where(inside, 1.0, 2.0 * mu[i] / (mu[i] - np.where(inside, -1.0, mu)))
        both = sets ^ i
        single = mu[i] + np.where(inside, mu, 0.0) - 1.0 + beta  # of S_i; D_i has the pairs with -beta
        one, other, joint = power[i], power, power[both]
        theta = np.where(both == 0, 0.0, single * joint - beta * one * other)
        # of h_1 = (single chi_R - beta (E chi_S chi_i + E chi_i chi_S)) / 2: variances and covariances of parities
        parts = np.stack([single, np.full(len(nu), -beta) * other, np.full(len(nu), -beta * one)]) / 2.0
        cov = np.empty((3, 3, len(nu)))
        for a, p in enumerate((joint, one + 0 * other, other)):
            cov[a, a] = 1.0 - p**2
        cov[0, 1] = cov[1, 0] = other - joint * one
        cov[0, 2] = cov[2, 0] = one - joint * other
        cov[1, 2] = cov[2, 1] = joint - one * other
        pairs = beta**2 * (cov[1, 1] * cov[2, 2] + cov[1, 2] ** 2)
        terms = theta**2, 4.0 * np.einsum("as,abs,bs->s", parts, cov, parts), pairs
        found += [float((weight * term).sum()) for term in terms]
    return Limit(*map(float, found))
