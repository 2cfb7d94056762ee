"""Pictures of the held-out data in a run's report: what was there, before and after training."""

import dataclasses
import re

import numpy as np
import pytest
from reports_bench import facts_of

from edgeveil.coordinator.records.gallery import MOST_FILE, MOST_PICTURE, Gallery, name_of, parse
from edgeveil.coordinator.reports.page import report_page
from edgeveil.coordinator.reports.pictures import galleries
from edgeveil.coordinator.reports.words import Words
from edgeveil.coordinator.runs.galleries import keep
from edgeveil.shared.base.errors import StateDamaged
from edgeveil.shared.data.boxes.drawing import shown
from edgeveil.shared.data.boxes.sights import Drawn
from edgeveil.shared.scores.detection import SHOWN_AT


def jpegs(count, side=40):
    return tuple(
        shown(np.full((side, side, 3), 60 * at, np.uint8), [Drawn("car", (2, 2, 20, 20))])
        for at in range(count)
    )


@pytest.mark.parametrize(("language", "said"), [("en", "after round 4"), ("zh", "第 4 轮之后")])
def test_a_report_shows_the_same_pictures_before_and_after(language, said, tmp_path):
    for moment, number in (("truth", 0), ("before", 0), ("after", 4)):
        keep(tmp_path, moment, number, jpegs(3))
    found = dataclasses.replace(facts_of(rounds=4, agents=3), galleries=galleries(tmp_path))
    page = report_page(found, language, made=0.0)
    assert len(re.findall(r'<img alt="[^"]+" src="data:image/jpeg;base64,[^"]+">', page)) == 9
    assert page.count(said) == 2 * 3  # as text, and for who sees no picture
    assert "img-src data:" in page
    assert f"{SHOWN_AT:g}" in Words(language)("pictures_note")


def test_a_task_without_pictures_has_no_such_part(tmp_path):
    keep(tmp_path, "before", 0, ())
    assert list(tmp_path.iterdir()) == []
    assert galleries(tmp_path) == {}
    page = report_page(facts_of(rounds=4, agents=3), "en", made=0.0)
    assert 'id="pictures"' not in page
    assert "img-src" not in page


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{" * 100_000,
        b'{"round":1,"pictures":[]}',
        b'{"round":-1,"pictures":["/9g="]}',
        b'{"round":1,"pictures":["%%"]}',
        b'{"round":1,"pictures":["PHN2Zz4="]}',
        b'{"round":1,"pictures":["/9g="],"more":1}',
        b'{"round":1,"pictures":["' + b"A" * (2 * MOST_PICTURE + 4) + b'"]}',
        Gallery.of(1, (b"\xff\xd8",) * 6).to_json() + b" " * MOST_FILE + b"}",
    ],
)
def test_a_file_that_holds_no_pictures_is_named(data, tmp_path):
    (tmp_path / name_of("after")).write_bytes(data)
    with pytest.raises(StateDamaged, match=r"pictures-after\.json: .*remove the file"):
        galleries(tmp_path)


def test_more_pictures_than_a_report_shows_are_refused():
    with pytest.raises(StateDamaged):
        parse(b'{"round":1,"pictures":[' + b",".join([b'"/9g="'] * 7) + b"]}", "a file")
