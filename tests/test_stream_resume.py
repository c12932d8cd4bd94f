"""Streams that were killed: they go on, with the same bits, and refuse what is not what it was.

``SSLCORE_TEST_KILLS`` is how many processes are killed (100 by default).
"""

import json
import os
import signal
import subprocess
import sys
import textwrap

import numpy as np
import pytest

import sslcore
from sslcore import tunables
from sslcore.features import Identity, Nystrom, RandomFourier
from sslcore.io import atomic
from sslcore.kernels import Gaussian
from sslcore.stream import moments

from .forked import needs_fork
from .test_stream import LEAF, VIEWS, cut, fields, small_leaves  # noqa: F401  # the fixture

KILLS = int(os.environ.get("SSLCORE_TEST_KILLS", "100"))


class Stop(Exception):
    pass


def stopped(blocks, features, after, **options):
    """Go on until ``after`` leaves have come, and end there."""

    def stop(done, total, left):
        nonlocal after
        after -= 1
        if after <= 0:
            raise Stop

    with pytest.raises(Stop):
        moments(blocks, features, progress=stop, **options)


FEATURES = [Identity(), Nystrom(Gaussian(3.0), VIEWS[:6, 0]), RandomFourier(Gaussian(3.0), 8, seed=3)]


@pytest.mark.parametrize("features", FEATURES, ids=lambda features: type(features).__name__)
@pytest.mark.parametrize("deterministic", [False, True])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_a_stream_that_was_stopped_goes_on_with_the_same_bits(features, deterministic, dtype, tmp_path):
    views = VIEWS.astype(dtype)
    options = {"deterministic": deterministic, "checkpoint": tmp_path / "ck", "every": 0}
    expected = fields(moments(views, features, deterministic=deterministic))
    for after in (1, 2, 5, 6, 9, 14, 25):
        stopped(iter(cut(views, [after])), features, after, **options)
    assert fields(moments(views, features, **options)) == expected
    assert fields(moments(views, features, **options)) == expected  # and again, from the end


@pytest.mark.parametrize("deterministic", [False, True])
def test_it_goes_on_with_the_tree_that_it_was_begun_with(deterministic, tmp_path, monkeypatch):
    """Checkpoints of versions with wider nodes are worth what they cost."""
    options = {"deterministic": deterministic, "checkpoint": tmp_path / "ck", "every": 0}
    expected = fields(moments(VIEWS, Identity(), deterministic=deterministic))
    stopped(VIEWS, Identity(), 7, **options)
    monkeypatch.setattr(tunables, "STREAM_NODE_PARTS", 2)
    stopped(VIEWS, Identity(), 14, **options)
    assert fields(moments(VIEWS, Identity(), **options)) == expected
    assert (fields(moments(VIEWS, Identity(), deterministic=deterministic)) == expected) is not deterministic


def test_blocks_in_any_order_go_on_too(tmp_path):
    starts = np.random.default_rng(0).permutation(np.arange(0, 203, 5)).tolist()
    placed = [(start, VIEWS[start : start + 5]) for start in starts]
    options = {"deterministic": True, "checkpoint": tmp_path / "ck", "every": 0}
    stopped(placed, Identity(), 12, **options)
    found = moments(placed, Identity(), **options)
    assert fields(found) == fields(moments(VIEWS, Identity(), deterministic=True))


def test_more_data_may_come_later(tmp_path):
    for i, part in enumerate(cut(VIEWS, [60, 150])):
        np.save(tmp_path / f"part-{i}.npy", part)
    names = [tmp_path / f"part-{i}.npy" for i in range(3)]
    for count in (1, 2, 3):
        found = moments(names[:count], Identity(), checkpoint=tmp_path / "ck")
        assert fields(found) == fields(moments(names[:count], Identity()))


def test_a_checkpoint_is_written_when_its_time_has_come(tmp_path, monkeypatch):
    written = []
    from sslcore.stream import _moments

    monkeypatch.setattr(_moments.Checkpoint, "write", lambda self, nodes, files: written.append(len(self.seen)))
    moments(VIEWS, Identity(), checkpoint=tmp_path / "ck", every=3600)
    assert written == [25]  # whole leaves, before the rest is added
    written.clear()
    moments(VIEWS, Identity(), checkpoint=tmp_path / "ck", every=0)
    assert written == list(range(1, 26))


SERVER = """
    import itertools, json, os, random, signal, sys, time
    import numpy as np
    import sslcore
    from sslcore import tunables

    folder, kills, leaf = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    tunables.STREAM_LEAF_VIEWS, tunables.STREAM_NODE_PARTS = leaf, 3
    moment, killed, runs, kept, span = random.Random(0), 0, [], 0, 0.03

    def state():
        return os.stat(folder + "/ck").st_mtime_ns if os.path.exists(folder + "/ck") else 0

    def stream(deterministic, out):
        found = sslcore.stream.moments(
            folder + "/part-*.npy", sslcore.features.Identity(), checkpoint=folder + "/ck", every=0,
            deterministic=deterministic,
        )
        found.save(out)

    stream(False, folder + "/warm")  # what is compiled is compiled before the first fork
    while killed < kills:
        out = f"{folder}/found-{len(runs)}"
        os.path.exists(folder + "/ck") and os.unlink(folder + "/ck")
        deterministic, before = len(runs) % 2 == 1, killed
        while not os.path.exists(out):
            child = os.fork()
            if not child:
                try:
                    stream(deterministic, out)
                finally:
                    os._exit(0)
            if killed < kills:
                written = state()
                time.sleep(moment.uniform(0.0, span))
                os.kill(child, signal.SIGKILL)
                ended = os.waitpid(child, 0)[1] == signal.SIGKILL
                killed, kept = killed + ended, kept + (state() != written)
                # a busy machine needs longer spans to come further
                span = min(span * (1.3 if state() == written else 1.0 if ended else 0.8), 0.3)
            else:
                os.waitpid(child, 0)
        runs.append({"out": out, "deterministic": deterministic, "killed": killed - before})
    print(json.dumps({"runs": runs, "killed": killed, "kept": kept}))
"""


@needs_fork
def test_killed_at_random_moments_it_ends_with_the_same_bits(tmp_path):
    """A process of one thread forks one after the other, each of which goes on, until one is not killed in time."""
    for i, part in enumerate(cut(VIEWS, [60, 150])):
        np.save(tmp_path / f"part-{i}.npy", part)
    one = {f"{name}_NUM_THREADS": "1" for name in ("SSLCORE", "NUMBA", "OMP", "OPENBLAS", "MKL")}
    arguments = [sys.executable, "-c", textwrap.dedent(SERVER), str(tmp_path), str(KILLS), str(LEAF)]
    done = subprocess.run(arguments, capture_output=True, text=True, env=os.environ | one, timeout=600)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["killed"] == KILLS
    assert told["kept"] > KILLS // 4  # it was in the middle
    assert any(run["killed"] > 1 for run in told["runs"])
    for run in told["runs"]:
        expected = moments(str(tmp_path / "part-*.npy"), Identity(), deterministic=run["deterministic"])
        found = sslcore.load(run["out"])
        assert fields(found) == fields(expected)
    # a kill within a write leaves the file of another name that was to take its place
    left = {path.name for path in tmp_path.iterdir()} - {f"part-{i}.npy" for i in range(3)}
    assert {name for name in left if not name.startswith(("found-", ".sslcore-"))} <= {"ck", "warm"}


# ---------------------------------------------------------------- what is refused


@pytest.fixture
def begun(tmp_path):
    """Three files, of which a stream with a checkpoint has seen 20 leaves."""
    for i, part in enumerate(cut(VIEWS, [60, 150])):
        np.save(tmp_path / f"part-{i}.npy", part)
    stopped(str(tmp_path / "part-*.npy"), Identity(), 20, checkpoint=tmp_path / "ck", every=0)
    return tmp_path


def go_on(folder, features=None, **options):
    return moments(str(folder / "part-*.npy"), features or Identity(), checkpoint=folder / "ck", **options)


def refused(folder, words, **options):
    """It is refused, and the checkpoint stays as it was."""
    before = (folder / "ck").read_bytes()
    with pytest.raises(ValueError, match=words):
        go_on(folder, **options)
    assert (folder / "ck").read_bytes() == before


def test_other_data_are_refused_with_file_and_row(begun):
    path = begun / "part-1.npy"
    state, content = path.stat(), bytearray(path.read_bytes())
    content[-70 * 8 * 8] ^= 1  # a bit of row 20, and the file looks as before
    path.write_bytes(content)
    os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))
    refused(
        begun,
        r"row 20 of .*part-1.npy to row 27 of .*part-1.npy are not what the checkpoint .*ck has seen as samples 80 to "
        r"87: the data have changed, or their order; bring them back to go on, or remove the checkpoint",
    )
    content[-70 * 8 * 8] ^= 1
    path.write_bytes(content)
    assert fields(go_on(begun)) == fields(moments(VIEWS, Identity()))


def test_what_was_not_read_yet_may_change(begun):
    views = np.load(begun / "part-2.npy")
    views[-3:] = 0.0
    np.save(begun / "part-2.npy", views)
    assert go_on(begun).n == 203


def test_files_that_are_missing_renamed_or_new(begun):
    os.rename(begun / "part-2.npy", begun / "elsewhere.npy")
    refused(begun, "the stream ends before all 20 leaves came that the checkpoint .*ck has seen: files are missing")
    os.rename(begun / "elsewhere.npy", begun / "part-0a.npy")  # another order
    refused(begun, r"row 56 of .*part-0.npy to row 3 of .*part-0a.npy are not .*were read from .*part-1.npy then\)")
    os.rename(begun / "part-0a.npy", begun / "part-7.npy")  # the same order
    assert fields(go_on(begun)) == fields(moments(VIEWS, Identity()))


def test_other_features_settings_and_versions_are_refused(begun, monkeypatch):
    refused(begun, r"ck is the checkpoint of other features, Identity\(\), not of RandomF", features=FEATURES[2])
    refused(begun, r"of other settings: .*deterministic False there, True here; choose another", deterministic=True)
    before = (begun / "ck").read_bytes()
    with pytest.raises(ValueError, match="of other settings: dtype 'float64' there, 'float32' here"):
        moments(VIEWS.astype("f4"), Identity(), checkpoint=begun / "ck")
    with pytest.raises(ValueError, match="of other settings: n_views 2 there, 1 here"):
        moments(VIEWS[:, :1], Identity(), checkpoint=begun / "ck")
    monkeypatch.setattr(tunables, "STREAM_LEAF_VIEWS", 2 * LEAF)
    refused(begun, "of other settings: leaf_views 16 there, 32 here")
    monkeypatch.setattr(tunables, "STREAM_LEAF_VIEWS", LEAF)
    moments(VIEWS, Identity(), checkpoint=begun / "tree", deterministic=True)
    monkeypatch.setenv("OPENBLAS_NUM_THREADS", "77")
    with pytest.raises(ValueError, match=r"of other settings: blas_threads .* there, 77 here"):
        moments(VIEWS, Identity(), checkpoint=begun / "tree", deterministic=True)
    assert go_on(begun).n == 203  # without a tree no bits are promised on another machine
    before = (begun / "ck").read_bytes()
    monkeypatch.setattr("sslcore.stream._checkpoint.versions", lambda: {"numpy": "0"})
    refused(begun, "ck was written by other versions: .*numpy .* there, '0' here")
    assert (begun / "ck").read_bytes() == before


def test_a_checkpoint_that_is_none_is_refused(begun):
    good = (begun / "ck").read_bytes()
    sslcore.Moments(Identity()).update(VIEWS).save(begun / "ck")
    refused(begun, "ck holds no stream that sslcore .* can read: it holds 'moments'")
    for broken in (good[:-50], good[: len(good) // 2], b"", b"other"):
        (begun / "ck").write_bytes(broken)
        refused(begun, "ck holds no stream that sslcore .* can read")
    flipped = bytearray(good)
    flipped[len(good) // 2] ^= 16
    (begun / "ck").write_bytes(flipped)
    refused(begun, "ck holds no stream that sslcore .* can read")


def test_what_cannot_be_kept_is_refused_before_the_work(tmp_path):
    def blocks():
        raise AssertionError("nothing is read")
        yield

    functions = Nystrom(lambda x, y: x @ y.T, VIEWS[:4, 0])
    with pytest.raises(TypeError, match="a kernel that is a plain function cannot be saved"):
        moments(blocks(), functions, checkpoint=tmp_path / "ck")
    with pytest.raises(OSError, match=r"cannot write .*none/ck"):
        moments(blocks(), Identity(), checkpoint=tmp_path / "none" / "ck")
    with pytest.raises(OSError, match=r"cannot read .*: Is a directory"):
        moments(blocks(), Identity(), checkpoint=tmp_path)


def test_a_full_disk_leaves_the_checkpoint_before(begun, monkeypatch):
    before = (begun / "ck").read_bytes()

    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(atomic.os, "fsync", full)
    words = r"cannot write .*ck: No space left on device; the checkpoint before it stays, from which the same call"
    with pytest.raises(OSError, match=words) as caught:
        go_on(begun, every=0)
    assert caught.value.errno == 28
    with pytest.raises(OSError, match=r"cannot write .*new: No space left on device; make room, and begin again"):
        moments(VIEWS, Identity(), checkpoint=begun / "new", every=0)
    monkeypatch.undo()
    assert not (begun / "new").exists()
    assert (begun / "ck").read_bytes() == before
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL


def test_nan_in_the_middle_keeps_what_was_before(tmp_path):
    views = VIEWS.copy()
    views[170, 1, 0] = np.nan
    with pytest.raises(ValueError, match=r"found nan at sample 170 of the array \(view 1, coordinate 0"):
        moments(views, Identity(), checkpoint=tmp_path / "ck", every=0)
    assert fields(moments(VIEWS, Identity(), checkpoint=tmp_path / "ck")) == fields(moments(VIEWS, Identity()))
