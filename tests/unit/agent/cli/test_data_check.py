"""`agent data check`: what can be used, what is left out and why, in words and as JSON."""

import base64
import html
import io
import json
import os
import re

import numpy as np
import pytest
from catalogue_bench import write_npz, write_png
from PIL import Image
from sensors_bench import LINES, rising, windows_of, write_table
from typer.testing import CliRunner

from edgeveil.agent.cli.app import app
from edgeveil.agent.cli.data import examine, write_sheet
from edgeveil.agent.cli.doctor import diagnose
from edgeveil.agent.home.data import DataShelf
from edgeveil.agent.home.policy import Policy
from edgeveil.agent.home.records.record_policy import DataPolicy, record_policy
from edgeveil.shared.base.errors import ConfigError, DataError
from edgeveil.shared.data.kinds import infer as infer_any
from edgeveil.shared.data.schema import infer
from edgeveil.shared.tasks.backbone import asset
from edgeveil.shared.tasks.backbone import photos as larger


@pytest.fixture(autouse=True)
def no_weights(monkeypatch):
    """As on a device without the extra, by whose presence photos in colours are taken larger."""
    monkeypatch.setattr(asset, "PACKAGE", "weights_that_nobody_has")


@pytest.fixture
def photos(tmp_path):
    root = tmp_path / "photos"
    for at in range(3):
        write_png(root / "cat" / f"{at}.png", np.full((9, 9, 3), at, np.uint8))
    write_png(root / "dog" / "a.png", np.zeros((9, 9, 3), np.uint8))
    (root / "cat" / "broken.jpg").write_text("no picture")
    for at in range(8):
        (root / "dog" / f"{at}.heic").touch()
    write_png(root / "dog" / "more" / "b.png", np.zeros((9, 9), np.uint8))
    return root


def run(home, *arguments):
    return CliRunner().invoke(app, ["data", "check", "--home", str(home), *arguments])


def test_everything_is_counted_by_class_and_by_reason(photos, tmp_path):
    found = json.loads(run(tmp_path / "home", "--data", str(photos), "--json").stdout)
    assert (found["kind"], found["height"], found["width"], found["channels"]) == (
        "images",
        28,
        28,
        3,
    )
    assert found["classes"] == {"cat": 3, "dog": 1}
    assert (found["usable"], found["left_out"]) == (4, 10)
    counts = {entry["reason"]: entry["count"] for entry in found["reasons"]}
    assert counts == {
        "damaged or no picture": 1,
        "another kind of file": 8,
        "in a folder inside a class folder": 1,
    }
    heic = next(entry for entry in found["reasons"] if "another kind" in entry["reason"])
    assert len(heic["first"]) == 2, "the others would say the same of another name"
    assert heic["first"][0].startswith("dog/0.heic: not one of .png, ")
    assert not (tmp_path / "home").exists()


def test_photos_in_colours_are_taken_larger_where_the_weights_are_installed_and_all_fit(
    photos, tmp_path, monkeypatch
):
    monkeypatch.undo()
    found = examine(tmp_path / "home", photos)
    assert (found["height"], found["width"], found["channels"], found["usable"]) == (128, 128, 3, 4)
    monkeypatch.setattr(larger, "MAX_VALUES", 4 * 128 * 128 * 3)
    assert examine(tmp_path / "home", photos)["height"] == 28


def test_more_classes_than_a_policy_holds_are_said_as_a_start_would_say_it(tmp_path):
    for number in range(1001):
        write_png(tmp_path / "many" / f"c{number}" / "0.png", np.zeros((2, 2), np.uint8))
    with pytest.raises(ConfigError) as checked:
        examine(tmp_path / "home", tmp_path / "many")
    with pytest.raises(ConfigError) as started:
        record_policy(infer(tmp_path / "many"))
    assert checked.value.message == started.value.message
    assert "1000" in checked.value.message


def test_the_table_tells_the_same(photos, tmp_path):
    result = run(tmp_path / "home", "--data", str(photos))
    assert result.exit_code == 0, result.output
    for text in (
        "images, 28×28, in colours",
        "cat/broken.jpg: not a picture",
        "dog/more: a folder, with 1",
    ):
        assert text in result.output


def test_what_the_check_counts_is_what_a_start_would_read(photos, tmp_path):
    found, said = examine(tmp_path / "home", photos), []
    DataShelf(photos, said.append, infer(photos)).fill()
    (sentence,) = said
    assert f"data: {found['usable']} usable images" in sentence
    assert f"{found['left_out']} left out" in sentence


def test_a_policy_that_says_what_the_records_are_is_what_they_are_checked_against(photos, tmp_path):
    home = tmp_path / "home"
    home.mkdir()
    policy = Policy(data=DataPolicy(height=8, width=12, labels=("cat", "cow")))
    (home / "policy.toml").write_text(policy.to_toml())
    (home / "agent.toml").write_text(f'data = "{photos}"\n')
    found = examine(home, None)
    assert found["pinned"]
    assert (found["height"], found["width"], found["channels"]) == (8, 12, 1)
    assert found["classes"] == {"cat": 3, "cow": 0}
    reasons = {entry["reason"]: entry for entry in found["reasons"]}
    assert reasons["no class of the task"]["count"] == 1
    assert "'dog' is not a class" in reasons["no class of the task"]["first"][0]


@pytest.mark.parametrize(("value", "advice"), [(255, "divide X by 255"), (np.nan, "not finite")])
def test_an_archive_of_which_nothing_can_be_used_ends_with_65_and_the_remedy(
    value, advice, tmp_path
):
    path = write_npz(tmp_path / "a.npz", X=np.full((4, 8, 8), value, np.float32), y=np.arange(4))
    result = run(tmp_path / "home", "--data", str(path))
    assert isinstance(result.exception, DataError)
    assert result.exception.exit_code == 65
    assert advice in str(result.exception)
    assert "Left out" in result.output


def test_names_of_files_cannot_act_on_the_terminal(tmp_path):
    root = tmp_path / "photos"
    write_png(root / "cat" / "a.png", np.zeros((9, 9), np.uint8))
    (root / "cat" / "\x1b[31m\u202egnp.txt").touch()
    (root / "cat" / os.fsdecode(b"\xff\n.txt")).touch()
    for arguments in ([], ["--json"]):
        result = run(tmp_path / "home", "--data", str(root), *arguments)
        assert result.exit_code == 0, result.exception
        assert not {"\x1b", "\u202e", "\udcff"} & set(result.output)


def test_without_a_folder_it_says_how_to_name_one(tmp_path):
    result = run(tmp_path / "home")
    assert isinstance(result.exception, ConfigError)
    assert "--data PATH" in str(result.exception)


def test_the_doctor_says_that_something_is_left_out(photos, tmp_path):
    findings = diagnose(tmp_path / "home", token=None, data=photos, dataset=None)
    (found,) = [each for each in findings if each.check == "data"]
    assert "5 records, 9 files left out (agent data check)" in found.text


def test_a_table_is_told_with_its_columns_and_what_was_cut(tmp_path):
    folder = write_table(tmp_path / "d", LINES + "99,1,ok\n,1,ok\n")
    found = json.loads(run(tmp_path / "home", "--data", str(folder), "--json").stdout)
    assert (found["kind"], found["columns"]) == ("table", ["temp [°C]", "load [%]"])
    assert found["classes"] == {"ok": 3, "fault": 1}
    assert found["cut_to_range"] == {"temp": 1}
    assert found["reasons"][0]["first"] == ["a.csv: line 6 has no value in temp"]
    shown = run(tmp_path / "home", "--data", str(folder)).stdout
    assert "values cut to this range" in shown


def test_sentences_that_differ_in_a_line_or_a_value_alone_are_not_repeated(tmp_path):
    bad = "".join(f"x{at},1,ok\n" for at in range(9)) + "1,y,ok\n=A1,1,ok\n"
    folder = write_table(tmp_path / "d", LINES + bad)
    found = json.loads(run(tmp_path / "home", "--data", str(folder), "--json").stdout)
    (text,) = found["reasons"]
    assert text["count"] == 11
    assert text["first"] == [
        "a.csv: line 5 has text in temp: 'x0'",
        "a.csv: line 6 has text in temp: 'x1'",
        "a.csv: line 14 has text in load: 'y'",
        "a.csv: line 15 has a formula in temp: '=A1'",
    ]


def test_windows_that_overlap_are_said_to_hold_an_event_twice(tmp_path):
    lines = "temp,load,state\n" + rising(12)
    folder = write_table(tmp_path / "d", lines, windows_of(4, step=2))
    shown = " ".join(run(tmp_path / "home", "--data", str(folder)).stdout.split())
    assert "4 rows of temp [°C], load [%]" in shown
    assert "2 rows of each also in the next: an event stands in two" in shown


def test_a_first_schema_is_written_once_and_replaced_only_by_force(tmp_path):
    folder = write_table(tmp_path / "d")
    (folder / "schema.toml").unlink()
    command = ["data", "schema", str(folder)]
    assert CliRunner().invoke(app, command).exit_code == 0
    first = (folder / "schema.toml").read_text()
    assert 'labels = ["fault", "ok"]' in first
    again = CliRunner().invoke(app, command)
    assert isinstance(again.exception, ConfigError)
    assert CliRunner().invoke(app, [*command, "--force"]).exit_code == 0


def test_the_policy_holds_what_a_table_is_and_reads_it_back(tmp_path):
    schema = infer_any(write_table(tmp_path / "d", schema=windows_of(4)))
    policy = Policy(data=record_policy(schema))
    path = tmp_path / "policy.toml"
    path.write_text(policy.to_toml())
    assert Policy.load(path) == policy
    assert Policy.from_json(policy.to_json()) == policy
    assert Policy.load(path).data.as_schema() == schema


def test_a_sheet_shows_each_class_as_a_task_sees_it_and_names_what_is_left_out(photos, tmp_path):
    target = tmp_path / "sheet.html"
    done = run(tmp_path / "home", "--data", str(photos), "--sheet", str(target))
    assert done.exit_code == 0
    page = html.unescape(target.read_text())
    assert target.stat().st_mode & 0o777 == 0o600
    assert page.count("<img ") == 4
    assert "img-src data:" in page
    assert "default-src 'none'" in page
    assert not re.search(r"https?:|//[a-z]", page.split("</style>")[1])
    for said in ("3 of 3", "1 of 1", "cat/broken.jpg", "4 pictures in 2"):
        assert said in page
    (first, *_) = re.findall(r"data:image/png;base64,([^\"]+)", page)
    assert Image.open(io.BytesIO(base64.b64decode(first))).size == (28, 28)


def test_a_sheet_stays_small_whatever_the_folder_holds_and_no_name_becomes_markup(tmp_path):
    root = tmp_path / "photos"
    bad = "<script>alert(1)<"
    for at in range(40):
        write_png(root / bad / f"{at}.png", np.full((300, 300), 6 * at, np.uint8))
    (root / bad / "<img src=x>.png").write_text("no picture")
    policy = Policy.default().model_copy(
        update={"data": DataPolicy(height=300, width=300, labels=(bad,))}
    )
    home = tmp_path / "home"
    home.mkdir(mode=0o700)
    (home / "policy.toml").write_text(policy.to_toml())
    target = tmp_path / "sheet.html"
    assert run(home, "--data", str(root), "--sheet", str(target)).exit_code == 0
    page = target.read_text()
    assert "12 of 40" in page
    assert page.count("<img ") == 12
    assert "<script>" not in page
    assert "&lt;script&gt;" in page
    assert "&lt;img src=x&gt;" in page
    for one in re.findall(r"base64,([^\"]+)", page):
        assert max(Image.open(io.BytesIO(base64.b64decode(one))).size) == 96


@pytest.mark.parametrize("name", ["sheet.txt", "sheet"])
def test_a_sheet_is_written_to_a_page_alone(photos, tmp_path, name):
    with pytest.raises(ConfigError, match=r"ends with \.html"):
        write_sheet(tmp_path / "home", tmp_path / name, examine(tmp_path / "home", photos))


def test_rows_have_no_sheet_and_their_ranges_and_groups_are_told(tmp_path):
    folder = write_table(tmp_path / "rows", LINES)
    with pytest.raises(DataError, match="a sheet shows pictures"):
        write_sheet(tmp_path / "home", tmp_path / "sheet.html", examine(tmp_path / "home", folder))
    found = json.loads(run(tmp_path / "home", "--data", str(folder), "--json").stdout)
    assert set(found["ranges"]) == set(found["columns"])
    shown = run(tmp_path / "home", "--data", str(folder)).stdout
    assert "lowest" in shown
