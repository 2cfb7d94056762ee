"""Parquet beside a schema.toml: the same records as a text file with the same values, by the same rules."""

import datetime as dt
import sys
import tomllib

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet
from sensors_bench import LINES, SCHEMA, rising, windows_of, write_table

from edgeveil.shared.base.errors import DataError, NotInstalled
from edgeveil.shared.data import kinds, probe
from edgeveil.shared.data.left_out import Reason, total
from edgeveil.shared.data.tabular import parquet as reader
from edgeveil.shared.data.tabular.draft import draft

GOOD = {"temp": [20.0, 85.0, -40.0], "load": [50, 100, 0], "state": ["ok", "fault", "ok"]}
MOMENTS = [dt.datetime(2026, 1, 31, 12, 0, at, tzinfo=dt.UTC) for at in (0, 1, 9, 10)]
TIMED = SCHEMA + '\n[[columns]]\nname = "t"\nrole = "time"\ntype = "timestamp"\n'


def write(folder, columns, schema=SCHEMA, name="a.parquet", **options):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "schema.toml").write_text(schema)
    parquet.write_table(pa.table(columns), folder / name, **options)
    return folder


def read(folder):
    probe.probe(folder)
    schema = kinds.infer(folder)
    found = schema.read(folder)
    assert probe.count_records(folder) == len(found.targets) + total(found.left)
    return found


TYPES = {
    "plain": {},
    "small numbers": {"temp": pa.array([20, 85, -40], pa.int8()), "load": pa.array([50, 100, 0], pa.uint16())},
    "floats of 32 bits": {"temp": pa.array(GOOD["temp"], pa.float32())},
    "decimals": {"temp": pa.array(["20.00", "85.00", "-40.00"]).cast(pa.decimal128(6, 2))},
    "a dictionary of texts": {"state": pa.array(GOOD["state"]).dictionary_encode()},
    "long texts": {"state": pa.array(GOOD["state"], pa.large_string())},
    "columns that nobody named, of any type": {"note": [[1], None, [2, 3]], "raw": [b"\xff", b"", None]},
}  # fmt: skip


@pytest.mark.parametrize("kind", TYPES)
@pytest.mark.parametrize("options", [{}, {"compression": "zstd", "row_group_size": 2, "use_dictionary": False}])  # fmt: skip
def test_values_of_many_types_are_the_records_of_the_text_file(kind, options, tmp_path):
    found = read(write(tmp_path / "d", GOOD | TYPES[kind], **options))
    same = read(write_table(tmp_path / "text", LINES))
    assert np.array_equal(found.values, same.values)
    assert np.array_equal(found.targets, same.targets)
    assert found.left == same.left == ()


WRONG = {
    "text for a number": ({"temp": ["20", "85", "-40"]}, "'temp' holds string; a feature takes numbers"),
    "truth for a number": ({"load": [True, False, True]}, "'load' holds bool"),
    "a list": ({"temp": [[20.0], [85.0], [-40.0]]}, "'temp' holds list"),
    "bytes for a class": ({"state": [b"ok", b"ok", b"ok"]}, "'state' holds binary; a label takes text or"),
    "a fraction of a day for a class": ({"state": MOMENTS[:3]}, "'state' holds timestamp"),
}  # fmt: skip


@pytest.mark.parametrize("kind", WRONG)
def test_a_column_of_a_type_that_its_role_does_not_take_is_named(kind, tmp_path):
    columns, said = WRONG[kind]
    folder = write(tmp_path / "d", GOOD | columns)
    with pytest.raises(DataError, match=said):
        probe.probe(folder)
    with pytest.raises(DataError, match=said):
        kinds.infer(folder).read(folder)


def test_a_column_that_is_not_there_is_named(tmp_path):
    folder = write(tmp_path / "d", {"temp": [1.0], "state": ["ok"]})
    with pytest.raises(DataError, match=r"'load' of schema\.toml is not in this file"):
        probe.probe(folder)


def test_missing_and_odd_values_are_left_out_or_cut_as_in_a_text_file(tmp_path):
    columns = {
        "temp": [None, np.nan, np.inf, 99.0, 1.0, 2.0],
        "load": [1, 1, 1, 1, 1, None],
        "state": ["ok", "ok", "ok", "ok", "other", "ok"],
    }
    found = read(write(tmp_path / "d", columns))
    assert [(each.reason, each.why) for each in found.left] == [
        (Reason.VALUES, "line 3 has 'inf' in temp"),
        (Reason.MISSING, "line 1 has no value in temp"),
        (Reason.MISSING, "line 2 has no value in temp"),
        (Reason.MISSING, "line 6 has no value in load"),
        (Reason.LABEL, "line 5 has the label 'other', not one of ok, fault"),
    ]
    assert found.values.tolist() == [[85, 1]]
    assert found.clipped == (("temp", 1),)


def test_windows_end_where_time_does_not_go_on_and_files_of_both_kinds_lie_together(tmp_path):
    schema = windows_of(2, more="gap = 5.0\n", columns=TIMED)
    columns = {"temp": [1.0, 2, 3, 4], "load": [0] * 4, "state": ["ok"] * 4}
    folder = write(tmp_path / "d", columns | {"t": pa.array(MOMENTS, pa.timestamp("ns", "Asia/Kolkata"))}, schema)  # fmt: skip
    text = "temp,load,state,t\n7,0,ok,2026-01-31 12:00:00\n8,0,ok,2026-01-31 12:00:01\n"
    (folder / "b.csv").write_text(text)
    assert read(folder).values[:, :, 0].tolist() == [[1, 2], [3, 4], [7, 8]]


def test_another_spelling_in_schema_toml_is_of_the_text_files_alone(tmp_path):
    schema = f'separator = ";"\ndecimal = ","\nskip_lines = 1\n\n{SCHEMA}'
    assert read(write(tmp_path / "d", GOOD, schema)).values.tolist() == [[20, 50], [85, 100], [-40, 0]]  # fmt: skip


def test_raw_records_are_the_named_columns_of_each_row_and_change_with_them(tmp_path):
    folder = write(tmp_path / "d", GOOD | {"note": ["a", "b", "c"]})
    first = list(probe.raw_records(folder))
    assert first == [b"20.0\x1f50\x1fok", b"85.0\x1f100\x1ffault", b"-40.0\x1f0\x1fok"]
    write(folder, GOOD | {"temp": [20.0, 85.0, -39.0]})
    assert list(probe.raw_records(folder))[:2] == first[:2]
    assert list(probe.raw_records(folder))[2] != first[2]


def test_a_first_schema_takes_roles_from_types_and_can_be_completed(tmp_path):
    columns = {"time": MOMENTS, "temp": [1.5, 2, None, 4], "code": ["1", "2", "3", "4"], "state": list("abab")}  # fmt: skip
    folder = write(tmp_path / "d", columns, "")
    text = draft(folder)
    found = tomllib.loads(text)
    assert "separator" not in found
    roles = {each["name"]: each["role"] for each in found["columns"]}
    assert roles == {"time": "time", "temp": "feature", "code": "ignore", "state": "label"}
    assert found["columns"][0]["type"] == "timestamp"
    (folder / "schema.toml").write_text(text.replace("# range = [, ]", "range = [0, 9]"))
    assert read(folder).values.tolist() == [[1.5], [2], [4]]


def test_without_pyarrow_it_is_said_what_to_install(tmp_path, monkeypatch):
    folder = write(tmp_path / "d", GOOD)
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(NotInstalled, match=r"edgeveil\[parquet\]") as found:
        probe.probe(folder)
    assert found.value.exit_code == 69
    (folder / "a.parquet").unlink()
    (folder / "a.csv").write_text(LINES)
    assert len(read(folder).targets) == 3


def test_a_small_file_that_unpacks_to_endless_rows_is_refused_unread(tmp_path, monkeypatch):
    count = 1_000_000
    columns = {"temp": np.zeros(count), "load": np.zeros(count), "state": ["ok"] * count}
    folder = write(tmp_path / "d", columns, compression="zstd", data_page_size=1 << 26)
    assert probe.probe(folder) is None, "a million rows are few"
    monkeypatch.setattr(reader, "FREE_VALUES", 1_000_000)
    monkeypatch.setattr(reader, "MOST_PER_BYTE", 10)
    with pytest.raises(DataError, match="3000000 values in so small a file"):
        probe.probe(folder)


def test_a_file_of_forty_kilobytes_that_unpacks_to_hundreds_of_megabytes_is_refused_unread(
    tmp_path,
):
    count = 8000  # few values, each of them long, and no dictionary that would hold it once
    columns = {"temp": np.zeros(count), "load": np.zeros(count), "state": ["x" * 30_000] * count}
    options = {"compression": "zstd", "use_dictionary": False, "row_group_size": 1000}
    folder = write(
        tmp_path / "d", columns, data_page_size=1 << 24, write_statistics=False, **options
    )
    assert (folder / "a.parquet").stat().st_size < 60_000
    with pytest.raises(DataError, match=r"2\d{8} bytes unpacked in so small a file"):
        probe.probe(folder)


def test_rows_of_many_groups_come_in_their_order(tmp_path):
    columns = {"temp": np.arange(50.0), "load": np.zeros(50), "state": ["ok"] * 50}
    found = read(write(tmp_path / "d", columns, row_group_size=7))
    assert found.values[:, 0].tolist() == list(range(50))


def test_a_row_group_that_is_too_large_unpacked_is_refused_unread(tmp_path, monkeypatch):
    folder = write(tmp_path / "d", GOOD)
    monkeypatch.setattr(reader, "LARGEST_GROUP", 100)
    with pytest.raises(DataError, match=r"row group 0 is .* write smaller groups"):
        probe.probe(folder)


def test_a_long_text_in_every_row_is_unpacked_once_and_its_rows_are_left_out(tmp_path):
    count = 20_000  # 20 GiB, if each row had its own
    texts = pa.DictionaryArray.from_arrays(np.zeros(count, np.int32), ["x" * (1 << 20)])
    columns = {"temp": np.zeros(count), "load": np.zeros(count), "state": texts}
    options = {"store_schema": False, "dictionary_pagesize_limit": 1 << 22}
    found = kinds.infer(folder := write(tmp_path / "d", columns, **options)).read(folder)
    assert total(found.left) == count
    assert {each.reason for each in found.left} == {Reason.RAGGED}


@pytest.mark.parametrize("compression", ["none", "snappy"])
def test_no_mutation_of_a_file_raises_anything_but_that_it_is_no_data(compression, tmp_path):
    random = np.random.default_rng(10)
    rows = [line.split(",") for line in rising(40).split()]
    columns = {"temp": [float(row[0]) for row in rows], "load": [50] * 40, "state": [row[2] for row in rows]}  # fmt: skip
    folder = write(tmp_path / "d", columns, compression=compression, row_group_size=16)
    good, file = (folder / "a.parquet").read_bytes(), folder / "a.parquet"
    outcomes = set()
    for turn in range(600):
        mutated = bytearray(good)
        for _ in range(int(random.integers(1, 5))):
            mutated[int(random.integers(len(mutated)))] = int(random.integers(256))
        file.write_bytes(mutated[: random.integers(len(good))] if turn % 9 == 0 else mutated)
        try:
            probe.probe(folder)
            found = kinds.infer(folder).read(folder)
        except DataError:
            outcomes.add("refused")
            continue
        outcomes.add("read")
        assert np.isfinite(found.values).all()
    assert outcomes == {"refused", "read"}
