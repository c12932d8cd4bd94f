r"""`pretrain_path`: the spectrum as reg and beta change, and what rules it where.

Every eigenvalue splits as mu = 1 - beta invariance - reg norm, and its slopes are d mu/d reg = -norm and
d mu/d beta = -invariance (Hellmann and Feynman: the eigenfunctions are stationary).  As reg grows the spectrum passes
from what the augmentations prefer to what the kernel prefers, and the order of the components changes on the way
(Cabannes, Kiani, Balestriero, LeCun, Bietti 2023, section 3).  On data T and K do not commute, so that two eigenvalues
that meet repel each other, and their functions, with their slopes, are exchanged: an avoided crossing.

What does not depend on reg and beta is worked out once: the Gram matrix in the basis of means and contrasts (a kernel),
or the moments and the eigenbasis of Delta, in which every penalty is diagonal (features).
"""

from __future__ import annotations

from .fitting.path import AvoidedCrossing, Path, pretrain_path

__all__ = ["AvoidedCrossing", "Path", "pretrain_path"]
