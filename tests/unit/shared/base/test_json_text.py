"""Reports as JSON text."""

import json

import pytest

from edgeveil.shared.base.json_text import pieces

REPORT = {
    "schema": 1,
    "naïve": "line\nbreak \u2028 and \ud7ff",
    "privacy": {"delta": 1e-5, "notes": ["a\nb", {}]},
    "rounds": [{"round": 1, "dropped": {"x": "refused:A"}}, {"round": 2, "dropped": {}}],
    "empty": [],
    "numbers": [1, 2.5, None, True],
}


@pytest.mark.parametrize("report", [REPORT, {}, {"only": []}, {"rounds": [{}]}])
def test_the_text_reads_back_as_the_same_report(report):
    assert json.loads("".join(pieces(report))) == report


def test_each_object_of_a_list_has_a_line_of_its_own():
    lines = "".join(pieces(REPORT)).splitlines()
    assert '    {"round": 2, "dropped": {}}' in lines


def test_a_long_list_is_never_held_as_one_text():
    parts = pieces({"rounds": [{"round": number} for number in range(1000)]})
    assert max(map(len, parts)) < 40
