"""Runs of cells: the same bits for any number of workers, any order and any end, and words for what goes wrong."""

import errno
import importlib
import json
import os
import pickle
import random
import signal
import subprocess
import sys
import textwrap
import time
from functools import partial

import numpy as np
import pytest

from sslcore.io import atomic, records
from sslcore.runs import CellError, _workers, run_cells
from sslcore.runs import _folder as folders

from .children import started

CELLS = """
    import os, signal, sys, time
    import numpy as np

    def product(settings, cell):
        print("a function may print")
        time.sleep(settings.get("pause", 0))
        a = np.random.default_rng([settings["seed"], cell]).normal(size=(200, 200))
        return {"values": np.linalg.svd(a @ a)[1], "cell": cell, "even": cell % 2 == 0}

    def offset(by, settings, cell):
        return {"value": by + cell}

    def threads(settings, cell):
        from threadpoolctl import threadpool_info
        from sslcore.backends.numba_cpu.parallel import n_threads
        import sslcore.backends.numba_cpu.dense
        return {"threads": np.array([n_threads(), *(lib["num_threads"] for lib in threadpool_info())])}

    class Odd(Exception):
        def __init__(self, one, two):
            super().__init__(one)

    def fails(settings, cell):
        if cell == 2:
            if settings["how"] == "odd":
                raise Odd("first", "second")
            if settings["how"] == "exit":
                os._exit(3)
            if settings["how"] == "killed" and os.path.exists(settings["mark"]):
                os.unlink(settings["mark"])
                os.kill(os.getpid(), signal.SIGKILL)
            if settings["how"] == "text":
                return {"text": np.array(["a"])}
            if settings["how"] == "name":
                return {"../a": 1.0}
            if settings["how"] == "raise":
                raise ValueError("this cell is bad")
        return product({"seed": 0}, cell)

    def pids(settings, cell):
        with open(os.path.join(settings["place"], f"pid-{cell}.new"), "w") as file:
            file.write(str(os.getpid()))
        os.rename(file.name, file.name[:-4])
        time.sleep(60)

    if __name__ == "__main__":
        from sslcore.runs import run_cells
        settings = {"seed": 0, "pause": 0.1} if sys.argv[1] == "product" else {"place": sys.argv[2]}
        name, folder = sys.argv[1:3]
        import cells_of_tests
        run_cells(getattr(cells_of_tests, name), range(8), settings=settings, folder=folder + "/kept", workers=2)
"""


@pytest.fixture
def cells(tmp_path, monkeypatch):
    """The functions above, in a module that any process can import."""
    place = tmp_path / "modules"
    place.mkdir()
    (place / "cells_of_tests.py").write_text(textwrap.dedent(CELLS), encoding="utf-8")
    monkeypatch.syspath_prepend(str(place))
    monkeypatch.delitem(sys.modules, "cells_of_tests", raising=False)
    return importlib.import_module("cells_of_tests")


def same(first, second):
    return all(
        list(a) == list(b)
        and all(a[k].dtype == b[k].dtype and a[k].shape == b[k].shape and a[k].tobytes() == b[k].tobytes() for k in a)
        for a, b in zip(first, second, strict=True)
    )


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_the_same_bits_for_any_number_of_workers_and_any_order(cells, tmp_path, capfd):
    settings, asked = {"seed": 0}, list(range(5))
    one = run_cells(cells.product, asked, settings=settings, workers=1, folder=tmp_path / "one")
    two = run_cells(cells.product, asked, settings=settings, workers=2, folder=tmp_path / "two")
    back = run_cells(cells.product, asked[::-1], settings=settings, workers=2)
    here = run_cells(cells.product, asked, settings=settings, workers=0)
    assert same(one, two)
    assert same(one, back[::-1])
    assert contents(tmp_path / "one") == contents(tmp_path / "two")
    assert [float(cell["cell"]) for cell in one] == asked
    for mine, theirs in zip(here, one, strict=True):
        np.testing.assert_allclose(mine["values"], theirs["values"], rtol=1e-10, atol=1e-10)
    with np.load(tmp_path / "one" / "cell-00003.npz") as file:  # NumPy reads it too
        assert file["values"].tobytes() == one[3]["values"].tobytes()
    assert capfd.readouterr().err.count("a function may print") >= 15  # and is not taken for an answer


def test_finished_cells_are_read_and_more_may_be_added(cells, tmp_path):
    said = []
    for count, there in ((3, 0), (5, 3), (5, 5)):
        said.clear()
        found = run_cells(
            cells.product, range(count), settings={"seed": 0}, folder=tmp_path / "run", workers=1,
            progress=lambda *told: said.append(told),
        )  # fmt: skip
        assert [done for done, _, _ in said] == list(range(there, count + 1))
        assert said[-1] == (count, count, 0.0)
        assert said[0][2] == (None if there < count else 0.0)
    assert same(found, run_cells(cells.product, range(5), settings={"seed": 0}))
    assert run_cells(cells.product, [], settings={}) == []


def test_each_worker_has_one_thread(cells, monkeypatch):
    for name in ("SSLCORE", "OMP", "OPENBLAS"):
        monkeypatch.setenv(f"{name}_NUM_THREADS", "2")
    found = run_cells(cells.threads, range(2), settings={}, workers=2)
    assert all((cell["threads"] == 1).all() for cell in found)


def test_a_partial_function_takes_what_no_setting_can_hold(cells, tmp_path):
    found = run_cells(partial(cells.offset, np.array([0.5])), [1, 2], settings={}, folder=tmp_path / "run")
    assert [cell["value"].tolist() for cell in found] == [[1.5], [2.5]]
    assert json.loads((tmp_path / "run" / "settings.json").read_text())["function"] == "cells_of_tests.offset"


def start(cells, *arguments):
    return started(cells.__file__, *map(str, arguments), stderr=subprocess.DEVNULL)


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="no SIGKILL here")
def test_killed_at_random_moments_it_ends_with_the_same_bytes(cells, tmp_path):
    run_cells(cells.product, range(8), settings={"seed": 0, "pause": 0.1}, folder=tmp_path / "whole", workers=1)
    random_moments = random.Random(0)
    kept, sizes = tmp_path / "kept", []
    for _ in range(6):
        with start(cells, "product", tmp_path) as process:
            wanted = len(list(kept.glob("cell-*"))) + random_moments.choice([0, 1, 1, 2]) if kept.exists() else 0
            end = time.monotonic() + 20
            while process.poll() is None and time.monotonic() < end:
                if kept.exists() and len(list(kept.glob("cell-*"))) >= wanted:
                    break
                time.sleep(0.002)
            time.sleep(random_moments.uniform(0, 0.2))
        sizes.append(len(list(kept.glob("cell-*"))) if kept.exists() else 0)
    assert any(0 < size < 8 for size in sizes)  # it was in the middle
    with start(cells, "product", tmp_path) as process:
        assert process.wait(timeout=60) == 0
    assert contents(kept) == contents(tmp_path / "whole")


@pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="no /proc here")
@pytest.mark.parametrize("number", ["SIGKILL", "SIGINT", "SIGTERM"])
def test_workers_end_with_the_process_that_started_them(cells, tmp_path, number):
    with start(cells, "pids", tmp_path) as process:
        end = time.monotonic() + 20
        while len(list(tmp_path.glob("pid-?"))) < 2 and time.monotonic() < end:
            time.sleep(0.01)
        workers = [int(path.read_text()) for path in tmp_path.glob("pid-?")]
        process.send_signal(getattr(signal, number))
        assert process.wait(timeout=10) != 0
    while any(_runs(pid) for pid in workers) and time.monotonic() < end:
        time.sleep(0.01)
    assert len(workers) == 2
    assert not any(_runs(pid) for pid in workers)


def test_a_worker_whose_answer_nobody_reads_ends_in_silence(cells):
    """The process that asked was killed in between: no traceback on the terminal that both share."""
    pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
    path = json.dumps([p for p in sys.path if isinstance(p, str)])
    with started("-c", _workers._PROGRAM, path, **pipes) as worker:
        worker.stdout.close()
        pickle.dump(_workers.pickled(cells.product, {"seed": 0}), worker.stdin)
        worker.stdin.flush()
        assert worker.wait(timeout=60) == 1
        assert worker.stderr.read() == b""


def _runs(pid):
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8") as file:
            return file.read().rpartition(")")[2].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_ctrl_c_keeps_what_is_finished(cells, tmp_path):
    def interrupt(done, total, left):
        if done == 2:
            raise KeyboardInterrupt

    settings = {"seed": 0}
    with pytest.raises(KeyboardInterrupt):
        run_cells(cells.product, range(4), settings=settings, folder=tmp_path / "run", progress=interrupt)
    assert len(list((tmp_path / "run").glob("cell-*"))) == 2
    run_cells(cells.product, range(4), settings=settings, folder=tmp_path / "run")
    run_cells(cells.product, range(4), settings=settings, folder=tmp_path / "whole")
    assert contents(tmp_path / "run") == contents(tmp_path / "whole")


@pytest.mark.parametrize("workers", [0, 1, 2])
def test_an_exception_says_which_cell_and_where(cells, workers):
    with pytest.raises(CellError, match=r"^cell 2 \(2\) failed: ValueError: this cell is bad$") as caught:
        run_cells(cells.fails, range(4), settings={"how": "raise"}, workers=workers)
    assert type(caught.value.__cause__) is ValueError
    if workers:
        assert 'raise ValueError("this cell is bad")' in caught.value.__cause__.__notes__[0]


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ("odd", r"cell 2 \(2\) failed: RuntimeError: Odd: first"),
        ("exit", r"cell 2 \(2\) was not finished: its worker process ended with the code 3"),
        ("text", r"cell 2 \(2\) failed: TypeError: array 'text' is one of <U1; make it one of <f8"),
        ("name", r"cell 2 \(2\) failed: TypeError: the name '../a' of an array"),
    ],
)
def test_other_ends_of_a_cell(cells, how, words):
    with pytest.raises(CellError, match=words):
        run_cells(cells.fails, range(3), settings={"how": how}, workers=2)


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="no SIGKILL here")
def test_a_worker_that_is_killed_is_named_and_the_run_goes_on(cells, tmp_path):
    (tmp_path / "mark").touch()
    settings = {"how": "killed", "mark": str(tmp_path / "mark")}
    with pytest.raises(CellError, match=r"cell 2 \(2\) .* ended by SIGKILL, as the system does where memory runs out"):
        run_cells(cells.fails, range(4), settings=settings, folder=tmp_path / "run", workers=2)
    found = run_cells(cells.fails, range(4), settings=settings, folder=tmp_path / "run", workers=2)
    assert same(found, run_cells(cells.product, range(4), settings={"seed": 0}))


@pytest.mark.parametrize("damage", ["cut", "flipped", "empty", "other"])
def test_a_damaged_cell_is_named_put_aside_and_done_again(cells, tmp_path, damage):
    folder = tmp_path / "run"
    run_cells(cells.product, range(3), settings={"seed": 0}, folder=folder)
    whole = contents(folder)
    path = folder / "cell-00001.npz"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes({"cut": bytes(data[:-300]), "flipped": bytes(data), "empty": b"", "other": b"text"}[damage])
    bad = path.read_bytes()
    with pytest.warns(RuntimeWarning, match=r"cell-00001\.npz holds no cell .*kept aside as .*\.npz\.damaged, and the"):
        run_cells(cells.product, range(3), settings={"seed": 0}, folder=folder)
    assert contents(folder) == {**whole, "cell-00001.npz.damaged": bad}


def test_folders_of_others_are_refused_by_name(cells, tmp_path, monkeypatch):
    folder = tmp_path / "run"
    settings = {"seed": 0, "sizes": [1, 2]}
    run_cells(cells.product, range(2), settings=settings, folder=folder)
    before = contents(folder)
    with pytest.raises(ValueError, match=r"run holds results of other settings: seed 0 there, 1 here; choose another"):
        run_cells(cells.product, range(2), settings={"seed": 1, "sizes": [1, 2]}, folder=folder)
    with pytest.raises(ValueError, match=r"holds the results of cells_of_tests\.product, not of cells_of_tests\.fails"):
        run_cells(cells.fails, range(2), settings=settings, folder=folder)
    with pytest.raises(ValueError, match=r"cell-00001.npz holds the cell 1 of its run, not 5 of this one"):
        run_cells(cells.product, [0, 5], settings=settings, folder=folder)
    with monkeypatch.context() as patch:
        patch.setattr(records, "__version__", "9.9.9")
        with pytest.raises(ValueError, match=r"other versions: sslcore '.*' there, '9\.9\.9' here; install those"):
            run_cells(cells.product, range(2), settings=settings, folder=folder)
    assert contents(folder) == before
    other = tmp_path / "other"
    run_cells(cells.product, range(2), settings={"seed": 1}, folder=other)
    (folder / "cell-00000.npz").write_bytes((other / "cell-00000.npz").read_bytes())
    with pytest.raises(ValueError, match=r"cell-00000\.npz holds"):
        run_cells(cells.product, range(2), settings=settings, folder=folder)
    (folder / "settings.json").write_text('{"seed"')
    with pytest.raises(ValueError, match=r"settings\.json cannot be read .*choose another folder, or remove"):
        run_cells(cells.product, range(2), settings=settings, folder=folder)
    (folder / "settings.json").write_text('{"library": "mine"}')
    with pytest.raises(ValueError, match=r"not written by a run of cells"):
        run_cells(cells.product, range(2), settings=settings, folder=folder)
    (folder / "settings.json").unlink()
    with pytest.raises(ValueError, match=r"holds cells without settings\.json"):
        run_cells(cells.product, range(2), settings=settings, folder=folder)


@pytest.mark.skipif(folders.fcntl is None, reason="no locks here")
def test_two_runs_do_not_share_a_folder(cells, tmp_path):
    def another(done, total, left):
        with pytest.raises(BlockingIOError, match="another process works in this folder"):
            run_cells(cells.product, range(2), settings={"seed": 0}, folder=tmp_path / "run", workers=0)

    run_cells(cells.product, range(2), settings={"seed": 0}, folder=tmp_path / "run", workers=0, progress=another)


def test_no_space_left_is_said_and_loses_nothing(cells, tmp_path, monkeypatch):
    folder, real, calls = tmp_path / "run", os.fsync, []

    def full(descriptor):
        if len(list(folder.glob("cell-*"))) == 2:
            calls.append(descriptor)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real(descriptor)

    with monkeypatch.context() as patch:
        patch.setattr(atomic.os, "fsync", full)
        words = r"cannot write .*cell-00002\.npz: No space left on device; the cells finished before stay in"
        with pytest.raises(OSError, match=words) as caught:
            run_cells(cells.product, range(4), settings={"seed": 0}, folder=folder)
    assert calls
    assert caught.value.errno == errno.ENOSPC
    assert sorted(contents(folder)) == ["cell-00000.npz", "cell-00001.npz", "settings.json"]
    run_cells(cells.product, range(4), settings={"seed": 0}, folder=folder)
    run_cells(cells.product, range(4), settings={"seed": 0}, folder=tmp_path / "whole")
    assert contents(folder) == contents(tmp_path / "whole")


def test_leftovers_of_a_killed_writer_are_removed(cells, tmp_path):
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / ".sslcore-0123456789abcdef.part").touch()
    (folder / "mine.txt").touch()
    run_cells(cells.product, range(1), settings={"seed": 0}, folder=folder, workers=0)
    assert sorted(contents(folder)) == ["cell-00000.npz", "mine.txt", "settings.json"]


@pytest.mark.parametrize(
    ("changed", "error", "words"),
    [
        ({"function": lambda settings, cell: {}}, TypeError, "must be one of a module, no lambda .*workers=0"),
        ({"settings": {"reg": float("nan")}}, ValueError, r"settings\['reg'\] is nan"),
        ({"settings": {"kernel": object()}}, TypeError, r"settings\['kernel'\] is .* plain values"),
        ({"settings": [1]}, TypeError, "settings must be a dict"),
        ({"cells": [0, {1}]}, TypeError, r"cells\[1\] is \{1\} of set"),
        ({"workers": -1}, ValueError, "workers must be"),
    ],
)
def test_bad_arguments(cells, changed, error, words):
    given = {"function": cells.product, "cells": [0], "settings": {"seed": 0}} | changed
    with pytest.raises(error, match=words):
        run_cells(**given)


SCRIPT = """
    import numpy as np
    from sslcore.runs import run_cells

    def double(settings, cell):
        return {"value": 2 * cell}

    GUARD
        print(run_cells(double, range(3), settings={}, workers=2)[2]["value"])
"""


@pytest.mark.parametrize("guard", ['if __name__ == "__main__":', "if True:"])
def test_functions_of_a_script(tmp_path, guard):
    script = tmp_path / "script.py"
    script.write_text(textwrap.dedent(SCRIPT).replace("GUARD", guard), encoding="utf-8")
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=60)
    if "__main__" in guard:
        assert (done.returncode, done.stdout) == (0, "4\n"), done.stderr
    else:
        assert done.returncode == 1
        assert "keep what shall run once under 'if __name__ == \"__main__\":'" in done.stderr
