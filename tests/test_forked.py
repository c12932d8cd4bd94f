"""Processes that are forked for a test end with it, whatever happens."""

import contextlib
import os

import pytest

from .forked import Parent, needs_fork

pytestmark = needs_fork


def test_a_test_that_fails_leaves_no_process(tmp_path):
    """The child holds the other end of a pipe, which has an end when it has one."""
    os.mkfifo(tmp_path / "pipe")
    with contextlib.suppress(ZeroDivisionError), Parent("import time") as parent:
        child = parent.start(f"file = open({str(tmp_path / 'pipe')!r}, 'w'); time.sleep(300)")
        there = (tmp_path / "pipe").open()
        assert not child.has_ended()
        raise ZeroDivisionError
    with there:
        assert there.read() == ""


def test_what_does_not_come_is_waited_for_so_long_only():
    with Parent("import time") as parent:
        child = parent.start("time.sleep(300)")
        with pytest.raises(AssertionError, match="has not come within"):
            child.until(lambda: False, 0.1)
        child.kill()
        child.wait()


def test_what_has_ended_is_neither_waited_for_nor_killed(monkeypatch):
    with Parent("") as parent:
        child = parent.start("")
        child.until(lambda: False)
        monkeypatch.setattr(os, "kill", lambda pid, number: pytest.fail("another process may have the id"))
        child.kill()
        assert child.wait() == (0, "", "")
