"""Limits on memory and processors, read from file trees as systems have them; and from this one."""

import os
import subprocess
import sys
import types

import pytest

from sslcore.backends import machine

GIB = 1 << 30
HOST = 64 * GIB

V2 = "30 23 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate"
V1 = "33 25 0:29 {root} /sys/fs/cgroup/memory rw,relatime shared:9 - cgroup cgroup rw,memory"
V1_CPU = "34 25 0:30 {root} /sys/fs/cgroup/cpu,cpuacct rw shared:10 - cgroup cgroup rw,cpu,cpuacct"
OTHER = "22 1 8:1 / / rw,relatime - ext4 /dev/sda1 rw"
SLURM = "/slurm/uid_1/job_7/step_0/task_0"


@pytest.fixture
def tree(tmp_path, monkeypatch):
    """A function that makes files below a root; the machine has 64 GiB, of which 48 are available."""

    def make(cgroup="", mounts=(), files=()):
        content = {
            "proc/meminfo": f"MemTotal: {HOST // 1024} kB\nMemFree: 1 kB\nMemAvailable: {48 << 20} kB\n",
            "proc/self/cgroup": cgroup,
            "proc/self/mountinfo": "\n".join([OTHER, *mounts]),
            **dict(files),
        }
        for name, text in content.items():
            path = tmp_path / name.lstrip("/")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(str(text))
        machine._cpu_share.cache_clear()

    monkeypatch.setattr(machine, "_ROOT", tmp_path)
    monkeypatch.setattr(machine, "_physical_memory", lambda: [HOST])
    monkeypatch.setattr(machine, "_process_limits", lambda: iter(()))
    machine._cpu_share.cache_clear()
    yield make
    machine._cpu_share.cache_clear()


def group2(folder, limit, used, inactive=0, **more):
    files = {f"/sys/fs/cgroup{folder}/memory.{name}": text for name, text in more.items()}
    return files | {
        f"/sys/fs/cgroup{folder}/memory.max": limit,
        f"/sys/fs/cgroup{folder}/memory.current": used,
        f"/sys/fs/cgroup{folder}/memory.stat": f"anon 5\n\ninactive_file {inactive}\nactive_file 9\n",
    }


def group1(folder, limit, used, inactive=0):
    return {
        f"/sys/fs/cgroup/memory{folder}/memory.limit_in_bytes": limit,
        f"/sys/fs/cgroup/memory{folder}/memory.usage_in_bytes": used,
        f"/sys/fs/cgroup/memory{folder}/memory.stat": f"inactive_file 3\ntotal_inactive_file {inactive}\n",
    }


NO_LIMIT_1 = 9223372036854771712

TREES = {  # cgroup, mounts, files: bytes left, bytes in all
    "no groups": ("", [], {}, 48 * GIB, HOST),
    "the root of a container": ("0::/\n", [V2], group2("", 8 * GIB, 3 * GIB, GIB), 6 * GIB, 8 * GIB),
    "no limit": ("0::/a\n", [V2], group2("", "max", 3 * GIB) | group2("/a", "max", 5), 48 * GIB, HOST),
    "a group within": ("0::/a/b\n", [V2], group2("/a/b", 4 * GIB, GIB), 3 * GIB, 4 * GIB),
    "the limit is further up": (
        f"0::{SLURM}\n",
        [V2],
        group2(SLURM, "max", GIB)
        | group2("/slurm/uid_1/job_7", 4 * GIB, 3 * GIB)
        | group2("/slurm", 32 * GIB, 9 * GIB),
        GIB,
        4 * GIB,
    ),
    "a neighbour has used it": (
        "0::/a/b\n",
        [V2],
        group2("/a/b", 4 * GIB, GIB) | group2("/a", 8 * GIB, 15 * GIB // 2),
        GIB // 2,
        4 * GIB,
    ),
    "beyond high all is slow": ("0::/a\n", [V2], group2("/a", "max", GIB, high=2 * GIB), GIB, 2 * GIB),
    "more is used than allowed": ("0::/a\n", [V2], group2("/a", GIB, 2 * GIB), 0, GIB),
    "outside of the namespace": ("0::/../../x\n", [V2], group2("", 8 * GIB, GIB), 7 * GIB, 8 * GIB),
    "a part of the tree is mounted": (
        "0::/docker/f00\n",
        [V2.replace(" / ", " /docker/f00 ", 1)],
        group2("", 8 * GIB, GIB),
        7 * GIB,
        8 * GIB,
    ),
    "version 1": ("4:memory:/\n", [V1.format(root="/")], group1("", 8 * GIB, 3 * GIB, GIB), 6 * GIB, 8 * GIB),
    "version 1, Slurm": (
        f"11:cpuset:/\n9:cpu,memory:{SLURM}\n",
        [V1.format(root="/")],
        group1(SLURM, NO_LIMIT_1, GIB)
        | group1("/slurm/uid_1/job_7", 4 * GIB, 3 * GIB)
        | group1("", NO_LIMIT_1, 30 * GIB),
        GIB,
        4 * GIB,
    ),
    "version 1, Docker": (
        "4:memory:/docker/f00\n0::/\n",
        [V1.format(root="/docker/f00"), V2.replace("/sys/fs/cgroup", "/sys/fs/cgroup/unified")],
        group1("", 2 * GIB, GIB),
        GIB,
        2 * GIB,
    ),
    "version 1, no limit": ("4:memory:/\n", [V1.format(root="/")], group1("", NO_LIMIT_1, GIB), 48 * GIB, HOST),
    "a folder with a space": (
        "0::/a b/c\n",
        [V2.replace("/sys/fs/cgroup ", "/sys/fs/c\\040group ")],
        {name.replace("cgroup", "c group"): text for name, text in group2("/a b/c", 4 * GIB, GIB).items()},
        3 * GIB,
        4 * GIB,
    ),
    "nonsense": ("what\n::\n0:\n", ["x - y", "- - -"], {"/sys/fs/cgroup/memory.max": "?"}, 48 * GIB, HOST),
    "an empty file": ("0::/\n", [V2], group2("", "", ""), 48 * GIB, HOST),
}


@pytest.mark.parametrize(("cgroup", "mounts", "files", "left", "total"), TREES.values(), ids=TREES)
def test_memory_of_groups(cgroup, mounts, files, left, total, tree):
    tree(cgroup, mounts, files)
    assert machine.free_memory() == left
    assert machine.total_memory() == total


def test_a_process_that_is_moved(tree):
    tree("0::/a\n", [V2], group2("/a", 8 * GIB, GIB))
    assert [machine.free_memory() for _ in range(2)] == [7 * GIB] * 2
    tree("0::/b\n", [V2], group2("/b", 4 * GIB, GIB))
    assert machine.free_memory() == 3 * GIB
    tree("0::/b\n", [V2], group2("/b", 4 * GIB, 2 * GIB))  # what is used is read each time
    assert machine.free_memory() == 2 * GIB
    tree("0::/b\n", [V2], group2("/b", 3 * GIB, 2 * GIB))  # and so are limits
    assert machine.free_memory() == GIB


def test_limits_of_the_process(tree, monkeypatch):
    tree()
    monkeypatch.setattr(machine, "available_cpus", lambda: 2)
    monkeypatch.setattr(machine, "_process_limits", lambda: iter([(20 * GIB, 2 * GIB), (9 * GIB, GIB)]))
    assert machine.free_memory() == 8 * GIB - 2 * machine._PER_THREAD  # which threads set aside
    assert machine.total_memory() == 9 * GIB
    monkeypatch.setattr(machine, "_process_limits", lambda: iter([(2 * GIB, 2 * GIB)]))
    assert machine.free_memory() == 0


LIMITED = """
import resource, sys
import numpy as np, scipy.linalg, sslcore
import sslcore.backends.numba_cpu
kind, extra = sys.argv[1], int(sys.argv[2])
with open("/proc/self/statm") as file:
    used = int(file.read().split()[{"AS": 0, "DATA": 5}[kind]]) * resource.getpagesize()
resource.setrlimit(getattr(resource, "RLIMIT_" + kind), (used + extra, used + extra))
try:
    views = np.random.default_rng(0).normal(size=(800, 2, 3))
    sslcore.pretrain(views, sslcore.kernels.Gaussian(1.0), 3, reg=1e-2)
    print("fitted")
except sslcore.MemoryBudgetError as error:
    print("refused", error)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("kind", ["AS", "DATA"])
@pytest.mark.parametrize(("extra", "answer"), [(20, "refused"), (100, "refused"), (200, "refused"), (700, "fitted")])
def test_a_process_with_little_memory_is_refused_in_time(kind, extra, answer):
    """Neither does BLAS wait for ever, nor does an allocation fail half way."""
    environment = os.environ | {"OMP_NUM_THREADS": "2", "OPENBLAS_NUM_THREADS": "2"}
    code = [sys.executable, "-c", LIMITED, kind, str(extra << 20)]
    done = subprocess.run(code, capture_output=True, text=True, timeout=120, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split()[0] == answer, done


CPUS = {
    "no groups": ("", [], {}, None),
    "a share": ("0::/\n", [V2], {"/sys/fs/cgroup/cpu.max": "200000 100000\n"}, 2),
    "parts are rounded up": ("0::/\n", [V2], {"/sys/fs/cgroup/cpu.max": "150000 100000\n"}, 2),
    "less than one": ("0::/\n", [V2], {"/sys/fs/cgroup/cpu.max": "1000 100000\n"}, 1),
    "all": ("0::/\n", [V2], {"/sys/fs/cgroup/cpu.max": "max 100000\n"}, None),
    "further up": (
        "0::/a/b\n",
        [V2],
        {"/sys/fs/cgroup/a/b/cpu.max": "max 100000", "/sys/fs/cgroup/a/cpu.max": "300000 100000"},
        3,
    ),
    "version 1": (
        "3:cpu,cpuacct:/docker/f00\n",
        [V1_CPU.format(root="/docker/f00")],
        {
            "/sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us": "200000\n",
            "/sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us": "100000\n",
        },
        2,
    ),
    "version 1, all": (
        "3:cpu,cpuacct:/\n",
        [V1_CPU.format(root="/")],
        {
            "/sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us": "-1\n",
            "/sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us": "100000\n",
        },
        None,
    ),
    "nonsense": ("0::/\n", [V2], {"/sys/fs/cgroup/cpu.max": "1 0"}, None),
}


@pytest.mark.parametrize(("cgroup", "mounts", "files", "expected"), CPUS.values(), ids=CPUS)
def test_processors_of_groups(cgroup, mounts, files, expected, tree, monkeypatch):
    tree(cgroup, mounts, files)
    monkeypatch.setattr(machine.os, "sched_getaffinity", lambda pid: set(range(8)), raising=False)
    assert machine.available_cpus() == (expected or 8)


def test_the_affinity_counts(tree, monkeypatch):
    tree("0::/\n", [V2], {"/sys/fs/cgroup/cpu.max": "800000 100000\n"})
    monkeypatch.setattr(machine.os, "sched_getaffinity", lambda pid: {1, 5, 6}, raising=False)
    assert machine.available_cpus() == 3
    monkeypatch.delattr(machine.os, "sched_getaffinity")
    monkeypatch.setattr(machine.os, "cpu_count", lambda: None)
    assert machine.available_cpus() == 1


def test_where_there_is_no_proc(tmp_path, monkeypatch):
    monkeypatch.setattr(machine, "_ROOT", tmp_path)
    monkeypatch.setattr(machine, "_process_limits", lambda: iter(()))
    memory = types.SimpleNamespace(available=5 * GIB, total=16 * GIB)
    monkeypatch.setitem(sys.modules, "psutil", types.SimpleNamespace(virtual_memory=lambda: memory))
    assert machine.free_memory() == 5 * GIB
    monkeypatch.setattr(machine.os, "sysconf_names", {})
    assert machine.total_memory() == 16 * GIB
    monkeypatch.setitem(sys.modules, "psutil", None)
    assert machine.free_memory() == sys.maxsize
    assert machine.total_memory() == 0


def test_this_machine():
    assert 0 < machine.free_memory() <= machine.total_memory()
    assert machine.available_cpus() >= 1
