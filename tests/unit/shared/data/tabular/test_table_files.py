"""Rows of tables: how files may be written, what is cut, left out and named."""

import numpy as np
import pytest
from sensors_bench import LINES, SCHEMA, rising, write_table

from edgeveil.shared.base.errors import DataError
from edgeveil.shared.data import kinds, probe
from edgeveil.shared.data.left_out import Reason
from edgeveil.shared.data.tabular.schema import TableSchema

SPELLINGS = {
    "plain": LINES.encode(),
    "windows line ends": LINES.replace("\n", "\r\n").encode(),
    "old line ends": LINES.replace("\n", "\r").encode(),
    "a mark": b"\xef\xbb\xbf" + LINES.encode(),
    "utf-16": LINES.encode("utf-16"),
    "no last line end": LINES.rstrip("\n").encode(),
    "quotes": LINES.replace("ok", '"ok"').replace("20,", '"20",').encode(),
    "blanks and empty lines": LINES.replace(",", " , ").replace("\n", "\n\n").encode(),
    "more columns, in another order": b'note,state,load,temp\n,ok,50,20\n"a, ""b\n",fault,100,85\nx,ok,0,-40\n',
}


def read(folder):
    probe.probe(folder)
    schema = kinds.infer(folder)
    assert probe.count_records(folder) >= len(schema.read(folder).targets)
    return schema.read(folder)


@pytest.mark.parametrize("written", SPELLINGS)
def test_one_table_in_many_spellings_is_one_table(written, tmp_path):
    found = read(write_table(tmp_path / "d", SPELLINGS[written]))
    assert found.values.tolist() == [[20, 50], [85, 100], [-40, 0]]
    assert found.targets.tolist() == [0, 1, 0]
    assert found.left == ()
    assert found.clipped == ()


@pytest.mark.parametrize(
    ("top", "lines"),
    [
        ('separator = ";"\n', LINES.replace(",", ";")),
        ('separator = "\\t"\n', LINES.replace(",", "\t")),
        ('separator = "|"\n', LINES.replace(",", "|")),
        (
            'separator = ";"\ndecimal = ","\n',
            LINES.replace(",", ";").replace("20;50", "20,0;5,0e1"),
        ),
        ("header = false\n", LINES.split("\n", 1)[1]),
        ("skip_lines = 2\n", f"made by a logger\nversion 3\n{LINES}"),
    ],
)
def test_schema_toml_says_how_a_file_is_written(top, lines, tmp_path):
    found = read(write_table(tmp_path / "d", lines, top + SCHEMA))
    assert found.values.tolist() == [[20, 50], [85, 100], [-40, 0]]
    assert found.left == ()


def test_other_encodings_are_read_as_they_are_said_to_be(tmp_path):
    lines = LINES.replace("temp", "Temp °C").encode("cp1252")
    schema = 'encoding = "cp1252"\n' + SCHEMA.replace('"temp"', '"temp"\nheader = "Temp °C"')
    assert len(read(write_table(tmp_path / "d", lines, schema)).targets) == 3


@pytest.mark.parametrize(
    ("line", "reason", "words"),
    [
        ("nan,50,ok", Reason.MISSING, "has no value in temp"),
        (",50,ok", Reason.MISSING, "has no value in temp"),
        ("n/a,50,ok", Reason.MISSING, "has no value in temp"),
        ("=A1+1,50,ok", Reason.TEXT, "has a formula in temp: '=A1+1'"),
        ("warm,50,ok", Reason.TEXT, "has text in temp: 'warm'"),
        ("1_000,50,ok", Reason.TEXT, "has text in temp"),
        ("١٢,50,ok", Reason.TEXT, "has text in temp"),
        ("inf,50,ok", Reason.VALUES, "has 'inf' in temp"),
        ("20,-1e999,ok", Reason.VALUES, "has '-1e999' in load"),
        ("20,50", Reason.RAGGED, "has 2 fields, the first line has 3"),
        ("20,50,ok,", Reason.RAGGED, "has 4 fields"),
        ('20,50,"ok', Reason.RAGGED, "a quote that is not closed"),
        ("9" * 70_000 + ",50,ok", Reason.RAGGED, "too long"),
        ("20,50,OK", Reason.LABEL, "has the label 'OK', not one of ok, fault"),
    ],
)
def test_a_line_that_cannot_be_used_is_left_out_and_named_and_no_other(
    line, reason, words, tmp_path
):
    lines = LINES + line + "\n" + rising(3)
    found = read(write_table(tmp_path / "d", lines))
    assert found.values[:, 0].tolist() == [20, 85, -40, 0, 1, 2]
    (left,) = found.left
    assert left.reason is reason
    assert left.sentence.startswith("a.csv: line 5 ")
    assert words in left.sentence


def test_values_beyond_the_range_are_cut_and_counted_and_many_of_them_advise(tmp_path):
    lines = "temp,load,state\n" + "900,50,ok\n" * 7 + "20,101,ok\n"
    found = read(write_table(tmp_path / "d", lines))
    assert found.clipped == (("temp", 7), ("load", 1))
    assert found.values.max(axis=0).tolist() == [85, 100]
    assert "most values in temp lie outside" in found.advice
    assert "load" not in found.advice


def test_a_missing_value_can_be_a_public_constant(tmp_path):
    schema = SCHEMA.replace("range = [0, 100]", "range = [0, 100]\nmissing = 25")
    found = read(write_table(tmp_path / "d", LINES + "1,,ok\n", schema))
    assert found.values[3].tolist() == [1, 25]


def test_a_target_is_a_number_of_each_record(tmp_path):
    schema = SCHEMA.replace('unit = "%"', 'unit = "%"\nrole = "target"')
    folder = write_table(tmp_path / "d", schema=schema)
    assert kinds.infer(folder) == TableSchema(("temp [°C]",), ("ok", "fault"), "load [%]")
    assert read(folder).numbers.tolist() == [50, 100, 0]


def test_files_are_read_in_the_order_of_their_names_and_others_are_named(tmp_path):
    folder = write_table(tmp_path / "d", name="b.csv")
    write_table(folder, "temp,load,state\n1,1,ok\n", name="a.TSV")
    (folder / "notes.pdf").touch()
    (folder / "old").mkdir()
    (folder / ".hidden.csv").touch()
    found = read(folder)
    assert found.values[:, 0].tolist() == [1, 20, 85, -40]
    assert [(each.reason, each.name.split("/")[-1]) for each in found.left] == [
        (Reason.KIND, "notes.pdf"),
        (Reason.KIND, "old"),
    ]


def test_one_file_is_read_with_the_schema_beside_it(tmp_path):
    folder = write_table(tmp_path / "d")
    write_table(folder, name="b.csv")
    assert len(read(folder / "b.csv").targets) == 3


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        (
            "temp,state\n1,ok\n",
            "the column 'load' of schema.toml is not in this file, which has temp, state",
        ),
        ("", "no line that names its columns"),
        ("temp,load,state\n", "holds no row"),
    ],
)
def test_what_is_wrong_with_a_whole_file_stops_at_the_start(lines, words, tmp_path):
    with pytest.raises(DataError, match=words):
        probe.probe(write_table(tmp_path / "d", lines))


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("range = [-40, 85]", "", "range = .low, high. is missing"),
        ("range = [-40, 85]", "range = [85, -40]", "no range"),
        ("range = [-40, 85]", "range = [-40, 85]\nmissing = 90", "outside of range"),
        (
            "range = [-40, 85]",
            "rnge = [-40, 85]",
            "columns.0.rnge: unknown key; did you mean .range",
        ),
        ('labels = ["ok", "fault"]', "", "lists its classes"),
        ('labels = ["ok", "fault"]', 'labels = ["ok", "ok"]', "listed twice"),
        ('name = "load"', 'name = "temp"', "named twice"),
        ('role = "label"', 'role = "labels"', "columns.2.role"),
        ('[[columns]]\nname = "temp"', 'decimal = ","\n[[columns]]\nname = "temp"', "both ','"),
        ('[[columns]]\nname = "temp"', 'gap = 1.0\n[[columns]]\nname = "temp"', "gap belongs"),
        ('[[columns]]\nname = "temp"', 'window = 1\n[[columns]]\nname = "temp"', "at least 2 rows"),
        ('unit = "%"', 'unit = "%"\ntype = "text"', "has the type number"),
    ],
)
def test_every_mistake_in_schema_toml_is_named_with_its_place(old, new, words, tmp_path):
    folder = write_table(tmp_path / "d", schema=SCHEMA.replace(old, new, 1))
    with pytest.raises(DataError, match=words) as caught:
        probe.probe(folder)
    assert str(folder / "schema.toml") in str(caught.value)


def test_a_file_without_a_schema_is_told_how_to_get_one(tmp_path):
    folder = write_table(tmp_path / "d")
    (folder / "schema.toml").unlink()
    for path in (folder, folder / "a.csv"):
        with pytest.raises(DataError, match="agent data schema"):
            probe.probe(path)


def test_columns_that_were_fixed_otherwise_are_not_read(tmp_path):
    folder = write_table(tmp_path / "d")
    pinned = kinds.infer(folder)
    write_table(folder, schema=SCHEMA.replace('unit = "%"', 'unit = "W"'))
    with pytest.raises(DataError, match="were fixed as"):
        pinned.read(folder)


OWN = TableSchema(("a [g]", "b"), ("x", "y"), "t", 10, 5)


@pytest.mark.parametrize(
    ("asked", "fits"),
    [
        (TableSchema(("a [g]", "b"), ("x", "y"), "t", 10, 5), True),
        (TableSchema(("b",), ("z", "y", "x"), "", 10), True),
        (TableSchema(("b", "a [g]"), (), "t", 10), True),
        (TableSchema(("a",), (), "", 10), False),  # another unit
        (TableSchema(("b",), ("x",), "", 10), False),
        (TableSchema(("b",), (), "u", 10), False),
        (TableSchema(("b",), (), "", 11), False),
        (TableSchema(("b",), (), "", 0), False),
    ],
)
def test_a_plan_fits_whose_columns_target_window_and_classes_are_there(asked, fits):
    assert OWN.fits(asked) is fits


def test_a_plan_for_classes_does_not_fit_records_without():
    assert not TableSchema(("a",)).fits(TableSchema(("a",), ("x",)))


def test_arrays_are_read_by_the_same_schema(tmp_path):
    folder = write_table(tmp_path / "d")
    (folder / "a.csv").unlink()
    raw = np.array([[20, 50], [900, 50], [np.nan, 1], [1, 1]])
    np.savez(folder / "a.npz", X=raw, y=np.array([0, 1, 1, 7]))
    found = read(folder)
    assert found.values.tolist() == [[20, 50], [85, 50]]
    assert found.clipped == (("temp", 1),)
    assert [each.sentence for each in found.left] == [
        "a.npz: record 2 has a value that is missing or not finite",
        "a.npz: record 3 has a label outside 0 to 1",
    ]
    np.savez(folder / "a.npz", X=raw[:, :1], y=np.arange(4))
    with pytest.raises(DataError, match=r"X has shape \(4, 1\)"):
        probe.probe(folder)


def test_the_raw_records_are_the_lines_without_the_first(tmp_path):
    found = list(probe.raw_records(write_table(tmp_path / "d")))
    assert found == [b"20,50,ok\n", b"85,100,fault\n", b"-40,0,ok\n"]


def test_of_a_large_file_a_share_of_the_lines_is_given_and_growing_keeps_many_of_them(
    tmp_path, monkeypatch
):
    monkeypatch.setattr("edgeveil.shared.data.tabular.lines.WHOLE", 10_000)
    head = "temp,load,state\n"
    folder = write_table(tmp_path / "d", head + rising(2_000))
    some = list(probe.raw_records(folder))
    assert 300 < len(some) < 700  # one in four of 2,000 lines
    assert some == list(probe.raw_records(folder))
    write_table(folder, head + rising(4_000))
    more = set(probe.raw_records(folder))
    assert more.issuperset(some) or len(more.intersection(some)) > 0.3 * len(some)
    assert set(rising(4_000).encode().splitlines(keepends=True)) >= more
