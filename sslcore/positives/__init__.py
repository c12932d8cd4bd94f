r"""Laws of positive pairs, as values: which points belong together, and so what T is.

Groups of views are one case.  In general T is self-adjoint on the functions on N points x_1..x_N with a measure p:

* A **law of pairs** has joint weights P_ij = P_ji >= 0 with sum 1 and the measure p_i = sum_j P_ij.  Then
  (T f)(i) = sum_j (P_ij / p_i) f(j), |T| <= 1, and <f, (I - T) f>_p = (1/2) sum_ij P_ij (f_i - f_j)^2.
* Any other self-adjoint T is given as a matrix, `Operator`.

Laws add and scale: ``0.7 * Labels(y) + 0.3 * Groups(g)`` draws its pairs from the first law with probability 0.7, and
``sum(laws) / 2`` is one too.  They are what ``sslcore.pretrain(x, model, k, reg=..., positives=...)`` takes with points
x (N, d), each stored once.
(T of groups: Cabannes et al. 2023, arXiv:2302.02774, section 2; the rest is ours.)
"""

from __future__ import annotations

# the registry lists laws in this order
# isort: off
from ._base import Mixture, Positives, registry
from ._law import Law
from ._pairs import Groups, Labels, Neighbors, Pairs, TimeLag
from ._operator import Operator

# isort: on

__all__ = [
    "Groups",
    "Labels",
    "Law",
    "Mixture",
    "Neighbors",
    "Operator",
    "Pairs",
    "Positives",
    "TimeLag",
    "registry",
]
