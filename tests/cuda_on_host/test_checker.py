"""A test of the tester: every seeded bug is found, every twin without it passes."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from . import settings, standin
from .compiler import has_compiler
from .launcher import KernelError

pytestmark = pytest.mark.skipif(not has_compiler(), reason="the checking build needs g++")

SOURCE = (Path(__file__).parent / "seeded_bugs.cu").read_text()
BUGS = {  # and what is said about them
    "missing_barrier": "nobody has written to",
    "stale_tile": "race within a block",
    "divergent_barrier": "different barriers",
    "early_return": "has ended while others wait",
    "unequal_loops": "has ended while others wait",
    "tree_without_barrier": "race within a block",
    "read_past_end": "out of bounds: reads 8 bytes, 0 bytes after the end of argument 0",
    "write_past_end": "out of bounds: writes 8 bytes, 0 bytes after the end of argument 1",
    "missing_guard": "out of bounds: writes",
    "negative_index": "out of bounds: reads 8 bytes, 8 bytes before argument 0",
    "shared_overflow": "out of bounds: writes 8 bytes, 0 bytes after the end of tile",
    "row_overflow": "the index 9 is out of bounds",
    "dynamic_overflow": "out of bounds: reads 8 bytes, 0 bytes after the end of the dynamic shared memory",
    "narrow_index": "overflows",
    "unsigned_wrap": "out of bounds: reads",
    "race_between_blocks": "race between blocks",
    "block_reads_block": "race between blocks",
    "plain_accumulation": "race",
    "half_atomic": "race",
    "two_writers": "race within a block",
    "shuffle_mask": "waits for lane 16 of the mask 0xffffffff",
    "shuffle_source": "reads lane 16, which is not in the mask",
    "warp_without_sync": "nobody has written to",
    "shuffle_is_no_fence": "race within a block",
    "uninitialised_shared": "which nobody has written to",
    "uninitialised_accumulator": "which nobody has written to",
    "write_to_input": "writes to argument 0, which the kernel takes as const",
    "misaligned_vector": "misaligned",
    "wild_shift": "a shift by",
    "registers_overflow": "the index 4 is out of bounds",
}


@pytest.fixture(scope="module")
def module():
    kernels = re.findall(r"__global__ void (\w+)\(", SOURCE)
    assert sorted(kernels) == sorted(BUGS)  # each is tested
    expressions = [f"{name}<{wrong}>" for name in BUGS for wrong in ("true", "false")]
    with standin.installed() as cupy:
        yield cupy.RawModule(code=SOURCE, name_expressions=expressions)


def run(module, name, order, *, checked=True):
    with standin.installed() as cupy, settings.running(order=order, seed=1, checked=checked):
        x, out = cupy.asarray(np.arange(128.0)), cupy.zeros(128)
        module.get_function(name)((2,), (64,), (x, out, np.int64(128)), shared_mem=512)
        return out.get()


@pytest.mark.parametrize("name", BUGS)
def test_a_seeded_bug_is_found(module, name):
    messages = []
    for order in settings.ORDERS:
        try:
            run(module, f"{name}<true>", order)
        except KernelError as error:
            messages.append(str(error))
    assert any(re.search(BUGS[name], m) for m in messages), messages


@pytest.mark.parametrize("name", BUGS)
def test_the_twin_without_the_bug_passes(module, name):
    plain = run(module, f"{name}<false>", "forward", checked=False)
    for order in settings.ORDERS:
        np.testing.assert_array_equal(run(module, f"{name}<false>", order), plain)
        np.testing.assert_array_equal(run(module, f"{name}<false>", order, checked=False), plain)
