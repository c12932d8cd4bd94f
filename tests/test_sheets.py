"""Tables with columns: separators, headers, indices, names, missing labels, formats; polars against Python's reader."""

import csv
import gzip
import io
import os
import re
import sys
import threading

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sslcore.io import sheets, texts
from sslcore.io.tables import Wanted, parse_source, read_labels, read_points

pl = pytest.importorskip("polars")

X = [[1.5, -2.0], [3.0, 4e-3], [0.25, 7.0]]


def write(tmp_path, content, name="data.csv"):
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return str(path)


def points(source, *drop, **options):
    return read_points(parse_source(source), drop, **options)


def labels(source, **options):
    table = read_labels(parse_source(source), **options)
    return [None if gone else value for value, gone in zip(table.values.tolist(), table.missing, strict=True)]


# ---------------------------------------------------------------- how text is written


@pytest.mark.parametrize("separator", [",", ";", "\t", " ", "   "])
@pytest.mark.parametrize("header", [None, ["x", "y"], ['"my x"', '"y"'], ["# x", "y"]])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
@pytest.mark.parametrize(("end", "tail"), [("\n", ""), ("\r\n", "\r\n\r\n"), ("\n", "\n \n\n"), ("\n", None)])
def test_the_same_numbers_however_they_are_written(tmp_path, separator, header, mark, end, tail):
    pad = "  " if separator == "   " else ""  # as Fortran aligns them
    rows = [pad + separator.join(map(repr, row)) for row in X]
    lines = ([] if header is None else [separator.join(header)]) + rows
    text = mark + end.join(lines) + ("" if tail is None else end + tail)
    table = points(write(tmp_path, text))
    assert table.values.tolist() == X
    assert table.named == (header is not None)
    assert table.columns == (("1", "2") if header is None else ("my x" if "my" in header[0] else "x", "y"))


@pytest.mark.parametrize("name", ["a.csv", "a.txt", "a.dat", "a.tsv", "a.CSV", "a.csv.gz", "a.tsv.gz"])
def test_suffixes_of_text(tmp_path, name):
    text = ("x\ty\n1\t2\n" if "tsv" in name else "x,y\n1,2\n").encode()
    source = parse_source(write(tmp_path, gzip.compress(text) if name.endswith("gz") else text, name))
    assert read_points(source).values.tolist() == [[1, 2]]
    assert source.stem == "a"


def test_words_with_spaces_are_one_column(tmp_path):
    assert labels(write(tmp_path, "my class\ntop left\nbottom right\n")) == ["top left", "bottom right"]


def test_a_header_that_looks_like_a_compressed_stream(tmp_path):
    assert points(write(tmp_path, "x^2,y\n1,2\n")).columns == ("x^2", "y")
    assert points(write(tmp_path, "x^,y\n1,2\n")).columns == ("x^", "y")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('"', "line 1: a quote is not closed"),
        ('x\n"', "line 2: a quote is not closed"),
        ('x,y\n1,2\n"3,4\n5,6\n', "line 4: a quote is not closed"),
        ('x,y\n1,"2"3\n', "line 2: ',' expected after '\"'"),
        ('x,y\n"1",2\n\n"3"\n', "row 2 (line 4) has 1 cells, the header has 2"),
        ('x,y\n"1,5",2\n3\n', "row 2 (line 3) has 1 cells, the header has 2"),
        ("x,y\n1,2\n3,4,5\n", "row 2 (line 3) has 3 cells, the header has 2"),
        ("x y\n1 2\n3\n", "row 2 (line 3) has 1 cells, the header has 2"),
        ("x,y\n1,2\n,\n", "row 2 (line 3), column 'x' is empty"),
        ('x\n1\n""\n', "row 2 (line 3), column 'x' is empty"),
    ],
)
def test_text_that_is_refused(tmp_path, text, message):
    path = write(tmp_path, text, "a.txt")
    with pytest.raises(ValueError, match=re.escape(message)) as caught:
        points(path)
    assert str(caught.value).startswith(path)


CELL = st.text('ab1 ,;"\n\r\té', max_size=4)


@given(st.integers(1, 3).flatmap(lambda d: st.lists(st.lists(CELL, min_size=d, max_size=d), min_size=1, max_size=5)))
def test_quoted_cells_come_back(tmp_path_factory, rows):
    """Whatever Python's writer writes, with quotes about each cell."""
    text = io.StringIO()
    writer = csv.writer(text, quoting=csv.QUOTE_ALL, lineterminator="\n")
    writer.writerow([f"c{i}" for i in range(len(rows[0]))])
    writer.writerows(rows)
    path = tmp_path_factory.mktemp("t") / "a.csv"
    path.write_bytes(text.getvalue().encode())
    frame = sheets.open_sheet(path, ".csv").frame
    assert [[cell or "" for cell in row] for row in frame.rows()] == rows


@given(st.text('a1,"\n ', max_size=12))
def test_polars_reads_what_python_reads(tmp_path_factory, text):
    path = tmp_path_factory.mktemp("t") / "a.csv"
    path.write_bytes(b"h,i\n" + text.encode())
    try:
        frame = sheets.open_sheet(path, ".csv").frame
    except ValueError:
        return  # said with a line, in the tests above
    with path.open(newline="") as file:
        rows = [row for row in csv.reader(file) if row and not (len(row) == 1 and row[0].isspace())][1:]
    if any(len(row) != 2 for row in rows):
        return  # quotes within cells without quotes: nobody can tell
    assert [[cell or "" for cell in row] for row in frame.rows()] == rows


# ---------------------------------------------------------------- header


@pytest.mark.parametrize(
    ("text", "header", "columns", "n", "note"),
    [
        ("0,1\n.5,2\n3,4\n", "auto", ("0", "1"), 2, "taken for the names"),
        ("0,1\n.5,2\n3,4\n", "no", ("1", "2"), 3, None),
        ("0,1\n1,0\n0,1\n", "auto", ("1", "2"), 3, "taken for data"),
        ("0,1\n1,0\n0,1\n", "yes", ("0", "1"), 2, None),
        ("2019,2020\n.5,2\n", "auto", ("1", "2"), 2, None),
        ("2019,2020\n.5,1.5\n", "auto", ("1", "2"), 2, "taken for data"),
        ("2019,2020\n.5,1.5\n", "yes", ("2019", "2020"), 1, None),
        ("0 1 2\n1.5 2 3\n", "auto", ("0", "1", "2"), 1, "taken for the names"),
        ("x,2020\n1,2\n", "yes", ("x", "2020"), 1, None),
        ("0.5,1.5\n1,2\n", "auto", ("1", "2"), 2, None),
    ],
)
def test_a_header_of_numbers(tmp_path, text, header, columns, n, note):
    table = points(write(tmp_path, text), header=header)
    assert (table.columns, len(table.values)) == (columns, n)
    said = [line for line in table.notes if "first row" in line]
    assert not said if note is None else note in said[0] and "--header" in said[0]


def test_the_advice_leads_to_what_is_right(tmp_path):
    path = write(tmp_path, "x,2020\n1,2\n")
    with pytest.raises(ValueError, match="say --header yes if this row has the names"):
        points(path)
    assert points(path, header="yes").values.tolist() == [[1, 2]]
    path = write(tmp_path, "x,my class\n1,a\n")
    with pytest.raises(ValueError, match=r"leave the column out with --drop 'my class'; of a column of words"):
        points(path)
    assert points(path, "my class").values.tolist() == [[1]]
    path = write(tmp_path, "x,2020\n1,2\nNA,4\n")
    with pytest.raises(ValueError, match=r"row 2 .line 3., column 'x' is 'NA', not a number; correct it, or leave"):
        points(path, header="yes")


# ---------------------------------------------------------------- index


@pytest.mark.parametrize(
    ("header", "index"),
    [(",x,y", 1), ("Unnamed: 0,x,y", 1), ('"","x","y"', 1), ("Unnamed: 0.1,Unnamed: 0,x,y", 2), (",,x,y", 2)],
)
@pytest.mark.parametrize("first", [0, 1, 17])
def test_the_index_of_pandas_is_left_out_and_said(tmp_path, header, index, first):
    rows = [",".join([str(first + i)] * index + [repr(a), repr(b)]) for i, (a, b) in enumerate(X)]
    if index == 2 and header.startswith(","):
        header = ",Unnamed: 0,x,y"
    table = points(write(tmp_path, "\n".join([header, *rows]) + "\n"))
    assert table.values.tolist() == X
    assert table.columns == ("x", "y")
    assert any("index" in note and "left out" in note for note in table.notes)


def test_frames_of_pandas(tmp_path):
    pd = pytest.importorskip("pandas")
    path = str(tmp_path / "a.csv")
    for frame, options in (
        (pd.DataFrame(X), {}),
        (pd.DataFrame(X), {"index": False}),
        (pd.DataFrame(X, columns=["x", "y"]), {}),
        (pd.DataFrame(X, columns=["x", "y"]).sample(frac=1, random_state=0).sort_values("x"), {}),
        (pd.DataFrame(X, columns=["x", "y"], index=list("abc")), {}),
    ):
        frame.to_csv(path, **options)
        assert points(path).values.tolist() == frame.to_numpy().tolist()


def test_one_column_is_no_index(tmp_path):
    assert points(write(tmp_path, '""\n1\n2\n')).values.tolist() == [[1], [2]]
    assert labels(write(tmp_path, ",y\n0,a\n1,b\n")) == ["a", "b"]


# ---------------------------------------------------------------- names


@pytest.mark.parametrize(
    ("choice", "values"),
    [
        ("a,b", [2]),  # the longest name
        ("b,a", [3, 1]),
        ('"a","b"', [1, 3]),
        ('"a,b",a', [2, 1]),
        ("a,b,c:d", [2, 4]),
        ("c:d", [4]),
        ("c:d,b", [4, 3]),
        ("a, b", [1, 3]),
        ("e:f,g:h", [5]),
        ("i.csv", [6]),
    ],
)
def test_names_with_commas_and_colons(tmp_path, choice, values):
    path = write(tmp_path, 'a,"a,b",b,c:d,"e:f,g:h",i.csv\n1,2,3,4,5,6\n')
    assert points(f"{path}:{choice}").values.tolist() == [values]
    left = [v for v in range(1, 7) if v not in values]
    assert points(path, choice).values.tolist() == [left]


def test_names_that_are_not_there(tmp_path):
    path = write(tmp_path, 'x,"a,b"\n1,2\n')
    for choice in ("a", "x,z", '"a","b"', "b,x"):
        with pytest.raises(ValueError, match=r'there is no column .* columns: x, "a,b"'):
            points(f"{path}:{choice}")
    assert points(path, "z,x", lenient=True).columns == ("a,b",)


@pytest.mark.parametrize(
    ("text", "choice", "drop", "values"),
    [
        ("y,x\n2,1\n", None, (), [1, 2]),
        ("id,y,class,x\n7,2,a,1\n", None, (), [1, 2]),
        (",y,x\n0,2,1\n", None, (), [1, 2]),
        ("y;x\n2;1\n", None, (), [1, 2]),
        ("y,x\n2,1\n", "y,x", (), [1, 2]),
        ("z,y,x\n3,2,1\n", None, ("z",), [1, 2]),
        ("1,2\n", None, (), [1, 2]),  # no names: by position
        ("a,b\n1,2\n", None, (), "'x', which m has"),
        ("x,b\n1,2\n", None, (), "'y', which m has"),
        ("X,y\n1,2\n", None, (), "'x', which m has"),
        ("x,y\n1,2\n", "x", (), "'y' .it is left out., which m has"),
        ("x,y\n1,2\n", None, ("x",), "'x' .it is left out., which m has"),
    ],
)
def test_columns_are_matched_by_name(tmp_path, text, choice, drop, values):
    path = write(tmp_path, text) + (f":{choice}" if choice else "")
    if isinstance(values, str):
        with pytest.raises(ValueError, match=f"no column {values}"):
            points(path, *drop, wanted=Wanted(("x", "y"), "m"))
    else:
        table = points(path, *drop, wanted=Wanted(("x", "y"), "m"))
        assert table.values.tolist() == [values]
        assert any("left out" in note for note in table.notes) == ("id" in text or text.startswith(","))


# ---------------------------------------------------------------- labels


@pytest.mark.parametrize("word", sorted(sheets.MISSING))
def test_missing_labels(tmp_path, word):
    assert labels(write(tmp_path, f"a,b\nx,1\n{word},2\ny,3\n") + ":a") == ["x", None, "y"]
    assert labels(write(tmp_path, f"a,b\n1,1\n{word},2\n-1,3\n") + ":a") == [1, None, -1]
    assert labels(write(tmp_path, f"a,b\n1.5,1\n{word},2\n2,3\n") + ":a") == [1.5, None, 2.0]
    assert labels(write(tmp_path, f"a,b\n1.0,1\n{word},2\n0.0,3\n") + ":a") == [1, None, 0]  # pandas' integers
    assert labels(write(tmp_path, f'a\n1\n"{word}"\n2\n')) == [1, None, 2]


def test_labels_that_are_there(tmp_path):
    for column, expected in (
        ("1\n0", [1, 0]),
        ("1.0\n0.0", [1.0, 0.0]),
        ("007\n1", ["007", "1"]),
        ("none\nno", ["none", "no"]),
        ("Nancy\nnan-1", ["Nancy", "nan-1"]),
        ("-0\n1", [-0.0, 1.0]),
    ):
        assert labels(write(tmp_path, f"label\n{column}\n")) == expected
    np.save(tmp_path / "y.npy", np.array([0.5, np.nan]))
    assert labels(str(tmp_path / "y.npy")) == [0.5, None]
    np.save(tmp_path / "y.npy", np.array(["a", "NA", "None"]))
    assert labels(str(tmp_path / "y.npy")) == ["a", None, None]


# ---------------------------------------------------------------- Parquet and Arrow


@pytest.mark.parametrize("suffix", sheets.COLUMNAR)
def test_columnar_files(tmp_path, suffix):
    path = str(tmp_path / f"a{suffix}")
    frame = pl.DataFrame(
        {
            "x": [1.0, 2.5],
            "n": pl.Series([3, None], dtype=pl.Int64),
            "f": pl.Series([1, 2], dtype=pl.Float32),
            "b": [True, False],
            "w": ["a", None],
            "c": pl.Series(["u", "v"], dtype=pl.Categorical),
            "l": [[1], [2]],
            "__index_level_0__": [5, 6],
        }
    )
    (frame.write_parquet if suffix == ".parquet" else frame.write_ipc)(path)
    table = points(path, "n,w,c,l")
    assert (table.columns, table.values.tolist()) == (("x", "f", "b"), [[1, 1, 1], [2.5, 2, 0]])
    assert "index" in table.notes[0]
    assert points(f"{path}:f").values.dtype == np.float32
    assert labels(f"{path}:n") == [3, None]
    assert labels(f"{path}:w") == ["a", None]
    assert labels(f"{path}:c") == ["u", "v"]
    assert labels(f"{path}:b") == [True, False]
    for column, message in (
        ("n", "row 2, column 'n' is empty"),
        ("w", "row 1, column 'w' is 'a', not a number"),
        ("l", "column 'l' of .* holds List.*, neither numbers nor words"),
    ):
        with pytest.raises(ValueError, match=message):
            points(f"{path}:{column}")
    whole = (tmp_path / f"a{suffix}").read_bytes()
    for cut in (9, len(whole) // 2, len(whole) - 3):
        with pytest.raises(ValueError, match="damaged"):
            points(write(tmp_path, whole[:cut], f"cut{suffix}"))


def test_a_short_file_of_many_rows(tmp_path, monkeypatch):
    pl.DataFrame({"x": np.zeros(100_000)}).write_parquet(tmp_path / "a.parquet")
    for module in (sheets, texts):
        monkeypatch.setattr(module, "free_memory", lambda: 1_000_000)
    with pytest.raises(ValueError, match="holds 100,000 rows, which need"):
        points(str(tmp_path / "a.parquet"))
    with pytest.raises(ValueError, match="holds more than"):
        points(write(tmp_path, gzip.compress(b"1\n" * 200_000), "a.csv.gz"))


def test_without_polars(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "polars", None)
    with pytest.raises(ImportError, match=r"\.csv files need polars: pip install '\.\[cli\]'"):
        points(write(tmp_path, "1\n"))


# ---------------------------------------------------------------- what is no file


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="pipes of POSIX")
@pytest.mark.parametrize("suffix", [".csv", ".npy", ".npz", ".parquet", ".csv.gz"])
def test_pipes_are_refused(tmp_path, suffix):
    """At once: nobody waits for a writer that may never come."""
    os.mkfifo(tmp_path / f"a{suffix}")
    found = []

    def read(reader):
        try:
            reader(parse_source(str(tmp_path / f"a{suffix}")))
        except ValueError as error:
            found.append(str(error))

    for reader in (read_points, read_labels):
        thread = threading.Thread(target=read, args=(reader,), daemon=True)
        thread.start()
        thread.join(10)
    assert len(found) == 2
    assert all("is a pipe" in message for message in found)


@pytest.mark.skipif(not os.path.exists("/dev/zero"), reason="devices of POSIX")
def test_devices_are_refused(tmp_path):
    os.symlink("/dev/zero", tmp_path / "zero.npy")
    with pytest.raises(ValueError, match="is a device"):
        points(str(tmp_path / "zero.npy"))
