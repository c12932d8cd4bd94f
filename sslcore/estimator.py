"""`SSLEmbedding`: the representation as an estimator of scikit-learn, which only this module imports."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

try:
    import sklearn
    import sklearn.utils.validation as validation
    from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
    from sklearn.utils import check_random_state
    from sklearn.utils.metaestimators import available_if
except ImportError as error:  # pragma: no cover - depends on the installation
    raise ImportError("SSLEmbedding needs scikit-learn: pip install '.[sklearn]' in sslcore's folder") from error

from . import tunables
from .arrays import (
    Array,
    ArrayLike,
    as_array,
    as_entries,
    as_seed,
    check_choice,
    check_integer,
    kind_of,
)
from .augmentations import Augmentation, Views
from .backends import get_backend
from .declarations.nested import _NestedParameters
from .defaults import Standardization, choose
from .defaults._choice import KINDS, N_VIEWS, SCALE, count_components
from .defaults._estimating import INPUTS, as_rows, as_table, checked_samples, given_to, remember_columns, warn
from .fitting.collections import home_of, refuse_options, require_known_sizes
from .fitting.data import Data, as_data
from .fitting.held_out import GROUPS, HeldOutRisk
from .fitting.moments import Moments
from .fitting.paired_folds import risk_on_pairs
from .fitting.pretraining import pretrain
from .fitting.representation import Representation
from .fitting.search import AutoReg
from .fitting.spectral import check_scale
from .kernels import Precomputed
from .positives import Positives
from .risk import vicreg

__all__ = ["SSLEmbedding"]

FRESH = 0x9E3779B97F4A7C15
"""Added to the seed (modulo 2^64) for the views that `score` draws: not those of the fit."""

EXPECTED_FAILURES = {
    "check_sample_weight_equivalence_on_dense_data": "a sample that is repeated has other views each time",
    "check_sample_weights_invariance": "samples of weight zero are refused, and repeated ones have other views",
}
"""Checks of scikit-learn that no estimator which draws views can pass, with the reason."""


class SSLEmbedding(_NestedParameters, ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):
    """Self-supervised embedding in closed form, as a transformer of scikit-learn.

    ``fit`` makes views of the samples and finds the minimiser of the regularised VICReg risk (`sslcore.pretrain`);
    labels are ignored.  ``transform`` evaluates it at any points.  ``score`` is minus its unbiased risk on fresh views,
    so that ``GridSearchCV`` chooses kernels and reg by cross-validation without labels.  (Not beta nor n_components:
    risks at different ones do not compare.)  Parameters of kernels, laws and features have names too, such as
    ``kernel__scale``, ``kernel__first__scale`` of a sum or ``augmentation__parts__0__p`` of a composition.

    Parameters
    ----------
    kernel : Kernel or callable, optional
        By default what `sslcore.defaults.choose` takes: a `Gaussian` at the median distance of the samples, or a part
        of it.
        `Precomputed`: X holds the Gram matrix of views, for input="views"; cross-validation then takes rows and columns
        together.
    augmentation : Augmentation, optional
        The law of the views; by default that of `sslcore.defaults.choose` for tables, images or series.  With a law of
        images, X may hold images (n, *image_shape).
    n_views : int
        m, views of each sample.
    n_components : int, optional
        k; by default 32, of tables 8 to 32 (`sslcore.defaults.choose`), or as many as there are.
    reg : "auto", float or `sslcore.selection.AutoReg`
        Weight of the norm; "auto": of least risk on held-out samples, or, of tables and series whose law is not given,
        the largest within one standard error of it; ``AutoReg()``: of least risk in any case.
    beta : float
        Weight of the invariance.
    unbiased, center : bool
        As for `sslcore.pretrain`; centred by default, as in practice.
    features : Features or int, optional
        A feature model in place of the exact kernel; a number: that many Nystrom features of ``kernel``.  Where neither
        is given nor ``solver``, beyond 6,000 views 1,024 of the kernel by default.
    input : {"samples", "images", "series", "views"}
        "samples": X holds a table (n, d), images (n, height, width[, channels]) or series (n, channels, time), which
        are told apart by their shape; "series" also says so of rows (n, time).  "views": X holds views made elsewhere,
        (n, m, d), or (N, d) with ``fit(X, groups=...)``; then ``augmentation`` and ``n_views`` are not used.
    standardize : {"auto", "unlike"} or bool
        Bring columns, channels or pixels to mean 0 and deviation 1 first; kept in the representation.  "auto": where
        kernel and law are chosen here, for what is given by the user is in units of the data; "unlike": also where
        columns or channels differ in their deviations by more than 10 times.
    scale : {"probe", "norm", "risk", "unit"}
        What ``transform`` measures components in, as `Representation.transform`; "probe" is best for probes.
    positives : `sslcore.positives.Positives`, optional
        A law of positive pairs of the samples, such as ``TimeLag(10)``, in place of views: no ``augmentation`` then.
        One of given points, such as ``Labels(y)``, fits those X alone.  ``score`` takes the law's pairs of X.
    random_state : int, RandomState or None
        Seed of the views.
    backend : {"numba", "cupy"}, optional
        As for `sslcore.pretrain`.
    memory : int or str, optional
        Budget, as for `sslcore.pretrain`.
    solver : {"dense", "matrix-free"}, optional
        Of a kernel, as for `sslcore.pretrain`.

    Attributes
    ----------
    representation_ : Representation
        With ``eigenvalues``, ``certificate``, ``selection`` (for reg="auto") and ``save``.
    reg_ : float
        The reg in use.
    kernel_, augmentation_ :
        Those in use; None where there is none.
    standardization_ : sslcore.defaults.Standardization or None
    chosen_ : tuple of str
        What was chosen for what was not given, and why, in words; `DataWarning` says what looks wrong about the data.
    n_features_in_ : int

    Examples
    --------
    >>> import sslcore
    >>> x = sslcore.datasets.half_moons(60, seed=0)
    >>> embedding = sslcore.SSLEmbedding(sslcore.kernels.Exponential(0.5), n_components=3, reg=1e-3)
    >>> embedding.fit_transform(x).shape, bool(embedding.score(x) > -3)
    ((60, 3), True)
    """

    augmentation_: Any
    kernel_: Any
    _moments: Any
    _representation: Any
    _chosen: Any
    _seed: int
    _shape: tuple[int, ...]
    standardization_: Any
    chosen_: tuple[str, ...]

    def __init__(
        self,
        kernel: Any = None,
        augmentation: Augmentation | None = None,
        n_views: int = N_VIEWS,
        n_components: int | None = None,
        reg: Any = "auto",
        beta: float = 1.0,
        *,
        unbiased: bool = True,
        center: bool = True,
        features: Any = None,
        input: str = "samples",
        standardize: bool | str = "auto",
        scale: str = SCALE,
        positives: Positives | None = None,
        random_state: Any = 0,
        backend: str | None = None,
        memory: int | str | None = None,
        solver: str | None = None,
    ) -> None:
        self.kernel = kernel
        self.augmentation = augmentation
        self.n_views = n_views
        self.n_components = n_components
        self.reg = reg
        self.beta = beta
        self.unbiased = unbiased
        self.center = center
        self.features = features
        self.input = input
        self.standardize = standardize
        self.scale = scale
        self.positives = positives
        self.random_state = random_state
        self.backend = backend
        self.memory = memory
        self.solver = solver

    def fit(self, X: ArrayLike, y: Any = None, *, groups: Any = None, sample_weight: Any = None) -> SSLEmbedding:
        """Fit to samples (n, d), or to views; ``y`` is ignored.

        Parameters
        ----------
        X : array (n, d); with input="views" (n, m, d), or (N, d) with ``groups``
            Dask's arrays (n, d) or (n, m, d) are fitted on their cluster, as by `sslcore.dask.pretrain`.
        y : ignored
        groups : array (N,), optional
            The sample of each row of X, for input="views".
        sample_weight : array (n,), optional
            Positive weights of the samples; for input="views" also of the views, as for `sslcore.pretrain`.  Scales
            that are chosen here, and the standardisation, count each sample once.

        Returns
        -------
        self
        """
        if home_of(X) is not None:
            refuse_options({"groups": groups, "sample_weight": sample_weight, "positives": self.positives})
            views = self._begin_on_cluster(X)
        else:
            X = self._checked(X, reset=True)
            views = self._begin(X, groups, sample_weight)
        self._moments, self._stale = None, False
        found = pretrain(
            views,
            self._chosen.model,
            self._chosen.n_components,
            reg=self._chosen.reg,
            beta=self.beta,
            unbiased=self.unbiased,
            center=self.center,
            sample_weight=sample_weight,
            groups=groups,
            positives=self.positives,
            backend=self.backend,
            memory=self.memory,
            solver=self.solver,
        )
        self._representation = found.standardized_by(self.standardization_)
        self._n_features_out = self._representation.n_components
        return self

    def _can_update(self) -> bool:
        if self.features is None:
            raise AttributeError("partial_fit needs a feature model: give features=, or use fit")
        if isinstance(self.reg, str | AutoReg):
            raise AttributeError(
                f"partial_fit holds no samples out, so reg must be a number, found {self.reg!r}; give reg=, or use fit"
            )
        return True

    @available_if(_can_update)
    def partial_fit(
        self, X: ArrayLike, y: Any = None, *, groups: Any = None, sample_weight: Any = None
    ) -> SSLEmbedding:
        """Add more samples to what has been seen: for feature models, whose moments take memory O(r^2).

        Samples in parts give what ``fit`` gives on all, but for what is chosen from the first part: scales, landmarks.
        It is there if ``features`` is given and reg is a number: no sample is held out here.

        Parameters
        ----------
        X : array (n, d); with input="views" (n, m, d), or (N, d) with ``groups``
        y : ignored
        groups : array (N,), optional
            As for `fit`; all views of a sample must come in one part.
        sample_weight : array (n,), optional
            As for `fit`; weights of all parts are in one unit.

        Returns
        -------
        self
        """
        first = getattr(self, "_moments", None) is None
        X = self._checked(X, reset=first)
        if first:
            views = self._begin(X, groups, sample_weight)
            self._moments = Moments(self._chosen.model.fit(views), backend=self.backend)
        else:
            self._check_data(X, groups, sample_weight)
            views = self._standardized(X)
            if self.input != "views" and self.positives is None:
                views = self.augmentation_.views(views, self.n_views, seed=self._seed, first=self._moments.n)
        self._moments.update(views, groups=groups, sample_weight=sample_weight, positives=self.positives)
        k, seen = self.n_components, self._moments
        if k is None:
            k = count_components(seen.features, seen.n_views, X.shape[-1], self._chosen.usual_components)
        self._stale, self._n_features_out = True, check_integer(k, "n_components", minimum=1)
        return self

    def transform(self, X: ArrayLike) -> Array:
        """Return the embedding in the ``scale`` asked for: (n, k) of points (n, d), (n, m, k) of views (n, m, d)."""
        validation.check_is_fitted(self)
        if home_of(X) is not None:
            lazy: Array = self._transform_on_cluster(X)
            return lazy
        checked = self._checked(X, reset=False)
        container = getattr(self, "_sklearn_output_config", {}).get("transform") or sklearn.get_config().get(
            "transform_output", "default"
        )
        if checked.ndim > 2 and container != "default":
            raise ValueError(
                f"views (n, m, d) have embeddings (n, m, k), which make no table of {container}, found X of shape "
                f"{checked.shape}; transform X.reshape(-1, {checked.shape[-1]}), or set_output(transform='default')"
            )
        values = self.representation_.transform(checked, check_scale(self.scale), backend=self.backend)
        out: Array = kind_of(X).convert_back(values)
        return out

    def score(self, X: ArrayLike, y: Any = None, *, groups: Any = None, sample_weight: Any = None) -> float:
        """Return minus the unbiased risk on fresh views of the samples X: the larger, the better; ``y`` is ignored.

        An estimate of minus the population's risk if X was not in the fit, as in cross-validation.  With input="views"
        the views X themselves are taken.  ``groups`` and ``sample_weight`` are as for `fit`.

        Raises
        ------
        ValueError
            If there are fewer than 2 samples: the risk has pairs of them.
        """
        validation.check_is_fitted(self)
        X = self._standardized(self._checked(X, reset=False))
        rep = self.representation_.of_standardized()
        if self.positives is not None:
            refuse_options({"groups": groups, "sample_weight": sample_weight})
            return -risk_on_pairs(rep, X, self.positives, self.backend)
        views: Array | Views = X
        if self.input != "views":
            views = Views(X, self.augmentation_, self.n_views, (self._seed + FRESH) % 2**64)
        data = self._check_data(views, groups, sample_weight, single_views=False)
        if data.n < 2:
            raise ValueError(
                f"score estimates the risk from pairs of samples, so X must hold at least 2, found {data.n}; take "
                f"larger folds (no leave-one-out), or groups that name more samples"
            )
        z = rep.transform(views, backend=self.backend)
        if data.groups is None and data.weight is None:
            m = z.shape[1]
            # a biased fit solves the problem at a smaller beta
            return -float(vicreg(z, rep.beta if rep.unbiased else rep.beta * (m - 1) / m, unbiased=True))
        backend = get_backend(z)
        samples = data.samples(backend)
        risk = HeldOutRisk(rep.n_components, rep.beta, rep.unbiased, backend)
        total = float(data.n_views if data.weight is None else data.weight.sum())
        risk.add(z.reshape(-1, rep.n_components)[samples.order], samples, total, np.arange(data.n) % GROUPS)
        return -risk.value()[0]

    @property
    def representation_(self) -> Representation:
        """The representation that was fitted."""
        if getattr(self, "_stale", False):
            self._representation = self._moments.solve(
                self._n_features_out, reg=self.reg, beta=self.beta, unbiased=self.unbiased, center=self.center
            ).standardized_by(self.standardization_)
            self._stale = False
        found: Representation | None = getattr(self, "_representation", None)
        if found is None:
            raise AttributeError("this SSLEmbedding is not fitted yet; call fit")
        return found

    @property
    def reg_(self) -> float:
        """The reg in use."""
        return self.representation_.reg

    def __sklearn_is_fitted__(self) -> bool:
        return getattr(self, "_stale", False) or getattr(self, "_representation", None) is not None

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        tags.input_tags.pairwise = isinstance(self.kernel, Precomputed)
        tags.input_tags.three_d_array = self.input == "views"
        return tags

    def _more_tags(self) -> dict[str, Any]:  # scikit-learn before 1.6
        return {
            "preserves_dtype": [np.float64, np.float32],
            "pairwise": isinstance(self.kernel, Precomputed),
            "_xfail_checks": EXPECTED_FAILURES,
        }

    def _checked(self, X: Any, *, reset: bool) -> Array:
        """Return X as an array, by our checks and, if it is NumPy's, scikit-learn's; remember its names and width."""
        check_choice(self.input, "input", INPUTS)
        found = as_entries(X, "X")
        array = found
        if self.input != "views" and found.ndim > 2:
            array = as_rows(found, self.augmentation, self.input, () if reset else self._shape[1:])
        if reset:
            self._shape = found.shape
        several = self.input == "views" and array.ndim == 3
        array = as_table(self, array, "X", reset=reset, several=several)
        whole = X if array is not found or found.ndim == 2 else array
        remember_columns(self, whole, int(array.shape[-1]), found.ndim, reset)
        return array

    def _check_data(self, views: Any, groups: Any, sample_weight: Any, *, single_views: bool = True) -> Data:
        """Return what `as_data` makes of checked views; groups and weights of views are for views that are given."""
        if self.input != "views":
            views, sample_weight = checked_samples(views, groups, sample_weight, self.kernel)
        return as_data(views, groups, sample_weight, single_views=single_views)

    def _begin(self, X: Array, groups: Any, sample_weight: Any) -> Any:
        """Settle what has a default, warn of what looks wrong, and give the views."""
        self._check_data(X, groups, sample_weight)
        shape = self._shape if self.input != "views" else (len(X.reshape(-1, X.shape[-1])), X.shape[-1])
        self._settle(X.reshape(shape))
        x = self._standardized(X)
        if self.augmentation_ is None:
            return x
        self.augmentation_ = self.augmentation_.fitted(x)
        views = Views(x, self.augmentation_, self.n_views, self._seed)
        table = len(self._shape) == 2 and self.input == "samples"
        names = getattr(self, "feature_names_in_", None)
        warn(X if table else X[:, None], views, self.standardization_, names)
        return views

    def _standardized(self, X: Array) -> Array:
        """Return points or views as the fit takes them."""
        return X if self.standardization_ is None else self.standardization_(X)

    def _begin_on_cluster(self, X: Any) -> Any:
        """Do the same with an array of a cluster, whose entries are checked where they lie."""
        check_choice(self.input, "input", ("samples", "views"))
        if X.ndim != (3 if self.input == "views" else 2):
            shape = "views (n, m, d)" if self.input == "views" else "samples (n, d)"
            raise ValueError(f"with input={self.input!r}, X on a cluster must hold {shape}, found shape {X.shape}")
        require_known_sizes(X, "X")
        self.n_features_in_, self._shape = int(X.shape[-1]), X.shape
        self.__dict__.pop("feature_names_in_", None)  # of another fit
        rows = X[:: max(1, -(-len(X) // tunables.LOOK_SAMPLES))].compute()
        self._settle(as_array(rows, "X", ndim=(2, 3)).reshape(-1, X.shape[-1]), of=X)
        x = self._standardized(X)
        return x if self.input == "views" else home_of(x).views(x, self.augmentation_, self.n_views, seed=self._seed)

    def _transform_on_cluster(self, X: Any) -> Any:
        if X.shape[-1] != self.n_features_in_:
            raise ValueError(
                f"X has {X.shape[-1]} features, but SSLEmbedding is expecting {self.n_features_in_} features as input"
            )
        return self.representation_.transform(X, check_scale(self.scale), backend=self.backend)

    def _settle(self, rows: Array, of: Any = None) -> None:
        """Settle what has a default, for samples like these; ``of``: what columns are standardised by instead."""
        self._representation = None
        state, fixed = self.random_state, isinstance(self.random_state, int | np.integer)
        self._seed = as_seed(state) if fixed else int(check_random_state(state).randint(2**31))
        if self.positives is not None and (self.augmentation is not None or self.input == "views"):
            raise ValueError("with positives, X holds points (n, d): leave out augmentation and input='views'")
        n = None if of is None else math.prod(of.shape[:-1])
        kind, given = self.input if self.input in KINDS else "auto", given_to(self, self._seed)
        chosen = choose(rows, kind=kind, standardize=self.standardize, n_rows=n, seed=self._seed, given=given)
        self._chosen, self.chosen_ = chosen, chosen.reasons
        self.kernel_, self.augmentation_ = chosen.kernel, chosen.augmentation
        self.standardization_ = chosen.standardization
        if of is not None and chosen.standardization is not None:
            self.standardization_ = Standardization.of(of)
