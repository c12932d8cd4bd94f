"""In other people's programs: imports, compilation, threads, forks, pools, interruptions."""

import functools
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
import warnings
import weakref
from concurrent.futures import ThreadPoolExecutor
from queue import SimpleQueue
from types import SimpleNamespace

import numpy as np
import pytest

import sslcore
from sslcore import Moments, pretrain, tunables
from sslcore.backends.machine import available_cpus
from sslcore.backends.numba_cpu import parallel
from sslcore.backends.numba_cpu.compiling import compiled
from sslcore.backends.numba_cpu.parallel import n_threads, parallel_for
from sslcore.backends.signals import signals_held
from sslcore.features import Identity, Nystrom
from sslcore.kernels import Exponential, Gaussian, _rows

from .forked import needs_fork


def run(code, **environment):
    """Standard output of a fresh interpreter; stderr must be empty."""
    result = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        capture_output=True,
        text=True,
        env=os.environ | environment,
        timeout=120,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    assert result.stderr == ""
    return result.stdout


def work(seed=0):
    """Everything that runs on threads: Gram, exact solver, features, transform."""
    rng = np.random.default_rng(seed)
    views = rng.standard_normal((40, 1, 3)) + 0.3 * rng.standard_normal((40, 2, 3))
    exact = pretrain(views, Exponential(1.0), 3, reg=1e-2)
    features = pretrain(views, Nystrom(Gaussian(1.0), 10), 3, reg=1e-2)
    return np.concatenate([exact.gamma, features.gamma, exact(views[:2, 0]).ravel(), features(views[:2, 0]).ravel()])


@pytest.fixture
def many_tasks(monkeypatch):
    """Small tasks and more threads than processors, so that all of them are used."""
    monkeypatch.setenv("SSLCORE_NUM_THREADS", "4")
    monkeypatch.setattr(tunables, "CPU_TASK_PAIRS", 64)
    monkeypatch.setattr(_rows, "block_rows", lambda columns, itemsize: 16)


# ---------------------------------------------------------------- import


def test_import_loads_neither_a_compiler_nor_linear_algebra():
    code = "import sys, sslcore; print(*sorted(sys.modules))"
    loaded = run(code).split()
    for name in (
        "numba",
        "llvmlite",
        "scipy",
        "scipy.linalg",
        "matplotlib",
        "sklearn",
        "polars",
        "rich",
        "cupy",
        "torch",
        "pandas",
    ):
        assert name not in loaded
    assert "sslcore" in loaded


def test_names_are_there_and_lazy():
    assert set(sslcore.__all__) <= set(dir(sslcore))
    for name in sslcore.__all__:
        assert getattr(sslcore, name) is not None
    with pytest.raises(AttributeError, match="module 'sslcore' has no attribute 'pretrained'"):
        _ = sslcore.pretrained
    # kernels, features and augmentations are values: making them compiles nothing
    code = (
        "import sys, sslcore; from sslcore import kernels, augmentations, errors, risk;"
        "k = 2.0 * kernels.Gaussian(1.0) + kernels.Linear(); augmentations.GaussianNoise(0.1);"
        "print('numba' in sys.modules)"
    )
    assert run(code) == "False\n"


# ---------------------------------------------------------------- compilation

COUNT = """
import sys
from numba.core import event
import numpy as np
compiled = []

class Listener(event.Listener):
    def on_start(self, e):
        compiled.append(str(e.data.get("dispatcher", e.data)))
    def on_end(self, e):
        pass

event.register("numba:compile", Listener())
from numba.core import ccallback
uncached = ccallback.CFunc._compile_uncached
def counted(self):
    compiled.append(self.__name__)
    return uncached(self)
ccallback.CFunc._compile_uncached = counted
sys.path.insert(0, PATH)
import sslcore
from user_kernel import Cauchy
rng = np.random.default_rng(0)
for dtype in (np.float64, np.float32):
    x = rng.standard_normal((30, 3)).astype(dtype)
    wide = rng.standard_normal((30, 60)).astype(dtype)
    for kernel in (sslcore.kernels.Gaussian(1.0), sslcore.kernels.Exponential(1.0), sslcore.kernels.Matern(1.5, 1.0),
                   sslcore.kernels.L1Exponential(1.0), sslcore.kernels.Polynomial(3), Cauchy(1.0), Cauchy(2.0)):
        for points in (x, np.asfortranarray(x), x[::2], wide, np.asfortranarray(wide), wide[:, ::-1]):
            kernel(points), kernel(points, points[:3])
    views = sslcore.Views(x, sslcore.augmentations.GaussianNoise(0.1), 2, 0)
    for model in (sslcore.kernels.Exponential(1.0), sslcore.features.Identity(),
                  sslcore.features.Nystrom(sslcore.kernels.Gaussian(1.0), 8)):
        for data in (views, np.asfortranarray(views), np.asarray(views)[:, :, ::-1]):
            rep = sslcore.pretrain(data, model, 2, reg=1e-2)
            rep(x)
    three = np.repeat(x[:, None], 3, axis=1) + 0.1 * rng.standard_normal((30, 3, 3)).astype(dtype)
    sslcore.pretrain(three, sslcore.kernels.Gaussian(1.0), 2, reg=1e-2)
    sslcore.risk.vicreg(rep.embedding, return_grad=True)
print(len(compiled), *compiled)
"""

USER_KERNEL = """
from dataclasses import dataclass
from typing import ClassVar
from sslcore.kernels import Profile

@dataclass(frozen=True)
class Cauchy(Profile):
    scale: float
    pair: ClassVar[str] = "sqdist"
    formula = "real(FACTOR) / (real(1) + c0 * t)"

    @property
    def length(self):
        return self.scale

    def constants(self, length):
        return (1.0 / length**2,)
"""


def test_a_second_process_compiles_nothing(tmp_path):
    """Not for other layouts or dtypes either, and not for a kernel of the user's; a changed declaration is noticed."""
    user = tmp_path / "user"
    user.mkdir()
    (user / "user_kernel.py").write_text(USER_KERNEL.replace("FACTOR", "1"))
    code = COUNT.replace("PATH", repr(str(user)))
    first = run(code)
    second = run(code)
    assert second.startswith("0 ") or second == "0\n", second
    # the user's kernel was compiled in the first process, and once for each dtype
    assert first.count("Cauchy") == 2, first
    value = f"import sys; sys.path.insert(0, {str(user)!r}); from user_kernel import Cauchy;"
    value += "print(Cauchy(1.0)([[0.0]])[0, 0])"
    assert float(run(value)) == 1.0
    (user / "user_kernel.py").write_text(USER_KERNEL.replace("FACTOR", "7"))
    assert float(run(value)) == 7.0


BITS = """
import hashlib
import numpy as np
from sslcore.kernels import *
x = np.random.default_rng(0).standard_normal((60, 5))
y = np.random.default_rng(1).standard_normal((70, 60))
networks = [f(depth, w, b) for f in (NNGP, NTK) for depth in (1, 2, 5) for w in (1.3, 2.0) for b in (0.0, 0.1)]
others = [Gaussian(1.0), Exponential(1.0), L1Exponential(1.0), Matern(1.5, 1.0), Matern(2.5, 1.0), Polynomial(3)]
others += [VonMises(1.0), *(PeriodicGaussian(s) for s in (0.1, 0.2, 0.3)), *(ArcCosine(order) for order in (0, 1, 2))]
for k in (*networks, *others):
    for a in (x, y, x.astype(np.float32), y.astype(np.float32)):
        print(k, a.shape, a.dtype, hashlib.sha256(k(a).tobytes() + k(a, a[:9]).tobytes()).hexdigest())
"""


def test_a_process_that_compiles_has_the_bits_of_one_that_reads_the_cache(tmp_path):
    """Code compiled for itself and its copy in a caller's differ where the compiler chooses what is fused.

    The same bits come out where all entries are cut short, as a full disk leaves them.
    """
    first, second = (run(BITS, NUMBA_CACHE_DIR=str(tmp_path)).splitlines() for _ in range(2))
    assert len(first) == 4 * 37
    assert [a for a, b in zip(first, second, strict=True) if a != b] == []
    entries = list(tmp_path.rglob("*.nb?"))
    assert len(entries) > 10
    for entry in entries:
        entry.write_bytes(entry.read_bytes()[: entry.stat().st_size // 2])
    anew = run(BITS.replace("(*networks, *others)", "others[:1]"), NUMBA_CACHE_DIR=str(tmp_path)).splitlines()
    assert len(anew) == 4
    assert set(anew) <= set(first)


def test_a_kernel_declared_where_nothing_can_be_cached():
    """In an interpreter's own scope, with no file: compiled, not cached, and right."""
    code = USER_KERNEL.replace("FACTOR", "3") + "\nprint(Cauchy(1.0)([[0.0], [1.0]])[0, 1])"
    assert float(run(code)) == 1.5


# ---------------------------------------------------------------- threads, forks, pools


def test_four_threads_at_once(many_tasks):
    expected = [work(seed) for seed in range(4)]
    barrier = threading.Barrier(4)

    def task(seed):
        barrier.wait()
        return [work(seed) for _ in range(3)]

    with ThreadPoolExecutor(4) as pool:
        for seed, results in enumerate(pool.map(task, range(4))):
            for found in results:
                assert np.allclose(found, expected[seed], rtol=1e-8, atol=1e-9)


def test_one_representation_in_many_threads(many_tasks):
    rng = np.random.default_rng(0)
    views = rng.standard_normal((40, 2, 3))
    x = rng.standard_normal((100, 3))
    for model in (Exponential(1.0), Nystrom(Gaussian(1.0), 10)):
        rep = pretrain(views, model, 3, reg=1e-2)
        expected = rep(x)
        with ThreadPoolExecutor(4) as pool:
            for found in pool.map(lambda _: rep(x), range(12)):  # noqa: B023
                assert np.allclose(found, expected, rtol=1e-12, atol=1e-12)


@needs_fork
def test_a_forked_child_after_parallel_calls(many_tasks):
    """Threads of the parent do not exist in the child; it makes its own."""
    expected = work()
    parallel_for(lambda i: time.sleep(0.001), 16)
    assert parallel._n_helpers
    read, write = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # Python's own, of forking a process that has threads
        child = os.fork()
    if child == 0:  # nothing of pytest may run here
        status = 1
        try:
            signal.alarm(60)
            assert not parallel._n_helpers
            os.write(write, work().tobytes())
            status = 0
        finally:
            os._exit(status)
    os.close(write)
    with os.fdopen(read, "rb") as pipe:
        answer = pipe.read()
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert np.allclose(np.frombuffer(answer), expected, rtol=1e-8, atol=1e-9)
    assert np.allclose(work(), expected, rtol=1e-8, atol=1e-9)  # the parent goes on


@needs_fork
def test_a_fork_while_another_thread_computes(many_tasks):
    """The lock of the pool may be held at that moment; the child gets a new one."""
    stop = threading.Event()

    def busy():
        while not stop.is_set():
            parallel_for(lambda i: None, 8)

    thread = threading.Thread(target=busy)
    thread.start()
    try:
        for _ in range(5):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", DeprecationWarning)
                child = os.fork()
            if child == 0:
                signal.alarm(60)
                done = []
                parallel_for(done.append, 8)
                os._exit(0 if sorted(done) == list(range(8)) else 1)
            assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    finally:
        stop.set()
        thread.join()


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_process_pools(method, many_tasks):
    if method not in multiprocessing.get_all_start_methods():
        pytest.skip(f"no {method} here")
    expected = [work(seed) for seed in range(3)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        with multiprocessing.get_context(method).Pool(2) as pool:
            found = pool.map_async(work, range(3)).get(timeout=120)
    for one, exact in zip(found, expected, strict=True):
        assert np.allclose(one, exact, rtol=1e-8, atol=1e-9)


def test_moments_on_workers_merge():
    """As a distributed run would: each worker its part, and the sums added up."""
    views = np.random.default_rng(0).standard_normal((60, 2, 3))
    with ThreadPoolExecutor(3) as pool:
        parts = list(pool.map(lambda s: Moments(Identity()).update(views[s : s + 20]), (0, 20, 40)))
    total = parts[0].merge(parts[1]).merge(parts[2])
    whole = Moments(Identity()).update(views)
    assert np.allclose(total.solve(2, reg=0.1).gamma, whole.solve(2, reg=0.1).gamma, rtol=1e-12)


@pytest.mark.parametrize("threads", ["1", "2", "5"])
def test_results_do_not_depend_on_the_number_of_threads(threads, monkeypatch):
    monkeypatch.setattr(tunables, "CPU_TASK_PAIRS", 64)
    x = np.random.default_rng(0).standard_normal((50, 3))
    monkeypatch.setenv("SSLCORE_NUM_THREADS", threads)
    found = Exponential(1.0)(x)
    monkeypatch.setenv("SSLCORE_NUM_THREADS", "1")
    assert np.array_equal(found, Exponential(1.0)(x))


def test_nothing_is_left_running_at_exit():
    """An interpreter that ends while the pool exists ends at once, from atexit handlers and threads too."""
    code = """
import atexit, threading
import numpy as np
from sslcore.backends.numba_cpu.parallel import parallel_for
done = []
atexit.register(lambda: (parallel_for(done.append, 8), print(sorted(done))))
parallel_for(lambda i: None, 8)
"""
    assert run(code, SSLCORE_NUM_THREADS="4") == "[0, 1, 2, 3, 4, 5, 6, 7]\n"


# ---------------------------------------------------------------- parallel_for


@pytest.mark.parametrize("threads", ["1", "4"])
@pytest.mark.parametrize("n", [0, 1, 2, 3, 100])
def test_every_task_is_called_once(threads, n, monkeypatch):
    monkeypatch.setenv("SSLCORE_NUM_THREADS", threads)
    done = []
    parallel_for(done.append, n)
    assert sorted(done) == list(range(n))
    if threads == "1":
        assert done == list(range(n))


def test_several_threads_take_part(monkeypatch):
    monkeypatch.setenv("SSLCORE_NUM_THREADS", "3")
    parallel_for(lambda i: None, 4)
    names = set()
    met = threading.Barrier(2, timeout=30)

    def task(i):
        names.add(threading.current_thread().name)
        if i < 2:
            met.wait()  # only passed if two run at the same time

    parallel_for(task, 2)
    assert len(names) == 2
    assert threading.current_thread().name in names


@pytest.mark.parametrize("error", [ValueError("task"), KeyboardInterrupt(), SystemExit(3), MemoryError()], ids=repr)
@pytest.mark.parametrize("at", [0, 7, 49])
@pytest.mark.parametrize("threads", ["1", "4"])
def test_exceptions_come_out_and_stop_the_rest(error, at, threads, monkeypatch):
    monkeypatch.setenv("SSLCORE_NUM_THREADS", threads)
    running, done = set(), []

    def task(i):
        running.add(i)
        if i == at:
            running.discard(i)
            raise error
        time.sleep(0.0005)
        done.append(i)
        running.discard(i)

    with pytest.raises(type(error)) as caught:
        parallel_for(task, 50)
    assert caught.value is error
    assert not running  # no task is under way any more
    assert len(done) < 50
    later = []
    parallel_for(later.append, 9)  # and the pool is as good as before
    assert sorted(later) == list(range(9))


def test_an_exception_does_not_wait_for_tasks_that_have_not_begun(monkeypatch):
    monkeypatch.setenv("SSLCORE_NUM_THREADS", "4")
    count = []

    def task(i):
        count.append(i)
        raise RuntimeError

    with pytest.raises(RuntimeError):
        parallel_for(task, 10_000)
    assert len(count) <= 4


def test_nested_calls_run_where_they_are(monkeypatch):
    monkeypatch.setenv("SSLCORE_NUM_THREADS", "3")
    inside = []

    def outer(i):
        me = threading.current_thread().name

        def inner(j):
            time.sleep(0.0005)  # long enough for another thread to come
            inside.append((i, j, threading.current_thread().name == me))

        parallel_for(inner, 5)

    parallel_for(outer, 12)
    assert sorted((i, j) for i, j, _ in inside) == [(i, j) for i in range(12) for j in range(5)]
    assert all(same for _, _, same in inside)
    # after a failure too
    with pytest.raises(ZeroDivisionError):
        parallel_for(lambda i: 1 / 0, 4)
    met = threading.Barrier(2, timeout=30)
    parallel_for(lambda i: met.wait(), 2)


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({"SSLCORE_NUM_THREADS": "3", "OMP_NUM_THREADS": "5"}, 3),
        ({"SSLCORE_NUM_THREADS": "", "OMP_NUM_THREADS": "5"}, 5),
        ({"SSLCORE_NUM_THREADS": "0", "OMP_NUM_THREADS": "5"}, 5),
        ({"SSLCORE_NUM_THREADS": "all", "OMP_NUM_THREADS": "2"}, 2),
        ({"SSLCORE_NUM_THREADS": "-1", "OMP_NUM_THREADS": "x"}, None),
        ({"OMP_NUM_THREADS": "4,2"}, 4),  # of nested loops, the outermost first
        ({"OMP_NUM_THREADS": " 3 , 2,1"}, 3),
        ({"SSLCORE_NUM_THREADS": " 6 "}, 6),
        ({"OMP_NUM_THREADS": ",2"}, None),
        ({"OMP_NUM_THREADS": "0,2"}, None),
        ({"OMP_NUM_THREADS": "2.5"}, None),
        ({}, None),
    ],
)
def test_number_of_threads(environment, expected, monkeypatch):
    for name in ("SSLCORE_NUM_THREADS", "OMP_NUM_THREADS"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert n_threads() == (available_cpus() if expected is None else expected)


@pytest.mark.parametrize("first", ["threadpoolctl", "sslcore.backends.numba_cpu.parallel"])
def test_limits_of_threadpoolctl_reach_our_loops(first):
    """Whichever is imported first; what the user says of our own threads goes before."""
    code = f"""
import importlib, os
import numpy
importlib.import_module({first!r})
from sslcore.backends.numba_cpu import parallel
from sslcore.backends.numba_cpu.parallel import n_threads, parallel_for
def threads():
    import threading, time
    names = set()
    parallel_for(lambda i: (names.add(threading.current_thread().name), time.sleep(0.01)), 9)
    return n_threads(), len(names)
with_none = threads()
import threadpoolctl
def limited(count, api=None):
    with threadpoolctl.threadpool_limits(count, api):
        return threads()
before, *during, after = n_threads(), limited(1), limited(1, "blas"), n_threads()
print(before == after == parallel.available_cpus(), during)
os.environ["SSLCORE_NUM_THREADS"] = "4"
print(limited(1))
"""
    found = run(code, OMP_NUM_THREADS="", SSLCORE_NUM_THREADS="")
    assert found == "True [(1, 1), (1, 1)]\n(4, 4)\n"


def test_the_pool_grows(monkeypatch):
    """The number of threads of the first loop does not bind those that follow."""
    monkeypatch.setattr(parallel, "_n_helpers", 0)
    for count in (2, 5, 3):
        monkeypatch.setenv("SSLCORE_NUM_THREADS", str(count))
        met = threading.Barrier(count, timeout=30)
        parallel_for(lambda i, met=met: met.wait(), count)  # only passed if all run at the same time


@pytest.mark.skipif(os.name != "posix", reason="sends SIGINT")
def test_an_interrupt_while_waiting_for_helpers():
    """Ctrl-C reaches the main thread while it waits: all helpers end first, then KeyboardInterrupt comes out."""
    code = """
import os, signal, threading, time
from sslcore.backends.numba_cpu.parallel import parallel_for
main = threading.main_thread()
begun = threading.Event()
ended = []

def task(i):
    if threading.current_thread() is main:
        begun.set()
        time.sleep(0.05)
    else:
        begun.wait()
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0.3)
        ended.append(i)

try:
    parallel_for(task, 2)
except KeyboardInterrupt:
    print("interrupted", len(ended))
done = []
parallel_for(done.append, 6)
print(sorted(done))
"""
    assert run(code, SSLCORE_NUM_THREADS="2") == "interrupted 1\n[0, 1, 2, 3, 4, 5]\n"


@pytest.mark.parametrize("step", ["claim", "ended"])
@pytest.mark.parametrize("when", ["before", "after"])
def test_an_interrupt_in_each_step_of_waiting(step, when):
    """Also one that comes when the step is done, before its result is seen."""
    cut_off = set()

    def cutting(owner, function):
        def step_of_waiting(*arguments):
            first = owner not in cut_off
            cut_off.add(owner)
            if first and when == "before":
                raise KeyboardInterrupt
            found = function(*arguments)
            if first:
                raise KeyboardInterrupt
            return found

        return step_of_waiting

    done = []
    shares = [parallel._Share(lambda i=i: done.append(i)) for i in range(3)]
    for i, share in enumerate(shares):
        if step == "claim":
            share.claim = cutting(i, share.claim)
        else:  # a helper has them
            share.claim("helper")
            share.ended = SimpleNamespace(acquire=cutting(i, share.ended.acquire), release=share.ended.release)
    helper = threading.Timer(0.05 if step == "ended" else 0.5, lambda: [share.do() for share in shares])
    helper.start()
    with pytest.raises(KeyboardInterrupt):
        parallel._join(shares)
    assert cut_off == ({0, 1, 2} if step == "claim" else {2})  # all are over when the first has been waited for
    helper.join()
    assert done == ([0, 1, 2] if step == "ended" else [])


@pytest.mark.skipif(os.name != "posix", reason="sends signals")
def test_signals_that_wait_are_all_heard_and_handlers_come_back(monkeypatch):
    """Whatever those before them raise, and where none can be held."""
    heard, before = [], {}

    def hear(number, frame):
        heard.append(number)
        raise KeyError(number)

    @signals_held()
    def held_while_all_arrive():
        for number in numbers:
            os.kill(os.getpid(), number)
        time.sleep(0.001)
        assert not heard

    numbers = [signal.SIGINT, signal.SIGHUP, signal.SIGTERM]
    try:
        for number in numbers:
            before[number] = signal.signal(number, hear)
        with pytest.raises(KeyError):
            held_while_all_arrive()
        assert heard == numbers
        assert [signal.getsignal(number) for number in numbers] == [hear] * 3
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    with ThreadPoolExecutor(1) as other:  # as where `threading` was imported off the main thread
        main = other.submit(threading.current_thread).result()
        monkeypatch.setattr(threading, "main_thread", lambda: main)
        assert other.submit(lambda: parallel_for(lambda i: None, 2) or compiled()(lambda x: x + 1)(1)).result() == 2


def test_where_no_thread_can_be_begun_the_caller_does_it_all(monkeypatch):
    def refused(thread):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refused)
    monkeypatch.setattr(parallel, "_n_helpers", 0)
    monkeypatch.setattr(parallel, "_queue", SimpleQueue())
    monkeypatch.setenv("SSLCORE_NUM_THREADS", "4")
    done = []
    parallel_for(done.append, 9)
    assert done == list(range(9))
    assert parallel._queue.empty()


@pytest.mark.skipif(os.name != "posix", reason="sends SIGINT")
@pytest.mark.parametrize("where", ["compiling", "beginning a thread"])
def test_an_interrupt_waits_where_locks_of_python_are_held(where, monkeypatch):
    """Else one that arrives in the middle of ``__enter__`` leaves the lock taken, and the next thread hangs."""
    went_on = []

    def interrupted(*args, **kwargs):
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0.001)  # here Python raises what its handler raises
        went_on.append(True)

    if where == "compiling":
        function = compiled()(lambda x: x + 1)
        function._cache = SimpleNamespace(load_overload=interrupted, save_overload=lambda *args: None)
        call = functools.partial(function, 2)
    else:
        start = threading.Thread.start
        monkeypatch.setattr(threading.Thread, "start", lambda thread: (start(thread), interrupted()))
        monkeypatch.setattr(parallel, "_n_helpers", 0)
        monkeypatch.setenv("SSLCORE_NUM_THREADS", "2")
        call = functools.partial(parallel_for, lambda i: None, 2)
    with pytest.raises(KeyboardInterrupt):
        call()
    assert went_on
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    monkeypatch.undo()
    call()


def test_a_helper_that_was_not_needed_keeps_nothing_alive(monkeypatch):
    """Its place in the pool's queue outlives the call when the pool is busy; the arrays of the call do not."""
    monkeypatch.setenv("SSLCORE_NUM_THREADS", "2")
    parallel_for(lambda i: None, 2)  # makes the pool
    busy, go = threading.Event(), threading.Event()
    waiting = [parallel._Share(lambda: (busy.set(), go.wait(30))) for _ in range(parallel._n_helpers)]
    for share in waiting:
        parallel._queue.put(share)
    try:
        assert busy.wait(30)
        array = np.zeros(3)
        alive = weakref.ref(array)
        parallel_for(lambda i, array=array: None, 4)
        del array
        assert alive() is None
    finally:
        go.set()
        parallel._join(waiting)
