"""Memory that results share one after the other, never at once."""

import ctypes
import errno
import gc
import itertools
import mmap
import os
import pickle
import signal
import subprocess
import sys
import threading
import tracemalloc
import warnings
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, rule

from sslcore.arrays import gives_memory_back
from sslcore.backends import machine
from sslcore.backends.numba_cpu import recycling
from sslcore.gram import gram, release_memory
from sslcore.kernels import Exponential

pytestmark = pytest.mark.skipif(not recycling._limit(), reason="nothing is kept on this system")

POSIX = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
BOUNDS = getattr(np.lib, "array_utils", np).byte_bounds
SIDE = 32  # of the matrices in these tests: 8 KiB


@pytest.fixture(autouse=True)
def small(monkeypatch):
    """Recycle small arrays too, and begin and end with nothing kept."""
    monkeypatch.setattr(recycling, "SMALLEST", 4096)
    recycling.release()
    yield
    recycling.release()


@pytest.fixture
def limit(monkeypatch):
    """Set the bytes that are kept at most."""
    return lambda size: monkeypatch.setattr(recycling, "_limit", lambda: size)


def matrix(side=SIDE, value=1.0):
    array = recycling.empty((side, side), np.float64)
    array[...] = value
    return array


def address(array):
    return array.__array_interface__["data"][0]


# ---------------------------------------------------------------- when memory is free


def test_results_in_a_loop_share_memory():
    x = np.random.default_rng(0).standard_normal((100, 2))
    expected = Exponential(1.0)(x).copy()
    places = set()
    for _ in range(5):
        found = gram(Exponential(1.0), x)
        assert np.array_equal(found, expected)
        places.add(address(found))
        del found
    assert len(places) == 1
    assert recycling.kept() == expected.nbytes
    release_memory()
    assert recycling.kept() == 0


VIEWS = {
    "slice": lambda a: a[3:5],
    "transposed": lambda a: a.T,
    "flat": lambda a: a.reshape(-1),
    "asarray": lambda a: np.asarray(a)[::2],
    "other_type": lambda a: a.view(np.uint8),
    "slice_of_a_slice": lambda a: a[1:].T[2:, 1:],
    "memoryview": memoryview,
    "frombuffer": lambda a: np.frombuffer(a),
    "dlpack": lambda a: np.from_dlpack(a),
    "interface": lambda a: np.asarray(type("Other", (), {"__array_interface__": a.__array_interface__, "keep": a})()),
    "ctypes": lambda a: np.ctypeslib.as_array((ctypes.c_double * a.size).from_buffer(a)),
    "iterator": lambda a: a.flat,
    "subclass": lambda a: a.view(np.matrix),
    "masked": lambda a: np.ma.asarray(a),
    "cycle": lambda a: (lambda held: held.append(held) or held)([a]),
}


@pytest.mark.parametrize("view", VIEWS.values(), ids=VIEWS)
def test_a_view_keeps_the_memory(view):
    array = matrix(value=7.0)
    seen = view(array)
    del array
    assert recycling.kept() == 0
    other = matrix(value=3.0)  # would overwrite what the view sees
    contents = seen[0] if isinstance(seen, list) else seen
    contents = np.asarray(contents)
    assert (contents.view(np.float64) == 7.0).all()
    del seen, contents
    gc.collect()
    assert recycling.kept() == other.nbytes


def test_copies_are_independent():
    array = matrix(value=5.0)
    copies = [pickle.loads(pickle.dumps(array, protocol)) for protocol in (2, 5)]
    buffers = []
    data = pickle.dumps(array, 5, buffer_callback=buffers.append)
    shared = pickle.loads(data, buffers=buffers)  # not a copy: the buffers are the array's memory
    del array
    assert recycling.kept() == 0
    assert (shared == 5.0).all()
    del shared, buffers
    assert recycling.kept() > 0
    matrix(value=6.0)
    assert all((copy == 5.0).all() for copy in copies)


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.uint8, np.complex128])
@pytest.mark.parametrize("smallest", [4096, 1 << 40])
def test_arrays_are_as_numpys(dtype, smallest, monkeypatch):
    monkeypatch.setattr(recycling, "SMALLEST", smallest)
    for shape in [(100, 70), (1, 4097), (0, 5), (4099,)]:
        array = recycling.empty(shape, dtype)
        assert type(array) is np.ndarray
        assert array.shape == shape
        assert array.dtype == dtype
        assert array.flags.c_contiguous
        assert array.flags.writeable
        assert array.flags.aligned
        assert array.size == 0 or address(array) % 64 == 0
        array[...] = 1
        assert (array == 1).all()


def test_joblib_takes_no_array_for_a_file():
    """It walks along `base` to a mapping; an array that ends in one is a memory map of a file to it."""
    array = matrix()
    while array is not None:
        assert not isinstance(array, mmap.mmap)
        array = getattr(array, "base", None)


# ---------------------------------------------------------------- how much is kept


def test_the_limit_is_kept_and_the_oldest_goes_first(limit):
    limit(3 * 8 * SIDE**2)
    arrays = [matrix() for _ in range(5)]
    places = [address(array) for array in arrays]
    while arrays:
        del arrays[0]
        assert recycling.kept() <= 3 * 8 * SIDE**2
    assert recycling.kept() == 3 * 8 * SIDE**2
    again = [matrix() for _ in range(3)]
    assert {address(array) for array in again} == set(places[2:])
    big = matrix(2 * SIDE)
    del again
    assert recycling.kept() == 3 * 8 * SIDE**2
    del big  # larger than the limit: not kept, and in nobody's way
    assert recycling.kept() == 3 * 8 * SIDE**2


def test_nothing_is_kept_where_the_system_cannot_take_it_back(limit, monkeypatch):
    def madvise(error):
        class Locked(mmap.mmap):
            def madvise(self, advice):
                if advice == mmap.MADV_FREE:
                    raise OSError(error, "not here")

        return Locked

    with monkeypatch.context() as patch:
        patch.setattr(mmap, "mmap", madvise(errno.EINVAL))
        matrix()
        assert recycling.kept() == 0
    with monkeypatch.context() as patch:  # Windows
        patch.delattr(mmap, "MADV_FREE")
        assert recycling._limit.__wrapped__() == 0
    limit(0)
    assert (matrix() == 1.0).all()
    assert recycling.kept() == 0


def test_a_block_serves_arrays_of_about_its_size():
    sizes = [8192, 10000, 16384, 1 << 20]
    blocks = [recycling.empty((size,), np.uint8) for size in sizes]
    place = {size: address(block) for size, block in zip(sizes, blocks, strict=True)}
    del blocks
    assert address(recycling.empty((8192,), np.uint8)) == place[8192]
    first, second = recycling.empty((8100,), np.uint8), recycling.empty((8100,), np.uint8)
    assert address(first) == place[8192]
    assert address(second) == place[10000]
    third = recycling.empty((8100,), np.uint8)  # half of 16384 would be wasted
    assert address(third) not in place.values()
    assert address(recycling.empty((16384,), np.uint8)) == place[16384]
    assert address(recycling.empty((16000,), np.uint8)) == place[16384]
    recycling.empty((16385,), np.uint8)


def test_the_system_counts_it_as_free(monkeypatch):
    if not sys.platform.startswith("linux"):
        pytest.skip("reads /proc")

    def lazy():
        with open("/proc/self/smaps_rollup") as file:
            return machine._field(file.read(), "LazyFree:") * 1024

    before = lazy()
    array = matrix(2048)
    assert lazy() - before < array.nbytes // 2
    del array
    assert recycling.kept() == 8 * 2048**2
    assert lazy() - before > recycling.kept() // 2
    release_memory()
    assert lazy() - before < 8 * 2048**2 // 2


def test_after_an_error_nothing_is_kept():
    """Whatever needed the memory can be tried again."""
    matrix()
    assert recycling.kept()

    @gives_memory_back
    def fails():
        raise MemoryError("no more")

    with pytest.raises(MemoryError, match="no more"):
        fails()
    assert recycling.kept() == 0


def test_what_is_kept_is_given_up_for_a_new_array(monkeypatch):
    matrix()
    real = mmap.mmap

    def full(*arguments, **options):
        if recycling.kept():
            raise OSError(errno.ENOMEM, "no more")
        return real(*arguments, **options)

    monkeypatch.setattr(mmap, "mmap", full)
    larger = matrix(4 * SIDE)
    assert isinstance(larger.base, recycling._Lease)
    assert recycling.kept() == 0


def test_too_large_is_a_memory_error():
    for side in (2**26, 2**31):
        with pytest.raises((MemoryError, ValueError)):
            recycling.empty((side, side), np.float64)


def test_tracemalloc_sees_the_arrays():
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        array = matrix(400)
        assert abs(tracemalloc.get_traced_memory()[0] - before - array.nbytes) < 20_000
        del array
        assert abs(tracemalloc.get_traced_memory()[0] - before) < 20_000
        array = matrix(400)
    finally:
        tracemalloc.stop()
    del array
    assert recycling.kept() == 8 * 400**2


# ---------------------------------------------------------------- any number of arrays, in any order


LIMIT = 100_000


class Arrays(RuleBasedStateMachine):
    """Arrays alive never overlap, with each other or with what is kept, and stay what they were."""

    arrays = Bundle("arrays")

    def __init__(self):
        super().__init__()
        recycling.release()
        self.alive, self.values = [], itertools.count(1)
        self.saved, recycling._limit = recycling._limit, lambda: LIMIT

    def teardown(self):
        recycling._limit = self.saved
        recycling.release()

    def add(self, array, value):
        entry = [array, value]
        self.alive.append(entry)
        return entry

    @rule(target=arrays, size=st.integers(1, 9000) | st.sampled_from([512, 5120, 6400]))
    def make(self, size):
        array, value = recycling.empty((size,), np.float64), float(next(self.values))
        array[...] = value
        return self.add(array, value)

    @rule(target=arrays, entry=arrays, view=st.sampled_from([k for k in VIEWS if k not in ("memoryview", "cycle")]))
    def look(self, entry, view):
        array, value = entry
        array = np.asarray(array).reshape(1, -1)
        try:
            seen = np.asarray(VIEWS[view](array)).view(np.float64)
        except (TypeError, ValueError, BufferError):
            seen = array[:, 1:]  # not contiguous any more
        return self.add(seen, value)

    @rule(entry=consumes(arrays))
    def drop(self, entry):
        self.alive[:] = [other for other in self.alive if other is not entry]
        entry.clear()

    @rule()
    def release(self):
        recycling.release()

    @invariant()
    def contents_stay(self):
        for array, value in self.alive:
            assert (array == value).all()

    @invariant()
    def memory_is_apart(self):
        by_value = {}
        for array, value in self.alive:
            if array.size:
                by_value.setdefault(value, []).append(BOUNDS(array))
        spans = [(min(a for a, _ in ends), max(b for _, b in ends)) for ends in by_value.values()]
        for memory in recycling._kept.values():
            start = ctypes.addressof(ctypes.c_char.from_buffer(memory))
            spans.append((start, start + len(memory)))
        spans.sort()
        assert all(a[1] <= b[0] for a, b in itertools.pairwise(spans))

    @invariant()
    def limit_is_kept(self):
        assert recycling.kept() <= LIMIT


TestArrays = Arrays.TestCase
TestArrays.settings = settings(max_examples=40, stateful_step_count=40, deadline=None)


# ---------------------------------------------------------------- threads, garbage collection, forks, the end


def test_threads(limit):
    limit(6 * 8 * SIDE**2)
    start = threading.Barrier(4)

    def work(number):
        start.wait()
        rng = np.random.default_rng(number)
        held = []
        for turn in range(2000):
            value = float(number * 10_000 + turn)
            held.append((matrix(int(rng.integers(SIDE - 2, SIDE + 1)), value), value))
            if len(held) > 3:
                array, value = held.pop(int(rng.integers(4)))
                if not (array == value).all():
                    return False
                del array
            if rng.integers(200) == 0:
                recycling.release()
        return True

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        with ThreadPoolExecutor(4) as pool:
            assert all(pool.map(work, range(4)))
    finally:
        sys.setswitchinterval(interval)
    assert recycling.kept() <= 6 * 8 * SIDE**2


def test_arrays_that_die_within_every_step(limit, monkeypatch):
    """A lease may be finalised between any two steps of the module, by garbage collection or a signal handler."""
    limit(3 * 8 * SIDE**2)
    busy, others, rng = False, [], np.random.default_rng(0)

    class Interrupted(dict):
        def between(self):
            nonlocal busy
            if not busy:
                busy = True
                if rng.random() < 0.5:
                    others.append(matrix(SIDE - int(rng.integers(3)), value=-1.0))
                elif others:
                    others.pop(int(rng.integers(len(others))))
                if rng.random() < 0.02:
                    recycling.release()
                assert all((array == -1.0).all() for array in others)
                busy = False

        def values(self):
            self.between()
            found = list(super().values())
            self.between()
            return found

        def pop(self, *arguments):
            self.between()
            found = super().pop(*arguments)
            self.between()
            return found

        def __iter__(self):
            self.between()
            return iter(list(super().__iter__()))

        def __setitem__(self, key, value):
            self.between()
            super().__setitem__(key, value)
            self.between()

    monkeypatch.setattr(recycling, "_kept", Interrupted())
    held = {}
    for turn in range(300):
        held[turn] = matrix(SIDE - turn % 3, value=float(turn))
        if turn >= 4:
            array = held.pop(turn - 3 + turn % 2, None)
            del array
        assert all((array == value).all() for value, array in held.items())
        assert recycling.kept() <= 3 * 8 * SIDE**2


def test_cycles_that_die_during_an_allocation():
    thresholds = gc.get_threshold()
    gc.set_threshold(1)
    try:
        for turn in range(200):
            cycle = [matrix(value=float(turn))]
            assert (cycle[0] == turn).all()
            cycle.append(cycle)
    finally:
        gc.set_threshold(*thresholds)
    del cycle
    gc.collect()
    assert recycling.kept() > 0


def in_child(action):
    """Exit status of ``action()`` in a forked child: true is 0."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # Python's own, of forking a process that has threads
        child = os.fork()
    if child == 0:  # nothing of pytest may run here
        status = 1
        try:
            signal.alarm(60)
            status = 0 if action() else 1
        finally:
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


@POSIX
def test_forks():
    held, free = [matrix(value=4.0)], matrix(value=9.0)
    del free

    def action():
        nothing = recycling.kept() == 0  # it would have to be copied
        same = bool((held[0] == 4.0).all())
        held[0][...] = 8.0  # a copy of the parent's
        held.clear()
        inherited = recycling.kept() == 0
        matrix(value=8.0)
        return nothing and same and inherited and recycling.kept() > 0

    assert recycling.kept() > 0
    assert in_child(action) == 0
    assert recycling.kept() > 0
    assert (held[0] == 4.0).all()


END = """
import os, threading, time, weakref
import numpy as np
from sslcore.backends.numba_cpu import recycling

class Last:
    def __init__(self, array):
        self.array = array
    def __del__(self, write=os.write):
        assert self.array[0, 0] == self.array[-1, -1] == 1.0
        write(1, b"seen ")

def matrix():
    array = recycling.empty((1024, 1024), np.float64)
    array[...] = 1.0
    return array

cycle = [matrix()]
cycle.append(cycle)
np.held = Last(matrix()[1:])  # dies with that module
view = memoryview(matrix())
def churn():
    while True:
        matrix()
threading.Thread(target=churn, daemon=True).start()
time.sleep(0.2)
for finalizer in list(weakref.finalize._registry):  # at the very end their registry is gone before some arrays are
    finalizer.detach()
assert (np.held.array == 1.0).all()
"""


@pytest.mark.parametrize("flags", [[], ["-X", "dev"]], ids=["plain", "dev"])
def test_the_end_of_the_interpreter(flags):
    """Arrays that live to the end are there to the end, and nothing is said."""
    command = [sys.executable, *flags, "-W", "error", "-c", END]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert done.stdout == "seen "
