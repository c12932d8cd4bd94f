"""Records of interrupted work: versions and settings in its files, compared with those of the call that goes on.

Work that goes on from a file (`sslcore.stream`, fits and paths without the kernel matrix, folders of cells) compares
the record in the file with its own, and refuses in one sentence what another call has written.
"""

from __future__ import annotations

import importlib.metadata
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from .._version import __version__
from .archive import MALFORMED, refusal

__all__ = ["WAY_OUT", "OtherRecord", "difference", "reading", "require_same", "require_versions", "versions"]

WAY_OUT = "choose another file, or remove that one to begin again"
"""What to do about a file of something else."""

SHOWN, BEFORE = 80, 30
"""Characters of a value that are shown, and of these before the place where it differs from another."""


class OtherRecord(Exception):
    """The file is a good one, of something else."""


def versions() -> dict[str, str]:
    """Return the versions of what decides the last bits of results."""
    return {"sslcore": __version__} | {name: importlib.metadata.version(name) for name in ("numpy", "scipy", "numba")}


def difference(there: Any, here: Any) -> str:
    """Tell in words where two plain values differ, at most three times."""
    if not isinstance(there, dict) or not isinstance(here, dict):
        return _beside(there, here)
    names = [name for name in sorted({*there, *here}) if there.get(name) != here.get(name)]
    lines = [f"{name} {_beside(there.get(name), here.get(name))}" for name in names[:3]]
    return "; ".join(lines) + (f"; and {len(names) - 3} more" if len(names) > 3 else "")


def _beside(there: Any, here: Any) -> str:
    """Write two values that differ; of long ones, the part in which they do."""
    pair = repr(there), repr(here)
    equal = next((i for i, (a, b) in enumerate(zip(*pair, strict=False)) if a != b), min(map(len, pair)))
    start = max(0, equal - BEFORE) if max(map(len, pair)) > SHOWN else 0
    first, second = (("..." if start else "") + text[start : start + SHOWN] for text in pair)
    return f"{first} there, {second} here"


def require_versions(path: str, there: Any, here: dict[str, str]) -> None:
    """Raise `OtherRecord` if the file at ``path`` was written by other versions."""
    if there != here:
        raise OtherRecord(
            f"{path} was written by other versions: {difference(there, here)}; install those versions to go on, or "
            f"{WAY_OUT}"
        )


def require_same(path: str, what: str, there: Any, here: Any) -> None:
    """Raise `OtherRecord` if the settings in the file are not those of this call, which is ``what``."""
    if there != here:
        raise OtherRecord(f"{path} is the checkpoint of {what}: {difference(there, here)}; {WAY_OUT}")


@contextmanager
def reading(path: str, kind: str) -> Iterator[None]:
    """Turn what is raised while the content of a file is taken apart into one ``ValueError`` that names the file."""
    try:
        yield
    except OtherRecord as error:
        raise ValueError(str(error)) from None
    except MALFORMED as error:
        raise refusal(path, (kind,), error) from None
