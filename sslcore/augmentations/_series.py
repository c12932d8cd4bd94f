"""Laws of series: samples (channels, time), flattened, or (time,)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from ..declarations.parameters import integer, nonnegative, real
from ._base import Augmentation, Stage

__all__ = ["Jitter", "MagnitudeWarp", "Scaling", "TimeWarp", "Window"]


def _channels() -> Any:
    return integer("number of channels, each of d / channels values one after the other in time", minimum=1, default=1)


def _knots() -> Any:
    return integer("number of knots between the ends", minimum=0, maximum=60, default=4)


class _OnSeries(Augmentation):
    """Samples are series (channels, time), flattened in C order."""

    channels: int

    def _takes(self, shape: tuple[int, ...]) -> bool:
        return len(shape) == 2 and shape[0] == self.channels

    def _check_coordinates(self, d: int) -> None:
        if d % self.channels:
            raise ValueError(
                f"{self!r} takes series of {self.channels} channels, so the number of coordinates must be a multiple "
                f"of {self.channels}, found {d}; give x of shape (n, channels, time), and channels= as there"
            )


@dataclass(frozen=True)
class Jitter(_OnSeries):
    """Noise relative to the spread of each channel: ``xi_c(t) = x_c(t) + scale s_c z_c(t)``, ``z ~ N(0, 1)``.

    s_c is the standard deviation of the channel c over time, of the sample itself: the law knows no unit, and channels
    of unlike units get alike noise.  The normals are those of :class:`GaussianNoise`, which it is for channels that are
    standardised.  Computed in float64 and rounded once to the type of x, like all laws of series.

    Parameters
    ----------
    scale : float
        Standard deviation of the noise, in those of the channel; >= 0.
    channels : int
        Number of channels, each of d / channels values one after the other in time; >= 1.

    References
    ----------
    Um et al., *Data augmentation of wearable sensor data for Parkinson's disease monitoring using convolutional neural
    networks*, ICMI 2017, arXiv:1706.00527 (0.05, in the unit of the data there).

    Examples
    --------
    >>> import numpy as np
    >>> from sslcore.augmentations import Jitter
    >>> x = np.sin(np.arange(2000.0))[None]
    >>> noise = Jitter(0.05).views(1000 * x, 2, seed=0) - 1000 * x
    >>> bool(abs(noise.std() / (1000 * x.std()) - 0.05) < 0.005)
    True
    """

    scale: float = nonnegative("standard deviation of the noise, in those of the channel", default=0.05)
    channels: int = _channels()

    def stages(self) -> tuple[Stage, ...]:
        return (Stage("jitter", (self.channels, self.scale)),)


@dataclass(frozen=True)
class Scaling(_OnSeries):
    """A random factor for each channel: ``xi_c(t) = (1 + scale z_c) x_c(t)``, ``z_c ~ N(0, 1)``.

    The mean of the views is the sample.  The normal of channel c is on lane c % 4 of draw block c // 4.

    Parameters
    ----------
    scale : float
        Standard deviation of the factor, whose mean is 1; >= 0.
    channels : int
        Number of channels, each of d / channels values one after the other in time; >= 1.

    References
    ----------
    Um et al., ICMI 2017, arXiv:1706.00527 (0.1).

    Examples
    --------
    >>> import numpy as np
    >>> from sslcore.augmentations import Scaling
    >>> factor = Scaling(0.1, channels=2).views(np.ones((1000, 2, 5)), 2, seed=0).reshape(1000, 2, 2, 5)
    >>> bool(abs(factor.mean() - 1) < 0.01), bool((factor == factor[..., :1]).all())
    (True, True)
    """

    scale: float = nonnegative("standard deviation of the factor, whose mean is 1", default=0.1)
    channels: int = _channels()

    def stages(self) -> tuple[Stage, ...]:
        return (Stage("scale_channels", (self.channels, self.scale)),)


@dataclass(frozen=True)
class MagnitudeWarp(_OnSeries):
    """A random smooth factor for each channel: ``xi_c(t) = (1 + scale g_c(t)) x_c(t)``.

    g_c runs through independent normals z_j at ``knots`` places between the ends of the series, at both ends, and one
    place beyond each, all of them equally far apart, by the cubic spline of Catmull and Rom: between z_1 and z_2, at
    the fraction f,

        ``z_1 + f/2 ((z_2 - z_0) + f ((2 z_0 - 5 z_1 + 4 z_2 - z_3) + f (3 (z_1 - z_2) + z_3 - z_0)))``,

    continuous with its slope.  The mean of the views is the sample; the variance of g is 1 at the knots, and at least
    41/64 between them.  Normal i of channel c is on lane i % 4 of draw block ``c B + i // 4``,
    ``B = ceil((knots + 4) / 4)``.

    Parameters
    ----------
    scale : float
        Standard deviation of the factor at the knots; >= 0.
    knots : int
        Number of knots between the ends; from 0 to 60.
    channels : int
        Number of channels, each of d / channels values one after the other in time; >= 1.

    References
    ----------
    Um et al., ICMI 2017, arXiv:1706.00527 (0.2 with 4 knots; there, a cubic spline that is twice differentiable).

    Examples
    --------
    >>> import numpy as np
    >>> from sslcore.augmentations import MagnitudeWarp
    >>> factor = MagnitudeWarp(0.2, knots=1).views(np.ones((5000, 9)), 1, seed=0)[:, 0]
    >>> bool(np.abs(factor.mean(axis=0) - 1).max() < 0.02), bool(abs(factor[:, 4].std() - 0.2) < 0.01)
    (True, True)
    """

    scale: float = nonnegative("standard deviation of the factor at the knots", default=0.2)
    knots: int = _knots()
    channels: int = _channels()

    def stages(self) -> tuple[Stage, ...]:
        return (Stage("magnitude_warp", (self.channels, self.knots, self.scale)),)


@dataclass(frozen=True)
class TimeWarp(_OnSeries):
    """Time runs faster and slower: ``xi_c(t) = x_c(tau(t))``, one increasing map tau for all channels.

    tau is linear between ``knots`` places that divide the series equally, with slopes proportional to independent
    ``v_j = exp(scale z_j)``, ``z_j ~ N(0, 1)``: it keeps both ends, always increases, and its mean is t.  Between its
    times the series is interpolated linearly.  The normal of piece j is on lane j % 4 of draw block j // 4.

    Parameters
    ----------
    scale : float
        Standard deviation of the logarithm of the speed; in [0, 10].
    knots : int
        Number of knots between the ends; from 0 to 60.
    channels : int
        Number of channels, each of d / channels values one after the other in time; >= 1.

    References
    ----------
    Um et al., ICMI 2017, arXiv:1706.00527 (speeds N(1, 0.2^2) at 4 knots, through a cubic spline, and one map for each
    channel; there, time may run backwards).

    Examples
    --------
    >>> import numpy as np
    >>> from sslcore.augmentations import TimeWarp
    >>> tau = TimeWarp(0.2).views(np.arange(50.0)[None], 1000, seed=0)[0]  # of the series x(t) = t
    >>> bool((np.diff(tau) > 0).all()), bool(np.abs(tau.mean(axis=0) - np.arange(50)).max() < 0.5)
    (True, True)
    >>> bool((tau[:, 0] == 0).all() and abs(tau[:, -1] - 49).max() < 1e-12)
    True
    """

    scale: float = real("standard deviation of the logarithm of the speed", minimum=0.0, maximum=10.0, default=0.2)
    knots: int = _knots()
    channels: int = _channels()

    def stages(self) -> tuple[Stage, ...]:
        return (Stage("time_warp", (self.channels, self.knots, self.scale / math.log(2.0))),)


@dataclass(frozen=True)
class Window(_OnSeries):
    """A window of the series, stretched to its full length: ``xi_c(t) = x_c(a + share t)``.

    The start a is uniform on ``[0, (1 - share) (T - 1)]``, where T is the number of times: the window does not wrap
    around.  Between its times the series is interpolated linearly; all channels have the same window.

    Parameters
    ----------
    share : float
        Share of the series that is kept; > 0 and <= 1.
    channels : int
        Number of channels, each of d / channels values one after the other in time; >= 1.

    References
    ----------
    Le Guennec, Malinowski and Tavenard, *Data augmentation for time series classification using convolutional neural
    networks*, AALTD 2016 (window slicing, 0.9).

    Examples
    --------
    >>> import numpy as np
    >>> from sslcore.augmentations import Window
    >>> xi = Window(0.5).views(np.arange(9.0)[None], 1000, seed=0)[0]  # of the series x(t) = t
    >>> bool(np.abs(np.diff(xi) - 0.5).max() < 1e-12), bool(0 <= xi.min() < 0.1 and 7.9 < xi.max() <= 8)
    (True, True)
    """

    share: float = real("share of the series that is kept", minimum=0.0, maximum=1.0, strict=True, default=0.9)
    channels: int = _channels()

    def stages(self) -> tuple[Stage, ...]:
        return (Stage("window", (self.channels, self.share)),)
