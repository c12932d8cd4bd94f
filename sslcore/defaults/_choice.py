"""Settings for data of which only shape and spread are known; every number stands here."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from .. import tunables
from ..arrays import (
    Array,
    ArrayLike,
    as_array,
    as_native,
    check_boolean,
    check_choice,
    check_integer,
    gives_memory_back,
    on_host,
)
from ..augmentations import Affine, Augmentation, Compose, GaussianNoise, TimeWarp
from ..features import Features, Nystrom
from ..fitting.standardization import Standardization
from ..kernels import Gaussian, Kernel

__all__ = ["Choice", "choose"]

KINDS = ("table", "images", "series")

N_VIEWS = 4
N_COMPONENTS = 32
"""More than are needed: divided by their norms, those too many do a probe little harm (`bench practice`)."""

NOISE = 1.0
"""Of tables, in deviations of the columns: half of it gains less on cancer, twice as much hides fine classes (iris)."""

TIME_WARP, SERIES_NOISE = 0.2, 0.3
"""Of series: deviation of the logarithm of the speed, and noise in deviations of the channel."""

ROTATION, ZOOM, SHIFT, IMAGE_NOISE = 10.0, 1.1, 0.08, 0.2
"""Of images: degrees, factor, share of the height, and noise in deviations of all pixels."""

EXACT_UP_TO = 6000
"""Views up to which a kernel is solved exactly; beyond, Nystrom features of it."""

LANDMARKS = 1024


@dataclass(frozen=True, eq=False)
class Choice:
    """Settings chosen for some data, and why.

    Attributes
    ----------
    kind : {"table", "images", "series"}
        What the data were taken for.
    standardization : Standardization or None
        Applied before anything else.
    augmentation : Augmentation
        The law of the views, of standardised samples.
    n_views, n_components : int
    model : Kernel or Features
        A Gaussian kernel at the median distance of the samples, or Nystrom features of it.
    scale : {"norm"}
        What components are measured in.
    reasons : tuple of str
        One sentence for each, in words.

    Examples
    --------
    >>> import numpy as np, sslcore
    >>> x = np.random.default_rng(0).normal(size=(200, 3)) * [1.0, 10.0, 1000.0]
    >>> chosen = sslcore.defaults.choose(x)
    >>> chosen.kind, chosen.augmentation, chosen.n_views, chosen.scale
    ('table', GaussianNoise(scale=1.0), 4, 'norm')
    """

    kind: str
    standardization: Standardization | None
    augmentation: Augmentation
    n_views: int
    model: Kernel | Features
    n_components: int
    scale: str
    reasons: tuple[str, ...]

    @property
    def kernel(self) -> Kernel:
        """The kernel, of features too."""
        return self.model.kernel if isinstance(self.model, Nystrom) else self.model  # type: ignore[return-value]


@gives_memory_back
def choose(x: ArrayLike, *, kind: str = "auto", standardize: bool = True, n_points: int | None = None) -> Choice:
    """Choose a law of views, a kernel and numbers for data of which only shape and spread are known; no label is seen.

    * **Tables** (n, d): each column is standardised; views have noise of one deviation.
    * **Images** (n, height, width[, channels]): all pixels by one mean and deviation; views are turned, zoomed, shifted
      and noisy.  Of shape (n, a, b) those with 8 <= a, b <= 2 a and a <= 2 b are taken for images.
    * **Series** (n, channels, time): each channel by its mean and deviation; views have another
      speed here and there, and noise.

    The kernel is Gaussian, at the median distance of the samples; beyond 6,000 views Nystrom features of it.  Settings
    were compared on half of the sets of ``bench practice``, and judged on the others.

    Parameters
    ----------
    x : array (n, d), (n, a, b) or (n, height, width, channels)
    kind : {"auto", "table", "images", "series"}
        "auto": by the shape, as above; series of one channel that are rows (n, time) need the word.
    standardize : bool
        False: no standardisation; the law's noise is in the root mean variance of the columns instead.
    n_points : int, optional
        Views of the fit: their number decides between an exact kernel and Nystrom features; by default 4 a sample.

    Returns
    -------
    Choice

    Raises
    ------
    ValueError, TypeError
        ``x`` is empty, not finite or of another rank, the kind does not fit its shape, or ``n_points`` is negative.

    Examples
    --------
    >>> import numpy as np, sslcore
    >>> images = np.random.default_rng(0).normal(size=(20, 8, 8))
    >>> for reason in sslcore.defaults.choose(images).reasons[:2]:
    ...     print(reason)
    images of 8 x 8: of shape (n, a, b), and nearly square
    all pixels by one mean and one deviation
    """
    check_choice(kind, "kind", ("auto", *KINDS))
    standardize = check_boolean(standardize, "standardize")
    array = as_array(as_native(x, "x"), "x", ndim=(2, 3, 4), shape_hint="(n, d), images or series")
    found, why = _kind(array.shape, kind)
    flat = array.reshape(len(array), -1)
    columns, told = _standardization(array, flat, found) if standardize else (None, "samples are taken as they are")
    every = -(-len(flat) // tunables.LOOK_SAMPLES)  # of all rows: the first ones may be of one class
    seen = on_host(flat[::every]).astype(float)
    if columns is not None:
        seen = columns.apply(seen)
    unit = 1.0 if columns is not None else _deviation(seen)
    law, of_law = _law(found, array.shape, unit)
    distance = _median_distance(seen)
    kernel = Gaussian(distance)
    n = len(flat) * N_VIEWS if n_points is None else check_integer(n_points, "n_points", minimum=0)
    exact = n <= EXACT_UP_TO
    model = kernel if exact else Nystrom(kernel, LANDMARKS, seed=0)
    of_model = f"a Gaussian kernel at the median distance of samples, {distance:.3g}"
    if not exact:
        of_model += f", by {LANDMARKS:,} Nystrom features: {n:,} views are more than {EXACT_UP_TO:,}"
    reasons = (why, told, of_law, of_model, "components divided by their norms: many of them do a probe little harm")
    return Choice(found, columns, law, N_VIEWS, model, N_COMPONENTS, "norm", reasons)


def _kind(shape: tuple[int, ...], kind: str) -> tuple[str, str]:
    """Tell tables, images and series apart by their shape, and say how."""
    if len(shape) == 2:
        if kind == "images":
            raise ValueError(
                f"images must have the shape (n, height, width) or (n, height, width, channels), found {shape}"
            )
        if kind == "series":
            return kind, f"series of one channel, at {shape[1]} times"
        return "table", f"a table of {shape[1]} columns"
    size = " x ".join(map(str, shape[1:]))
    if len(shape) == 4:
        if kind in ("table", "series"):
            raise ValueError(
                f"kind={kind!r} needs an array (n, d){' or (n, channels, time)' * (kind == 'series')}, found {shape}"
            )
        return "images", f"images of {size}"
    a, b = shape[1:]
    square = min(a, b) >= 8 and max(a, b) <= 2 * min(a, b)
    if kind == "table":
        raise ValueError(f"kind='table' needs an array (n, d), found {shape}; flatten it with x.reshape(len(x), -1)")
    if kind == "images" or (kind == "auto" and square):
        return "images", f"images of {size}" + (": of shape (n, a, b), and nearly square" if kind == "auto" else "")
    return "series", f"series of {a} channels at {b} times" + (
        ": of shape (n, a, b), and not square" if kind == "auto" else ""
    )


def _standardization(array: Array, flat: Array, kind: str) -> tuple[Standardization, str]:
    """Bring columns, channels or pixels to mean 0 and deviation 1."""
    columns = Standardization.of(flat)
    if kind == "table":
        return columns, "each column by its mean and deviation"
    channels = array.shape[1] if kind == "series" and array.ndim == 3 else 1
    mean = columns.mean.reshape(channels, -1)
    spread = np.where(on_host(flat.max(axis=0) == flat.min(axis=0)), 0.0, columns.deviation).reshape(channels, -1)
    size = float(max(np.abs(mean).max(), spread.max())) or 1.0  # squares neither overflow nor vanish
    variance = ((spread / size) ** 2).mean(axis=1) + (mean / size).var(axis=1)
    deviation = np.sqrt(variance) * size
    deviation = np.where(deviation > 0, deviation, 1.0)
    each = flat.shape[1] // channels
    told = "all pixels by one mean and one deviation" if kind == "images" else "each channel by its mean and deviation"
    return Standardization(np.repeat(mean.mean(axis=1), each), np.repeat(deviation, each)), told


def _law(kind: str, shape: tuple[int, ...], unit: float) -> tuple[Augmentation, str]:
    """Choose the law of the views, for samples whose root mean variance is ``unit``."""
    if kind == "images":
        shift = float(f"{SHIFT * shape[1]:.3g}")
        turned = Affine(shape[1:], ROTATION, ZOOM, shift)
        noisy = GaussianNoise(float(f"{IMAGE_NOISE * unit:.3g}"))
        told = f"views turned by {ROTATION:g} degrees, zoomed by {ZOOM:g}, shifted by {shift:g} pixels, noisy"
        return Compose(turned, noisy), told
    if kind == "series":
        channels = shape[1] if len(shape) == 3 else 1
        warped = TimeWarp(TIME_WARP, channels=channels)
        speed = f"views whose time runs faster and slower by some {TIME_WARP:.0%}"
        told = f"{speed}, with noise of {SERIES_NOISE:g} deviations"
        return Compose(warped, GaussianNoise(float(f"{SERIES_NOISE * unit:.3g}"))), told
    return GaussianNoise(float(f"{NOISE * unit:.3g}")), f"views with noise of {NOISE:g} deviations"


def _deviation(points: np.ndarray) -> float:
    """Return the root mean variance of columns, or 1 where nothing varies."""
    size = float(np.abs(points).max()) or 1.0
    return math.sqrt(float((points / size).var(axis=0).mean())) * size or 1.0


def _median_distance(points: np.ndarray) -> float:
    """Return the median distance of points, to three digits; where most are equal, the root mean square; else 1."""
    from scipy.spatial.distance import pdist

    if len(points) < 2:
        return 1.0
    size = float(np.abs(points).max()) or 1.0
    distances = pdist(points / size) * size
    found = float(np.median(distances)) or math.sqrt(float((distances**2).mean()))
    return float(f"{found:.3g}") if 0 < found < math.inf else 1.0
