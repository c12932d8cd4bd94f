"""The numbers of a fit that depend on its spectrum alone, and the names that neighbouring fields have for them."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..arrays import Array, check_boolean, check_choice, check_scalar, namespace
from ..solvers.certificate import Certificate
from ..solvers.selection import Selection
from . import summary

__all__ = ["check_scale"]

SCALES = ("risk", "unit", "norm", "probe")
"""What a component may be measured in."""


def check_scale(scale: Any) -> str:
    """Return the name of a scale of components, or refuse it; say what the booleans of earlier versions are."""
    if isinstance(scale, bool | np.bool_):
        raise TypeError(
            f"scale must be 'risk', 'unit', 'norm' or 'probe', found {scale}: write 'risk' for True, 'unit' for False"
        )
    return check_choice(scale, "scale", SCALES)


class _Spectral:
    """Everything that fits have in common: `Representation`, and that of two modalities."""

    gamma: np.ndarray
    invariance: np.ndarray
    norms: np.ndarray
    reg: float
    beta: float
    unbiased: bool
    center: bool
    certificate: Certificate
    selection: Selection | None

    @property
    def n_components(self) -> int:
        """The number k asked for."""
        return len(self.gamma)

    @property
    def eigenvalues(self) -> np.ndarray:
        """mu = 1 - gamma."""
        return 1.0 - self.gamma

    @property
    def n_active(self) -> int:
        """Number of components with mu > 0: the rest are zero (collapsed)."""
        return int((self.gamma < 1).sum())

    @property
    def risk(self) -> float:
        """The penalised risk at the minimum, k - sum_i max(mu_i, 0)^2 (Cabannes et al. 2023, section 2).

        That is the biased VICReg risk of the training views plus 2 reg ||Theta||^2, at beta for a biased fit and at
        beta m/(m-1) for an unbiased one.
        """
        return float(self.n_components - (self._scale() ** 4).sum())

    def _scale(self, scale: str = "risk") -> np.ndarray:
        """Return what unit eigenfunctions are multiplied with.

        That is sqrt(max(mu, 0)), 1, 1 / ||f||_H, or 1 / sqrt((1 - mu) ||f||_H^2), where 1 - mu counts as 2^-52 at
        least: of features without a penalty it may be rounding noise.
        """
        if scale == "unit":
            return np.ones(self.n_components)
        if scale == "risk":
            return np.clip(1.0 - self.gamma, 0.0, None) ** 0.5
        there = np.isfinite(self.norms) & (self.norms > 0.0)  # beyond the numerical rank there is no function
        squares = np.where(there, self.norms, 1.0)
        if scale == "probe":
            squares = squares * np.maximum(self.gamma, np.finfo(np.float64).eps)
        return np.where(there, squares**-0.5, 0.0)

    def _scale_where(self, array: Array, scale: str = "risk") -> Array:
        """Return `_scale` on the device of ``array``, in its type."""
        out: Array = namespace(array).asarray(self._scale(scale).astype(array.dtype))
        return out

    def summary(self, *, model: Any = None, brief: bool = False) -> str:
        """Tell, in lines for people, what was asked for and found: model, spectrum, risk, certificate.

        Parameters
        ----------
        model : object, optional
            What to call the model; its own `repr`, as it was fitted, if not given.
        brief : bool
            Four lines, without the table of the components and how reg was chosen.

        Examples
        --------
        >>> import sslcore
        >>> views = sslcore.augmentations.GaussianNoise(0.1).views(sslcore.datasets.half_moons(50, seed=0), 2, seed=0)
        >>> rep = sslcore.pretrain(views, sslcore.kernels.Gaussian(0.5), n_components=3, reg=1e-3)
        >>> for line in rep.summary(brief=True).splitlines()[:3]:
        ...     print(line)
        model       Gaussian(scale=0.5), 3 components, reg 0.001, beta 1, unbiased, not centred
        spectrum    3 of 3 components active (mu > 0); mu = 0.9939  0.9922  0.9876
        risk        0.052396 at the minimum, reg term included
        """
        lines = summary.brief_lines if check_boolean(brief, "brief") else summary.full_lines
        rep: Any = self  # which has a model, too
        return "\n".join(lines(rep, rep.model if model is None else model))

    def as_dict(self) -> dict[str, Any]:
        """Give what was asked for and found as plain numbers and lists, for JSON: no function, model or view.

        Eigenvalues beyond the numerical rank are -inf and risks of refused fits NaN, which strict JSON has no word for:
        the commands write null.

        Examples
        --------
        >>> import sslcore
        >>> views = sslcore.augmentations.GaussianNoise(0.1).views(sslcore.datasets.half_moons(50, seed=0), 2, seed=0)
        >>> found = sslcore.pretrain(views, sslcore.kernels.Gaussian(0.5), n_components=3, reg=1e-3).as_dict()
        >>> found["reg"], found["n_active"], found["selection"], found["certificate"]["rank"]
        (0.001, 3, None, 3)
        >>> list(found)[:6]
        ['reg', 'beta', 'unbiased', 'center', 'eigenvalues', 'invariance']
        """
        rep: Any = self
        return summary.as_dict(rep)

    def autocorrelations(self) -> np.ndarray:
        """Return <f_i, T f_i>, the correlation of f_i between the two points of a positive pair; 1 - invariance.

        Of pairs (x_t, x_(t + lag)) and centred functions these are the autocorrelations of time-lagged independent
        component analysis (TICA; Molgedey and Schuster 1994; Perez-Hernandez et al. 2013) in its reversible form, which
        averages over both directions of time.  At beta = 1 the eigenvalues are these less reg ||f_i||^2.

        Returns
        -------
        array (k,)
            NaN beyond the numerical rank.

        Examples
        --------
        >>> import numpy as np, sslcore
        >>> x = np.cumsum(np.random.default_rng(0).normal(size=(500, 2)), axis=0)
        >>> rep = sslcore.pretrain(
        ...     x, sslcore.kernels.Linear(), 2, reg=1e-6, center=True, positives=sslcore.positives.TimeLag(1)
        ... )
        >>> bool(np.allclose(rep.autocorrelations(), rep.eigenvalues, atol=1e-6))
        True
        """
        return 1.0 - self._invariance()

    def _invariance(self) -> np.ndarray:
        """Return the invariance, which has digits of its own where it is small; NaN beyond the numerical rank."""
        return np.where(np.isfinite(self.gamma), self.invariance, np.nan)

    def timescales(self, lag: float) -> np.ndarray:
        """Return the implied timescales -lag / log(autocorrelation): after these times functions have decayed to 1/e.

        For pairs at a time lag (`sslcore.positives.TimeLag`), fitted with ``center=True`` (Prinz et al. 2011).

        Parameters
        ----------
        lag : float
            > 0, the lag of the pairs, in the unit of time that the result shall have.

        Returns
        -------
        array (k,)
            inf for an autocorrelation of 1 or more, NaN for one that is not positive: it oscillates, or is noise.

        Examples
        --------
        Of two states that change in a tenth of the steps the autocorrelation is 0.9 - 0.1:

        >>> import numpy as np, sslcore
        >>> pairs = sslcore.positives.Pairs([0, 1, 0], [0, 1, 1], weight=[0.45, 0.45, 0.1])
        >>> rep = sslcore.pretrain(np.eye(2), sslcore.kernels.Linear(), 1, reg=1e-9, center=True, positives=pairs)
        >>> rep.timescales(1).round(4), float(round(-1 / np.log(0.8), 4))
        (array([4.4814]), 4.4814)
        """
        lag = check_scalar(lag, "lag", minimum=0.0, strict=True)
        found = self._invariance()
        with np.errstate(divide="ignore", over="ignore"):
            times = -lag / np.log1p(-np.where(found < 1.0, found, np.nan))
        return np.where(found <= 0.0, np.inf, times)

    def slowness(self) -> np.ndarray:
        """Return the delta values of slow feature analysis, E (f_i(x) - f_i(x'))^2 over positive pairs: 2 invariance.

        With centred functions of unit variance and pairs of neighbours in time (``TimeLag(1)``) these are what slow
        feature analysis minimises, in order (Wiskott and Sejnowski 2002); there variances are over all times, here over
        the ends of pairs, in which the first time and the last count half.

        Returns
        -------
        array (k,)
            NaN beyond the numerical rank.

        Examples
        --------
        >>> import numpy as np, sslcore
        >>> t = np.linspace(0, 2 * np.pi, 500)
        >>> x = np.stack([np.sin(t) + np.cos(11 * t) ** 2, np.cos(11 * t)], axis=1)
        >>> rep = sslcore.pretrain(
        ...     x, sslcore.kernels.Polynomial(2, 1.0), 1, reg=1e-9, center=True, positives=sslcore.positives.TimeLag(1)
        ... )
        >>> bool(abs(np.corrcoef(rep(x)[:, 0], np.sin(t))[0, 1]) > 0.999), bool(rep.slowness()[0] < 1e-3)
        (True, True)
        """
        return 2.0 * self._invariance()

    def laplacian_eigenvalues(self) -> np.ndarray:
        """Return <f_i, (I - T) f_i>: for edges of a graph those of its random-walk Laplacian I - D^-1 W, as reg -> 0.

        The pairs are edges of weight W_ij, p_i is the degree of a point over that of all.  With functions that take any
        value at any point these are the eigenvalues of Laplacian eigenmaps (Belkin and Niyogi 2003) and of spectral
        clustering (Shi and Malik 2000); a kernel and reg > 0 give functions that new points have, too, with a little
        more (Belkin, Niyogi and Sindhwani 2006).

        Returns
        -------
        array (k,)
            NaN beyond the numerical rank.

        Examples
        --------
        >>> import numpy as np, sslcore
        >>> i = np.arange(10)  # a cycle: eigenvalues 1 - cos(2 pi j / 10), all but one twice
        >>> rep = sslcore.pretrain(
        ...     np.eye(10), sslcore.kernels.Linear(), 3, reg=1e-9, positives=sslcore.positives.Pairs(i, (i + 1) % 10)
        ... )
        >>> rep.laplacian_eigenvalues().round(6) + 0.0, float(round(1 - np.cos(2 * np.pi / 10), 6))
        (array([0.      , 0.190983, 0.190983]), 0.190983)
        """
        return self._invariance()
