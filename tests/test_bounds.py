"""Nothing is read or written outside of arrays, or of those that were let go: tests of primitives with guard pages.

A value read from beyond an array and never used changes no result; now and then it lies in a page that does not exist,
and the process dies.  So each block of memory ends at a page that nobody may touch (`guard_pages.c`).  Compiled code
lets an array go after its last use by name, whoever still has its address: what is freed may not be touched either, or,
of small blocks, is filled and must stay so.
"""

import os
import platform
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent

PRIMITIVES = [
    "test_augmentations.py::test_any_division_of_the_data_makes_the_same_views",
    "test_augmentations.py::test_blocks_and_threads_do_not_matter",
    "test_augmentations.py::test_layout_and_dtype",
    "test_kernels.py::test_exactly_symmetric",
    "test_kernels.py::test_gram_into_an_array",
    "test_kernels.py::test_gram_property",
    "test_kernels.py::test_kernel_product_property",
    "test_kernels.py::test_layouts_give_the_same_values",
    "test_kernels.py::test_mirror",
    "test_kernels.py::test_symmetric_matrices_of_several_blocks",
    "test_kernels.py::test_symmetric_tiles",
    "test_kernels.py::test_symmetric_tiles_from_products",
    "test_kernels.py::test_tiles",
    "test_risk.py",
    "test_nested.py::test_leading_blocks_alone",
    "test_nested.py::test_products_alone",
    "test_nested.py::test_solutions_alone",
    "test_nested.py::test_symmetric_products_alone",
    "test_samples.py",
    "test_shifts.py",
    "test_prefixes.py",
    "test_walsh.py",
]


@pytest.fixture(scope="module")
def guarded(tmp_path_factory):
    """Run Python in a process with guard pages."""
    if platform.libc_ver()[0] != "glibc":
        pytest.skip("guard pages are made for glibc")
    compiler = shutil.which("gcc")
    if compiler is None:
        assert not os.environ.get("CI"), "guard pages are compiled by gcc, which is not installed"
        pytest.skip("guard pages are compiled by gcc, which is not installed")
    library = tmp_path_factory.mktemp("guard") / "guard_pages.so"
    subprocess.run([compiler, "-O2", "-shared", "-fPIC", HERE / "guard_pages.c", "-o", library], check=True)

    def run(*arguments):
        return subprocess.run(
            [sys.executable, "-X", "faulthandler", *arguments],
            env=os.environ | {"LD_PRELOAD": str(library)},
            cwd=HERE.parent,
            capture_output=True,
            text=True,
            timeout=600,
            check=False,
        )

    return run


def test_primitives_stay_within_their_arrays(guarded):
    tests = [str(HERE / name) for name in PRIMITIVES]
    done = guarded("-m", "pytest", "-x", "-p", "no:cacheprovider", "-k", "not cupy and not second_process", *tests)
    assert done.returncode == 0, done.stdout + done.stderr


TOUCH = """
import ctypes
import numpy as np
array = np.zeros(1003)  # 8 bytes short of a multiple of 16
start = array.ctypes.data
"""

SMALL = """
small = np.ones(150)  # too large for the memory that NumPy keeps itself
others = [np.ones(150) for _ in range(400)]
first = small.ctypes.data
"""


@pytest.mark.parametrize(
    ("code", "ends_by"),
    [
        ("array[-1] += 1; del array", 0),
        ("ctypes.string_at(start + array.nbytes + 8, 1)", -signal.SIGSEGV),
        ("ctypes.memset(start + array.nbytes, 1, 1); del array", -signal.SIGABRT),
        ("ctypes.memset(start - 1, 1, 1); del array", -signal.SIGABRT),
        ("del array; ctypes.string_at(start, 1)", -signal.SIGSEGV),
        (SMALL + "assert ctypes.string_at(first, 1) != b'\\xa5'; del small", 0),
        (SMALL + "del small; assert ctypes.string_at(first, 1) == b'\\xa5'", 0),
        (SMALL + "del small; ctypes.memset(first, 1, 1); del others", -signal.SIGABRT),
    ],
    ids=["within", "beyond", "in_the_gap", "before", "freed", "small", "small_freed", "small_written_when_freed"],
)
def test_guard_pages(code, ends_by, guarded):
    assert guarded("-c", TOUCH + code).returncode == ends_by
