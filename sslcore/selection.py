r"""``reg="auto"``: the lambda whose representation has the least risk on samples that it has not seen; no labels.

For a fixed representation and fresh samples, the unbiased estimate L_U of the risk (`sslcore.risk.vicreg`) has the
population's risk L(psi; beta) as its expectation.  So some samples are held out, with all of their views; the
representation is fitted to the others for each lambda of a grid; and the lambda of least L_U on those held out is taken
(where that is flat, to 1e-4 k, the largest).  This compares lambdas at one beta and one k only: L grows with beta, and
changes with k, whatever the data.

Held-out samples i with weights p_i (their sum W), second moments C_i and mean squared distances I_i of their views:

    L_U = beta (1/W) sum_i p_i I_i + sum_{i != j} p_i p_j <C_i, C_j> / sum_{i != j} p_i p_j - (2/W) tr S + k,

S = sum_i p_i C_i; for equal weights and numbers of views, `sslcore.risk.vicreg` with ``unbiased=True``.  (For a biased
fit I_i is the biased one: its problem is that at a smaller beta.)  Sums over pairs are accumulated as such: ||S||^2
less its diagonal terms would cancel where one sample has most of the weight.  Each sum is kept in groups of samples:
leaving them out in turn (the grouped jackknife; Efron and Tibshirani 1993, chapter 11) gives the standard error in one
pass.

What does not depend on lambda is done once: a kernel's Gram matrix of the training part, rotated, and its values
between held-out and training views; of features one pass for the moments of every fold, whose sums are those of all
training parts and of the final fit, and one for the risks.  With a kernel and six values or more, in float64, functions
are iterated until the risk is known to some 1e-6 of the larger of k and the risk, without a certificate.  The fit at
the lambda that is chosen is as accurate as any.
"""

from __future__ import annotations

from .fitting.search import AutoReg
from .solvers.selection import Selection

__all__ = ["AutoReg", "Selection"]
