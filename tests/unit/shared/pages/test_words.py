"""The files of words against each other, and against the code that asks for them."""

import ast
import re
import string
import tomllib
from functools import cache
from pathlib import Path
from typing import get_args

import numpy as np
import pytest

from edgeveil.coordinator.records.records import RunState
from edgeveil.coordinator.reports.facts import STAGES
from edgeveil.shared.pages.words import LANGUAGES, Language, Words
from edgeveil.shared.scores.classification import scores

ROOT = Path(__file__).resolve().parents[4]
COMMON = "shared/pages"
ROOMS = sorted({str(p.parent.relative_to(ROOT)) for p in ROOT.glob("[acs]*/**/words.*.toml")})
FRAMES = ROOT / COMMON / "document.py"  # asks every room with a live page for some words
FAMILIES = {
    "state_": set(RunState),
    "stage_": set(STAGES),
    "agent_": {"connected", "offline", "pending", "held", "revoked"},
    "wait_": {"idle", "opening", "server", "again"},
    "outcome_": {"committed", "evaluated", "aborted"},
}
BY_NAME = set(scores(np.eye(2, dtype=np.int64)).averages())


@cache
def texts(room, language="en"):
    return tomllib.loads((ROOT / room / f"words.{language}.toml").read_text())


def gaps(text):
    return {name for _, name, _, _ in string.Formatter().parse(text) if name is not None}


def asking(room):
    """Every file that shows words of the room."""
    names = [room] if room != COMMON else ROOMS
    packages = "|".join(re.escape(name.replace("/", ".")) for name in names)
    asks = re.compile(rf"from edgeveil\.(?:{packages})\.words import [^\n]*\bWords\b")
    for top in ("agent", "coordinator", "shared"):
        for path in (ROOT / top).rglob("*.py"):
            live = path == FRAMES and (room == COMMON or "follows" in texts(room))
            own = path.name == "words.py" and str(path.parent.relative_to(ROOT)) in names
            if live or own or asks.search(path.read_text()):
                yield ast.parse(path.read_text())


def calls(room):
    """(key or beginning of a key, names of the values, is it whole) of each `words(...)` in the code."""
    for tree in asking(room):
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "words":  # fmt: skip
                (asked,) = node.args
                values = {keyword.arg for keyword in node.keywords}
                if isinstance(asked, ast.Constant):
                    yield asked.value, values, True
                elif isinstance(asked, ast.JoinedStr):
                    yield asked.values[0].value, values, False


def used(room):
    """Every key that the code can ask for; such as ">round" is the heading of a column of numbers."""
    found = set(BY_NAME)
    for tree in asking(room):
        found |= {n.value.removeprefix(">") for n in ast.walk(tree) if isinstance(n, ast.Constant) and isinstance(n.value, str)}  # fmt: skip
    for beginning, _, whole in calls(room):
        if not whole:
            found |= {beginning + member for member in FAMILIES[beginning]}
    return found


def test_the_rooms_with_words_are_found():
    assert {COMMON, "agent/reports", "coordinator/reports"} <= set(ROOMS)


@pytest.mark.parametrize("room", ROOMS)
def test_every_language_has_every_word_and_the_same_gaps(room):
    files = {path.name for path in (ROOT / room).glob("words.*.toml")}
    assert files == {f"words.{language}.toml" for language in LANGUAGES}
    for language in LANGUAGES:
        found = texts(room, language)
        assert found.keys() == texts(room).keys(), language
        for key, text in found.items():
            assert text.strip(), key
            assert gaps(text) == gaps(texts(room)[key]), (language, key)


@pytest.mark.parametrize("room", ROOMS)
def test_every_word_is_shown_somewhere(room):
    assert set(texts(room)) - used(room) == set()


@pytest.mark.parametrize("room", [room for room in ROOMS if room != COMMON])
def test_every_word_the_code_asks_for_is_there_with_the_gaps_it_fills(room):
    assert not texts(room).keys() & texts(COMMON).keys(), "every page says it already"
    known = texts(COMMON) | texts(room)
    for asked, values, whole in calls(room):
        for key in [asked] if whole else [asked + member for member in FAMILIES[asked]]:
            assert gaps(known[key]) == values, key


def test_a_room_speaks_its_own_words_and_those_of_every_page():
    assert get_args(Language) == LANGUAGES
    from edgeveil.agent.reports.words import Words as Own

    for language, name in (("en", "Device cam"), ("zh", "设备 cam")):
        words = Own(language)
        assert words("title", name="cam") == name
        assert words("tag") == Words(language)("tag")
        assert "title" in words
        assert "title" not in Words(language)
