"""Is a representation alive?  Spectra, invariances, and a report in words.

Everything is **centred**: a component that is the same for all samples tells nothing about them, however large it is,
and an uncentred spectrum counts it (the first eigenfunction of an uncentred fit is nearly constant).  All functions
take a `sslcore.Representation` or any embedding, (n, k) or (n, m, k) with m views of each of n samples, of NumPy, CuPy
or a library with DLPack; those that need second moments only take `sslcore.Moments` too.  Sums are accumulated in
float64 by blocks, and what comes back are the host's numbers.
"""

from ._collapse import CollapseReport, collapse_report
from ._neighbors import clid, cluster_learnability, intrinsic_dimension
from ._spectra import alpha_req, effective_dimension, invariance, lidar, rankme

__all__ = [
    "CollapseReport",
    "alpha_req",
    "clid",
    "cluster_learnability",
    "collapse_report",
    "effective_dimension",
    "intrinsic_dimension",
    "invariance",
    "lidar",
    "rankme",
]
