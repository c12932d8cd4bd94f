"""Words, missing values, names of rows: how columns become coordinates, in files, frames, models and commands."""

import csv
import dataclasses
import json
import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import sslcore
from sslcore import tables
from sslcore.cli import main as cli
from sslcore.io.encoding import Encoding

from . import naive
from .comparators import assert_close

pl = pytest.importorskip("polars")


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def write(name, text):
    Path(name).write_text(text, encoding="utf-8")
    return name


COLOURS = "id,size,colour\na,1,red\nb,,blue\nc,3,\nd,5,red\n"


# ---------------------------------------------------------------- against the oracle

CELLS = st.one_of(st.none(), st.sampled_from([-2.5, 0.0, 1.0, 7.25]))
WORDS = st.sampled_from([None, "red", "blue", "dark green", "é"])
ROWS = st.lists(st.tuples(CELLS, WORDS, CELLS, WORDS), min_size=2, max_size=8)


def columns_of(rows):
    a, b, c, d = (list(column) for column in zip(*rows, strict=True))
    return {"a": a, "b": b, "c": c, "d": d}


def test_words_are_those_of_the_rows_that_stay():
    """A coordinate that is 0 in each of them would tell nothing, and new rows of that word are unlike all of them."""
    write("t.csv", "size,colour\n1,red\n,blue\n3,green\n")
    table = tables.read("t.csv", missing="drop", categories="one-hot")
    assert table.columns == ("size", "colour=green", "colour=red")
    assert_close(table.values, np.array([[1.0, 0, 1], [3, 1, 0]]))
    assert_close(tables.read("t.csv", encoding=table.encoding).values, table.values)  # of a row that is left out
    write("new.csv", "size,colour\n2,blue\n")
    with pytest.raises(ValueError, match=r"'blue', which was not there when the model was fitted \(green, red\)"):
        tables.read("new.csv", encoding=table.encoding)


def test_categories_are_of_tables():
    np.save("x.npy", np.eye(3))
    with pytest.raises(ValueError, match=r"--categories one-hot is for words of a table, x\.npy is an array"):
        tables.read("x.npy", categories="one-hot")


@given(ROWS, st.sampled_from(["drop", "mean"]), st.sampled_from(["one-hot", "drop"]), st.integers(1, 7), st.data())
def test_against_cells_one_by_one(rows, missing, categories, cut, data):
    columns = columns_of(rows)
    if any(all(cell is None for cell in column) for column in columns.values()):
        return
    expected = naive.encoded(columns, missing, categories)
    if expected is None:  # no row is left
        with pytest.raises(ValueError, match="every row has a cell without"):
            tables.read(pl.DataFrame(columns), missing=missing, categories=categories)
        return
    names, values, kept = expected
    whole = tables.read(pl.DataFrame(columns), missing=missing, categories=categories)
    frames = [pl.DataFrame(columns)]
    for i, separator in enumerate(";\t"):
        with open(f"{i}.csv", "w", newline="") as file:
            writer = csv.writer(file, delimiter=separator)
            writer.writerow(columns)
            writer.writerows([["NA" if cell is None else cell for cell in row] for row in rows])
        frames.append(f"{i}.csv")
    frames.append("whole.parquet")
    pl.DataFrame(columns).write_parquet("whole.parquet")
    for frame in frames:
        table = tables.read(frame, missing=missing, categories=categories)
        assert table.columns == tuple(names)
        assert_close(table.values, values, tol=1e-14)
        assert (list(range(len(rows))) if table.kept is None else table.kept.tolist()) == kept
        table.encoding.check(len(names))
        again = tables.read(frame, encoding=table.encoding)  # the same way once more
        assert np.array_equal(again.values, table.values)
    cut = min(cut, len(rows) - 1)  # in two files
    for i, part in enumerate((rows[:cut], rows[cut:])):
        pl.DataFrame(columns_of(part), schema=pl.DataFrame(columns).schema).write_ipc(f"part{i}.arrow")
    parts = tables.read("part0.arrow", "part1.arrow", missing=missing, categories=categories)
    assert np.array_equal(parts.values, whole.values)
    assert (parts.kept is None) == (whole.kept is None)
    assert np.array_equal(tables.read("part*.arrow", missing=missing, categories=categories).values, whole.values)


def test_against_scikit_learn():
    preprocessing = pytest.importorskip("sklearn.preprocessing")
    from sklearn.impute import SimpleImputer

    rng = np.random.default_rng(0)
    numbers = rng.standard_normal((50, 2))
    numbers[rng.random((50, 2)) < 0.2] = np.nan
    words = rng.choice(["u", "v", "w"], 50)
    table = tables.read(
        pl.DataFrame({"x": numbers[:, 0], "w": words, "y": numbers[:, 1]}).fill_nan(None),
        missing="mean",
        categories="one-hot",
    )
    filled = SimpleImputer().fit_transform(numbers)
    hot = preprocessing.OneHotEncoder(sparse_output=False).fit_transform(words[:, None])
    assert_close(table.values, np.column_stack([filled[:, 0], hot, filled[:, 1]]))


# ---------------------------------------------------------------- what is refused, with which words


@pytest.mark.parametrize(
    ("choices", "message"),
    [
        ({}, "a.csv: row 1 (line 2), column 'id' is 'a', not a number; correct it, or leave the column out with --drop "
         "id; of a column of words --categories one-hot makes a coordinate for each, --categories drop none"),
        ({"id": "id"}, "row 1 (line 2), column 'colour' is 'red', not a number"),
        ({"id": "id", "categories": "drop"}, "row 2 (line 3), column 'size' is empty; correct it, or leave the column "
         "out with --drop size; 1 cell has no value: --missing mean takes the means of their columns, --missing drop "
         "leaves rows out"),
        ({"id": "id", "categories": "one-hot"}, "is empty; correct it, or leave the column out with --drop size; 2 "
         "cells, in 2 rows, have no value"),
        ({"id": "name"}, "there is no column 'name' in a.csv; columns: id, size, colour"),
        ({"missing": "zero"}, "missing must be one of 'refuse', 'drop', 'mean', found 'zero'"),
        ({"categories": "hash"}, "categories must be one of"),
        ({"decimal": ";"}, "decimal must be one of"),
        ({"drop": ["size"], "categories": "drop"}, "are words: none is left; use --categories one-hot"),
    ],
)  # fmt: skip
def test_refused(choices, message):
    write("a.csv", COLOURS)
    with pytest.raises(ValueError, match=re.escape(message)):
        tables.read("a.csv", **choices)


def test_names_of_rows_are_told_from_categories():
    write("a.csv", "name,colour,x\n" + "".join(f"s{i},{'red' if i % 2 else 'blue'},{i}\n" for i in range(12)))
    for choices, said in (({}, "or, if it names the rows, say --id name"), ({"id": "name"}, "--categories one-hot")):
        with pytest.raises(ValueError, match=said):
            tables.read("a.csv", **choices)


@pytest.mark.parametrize(
    ("n", "said"),
    [
        (1, "--categories drop none$"),
        (2, "--categories drop none; column 'w1' holds words too$"),
        (9, "none; columns 'w1', 'w2', 'w3', 'w4', 'w5', 'w6', 'w7', 'w8' hold words too$"),
        (11, "none; columns 'w1', .*, 'w7', 'w8' and 2 more hold words too$"),
    ],
)
def test_all_columns_of_words_are_named_at_once(n, said):
    names = [f"w{i}" for i in range(n)]
    write("w.csv", f"x,{','.join(names)},y\n" + "".join(f"{i},{','.join('ab'[i % 2] * n)},{i}\n" for i in range(6)))
    with pytest.raises(ValueError, match=f"column 'w0' is 'a', not a number.*{said}"):
        tables.read("w.csv")
    if n > 1:  # one that is corrected is not one of them
        write("w.csv", "x,w0,w1\n" + "".join(f"{i if i else 'a'},a,b\n" for i in range(6)))
        with pytest.raises(ValueError, match=r"column 'x' is 'a', .*the others numbers\)$"):
            tables.read("w.csv")


@pytest.mark.parametrize(
    ("order", "said"),
    [
        ("wtnv", "drop none; column 'v' holds words too; column 't' holds dates or times, which are no categories: "
         "make numbers of them, or say --drop; column 'n' holds words, too many for categories: say --id "),
        ("tw", "the hour of the day), or, if it names the rows, say --id t; column 'w' holds words, for --categories "
         "one-hot or drop"),
        ("ts", "say --id t; column 's' holds dates or times too"),
        ("nmt", "say --id n; column 't' holds dates or times, which are no categories: make numbers of them, or say "
         "--drop; column 'm' holds words too"),
    ],
)  # fmt: skip
def test_other_columns_have_the_advice_that_holds_for_them(order, said):
    """Dates, and names of rows, are no categories: who says --categories one-hot would be refused again."""
    cells = {"w": "ab", "v": "cd"}
    rows = [
        {name: cells[name][i % 2] if name in cells else f"{name}{i}" if name in "nm" else f"2024-01-{i + 1:02d}"
         for name in order}
        for i in range(24)
    ]  # fmt: skip
    write("w.csv", f"x,{','.join(order)}\n" + "".join(f"{i},{','.join(row.values())}\n" for i, row in enumerate(rows)))
    with pytest.raises(ValueError, match=re.escape(said)):
        tables.read("w.csv")


def test_thousands_of_words_are_no_categories():
    """However many rows there are: each word is a coordinate of every view."""
    for words in (1000, 1001):
        write("l.csv", "x,w\n" + "".join(f"{i % 7},w{i % words}\n" for i in range(2 * words + 1)))
        if words == 1000:
            assert len(tables.read("l.csv", categories="one-hot").columns) == 1001
            continue
        with pytest.raises(
            ValueError, match=r"has 1,001 different words in 2,003 rows, too many for categories: .*--drop w"
        ):
            tables.read("l.csv", categories="one-hot")


def test_refused_columns():
    write("a.csv", "x,y\n1,a\n2,3\n,\n")
    with pytest.raises(
        ValueError, match=r"column 'y' is 'a', not a number; .* \(1 of its 3 cells are words, the others"
    ):
        tables.read("a.csv", categories="one-hot", missing="mean")
    write("a.csv", "x,y\n1,\n2,NA\n")
    with pytest.raises(ValueError, match="column 'y' has no value at all: leave it out with --drop y"):
        tables.read("a.csv", missing="mean")
    with pytest.raises(ValueError, match="every row has a cell without a value"):
        tables.read("a.csv", missing="drop")
    write("a.csv", "x,y\n1,inf\n2,NA\n")
    for missing in ("mean", "drop", "refuse"):
        with pytest.raises(ValueError, match=r"row 1 \(line 2\), column 'y' is inf; remove or impute it"):
            tables.read("a.csv", missing=missing)
    write("a.csv", "x,name\n" + "".join(f"{i},person {i}\n" for i in range(30)))
    with pytest.raises(ValueError, match=r"'name' of a\.csv has 30 different words in 30 rows, too many .* --id name"):
        tables.read("a.csv", categories="one-hot")
    write("b.csv", "x,nickname\n1,a\n")
    with pytest.raises(ValueError, match=r"no column 'name' in b\.csv; columns: x, nickname"):
        tables.read("a.csv", "b.csv", id="name")
    for bad in ((), (3,), ("a.csv", pl.DataFrame({"x": [1]}))):
        with pytest.raises(TypeError, match="takes names of files, or one frame"):
            tables.read(*bad)
    with pytest.raises(ValueError, match="is named twice"):
        tables.read("a.csv", "./a.csv")
    with pytest.raises(FileNotFoundError, match=r"no file matches part-\*\.csv"):
        tables.read("part-*.csv")


def test_places_are_those_of_the_file_that_has_them():
    write("a.csv", "x,y\n1,2\n3,4\n")
    write("b.csv", "y,x\n1,2\n3,\n")
    with pytest.raises(ValueError, match=r"^b\.csv: row 2 \(line 3\), column 'x' is empty"):
        tables.read("a.csv", "b.csv")
    assert tables.read("a.csv", "b.csv", missing="drop").values.tolist() == [[1, 2], [3, 4], [2, 1]]


def test_words_that_were_not_there():
    encoding = tables.read(write("a.csv", COLOURS), id="id", categories="one-hot", missing="mean").encoding
    write("b.csv", "colour,size\nred,1\ngreen,2\n")
    with pytest.raises(ValueError, match=r"b\.csv: row 2 \(line 3\), column 'colour' is 'green', which was not there"):
        tables.read("b.csv", encoding=encoding)
    table = tables.read("b.csv", encoding=encoding, unseen="zeros")
    assert table.columns == ("size", "colour=blue", "colour=red")
    assert table.values.tolist() == [[1, 0, 1], [2, 0, 0]]
    with pytest.raises(ValueError, match="has no means of its columns: say --missing drop"):
        tables.read(pl.DataFrame({"x": [1.0, None]}), encoding=Encoding(["x"], missing="drop"), missing="mean")


# ---------------------------------------------------------------- decimal commas


@pytest.mark.parametrize("separator", [";", "\t", " "])
@pytest.mark.parametrize("header", ["", "x{}y\n"])
@pytest.mark.parametrize("decimal", ["auto", ","])
def test_decimal_commas(separator, header, decimal):
    text = header.format(separator) + f"1,5{separator}-2\n,25{separator}3,125\n"
    table = tables.read(write("a.csv", text), decimal=decimal)
    assert table.values.tolist() == [[1.5, -2], [0.25, 3.125]]
    assert any("1,5 for 1.5" in note and "--decimal ." in note for note in table.notes) == (decimal == "auto")
    labels = tables.labels("a.csv:2" if not header else "a.csv:y", decimal=decimal)
    assert labels.values.tolist() == [-2, 3.125]


def test_commas_that_may_be_none():
    """Commas that may set thousands apart, or stand beside points, are taken for decimal signs only if that is told."""
    for text in ("x;y\n1,234;2\n", "x;y\n1,5;2.5\n", 'x,y\n"1,234",2\n'):
        with pytest.raises(ValueError, match=r"column 'x' is '1,(234|5)', not a number; .*say --decimal , if"):
            tables.read(write("a.csv", text))
    assert tables.read(write("a.csv", "x;y\n1,234;2\n"), decimal=",").values.tolist() == [[1.234, 2]]
    assert tables.read(write("a.csv", 'x,y\n"1,234",2\n'), decimal=",").values.tolist() == [[1.234, 2]]
    with pytest.raises(ValueError, match=r"column 'y' is '2.5', not a number; .*say --decimal \. if points"):
        tables.read(write("a.csv", "x;y\n1,5;2.5\n"), decimal=",")
    with pytest.raises(ValueError, match=r"'1,5', not a number"):
        tables.read(write("a.csv", "x;y\n1,5;2\n"), decimal=".")
    assert tables.read(write("a.csv", "1,2\n3,4\n")).values.tolist() == [[1, 2], [3, 4]]


# ---------------------------------------------------------------- arrays


def test_missing_values_of_arrays():
    x = np.array([[1.0, 2], [np.nan, 3], [5, 4]])
    np.save("a.npy", x)
    with pytest.raises(ValueError, match="has nan at row 1"):
        tables.read("a.npy")
    dropped, filled = (tables.read("a.npy", missing=missing) for missing in ("drop", "mean"))
    assert (dropped.values.tolist(), dropped.kept.tolist()) == ([[1, 2], [5, 4]], [0, 2])
    assert filled.values.tolist() == [[1, 2], [3, 3], [5, 4]]
    assert tables.read("a.npy", encoding=filled.encoding).values.tolist() == filled.values.tolist()
    x[0, 1] = np.inf
    np.save("a.npy", x)
    with pytest.raises(ValueError, match="has inf at row 0"):
        tables.read("a.npy", missing="mean")
    np.save("c.npy", np.ones((5, 2)))
    for missing in ("refuse", "mean"):
        with pytest.raises(ValueError, match=r"^a\.npy has inf at row 0"):
            tables.read("c.npy", "a.npy", missing=missing)
    many = np.vstack([np.full((9, 2), np.nan), x[2:]])
    np.save("c.npy", many)
    said = "left out, for cells without a value: 9 of 10 rows (rows 1, 2, 3, 4, 5, 6, 7, 8, ...; --missing drop)"
    assert tables.read("c.npy", missing="drop").notes == (said,)
    np.save("b.npy", np.ones((3, 3)))
    with pytest.raises(ValueError, match=r"b\.npy has shape \(3, 3\), a\.npy has \(3, 2\): they must be alike"):
        tables.read("a.npy", "b.npy")
    with pytest.raises(ValueError, match="--id names a column of a table"):
        tables.read("b.npy", id="x")


@pytest.mark.parametrize("mapped", [False, True])
def test_stores(monkeypatch, mapped):
    h5py, zarr = pytest.importorskip("h5py"), pytest.importorskip("zarr")
    monkeypatch.setattr(sslcore.tunables, "TABLE_MAPPED_BYTES", 0 if mapped else 1 << 20)
    x, y = np.random.default_rng(0).standard_normal((6, 3)), np.arange(6)
    with h5py.File("a.h5", "w") as file:
        file["train/x"], file["y"] = x, y
        file.create_dataset("packed", data=x, compression="gzip", chunks=(2, 3))
        file["text"] = "hello"
    group = zarr.open_group("a.zarr", mode="w")
    group.create_array("x", data=x)
    zarr.save_array("b.zarr", x)
    read = tables.read("a.h5:/train/x").values
    assert isinstance(read, np.memmap) == mapped
    for found in (read, tables.read("a.h5:packed").values, tables.read("a.zarr").values, tables.read("b.zarr").values):
        assert np.array_equal(found, x)
    assert np.array_equal(tables.labels("a.h5:y").values, y)
    assert tables.read("a.h5:train/x", "b.zarr").values.shape == (12, 3)
    for name, message in (
        ("a.h5", r"holds 4 arrays: packed, text, train/x, y; choose one, as a\.h5:packed"),
        ("a.h5:x", "has no array 'x'; it has: packed"),
        ("a.h5:text", "holds object, neither real numbers nor strings"),
        ("a.zarr:y", "has no array 'y'; it has: x"),
        ("none.zarr", "cannot read none.zarr: No such file"),
    ):
        with pytest.raises((ValueError, OSError), match=message):
            tables.read(name)
    content = Path("a.h5").read_bytes()
    Path("cut.h5").write_bytes(content[:700])
    with pytest.raises(ValueError, match="damaged, or not what its name says"):
        tables.read("cut.h5:y")
    Path("empty.zarr").mkdir()
    with pytest.raises(ValueError, match="damaged, or not what its name says"):
        tables.read("empty.zarr")


# ---------------------------------------------------------------- frames


def frames(columns):
    found = {"polars": pl.DataFrame(columns)}
    pd, pa = pytest.importorskip("pandas"), pytest.importorskip("pyarrow")
    found["pandas"] = pd.DataFrame(columns, index=range(10, 10 + len(next(iter(columns.values())))))
    found["pyarrow"] = pa.table(columns)
    return found


@pytest.fixture(scope="module")
def model():
    x = sslcore.datasets.half_moons(40, seed=0)
    words = ["red" if row[0] > 0 else "blue" for row in x]
    frame = pl.DataFrame({"id": [f"s{i}" for i in range(40)], "x": x[:, 0], "colour": words, "y": x[:, 1]})
    table = tables.read(frame, id="id", categories="one-hot", missing="mean")
    views = sslcore.augmentations.GaussianNoise(0.1).views(table.values, 2, seed=0)
    rep = sslcore.pretrain(views, sslcore.kernels.Gaussian(1.0), 3, reg=1e-3)
    return frame, table, dataclasses.replace(rep, table=table.encoding)


@pytest.mark.parametrize("library", ["polars", "pandas", "pyarrow"])
def test_frames_in_and_the_same_kind_out(model, library):
    frame, table, rep = model
    z = rep.transform(table.values)
    given = frames({name: frame[name].to_list() for name in ("y", "colour", "x", "id")})[library]
    out = rep.transform(given)
    assert type(out) is type(given)
    names = ["id", "component_1", "component_2", "component_3"]
    assert [*map(str, out.column_names if library == "pyarrow" else out.columns)] == names
    values = out.to_pandas() if library == "pyarrow" else out
    assert_close(np.column_stack([values[name].to_numpy() for name in names[1:]]), z)
    assert list(values["id"]) == frame["id"].to_list()
    assert (list(out.index) == list(range(10, 50))) if library == "pandas" else True
    with pytest.raises(ValueError, match="the frame has no column 'colour', which the model has"):
        rep.transform(given[["x", "y"]] if library == "pandas" else given.select(["x", "y"]))


@pytest.mark.parametrize("library", ["polars", "pandas", "pyarrow"])
def test_plain_frames(library):
    x = sslcore.datasets.half_moons(30, seed=0)
    given = frames({"x": x[:, 0], "y": x[:, 1]})[library]
    rep = sslcore.pretrain(x, sslcore.kernels.Gaussian(1.0), 2, reg=1e-3, groups=np.arange(30) // 2)
    same = sslcore.pretrain(given, sslcore.kernels.Gaussian(1.0), 2, reg=1e-3, groups=np.arange(30) // 2)
    assert_close(same.eigenvalues, rep.eigenvalues)
    out = rep(given)
    assert type(out) is type(given)
    values = np.column_stack([np.asarray(out[name]) for name in ("component_1", "component_2")])
    assert_close(values, rep(x))
    rep.notes["columns"] = ["y", "x"]  # as files of `sslcore fit` say
    values = np.column_stack([np.asarray(rep(given)[name]) for name in ("component_1", "component_2")])
    assert_close(values, rep(x[:, ::-1]))


@pytest.mark.parametrize("library", ["polars", "pandas", "pyarrow"])
def test_plain_frames_that_lack_a_column(library):
    x = sslcore.datasets.half_moons(30, seed=0)
    rep = sslcore.pretrain(x, sslcore.kernels.Gaussian(1.0), 2, reg=1e-3, groups=np.arange(30) // 2)
    rep.notes["columns"] = ["a", "b"]
    with pytest.raises(ValueError, match="the frame has no column 'a', which the model has; it has: b, alpha; rename"):
        rep(frames({"b": x[:, 1], "alpha": x[:, 0]})[library])
    if library == "pandas":  # columns that nobody has named, and those with numbers for names
        pd = pytest.importorskip("pandas")
        assert_close(rep(pd.DataFrame(x)).to_numpy(), rep(x))
        rep.notes["columns"] = ["2", "1"]
        assert_close(rep(pd.DataFrame(x, columns=[1, 2])).to_numpy(), rep(x[:, ::-1]))


TWELVE = range(1, 13)
TIMES = (
    [f"2020-{i:02}-31" for i in TWELVE],
    [f"{i + 19}.1.2020" for i in TWELVE],
    [f"{i}/31/20" for i in TWELVE],
    [f"2020-{i:02}" for i in TWELVE],
    [f"2020-01-{i:02}{hour}" for i in TWELVE for hour in (" 12:30", "T24:00:01.5Z")],
    [f"{i}{minutes}" for i in TWELVE for minutes in (":30", ":05:30 PM")],
)
NO_TIMES = (
    ["16:10", "21:10"],  # few: ratios of pictures
    ["2020-01-31", "2021-02-01"],
    *([f"{place}{i}" for i in range(13, 30)] for place in ("1234-", "1234-01-4", "14/", "1:7")),
    [f"{i}:10" for i in range(13, 40)],
    [f"{i}.13.2020" for i in range(13, 30)],
    ["1.2.3", "1.10.12"],
    ["2020-01-31", "later"],
    ["12:3", "1:2"],
    ["A-2020-01-31", "B"],
    ["2020-1999", "2020-2019"],
)


@pytest.mark.parametrize("words", [*TIMES, *NO_TIMES])
def test_dates_are_no_categories(words):
    """A coordinate for each moment tells nothing of another; words that look a little like dates stay words."""
    pd = pytest.importorskip("pandas")
    frame = pd.DataFrame({"x": np.arange(20.0 * len(words)), "when": words * 20})
    write("t.csv", "x,when\n" + "".join(f"{x},{when}\n" for x, when in zip(frame["x"], frame["when"], strict=True)))
    for data, name in (("t.csv", "t.csv"), (frame, "the frame")):
        if words not in TIMES:
            assert len(tables.read(data, categories="one-hot").columns) == 1 + len(words)
            continue
        with pytest.raises(ValueError, match=f"column 'when' of {name} holds dates or times such as") as error:
            tables.read(data, categories="one-hot")
        assert "make what matters of it a column of numbers (days since the first one" in str(error.value)
        with pytest.raises(ValueError, match=r"not a number; .* --drop when; make what matters of it"):
            tables.read(data)
        assert tables.read(data, id="when").ids[1] == words[1]
        assert tables.read(data, drop=["when"]).columns == ("x",)


def test_dates_of_frames():
    """Those of pandas are what those of polars are: neither numbers nor words."""
    pd, pl = pytest.importorskip("pandas"), pytest.importorskip("polars")
    days = pd.date_range("2020-01-31", periods=30)
    columns = {
        "day": days,
        "local": days.tz_localize("Europe/Berlin"),
        "span": days - days[0],
        "month": days.to_period("M"),
        "date": [day.date() for day in days],
    }
    frames = [(name, pd.DataFrame({"x": np.arange(30.0), name: column})) for name, column in columns.items()]
    frames += [(name, pl.DataFrame({"x": np.arange(30.0), name: columns[name].to_numpy()})) for name in ("day", "span")]
    for name, frame in frames:
        with pytest.raises(ValueError, match=f"column '{name}' of the frame .*days since the first one"):
            tables.read(frame, categories="one-hot")
        assert tables.read(frame, categories="one-hot", drop=[name]).columns == ("x",)


@pytest.mark.parametrize("spelt", [("True", "False"), ("true", "false"), ("TRUE", "FALSE")])
def test_booleans_of_readers_are_the_words_of_a_text(spelt):
    pd = pytest.importorskip("pandas")
    yes = [True, False, False, True, False, True]
    told = write(
        "b.csv", "\n".join(["x,told", *(f"{i / 4},{spelt[0] if each else spelt[1]}" for i, each in enumerate(yes))])
    )
    table = tables.read(told, categories="one-hot")
    assert sorted(table.columns[1:]) == sorted(f"told={word}" for word in spelt)
    frame = pd.read_csv(told)
    assert frame["told"].dtype == bool
    for each in (frame, frame.astype({"told": "boolean"}), pl.from_pandas(frame)):
        assert_close(tables.read(each, encoding=table.encoding).values, table.values)
    frame = frame.astype({"told": "boolean"})
    frame.loc[1, "told"] = None
    kept = tables.read(frame, encoding=table.encoding, missing="drop")
    assert kept.kept.tolist() == [0, 2, 3, 4, 5]
    assert_close(kept.values, table.values[kept.kept])


def test_frames_of_pandas_with_what_pandas_has(model):
    pd = pytest.importorskip("pandas")
    _, table, rep = model
    frame = pd.DataFrame({"x": [0.5, None], "y": pd.array([1, None], "Int64"), "colour": ["red", None], "id": [7, 8]})
    frame["colour"] = frame["colour"].astype("category")
    out = rep.transform(frame)
    means = table.encoding.means
    assert_close(out.to_numpy()[:, 1:].astype(float), rep.transform(np.array([[0.5, 0, 1, 1], means])))
    assert out["id"].tolist() == [7, 8]
    with pytest.raises(ValueError, match="two columns named 'x'"):
        rep.transform(frame.rename(columns={"y": "x"}))
    with pytest.raises(ValueError, match="is empty: it has 0 rows"):
        rep.transform(frame.iloc[:0])
    with pytest.raises(ValueError, match=r"the frame: row 2, column 'colour' is 'green', which was not there"):
        rep.transform(frame.assign(colour=["red", "green"]))


def test_the_estimator_on_frames(model):
    pytest.importorskip("sklearn")
    pd = pytest.importorskip("pandas")
    x = sslcore.datasets.half_moons(30, seed=0)
    options = {"n_components": 2, "reg": 1e-3}
    expected = sslcore.SSLEmbedding(**options).fit(x).transform(x)
    for frame in (pd.DataFrame(x, columns=["a", "b"]), pl.DataFrame(x, schema=["a", "b"])):
        embedding = sslcore.SSLEmbedding(**options).fit(frame)
        assert embedding.feature_names_in_.tolist() == ["a", "b"]
        assert_close(embedding.transform(frame), expected)
        for container in ("pandas", "polars"):
            out = embedding.set_output(transform=container).transform(frame)
            assert type(out).__module__.startswith(container)
            assert list(out.columns) == ["sslembedding0", "sslembedding1"]
            assert_close(out.to_numpy(), expected)


# ---------------------------------------------------------------- models


def test_the_encoding_is_saved(model):
    frame, table, rep = model
    rep.save("m.npz")
    loaded = sslcore.load("m.npz")
    loaded.table.check(4)
    assert loaded.table.coordinates == table.columns
    assert loaded.transform(frame).equals(rep.transform(frame))
    dataclasses.replace(rep, table=None).save("plain.npz")
    assert sslcore.load("plain.npz").table is None
    for broken in (
        {"columns": ["x", "y"]},
        {"columns": ["x", "x", "colour"]},
        {"columns": []},
        {"columns": [1, 2, 3]},
        {"categories": {"colour": ["red", "red"]}},
        {"categories": {"other": ["red"]}},
        {"categories": {"colour": []}},
        {"means": None},
        {"means": np.zeros(3)},
        {"means": np.array([0, 1, np.nan, 2])},
        {"missing": "zero"},
        {"id": 5},
    ):
        dataclasses.replace(rep, table=dataclasses.replace(rep.table, **broken)).save("broken.npz")
        with pytest.raises(ValueError, match="it is damaged: the table's columns"):
            sslcore.load("broken.npz")


# ---------------------------------------------------------------- the command line


def run(capsys, *argv):
    assert cli.main([*argv, "--json"]) == 0, capsys.readouterr().err
    return json.loads(capsys.readouterr().out)


def refused(capsys, *argv):
    assert cli.main(list(argv)) == 2
    return capsys.readouterr().err


FIT = ["--augment", "gaussian-noise:0.1", "--kernel", "gaussian:1", "--reg", "1e-3", "--components", "3", "--no-figure"]
READ = ["--categories", "one-hot", "--missing", "mean", "--id", "id", "--drop", "class"]


def moons(n, seed, suffix=".csv", name="a"):
    x, y = sslcore.datasets.half_moons(n, seed=seed), np.arange(n) % 2
    columns = {"id": [f"s{i}" for i in range(n)], "x": x[:, 0].tolist(), "y": x[:, 1].tolist()}
    columns |= {"colour": ["red" if a > 0 else "blue" for a in x[:, 0]], "class": [f"c{i}" for i in y]}
    columns["x"][3] = None
    frame = pl.DataFrame(columns)
    path = f"{name}{suffix}"
    {".csv": frame.write_csv, ".parquet": frame.write_parquet, ".arrow": frame.write_ipc}[suffix](path)
    return path


READERS = {".csv": pl.read_csv, ".parquet": pl.read_parquet, ".arrow": pl.read_ipc}


@pytest.mark.parametrize("suffix", [".csv", ".parquet", ".arrow"])
def test_commands_on_a_table_of_everything(capsys, suffix):
    """fit, transform and probe: ids, categories and means go with the model, and a table comes out as one went in."""
    path, new = moons(40, 0, suffix), moons(10, 1, suffix, "new")
    found = run(capsys, "fit", path, *READ, *FIT)
    assert found["columns"] == ["x", "y", "colour=blue", "colour=red"]
    assert any(
        "the mean of its column is in each cell without a value, in 1 of 40 rows" in note for note in found["notes"]
    )
    fitted, rep = READERS[suffix](f"a-embedding{suffix}"), sslcore.load("a-model.npz")
    assert fitted.columns == ["id", "component_1", "component_2", "component_3"]
    assert fitted["id"].to_list() == [f"s{i}" for i in range(40)]
    table = tables.read(path, encoding=rep.table)
    assert_close(fitted.drop("id").to_numpy(), rep.transform(table.values, "probe"))
    assert_close(rep.transform(READERS[suffix](path), "probe").drop("id").to_numpy(), fitted.drop("id").to_numpy())
    run(capsys, "transform", "a-model.npz", new, "--out", f"z{suffix}")
    z = READERS[suffix](f"z{suffix}")
    assert z["id"].to_list() == [f"s{i}" for i in range(10)]
    run(capsys, "transform", "a-model.npz", new, "--id", "id")
    assert READERS[suffix](f"new-embedding{suffix}").equals(z)
    run(capsys, "transform", "a-model.npz", new, "--out", "z.npy")
    assert_close(np.load("z.npy"), z.drop("id").to_numpy())
    probed = run(
        capsys, "probe", "a-model.npz", path, f"{path}:class", "--drop", "class", "--predict", new, "--out", "p.csv"
    )
    assert (probed["n"], probed["task"]) == (40, "classification")
    predicted = pl.read_csv("p.csv")
    assert predicted.columns == ["id", "prediction", "score_c0", "score_c1"]
    assert predicted["id"].to_list() == [f"s{i}" for i in range(10)]


def test_dropped_rows_keep_track(capsys):
    path = moons(40, 0)
    words = [*READ[:2], "--missing", "drop", *READ[4:]]
    found = run(capsys, "fit", path, *words, *FIT, "--color", "class")
    assert found["n"] == 39
    assert "left out, for cells without a value: 1 of 40 rows (row 4; --missing drop)" in found["notes"]
    assert "s3" not in pl.read_csv("a-embedding.csv")["id"].to_list()
    probed = run(capsys, "probe", "a-model.npz", path, f"{path}:class", "--drop", "class")
    assert (probed["n"], probed["counts"]) == (39, [20, 19])
    labelled = ["--positives", "labels:class", "--missing", "drop", "--drop", "id,colour"]
    found = run(capsys, "fit", path, *labelled, *FIT[2:], "--out", "b")
    assert found["n"] == 39
    run(capsys, "transform", "b-model.npz", path, "--out", "z.csv")
    rows = pl.read_csv("z.csv")["row"].to_list()
    assert rows == [i + 1 for i in range(40) if i != 3]


def test_several_files(capsys):
    whole = pl.read_csv(moons(40, 0))
    for i in range(2):
        whole[20 * i : 20 * i + 20].write_csv(f"part-{i}.csv")
    one = run(capsys, "fit", "a.csv", *READ, *FIT)
    for files in (["part-0.csv", "part-1.csv"], ["part-*.csv"]):
        several = run(capsys, "fit", *files, *READ, *FIT, "--out", f"several{len(files)}")
        assert several["eigenvalues"] == one["eigenvalues"]
        run(capsys, "transform", "a-model.npz", *files, "--out", "z.csv")
        assert Path("z.csv").read_bytes() == Path("a-embedding.csv").read_bytes()
    probed = run(capsys, "probe", "a-model.npz", "part-*.csv", "part-*.csv:class", "--drop", "class")
    assert (
        probed["accuracy"] == run(capsys, "probe", "a-model.npz", "a.csv", "a.csv:class", "--drop", "class")["accuracy"]
    )


def test_commands_that_are_refused(capsys):
    path = moons(40, 0)
    err = refused(capsys, "fit", path, *FIT, "--drop", "class", "--id", "id")
    assert "column 'colour' is 'blue', not a number" in err or "column 'colour' is 'red', not a number" in err
    assert "--categories one-hot" in err
    assert len(err.strip().splitlines()) == 1
    assert "--missing mean" in refused(capsys, "fit", path, *FIT, "--drop", "class,colour,id")
    assert sorted(p.name for p in Path().iterdir()) == [path]  # nothing is half-written
    run(capsys, "fit", path, *READ, *FIT)
    new = pl.read_csv(path).with_columns(colour=pl.lit("green"))
    new.write_csv("new.csv")
    err = refused(capsys, "transform", "a-model.npz", "new.csv", "--out", "z.csv")
    assert "new.csv: row 1 (line 2), column 'colour' is 'green', which was not there" in err
    assert "--unseen zeros" in err
    assert not Path("z.csv").exists()
    run(capsys, "transform", "a-model.npz", "new.csv", "--out", "z.csv", "--unseen", "zeros")
    no_id = [*READ[:4], "--drop", "class,id"]
    assert "a-embedding.csv" in refused(capsys, "fit", path, *no_id, *FIT)
    run(capsys, "fit", path, *no_id, *FIT, "--overwrite")
    assert sorted(p.name for p in Path().glob("a-emb*")) == ["a-embedding.npy"]  # one of the two is not this model's
    run(capsys, "transform", "a-model.npz", "new.csv", "--unseen", "zeros", "--out", "mine.csv")
    Path("mine.csv").rename("a-embedding.csv")  # of no fit: what is made again deletes nothing else
    run(capsys, "fit", path, *no_id, *FIT)
    assert Path("a-embedding.csv").exists()
    assert "--missing is for" in refused(capsys, "fit", "v-*.npy", "--features", "identity", "--missing", "drop")
    assert "must end in .npy, .csv" in refused(capsys, "transform", "a-model.npz", "new.csv", "--out", "z.xlsx")


@pytest.mark.parametrize("named", [True, False])
def test_a_model_without_means_has_none_for_new_files(capsys, named):
    """A row's value would depend on the other rows of its file, and a column of one word be 1 everywhere."""
    x = sslcore.datasets.half_moons(40, seed=0)
    if named:
        path, new = "p.csv", "new.csv"
        pl.DataFrame(x, schema=["x", "y"]).write_csv(path)
        Path(new).write_text("x,y\n0.5,\n1,2\n")
        Path("u.csv").write_text("x,y\n0.5,u\n1,u\n")
    else:
        path, new = "p.npy", "new.npy"
        np.save(path, x)
        np.save(new, np.array([[0.5, np.nan], [1, 2]]))
    run(capsys, "fit", path, *FIT)
    err = refused(capsys, "transform", "p-model.npz", new, "--missing", "mean")
    assert "has no means of its columns: say --missing drop, or fit it with --missing mean" in err
    assert run(capsys, "transform", "p-model.npz", new, "--missing", "drop", "--out", "z.npy")["shape"] == [1, 3]
    if named:
        err = refused(capsys, "transform", "p-model.npz", "u.csv", "--categories", "one-hot")
        assert "row 1 (line 2), column 'y' is 'u', not a number" in err


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"header": "maybe"}, ValueError, "header must be one of 'auto', 'yes', 'no', found 'maybe'"),
        ({"drop": "a"}, TypeError, "drop must be a sequence of names of columns, such as .'a'., found 'a'"),
        ({"drop": 3}, TypeError, "drop must be a sequence of names"),
        ({"encoding": 3}, TypeError, "encoding must be table.encoding of an earlier table, or rep.table, found 3"),
    ],
)
def test_options_of_read_that_are_none(tmp_path, options, error, words):
    path = tmp_path / "a.csv"
    path.write_text("a,b\n1,2\n")
    with pytest.raises(error, match=words):
        tables.read(path, **options)
    if "header" in options:
        with pytest.raises(error, match=words):
            tables.labels(f"{path}:a", **options)
