"""Small files that ask for much: refused with a clear error, and with memory of the order of the file's size."""

import io
import json
import os
import resource
import struct
import subprocess
import sys
import tracemalloc
import zipfile
import zlib

import numpy as np
import pytest

import sslcore
from sslcore import Moments, Representation, pretrain
from sslcore.fitting.codec import decode
from sslcore.io import archive as archives
from sslcore.io.tables import parse_source, read_labels, read_points
from sslcore.kernels import Gaussian

from .test_golden import FOLDER

MB = 10**6
VIEWS = np.random.default_rng(0).normal(size=(20, 2, 3))


def archive(path, text, *members, method=zipfile.ZIP_STORED):
    with zipfile.ZipFile(path, "w", method) as file:
        file.writestr("header.json", text)
        for name, content in members:
            file.writestr(name, content)


def traced(call):
    """The error of a call, and the most memory that it took."""
    tracemalloc.start()
    try:
        with pytest.raises((ValueError, MemoryError)) as caught:
            call()
        return caught.value, tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def header(content, **more):
    start = {"library": "sslcore", "format": 2, "kind": "representation", "arrays": {}, "content": "HERE"} | more
    return json.dumps(start).replace('"HERE"', content)


HEADERS = {
    "brackets": "[" * 15 * MB,
    "empty lists": "[" + "[]," * 5 * MB + "[]]",
    "empty dictionaries": header("[" + "{}," * 3 * MB + "{}]"),
    "nested pairs": header("[[" + "],[" * 3 * MB + "]]"),
    "deep": header("[" * 10**5 + "]" * 10**5),
    "deep maps": header('{"map":' * 10**5 + "1" + "}" * 10**5),
    "numbers": header("[" + "1," * ((1 << 20) + 9) + "1]"),
    "floats": header("[" + "0.5," * ((1 << 20) + 9) + "1]"),
    "words": header("[" + '"é",' * ((1 << 20) + 9) + "1]"),
    "a long integer": header("1" * 10 * MB),
    "a negative one": header("-" + "1" * 10**5),
    "beyond the floats": header("1e400"),
    "below them": header("[-1e999]"),
    "a key twice": header('{"reg": 1, "reg": 2}'),
    "marks in strings": header('"' + "[{," * 4 * MB + '"'),
    "escapes": header('"' + '\\"' * 7 * MB + '"'),
    "an open string": '{"' + "[,{" * 4 * MB,
    "spaces": header(" " * 15 * MB + "1"),
    "keys": header("{" + ",".join(f'"{i}":0' for i in range(6 * 10**5)) + "}"),
}


@pytest.mark.parametrize("name", HEADERS)
def test_headers(tmp_path, name):
    """The text itself is there as bytes and as a string, which may take 4 bytes for each."""
    path = tmp_path / "model"
    archive(path, HEADERS[name])
    for load in (sslcore.load, Representation.load, Moments.load):
        error, peak = traced(lambda load=load: load(path))
        assert str(error).startswith(f"{path} holds no ")
        assert len(str(error)) < 1000
        assert peak < 6 * path.stat().st_size + 5 * MB
        if path.stat().st_size > MB:
            break  # one is enough of the slow ones


def test_what_is_just_allowed_stays_bounded(tmp_path):
    path = tmp_path / "model"
    for text in ("[" + "[0]," * (archives._MOST_LISTS - 200) + "0]", "[" + "1.5," * (1 << 19) + "0]"):
        archive(path, header(text))
        _, peak = traced(lambda: sslcore.load(path))
        assert peak < 60 * MB


def test_long_notes_can_be_read_or_cannot_be_written(tmp_path):
    rep = pretrain(VIEWS, Gaussian(1.0), 2, reg=1e-2)
    for notes, good in (
        ({"ids": list(range(10**5))}, True),
        ({"text": ",[{" * 10**6}, True),
        ({"pairs": [[i] for i in range(10**5)]}, True),
        ({"pairs": [[i] for i in range(2 * 10**5)]}, False),
        ({"ids": [0] * 2 * 10**6}, False),
        ({"number": 10**5000}, False),
        ({"number": 10**4000}, True),
    ):
        rep.notes.clear()
        rep.notes.update(notes)
        if good:
            rep.save(tmp_path / "model")
            assert sslcore.load(tmp_path / "model").notes == notes
        else:
            with pytest.raises(ValueError, match="to be saved"):
                rep.save(tmp_path / "another")
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_arrays_of_any_name(tmp_path):
    """Names that are no names of files, or that two places have."""
    keys = ["a\0b", "../up", "é", "x" * 70_000, "", "a/b", "a\\b", "\ud800", "a.b"]
    notes = {key: np.array([float(i)]) for i, key in enumerate(keys)} | {"a": {"b": np.array([9.0])}}
    rep = pretrain(VIEWS, Gaussian(1.0), 2, reg=1e-2)
    rep.notes.update(notes)
    rep.save(tmp_path / "model")
    found = sslcore.load(tmp_path / "model").notes
    assert found["a"]["b"] == 9.0
    assert [float(found[key][0]) for key in keys] == list(range(len(keys)))


def test_an_array_has_one_place(tmp_path):
    """A thousand Nystrom features of one array would be a thousand copies."""
    archive(tmp_path / "model", header('[{"array": "x"}, {"array": "x"}]', arrays={}))
    with pytest.raises(ValueError, match="array 'x' is missing, or has two places"):
        decode([{"array": "x"}, {"array": "x"}], {"x": np.ones(3)})


def directory(entries):
    """A zip archive with a directory of that many entries, all of the same empty member."""
    local = b"PK\3\4" + struct.pack("<5H3I2H", 20, 0, 0, 0, 0, 0, 0, 0, 1, 0) + b"x"
    out = io.BytesIO()
    out.write(local)
    start = out.tell()
    for i in range(entries):
        name = b"%07d" % i
        out.write(b"PK\1\2" + struct.pack("<6H3I5H2I", 20, 20, 0, 0, 0, 0, 0, 0, 0, 7, 0, 0, 0, 0, 0, 0) + name)
    size = out.tell() - start
    out.write(b"PK\5\6" + struct.pack("<4H2IH", 0, 0, entries % 65536, entries % 65536, size, start, 0))
    return out.getvalue()


@pytest.mark.parametrize("entries", [2000, 10_000, 200_000])
def test_directories(tmp_path, entries):
    model, data = tmp_path / "model", tmp_path / "a.npz"
    for path in (model, data):
        path.write_bytes(directory(entries))
    for call in (lambda: sslcore.load(model), lambda: read_points(parse_source(str(data)))):
        error, peak = traced(call)
        assert peak < 60 * MB
        assert len(str(error)) < 1000


def npy(shape, dtype="<f8", version=1, padding=64):
    text = f"{{'descr': '{dtype}', 'fortran_order': False, 'shape': {shape}, }}"
    start = text.encode().ljust(padding * 2 - 11) + b"\n"
    return b"\x93NUMPY" + bytes([version, 0]) + struct.pack("<H" if version == 1 else "<I", len(start)) + start


def compressed(path, head, zeros, method=zipfile.ZIP_DEFLATED):
    with zipfile.ZipFile(path, "w", method) as file, file.open("x.npy", "w", force_zip64=True) as member:
        member.write(head)
        block = bytes(1 << 22)
        for _ in range(zeros >> 22):
            member.write(block)


@pytest.mark.parametrize("method", [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_compressed_bombs(tmp_path, method):
    """128 MB of zeros in 130 kB, or in a few hundred bytes."""
    path = tmp_path / "a.npz"
    compressed(path, npy((1 << 21, 8)), 1 << 27, method)
    assert path.stat().st_size < MB
    for read in (read_points, read_labels):
        error, peak = traced(lambda read=read: read(parse_source(str(path))))
        assert "save it" in str(error)
        assert peak < 2 * MB


def test_what_is_compressed_honestly_is_read(tmp_path):
    x = np.repeat(np.random.default_rng(0).integers(0, 9, (1000, 4)), 500, axis=0).astype(float)  # 16 MB in 0.05
    np.savez_compressed(tmp_path / "a.npz", x)
    assert np.array_equal(read_points(parse_source(str(tmp_path / "a.npz"))).values, x)


@pytest.mark.parametrize("version", [2, 3])
def test_long_headers_of_arrays(tmp_path, version):
    """A header of 10^9 bytes, in a file with holes."""
    head = b"\x93NUMPY" + bytes([version, 0]) + struct.pack("<I", 10**9) + b"{"
    path = tmp_path / "a.npy"
    path.write_bytes(head)
    os.truncate(path, 10**9 + 100)
    error, peak = traced(lambda: read_points(parse_source(str(path))))
    assert "header of" in str(error)
    assert peak < MB
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as file:
        file.writestr("x.npy", head + bytes(1000))
    error, peak = traced(lambda: read_points(parse_source(str(tmp_path / "a.npz"))))
    assert "header of" in str(error)
    assert peak < MB


@pytest.mark.parametrize(
    "shape",
    ["(10**9,)", "(1000000000000, 8)", "(-1, 3)", "(" + "9," * 40 + ")", "(" * 90, "(2.5, 3)", "(True, 3)", "-" * 90],
)
def test_shapes_that_are_not_there(tmp_path, shape):
    (tmp_path / "a.npy").write_bytes(npy(shape) + bytes(800))
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as file:
        file.writestr("x.npy", npy(shape) + bytes(800))
    for name in ("a.npy", "a.npz"):
        for read in (read_points, read_labels):
            error, peak = traced(lambda read=read, name=name: read(parse_source(str(tmp_path / name))))
            assert peak < MB
            assert str(tmp_path / name) in str(error)


def test_sizes_that_the_directory_makes_up(tmp_path):
    """An entry that promises more bytes than the whole file has."""
    path = tmp_path / "a.npz"
    data = zlib.compress(npy((10, 2)) + bytes(160))[2:-4]
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("x.npy", data)
    content = bytearray(path.read_bytes())
    at = content.index(b"PK\1\2")
    for method, size in ((8, 2**31), (0, 2**31), (0, 2**32 - 2), (8, 2**32 - 2)):
        struct.pack_into("<H", content, at + 10, method)
        struct.pack_into("<2I", content, at + 20, size, size)
        path.write_bytes(content)
        error, peak = traced(lambda: read_points(parse_source(str(path))))
        assert "damaged or cut short" in str(error)
        assert peak < MB


def test_a_file_larger_than_the_memory_is_refused(tmp_path, monkeypatch):
    path = tmp_path / "model"
    pretrain(VIEWS, Gaussian(1.0), 2, reg=1e-2).save(path)
    monkeypatch.setattr(archives, "free_memory", lambda: 1000)
    with pytest.raises(sslcore.MemoryBudgetError, match=r"model takes .* GB of memory, of which .* GB are free"):
        sslcore.load(path)


LIMITED = """
import resource, sys
import sslcore
from sslcore.io.tables import parse_source, read_points
resource.setrlimit(resource.RLIMIT_AS, (3 << 30, 3 << 30))
for load in (sslcore.load, sslcore.Moments.load, sslcore.Representation.load,
             lambda path: read_points(parse_source(path + ".npz"))):
    try:
        load(sys.argv[1])
    except (OSError, ValueError) as error:
        print(error)
"""


@pytest.mark.skipif(not os.path.exists("/dev/zero"), reason="devices of POSIX")
def test_devices_and_descriptors(tmp_path):
    (tmp_path / "zero.npz").symlink_to("/dev/zero")
    (tmp_path / "zero").symlink_to("/dev/zero")
    done = subprocess.run(
        [sys.executable, "-c", LIMITED, tmp_path / "zero"], capture_output=True, text=True, timeout=100
    )
    assert done.stderr == ""
    assert done.stdout.count("regular file") == 4
    for load in (sslcore.load, Moments.load, Representation.load):
        for path in (0, 1, 12345, True, b"model", None):
            with pytest.raises(TypeError, match="a path was expected"):
                load(path)
        with pytest.raises(OSError, match="regular file"):
            load("/dev/null")
    os.fstat(0)


def test_mutated_golden_files(tmp_path):
    """Bits flipped, pieces cut out, moved or doubled: the file as it was, or one clear error, in bounded memory."""
    rng = np.random.default_rng(0)
    refused = 0
    for whole in golden():
        for _ in range(8):
            (tmp_path / "mutant").write_bytes(mutated(whole, rng))
            refused += mutant_is_refused(tmp_path / "mutant")
    assert refused > 80


def golden():
    """The content of each file; all were loaded once, since imports take memory too."""
    paths = sorted(FOLDER.glob("*.sslcore"))
    for path in paths:
        sslcore.load(path)
    return [path.read_bytes() for path in paths]


def mutated(whole, rng):
    data = bytearray(whole)
    first, second = sorted(rng.integers(0, len(data), 2).tolist())
    kind = int(rng.integers(5))
    if kind == 0:
        for _ in range(int(rng.integers(1, 9))):
            data[int(rng.integers(len(data)))] ^= 1 << int(rng.integers(8))
    elif kind == 1:
        del data[first:second]
    elif kind == 2:
        data[second:second] = data[first : first + 100]
    elif kind == 3:
        data[first:second] = rng.integers(0, 256, second - first, dtype=np.uint8).tobytes()
    else:
        del data[first:]
    return bytes(data)


def mutant_is_refused(path):
    """Whether it is; a peak beyond the bound must come again to count.

    Names that are looked up (of folders, by pathlib) go to the interpreter's table of interned strings, which is copied
    now and then, 3.8 MB at once, whatever is loaded at that moment: in 2 of 60,000 loads.
    """
    words, peak = traced_load(path)
    bound = 50 * path.stat().st_size + 2 * MB
    if peak >= bound:
        words, peak = traced_load(path)
    assert peak < bound
    assert words is None or "that sslcore" in words
    return words is not None


def traced_load(path):
    """The words of the refusal, if any, and the most memory that it took."""
    tracemalloc.start()
    try:
        sslcore.load(path)
        words = None
    except ValueError as error:
        words = str(error)
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    return words, peak


if __name__ == "__main__":  # a long run: python -m tests.test_bombs COUNT FOLDER
    from pathlib import Path

    generator, counts = np.random.default_rng(), [0, 0]
    originals = golden()
    mutant = Path(sys.argv[2]) / "mutant"
    for number in range(int(sys.argv[1])):
        mutant.write_bytes(mutated(originals[number % len(originals)], generator))
        counts[mutant_is_refused(mutant)] += 1
    print(f"{counts[1]} refused, {counts[0]} loaded; {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss} KiB at most")
