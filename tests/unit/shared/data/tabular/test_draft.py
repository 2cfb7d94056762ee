"""A first schema.toml: what it says of files in many spellings, and that an owner can complete it."""

import re
import tomllib

import numpy as np
import pytest
from sensors_bench import write_table

from edgeveil.shared.base.errors import DataError
from edgeveil.shared.data import kinds
from edgeveil.shared.data.tabular.draft import draft

ROWS = [
    ("2026-01-31 12:00:00", "ann", 1.5, 20, "walk"),
    ("2026-01-31 12:00:01", "ann", 2.5, 21, "run"),
]
HEAD = ("time", "subject", "ax [g]", "temp", "activity")


def written(folder, separator=",", decimal="."):
    rows = [[str(cell).replace(".", decimal) for cell in row] for row in ROWS]
    lines = "\n".join(separator.join(row) for row in [list(HEAD), *rows])
    write_table(folder, lines, "")
    return folder


@pytest.mark.parametrize(
    ("separator", "decimal"), [(",", "."), (";", ","), ("\t", "."), ("|", ",")]
)
def test_columns_get_the_role_that_name_and_values_suggest(separator, decimal, tmp_path):
    text = draft(written(tmp_path / "d", separator, decimal))
    found = tomllib.loads(text)
    assert (found["separator"], found["decimal"]) == (separator, decimal)
    roles = [(each["name"], each["role"]) for each in found["columns"]]
    assert roles == [
        ("time", "time"), ("subject", "group"), ("ax", "feature"), ("temp", "feature"), ("activity", "label"),
    ]  # fmt: skip
    assert (found["columns"][2]["header"], found["columns"][2]["unit"]) == ("ax [g]", "g")
    assert found["columns"][4]["labels"] == ["run", "walk"]
    assert "# here from 1.5 to 2.5; 0 without a value" in text


def test_no_range_is_taken_from_the_values_and_reading_waits_for_one(tmp_path):
    folder = written(tmp_path / "d")
    text = draft(folder)
    assert "range" not in str(tomllib.loads(text))
    (folder / "schema.toml").write_text(text)
    with pytest.raises(DataError, match=r"the column 'ax': range = .* from its data sheet"):
        kinds.infer(folder)
    (folder / "schema.toml").write_text(re.sub(r"# range = .*", "range = [-50, 50]", text))
    found = kinds.infer(folder).read(folder)
    assert found.values.tolist() == [[1.5, 20], [2.5, 21]]


def test_a_file_without_a_first_line_is_refused(tmp_path):
    with pytest.raises(DataError, match="names its columns"):
        draft(write_table(tmp_path / "d", ""))
    (tmp_path / "d" / "a.csv").unlink()
    with pytest.raises(DataError, match=r"no \.csv"):
        draft(tmp_path / "d")


def test_hostile_names_of_columns_stay_text(tmp_path):
    lines = '"a""]\n[x]",\x07b,"' + "'''" + '"\n1,2,3\n'
    found = tomllib.loads(draft(write_table(tmp_path / "d", lines, "")))
    assert len(found["columns"]) == 3
    assert set(found) == {"separator", "decimal", "columns"}


def test_a_file_of_an_old_spreadsheet_is_read_in_its_own_encoding(tmp_path):
    lines = "Temp °C;Zustand\n1,5;läuft\n2,5;steht\n".encode("cp1252")
    folder = write_table(tmp_path / "d", lines, "")
    found = tomllib.loads(draft(folder))
    assert (found["encoding"], found["separator"], found["decimal"]) == ("cp1252", ";", ",")
    assert found["columns"][0]["name"] == "Temp °C"
    assert found["columns"][1]["labels"] == ["läuft", "steht"]


def test_no_name_of_a_file_gets_out_of_its_comment(tmp_path):
    folder = write_table(tmp_path / "d", "a,b\n1,2\n", "", name="x\nseparator = 7\n.csv")
    assert tomllib.loads(draft(folder))["separator"] == ","


def test_no_mutation_of_a_file_makes_a_draft_that_is_no_toml(tmp_path):
    random = np.random.default_rng(5)
    whole = b"time;ax [g];temp;state\n1;1,5;20;on\n2;2,5;21;off\n"
    for turn in range(150):
        mutated = bytearray(whole)
        for _ in range(4):
            mutated[int(random.integers(len(mutated)))] = int(random.integers(256))
        folder = write_table(tmp_path / str(turn), bytes(mutated), "")
        try:
            tomllib.loads(draft(folder))
        except DataError:
            continue


def test_classes_are_taken_from_all_files_as_often_one_recording_has_one(tmp_path):
    folder = write_table(tmp_path / "d", "ax (m/s²),activity\n1,walk\n2,walk", "")
    (folder / "b.csv").write_text("ax (m/s²),activity\n3,run\n4,run")
    (folder / "c.csv").write_text("other,columns,here\n3,swim,1")
    text = draft(folder)
    found = tomllib.loads(text)["columns"]
    assert (found[0]["name"], found[0]["unit"], found[0]["header"]) == ("ax", "m/s²", "ax (m/s²)")
    assert found[1]["labels"] == ["run", "walk"]
    assert "# here from 1 to 4; 0 without a value" in text


def test_a_column_that_is_not_used_says_why(tmp_path):
    names = "".join(
        f"{at},x,,word{at},{'ab'[at % 2]},{'ok' if at % 2 else 'bad'}\n" for at in range(60)
    )
    text = draft(write_table(tmp_path / "d", "t,site,spare,note,state,label\n" + names, ""))
    columns = {each["name"]: each["role"] for each in tomllib.loads(text)["columns"]}
    assert [name for name, role in columns.items() if role == "ignore"] == [
        "site", "spare", "note", "label",
    ]  # fmt: skip
    assert re.findall(r"# not used because (.*)", text) == [
        "it says the same in every line",
        "no line that was looked at has a value in it",
        "it holds text, of more than 50 kinds: too many for a label",
        "another column is the label already",
    ]
