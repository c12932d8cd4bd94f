"""Laws for points of any space and for the hypercube."""

from __future__ import annotations

from dataclasses import dataclass

from ..declarations.parameters import boolean, converted, integer, nonnegative, probability
from ._base import Augmentation, Stage, _check_law, _thresholds

__all__ = ["BitFlip", "Crop", "GaussianNoise", "Resample", "Reversal", "Shift", "SignFlip"]


# ---------------------------------------------------------------- vectors


@dataclass(frozen=True)
class GaussianNoise(Augmentation):
    """Additive Gaussian noise, ``xi = x + scale z`` with ``z ~ N(0, I)``.

    On the torus, the operator ``A f(x) = E[f(xi) | x]`` has the eigenvalue ``exp(-2 pi^2 scale^2 |w|^2)`` on
    the Fourier function w; under ``x ~ N(0, s^2 I)``, T has ``(s^2 / (s^2 + scale^2))^l`` on the Hermite functions of
    degree l.  Normals are computed in float64, the sum is rounded once to the type of x.

    Parameters
    ----------
    scale : float
        Standard deviation; >= 0.

    References
    ----------
    Cabannes et al., *The SSL Interplay*, ICML 2023, arXiv:2302.02774.

    Examples
    --------
    >>> import numpy as np
    >>> from sslcore.augmentations import GaussianNoise
    >>> x = np.zeros((1000, 2))
    >>> noise = GaussianNoise(0.5).views(x, 3, seed=0)
    >>> noise.shape, bool(abs(noise.std() - 0.5) < 0.02)
    ((1000, 3, 2), True)
    """

    scale: float = nonnegative("standard deviation")

    def stages(self) -> tuple[Stage, ...]:
        return (Stage("add_normals", (self.scale,)),)


@dataclass(frozen=True)
class BitFlip(Augmentation):
    """Independent sign flips: ``xi_j = -x_j`` with probability p, else ``x_j``.

    On {-1, 1}^d, ``A chi_S = (1 - 2p)^|S| chi_S`` on the parities ``chi_S(x) = prod_{j in S} x_j``.

    Parameters
    ----------
    p : float
        Probability of each flip, used to 2^-33; in [0, 1].

    References
    ----------
    Cabannes et al., *The SSL Interplay*, ICML 2023, arXiv:2302.02774.

    Examples
    --------
    >>> import numpy as np
    >>> from sslcore.augmentations import BitFlip
    >>> xi = BitFlip(0.2).views(np.ones((1000, 8)), 2, seed=0)
    >>> bool(abs(xi.mean() - (1 - 2 * 0.2)) < 0.03)
    True
    """

    p: float = probability("probability of each flip, used to 2^-33")

    def stages(self) -> tuple[Stage, ...]:
        return (Stage("flip_signs", (round(self.p * 2**32),)),)


@dataclass(frozen=True)
class Resample(Augmentation):
    """Independent resampling: ``xi_j`` uniform on {-1, 1} with probability p, else ``x_j``.

    On {-1, 1}^d this masks information, ``A chi_S = (1 - p)^|S| chi_S``: the law of ``BitFlip(p / 2)``.
    The word of a coordinate decides: it is drawn anew if bits 1 to 31 are less than ``round(2^31 p)``, and bit 0
    is its sign then (set: -1).

    Parameters
    ----------
    p : float
        Probability for each coordinate, used to 2^-32; in [0, 1].

    References
    ----------
    Cabannes et al., *The SSL Interplay*, ICML 2023, arXiv:2302.02774.

    Examples
    --------
    >>> import numpy as np
    >>> from sslcore.augmentations import Resample
    >>> xi = Resample(0.4).views(np.ones((1000, 8)), 2, seed=0)
    >>> bool(abs(xi.mean() - (1 - 0.4)) < 0.03)
    True
    """

    p: float = probability("probability for each coordinate, used to 2^-32")

    def stages(self) -> tuple[Stage, ...]:
        return (Stage("resample_signs", (round(self.p * 2**31),)),)


@dataclass(frozen=True)
class Crop(Augmentation):
    """A window of ``width`` neighbouring coordinates is kept; the others are uniform on {-1, 1}.

    The window begins at a coordinate that is uniform on {0, ..., d - 1} and wraps around (cyclic), or on
    {0, ..., d - width} (not cyclic).  On {-1, 1}^d, A has on the parity ``chi_S`` the eigenvalue

        ``sum_i max(g_i - (d - width), 0) / d``   (cyclic; the gaps g_i between cyclic neighbours of S sum to d),

        ``max(0, min(min S, d - width) - max(max S - width + 1, 0) + 1) / (d - width + 1)``   (not cyclic),

    the share of the windows that contain S; and 1 for the empty S.  Of the word of a coordinate, bit 0 is the sign
    (set: -1); bits 1 to 31 of the first one, v, choose the start ``floor(v s / 2^31)`` among the s possible ones.

    Parameters
    ----------
    width : int
        Number of coordinates that are kept; >= 1.  At most d.
    cyclic : bool, default True
        Whether windows wrap around.

    References
    ----------
    Cabannes et al., *The SSL Interplay*, ICML 2023, arXiv:2302.02774 (crops, for windows no wider than half the
    coordinates; the counts above are exact for all).

    Examples
    --------
    >>> import numpy as np
    >>> from sslcore.augmentations import Crop
    >>> xi = Crop(3, cyclic=False).views(np.full((2000, 4), 7.0), 2, seed=0)
    >>> np.unique((xi == 7).sum(axis=-1)), bool(abs((xi[..., 0] == 7).mean() - 1 / 2) < 0.05)
    (array([3]), True)
    """

    width: int = integer("number of coordinates that are kept", minimum=1)
    cyclic: bool = boolean("whether windows wrap around", default=True)

    def stages(self) -> tuple[Stage, ...]:
        return (Stage("keep_window", (self.width, int(self.cyclic))),)

    def _check_coordinates(self, d: int) -> None:
        if self.width > d:
            raise ValueError(f"{self!r} keeps {self.width} coordinates, found samples of {d}; take a width <= {d}")


@dataclass(frozen=True, repr=False)
class Shift(Augmentation):
    """Cyclic shift of the coordinates: ``xi_j = x_(j - a mod d)``, a random with ``P(a) = law[a]``.

    On {-1, 1}^d, let the translates ``chi_(S + t)`` of a parity be r different ones: A has the eigenvalue
    ``sum_a law[a] exp(-2 pi i a j / r)`` on their Fourier sum ``sum_t exp(-2 pi i j t / r) chi_(S + t)``,
    ``0 <= j < r``.

    Parameters
    ----------
    law : sequence of float
        The probabilities of the shifts 0, 1, ..., used to 2^-32.  At most d, later ones are 0.  A shift by -1 is
        one by d - 1.  They must sum to 1 within 1e-6, and are divided by their sum.

    References
    ----------
    Cabannes et al., *The SSL Interplay*, ICML 2023, arXiv:2302.02774.

    Examples
    --------
    >>> import numpy as np
    >>> from sslcore.augmentations import Shift
    >>> Shift([0, 1]).views([[1.0, 2.0, 3.0]], 1, seed=0)
    array([[[3., 1., 2.]]])
    >>> both_ways = Shift([1/3, 1/3, 0, 0, 1/3])  # by -1, 0 or 1, of five coordinates
    >>> np.unique(both_ways.views(np.tile(np.eye(5)[2], (100, 1)), 1, seed=0).argmax(axis=-1))
    array([1, 2, 3])
    """

    law: tuple[float, ...] = converted("the probabilities of the shifts 0, 1, ..., used to 2^-32", _check_law)

    def stages(self) -> tuple[Stage, ...]:
        return (Stage("roll", (_thresholds(self.law),)),)

    def _check_coordinates(self, d: int) -> None:
        if len(self.law) > d:
            raise ValueError(
                f"the law of Shift has {len(self.law)} shifts, 0 to {len(self.law) - 1}, found samples of {d} "
                f"coordinates, which have {d}; add up the probabilities of shifts that differ by {d}"
            )


@dataclass(frozen=True)
class Reversal(Augmentation):
    """Reversal of the coordinates, ``xi_j = x_(d - 1 - j)``, all of them with probability p, else ``xi = x``.

    A has the eigenvalue 1 on functions that are even under reversal, such as ``chi_S + chi_S'`` on {-1, 1}^d with
    S' = {d - 1 - j: j in S}, and ``1 - 2p`` on the odd ones, such as ``chi_S - chi_S'``.

    Parameters
    ----------
    p : float
        Probability of the reversal, used to 2^-33; in [0, 1].

    References
    ----------
    Cabannes et al., *The SSL Interplay*, ICML 2023, arXiv:2302.02774.

    Examples
    --------
    >>> from sslcore.augmentations import Reversal
    >>> Reversal(1).views([[1.0, 2.0, 3.0]], 1, seed=0)
    array([[[3., 2., 1.]]])
    """

    p: float = probability("probability of the reversal, used to 2^-33")

    def stages(self) -> tuple[Stage, ...]:
        return (Stage("reverse", (round(self.p * 2**32),)),)


@dataclass(frozen=True)
class SignFlip(Augmentation):
    """Sign flip of all coordinates at once: ``xi = -x`` with probability p, else ``x``.

    A has the eigenvalue 1 on even functions, ``chi_S`` with even ``|S|`` on {-1, 1}^d, and ``1 - 2p`` on odd ones.

    Parameters
    ----------
    p : float
        Probability of the flip, used to 2^-33; in [0, 1].

    References
    ----------
    Cabannes et al., *The SSL Interplay*, ICML 2023, arXiv:2302.02774.

    Examples
    --------
    >>> from sslcore.augmentations import SignFlip
    >>> SignFlip(1).views([[1.0, -2.0]], 1, seed=0)
    array([[[-1.,  2.]]])
    """

    p: float = probability("probability of the flip, used to 2^-33")

    def stages(self) -> tuple[Stage, ...]:
        return (Stage("flip_all_signs", (round(self.p * 2**32),)),)
