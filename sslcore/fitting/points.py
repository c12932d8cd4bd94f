"""The checks of points that all problems of a kernel share."""

from __future__ import annotations

from .. import tunables
from ..arrays import Array
from ..backends import Backend
from ..kernels import Kernel, Precomputed

__all__ = ["refuse_constant", "require_symmetric"]


def refuse_constant(points: Array, what: str = "the data are constant: all views are") -> None:
    """Refuse points that are all the same."""
    if bool((points[0] == points[-1]).all()) and bool((points == points[0]).all()):
        raise ValueError(f"{what} the same point, and there is nothing to represent")


def require_symmetric(kernel: Kernel, points: Array, backend: Backend) -> None:
    """Refuse what is not symmetric: the solver reads each pair once, and would not see it."""
    if not isinstance(kernel, Precomputed):
        some = points[:: max(1, len(points) // 64)]
        values = kernel(some, some.copy())
        matrices = [(values, values.T)]
    else:
        step = max(1, tunables.SYMMETRY_BLOCK_ENTRIES // len(points))
        matrices = [(points[s : s + step], points[:, s : s + step].T) for s in range(0, len(points), step)]
    for rows, columns in matrices:
        error = float(backend.xp.abs(rows - columns).max())
        size = float(backend.xp.abs(rows).max())
        if error > 1e3 * float(backend.xp.finfo(points.dtype).eps) * size:
            raise ValueError(
                f"the kernel matrix must be symmetric, found entries that differ from their mirror by {error:.3g}"
            )
