"""Every declared kernel and augmentation has an example and an oracle, and every backend agrees with the oracle."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from sslcore.backends.stages import names
from sslcore.gram import gram, kernel_product

from . import examples, naive
from .comparators import assert_close
from .examples import AUGMENTATIONS, EXACT, KERNELS, value_scale


def test_every_declaration_has_an_example_and_an_oracle():
    """And it runs on every backend then: in this file, and wherever else the table of examples is used."""
    found = sorted(set(examples.missing()))
    assert not found, "\n".join(["something is declared, but not tested:", *found])
    for table in (KERNELS, AUGMENTATIONS):
        for name, entries in table.items():
            made = [e(1.0) if table is KERNELS else e[0] for e in entries]
            assert all(type(instance).__name__ == name for instance in made), f"an example of {name} is no {name}"


def test_every_stage_has_a_function_on_this_backend(backend):
    """An augmentation's stage is a Numba function and a CUDA kernel."""
    name = "augment" if backend.name == "cupy" else "views"
    module = sys.modules[f"{backend.primitives.__name__}.{name}"]
    wanted = set().union(*(names(a.stages()) for a, _ in examples.augmentation_examples()))
    stages = {*module._STAGES, *getattr(module, "_ON_HOST", ())}
    assert wanted <= stages, f"{backend} has no stage {sorted(wanted - stages)}: add it to _STAGES"


@pytest.mark.parametrize("name", sorted(KERNELS))
def test_kernels(backend, name):
    """Values, the symmetric matrix, products that are not stored: against the oracle in long double."""
    rng = np.random.default_rng(0)
    for make in KERNELS[name]:
        k = make(1.3)
        for d in (1, 3, 50):
            for dtype, tol in ((np.float64, 1e-13), (np.float32, 1e-5)):
                x = (rng.standard_normal((9, d)) / np.sqrt(d)).astype(dtype)
                y = np.concatenate([x[:2], rng.standard_normal((70, d)).astype(dtype) / dtype(np.sqrt(d))])
                c = rng.standard_normal((72, 2)).astype(dtype)
                x_there, y_there = backend.asarray(x), backend.asarray(y)
                expected = naive.gram(k, x, y)
                scale = value_scale(k, x, y)
                found = gram(k, x_there, y_there)
                assert_close(backend.asnumpy(found), expected.astype(float), dtype=dtype, tol=tol, scale=scale)
                square = backend.asnumpy(gram(k, x_there))
                assert np.array_equal(square, square.T)
                scale_square = value_scale(k, x, x)
                wide = naive.gram(k, x).astype(float)
                assert_close(square, wide, dtype=dtype, tol=tol, scale=scale_square)
                product = backend.asnumpy(kernel_product(k, x_there, y_there, backend.asarray(c)))
                scale *= float(np.abs(c).sum())
                assert_close(product, (expected @ c).astype(float), dtype=dtype, tol=tol, scale=scale)


@pytest.mark.parametrize("name", sorted(AUGMENTATIONS))
def test_augmentations(backend, name):
    """Views against the oracle, and to the bit those of the CPU."""
    for a, d in AUGMENTATIONS[name]:
        n, m, seed, first = (5, 3, 2**63 + 12345, 2**32 - 2) if d < 100 else (2, 2, 7, 2**56 - 2)
        for dtype in (np.float64, np.float32):
            x = np.random.default_rng(0).standard_normal((n, d)).astype(dtype)
            found = backend.asnumpy(a.views(backend.asarray(x), m, seed=seed, first=first))
            assert np.array_equal(found, a.views(x, m, seed=seed, first=first))
            expected = naive.views(a, x.astype(float), m, seed, first)
            assert found.dtype == dtype
            if name in EXACT:
                assert np.array_equal(found, expected)
            else:
                eps = float(np.finfo(dtype).eps)
                far = 1 + getattr(a, "shift", 0.0)  # positions far away are rounded more coarsely
                atol = 300 * float(np.finfo(float).eps) * far + 8 * eps
                np.testing.assert_allclose(found, expected, rtol=8 * eps, atol=atol)
