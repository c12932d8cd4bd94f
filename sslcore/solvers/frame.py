"""Units of features in which their moments show what varies, however far their mean is."""

from __future__ import annotations

import math
from dataclasses import dataclass

from ..arrays import Array, namespace

__all__ = ["Frame"]


@dataclass(frozen=True)
class Frame:
    """Features phi in units of their ``scale`` D, reflected so that their mean has one coordinate, ``pivot``.

    The coordinates of coefficients c are H D c, H = I - 2 v v^T for the unit ``normal`` v; moments M become
    H D^-1 M D^-1 H, and the norm |c|^2 has the matrix ``norm`` = H D^-2 H.
    """

    scale: Array
    normal: Array
    pivot: int
    norm: Array

    @classmethod
    def of(cls, mean: Array, scale: Array) -> Frame:
        """Make the frame in which ``mean``, in units of ``scale``, is a multiple of one coordinate."""
        xp, size = namespace(mean), float((mean**2).sum() ** 0.5)
        pivot = int(abs(mean).argmax())
        normal = mean / size
        normal[pivot] += math.copysign(1.0, float(normal[pivot]))
        normal /= float((normal**2).sum() ** 0.5)
        frame = cls(scale, normal, pivot, scale)  # whose norm is not yet known
        # H D^-2 H, as the two-sided reflection of a diagonal matrix
        return cls(scale, normal, pivot, frame._reflected(xp.diag(scale**-2.0)))

    def _reflected(self, matrix: Array) -> Array:
        """Return H M H of a symmetric matrix, which is overwritten."""
        v = self.normal
        image = 2.0 * (matrix @ v)
        image = image - v * float(v @ image)
        update = v[:, None] * image
        matrix -= update
        matrix -= update.T
        return matrix

    def turned(self, matrix: Array) -> Array:
        """Return H D^-1 M D^-1 H."""
        return self._reflected(matrix / self.scale[:, None] / self.scale)

    def _reflect(self, columns: Array) -> Array:
        out: Array = columns - (2.0 * self.normal)[:, None] * (self.normal @ columns)
        return out

    def coordinates(self, coefficients: Array) -> Array:
        """Return H D c."""
        return self._reflect(self.scale[:, None] * coefficients)

    def coefficients(self, coordinates: Array) -> Array:
        """Invert `coordinates`: return D^-1 H times them."""
        return self._reflect(coordinates) / self.scale[:, None]

    def moments(self, columns: Array) -> Array:
        """Return D H times ``columns``, a moment times coordinates: as those of the features."""
        return self.scale[:, None] * self._reflect(columns)
