"""Shapes of blocks and tiles stand in the `.cu` alone: where a source says another number, its caller follows."""

from __future__ import annotations

import contextlib
import importlib
import re

import numpy as np
import pytest

from sslcore import risk
from sslcore.augmentations import TangentStep
from sslcore.backends import get_backend
from sslcore.gram import gram
from sslcore.kernels import ArcCosine, Exponential, Gaussian
from sslcore.solvers.rotated_gram import contrast_gram

from ..comparators import assert_close
from . import settings, standin
from .compiler import has_compiler
from .package import sources

compiled = pytest.mark.skipif(not has_compiler(), reason="CUDA code on the host is compiled by g++")


def samples(*shape):
    return np.random.default_rng(0).standard_normal(shape)


def grams(x):
    return gram(Gaussian(2.0), x), gram(Exponential(2.0), x, x[:70])


def blocks(v):
    rotated = contrast_gram(Exponential(1.0), v)
    return rotated.mean, rotated.cross, rotated.contrast


def pivots(x):
    backend = get_backend(x)
    return backend.pivoted_cholesky(x.T @ x + backend.xp.eye(x.shape[1]), 1e-9)[0]


@contextlib.contextmanager
def changed(name, old, new):
    """The stand-in, and its loader with another text of one source; nothing of it is kept."""
    with standin.installed() as cupy:
        get_backend(backend="cupy")
        here = importlib.import_module("sslcore.backends.cupy_gpu.sources")
        loader = importlib.import_module("sslcore.backends.cupy_gpu.loader")
        tiles = importlib.import_module("sslcore.backends.cupy_gpu.gram")._tile_shapes
        caches = here.numbers, loader.kernel, loader._module, tiles
        text = here.text

        def other(source):
            found = text(source)
            assert source != name or old in found
            return found.replace(old, new) if source == name else found

        for cache in caches:
            cache.cache_clear()
        here.text = other
        try:
            yield cupy
        finally:
            here.text = text
            for cache in caches:
                cache.cache_clear()


CHANGES = {
    "sums of few coordinates": ("gram", "P = wide && !tensor ? 4 : 2", "P = 4", grams, (200, 3)),
    "sums of products": ("gram", "P = wide && !tensor ? 4 : 2", "P = wide && !tensor ? 2 : 2", grams, (200, 20)),
    "after products": (
        "gram",
        "wide || (product && sizeof(real) == 4)",
        "wide || product",
        grams,
        (200, 600),
    ),
    "clusters": ("gram", "#define CLUSTER 1024", "#define CLUSTER 128", grams, (300, 3)),
    "contrasts": ("gram", "#define CLUSTER 1024", "#define CLUSTER 256", blocks, (160, 2, 3)),
    "rotations": ("rotate", "#define SIDE 32", "#define SIDE 16", blocks, (40, 3, 3)),
    "lines of rotations": ("rotate", "#define LINES 8", "#define LINES 4", blocks, (40, 3, 3)),
    "order of numbers": (
        "rotate",
        "enum {\n    LD, ",
        "enum {\n    FIRST,\n    LD, ",
        blocks,
        (40, 3, 3),
    ),
    "warps": ("risk", "#define WARPS 4", "#define WARPS 2", lambda z: risk.vicreg(z, return_grad=True), (37, 3, 5)),
    "tiles of transforms": (
        "walsh",
        "#define TILE 4096",
        "#define TILE 1024",
        lambda x: get_backend(x).walsh_hadamard(x.copy()),
        (2**13, 3),
    ),
    "threads of transforms": (
        "walsh",
        "#define THREADS 256",
        "#define THREADS 128",
        lambda x: get_backend(x).walsh_hadamard(x.copy()),
        (2**10, 3),
    ),
    "steps on the sphere": (
        "views",
        "#define THREADS 256",
        "#define THREADS 64",
        lambda x: TangentStep(0.3).views(x, 3, seed=1),
        (30, 5),
    ),
    "mirrors": ("dense", "#define SIDE 32", "#define SIDE 16", lambda x: gram(ArcCosine(1), x), (70, 3)),
    "pivots": ("dense", "#define THREADS 256", "#define THREADS 64", pivots, (90, 130)),
    "angles": ("angles", "STEP = 0, QUADRATIC = 1", "STEP = 1, QUADRATIC = 0", lambda x: gram(ArcCosine(0), x), (9, 3)),
}


@compiled
@pytest.mark.parametrize(("name", "old", "new", "function", "shape"), CHANGES.values(), ids=CHANGES)
def test_the_caller_follows_the_source(name, old, new, function, shape):
    x = samples(*shape)
    expected = function(x)
    with changed(name, old, new) as cupy, settings.running(order="random", seed=1, checked=True):
        found = function(cupy.asarray(x))
        expected, found = (e if isinstance(e, tuple) else (e,) for e in (expected, found))
        for f, e in zip(found, expected, strict=True):
            f = cupy.asnumpy(f) if isinstance(f, cupy.ndarray) else np.asarray(f)
            assert_close(f, np.asarray(e), tol=1e-11, scale=max(1.0, float(np.abs(e).max())))


def test_numbers_are_read_as_the_compiler_does():
    for name in sources.NAMES:
        text = re.sub(r"//.*", "", sources.text(name))
        for key, value in sources.numbers(name).items():
            stands = re.findall(rf"#define\s+{key}\s+(\S+)", text)
            assert stands in ([], [str(value)])
    assert [sources.numbers("rotate")[key] for key in ("LD", "SAMPLES_I", "PLACE_SIZE")] == [0, 1, 16]
    assert sources.numbers("gram")["CONTRASTS"] == 2
    assert not {"FOR_ROWS", "ROUND", "WIDE", "SSL_REAL"} & {k for n in sources.NAMES for k in sources.numbers(n)}


def test_no_caller_writes_such_a_number_down():
    """What a source defines has the name of no constant of its caller, but for what the loader has for all others."""
    for name in sources.NAMES:
        module = {"rotate": "rotation", "views": "augment", "angles": "gram"}.get(name, name)
        text = (sources.FOLDER.parent / f"{module}.py").read_text(encoding="utf-8")
        constants = {match.strip("_") for match in re.findall(r"^(\w+)(?:: \w+)? = ", text, re.MULTILINE)}
        assert not constants & set(sources.numbers(name)), name
