"""Clusters of Dask: the bits of a stream from any chunks, workers and deaths, and words for what goes wrong.

``SSLCORE_TEST_WORKER_KILLS`` is how many processes of workers are killed (100 by default).
"""

import contextlib
import gc
import itertools
import os
import pickle
import re
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("distributed", reason="Dask is not installed")

import dask
import dask.array as da
import threadpoolctl
from distributed import Client, LocalCluster, Status
from distributed.utils import get_mp_context

import sslcore
import sslcore.dask as ours
from sslcore import tunables
from sslcore.augmentations import Affine, GaussianNoise
from sslcore.backends import get_backend
from sslcore.dask import _cluster, _graph, _kernels, _moments, _work
from sslcore.features import Identity, Nystrom, RandomFourier
from sslcore.kernels import Gaussian
from sslcore.stream import moments as streamed
from sslcore.stream._leaves import node_after, place_of

from .comparators import assert_close
from .test_stream import FEATURES, LEAF, VIEWS, cut, fields, poisoned, small_leaves  # noqa: F401  # the fixture

KILLS = int(os.environ.get("SSLCORE_TEST_WORKER_KILLS", "100"))
KILLS_OF_A_SUM = 5
SETTINGS = {
    "distributed.scheduler.allowed-failures": 10_000,
    "distributed.comm.timeouts.connect": "5s",  # as long is asked for what a dead worker had
}
ROWS = LEAF // 2  # samples of a leaf


def expected(views, features):
    """What a stream gives on one thread of BLAS; as tasks ask for it, some of which may still run in this process."""
    with _work.one_thread():
        return fields(streamed(views, features, deterministic=True))


@contextlib.contextmanager
def same_environment():
    """Leave the environment as it was: nannies set one thread for BLAS, and more, in that of their own process too."""
    before = dict(os.environ)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


@contextlib.contextmanager
def started(n_workers, processes, **options):
    """A client of a cluster on the loopback."""
    with (
        same_environment(),
        dask.config.set(SETTINGS),
        LocalCluster(
            n_workers=n_workers,
            threads_per_worker=1,
            processes=processes,
            host="127.0.0.1" if processes else None,
            dashboard_address="127.0.0.1:0",
            **options,
        ) as cluster,
        Client(cluster, set_as_default=False) as client,
    ):
        yield client


@pytest.fixture(scope="module")
def processes():
    """Two workers of one thread, each a process."""
    with started(2, True, memory_limit="3GiB") as client:
        yield client


@pytest.fixture(scope="module")
def within():
    """Two workers within this process."""
    with started(2, False) as client:
        yield client


@pytest.fixture
def shards(tmp_path):
    """Files of 60, 90 and 53 samples."""
    for i, part in enumerate(cut(VIEWS, [60, 150])):
        np.save(tmp_path / f"part-{i}.npy", part)
    return tmp_path


# ---------------------------------------------------------------- the same bits


@pytest.mark.parametrize("name", FEATURES)
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_any_chunks_give_the_bits_of_a_stream(name, dtype):
    views = VIEWS.astype(dtype)
    bits = expected(views, FEATURES[name])
    for rows in (3 * ROWS, 27, 203, (8, 64, 16, 115), (1, 202)):
        array = da.from_array(views, chunks=(rows, 2, 4))
        assert fields(ours.moments(array, FEATURES[name])) == bits, rows
    array = da.from_array(views, chunks=(40, 1, 3))
    assert fields(ours.moments(array, FEATURES[name])) == bits


@given(ends=st.lists(st.integers(1, 60), max_size=12, unique=True), n=st.integers(1, 500), width=st.integers(2, 5))
def test_no_chunking_changes_a_bit(ends, n, width):
    with pytest.MonkeyPatch.context() as patch, dask.config.set(scheduler="synchronous"):
        patch.setattr(tunables, "STREAM_LEAF_VIEWS", LEAF)
        patch.setattr(tunables, "STREAM_NODE_PARTS", width)
        views = np.random.default_rng(n).normal(size=(n, 2, 2)).cumsum(axis=0)
        places = sorted({end * ROWS for end in ends if end * ROWS < n})
        rows = tuple(np.diff([0, *places, n]).tolist())
        array = da.from_array(views, chunks=(rows, 2, 2))
        assert fields(ours.moments(array, Identity())) == expected(views, Identity())


@pytest.mark.parametrize("n_workers", [1, 2, 3, 7])
def test_no_number_of_workers_changes_a_bit(n_workers, shards):
    bits = expected(VIEWS, Identity())
    with started(n_workers, False) as client:
        assert fields(ours.moments(da.from_array(VIEWS, chunks=(ROWS, 2, 4)), Identity(), client=client)) == bits
        assert fields(ours.moments(str(shards / "part-*.npy"), Identity(), client=client)) == bits


def in_all_forms(folder):
    yield "array", da.from_array(VIEWS, chunks=(48, 2, 4))
    yield "pattern", str(folder / "part-*.npy")
    yield "names", [folder / f"part-{i}.npy" for i in (2, 0, 1)]
    yield "delayed", [dask.delayed(part) for part in cut(VIEWS, [60, 61, 150])]


@pytest.mark.parametrize("name", FEATURES)
def test_any_form_on_processes_gives_the_bits_of_a_stream(name, shards, processes):
    bits = expected(VIEWS, FEATURES[name])
    for form, views in in_all_forms(shards):
        assert fields(ours.moments(views, FEATURES[name], client=processes)) == bits, form


def test_the_default_client_is_taken_unless_another_scheduler_is_configured(within, monkeypatch):
    array = da.from_array(VIEWS, chunks=(40, 2, 4))
    assert _cluster.Cluster(None, 0).client is None
    with Client(within.cluster, set_as_default=True) as client, monkeypatch.context() as patch:
        asked, compute = [], client.compute
        patch.setattr(client, "compute", lambda *a, **o: asked.append(o["retries"]) or compute(*a, **o))
        assert fields(ours.moments(array, Identity(), retries=5)) == expected(VIEWS, Identity())
        assert asked == [5]
        with dask.config.set(scheduler="threads"):
            ours.moments(array, Identity())
        assert asked == [5]


def test_moments_of_a_cluster_are_moments(shards, processes, tmp_path):
    """They choose reg, are saved, merged and updated, although what comes over a wire cannot be written to."""
    found = ours.moments(str(shards / "part-*.npy"), Identity(), client=processes)
    other = streamed(VIEWS, Identity(), deterministic=True)
    assert found.solve(3, reg="auto").reg == other.solve(3, reg="auto").reg
    found.save(tmp_path / "moments")
    assert fields(sslcore.load(tmp_path / "moments")) == fields(other)
    assert found.update(VIEWS).n == 406
    assert found._sums.between.flags.writeable


def test_the_tasks_of_large_streams_leave_few_sums(monkeypatch):
    monkeypatch.setattr(tunables, "STREAM_NODE_PARTS", 4)
    for leaves, most in ((64, 19), (320, 11), (5120, 11)):
        left = []
        for run in range(32 if leaves < 5120 else 5):
            parts = _work.Parts(True)
            for leaf in range(run * leaves, (run + 1) * leaves):
                parts.add(leaf, _graph._Nothing())
            left.append(len(parts.nodes()))
        assert max(left) <= most
    for n, size in ((5 * 10**3, 64), (10**4, 320)):
        assert _graph.ends_of_tasks(n, 2, 1e8, True)[:2] == [size, 2 * size]
        assert _graph.ends_of_tasks(n, 2, 1e8, True)[-1] == n
    assert [_graph.ends_of_tasks(6 * 10**7, threads, 1e10, True)[0] for threads in (100, 3200)] == [5120, 320]


@pytest.mark.parametrize(("flops", "most"), [(1e11, 6), (2e10, 6), (1e10, 11), (1e8, 16)])
def test_tasks_get_shorter_towards_the_end(flops, most, monkeypatch):
    monkeypatch.setattr(tunables, "STREAM_NODE_PARTS", 4)
    sizes = np.diff(_graph.ends_of_tasks(100, 2, flops, True), prepend=0)
    assert sizes.sum() == 100
    assert sizes.max() == most
    assert (np.diff(sizes) <= 1).all()  # where the next node begins
    assert sizes[-2:].tolist() == [1, 1]
    assert _graph.ends_of_tasks(1, 16, flops, True) == [1]
    # of one size where tasks begin in any order
    *equal, rest = np.diff(_graph.ends_of_tasks(96, 2, flops, False), prepend=0).tolist()
    assert set(equal) == {min(int(1e11 / flops), 6)}
    assert sum(equal) + rest == 96


@given(n=st.integers(1, 400), threads=st.integers(1, 9), flops=st.floats(1e7, 1e13), width=st.integers(2, 17))
def test_tasks_begin_with_a_node_while_they_have_one(n, threads, flops, width):
    """The sums of the training leaves of such a task are then one node, or more that are whole."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tunables, "STREAM_NODE_PARTS", width)
        ends = _graph.ends_of_tasks(n, threads, flops, True)
        begins, shorter = [0, *ends[:-1]], False
        assert ends[-1] == n
        for begin, end in zip(begins, ends, strict=True):
            assert begin < end
            training = [place for part, place in map(place_of, range(begin, end)) if part == 0]
            assert shorter or not training or training[0] % width == 0
            shorter = shorter or end != node_after(end)


@given(leaf=st.integers(0, 10**6), width=st.integers(1, 40))
def test_where_a_node_begins(leaf, width):
    """By going through all leaves from there on."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tunables, "STREAM_NODE_PARTS", width)
        first = next(i for i in itertools.count(leaf) if place_of(i)[0] == 0 and place_of(i)[1] % width == 0)
        assert node_after(leaf) == first


def test_an_adaptive_cluster_at_rest_leaves_work_for_those_who_come():
    assert _graph.ends_of_tasks(300, 1, 1e6, True)[0] == 40  # an eighth, to the end of a node


@pytest.mark.parametrize("threads", [1, 2, 8, 20, 100])
def test_each_thread_of_a_cluster_gets_tasks_enough(threads):
    """Enough that none is without one while another has two."""
    for leaves in (8, 9, 17, 60, 500, 513, 3000):
        for ordered, least in ((True, 4), (False, 8)):
            ends = _graph.ends_of_tasks(leaves * threads, threads, 1e6, ordered)
            assert len(ends) >= least * threads, (leaves, ordered)


def test_tasks_are_cut_for_the_workers_that_are_there_or_will_be(within):
    assert _cluster.Cluster(within, 0).n_threads() == 2
    with started(0, False) as client:
        assert _cluster.Cluster(client, 0).n_threads() == tunables.DASK_COMING_THREADS


def test_wide_points_of_few_features_make_short_tasks(tmp_path, monkeypatch):
    """Tasks of as many operations as is said, of reading and mapping points too."""
    monkeypatch.setattr(tunables, "DASK_TASK_FLOPS", 8 * LEAF * 2 * (2 + 50))
    np.save(tmp_path / "wide.npy", np.zeros((100 * ROWS, 2, 50)))
    data = _graph.Files(str(tmp_path / "wide.npy"), 1, RandomFourier(Gaussian(1.0), 2, seed=0), True)
    assert max(stop - start for start, stop in data.runs()) == 8 * ROWS


def test_runs_begin_in_the_order_of_the_stream(tmp_path, monkeypatch):
    """On a cluster, where the longest come first, whatever the shape of the tree that adds them."""
    begun = []

    def noted(job, files, start, stop):
        begun.append((start, stop - start))
        return leaves(job, files, start, stop)

    leaves = _work._leaves_of_files  # as no task itself, it is not sent
    monkeypatch.setattr(_work, "_leaves_of_files", noted)
    views = np.random.default_rng(0).normal(size=(200 * ROWS, 2, 3))
    np.save(tmp_path / "views.npy", views)
    with started(1, False) as client:
        found = ours.moments(str(tmp_path / "views.npy"), Identity(), client=client)
    assert begun == sorted(begun)
    sizes = [size for _, size in begun]
    assert sizes == sorted(sizes, reverse=True)
    assert len(set(sizes)) > 5
    assert fields(found) == expected(views, Identity())


def test_tasks_leave_what_the_next_ones_of_their_job_use_again():
    """As much as there was at a time; it is not sent with the job."""
    job = _work.Job(FEATURES["nystrom"], ROWS, 3, None, {})
    kept, shape = job.kept, (ROWS, 2, 4)
    with kept.leaf(shape, np.dtype(float)) as one, kept.leaf(shape, np.dtype(float)) as other:
        assert (one.shape, one.dtype) == (shape, float)
        assert not np.shares_memory(one, other)
    for _ in range(3):
        with kept.leaf(shape, np.dtype(float)) as again:
            assert any(np.shares_memory(again, a) for a in (one, other))
    assert len(kept._leaves) == 2
    backend = get_backend(backend="numba")
    for _ in range(3):
        with kept.accumulator(job.features, VIEWS[:ROWS], backend) as accumulator:
            accumulator.recycle(streamed(VIEWS, job.features)._sums)
    assert kept._accumulators == [accumulator]
    assert accumulator._spare is None  # it would lie there until the next task comes
    with pytest.raises(KeyError), kept.accumulator(job.features, VIEWS, backend):
        raise KeyError  # its state is unknown
    assert not kept._accumulators
    there = pickle.loads(pickle.dumps(job)).kept
    assert there is not kept
    assert not there._leaves


def test_memory_of_sums_comes_back_with_the_last_array_in_it():
    kept = _work.Kept()
    sums = kept.sums(3)
    assert sums.between.flags.f_contiguous
    assert not np.shares_memory(sums.between, sums.within)
    part = sums.between[1:]  # as any library may hold on to it
    del sums
    assert not np.shares_memory(kept.sums(3).between, part)
    kept._sums.clear()
    del part
    (memory,) = kept._sums
    again = kept.sums(3)
    assert np.shares_memory(again.within, memory)
    assert not kept._sums
    del again, memory
    some = [kept.sums(3) for _ in range(2 * tunables.DASK_SPARE_PARTS)]
    some.clear()
    assert len(kept._sums) == tunables.DASK_SPARE_PARTS
    late = kept.sums(3)
    assert not pickle.loads(pickle.dumps(kept))._sums
    kept.close()
    del late
    assert not kept._sums
    orphan = _work.Kept().sums(3)  # of a job that has gone
    orphan.within.fill(1.0)
    del orphan


def test_nothing_of_a_job_stays_in_the_process_of_the_caller(shards, monkeypatch):
    jobs = []

    def noted(job, data):
        jobs.append(job)
        return totals(job, data)

    totals = _graph.totals
    monkeypatch.setattr(_moments, "totals", noted)
    ours.moments(str(shards / "part-*.npy"), Identity())
    kept = jobs[0].kept
    assert (kept._leaves, kept._accumulators, kept._sums) == ([], [], [])


def made_and_left(dask_worker=None):
    """Accumulators that were made in this process since the last call, and jobs that are still there."""
    if not hasattr(_work, "made"):
        _work.made, make = [], _work.Accumulator

        def noted(*arguments):
            _work.made.append(1)
            return make(*arguments)

        _work.Accumulator = noted
    count = len(_work.made)
    _work.made.clear()
    return count, sum(type(found) is _work.Kept for found in gc.get_objects())  # a dead weak reference has no __class__


def test_nothing_of_a_job_stays_on_workers(shards):
    """A worker of one thread prepares features once; after the last task it has room for what comes next."""
    with started(2, True, memory_limit="3GiB") as client:
        client.run(made_and_left)
        ours.moments(str(shards / "part-*.npy"), FEATURES["nystrom"], client=client)
        found = client.run(made_and_left).values()
        assert {made for made, _ in found} <= {0, 1}
        assert sum(made for made, _ in found) > 0
        end = time.monotonic() + 60
        while any(left for _, left in client.run(made_and_left).values()):
            assert time.monotonic() < end
            time.sleep(0.02)


def kept_and_accumulators():
    """Leaves and accumulators that jobs of this process keep, and all accumulators that live in it."""
    gc.collect()
    found = gc.get_objects()
    kept = [(len(one._leaves), len(one._accumulators)) for one in found if type(one) is _work.Kept]
    return sum(map(sum, kept)), sum(type(one) is _work.Accumulator for one in found)


@pytest.mark.parametrize("bad", [False, True])
def test_nothing_of_a_job_stays_on_workers_within_this_process(shards, within, bad):
    """Dask remembers the messages that it has not pickled, and with them the job that was sent."""
    if bad:
        np.save(shards / "part-1.npy", np.full((90, 2, 4), np.nan))  # and the leaves of others are good
    before = kept_and_accumulators()
    with pytest.raises(ValueError, match="finite") if bad else contextlib.nullcontext() as caught:
        ours.moments(str(shards / "part-*.npy"), FEATURES["nystrom"], client=within)
    end = time.monotonic() + 60
    while kept_and_accumulators() != before:
        assert time.monotonic() < end
        time.sleep(0.02)
    assert (caught is not None) == bad  # the error is still there, and its traceback


def test_what_tasks_bring_back_after_the_call_is_given_up():
    kept = _work.Kept(calls=True)
    with kept.leaf((3,), np.dtype(float)):
        kept.close()
    assert kept._leaves == []
    with kept.accumulator(Identity(), VIEWS, get_backend(backend="numba")):
        pass
    assert kept._accumulators == []


@pytest.mark.parametrize("name", FEATURES)
def test_what_is_in_memory_that_is_used_again_does_not_matter(name, shards, monkeypatch):
    """Leaves that are lent are full of NaN, and all that is used again within a task."""
    lend = _work.Kept.leaf

    @contextlib.contextmanager
    def lent(self, shape, dtype):
        with lend(self, shape, dtype) as memory:
            memory.fill(np.nan)
            yield memory

    def come_back(self, memory):
        memory.fill(np.nan)
        places.append("memory of sums")
        take_back(self, memory)

    bits, take_back = expected(VIEWS, FEATURES[name]), _work.Kept.take_back
    monkeypatch.setattr(_work.Kept, "leaf", lent)
    monkeypatch.setattr(_work.Kept, "take_back", come_back)
    monkeypatch.setattr(tunables, "DASK_RUN_PARTS", (12,))
    monkeypatch.setattr(tunables, "DASK_THREAD_PARTS", 1)
    monkeypatch.setattr(_cluster.Cluster, "n_threads", lambda self: 1)
    with dask.config.set(scheduler="synchronous"), poisoned() as places:
        for views in (str(shards / "part-*.npy"), da.from_array(VIEWS, chunks=(12 * ROWS, 2, 4))):
            places.clear()
            assert fields(ours.moments(views, FEATURES[name])) == bits
            assert {"sums", "memory of sums", "buffer"} <= set(places)


def test_large_runs_of_files_give_the_same_bits(shards, monkeypatch):
    monkeypatch.setattr(tunables, "DASK_RUN_PARTS", (4, 6))
    monkeypatch.setattr(tunables, "DASK_THREAD_PARTS", 1)
    with dask.config.set(scheduler="synchronous"):
        for size in (1, 4):
            monkeypatch.setattr(_cluster.Cluster, "n_threads", lambda self, size=size: size)
            found = ours.moments(str(shards / "part-*.npy"), Identity())
            assert fields(found) == expected(VIEWS, Identity())


# ---------------------------------------------------------------- death


@contextlib.contextmanager
def forked_from_one_that_has_all():
    """A worker that is begun anew is at work at once: a server that has imported all forks it."""
    with dask.config.set({"distributed.worker.multiprocessing-method": "forkserver"}):
        context = get_mp_context()
        context.set_forkserver_preload(
            ["distributed", "distributed.nanny", "sslcore.dask", "sslcore.backends.numba_cpu"]
        )
        yield


def running(cluster):
    """The processes of workers that work: one that dies while it begins is given up by its nanny."""
    processes = [nanny.process for nanny in cluster.workers.values()]
    return [p.pid for p in processes if p and p.status is Status.running and p.pid]


def test_workers_may_be_killed_midway(tmp_path):
    """Killed at random moments by their process ids; the nannies start others at once, and the bits are the same."""
    moment, killed, rounds = np.random.default_rng(0), 0, 0
    bits = expected(VIEWS, Identity())

    def slow(block, folder, i):
        """A block that takes a while, and says that it was begun."""
        open(f"{folder}/begun-{i}", "a").close()
        time.sleep(0.01)
        return block

    while killed < KILLS:
        folder = tmp_path / f"round-{rounds}"
        folder.mkdir()
        blocks = [
            da.from_delayed(dask.delayed(slow, pure=False)(part, str(folder), i), part.shape, part.dtype)
            for i, part in enumerate(np.split(VIEWS, range(ROWS, 203, ROWS)))
        ]
        found, array, of_this = [], da.concatenate(blocks), 0
        with forked_from_one_that_has_all(), started(2, True, memory_limit="3GiB") as client:

            def sum_all(array=array, found=found, client=client):
                found.append(ours.moments(array, Identity(), client=client))

            thread = threading.Thread(target=sum_all)
            thread.start()
            while thread.is_alive() and of_this < KILLS_OF_A_SUM and killed < KILLS:
                if not any(folder.iterdir()):  # nothing was begun
                    time.sleep(0.002)
                    continue
                time.sleep(moment.uniform(0.0, 0.3))
                pids = running(client.cluster)
                if pids and thread.is_alive():
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(int(moment.choice(pids)), signal.SIGKILL)
                        killed, of_this = killed + 1, of_this + 1
            thread.join(timeout=500)  # on a machine that does much else, too
            assert not thread.is_alive()
        assert len(found) == 1
        assert (found[0].n, fields(found[0])) == (203, bits)
        rounds += 1


def test_an_adaptive_cluster_at_rest_wakes_up():
    """It begins without workers; sums and fits of a kernel, whose points are sent to workers, wait for some."""
    views = VIEWS[:60]
    with started(0, False) as client:
        client.cluster.adapt(minimum=0, maximum=2, interval="20ms")
        alone = sslcore.pretrain(views, Gaussian(3.0), 3, reg=1e-3)
        fitted = ours.pretrain(da.from_array(views, chunks=(20, 2, 4)), Gaussian(3.0), 3, reg=1e-3, client=client)
        assert_close(fitted.gamma, alone.gamma, tol=1e-8)
        client.cluster.scale(0)
        client.cluster.adapt(minimum=0, maximum=2, interval="20ms")
        array = da.from_array(VIEWS, chunks=(ROWS, 2, 4))
        assert fields(ours.moments(array, Identity(), client=client)) == expected(VIEWS, Identity())


def lethal(block):
    os.kill(os.getpid(), signal.SIGKILL)


def test_a_task_that_kills_its_workers_is_given_up():
    with started(1, True) as client, dask.config.set({"distributed.scheduler.allowed-failures": 0}):
        client.run_on_scheduler(lambda dask_scheduler: setattr(dask_scheduler, "allowed_failures", 0))
        array = da.from_array(VIEWS, chunks=(203, 2, 4)).map_blocks(lethal, dtype=float, meta=np.empty((0, 0, 0)))
        with pytest.raises(RuntimeError, match=r"gave a task up: 1 workers? died that had it, probably for"):
            ours.moments(array, Identity(), client=client)


def test_a_lost_cluster_is_one_error():
    def forever(block):
        time.sleep(0.5)
        return block

    with started(1, False) as client:
        array = da.from_array(VIEWS, chunks=(8, 2, 4)).map_blocks(forever, dtype=float, meta=np.empty((0, 0, 0)))
        closer = threading.Timer(0.7, client.close)
        closer.start()
        with pytest.raises(ConnectionError, match="the cluster was lost, and with it the sums of this call"):
            ours.moments(array, Identity(), client=client)
        closer.join()
        with pytest.raises(ConnectionError, match="the cluster was lost"):
            ours.moments(array, Identity(), client=client)


# ---------------------------------------------------------------- bad input


def refused(views, words, features=None, error=ValueError, **options):
    with pytest.raises(error, match=words):
        ours.moments(views, features or Identity(), **options)


def test_what_has_no_shape_yet_is_no_array():
    """NumPy would fetch all of it, or say nothing that helps."""
    delayed = dask.delayed(VIEWS)
    for fit in (
        lambda: sslcore.pretrain(delayed, Identity(), 2, reg=1e-2),
        lambda: sslcore.SSLEmbedding().fit(delayed),
        lambda: streamed(delayed, Identity()),
        lambda: streamed([VIEWS, delayed], Identity()),
    ):
        with pytest.raises(TypeError, match=r"a delayed value has no shape yet: hand over dask.array.from_delayed"):
            fit()
    unknown = da.from_array(VIEWS, chunks=(50, 2, 4))
    with pytest.raises(ValueError, match=r"the chunks of views have unknown sizes .*compute_chunk_sizes\(\) first"):
        streamed(unknown[unknown[:, 0, 0] > 0], Identity())
    assert fields(streamed(unknown, Identity())) == fields(streamed(VIEWS, Identity()))


def test_a_dataframe_of_dask_is_not_fetched_by_accident():
    class DataFrame:  # pandas and pyarrow, which those of Dask need, are not asked for
        __module__ = "dask.dataframe.dask_expr"

        def to_dask_array(self):
            raise AssertionError

        def __array__(self, *options, **more):
            raise AssertionError

    rep = sslcore.pretrain(VIEWS, Identity(), 2, reg=1e-2)
    for use in (rep.transform, sslcore.SSLEmbedding().fit, lambda x: sslcore.pretrain(x, Identity(), 2, reg=1e-2)):
        with pytest.raises(TypeError, match=r"a DataFrame of Dask does not know its rows: hand over x.to_dask_array"):
            use(DataFrame())


def test_what_is_no_array_of_views(shards):
    refused(VIEWS, "views must be a Dask array .* found .*ndarray; for arrays in memory", error=TypeError)
    refused([], "views must be a Dask array", error=TypeError)
    refused(da.from_array(VIEWS[:, 0], chunks=50), r"views must have 3 dimensions \(n, m, d\), found shape \(203, 4\)")
    refused(da.from_array(VIEWS[:, :0]), r"views must not be empty, found shape \(203, 0, 4\)")
    refused(da.from_array(VIEWS.astype(complex)), "real numbers", error=TypeError)
    some = da.from_array(VIEWS, chunks=(50, 2, 4))
    refused(some[some[:, 0, 0] > 0], r"unknown sizes .*; call views.compute_chunk_sizes\(\) first")
    refused([dask.delayed(VIEWS), dask.delayed(VIEWS[:, :, :3])], r"block 1 has views of shape \(2, 3\) and dtype <f8")
    refused([dask.delayed(VIEWS[:, 0])], r"block 0 has shape \(203, 4\)")
    refused([dask.delayed("word")], "delayed blocks must be arrays .* found str", error=TypeError)
    refused([dask.delayed(VIEWS[:0])], "the blocks are empty")
    refused(some, "features of sslcore.features were expected", features=Gaussian(1.0), error=TypeError)
    refused(some, "landmarks of Nystrom are not chosen yet", features=Nystrom(Gaussian(1.0), 5))
    refused(some, "client must be a client of distributed, found str", client="here", error=TypeError)
    refused(some, "retries must be", retries=-1)
    refused(some, "backend must be one of", backend="gpu")
    refused(str(shards / "none-*.npy"), "no file matches", error=FileNotFoundError)
    refused([shards / "part-0.npy"] * 2, "part-0.npy is named twice: its samples would count twice")


def test_nan_is_told_with_its_place(shards, processes):
    views = VIEWS.copy()
    views[170, 1, 2] = np.nan
    words = r"found nan at sample 170 of the array \(view 1, coordinate 2"
    refused(da.from_array(views, chunks=(40, 2, 4)), words)
    refused(da.from_array(views, chunks=(40, 2, 4)), words, client=processes, retries=0)
    np.save(shards / "part-2.npy", views[150:])
    words = r"found nan at row 20 of .*part-2.npy \(view 1, coordinate 2"
    refused(str(shards / "part-*.npy"), words, client=processes, retries=0)


def test_shards_that_are_not_alike_or_have_changed(shards, monkeypatch):
    pattern = str(shards / "part-*.npy")
    good = np.load(shards / "part-1.npy")
    np.save(shards / "part-1.npy", good[:, :, :3])
    refused(pattern, "part-1.npy has 3 coordinates, .*part-0.npy has 4")
    np.save(shards / "part-1.npy", good.astype("f4"))
    refused(pattern, "part-1.npy has dtype float32, .*part-0.npy has float64")
    np.save(shards / "part-1.npy", good[:0])
    refused(pattern, "part-1.npy is empty")
    np.save(shards / "part-1.npy", good)
    content = (shards / "part-1.npy").read_bytes()
    (shards / "part-1.npy").write_bytes(content[:-100])
    refused(pattern, "part-1.npy")
    (shards / "part-1.npy").write_bytes(content)

    def meanwhile(change):
        """Change a file when the tasks are made."""
        made = _graph.totals

        def totals(*arguments):
            change()
            return made(*arguments)

        monkeypatch.setattr("sslcore.dask._moments.totals", totals)

    meanwhile(lambda: np.save(shards / "part-1.npy", good[:-1]))
    refused(pattern, r"part-1.npy has the shape \(89, 2, 4\) and the dtype float64 on a worker, .*where it was listed")
    np.save(shards / "part-1.npy", good)
    monkeypatch.undo()
    monkeypatch.setattr(tunables, "STREAM_LEAF_VIEWS", LEAF)
    meanwhile((shards / "part-1.npy").unlink)
    refused(pattern, "workers must find the files under the same names as the client", error=OSError)


def test_a_file_that_one_worker_lacks_is_no_lost_cluster(shards, within, monkeypatch):
    made = _graph.totals

    def totals(*arguments):
        (shards / "part-1.npy").unlink()
        return made(*arguments)

    monkeypatch.setattr("sslcore.dask._moments.totals", totals)
    refused(str(shards / "part-*.npy"), "workers must find the files", error=FileNotFoundError, client=within)


def test_the_same_file_by_two_names_is_refused(shards):
    os.symlink(shards / "part-0.npy", shards / "part-9.npy")
    with pytest.raises(ValueError, match=r"part-9.npy is named twice, also as .*part-0.npy: its samples would count"):
        streamed([shards / "part-0.npy", shards / "part-9.npy"], Identity())


def test_links_that_match_a_pattern_are_refused_too(shards):
    os.link(shards / "part-0.npy", shards / "part-9.npy")
    for read in (streamed, ours.moments):
        with pytest.raises(ValueError, match=r"part-9.npy is named twice, also as .*part-0.npy: its samples would"):
            read(str(shards / "part-*.npy"), Identity())


def test_chunks_that_are_not_as_declared_are_refused():
    array = da.from_array(VIEWS, chunks=(64, 2, 4))
    fewer = array.map_blocks(lambda block: block[block[:, 0, 0] > 0], dtype=float)
    other = array.map_blocks(lambda block: block.astype("f4"), dtype=float, meta=np.empty((0, 0, 0)))
    shape = r"\(\d+, 2, 4\)"
    words = rf"the chunk from sample \d+ on has shape {shape} and dtype float{{}}, declared are {shape} and float64; "
    refused(fewer, words.format(64) + "give map_blocks and from_delayed the true chunks")
    refused(other, words.format(32))
    for views, dtype in ((fewer, 64), (other, 32)):
        with pytest.raises(ValueError, match=words.format(dtype)):
            ours.pretrain(views, Gaussian(3.0), 3, reg=1e-2)


@pytest.mark.parametrize(
    "error", [FileNotFoundError("no such shard"), TimeoutError("no answer"), ConnectionError("no")]
)
def test_an_error_of_a_task_is_no_lost_cluster(within, error):
    def fails(block):
        raise error

    array = da.from_array(VIEWS, chunks=(80, 2, 4)).map_blocks(fails, dtype=float, meta=np.empty((0, 0, 0)))
    refused(array, f"^{error}$", error=type(error), client=within, retries=0)


def test_no_more_tasks_are_counted_than_there_are(monkeypatch):
    monkeypatch.setattr(_cluster, "CPU_COUNT", 64)
    monkeypatch.setattr(_cluster, "memory_budget", lambda memory: 100)
    _cluster.Cluster(None, 0).require(30, 10, "views", "take fewer", 3)
    with pytest.raises(sslcore.MemoryBudgetError, match="4 tasks at a time of"):
        _cluster.Cluster(None, 0).require(30, 10, "views", "take fewer", 4)


def test_memory_is_compared_before_anything_is_submitted(processes, monkeypatch):
    huge = da.zeros((10**6, 2, 1000), chunks=(10**6, 2, 1000))
    refused(
        huge,
        r"a task of 1[67],\d\d\d MB \(a chunk of views, features of one leaf, \d+ sums of 1000 x 1000\).* are more "
        r"than the 2,262 MB that a worker has left \(nothing was submitted\); take smaller chunks",
        error=sslcore.MemoryBudgetError,
        client=processes,
    )
    monkeypatch.setattr(_cluster, "memory_budget", lambda memory: 10**5)
    refused(da.from_array(VIEWS), "that this machine has", error=sslcore.MemoryBudgetError)
    assert not processes.processing() or not any(processes.processing().values())


def test_kernels_that_are_functions_are_sent_unless_they_hold_what_cannot_be(processes):
    landmarks = VIEWS[:6, 0]
    array = da.from_array(VIEWS, chunks=(80, 2, 4))
    function = Nystrom(lambda x, y: 1.0 + x @ y.T, landmarks)
    found = ours.moments(array, function, client=processes)
    assert fields(found) == expected(VIEWS, function)
    lock = threading.Lock()

    def held(x, y):
        with lock:
            return 1.0 + x @ y.T

    refused(array, r"the model cannot be sent to workers \(TypeError: cannot pickle '_thread.lock'.*use kernels of",
            Nystrom(held, landmarks), TypeError, client=processes)  # fmt: skip


def test_other_versions_on_a_worker_are_refused(monkeypatch):
    monkeypatch.setattr("sslcore.dask._moments.versions", lambda: {"numpy": "0"})
    words = "a worker has other versions than the client: .*numpy '0' there"
    refused(da.from_array(VIEWS), words)


def test_failures_are_tried_again(within, tmp_path):
    def fails_once(block):
        with contextlib.suppress(FileExistsError):
            (tmp_path / "failed").touch(exist_ok=False)
            raise OSError(5, "the network is away")
        return block

    array = da.from_array(VIEWS, chunks=(80, 2, 4)).map_blocks(fails_once, dtype=float, meta=np.empty((0, 0, 0)))
    refused(array, "the network is away", error=OSError, client=within, retries=0)
    (tmp_path / "failed").unlink()
    assert fields(ours.moments(array, Identity(), client=within)) == expected(VIEWS, Identity())


def test_sums_that_are_added_stay_as_they_are():
    """A task may be run again, and its summands be those of others too."""
    sums = [streamed(part, Identity())._sums for part in cut(VIEWS[:24] + 1e3 * VIEWS[24:48], [8, 16])]
    before = [field.tobytes() for part in sums for field in (part.mean, part.between, part.within)]
    total = _work.add_sums(sums)
    assert [field.tobytes() for part in sums for field in (part.mean, part.between, part.within)] == before
    assert total.n == 24
    assert total.mean.tobytes() == sums[0].merged(sums[1]).merged(sums[2]).mean.tobytes()


def blas_threads():
    return {pool["num_threads"] for pool in threadpoolctl.threadpool_info() if pool["user_api"] == "blas"}


@pytest.fixture
def two_threads():
    with threadpoolctl.threadpool_limits(2, user_api="blas"):
        yield


@pytest.mark.usefixtures("two_threads")
def test_blas_is_asked_for_one_thread_while_any_task_runs():
    """The first to end leaves the limit to the others, and who sets another number meanwhile keeps that."""
    one_thread = _work._OneThread()
    with one_thread():
        with one_thread(), one_thread():
            pass
        assert blas_threads() == {1}
    assert blas_threads() == {2}
    with pytest.raises(KeyError), one_thread():
        raise KeyError
    assert blas_threads() == {2}
    limit = threadpoolctl.threadpool_limits(1, user_api="blas")
    with one_thread():
        limit.restore_original_limits()
        assert blas_threads() == {2}
    assert blas_threads() == {2}
    with one_thread():
        threadpoolctl.threadpool_limits(3, user_api="blas")
    assert blas_threads() == {3}


@pytest.mark.usefixtures("two_threads")
def test_blas_has_its_threads_again_whichever_task_ends_last():
    """Tasks are on threads of their own, beside others that have asked for numbers, too, and live."""
    one_thread = _work._OneThread()
    with ThreadPoolExecutor(1) as first, ThreadPoolExecutor(1) as second:
        for order in itertools.permutations([first, second]):
            tasks = [(pool, one_thread()) for pool in order]
            for pool, task in tasks:
                pool.submit(task.__enter__).result()
                assert blas_threads() == {1}
            for pool, task in tasks:
                assert blas_threads() == {1}
                pool.submit(task.__exit__, None, None, None).result()
            assert blas_threads() == {2}
            with threadpoolctl.threadpool_limits(1, user_api="blas"):  # others are heard again
                assert blas_threads() == {1}


# ---------------------------------------------------------------- fits


def test_a_fit_is_that_of_a_stream_and_its_landmarks_those_of_pretrain():
    array = da.from_array(VIEWS, chunks=(64, 2, 4))
    for model in (Identity(), Nystrom(Gaussian(3.0), 9, seed=4), Nystrom(Gaussian(3.0), 9, "rpcholesky"),
                  RandomFourier(Gaussian(3.0), 8, seed=3)):  # fmt: skip
        for options in ({"reg": 1e-2}, {"reg": 1e-3, "center": True, "beta": 2.0, "unbiased": False}):
            found = sslcore.pretrain(array, model, 3, **options)
            whole = sslcore.pretrain(VIEWS, model, 3, **options)
            assert_close(found.gamma, whole.gamma, tol=1e-9)
            assert_close(abs(found(VIEWS)), abs(whole(VIEWS)), tol=1e-7)
    assert (found.training, found.n_coordinates) == (None, 4)
    auto = ours.pretrain(array, Identity(), 3, reg="auto")
    assert auto.reg == streamed(VIEWS, Identity()).solve(3, reg="auto").reg
    for name, value in (("sample_weight", np.ones(203)), ("groups", np.arange(203)), ("memory", "1GB"),
                        ("solver", "dense"), ("checkpoint", "ck"),
                        ("progress", print)):  # fmt: skip
        with pytest.raises(ValueError, match=f"{name}= is for views in memory"):
            sslcore.pretrain(array, Identity(), 3, reg=1e-2, **{name: value})


def test_moments_are_updated_on_the_cluster_where_the_views_lie(monkeypatch):
    array, points = da.from_array(VIEWS, chunks=(64, 2, 4)), da.from_array(VIEWS[:, 0], chunks=(50, 4))
    monkeypatch.setattr(da.Array, "__array__", None)  # NumPy would fetch all of it
    found = sslcore.Moments(Identity()).update(VIEWS[:50]).update(array)
    whole = ours.moments(array, Identity())
    assert found.n == 50 + len(VIEWS)
    assert fields(sslcore.Moments(Identity()).update(array)) == fields(whole)
    assert fields(found) == fields(sslcore.Moments(Identity()).update(VIEWS[:50]).merge(whole))
    law = sslcore.positives.TimeLag(3)
    lagged = sslcore.Moments(Identity()).update(points, positives=law)
    assert fields(lagged) == fields(ours.moments(points, Identity(), positives=law))
    with pytest.raises(ValueError, match="groups= is for views in memory, found it with an array of a cluster"):
        found.update(array, groups=np.arange(len(VIEWS)))


def test_two_modalities_on_a_cluster_are_refused(monkeypatch):
    x, y = VIEWS[:, 0], VIEWS[:, 1]
    far = da.from_array(y, chunks=(50, 4))
    monkeypatch.setattr(da.Array, "__array__", None)
    rep = sslcore.pretrain((x, y), (Identity(), Identity()), 2, reg=1e-2)
    for use in (
        lambda: sslcore.pretrain((x, far), (Identity(), Identity()), 2, reg=1e-2),
        lambda: sslcore.pretrain_path((x, far), (Identity(), Identity()), 2, regs=[1e-2]),
        lambda: sslcore.CrossEmbedding(n_components=2).fit(x, far),
        lambda: sslcore.CrossEmbedding(n_components=2).fit(x, y).transform(None, far),
    ):
        with pytest.raises(TypeError, match=r"^y lies on a cluster, and two modalities are .* y.compute\(\);"):
            use()
    assert_close(rep.transform((None, far)).compute(), rep.transform((None, y)))


def test_pairs_of_a_cluster_are_those_of_a_lag_and_of_features():
    points = da.from_array(VIEWS[:, 0], chunks=(50, 4))
    with pytest.raises(TypeError, match=r"a stream takes TimeLag\(lag\) as positives, found 1;"):
        ours.moments(points, Identity(), positives=1)
    with pytest.raises(ValueError, match="positives= with a kernel is for points in memory: on a cluster take"):
        ours.pretrain(points, Gaussian(1.0), 2, reg=1e-2, positives=sslcore.positives.TimeLag(1))


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.int64])
def test_transform_is_lazy_and_by_chunks(dtype):
    views = np.round(10 * VIEWS).astype(dtype)
    for model in (Identity(), Gaussian(20.0)):
        rep = sslcore.pretrain(views, model, 3, reg=1e-2)
        for x, chunks in ((views[:, 0], (50, 3)), (views, (50, 1, 2))):
            z = rep.transform(da.from_array(x, chunks=chunks))
            assert isinstance(z, da.Array)
            assert z.chunks[0] == (50, 50, 50, 50, 3)
            assert z.dtype == rep.transform(x).dtype
            assert_close(z.compute(), rep.transform(x), tol=1e-6 if dtype == np.float32 else 1e-12)
        assert_close(rep(da.from_array(views)).compute(), rep(views), tol=1e-6 if dtype == np.float32 else 1e-12)
        unit = ours.transform(rep, da.from_array(views[:, 0]), "unit").compute()
        assert_close(unit, rep.transform(views[:, 0], scale="unit"), tol=1e-6 if dtype == np.float32 else 1e-12)


def test_transform_refuses_what_is_wrong():
    rep = sslcore.pretrain(VIEWS, Identity(), 3, reg=1e-2)
    bad = VIEWS[:, 0].copy()
    bad[120, 1] = np.inf
    lazy = rep.transform(da.from_array(bad, chunks=(50, 4)))  # nothing is computed
    with pytest.raises(ValueError, match=r"finite.*\(in the chunk from row 100 on\)"):
        lazy.compute()
    with pytest.raises(ValueError, match=r"must have the shape \(n, d\) or \(n, m, d\), found \(4,\)"):
        ours.transform(rep, da.zeros(4))
    with pytest.raises(TypeError, match=r"x must be a Dask array, found .*ndarray"):
        ours.transform(rep, bad)
    with pytest.raises(TypeError, match="representation must be what pretrain returns"):
        ours.transform(3, lazy)
    with pytest.raises(ValueError, match="scale must be one of 'risk', 'unit', 'norm', 'probe', found 1"):
        ours.transform(rep, lazy, 1)
    with pytest.raises(TypeError, match="write 'risk' for True, 'unit' for False"):
        ours.transform(rep, lazy, False)
    with pytest.raises(ValueError, match="x must not be empty"):
        ours.transform(rep, da.zeros((4, 0)))


def test_chunks_may_be_empty_but_not_of_unknown_sizes():
    x, law = VIEWS[:, 0], GaussianNoise(0.3)
    rep = sslcore.pretrain(VIEWS, Identity(), 3, reg=1e-2)
    array = da.from_array(x, chunks=((50, 0, 153), 4))
    assert_close(ours.transform(rep, array).compute(), rep.transform(x), tol=1e-12)
    assert np.array_equal(ours.views(array, law, 3, seed=9).compute(), law.views(x, 3, seed=9))
    some = array[array[:, 0] > 0]
    for make in (lambda: ours.transform(rep, some), lambda: ours.views(some, law, 2, seed=0)):
        with pytest.raises(ValueError, match=r"the chunks of x have unknown sizes .*; call x.compute_chunk_sizes\(\)"):
            make()


def test_views_are_those_of_one_machine():
    x = VIEWS[:, 0]
    law = GaussianNoise(0.3)
    for chunks in ((50, 2), (203, 4), (1, 4)):
        made = ours.views(da.from_array(x, chunks=chunks), law, 3, seed=9)
        assert np.array_equal(made.compute(), law.views(x, 3, seed=9))
    images = np.random.default_rng(0).random((30, 6, 6)).astype(np.float32)
    turns = Affine(image_shape=(6, 6), rotation=15.0)
    made = ours.views(da.from_array(images, chunks=(7, 3, 6)), turns, 2, seed=1)
    assert (made.shape, made.dtype) == ((30, 2, 36), np.float32)
    assert np.array_equal(made.compute(), turns.views(images, 2, seed=1))
    bad = x.copy()
    bad[120] = np.nan
    with pytest.raises(ValueError, match=r"\(in the chunk from sample 100 on\)"):
        ours.views(da.from_array(bad, chunks=(50, 4)), law, 2, seed=0).compute()
    with pytest.raises(TypeError, match="x must be a Dask array"):
        ours.views(x, law, 2, seed=0)


@pytest.mark.parametrize("kind", ["samples", "views"])
def test_the_estimator_takes_arrays_of_a_cluster(kind):
    data = VIEWS[:, 0] if kind == "samples" else VIEWS
    array = da.from_array(data, chunks=(50, *data.shape[1:]))
    for options in ({"features": Identity()}, {"features": 9, "kernel": Gaussian(3.0)}, {"features": 9}):
        settings = {"n_components": 3, "reg": 1e-2, "input": kind, "random_state": 5} | options
        found, whole = sslcore.SSLEmbedding(**settings).fit(array), sslcore.SSLEmbedding(**settings).fit(data)
        assert_close(found.representation_.gamma, whole.representation_.gamma, tol=1e-9)
        z = found.transform(array)
        assert isinstance(z, da.Array)
        assert_close(abs(z.compute()), abs(whole.transform(data)), tol=1e-6)
        assert_close(z.compute(), found.transform(data), tol=1e-10)
    with pytest.raises(ValueError, match="X has 3 features, but SSLEmbedding is expecting 4"):
        found.transform(array[..., :3])
    with pytest.raises(ValueError, match="sample_weight= is for views in memory"):
        found.fit(array, sample_weight=np.ones(203))
    law = sslcore.positives.TimeLag(1)
    with pytest.raises(ValueError, match="positives= is for views in memory, found it with an array of a cluster"):
        sslcore.SSLEmbedding(features=Identity(), positives=law).fit(array)
    with pytest.raises(ValueError, match="X on a cluster must hold"):
        found.fit(array[0])
    some = array[array.reshape(203, -1)[:, 0] > 0]
    with pytest.raises(ValueError, match=r"the chunks of X have unknown sizes .*; call X.compute_chunk_sizes\(\)"):
        found.fit(some)
    found.fit(some.compute_chunk_sizes())
    kernel = {"kernel": Gaussian(3.0), "input": kind, "reg": 1e-2, "solver": None}
    by_products, whole = (sslcore.SSLEmbedding(**kernel).fit(x).representation_ for x in (array, data))
    assert_close(by_products.gamma, whole.gamma, tol=1e-9)
    bad = data.copy()
    bad[100] = np.nan
    with pytest.raises(ValueError, match="X must be finite, found nan"):
        found.fit(da.from_array(bad, chunks=array.chunks))


def test_a_cluster_is_asked_for_all_its_views(monkeypatch):
    """Not for those of the rows that are looked at: these are few of a large array."""
    monkeypatch.setattr(sslcore.tunables, "LOOK_SAMPLES", 50)
    monkeypatch.setattr("sslcore.defaults._choice.EXACT_UP_TO", 500)
    monkeypatch.setattr("sslcore.defaults._choice.LANDMARKS", 8)
    ours = sslcore.SSLEmbedding(n_components=2, reg=1e-2).fit(da.from_array(VIEWS[:, 0], chunks=(50, 4)))
    assert "by 8 Nystrom features: 812 views are more than 500" in str(ours.chosen_)


def test_chunks_on_a_device_are_worked_on_there(backend):
    """Of Dask-CUDA each worker has a GPU, and chunks are CuPy's; here one process stands for all."""
    with dask.config.set(scheduler="synchronous"):
        parts = [backend.asarray(part) for part in cut(VIEWS, [64, 128])]
        found = ours.moments([dask.delayed(part, traverse=False) for part in parts], Identity())
        assert_close(found._total().between, streamed(VIEWS, Identity())._total().between, tol=1e-12)
        assert isinstance(found._sums.mean, np.ndarray)
        if backend.name == "cupy":
            asked = ours.moments(da.from_array(VIEWS, chunks=(64, 2, 4)), Identity(), backend="cupy")
            assert fields(asked) == fields(found)


@pytest.mark.parametrize("options", [{}, {"center": True}, {"beta": 0.0}, {"unbiased": False, "beta": 3.0}])
def test_a_kernel_is_fitted_by_products_on_the_cluster(options, monkeypatch):
    monkeypatch.setattr(tunables, "DASK_STRIP_ROWS", 50)
    views = VIEWS - VIEWS.mean(axis=(0, 1))
    found = sslcore.pretrain(da.from_array(views, chunks=(64, 1, 4)), Gaussian(3.0), 4, reg=1e-2, **options)
    whole = sslcore.pretrain(views, Gaussian(3.0), 4, reg=1e-2, **options)
    assert "matrix-free" in found.certificate.algorithm
    assert_close(found.gamma, whole.gamma, tol=1e-8)
    assert_close(abs(found(views)), abs(whole(views)), tol=1e-5)


def test_the_bits_of_a_kernel_fit_do_not_depend_on_the_workers(processes, monkeypatch):
    monkeypatch.setattr(tunables, "DASK_STRIP_ROWS", 50)
    array, products = da.from_array(VIEWS, chunks=(64, 2, 4)), []
    with started(3, False) as client:
        one = ours.pretrain(array, Gaussian(3.0), 3, reg=1e-2, client=client)
    multiplied = _kernels.ClusterRows._multiplied

    def killing(self, coefficients):
        products.append(len(coefficients))
        if len(products) == 2:
            os.kill(next(iter(processes.run(os.getpid).values())), signal.SIGKILL)
        return multiplied(self, coefficients)

    monkeypatch.setattr(_kernels.ClusterRows, "_multiplied", killing)
    other = ours.pretrain(array, Gaussian(3.0), 3, reg=1e-2, client=processes)
    assert len(products) > 2
    assert one.gamma.tobytes() == other.gamma.tobytes()
    assert one.coefficients.tobytes() == other.coefficients.tobytes()


def test_rows_in_float32_are_on_the_cluster_too(monkeypatch):
    """Workers keep what they have prepared of both, by names that no other client has."""
    monkeypatch.setattr(tunables, "DASK_STRIP_ROWS", 50)
    operators, names = [], []
    made, multiply = _kernels.ClusterProblem.operator_on, _kernels.multiply_strip

    def kept(*arguments):
        operators.append(made(*arguments))
        return operators[-1]

    def told(points, *rest):
        names.append(points.name)
        return multiply(points, *rest)

    monkeypatch.setattr(_kernels.ClusterProblem, "operator_on", kept)
    monkeypatch.setattr(_kernels, "multiply_strip", told)
    with dask.config.set(scheduler="synchronous"):
        ours.pretrain(da.from_array(VIEWS), Gaussian(3.0), 3, reg=1e-2)
        operator, v = operators[0], np.random.default_rng(2).normal(size=(406, 3))
        names.clear()
        for rows, points in [(operator.rows, operator.points), operator.single] * 2:
            out = np.empty(v.shape)
            rows.symmetric_product(points, v.astype(points.dtype), out, operator.backend)
            assert_close(out, Gaussian(3.0)(operator.points) @ v, tol=1e-5)
    assert len(names) == 4 * 9
    assert len(set(names)) == 2
    assert set(_kernels._prepared.rows) == set(names)
    assert all(re.fullmatch("points-[0-9a-f]{32}", name) for name in names)


def test_views_of_a_kernel_are_fetched_by_chunks_and_only_if_there_is_room(monkeypatch, shards):
    made, asked, compute = [], [], _cluster.Cluster.compute

    def told(block):
        made.append(block.shape)
        return block

    def counted(self, values):
        asked.append(len(values))
        return compute(self, values)

    array = da.from_array(VIEWS, chunks=(64, 2, 4)).map_blocks(told, dtype=float, meta=np.empty((0, 0, 0)))
    monkeypatch.setattr(_cluster.Cluster, "compute", counted)
    with dask.config.set(scheduler="synchronous"):
        ours.pretrain(array, Gaussian(3.0), 3, reg=1e-2)
        assert (asked[0], len(made)) == (4, 4)
        monkeypatch.setattr(_kernels, "memory_budget", lambda *arguments: 10**5)
        with pytest.raises(sslcore.MemoryBudgetError, match="this matrix-free fit needs"):
            ours.pretrain(array, Gaussian(3.0), 3, reg=1e-2)
        assert len(made) == 4
        for model in (Gaussian(3.0), Nystrom(Gaussian(3.0), 5)):
            with pytest.raises(TypeError, match="names of files are for features that have nothing left to choose"):
                ours.pretrain(str(shards / "part-*.npy"), model, 3, reg=1e-2)


@pytest.mark.filterwarnings("ignore::sslcore.errors.SelectionWarning")
def test_reg_of_a_kernel_is_searched_on_the_cluster_too():
    views, search = VIEWS[:80], sslcore.selection.AutoReg(regs=(1e-1, 1e-2), n_folds=2)
    with dask.config.set(scheduler="synchronous"):
        found = ours.pretrain(da.from_array(views), Gaussian(3.0), 3, reg=search)
        whole = sslcore.pretrain(views, Gaussian(3.0), 3, reg=search)
    assert_close(found.selection.risks, whole.selection.risks, tol=1e-6)
    assert found.reg == whole.reg
    with pytest.raises(ValueError, match="on a cluster a kernel is multiplied by NumPy's workers"):
        ours.pretrain(da.from_array(VIEWS), sslcore.kernels.Precomputed(), 3, reg=1e-2)
