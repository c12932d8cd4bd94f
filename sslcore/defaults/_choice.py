"""Settings for data of which only shape and spread are known; every number stands here."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from .. import tunables
from ..arrays import (
    Array,
    ArrayLike,
    as_array,
    as_native,
    as_seed,
    check_choice,
    check_integer,
    gives_memory_back,
    on_host,
    shown,
)
from ..augmentations import Affine, Augmentation, Compose, GaussianNoise, TimeWarp, Views
from ..augmentations._base import image_shapes
from ..augmentations._tables import refuse_table
from ..features import Features, Model, Nystrom
from ..fitting.search import AutoReg, as_search
from ..fitting.spread import FAR, spread_of
from ..fitting.standardization import Standardization
from ..kernels import Gaussian, Kernel

__all__ = ["N_COMPONENTS", "N_VIEWS", "SCALE", "Choice", "choose", "count_components"]

KINDS = ("table", "images", "series")

GIVEN = ("augmentation", "n_views", "kernel", "features", "solver", "n_components", "reg", "scale")
"""Settings that a user may have said."""

N_VIEWS = 4
N_COMPONENTS = 32
"""Of images and series: more than are needed, which in the scale of probes do little harm (`bench practice`)."""

FEWEST, SHARE, SAMPLES_EACH = 8, 0.9, 20
"""Of tables: as many as their principal components that hold this share of the variance, or one for so many samples,
but within 8 and 32.  More do harm to few samples, for noise knows no direction (wine).  Fewer are filled, of many
samples, by functions that single out some (ImageSegments)."""

STANDARD_ERRORS = 1.0
"""Of the search for reg, of tables and series: many regs are as good on held-out samples, and the largest is least
rough: worth most where columns have heavy tails (ImageSegments)."""

SMOOTHEST = ("table", "series")
"""Kinds of data whose reg is chosen so."""

SCALE = "probe"
"""Of components: with few labels better than "norm" on most sets of `bench practice`."""

COUNT_MOST = "functions that are smooth, and that views do not change, count most"
"""What that scale does, in words."""

UNLIKE = 10.0
"""Ratio of deviations from which a column counts for nothing beside another: for a hundredth of squared distances."""

NOISE = 1.0
"""Of tables, in deviations of the columns: half of it gains less on cancer, twice as much hides fine classes (iris)."""

TIME_WARP, SERIES_NOISE = 0.07, 0.3
"""Of series: deviation of the logarithm of the speed, and noise in deviations between samples at one time, for what all
series share tells none of them apart.  A stronger warp was worse on ItalyPowerDemand, a weaker one on GunPoint,
BasicMotions and OSULeaf; no law suits all of them.

Where the warp alone would make views that `concerns` warns of, farther apart than `FAR` times what samples are, there
is none: with it all components collapsed on ACSF1 (5 times), while 0.9 times, on BasicMotions, help."""

MOVED_SAMPLES = 128
"""Samples of which that is looked at: their views are the costliest part of the choice, of long series above all."""

ROTATION, ZOOM, SHIFT, IMAGE_NOISE = 5.0, 1.1, 0.04, 0.2
"""Of images: degrees, factor, share of the height, and noise in deviations of all pixels."""

EXACT_UP_TO = 6000
"""Views up to which a kernel is solved exactly; beyond, Nystrom features of it."""

LANDMARKS = 1024

_LARGEST = 1e308
"""A distance, in three digits."""

DISTANCE = {"table": 1.0, "images": 0.7, "series": 0.5}
"""Scale of the kernel, in the median distance of the samples: small movements need a kernel that tells them apart."""


@dataclass(frozen=True, eq=False)
class Choice:
    """Settings for some data: those that were given, those that were chosen, and why.

    Attributes
    ----------
    kind : {"table", "images", "series"}
        What the data were taken for.
    standardization : Standardization or None
        Applied before anything else.
    augmentation : Augmentation or None
        The law of the views, of standardised samples; None where there is nothing to draw.
    n_views, n_components : int
    usual_components : int
        How many suit such data; ``n_components`` are fewer where there are fewer points.
    kernel : Kernel or None
        By default Gaussian, at a part of the median distance of the samples; None where features need none.
    model : Kernel or Features
        The kernel, or features of it.
    reg : float or AutoReg
        Weight of the norm, or the search for it.
    scale : {"probe", "norm", "risk", "unit"}
        What components are measured in.
    reasons : tuple of str
        One sentence, in words, for each that was not given.

    Examples
    --------
    >>> import numpy as np, sslcore
    >>> x = np.random.default_rng(0).normal(size=(200, 3)) * [1.0, 10.0, 1000.0]
    >>> chosen = sslcore.defaults.choose(x)
    >>> chosen.kind, chosen.augmentation, chosen.n_views, chosen.scale
    ('table', GaussianNoise(scale=1.0), 4, 'probe')
    """

    kind: str
    standardization: Standardization | None
    augmentation: Augmentation | None
    n_views: int
    kernel: Kernel | None
    model: Model
    n_components: int
    usual_components: int
    reg: Any
    scale: str
    reasons: tuple[str, ...]


@gives_memory_back
def choose(
    x: ArrayLike,
    *,
    kind: str = "auto",
    standardize: bool | str = "auto",
    n_rows: int | None = None,
    seed: int = 0,
    given: Mapping[str, Any] | None = None,
) -> Choice:
    """Choose a law of views, a kernel and numbers for data of which only shape and spread are known; no label is seen.

    * **Tables** (n, d): each column is standardised; views have noise of one deviation.
    * **Images** (n, height, width[, channels]): all pixels by one mean and deviation; views are turned, zoomed, shifted
      and noisy.  Of shape (n, a, b) those with 8 <= a, b <= 2 a and a <= 2 b are taken for images.
    * **Series** (n, channels, time): each channel by its mean and deviation; views have another speed here and there,
      and noise.  The speed stays where it alone would make views that differ more than three times as much as samples
      do, of which `concerns` would warn: of rough series, and of those that share a curve large beside what tells
      them apart (heartbeats, gestures that are aligned).

    The kernel is Gaussian, at the median distance of the samples (images 0.7, series 0.5 times that); beyond 6,000
    views Nystrom features of it.  Of images and series there are 32 components, of tables as many as the principal
    components that hold 90 % of the variance, or one for 20 samples of which views are drawn, but 8 at least and 32 at
    most.  A search for reg takes, of tables and series whose law is chosen here, the largest within one standard error
    of the least risk.  All these numbers were compared on some of the sets of ``bench practice``, and judged on others.
    What is given stays, each by itself, and the rest is chosen for it.

    Parameters
    ----------
    x : array (n, d), (n, a, b) or (n, height, width, channels)
    kind : {"auto", "table", "images", "series"}
        "auto": what a given law is for, else by the shape, as above; series of one channel that are rows (n, time)
        need the word.
    standardize : {"auto", "unlike"} or bool
        "auto": unless a kernel, features or a law is given, for these are in units of the data.  "unlike": then too,
        where deviations of columns or channels differ by more than 10 times; their units are deviations then.
    n_rows : int, optional
        Rows of all data, where x is only some of them: the number of views decides between a kernel and features of it.
    seed : int
        Of the landmarks of Nystrom features.
    given : mapping, optional
        What is not to be chosen, by name: "augmentation" (None: each row is a view, or a point of pairs), "n_views",
        "kernel", "features" (`Features`, or a function that makes them of the kernel), "solver" (then the kernel is
        solved exactly), "n_components", "reg", "scale".

    Returns
    -------
    Choice

    Raises
    ------
    ValueError, TypeError
        ``x`` is empty, not finite or of another rank, the kind does not fit its shape, ``n_rows`` is negative, or
        ``given`` has other names, or both a kernel and features that are made already.

    Examples
    --------
    >>> import numpy as np, sslcore
    >>> images = np.random.default_rng(0).normal(size=(20, 8, 8))
    >>> for reason in sslcore.defaults.choose(images).reasons[:2]:
    ...     print(reason)
    images of 8 x 8: of shape (n, a, b), and nearly square
    standardised: all pixels by one mean and one deviation
    >>> law = sslcore.augmentations.HorizontalFlip((8, 8))
    >>> given = {"augmentation": law, "kernel": sslcore.kernels.Linear(), "scale": "norm"}
    >>> sslcore.defaults.choose(images, given=given).reasons[1:]
    ('32 components: extra components do little harm',)
    """
    check_choice(kind, "kind", ("auto", *KINDS))
    given = _checked(given)
    law = given.get("augmentation")
    array = _of_law(as_array(as_native(x, "x"), "x", ndim=(2, 3, 4), shape_hint="(n, d), images or series"), law)
    found, of_kind = _kind(array.shape, _kind_of_law(law, array.ndim) if kind == "auto" else kind)
    flat = array.reshape(len(array), -1)
    columns, told = _standardized(array, flat, found, _wish(standardize), given)
    every = -(-len(flat) // tunables.LOOK_SAMPLES)  # of all rows: the first ones may be of one class
    raw = on_host(flat[::every])
    seen = raw.astype(float)
    if columns is not None:
        refuse_table(law)
        seen = columns.apply(seen)
    n_views = 1 if law is None and "augmentation" in given else given.get("n_views", N_VIEWS)
    n_views = check_integer(n_views, "n_views", minimum=1)
    n = n_views * (len(flat) if n_rows is None else check_integer(n_rows, "n_rows", minimum=0))
    reasons = [of_kind] if "augmentation" not in given or columns is not None else []
    reasons += [told] if told else []
    if "augmentation" not in given:
        spread = _deviation(seen, _varying(raw))
        law, of_law = _law(found, array.shape, seen, spread, 1.0 if columns is not None else spread)
        reasons.append(of_law if "n_views" in given else f"{n_views} {of_law}")
    kernel, model, of_model = _model(given, seen, n, as_seed(seed), DISTANCE[found])
    reasons += [of_model] if of_model else []
    rule = STANDARD_ERRORS if found in SMOOTHEST and "augmentation" not in given else 0.0
    reg = given.get("reg", AutoReg(standard_errors=rule))
    n_components, usual, why = given.get("n_components"), N_COMPONENTS, "extra components do little harm"
    if n_components is None:
        if found == "table":
            usual, why = _of_table(seen, 0 if law is None else n // n_views)
        n_components = count_components(model, n, flat.shape[1], usual, searched=as_search(reg) is not None)
        why = why if n_components == usual else "as many as model and samples allow"
        reasons.append(f"{n_components} components: {why}")
    if rule and "reg" not in given:
        reasons.append("lambda the largest within one standard error of the least risk on held-out samples")
    if "scale" not in given:
        reasons.append(f"embedding in the scale '{SCALE}': {COUNT_MOST}")
    scale = given.get("scale", SCALE)
    return Choice(found, columns, law, n_views, kernel, model, n_components, usual, reg, scale, tuple(reasons))


def count_components(model: Any, n: int, width: int, usual: int, *, searched: bool = True) -> int:
    """Return the usual number of components, or as many as there are on n points.

    Of a kernel there is one centred function a point; the search for reg, if it is ``searched``, trains on two fifths
    of the points at least: of 5 samples it holds out 3.
    """
    there = 2 * n // 5 if searched and not isinstance(model, Features) else n - 1
    if isinstance(model, Features):
        landmarks = getattr(model, "landmarks", None)
        there = min(there, landmarks if isinstance(landmarks, int) else model.n_kept(width))
    return max(1, min(usual, int(there)))


def _of_table(points: np.ndarray, n: int) -> tuple[int, str]:
    """Return the number of components of a table of n samples, of which these are some, and why."""
    principal, many = _principal(points), min(n // SAMPLES_EACH, N_COMPONENTS)
    within = f"({FEWEST} at least, {N_COMPONENTS} at most)"
    if many > principal:
        return many, f"one for {SAMPLES_EACH} samples {within}"
    return principal, f"as many as principal components hold {100 * SHARE:g} % of the variance {within}"


def _principal(points: np.ndarray) -> int:
    """Return how many principal components hold `SHARE` of the variance, within `FEWEST` and `N_COMPONENTS`."""
    size = float(np.abs(points).max(initial=0.0)) or 1.0
    centred = points / size
    centred = centred - centred.mean(axis=0)
    gram = centred @ centred.T if len(centred) < centred.shape[1] else centred.T @ centred
    values = np.linalg.eigvalsh(gram)[::-1]
    needed = int((np.cumsum(values) < SHARE * values.sum()).sum()) + 1
    return min(max(needed, FEWEST), N_COMPONENTS)


def _checked(given: Mapping[str, Any] | None) -> Mapping[str, Any]:
    """Refuse settings of other names, and two models."""
    given = {} if given is None else given
    unknown = sorted(set(given) - set(GIVEN))
    if unknown:
        raise ValueError(f"given must have the names {', '.join(GIVEN)}, found {unknown[0]!r}")
    if "kernel" in given and isinstance(given.get("features"), Features):
        raise ValueError("give kernel or features, not both; a number as features means Nystrom features of the kernel")
    return given


def _wish(standardize: Any) -> bool | str:
    """Return whether to standardise as it was asked for, checked."""
    if isinstance(standardize, str) and standardize in ("auto", "unlike"):
        return standardize
    if not isinstance(standardize, bool | np.bool_):
        raise TypeError(f"standardize must be True or False, found {shown(standardize)}; or 'auto' or 'unlike'")
    return bool(standardize)


def _of_law(array: Array, law: Any) -> Array:
    """Return flat samples in the shape that a law of images or series is declared on."""
    if array.ndim != 2:
        return array
    n, width = array.shape
    for shape in sorted(image_shapes(law)):
        if math.prod(shape) == width:
            return array.reshape(n, *shape)
    channels = max(_channels(law), default=1)
    return array.reshape(n, channels, -1) if channels > 1 and width % channels == 0 else array


def _channels(law: Any) -> set[int]:
    """Return the numbers of channels of the series that a law, or a part of it, is for."""
    own = {law.channels} if hasattr(law, "channels") else set()
    return own.union(*(_channels(part) for part in getattr(law, "parts", ())))


def _kind_of_law(law: Any, rank: int) -> str:
    """Say what a law is for, in the words of `choose`; flat samples that are no such images are left to the law."""
    if image_shapes(law) and rank > 2:
        return "images"
    return "series" if _channels(law) else "auto"


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


def _standardized(
    array: Array, flat: Array, kind: str, wish: bool | str, given: Mapping[str, Any]
) -> tuple[Standardization | None, str]:
    """Return the standardisation, if there is to be one, and what to say of it where nobody has said so."""
    in_units = {"augmentation", "kernel"} & set(given) or isinstance(given.get("features"), Features)
    if not wish or (wish == "auto" and in_units):
        return None, "" if wish is False else "samples are taken as they are"
    columns, spreads, told = _standardization(array, flat, kind)
    if wish is True or not in_units:
        return columns, told
    least, most = float(spreads.min(initial=math.inf)), float(spreads.max(initial=0.0))
    if most > UNLIKE * least:
        return columns, f"{told} ({least:.3g} to {most:.3g}); what was given is in deviations now"
    return None, "samples are taken as they are: columns are of like spread"


def _standardization(array: Array, flat: Array, kind: str) -> tuple[Standardization, np.ndarray, str]:
    """Bring columns, channels or pixels to mean 0 and deviation 1; return their deviations too, where they vary."""
    columns = Standardization.of(flat)
    spread = np.where(on_host(flat.max(axis=0) == flat.min(axis=0)), 0.0, columns.deviation)
    if kind == "table":
        return columns, spread[spread > 0], "standardised: each column by its mean and deviation"
    channels = array.shape[1] if kind == "series" and array.ndim == 3 else 1
    mean, spread = columns.mean.reshape(channels, -1), spread.reshape(channels, -1)
    size = float(max(np.abs(mean).max(), spread.max())) or 1.0  # squares neither overflow nor vanish
    variance = ((spread / size) ** 2).mean(axis=1) + (mean / size).var(axis=1)
    deviation = np.sqrt(variance) * size
    varies = deviation > 0
    told = (
        "standardised: all pixels by one mean and one deviation"
        if kind == "images"
        else "standardised: each channel by its mean and deviation"
    )
    each = flat.shape[1] // channels
    pooled = Standardization(np.repeat(mean.mean(axis=1), each), np.repeat(np.where(varies, deviation, 1.0), each))
    return pooled, deviation[varies], told


def _law(kind: str, shape: tuple[int, ...], seen: np.ndarray, spread: float, unit: float) -> tuple[Augmentation, str]:
    """Choose the law of the views of samples, of which some are ``seen``.

    ``spread`` is the deviation between them, ``unit`` that of what is standardised: a column, or all pixels.
    """
    if kind == "images":
        shift = float(f"{SHIFT * shape[1]:.3g}")
        turned = Affine(shape[1:], ROTATION, ZOOM, shift)
        noisy = GaussianNoise(float(f"{IMAGE_NOISE * unit:.3g}"))
        told = f"views turned by {ROTATION:g} degrees, zoomed by {ZOOM:g}, shifted by {shift:g} pixels, noisy"
        return Compose(turned, noisy), told
    if kind == "series":
        channels = shape[1] if len(shape) == 3 else 1
        warped = TimeWarp(TIME_WARP, channels=channels)
        noisy = GaussianNoise(float(f"{SERIES_NOISE * spread:.3g}"))
        noise = f"noise of {SERIES_NOISE:g} deviations between samples"
        moved = _moved(warped, seen)
        if moved > FAR:
            far = f"{moved:.2g} times" if moved < math.inf else "far beyond"
            told = f"their time runs as it is, for a warp would move them by {far} what samples differ by"
            return noisy, f"views with {noise}; {told}"
        return Compose(warped, noisy), f"views whose time runs faster and slower by some {TIME_WARP:.0%}, with {noise}"
    return GaussianNoise(float(f"{NOISE * unit:.3g}")), f"views with noise of {NOISE:g} deviation{'s' * (NOISE != 1)}"


def _moved(law: Augmentation, points: np.ndarray) -> float:
    """Return the distance between two views of a sample under this law, in that between samples: of some of them."""
    if len(points) > MOVED_SAMPLES:  # drawn, for rows may come class by class, or in turn
        points = points[np.sort(np.random.default_rng(0).choice(len(points), MOVED_SAMPLES, replace=False))]
    spread = spread_of(Views(points, law, 2, 0))
    if spread is None or spread.within == 0:
        return 0.0
    return math.sqrt(spread.within / spread.between) if spread.between > 0 else math.inf


def _model(given: Mapping[str, Any], seen: np.ndarray, n: int, seed: int, part: float) -> tuple[Any, Any, str]:
    """Return kernel and model, and what to say of what was chosen; ``seen``: some points of the fit."""
    features = given.get("features")
    if isinstance(features, Features):
        return None, features, ""
    told = ""
    if "kernel" in given:
        kernel = given["kernel"]
    else:
        scale = float(f"{part * _median_distance(seen):.3g}")
        where = "the median distance" if part == 1.0 else f"{part:g} times the median distance"
        kernel, told = Gaussian(scale), f"a Gaussian kernel at {where} of samples, {scale:.3g}"
    if features is not None:
        return kernel, features(kernel), told
    if n <= EXACT_UP_TO or "kernel" in given or "solver" in given:
        return kernel, kernel, told
    told += f", by {LANDMARKS:,} Nystrom features: {n:,} views are more than {EXACT_UP_TO:,}"
    return kernel, Nystrom(kernel, LANDMARKS, seed=seed), told


def _varying(points: np.ndarray) -> np.ndarray:
    """Tell which columns differ by more than the rounding of their values."""
    low, high = points.min(axis=0).astype(float), points.max(axis=0).astype(float)
    rounding = float(np.finfo(points.dtype).eps) if points.dtype.kind == "f" else 0.0
    varying: np.ndarray = high / 2 - low / 2 > 2 * rounding * np.maximum(np.abs(low), np.abs(high))
    return varying


def _deviation(points: np.ndarray, varying: np.ndarray) -> float:
    """Return the root mean variance of columns, of which some are ``varying``, or 1 where none is."""
    size = float(np.abs(points).max()) or 1.0
    variance = np.where(
        varying, (points / size).var(axis=0), 0.0
    )  # of equal values: rounding, for their mean is rounded
    return math.sqrt(float(variance.mean())) * size or 1.0


def _median_distance(points: np.ndarray) -> float:
    """Return the median distance of points; where most are equal, the root mean square; else 1."""
    from scipy.spatial.distance import pdist

    if len(points) < 2:
        return 1.0
    size = float(np.abs(points).max()) or 1.0
    distances = pdist(points / size)
    found = float(np.median(distances)) or math.sqrt(float((distances**2).mean()))
    return min(found * size, _LARGEST) if found > 0 else 1.0
