"""`CrossEmbedding`: two modalities as an estimator in the form of scikit-learn's cross-decompositions."""

from __future__ import annotations

import functools
from typing import Any

try:
    import sklearn.utils.validation as validation
    from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
except ImportError as error:  # pragma: no cover - depends on the installation
    raise ImportError("CrossEmbedding needs scikit-learn: pip install '.[sklearn]' in sslcore's folder") from error

from .arrays import Array, ArrayLike, as_entries, kind_of
from .declarations.nested import _NestedParameters
from .defaults import Standardization, choose
from .defaults._choice import LANDMARKS, N_COMPONENTS, SCALE, count_components
from .defaults._estimating import as_table, remember_columns
from .features import Features, Nystrom
from .fitting.collections import refuse_cluster
from .fitting.modalities import risk_of_modalities
from .fitting.pretraining import pretrain
from .fitting.search import as_search
from .fitting.spectral import check_scale
from .kernels import Precomputed

__all__ = ["CrossEmbedding"]

EXPECTED_FAILURES = {
    "check_sample_weight_equivalence_on_dense_data": "pairs of weight zero are refused: leave them out",
    "check_sample_weights_invariance": "pairs of weight zero are refused: leave them out",
}
"""Checks of scikit-learn that fail, with the reason."""


class CrossEmbedding(_NestedParameters, ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):
    """Embedding of two modalities in closed form, with the methods of scikit-learn's ``CCA``.

    ``fit(X, y)`` takes pairs, row i of X with row i of y, such as images and captions, and finds functions of each that
    agree on pairs (`sslcore.pretrain` of two modalities): of two kernels regularised kernel canonical correlation
    analysis, of two feature models linear CCA, or a linear CLIP.  ``transform`` embeds points of one modality, or of
    both, in one space.  ``score`` is minus the unbiased risk on pairs, so that ``GridSearchCV`` chooses kernels and reg
    on held-out pairs.  (Not beta nor n_components: risks at different ones do not compare.)  Parameters of kernels and
    features have names too, such as ``model_x__scale``.

    Parameters
    ----------
    model_x, model_y : Kernel, callable or Features, optional
        Of each modality; both kernels, or both features.  By default a `Gaussian` at the median distance of the points;
        of over 3,000 pairs, or beside features, Nystrom features of it.
    n_components : int, optional
        k; by default 32, or as many as there are.
    reg : "auto", float or `sslcore.selection.AutoReg`
        Weight of the norm; "auto": of least risk on held-out pairs.
    beta : float
        Weight of the agreement.
    unbiased, center : bool
        As for `sslcore.pretrain`; centred by default: each modality has an intercept of its own.
    standardize : {"auto", "unlike"} or bool
        Bring the columns of both to mean 0 and deviation 1 first; kept in the representation.  "auto": where the model
        is chosen here, for one that is given is in units of the data.  "unlike": then too, where deviations of columns
        differ by more than 10 times.
    scale : {"probe", "norm", "risk", "unit"}
        What ``transform`` measures components in, as `BimodalRepresentation.transform`; by default that of
        `SSLEmbedding`, for the same reason: functions that are smooth and agree on pairs count most.  Of two halves of
        digits, with 5 labels a class, a probe on either was 1 point better than in "norm".
    backend, memory, solver
        As for `sslcore.pretrain`.

    Attributes
    ----------
    representation_ : BimodalRepresentation
        With ``eigenvalues``, ``canonical_correlations()``, ``certificate``, ``first`` and ``second``, and ``save``.
    reg_ : float
        The reg in use.
    models_ : tuple of two
        The models in use.
    standardizations_ : tuple of two `sslcore.defaults.Standardization` or None
    chosen_ : tuple of str
        What was chosen for what was not given, and why, in words.
    n_features_in_ : int
        Columns of X.

    Examples
    --------
    >>> import numpy as np, sslcore
    >>> rng = np.random.default_rng(0)
    >>> meaning = rng.normal(size=(300, 2))
    >>> images, captions = np.tanh(meaning @ rng.normal(size=(2, 6))), np.sign(meaning)
    >>> pairs = sslcore.CrossEmbedding(n_components=2, reg=1e-3).fit(images[:200], captions[:200])
    >>> of_images, of_captions = pairs.transform(images[200:], captions[200:])
    >>> pairs.transform(images[200:]).shape, pairs.transform(None, captions[200:]).shape
    ((100, 2), (100, 2))
    >>> bool((of_images * of_captions).sum(axis=1).mean() > 0), bool(pairs.representation_.eigenvalues[0] > 0.8)
    (True, True)
    """

    representation_: Any
    models_: tuple[Any, Any]
    standardizations_: tuple[Standardization | None, Standardization | None]
    chosen_: tuple[str, ...]
    _width_of_y: int

    def __init__(
        self,
        model_x: Any = None,
        model_y: Any = None,
        n_components: int | None = None,
        reg: Any = "auto",
        beta: float = 1.0,
        *,
        unbiased: bool = True,
        center: bool = True,
        standardize: bool | str = "auto",
        scale: str = SCALE,
        backend: str | None = None,
        memory: int | str | None = None,
        solver: str | None = None,
    ) -> None:
        self.model_x = model_x
        self.model_y = model_y
        self.n_components = n_components
        self.reg = reg
        self.beta = beta
        self.unbiased = unbiased
        self.center = center
        self.standardize = standardize
        self.scale = scale
        self.backend = backend
        self.memory = memory
        self.solver = solver

    def fit(self, X: ArrayLike, y: ArrayLike, *, sample_weight: Any = None) -> CrossEmbedding:
        """Fit to pairs.

        Parameters
        ----------
        X : array (n, d_x)
            Points of the first modality; of `Precomputed` its Gram matrix.
        y : array (n, d_y) or (n,)
            Those of the second one, row by row; one number each is one column.
        sample_weight : array (n,), optional
            Positive weights of the pairs.  What is chosen here counts each once.

        Returns
        -------
        self

        Raises
        ------
        ValueError, TypeError
            There are not as many rows, one modality is constant, or one model is a kernel and the other one features.
        """
        if y is None:
            raise ValueError(
                "CrossEmbedding requires y to be passed, but the target y is None: it is the second modality, row i of "
                "it belongs to row i of X"
            )
        parts = self._checked(X, y, reset=True)
        if len(parts[0]) != len(parts[1]):
            raise ValueError(
                f"the rows of X and y are pairs, and there must be as many, found {len(parts[0])} and {len(parts[1])}; "
                f"leave out those that have no partner"
            )
        self._settle(parts)
        x, z = (p if s is None else s(p) for p, s in zip(parts, self.standardizations_, strict=True))
        searched = as_search(self.reg) is not None
        usual = min(
            count_components(model, len(part), part.shape[1], N_COMPONENTS, searched=searched)
            for model, part in zip(self.models_, parts, strict=True)
        )
        found = pretrain(
            (x, z),
            self.models_,
            usual if self.n_components is None else self.n_components,
            reg=self.reg,
            beta=self.beta,
            unbiased=self.unbiased,
            center=self.center,
            sample_weight=sample_weight,
            backend=self.backend,
            memory=self.memory,
            solver=self.solver,
        )
        self.representation_ = found.standardized_by(*self.standardizations_)
        self._n_features_out = found.n_components
        return self

    def fit_transform(self, X: ArrayLike, y: ArrayLike, **fit_params: Any) -> Array:
        """Fit to pairs, and return the embedding of X alone, (n, k): a step of a pipeline hands on one array."""
        out: Array = self.fit(X, y, **fit_params).transform(X)
        return out

    def transform(self, X: ArrayLike | None, y: ArrayLike | None = None) -> Any:
        """Embed points of one modality, or of both, in the ``scale`` asked for.

        Parameters
        ----------
        X : array (n, d_x) or None
        y : array (n', d_y), (n',) or None
            Points of the second modality; ``transform(None, y)`` embeds them alone.

        Returns
        -------
        array (n, k), or two
            Two, if both modalities are given, as ``CCA`` does.
        """
        validation.check_is_fitted(self)
        values = self.representation_.transform(
            self._checked(X, y, reset=False), check_scale(self.scale), backend=self.backend
        )
        if X is not None and y is not None:
            return tuple(kind_of(part).convert_back(z) for part, z in zip((X, y), values, strict=True))
        return kind_of(y if X is None else X).convert_back(values)

    def score(self, X: ArrayLike, y: ArrayLike, *, sample_weight: Any = None) -> float:
        """Return minus the unbiased risk on pairs: the larger, the better.

        An estimate of minus the population's risk if the pairs were not in the fit, as in cross-validation.

        Raises
        ------
        ValueError
            There are fewer than 2 pairs.
        """
        validation.check_is_fitted(self)
        if y is None:
            raise ValueError("score takes pairs: hand over the second modality as y, found None")
        pair = self._checked(X, y, reset=False)
        return -risk_of_modalities(self.representation_, pair, sample_weight, self.backend)

    @property
    def reg_(self) -> float:
        """The reg in use."""
        reg: float = self.representation_.reg
        return reg

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.required = tags.target_tags.multi_output = True
        return tags

    def _more_tags(self) -> dict[str, Any]:  # scikit-learn before 1.6
        return {"requires_y": True, "multioutput": True, "_xfail_checks": EXPECTED_FAILURES}

    def _checked(self, X: Any, y: Any, *, reset: bool) -> tuple[Any, Any]:
        """Return both modalities as arrays; remember the columns, or compare with those of the fit."""
        first = second = None
        for value, name in ((X, "X"), (y, "y")):
            refuse_cluster(value, name)
        if X is not None or y is None or reset:
            found = as_entries(X, "X")
            first = as_table(self, found, "X", reset=reset)
            remember_columns(self, X, int(first.shape[1]), found.ndim, reset)
        if y is not None:
            found = as_entries(y, "y")
            second = as_table(self, found[:, None] if found.ndim == 1 else found, "y", reset=reset)
            if reset:
                self._width_of_y = int(second.shape[1])
            elif second.shape[1] != self._width_of_y:
                raise ValueError(
                    f"y has {second.shape[1]} features, but CrossEmbedding is expecting {self._width_of_y} features of "
                    f"the second modality"
                )
        return first, second

    def _settle(self, parts: tuple[Array, Array]) -> None:
        """Settle what has a default for these points."""
        models = self.model_x, self.model_y
        features = any(isinstance(model, Features) for model in models)
        exact = self.solver is not None or any(m is not None and not isinstance(m, Features) for m in models)
        chosen = []
        for name, part, model in zip(("X", "y"), parts, models, strict=True):
            given: dict[str, Any] = {"augmentation": None, "n_components": 1, "scale": self.scale}
            if model is not None:
                given["features" if isinstance(model, Features) else "kernel"] = model
            elif exact:
                given["solver"] = True
            elif features:
                given["features"] = functools.partial(Nystrom, landmarks=min(LANDMARKS, len(part)))
            auto = isinstance(self.standardize, str) and self.standardize == "auto"
            standardize = model is None if auto else self.standardize
            if isinstance(model, Precomputed) and standardize is not False:
                raise TypeError(f"the Gram matrix {name} has no columns to be standardised: use standardize=False")
            chosen.append(choose(part, kind="table", standardize=standardize, n_rows=2 * len(part), given=given))
        first, second = chosen
        self.models_ = first.model, second.model
        self.standardizations_ = first.standardization, second.standardization
        self.chosen_ = tuple(
            f"{name}: {r}" for name, each in zip(("X", "y"), chosen, strict=True) for r in each.reasons
        )
