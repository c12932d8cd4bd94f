"""The CUDA sources, and what they are compiled with: for the loader, for ``setup.py`` and for the tests.

Uses the standard library only, and is no part of a package when ``setup.py`` runs it.
"""

from __future__ import annotations

import functools
import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType

__all__ = [
    "ARCHITECTURES",
    "FOLDER",
    "NAMES",
    "PREBUILT",
    "TILES",
    "DamagedError",
    "fatbin_name",
    "find_prebuilt",
    "numbers",
    "options",
    "text",
    "variants",
    "write_manifest",
]

FOLDER = Path(__file__).parent / "cuda"
PREBUILT = Path(__file__).parent / "prebuilt"
NAMES = ("angles", "dense", "gram", "prefix_probes", "risk", "rotate", "views", "walsh")
PROFILE = "SSL_PROFILE"
"""The macro that holds the profile of a kernel."""
TILES = {"sqdist": ("squares", "distances"), "l1": ("absolutes",), "torus": ("circles",), "dot": ("products",)}
"""Ways in which gram.cu forms a pair value; squared distances from differences, for many coordinates from products."""
ARCHITECTURES = (80, 90, 100)
"""Compute capabilities (times 10) that are compiled ahead of time, where the compiler knows them."""

MANIFEST = "manifest.json"
"""Beside the files compiled ahead of time: what they serve, and their digests."""

_REAL = {"float32": "float", "float64": "double"}


class DamagedError(Exception):
    """Files compiled ahead of time are not as they were built: the driver, which trusts them, must not see them."""


def text(name: str) -> str:
    """Return the source ``name``.cu."""
    return (FOLDER / f"{name}.cu").read_text(encoding="utf-8")


_DEFINITION = re.compile(r"^#define[ \t]+(\w+)[ \t]+(\d+)[ \t]*(?://.*)?$", re.MULTILINE)
_ENUMERATION = re.compile(r"\benum\s*\{(.*?)\}", re.DOTALL)


@functools.cache
def numbers(name: str) -> Mapping[str, int]:
    """Read what the source ``name``.cu says of shapes of blocks and tiles, and of the order of what it is given.

    These are its integers after ``#define`` and its enumerators: nobody else writes them down.
    """
    code = re.sub(r"//.*", "", text(name))
    found = {key: int(value) for key, value in _DEFINITION.findall(code)}
    for enumeration in _ENUMERATION.findall(code):
        following = 0
        for entry in filter(None, map(str.strip, enumeration.split(","))):
            key, _, value = (part.strip() for part in entry.partition("="))
            if value and not value.isdecimal():
                break  # the compiler's to know
            found[key] = int(value) if value else following
            following = found[key] + 1
    return MappingProxyType(found)


def options(name: str, dtype: str, formula: str | None = None, tile: str | None = None) -> tuple[str, ...]:
    """Return what the source is compiled with, for a dtype, the profile of a kernel and one of TILES."""
    found: tuple[str, ...] = ("-std=c++17", f"-DSSL_REAL={_REAL[dtype]}")
    if name == "views":  # the same bits as on the CPU
        found += ("--fmad=false",)
    if formula is not None:
        found += (f"-D{PROFILE}={formula}", f"-DSSL_TILE={tile}")
    return found


def variants(profiles: Iterable[tuple[str, str]]) -> Iterator[tuple[str, str, str | None, str | None]]:
    """List source, dtype, formula, tile of all that is compiled: gram.cu once for each formula and tile of its pair."""
    tiles = [(formula, tile) for pair, formula in profiles for tile in TILES[pair]]
    for name in NAMES:
        for dtype in _REAL:
            for formula, tile in tiles if PROFILE in text(name) else [(None, None)]:
                yield name, dtype, formula, tile


def fatbin_name(name: str, dtype: str, formula: str | None = None, tile: str | None = None) -> str:
    """Name the file compiled ahead of time after what it was made from, so that an old one is never taken."""
    made_from = repr((text(name), options(name, dtype, formula, tile)))
    return f"{name}-{dtype}-{hashlib.sha256(made_from.encode()).hexdigest()[:16]}.fatbin"


def write_manifest(folder: Path, architectures: Iterable[int]) -> None:
    """Complete a folder of files compiled ahead of time for these architectures."""
    digests = {path.name: _digest(path.read_bytes()) for path in sorted(folder.glob("*.fatbin"))}
    content = {"architectures": sorted(architectures), "sha256": digests}
    (folder / MANIFEST).write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def find_prebuilt(
    folder: Path, name: str, dtype: str, formula: str | None, tile: str | None, capability: int
) -> Path | None:
    """Return the file compiled for this compute capability (times 10) from the sources as they are; or None.

    A binary serves its own device and later ones of the same generation.  Refuses files that have been damaged.
    """
    path = folder / fatbin_name(name, dtype, formula, tile)
    if not path.exists():
        return None
    try:
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        served = any(a // 10 == capability // 10 and a <= capability for a in manifest["architectures"])
        intact = manifest["sha256"][path.name] == _digest(path.read_bytes())
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DamagedError(f"{folder / MANIFEST} cannot be read ({error!r})") from None
    if not intact:
        raise DamagedError(f"{path} is not as it was built")
    return path if served else None


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
