"""Points and targets of a learning curve: fresh draws of a function, or subsets of a table.

All numbers that are drawn come from seeds of their own, ``SeedSequence(seed, spawn_key=(repetition, purpose, ...))``,
so that no draw depends on how many others there were before it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..arrays import as_array, as_entries, on_host, read_target

__all__ = ["KINDS", "VIEWS", "Repetition", "Source", "seed_of"]

KINDS = ("values", "classes", "probabilities")

PRETRAINING, VIEWS, TEST, DRAW, LABELS, LOOK, POOL = range(7)
"""What a seed is for: the second number of its key."""

_LOOK_POINTS = 4096


def seed_of(seed: int, *key: int) -> int:
    """Return the seed (64 bits) of one purpose."""
    return int(np.random.SeedSequence(seed, spawn_key=key).generate_state(1, np.uint64)[0])


@dataclass(frozen=True, eq=False)
class Source:
    """Points and their targets.

    Attributes
    ----------
    data : array (n_total, d) or callable
        (n, seed) to (n, d).
    target : array (n_total, q) of float64 or callable
        One-hot for classes; a callable gives what the user's does.
    kind : str
        One of `KINDS`.
    classes : array (q,) or None
    n_targets : int
        q.
    seed : int
    n_test, n_pretraining, n_downstream : int
        Points of the test, of the largest pretraining and of the largest downstream set.
    pool : int or None
        Fresh points of a repetition of which each downstream draw is a part; None: each has points of its own.
    """

    data: Any
    target: Any
    kind: str
    classes: np.ndarray | None
    n_targets: int
    seed: int
    n_test: int
    n_pretraining: int
    n_downstream: int
    pool: int | None = None

    @classmethod
    def of(cls, data: Any, target: Any, kind: str, seed: int, n_test: int, sizes: tuple[int, int]) -> Source:
        """Check data and target, and make one; ``sizes`` are the largest of pretraining and downstream."""
        if callable(data):
            if not callable(target):
                raise TypeError(
                    f"target must be a function of points, x (n, d) to targets (n,) or (n, q), where data is one of "
                    f"(n, seed); found {type(target).__name__}"
                )
            look = _drawn(data, max(_LOOK_POINTS, n_test), seed_of(seed, LOOK))
            wanted, classes = _read(target(look), len(look), kind, "the target of the first draw")
            return cls(data, target, kind, classes, wanted.shape[1], seed, n_test, *sizes)
        x = on_host(as_array(as_entries(data, "data"), "data", ndim=2, shape_hint="(n_total, d)"))
        wanted, classes = _read(target(x) if callable(target) else target, len(x), kind, "target")
        _check_room(len(x), n_test, *sizes)
        return cls(x, wanted, kind, classes, wanted.shape[1], seed, n_test, *sizes)

    @property
    def n_coordinates(self) -> int | None:
        """The number d of a table."""
        return None if callable(self.data) else self.data.shape[1]


class Repetition:
    """Draws of one repetition of pretraining.

    Of a table, the test points are held out first; the pretraining sample and each downstream draw are subsets of the
    others, without replacement, and may overlap.
    """

    def __init__(self, source: Source, index: int) -> None:
        self._source, self._index = source, index
        if not callable(source.data):
            order = self._generator(TEST).permutation(len(source.data))
            self._held_out, self._pool = order[: source.n_test], order[source.n_test :]
        self.pool: np.ndarray | None = None
        if source.pool is not None:
            self.pool = _drawn(source.data, source.pool, self.seed(POOL))
            self._pool_targets = self._truth(self.pool)

    def seed(self, *key: int) -> int:
        """Return a seed of this repetition."""
        return seed_of(self._source.seed, self._index, *key)

    def _generator(self, *key: int) -> np.random.Generator:
        return np.random.default_rng(self.seed(*key))

    def pretraining(self) -> np.ndarray:
        """Draw the largest pretraining sample; smaller ones are its first points."""
        source = self._source
        if callable(source.data):
            return _drawn(source.data, source.n_pretraining, self.seed(PRETRAINING))
        chosen = self._generator(PRETRAINING).choice(self._pool, source.n_pretraining, replace=False)
        return np.asarray(source.data[chosen])

    def test(self) -> tuple[np.ndarray, np.ndarray]:
        """Draw test points (t, d), and their true targets (t, q)."""
        source = self._source
        if callable(source.data):
            x = _drawn(source.data, source.n_test, self.seed(TEST))
            return x, self._truth(x)
        return source.data[self._held_out], source.target[self._held_out]

    def downstream(self, draw: int, *size: int) -> tuple[np.ndarray, np.ndarray]:
        """Draw labelled points (s, d) and what is fitted to (s, q): where there are probabilities, one label a point.

        ``size``, the place of a pretraining size, is in the seed if draws are not shared between these.
        """
        source, key = self._source, (draw, *size)
        if self.pool is not None:
            places = self.places(draw, *size)
            x, y = self.pool[places], self._pool_targets[places]
        elif callable(source.data):
            x = _drawn(source.data, source.n_downstream, self.seed(DRAW, *key))
            y = self._truth(x)
        else:
            chosen = self._generator(DRAW, *key).choice(self._pool, source.n_downstream, replace=False)
            x, y = source.data[chosen], source.target[chosen]
        if source.kind != "probabilities":
            return x, y
        level = self._generator(LABELS, *key).uniform(size=(len(y), 1))
        labels = (np.cumsum(y, axis=1)[:, :-1] <= level).sum(axis=1)
        return x, np.eye(y.shape[1])[labels]

    def places(self, draw: int, *size: int) -> np.ndarray:
        """Draw which points of the pool are labelled, without replacement."""
        chosen = self._generator(DRAW, draw, *size).choice(
            self._source.pool or 0, self._source.n_downstream, replace=False
        )
        return np.asarray(chosen)

    def _truth(self, x: np.ndarray) -> np.ndarray:
        source = self._source
        found = source.target(x)
        if source.classes is None:
            y = _read(found, len(x), source.kind, "the target")[0]
            if y.shape[1] != source.n_targets:
                raise ValueError(f"the target gave {y.shape[1]} columns, after {source.n_targets} at the first draw")
            return y
        labels = np.asarray(found)
        place = np.searchsorted(source.classes, labels).clip(max=len(source.classes) - 1)
        strange = labels[source.classes[place] != labels]
        if labels.shape != (len(x),) or len(strange):
            found = f"the class {strange[0].item()!r}" if len(strange) else f"the shape {labels.shape}"
            raise ValueError(
                f"the target gave {found}, the classes of the first draw are {source.classes.tolist()!r:.200}; for "
                f"rare classes give kind='probabilities' and one-hot targets"
            )
        one_hot: np.ndarray = np.eye(len(source.classes))[place]
        return one_hot


def _drawn(data: Callable[[int, int], Any], n: int, seed: int) -> np.ndarray:
    x: np.ndarray = on_host(as_array(data(n, seed), "what data(n, seed) returns", ndim=2, shape_hint="(n, d)"))
    if len(x) != n:
        raise ValueError(f"data(n, seed) must return n points (n, d), found shape {x.shape} for n = {n}")
    return x


def _read(target: Any, n: int, kind: str, name: str) -> tuple[np.ndarray, np.ndarray | None]:
    """Return targets (n, q) in float64 and the classes, if they are these."""
    if kind == "classes":
        found = read_target(target, n, "classification")
        if len(found.places) < n:
            raise ValueError(
                f"{name} must have a label for each of the {n} points, found {n - len(found.places)} without; leave "
                f"those points out"
            )
        assert found.classes is not None
        return np.eye(len(found.classes))[np.asarray(found.values)], found.classes
    y = on_host(as_array(target, name, ndim=(1, 2), shape_hint="(n,) or (n, q)")).astype(np.float64)
    if len(y) != n:
        raise ValueError(f"{name} must have a row for each of the {n} points, found shape {y.shape}")
    y = y.reshape(n, -1)
    if kind == "probabilities":
        bad = (y < 0).any(axis=1) | (abs(y.sum(axis=1) - 1.0) > 1e-5)
        if y.shape[1] < 2 or bad.any():
            row = int(np.argmax(bad))
            raise ValueError(
                f"{name} must be probabilities of two classes or more, each >= 0, that sum to 1, found "
                f"{y[row].tolist()!r:.100} at point {row}"
            )
    return y, None


def _check_room(n: int, n_test: int, n_pretraining: int, n_downstream: int) -> None:
    """Refuse sizes that the table has no points for."""
    left = n - n_test
    for name, size in (("pretraining_sizes", n_pretraining), ("downstream_sizes", n_downstream)):
        if size > left:
            raise ValueError(
                f"{name} must be at most {max(left, 0)}, the {n} points of data less {n_test} for the test, found "
                f"{size}; use smaller sizes or a smaller n_test"
            )
