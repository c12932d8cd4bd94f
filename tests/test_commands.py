"""What the commands share: outputs checked before the work, progress with the time left."""

import io
import re
import sys
import time
from pathlib import Path

import pytest

from sslcore.cli.commands import common, progress


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def open_terminal(monkeypatch):
    """Call it in the test: pytest itself replaces stderr between a fixture and its test."""
    pytest.importorskip("rich")

    def start():
        terminal = Terminal()
        monkeypatch.setattr(sys, "stderr", terminal)
        return terminal

    return start


# ---------------------------------------------------------------- outputs


def test_good_outputs(tmp_path):
    common.check_outputs({"--out (.png)": tmp_path / "a.PNG", "--report": tmp_path / "b"}, [tmp_path / "c"])
    assert list(tmp_path.iterdir()) == []


def test_outputs_that_are_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("data.csv").write_text("x\n1\n")
    for outputs, message in (
        ({"--out (.png, .pdf)": Path("a.jpg")}, r"--out must end in \.png or \.pdf, found a\.jpg"),
        ({"--out (.png)": Path("a")}, r"--out must end in \.png, found a$"),
        ({"--out": Path("missing/a")}, "cannot write missing/a: No such file"),
        ({"--out": Path("a"), "--report": Path("../") / tmp_path.name / "a"}, "--report and --out are the same file"),
        ({"--out": Path("data.csv")}, r"--out would replace the input data\.csv; choose another name"),
        ({"--out": tmp_path / "data.csv"}, "would replace the input"),
    ):
        with pytest.raises((ValueError, OSError), match=message):
            common.check_outputs(outputs, [Path("data.csv")])
    assert Path("data.csv").read_text() == "x\n1\n"
    assert len(list(tmp_path.iterdir())) == 1


# ---------------------------------------------------------------- progress


def percentages(text):
    return [int(value) for value in re.findall(r"(\d+)%", text)]


def test_progress_follows_what_it_is_told(open_terminal):
    terminal = open_terminal()
    with progress.progress(True, {"read": 1.0, "solve": 3.0}) as begin:
        begin("read")
        begin("solve")
        for done in (0.5, 0.25, 7.0):  # neither back nor beyond
            begin.advance(done)
            begin.show()
    shown = percentages(terminal.getvalue())
    assert shown == sorted(shown)
    assert {25, 62, 100} <= set(shown)
    assert "read 1/2" in terminal.getvalue()
    assert "left]" in terminal.getvalue()


def test_progress_follows_the_clock(monkeypatch):
    now = 100.0
    monkeypatch.setattr(time, "perf_counter", lambda: now)
    state = progress.Progress({"read": 1.0, "solve": 3.0})
    assert state.fraction() == 0.0
    state("read")
    now += 0.5
    assert state.fraction() == pytest.approx(0.125)
    now += 1.5  # it takes longer than expected, and is not done before it says so
    assert state.fraction() == pytest.approx(0.95 / 4)
    state("solve")  # twice as slow as expected: so will this be
    assert state.fraction() == pytest.approx(0.25)
    now += 3.0
    assert state.fraction() == pytest.approx(0.25 + 0.375)
    state.advance(0.9)
    assert state.fraction() == pytest.approx(0.25 + 0.675)
    with pytest.raises(KeyError, match="none of the steps"):
        state("rest")


def test_the_time_left_does_not_count_what_an_earlier_run_has_done(monkeypatch):
    now = 100.0
    monkeypatch.setattr(time, "perf_counter", lambda: now)
    state = progress.Progress({"fits": 60.0, "curves": 30.0, "figure": 10.0})
    state("fits")
    assert state.untold
    state.skip(0.5)  # 30 of the 100 that are expected
    assert not state.untold
    assert (state.fraction(), state.left()) == (pytest.approx(0.3), None)
    now += 15.0
    state.advance(0.75)  # as fast as expected: 15 in 15 seconds
    assert (state.fraction(), state.left()) == (pytest.approx(0.45), pytest.approx(55.0))
    now += 30.0
    state.advance(1.0)  # half as fast
    assert state.left() == pytest.approx(40.0 * 45 / 30)
    state("curves")
    state.skip(1.0)
    assert state.left() == pytest.approx(10.0 * 45 / 30)
    state("figure")  # by the clock: likely 10 * 45 / 30
    now += 7.5
    assert state.fraction() == pytest.approx(0.95)


def test_quick_work_shows_nothing(open_terminal):
    terminal = open_terminal()
    with progress.progress(None, {"read": 1.0}) as begin:
        begin("read")
    assert terminal.getvalue() == ""


def test_long_work_shows_the_time_left_by_itself(open_terminal, monkeypatch):
    """From another thread, while the work is busy; the bar is gone at the end."""
    terminal = open_terminal()
    monkeypatch.setattr(progress, "PATIENCE", 0.1)
    with progress.progress(None, {"read": 1.0, "rest": 1.0}) as begin:
        begin("read")
        until = time.monotonic() + 10
        while "read 1/2" not in terminal.getvalue() and time.monotonic() < until:
            time.sleep(0.01)
    shown = terminal.getvalue()
    assert re.search(r"read 1/2 .*\d+% \[00:0\d, \S+ left\]", shown)
    assert shown.endswith("\x1b[2K")  # the line is erased


def test_no_progress(open_terminal, monkeypatch):
    terminal = open_terminal()
    monkeypatch.setattr(progress, "PATIENCE", 0.0)
    with progress.progress(False, {"read": 1.0}) as begin:
        begin("read")
    monkeypatch.setattr(sys, "stderr", io.StringIO())  # no terminal
    with progress.progress(None, {"read": 1.0}) as begin:
        begin("read")
        assert sys.stderr.getvalue() == ""
    assert terminal.getvalue() == ""


def test_interrupted_progress(open_terminal):
    terminal = open_terminal()

    def work():
        with progress.progress(True, {"read": 1.0}) as begin:
            begin("read")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        work()
    assert "100%" not in terminal.getvalue()
    assert terminal.getvalue().endswith("\n\x1b[?25h")  # and the cursor is there again
