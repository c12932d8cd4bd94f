"""`SSLEmbedding`: the representation as an estimator of scikit-learn, which only this module imports."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

try:
    import sklearn.utils.validation as validation
    from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
    from sklearn.utils import check_random_state
    from sklearn.utils.metaestimators import available_if
except ImportError as error:  # pragma: no cover - depends on the installation
    raise ImportError("SSLEmbedding needs scikit-learn: pip install 'sslcore[sklearn]'") from error

from .arrays import Array, as_array, as_seed, check_choice, check_integer
from .augmentations import Augmentation, GaussianNoise, Views
from .backends import device_of, get_backend
from .features import Features, Nystrom
from .inputs import as_data
from .interchange import as_native
from .kernels import Gaussian
from .moments import Moments
from .pretraining import pretrain
from .representation import Representation
from .risk import vicreg
from .selection import AutoReg, HeldOutRisk

__all__ = ["SSLEmbedding"]

FRESH = 0x9E3779B97F4A7C15
"""Added to the seed (modulo 2^64) for the views that `score` draws: not those of the fit."""


class SSLEmbedding(ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):
    """Self-supervised embedding in closed form, as a transformer of scikit-learn.

    ``fit`` makes views of the samples and finds the minimiser of the regularised VICReg risk (`sslcore.pretrain`);
    labels are ignored.  ``transform`` evaluates it at any points.  ``score`` is minus its unbiased risk on fresh views,
    so that ``GridSearchCV`` chooses kernels and reg by cross-validation without labels.  (Not beta nor n_components:
    risks at different ones do not compare.)

    Parameters
    ----------
    kernel : Kernel or callable, optional
        By default a `Gaussian` whose scale is the root of the total variance of the samples.
    augmentation : Augmentation, optional
        The law of the views; by default `GaussianNoise` with a tenth of the root mean variance of the coordinates.
    n_views : int
        m, views of each sample.
    n_components : int
        k.
    reg : "auto", float or `sslcore.selection.AutoReg`
        Weight of the norm; "auto": of least risk on held-out samples.
    beta : float
        Weight of the invariance.
    unbiased, center : bool
        As for `sslcore.pretrain`; centred by default, as in practice.
    features : Features or int, optional
        A feature model in place of the exact kernel; a number: that many Nystrom features of ``kernel``.
    input : {"samples", "views"}
        "views": X holds views made elsewhere, (n, m, d), or (N, d) with ``fit(X, groups=...)``; then ``augmentation``
        and ``n_views`` are not used.
    random_state : int, RandomState or None
        Seed of the views.
    backend : {"numba", "cupy"}, optional
        As for `sslcore.pretrain`.
    memory : int or str, optional
        Budget, as for `sslcore.pretrain`.

    Attributes
    ----------
    representation_ : Representation
        With ``eigenvalues``, ``certificate``, ``selection`` (for reg="auto") and ``save``.
    reg_ : float
        The reg in use.
    kernel_, augmentation_ :
        Those in use; None where there is none.
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
    _seed: int

    def __init__(
        self,
        kernel: Any = None,
        augmentation: Augmentation | None = None,
        n_views: int = 2,
        n_components: int = 2,
        reg: Any = "auto",
        beta: float = 1.0,
        *,
        unbiased: bool = True,
        center: bool = True,
        features: Any = None,
        input: str = "samples",
        random_state: Any = 0,
        backend: str | None = None,
        memory: int | str | None = None,
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
        self.random_state = random_state
        self.backend = backend
        self.memory = memory

    def fit(self, X: Any, y: Any = None, *, groups: Any = None) -> SSLEmbedding:
        """Fit to samples (n, d), or to views; ``y`` is ignored.

        Parameters
        ----------
        X : array (n, d); with input="views" (n, m, d), or (N, d) with ``groups``
        y : ignored
        groups : array (N,), optional
            The sample of each row of X, for input="views".

        Returns
        -------
        self
        """
        X = self._checked(X, reset=True)
        views = self._begin(X, groups)
        self._moments, self._stale = None, False
        self._representation = pretrain(
            views,
            self._model(),
            self.n_components,
            reg=self.reg,
            beta=self.beta,
            unbiased=self.unbiased,
            center=self.center,
            groups=groups,
            backend=self.backend,
            memory=self.memory,
        )
        self._n_features_out = self._representation.n_components
        return self

    def _can_update(self) -> bool:
        if self.features is None:
            raise AttributeError("partial_fit needs a feature model: give features=, or use fit")
        return True

    @available_if(_can_update)
    def partial_fit(self, X: Any, y: Any = None, *, groups: Any = None) -> SSLEmbedding:
        """Add more samples to what has been seen: for feature models, whose moments take memory O(r^2).

        Samples in parts give what ``fit`` gives on all of them (landmarks to be chosen are chosen from the first
        part).  reg must be a number: no sample is held out here.

        Parameters
        ----------
        X : array (n, d); with input="views" (n, m, d), or (N, d) with ``groups``
        y : ignored
        groups : array (N,), optional
            As for `fit`; all views of a sample must come in one part.

        Returns
        -------
        self
        """
        if isinstance(self.reg, str | AutoReg):
            raise ValueError(f"partial_fit holds no samples out, so reg must be a number, found {self.reg!r}")
        first = getattr(self, "_moments", None) is None
        X = self._checked(X, reset=first)
        if first:
            views = self._begin(X, groups)
            self._moments = Moments(self._model().fit(views), backend=self.backend)
        elif self.input == "samples":
            views = self.augmentation_.views(X, self.n_views, seed=self._seed, first=self._moments.n)
        else:
            views = X
        self._moments.update(views, groups=groups)
        self._stale, self._n_features_out = True, check_integer(self.n_components, "n_components", minimum=1)
        return self

    def transform(self, X: Any) -> Array:
        """The embedding psi(x): (n, k) of points (n, d), (n, m, k) of views (n, m, d)."""
        validation.check_is_fitted(self)
        return self.representation_.transform(self._checked(X, reset=False), backend=self.backend)

    def score(self, X: Any, y: Any = None, *, groups: Any = None) -> float:
        """Minus the unbiased risk on fresh views of the samples X: the larger, the better; ``y`` is ignored.

        An estimate of minus the population's risk if X was not in the fit, as in cross-validation.  With input="views"
        the views X themselves are taken.
        """
        validation.check_is_fitted(self)
        X = self._checked(X, reset=False)
        rep = self.representation_
        if self.input == "samples":
            views = Views(X, self.augmentation_, self.n_views, (self._seed + FRESH) % 2**64)
        else:
            views = as_data(X, groups, None).views  # checks the shapes
        z = rep.transform(views, backend=self.backend)
        if groups is None:
            m = z.shape[1]
            # a biased fit solves the problem at a smaller beta
            return -float(vicreg(z, rep.beta if rep.unbiased else rep.beta * (m - 1) / m, unbiased=True))  # type: ignore[arg-type]
        data = as_data(X, groups, None)
        engine = get_backend(z)
        samples = data.samples(engine)
        risk = HeldOutRisk(rep.n_components, rep.beta, rep.unbiased, engine)
        risk.add(z[samples.order], samples, float(data.n_views), np.arange(data.n) % 20)
        return -risk.value()[0]

    @property
    def representation_(self) -> Representation:
        """What was fitted."""
        if getattr(self, "_stale", False):
            self._representation = self._moments.solve(
                self.n_components, reg=self.reg, beta=self.beta, unbiased=self.unbiased, center=self.center
            )
            self._stale = False
        if getattr(self, "_representation", None) is None:
            raise AttributeError("this SSLEmbedding is not fitted yet; call fit")
        return self._representation

    @property
    def reg_(self) -> float:
        """The reg in use."""
        return self.representation_.reg

    def __sklearn_is_fitted__(self) -> bool:
        return getattr(self, "_stale", False) or getattr(self, "_representation", None) is not None

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags

    def _more_tags(self) -> dict[str, Any]:  # scikit-learn before 1.6
        return {"preserves_dtype": [np.float64, np.float32]}

    def _checked(self, X: Any, *, reset: bool) -> Array:
        """X as an array; NumPy's by scikit-learn's own checks, others by ours."""
        check_choice(self.input, "input", ("samples", "views"))
        ndim = (2,) if self.input == "samples" else (2, 3)
        native = as_native(X, "X")
        if native is not X or device_of(X) == "cupy":
            X = as_array(native, "X", ndim=ndim)
            return self._of_known_width(X, reset)
        several = self.input == "views" and np.ndim(X) == 3
        options = {"dtype": [np.float64, np.float32], "ensure_min_samples": 2 if reset else 1}
        if several:
            X = validation.check_array(X, allow_nd=True, ensure_2d=False, **options)
            return self._of_known_width(X, reset)
        if hasattr(validation, "validate_data"):
            return validation.validate_data(self, X, reset=reset, **options)
        return self._validate_data(X, reset=reset, **options)

    def _of_known_width(self, X: Array, reset: bool) -> Array:
        width = int(X.shape[-1])
        if reset:
            self.n_features_in_ = width
        elif width != self.n_features_in_:
            raise ValueError(
                f"X has {width} features, but SSLEmbedding is expecting {self.n_features_in_} features as input"
            )
        return X

    def _begin(self, X: Array, groups: Any) -> Any:
        """Settle what has a default, and give the views."""
        if self.input == "samples" and groups is not None:
            raise ValueError("groups name the sample of each view: use input='views'")
        self._representation = None
        points = X.reshape(-1, X.shape[-1])
        variances = points.var(axis=0, dtype=float)
        total = math.sqrt(float(variances.sum())) or 1.0
        needs_kernel = not isinstance(self.features, Features)
        if not needs_kernel and self.kernel is not None:
            raise ValueError(
                "give kernel or features, not both; a number as features means Nystrom features of the kernel"
            )
        self.kernel_ = (Gaussian(total) if self.kernel is None else self.kernel) if needs_kernel else None
        if isinstance(self.random_state, int | np.integer):
            self._seed = as_seed(self.random_state)
        else:
            self._seed = int(check_random_state(self.random_state).randint(2**31))
        if self.input == "views":
            self.augmentation_ = None
            return X
        noise = GaussianNoise(0.1 * (total / math.sqrt(X.shape[1])))
        self.augmentation_ = noise if self.augmentation is None else self.augmentation
        return Views(X, self.augmentation_, self.n_views, self._seed)

    def _model(self) -> Any:
        if self.features is None:
            return self.kernel_
        if isinstance(self.features, Features):
            return self.features
        return Nystrom(self.kernel_, check_integer(self.features, "features", minimum=1), seed=self._seed)
