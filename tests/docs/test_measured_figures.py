"""docs/benchmarks.md is made from docs/results/*.json, and a record that is not whole stops it."""

import json
import re
import runpy
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
BENCH = runpy.run_path(str(ROOT / "scripts/bench.py"))
FILES = sorted((ROOT / "docs/results").glob("*.json"))
WHOLE = {
    "figure": "small exchange",
    "value": 0.5,
    "unit": "s",
    "goal": 1,
    "better": "lower",
    "peer": "another",
    "peer_value": 2.0,
    "ratio": 4.0,
    "command": "true",
    "date": "2026-01-31",
    "load": "idle",
    "remark": "a remark",
    "note": "for maintainers",
}


def written(folder, *records):
    subject = {"subject": "Figures", "order": 1, "intro": "What was measured.", "records": records}
    (folder / "figures.json").write_text(json.dumps(subject))
    return folder


def test_the_page_is_what_the_records_say():
    assert BENCH["PAGE"].read_text(encoding="utf-8") == BENCH["page"]()


def test_a_whole_record_shows_everything_but_the_note(tmp_path):
    page = BENCH["page"](written(tmp_path, WHOLE))
    line = "| small exchange (a remark) | 0.5 s | ≤ 1 s | another: 2.0 s | 4.0 | idle | 2026-01-31 | 1 |"
    assert line in page.splitlines()
    assert "1. `true`" in page
    assert "for maintainers" not in page


@pytest.mark.parametrize(
    ("value", "better", "missed"),
    [(1.0, "lower", False), (1.1, "lower", True), ([0.5, 1.1], "lower", True),
     (1.0, "higher", False), (0.9, "higher", True), ([0.9, 2], "higher", True)],
)  # fmt: skip
def test_a_missed_goal_is_said(tmp_path, value, better, missed):
    record = WHOLE | {"value": value, "better": better}
    record = {key: record[key] for key in record if key not in {"peer", "peer_value", "ratio"}}
    assert ("**missed**" in BENCH["page"](written(tmp_path, record))) is missed


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"speed": 3}, "unknown speed"),
        ({"value": True}, "value is a number"),
        ({"value": "0.5"}, "value is a number"),
        ({"value": [2, 1]}, "value is a number"),
        ({"value": float("inf")}, "value is not finite"),
        ({"value": float("nan")}, "value is not finite"),
        ({"goal": [1, 2]}, "goal is a number"),
        ({"better": "faster"}, "goal and better"),
        ({"ratio": 5.0}, "the figures give 4"),
        ({"date": "31.1.2026"}, "date"),
        ({"load": ""}, "load is one line"),
        ({"unit": None}, "unit is a text"),
        ({"command": "cat a | b"}, "command is one line of text without bars"),
        ({"remark": "x" * 101}, "101 characters, at most 100"),
    ],
)
def test_a_record_that_is_not_right_is_named_with_its_file(tmp_path, change, said):
    with pytest.raises(BENCH["BadRecord"], match=r"^figures\.json: ") as caught:
        BENCH["page"](written(tmp_path, WHOLE | change))
    assert said in str(caught.value)
    assert "small exchange" in str(caught.value)


@pytest.mark.parametrize(
    "key", ["figure", "value", "unit", "command", "date", "load", "better", "peer"]
)
def test_a_record_that_lacks_something_is_refused(tmp_path, key):
    record = {other: WHOLE[other] for other in WHOLE if other != key}
    with pytest.raises(BENCH["BadRecord"], match=r"figures\.json: .*" + key):
        BENCH["page"](written(tmp_path, record))


def test_a_figure_whose_command_was_not_kept_says_so(tmp_path):
    page = BENCH["page"](written(tmp_path, WHOLE | {"command": None}))
    assert "| 2026-01-31 | none kept |" in page


def test_two_records_of_one_figure_are_refused(tmp_path):
    with pytest.raises(BENCH["BadRecord"], match="small exchange: there are two of it"):
        BENCH["page"](written(tmp_path, WHOLE, WHOLE))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_every_command_runs_a_file_that_exists(path):
    for record in BENCH["load"](path)["records"]:
        for file in re.findall(
            r"(?:scripts|tests)/[\w/]+(?:\.(?:py|sh))?", record["command"] or ""
        ):
            assert (ROOT / file).exists(), f"{path.name}: {record['figure']}: {file}"
