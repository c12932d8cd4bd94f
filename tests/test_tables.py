"""Data files: what is read, and what is refused with which words."""

import contextlib
import csv
import os
import pickle
import re
import subprocess
import sys
import zipfile

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sslcore import arrays, augmentations, backends, features, kernels, pretrain, tunables
from sslcore.fitting import data as inputs
from sslcore.io import sheets, sources
from sslcore.io.tables import parse_source, read_labels, read_points, write_csv

from .comparators import assert_close


def points(path, drop=(), choice=None):
    return read_points(parse_source(str(path) if choice is None else f"{path}:{choice}"), drop)


def labels(path, choice=None):
    return read_labels(parse_source(str(path) if choice is None else f"{path}:{choice}")).values


def written(tmp_path, text, name="data.csv"):
    path = tmp_path / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


# ---------------------------------------------------------------- names


def test_sources(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert parse_source("a.csv").choice is None
    assert (str(parse_source("a.csv:x,y").path), parse_source("a.csv:x,y").choice) == ("a.csv", "x,y")
    assert parse_source("b/a.NPZ:x").choice == "x"
    (tmp_path / "a.csv:x.csv").write_text("1\n")  # a file of that name comes first
    assert parse_source("a.csv:x.csv").choice is None
    for text, message in (
        ("a.xlsx", r"from \.npy, \.npz, \.csv, \.tsv, .* files, found a\.xlsx"),
        ("a", "files, found a"),
        ("/dev/stdin", "files, found /dev/stdin"),
        ("a.npy:x", "single array; leave out :x"),
        ("a.csv:", "nothing follows the colon"),
    ):
        with pytest.raises(ValueError, match=message):
            parse_source(text)


# ---------------------------------------------------------------- text

CELLS = st.floats(allow_nan=False, allow_infinity=False)
NAMES = st.lists(st.text("abcxyz é_-", min_size=1).map(str.strip).filter(bool), min_size=1, max_size=4, unique=True)


@given(st.data(), NAMES, st.sampled_from(",;\t"), st.booleans(), st.booleans(), st.sampled_from(["\n", "\r\n"]))
def test_numbers_come_back(tmp_path_factory, data, names, delimiter, header, quoted, end):
    d = len(names)
    rows = data.draw(st.lists(st.lists(CELLS, min_size=d, max_size=d), min_size=1, max_size=6))
    if delimiter == "\t":
        end = "\n" + end  # blank lines do not count
    lines = [names] * header + [[repr(v) for v in row] for row in rows]
    mark = '"' if quoted else ""
    text = end.join(delimiter.join(mark + cell + mark for cell in line) for line in lines) + end
    path = written(tmp_path_factory.mktemp("t"), ("\ufeff" if quoted else "") + text)
    if header and any(sheets.is_number(name) for name in names):  # "nan" is not among them, but who knows
        return
    table = points(path)
    assert table.columns == (tuple(names) if header else tuple(str(i + 1) for i in range(d)))
    assert_close(table.values, np.array(rows))
    assert table.values.dtype == np.float64
    chosen = data.draw(st.lists(st.sampled_from(table.columns), min_size=1, unique=True))
    if "," not in "".join(chosen):
        part = points(path, choice=",".join(chosen))
        assert_close(part.values, np.array(rows)[:, [table.columns.index(name) for name in chosen]])


def test_fast_and_slow_readers_agree(tmp_path):
    rng = np.random.default_rng(0)
    x = rng.standard_normal((50, 3)) * 10.0 ** rng.integers(-300, 300, (50, 3))
    path = tmp_path / "a.csv"
    np.savetxt(path, x, fmt="%.17g", delimiter=",")
    assert np.array_equal(points(path).values, x)
    sheet = sheets.open_sheet(path, ".csv")
    assert sheet.text._slow_frame(False).rows() == sheet.frame.rows()


def test_dropped_columns(tmp_path):
    path = written(tmp_path, 'x,class,y\n1,"a, b",2\n3,c,4\n')
    table = points(path, ["class"])
    assert table.columns == ("x", "y")
    assert table.values.tolist() == [[1, 2], [3, 4]]
    assert points(written(tmp_path, "1,a\n2,b\n"), ["2"]).values.tolist() == [[1], [2]]
    assert points(written(tmp_path, "1\t2\n", "data.tsv")).values.tolist() == [[1, 2]]


@pytest.mark.parametrize("quotes", [False, True])  # the reader that knows quotes, and the quick one
@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x,y\n1,2\n3\n", r"row 2 (line 3) has 1 cells, the header has 2"),
        ("1,2\n\n3,4,5\n", r"row 2 (line 3) has 3 cells, the first row has 2"),
        (
            "x,y\n1,2\n3,two\n",
            r"row 2 (line 3), column 'y' is 'two', not a number; correct it, or leave the column out",
        ),
        ("x,y\n1,2\n,4\n", r"row 2 (line 3), column 'x' is empty; correct it"),
        ("x,y\n" + "1,2\n" * 16 + "1,nan\n", r"row 17 (line 18), column 'y' is nan; remove or impute it"),
        ("1,2\n3,-inf\n", r"row 2 (line 2), column '2' is -inf"),
        ("x,y\n1,1_000\n", r"column 'y' is '1_000', not a number"),
        ("x,y\n", r"has a header and no rows"),
        ("\n\n", r"holds only blank lines"),
        ("x,x\n1,2\n", r"two columns named 'x'"),
    ],
)
def test_bad_text(tmp_path, text, message, quotes):
    if quotes:
        text = re.sub(r"(?m)^([^,\n]+)", r'"\1"', text)
        text = text.replace(" (line 3)", "")
    path = written(tmp_path, text)
    with pytest.raises(ValueError, match=re.escape(message)) as caught:
        points(path)
    assert str(path) in str(caught.value)


def test_bad_columns(tmp_path):
    path = written(tmp_path, "x,class\n1,a\n")
    for drop, choice, message in (
        (["klass"], None, "there is no column 'klass' in .*; columns: x, class"),
        ([], "y", "there is no column 'y'"),
        (["x", "class"], None, "no columns of .* are left after dropping x, class"),
        (["x"], "x", "no columns of .* are left"),
    ):
        with pytest.raises(ValueError, match=message):
            points(path, drop, choice)
    with pytest.raises(ValueError, match=r"no column 'x' in .*, which has no header; columns: 1, 2"):
        points(written(tmp_path, "1,2\n"), ["x"])
    np.save(tmp_path / "a.npy", np.ones((2, 2)))
    with pytest.raises(ValueError, match=r"columns can be dropped by name from tables"):
        points(tmp_path / "a.npy", ["x"])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"x,y\n1,\xff\n", "is not text in UTF-8"),
        (b"x,y\n1,\0\n", "is not text: line 2 has a zero byte"),
        (b'x,y\n1,"' + b"a" * 200_000 + b'"\n', "line 2: field larger than field limit"),
    ],
)
def test_what_is_not_text(tmp_path, content, message):
    with pytest.raises(ValueError, match=message):
        points(written(tmp_path, content))


def test_labels(tmp_path):
    text = "a,b,c,d,e\n1,0.5,x,007,9223372036854775808\n-2,1e3,y z,1,1\n"
    path = written(tmp_path, text)
    assert labels(path, "a").tolist() == [1, -2]
    assert labels(path, "a").dtype == np.int64
    assert labels(path, "b").tolist() == [0.5, 1000.0]
    assert labels(path, "c").tolist() == ["x", "y z"]
    assert labels(path, "d").tolist() == ["007", "1"]  # the integer would not be written back as it was
    assert labels(path, "e").tolist() == ["9223372036854775808", "1"]
    assert labels(written(tmp_path, "class\na\nb\n")).tolist() == ["a", "b"]
    for values in (
        np.array([1, 2]),
        np.array([True, False]),
        np.array(["a", "b"]),
        np.array([0.5, 1]),
        np.ones((2, 1)),
    ):
        np.save(tmp_path / "y.npy", values)
        assert labels(tmp_path / "y.npy").tolist() == values.ravel().tolist()


def test_bad_labels(tmp_path):
    path = written(tmp_path, "x,class,z\n1,a,1\n2,,inf\n")
    for choice, message in (
        (None, "labels are one column, .* has 3; choose one, as .*data.csv:z .there are: x, class, z"),
        ("z", r"row 2 \(line 3\), column 'z' is inf; every label must be finite"),
    ):
        with pytest.raises(ValueError, match=message):
            labels(path, choice)
    for values, message in (
        (np.ones((2, 3)), r"one for each sample \(n,\), .* has shape \(2, 3\)"),
        (np.array([1.0, np.inf]), r"has inf at row 1 \(index \[1\], counted from 0\)"),
        (np.array([], int), "is empty"),
        (np.array([1j]), "found dtype complex128"),
    ):
        np.save(tmp_path / "y.npy", values)
        with pytest.raises(ValueError, match=message):
            labels(tmp_path / "y.npy")


def test_csv_that_is_written_can_be_read(tmp_path):
    path = tmp_path / "a.csv"
    with path.open("wb") as file:
        write_csv(file, ["a, b", "é"], [("x\ny", 0.1), ('"', -2)])
    with path.open(newline="", encoding="utf-8") as file:
        assert list(csv.reader(file)) == [["a, b", "é"], ["x\ny", "0.1"], ['"', "-2"]]
    assert labels(path, "é").tolist() == [0.1, -2.0]


# ---------------------------------------------------------------- arrays


@pytest.mark.parametrize("dtype", ["f4", "f8", ">f8", "f2", "i4", "u1", "?"])
@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("mapped", [False, True])
def test_arrays_come_back(tmp_path, monkeypatch, dtype, order, mapped):
    monkeypatch.setattr(tunables, "TABLE_MAPPED_BYTES", 0 if mapped else 1 << 20)
    for shape in ((5, 3), (4, 2, 3)):
        x = np.asarray(np.random.default_rng(0).integers(0, 2, shape).astype(dtype), order=order)
        np.save(tmp_path / "a.npy", x)
        np.savez_compressed(tmp_path / "a.npz", x=x)
        np.savez(tmp_path / "b.npz", other=np.ones(3), x=x)
        read = points(tmp_path / "a.npy").values
        assert isinstance(read, np.memmap) == mapped
        for found in (read, points(tmp_path / "a.npz").values, points(tmp_path / "b.npz", choice="x").values):
            assert found.dtype == x.dtype
            assert np.array_equal(found, x)


class Tripwire:
    def __reduce__(self):
        return os.mkdir, ("ran",)


@pytest.mark.parametrize("suffix", [".npy", ".npz"])
def test_objects_are_never_read(tmp_path, monkeypatch, suffix):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / f"a{suffix}"
    array = np.array([[Tripwire()]], dtype=object)
    np.save(path, array, allow_pickle=True) if suffix == ".npy" else np.savez(path, x=array)
    for read in (points, labels):
        with pytest.raises(ValueError, match="holds Python objects, which are never read"):
            read(path)
    assert not os.path.exists("ran")


def test_what_is_not_as_its_name_says(tmp_path):
    x = np.ones((3, 2))
    np.save(tmp_path / "x.npy", x)
    np.savez(tmp_path / "x.npz", x)
    npy, npz = (tmp_path / "x.npy").read_bytes(), (tmp_path / "x.npz").read_bytes()
    for name, content, found in (
        ("a.csv", npy, "it begins as a .npy file"),
        ("a.npz", npy, "it begins as a .npy file"),
        ("a.npy", npz, r"it begins as a .npz \(zip\) archive"),
        ("a.csv", npz, r"it begins as a .npz \(zip\) archive"),
        ("a.npy", b"x,y\n1,2\n", "it begins as text, or something unknown"),
        ("a.npz", b"x,y\n1,2\n", "it begins as text"),
        ("a.npy", pickle.dumps(x), "it begins as a pickle"),
        ("a.csv", b"\x89PNG\r\n\x1a\n", "it begins as a PNG picture"),
    ):
        with pytest.raises(ValueError, match=f"{name} is not what its name says: {found}"):
            points(written(tmp_path, content, name))


def test_files_that_cannot_be_opened(tmp_path):
    (tmp_path / "folder.csv").mkdir()
    for name, error, reason in (
        ("missing.csv", FileNotFoundError, "No such file or directory"),
        ("folder.csv", IsADirectoryError, "Is a directory"),
    ):
        for read in (points, labels):
            with pytest.raises(error) as caught:
                read(tmp_path / name)
            assert str(caught.value) == f"cannot read {tmp_path / name}: {reason}"
    with pytest.raises(ValueError, match=r"a\.npy is empty"):
        points(written(tmp_path, b"", "a.npy"))


def test_bad_arrays(tmp_path):
    records = np.zeros(3, [("a", float)])
    late = np.ones((20, 3))
    late[17, 2] = np.nan
    for values, message in (
        (np.ones(3), r"must hold points \(n, d\) or views \(n, m, d\), found shape \(3,\)"),
        (np.array(5.0), r"found shape \(\)"),
        (np.ones((2, 2), complex), "must hold real numbers, found dtype complex128"),
        (np.array([["a"]]), "must hold real numbers, found dtype <U1"),
        (np.ones((0, 2)), r"is empty: its shape is \(0, 2\)"),
        (records, "holds records"),
        (late, r"has nan at row 17 \(index \[17, 2\], counted from 0\)"),
    ):
        np.save(tmp_path / "a.npy", values)
        np.savez(tmp_path / "a.npz", values)
        for name in ("a.npy", "a.npz"):
            with pytest.raises(ValueError, match=message):
                points(tmp_path / name)


def test_archives_with_a_choice(tmp_path):
    np.savez(tmp_path / "a.npz", x=np.ones((2, 3)), y=np.arange(2))
    with pytest.raises(ValueError, match=r"holds 2 arrays: x, y; choose one, as .*a\.npz:x"):
        points(tmp_path / "a.npz")
    with pytest.raises(ValueError, match="has no array 'z'; it has: x, y"):
        points(tmp_path / "a.npz", choice="z")
    np.savez(tmp_path / "b.npz")
    with pytest.raises(ValueError, match="holds no arrays"):
        points(tmp_path / "b.npz")


def archive_of(content):
    def write(path):
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("x.npy", content)

    return write


def test_promises_that_a_file_does_not_keep(tmp_path):
    """Nothing is allocated for them: the first asks for 8 TB."""
    npy = written(tmp_path, b"", "x.npy")
    np.save(npy, np.ones((1000, 2)))
    whole = npy.read_bytes()
    huge = whole.replace(b"(1000, 2), }" + b" " * 10, b"(1000000000000, 1), } ")
    assert len(huge) == len(whole)
    assert huge != whole
    for content, message in (
        (huge, "cut short: shape .* takes 8000000000000 bytes, it has 16000"),
        (whole[:-1], "cut short: .* takes 16000 bytes, it has 15999"),
        (whole[:50], "header of .* is damaged"),
        (whole.replace(b"(1000, 2)", b"(-100, 2)"), "damaged: shape"),
        (whole.replace(b"'<f8'", b"'<q7'"), "header of .* is damaged"),
        (whole.replace(b"'<f8'", b"'<U0'"), "damaged: shape .* of <U0"),
        (whole[:6] + b"\x09\x00" + whole[8:], "header of .* is damaged"),
    ):
        with pytest.raises(ValueError, match=message):
            points(written(tmp_path, content, "a.npy"))
        archive_of(content)(tmp_path / "a.npz")
        with pytest.raises(ValueError, match=message):
            points(tmp_path / "a.npz")


def test_damaged_archives(tmp_path):
    path = tmp_path / "a.npz"
    np.savez(path, x=np.arange(2000.0).reshape(-1, 2))
    whole = path.read_bytes()
    for content in (whole[:100], whole[:-30], whole[:5000] + b"\xff" + whole[5001:]):
        with pytest.raises(ValueError, match="damaged or cut short"):
            points(written(tmp_path, content, "a.npz"))


@pytest.mark.parametrize("sign", ["\v", "\f", "\x1c", "\u00a0", "\u3000"])
def test_other_white_space_is_no_blank_line(tmp_path, sign):
    """To polars it is a cell, and so to what tells of the line."""
    for suffix in (".csv", ".tsv"):
        with pytest.raises(ValueError, match=r"\(line 3\)"):
            points(written(tmp_path, f"x\n1\n{sign}\n2\n".encode(), f"a{suffix}"))


@given(st.data())
def test_no_content_does_worse_than_an_error(tmp_path_factory, data):
    """Bytes changed, removed, or made up."""
    folder = tmp_path_factory.mktemp("t")
    suffix = data.draw(st.sampled_from(sources.SUFFIXES))
    path = folder / f"a{suffix}"
    if suffix == ".npy":
        np.save(path, np.ones((3, 2)))
    elif suffix == ".npz":
        np.savez(path, np.ones((3, 2)))
    else:
        path.write_text("x,y\n1,2\n3,4\n")
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 3))):
        place = data.draw(st.integers(0, len(content) - 1))
        content[place] = data.draw(st.integers(0, 255))
    content = content[: data.draw(st.integers(0, len(content)))] if data.draw(st.booleans()) else content
    path.write_bytes(content)
    for read in (points, labels):
        with contextlib.suppress(ValueError):
            read(path)


# ---------------------------------------------------------------- maps that shrink


@pytest.fixture
def shrunk(tmp_path, monkeypatch):
    """A function that opens a map of random numbers of a shape, and then cuts its file short."""
    monkeypatch.setattr(tunables, "TABLE_MAPPED_BYTES", 0)

    def open_and_cut(shape, dtype=float):
        np.save(tmp_path / "x.npy", np.random.default_rng(0).standard_normal(shape).astype(dtype))
        x = points(tmp_path / "x.npy").values
        assert isinstance(x, np.memmap)
        os.truncate(tmp_path / "x.npy", 5000)
        return x

    return open_and_cut


MESSAGE = r"is a memory map of .*x\.npy, which has shrunk from at least \d+ bytes to 5000 since it was opened"


@pytest.mark.skipif(sys.platform == "win32", reason="mapped files cannot be cut short there")
@pytest.mark.parametrize("dtype", ["f8", "f4", "f2", ">f8"])
def test_a_map_that_shrinks_is_refused_wherever_it_is_read(shrunk, dtype):
    views = shrunk((4000, 2, 3), dtype)
    samples = shrunk((8000, 3), dtype)
    kernel, noise = kernels.Gaussian(1.0), augmentations.GaussianNoise(0.1)
    rep = pretrain(np.random.default_rng(0).standard_normal((20, 2, 3)), kernel, 2, reg=0.1)
    of_features = pretrain(np.random.default_rng(0).standard_normal((20, 2, 3)), features.Identity(), 2, reg=0.1)
    for work in (
        lambda: pretrain(views, features.Identity(), 2, reg=0.1),
        lambda: pretrain(views, features.Nystrom(kernel, 10), 2, reg=0.1),
        lambda: pretrain(views[:100], kernel, 2, reg=0.1),
        lambda: pretrain(samples, features.Identity(), 2, reg=0.1, groups=np.arange(8000) // 2),
        lambda: pretrain(augmentations.Views(samples, noise, 2, 0), features.Identity(), 2, reg=0.1),
        lambda: noise.views(samples, 2, seed=0),
        lambda: rep(samples),
        lambda: rep(views),
        lambda: of_features(samples),
        lambda: kernel(samples[:50]),
    ):
        with pytest.raises(ValueError, match=MESSAGE):
            work()


@pytest.mark.skipif(sys.platform == "win32", reason="mapped files cannot be cut short there")
def test_what_the_check_saves_from(tmp_path):
    """Without it the process ends by SIGBUS: so the test above does test something."""
    code = """
import os, sys
import numpy as np
np.save(sys.argv[1], np.zeros(100_000))
x = np.load(sys.argv[1], mmap_mode="r")
os.truncate(sys.argv[1], 5000)
x.sum()
"""
    done = subprocess.run([sys.executable, "-c", code, tmp_path / "x.npy"], capture_output=True)
    assert done.returncode < 0


@pytest.mark.skipif(sys.platform == "win32", reason="mapped files cannot be cut short there")
def test_a_map_that_shrinks_while_it_is_read(tmp_path, monkeypatch):
    """The check is made before each block, not once."""
    monkeypatch.setattr(tunables, "TABLE_MAPPED_BYTES", 0)
    backend = backends.get_backend(backend="numba")

    def fresh():
        np.save(tmp_path / "x.npy", np.random.default_rng(0).standard_normal((4000, 2, 3)))
        return points(tmp_path / "x.npy").values

    for groups in (None, np.arange(8000) // 2):
        views = fresh()
        blocks = inputs.as_data(views if groups is None else views.reshape(-1, 3), groups, None).blocks(1000, backend)
        next(blocks)
        os.truncate(tmp_path / "x.npy", 5000)
        with pytest.raises(ValueError, match=MESSAGE):
            list(blocks)
    views = fresh()
    os.truncate(tmp_path / "x.npy", 5000)
    with pytest.raises(ValueError, match=MESSAGE):
        arrays.require_finite(views[10:20], "x")


def test_maps_that_grow_or_stay_are_fine(tmp_path, monkeypatch):
    monkeypatch.setattr(tunables, "TABLE_MAPPED_BYTES", 0)
    np.save(tmp_path / "x.npy", np.random.default_rng(0).standard_normal((40, 2, 3)))
    views = points(tmp_path / "x.npy").values
    with (tmp_path / "x.npy").open("ab") as file:
        file.write(b"more")
    first = pretrain(views, features.Identity(), 2, reg=0.1)
    (tmp_path / "x.npy").unlink()  # what is open stays
    assert_close(pretrain(views[:40], features.Identity(), 2, reg=0.1).eigenvalues, first.eigenvalues)
