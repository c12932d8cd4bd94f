"""Checkpoints of a stream: its sums, and a record of what was read."""

from __future__ import annotations

import os
import zlib
from typing import Any

import numpy as np

from .. import tunables
from ..arrays import check_integer
from ..backends import Backend
from ..features import Features
from ..fitting.codec import encode, read_values, same_features, write_values
from ..io.atomic import as_path, check_writable
from ..io.records import WAY_OUT, OtherRecord, reading, require_same, require_versions, versions
from ..positives import TimeLag
from ..solvers.sums import Sums
from ._leaves import Node
from ._sources import Leaf

__all__ = ["Checkpoint", "checksum"]

_KIND = "stream"
_OTHER_SETTINGS = "a stream of other settings"


def checksum(views: np.ndarray) -> int:
    """Return the CRC-32 of views in C order: 2.7 GB/s, where BLAKE2b has 0.9 and SHA-256 1.7."""
    return zlib.crc32(views.reshape(-1).view(np.uint8).data)


def _blas_threads() -> int:
    """Return how many threads BLAS is told to use: the last bits of its products depend on it."""
    for name in ("OPENBLAS_NUM_THREADS", "GOTO_NUM_THREADS", "OMP_NUM_THREADS"):
        text = os.environ.get(name, "")
        if text.isdecimal() and int(text):
            return int(text)
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class Checkpoint:
    """A file with the state of a stream at some moment: whole leaves only, which are known again by checksums.

    Attributes
    ----------
    seen : dict
        Checksum of each leaf that is in the sums.
    nodes : list of (int, Node)
        The sums, with the part of each.
    width : int
        The sums that a node of the tree adds: that of the file, where there is one.
    """

    def __init__(
        self, path: str | os.PathLike[str], features: Features, deterministic: bool, law: TimeLag | None
    ) -> None:
        self.path, self._features = as_path(path), features
        self._settings: dict[str, Any] = {"leaf_views": tunables.STREAM_LEAF_VIEWS, "deterministic": deterministic}
        self.width = self._settings["tree"] = tunables.STREAM_NODE_PARTS
        if law is not None:
            self._settings["lag"] = law.lag
        if deterministic:
            self._settings["blas_threads"] = _blas_threads()
        self._there: dict[str, Any] | None = None
        self.seen: dict[int, int] = {}
        self.nodes: list[tuple[int, Node]] = []
        self._files: list[Any] = []
        encode(features, "features", {})  # what cannot be saved is refused before the work
        if os.path.lexists(self.path):
            self._read()
        check_writable(self.path)

    def _read(self) -> None:
        _, content = read_values(self.path, _KIND)
        with reading(self.path, _KIND):
            require_versions(self.path, content.get("versions"), versions())
            if not same_features(content["features"], self._features):
                raise OtherRecord(
                    f"{self.path} is the checkpoint of other features, {content['features']!r:.200}, not of "
                    f"{self._features!r:.200}; {WAY_OUT}"
                )
            self._there = content["settings"]
            self.width = self._settings["tree"] = check_integer(self._there.get("tree"), "tree", minimum=2)
            require_same(
                self.path,
                _OTHER_SETTINGS,
                {name: self._there.get(name) for name in self._settings},
                self._settings,
            )
            leaves, checksums = content["leaves"], content["checksums"]
            if leaves.dtype != np.int64 or leaves.shape != checksums.shape or leaves.ndim != 1:
                raise ValueError("leaves and checksums must be as many integers")
            self.seen = dict(zip(leaves.tolist(), checksums.tolist(), strict=True))
            for entry in content["sums"]:
                part, level, index, count = (
                    check_integer(entry.pop(name), name, minimum=0) for name in ("part", "level", "index", "count")
                )
                sums = Sums(**entry)
                sums.require_good()
                self.nodes.append((part, Node(level, index, count, sums.in_fortran_order())))
            self._files = content["files"]

    def begin(self, views: np.ndarray, backend: Backend) -> None:
        """Compare the first views of the stream with those that were seen before."""
        _, m, d = views.shape
        self._settings |= {"n_views": m, "n_coordinates": d, "dtype": str(views.dtype), "backend": backend.NAME}
        if self._there is not None:
            with reading(self.path, _KIND):
                require_same(self.path, _OTHER_SETTINGS, self._there, self._settings)
        self.nodes = [
            (part, Node(node.level, node.index, node.count, node.sums.on(backend))) for part, node in self.nodes
        ]

    def verify(self, leaf: Leaf) -> None:
        """Refuse a leaf that is not what was read before."""
        if not leaf.whole:
            raise self._ended()
        if checksum(leaf.views) == self.seen[leaf.index]:
            return
        first = leaf.index * len(leaf.views)
        then = {name for name, start, count in self._files if start < first + len(leaf.views) and start + count > first}
        now = {block.name for _, block, _ in leaf.spans if block.is_file}
        were = f" (they were read from {', '.join(sorted(then))} then)" if then and then != now else ""
        raise ValueError(
            f"{leaf.range()} are not what the checkpoint {self.path} has seen as samples {first} to "
            f"{first + len(leaf.views) - 1}{were}: the data have changed, or their order; bring them back to go on, or "
            f"remove the checkpoint to begin again"
        )

    def require_all(self, n_verified: int) -> None:
        """Refuse a stream that has ended before all came that was read before."""
        if n_verified < len(self.seen):
            raise self._ended()

    def _ended(self) -> ValueError:
        return ValueError(
            f"the stream ends before all {len(self.seen)} leaves came that the checkpoint {self.path} has seen: files "
            f"are missing or shorter than they were; bring them back to go on, or remove the checkpoint to begin again"
        )

    def write(self, nodes: list[tuple[int, Node]], files: list[tuple[str, int, int]]) -> None:
        """Write the state; the file is the old one or the new one, whatever ends the process."""
        leaves = np.fromiter(self.seen, np.int64, len(self.seen))
        content = {
            "features": self._features,
            "settings": self._settings,
            "versions": versions(),
            "files": [list(file) for file in files],
            "leaves": leaves,
            "checksums": np.fromiter(self.seen.values(), np.int64, len(self.seen)),
            "sums": [
                {"part": part, "level": node.level, "index": node.index, "count": node.count} | vars(node.sums)
                for part, node in nodes
            ],
        }
        try:
            write_values(self.path, _KIND, content)
        except OSError as error:
            stays = "the checkpoint before it stays, from which the same call goes on"
            new = type(error)(f"{error}; {stays if os.path.lexists(self.path) else 'make room, and begin again'}")
            new.errno = error.errno
            raise new from None
