"""docs/extending.md, followed to the letter: its changes are made to a copy of the tree, and a federation trains there.

What the federation does with them is in tests/benches/extended_bench.py.
"""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
WHOLE = (ROOT / "docs" / "extending.md").read_text(encoding="utf-8")
# What needs no change of the tree is followed by test_own_task_page.py.
PAGE = re.sub(
    r"^## A task without packaging\n.*?(?=^## )", "", WHOLE, flags=re.MULTILINE | re.DOTALL
)
POINTS = ("A task", "A data source", "A metric", "A strategy", "A report section", "A language")
BLOCK = re.compile(r"^```(\w+)\n(?:# |\+\+\+ )(\S+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
KEY = re.compile(r"^(\w+) = ", re.MULTILINE)


def parts():
    """Heading → text of every part of the page."""
    return dict(re.findall(r"^## (.+?)\n(.*?)(?=^## |\Z)", PAGE, re.MULTILINE | re.DOTALL))


def changed(text, difference):
    """`text` after the hunks of a block: lines with a sign change, the others are where it happens."""
    for hunk in difference.split("@@\n"):
        lines, signed = text.splitlines(keepends=True), hunk.splitlines(keepends=True)
        old = [line[1:] for line in signed if line[0] != "+"]
        places = [at for at in range(len(lines)) if lines[at : at + len(old)] == old]
        assert len(places) == 1, f"these lines are not there once:\n{''.join(old)}"
        lines[places[0] : places[0] + len(old)] = [line[1:] for line in signed if line[0] != "-"]
        text = "".join(lines)
    return text


def follow(tree):
    """Make every change of the page, in its order; the rest of a language's words stays English."""
    for kind, name, body in BLOCK.findall(PAGE):
        path = tree / name
        if kind == "diff":
            path.write_text(changed(path.read_text("utf-8"), body), "utf-8")
        elif kind == "python":
            assert not path.exists(), f"{name} is there already"
            path.write_text(body, "utf-8")
        else:
            english = path.with_name("words.en.toml").read_text("utf-8")
            assert set(KEY.findall(body)) <= set(KEY.findall(english)), name
            rest = [line for line in english.splitlines() if line.partition(" = ")[0] not in KEY.findall(body)]  # fmt: skip
            path.write_text("\n".join([body, *rest]) + "\n", "utf-8")


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    made = tmp_path_factory.mktemp("tree") / "edgeveil"
    for top in ("agent", "coordinator", "shared"):
        shutil.copytree(ROOT / top, made / top, ignore=shutil.ignore_patterns("__pycache__"))
    follow(made)
    return made


@pytest.fixture(scope="module")
def seen(tree, tmp_path_factory):
    """What tests/benches/extended_bench.py saw in the changed tree."""
    paths = [tree.parent, ROOT / "tests", ROOT / "tests/benches"]
    found = subprocess.run(
        [sys.executable, ROOT / "tests/benches/extended_bench.py", tmp_path_factory.mktemp("run")],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(map(str, paths))},
        capture_output=True,
        text=True,
    )
    assert found.returncode == 0, found.stderr
    return json.loads(found.stdout)


@pytest.mark.parametrize("point", POINTS)
def test_every_point_says_where_it_goes_what_it_must_hold_to_and_shows_an_example(point):
    text = parts()[point]
    assert text.startswith("\n**Goes to** ")
    assert text.count("**Must hold to**\n\n- *") == 1
    assert BLOCK.search(text)


def test_every_block_is_followed():
    assert len(BLOCK.findall(PAGE)) == PAGE.count("\n```") / 2 > len(POINTS)
    assert set(parts()) == set(POINTS)


def test_a_place_that_is_no_longer_there_is_noticed():
    assert changed("a\nb\n", " a\n+c\n") == "a\nc\nb\n"
    assert changed("a\nb\n", "-a\n+c\n@@\n b\n+d\n") == "c\nb\nd\n"
    for text in ("b\n", "a\na\n", "aa\n"):
        with pytest.raises(AssertionError, match="not there once"):
            changed(text, " a\n+c\n")


def test_a_federation_trains_the_task_on_the_source_and_is_judged_by_the_metric(seen, tree):
    assert seen["imported from"] == str(tree / "coordinator/learning/__init__.py")
    assert [outcome for outcome, _ in seen["rounds"]] == ["committed", "committed"]
    assert seen["judged by"] == "mean_recall"
    metrics = seen["rounds"][-1][1]
    assert set(metrics) == {"mean_recall", "accuracy", "macro_f1", "loss", "examples"}
    assert metrics["mean_recall"] == pytest.approx(metrics["accuracy"])  # as many of both classes
    assert metrics["accuracy"] > 0.8


def test_the_tasks_identity_holds_every_file_of_the_page_that_it_computes_with(seen):
    mine = {name for kind, name, _ in BLOCK.findall(PAGE) if kind == "python" and name.startswith("shared/")}  # fmt: skip
    assert len(mine) == 3
    assert {name.removeprefix("shared/") for name in mine} <= set(seen["files"])


def test_a_record_that_is_broken_is_left_out_and_a_file_that_is_none_is_refused(seen):
    assert seen["counted"] == 121
    (told,) = [line for line in seen["told the owner"] if "left out" in line]
    assert told.startswith("data: 120 records usable for row-means; 1 left out")
    assert "line 121 is no class and (8, 8) grey values" in told
    empty, other = seen["refused"]
    assert "empty.csv: holds no record" in empty
    assert "other.txt: not a data file" in other
    assert "one .csv file with a class" in other


def test_the_strategy_moves_every_weight_by_whole_steps_and_remembers_its_momentum(seen):
    assert set(seen["steps"]) <= {0.0, 1.0, 2.0}  # of two; a sum of integers can be exactly 0
    assert 2.0 in seen["steps"]
    assert seen["remembered"] == ["first"]


def test_the_section_stands_in_its_place_on_the_page_in_every_language(seen):
    headings = {"en": "Slowest attempts", "zh": "最慢的尝试", "de": "Langsamste Versuche"}
    places = {one: seen["titles"][one].index(heading) for one, heading in headings.items()}
    assert places == dict.fromkeys(headings, 5)
    for page in seen["pages"].values():
        assert page.index('id="stages"') < page.index('id="slowest"') < page.index('id="rounds"')
        assert "1.1" in page[page.index('id="slowest"') : page.index('id="rounds"')]


def test_a_page_in_the_language_says_what_the_file_says_and_the_metric_in_english(seen):
    page = seen["pages"]["de"]
    assert '<html lang="de">' in page
    assert "Zum Inhalt" in page
    assert "Bericht über einen Lauf" in page
    assert "Mean recall" in page
    assert "平均召回率" in seen["pages"]["zh"]
