import itertools
import math
import re
import xml.etree.ElementTree as ET
from html.parser import HTMLParser

import pytest
from fakes_federation import plan_for
from reports_bench import RUN_ID, facts_of

from edgeveil.coordinator.records.records import RoundRecord, RunState
from edgeveil.coordinator.reports.page import report_page
from edgeveil.shared.pages.charts import Line, line_chart, strip
from edgeveil.shared.pages.document import policy
from edgeveil.shared.pages.svg import nice_ticks
from edgeveil.shared.pages.text import escape, human_bytes, plain

CASES = {
    "empty": {"rounds": 0, "agents": 3, "state": RunState.QUEUED},
    "failed": {"rounds": 3, "agents": 4, "state": RunState.FAILED, "abort": 1.0},
    "one agent": {"rounds": 1, "agents": 1},
    "one round": {"rounds": 1, "agents": 4},
    "not evaluated": {"rounds": 3, "agents": 4, "evaluate": False},
    "usual": {"rounds": 12, "agents": 6, "drop": 0.1, "abort": 0.1},
}
VOID = {"meta", "link", "br"}


class Balanced(HTMLParser):
    """Fails on a tag that closes what was not open."""

    def __init__(self):
        super().__init__()
        self.open, self.ids, self.targets = [], [], []

    def handle_starttag(self, tag, attrs):
        values = dict(attrs)
        assert "style" not in values, "style attributes are blocked by the policy"
        assert not any(name.startswith("on") for name in values)
        self.ids += [values["id"]] if "id" in values else []
        self.targets += [values["href"]] if tag == "a" else []
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        return

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def checked(html):
    parser = Balanced()
    parser.feed(html)
    assert parser.open == []
    assert len(parser.ids) == len(set(parser.ids))
    assert all(target[1:] in parser.ids for target in parser.targets if target.startswith("#"))
    for svg in re.findall(r"<svg.*?</svg>", html, re.DOTALL):
        ET.fromstring(svg)
    return html


@pytest.mark.parametrize("language", ["en", "zh"])
@pytest.mark.parametrize("case", CASES)
def test_every_kind_of_run_has_a_page_that_loads_nothing(case, language):
    html = checked(report_page(facts_of(**CASES[case]), language, made=1.75e9))
    assert RUN_ID in html
    assert "<script" not in html
    assert not re.search(r"(src|action)=|url\((?!#)|@import|<(img|iframe|object|link)", html)
    assert "default-src &#x27;none&#x27;" in html
    assert ('lang="zh-Hans"' in html) == (language == "zh")


@pytest.mark.parametrize("goal", [None, 40])
def test_a_thousand_rounds_of_a_hundred_agents_stay_below_a_megabyte(goal):
    found = facts_of(1000, 100, goal=goal, drop=0.06, abort=0.02)
    html = checked(report_page(found, "zh", made=1.75e9))
    assert len(html.encode()) < 1_000_000
    assert "agent-100" in html


def test_text_from_a_plan_or_an_error_is_shown_as_text():
    hostile = '"><script>alert(1)</script>\x1b[31m\u202ered'
    plan = plan_for(3, task__options={"variant": "fixed", "labels": hostile})
    found = facts_of(1, 3, plan=plan, state=RunState.FAILED)
    object.__setattr__(found.run, "reason", hostile)
    found.records[0].extra["confusion"]["classes"][0] = hostile
    html = checked(report_page(found, "en", made=1.75e9))
    assert "<script" not in html
    assert "\x1b" not in html
    assert "\u202e" not in html
    assert html.count("&lt;script&gt;") >= 3


def test_the_page_says_who_was_charged_what_and_why_somebody_is_missing():
    html = report_page(facts_of(6, 4, drop=0.4, seed=5), "en", made=1.75e9)
    for text in ("deadline", "refused:BUDGET_WOULD_EXCEED", "Limit of the plan", "Roster epoch",
                 "Macro average", "Weighted average", "Plan SHA-256", "torch 2.14.1", "In the sum"):  # fmt: skip
        assert text in html, text


def test_an_agent_that_refused_the_offer_is_not_charged_and_one_that_was_lost_is():
    found = facts_of(1, 4)
    record = found.records[0]
    reasons = {"agent-1": "refused:POLICY_SIGMA", "agent-2": "lost", "agent-3": "refused:TIMEOUT"}
    stages = {"agent-1": "round", "agent-2": "round", "agent-3": "masked"}
    values = record.as_json() | {"dropped_reasons": reasons, "survived": ["agent-4"]}
    changed = RoundRecord.from_json(values | {"extra": {"dropped_stages": stages}})
    found = type(found)(found.run, [changed])
    charged = {agent: found.charged(agent) for agent in found.agents}
    assert charged["agent-1"] == 0
    assert 0 < charged["agent-2"] == charged["agent-3"] == charged["agent-4"]
    assert found.share("agent-1") == ["refused"]


def test_a_plan_that_is_followed_stays_within_its_own_limit():
    found = facts_of(5, 4, plan=plan_for(4, rounds__count=5))
    assert 0.5 * 8 < found.charged("agent-1") <= 8


def test_the_live_policy_allows_one_script_and_its_own_server_only():
    assert "script-src" not in policy(live=False)
    live = policy(live=True)
    assert "unsafe" not in live
    assert "connect-src 'self'" in live
    assert live.count("script-src 'sha256-") == 1


def test_round_ticks_cover_what_they_are_asked_to():
    for low, high in ((0, 1), (0, 0.0031), (3, 3), (-2, 7), (0, 123456), (0.1, float("nan"))):
        ticks = nice_ticks(low, high)
        assert 2 <= len(ticks) <= 8
        assert ticks[0] <= low
        assert math.isnan(high) or ticks[-1] >= high


def scales(values, **options):
    """The labels of the vertical axis of a chart with these values."""
    drawn = line_chart(
        [Line("a", list(range(1, len(values) + 1)), values)], label="a", across="b", **options
    )
    return re.findall(r'text-anchor="end">([^<]+)<', drawn)


@pytest.mark.parametrize("rounds", [1, 2, 7, 9, 12, 20, 33, 100, 4321])
def test_at_most_nine_rounds_are_written_below_a_chart(rounds):
    xs = list(range(1, rounds + 1))
    drawn = line_chart([Line("a", xs, [0.5] * rounds)], label="a", across="b", unit="%")
    written = [int(each) for each in re.findall(r'text-anchor="middle">(\d+)<', drawn)]
    assert 1 <= len(written) <= 9
    assert len({after - before for before, after in itertools.pairwise(written)}) <= 1
    assert 1 <= written[0] <= written[-1] <= rounds


def test_what_the_bar_shows_is_written_below_it():
    page = report_page(facts_of(rounds=12, agents=6), "en", made=0.0)
    assert re.search(r'</svg><p class="note">\d+% of the planned ε</p>', page)


def test_an_axis_of_shares_fits_the_values_and_stays_between_none_and_all():
    assert scales([0.52, 0.86], unit="%") == ["50 %", "60 %", "70 %", "80 %", "90 %"]
    assert scales([0.1, 1.0], unit="%")[-1] == "100 %"
    for flat in (0.0, 0.5, 0.93, 1.0):
        shown = [float(label.removesuffix(" %")) for label in scales([flat, flat], unit="%")]
        assert 0 <= shown[0] <= 100 * flat <= shown[-1] <= 100
        assert shown[-1] - shown[0] >= 3


def test_a_short_run_has_a_tick_at_every_second_round_and_a_long_one_few():
    def ticks(rounds):
        drawn = line_chart(
            [Line("a", list(range(1, rounds + 1)), [0.5] * rounds)], label="a", across="b", low=0.0
        )
        return [int(text) for text in re.findall(r'text-anchor="middle">(\d+)<', drawn)]

    assert ticks(1) == [1]
    assert ticks(4) == [1, 2, 3, 4]
    assert ticks(12) == [2, 4, 6, 8, 10, 12]
    assert 3 <= len(ticks(1000)) <= 9


def test_a_long_line_is_thinned_and_keeps_its_ends():
    xs = list(range(1, 10_001))
    drawn = line_chart([Line("a", xs, [float(x) for x in xs])], label="a", across="b", low=0.0)
    points = re.search(r'points="([^"]+)"', drawn)[1].split()
    assert len(points) <= 242
    assert points[-1].startswith("322,")
    assert line_chart([Line("a", [], [])], label="a", across="b") == ""


def test_a_strip_joins_neighbours_and_tells_kinds_apart_by_height():
    drawn = strip(["survived", "survived", "dropped", "", "refused"], "label")
    assert 'd="M0 0m0 0h2v10h-2z"' in drawn
    assert 'd="M0 5m2 0h1v5h-1z"' in drawn
    assert 'd="M0 0m4 0h1v3h-1z"' in drawn


def test_plain_text_has_no_controls_and_ends_in_time():
    assert plain("a\x1b[31m\nb\u2066c") == "a\ufffd[31m b\ufffdc"
    assert plain("x" * 400, 10) == "x" * 9 + "…"
    assert escape("<a b='c'>") == "&lt;a b=&#x27;c&#x27;&gt;"
    assert [human_bytes(n) for n in (0, 999, 1500, 2.5e6, 7e9)] == ["0 B", "999 B", "1.5 kB", "2.5 MB", "7.0 GB"]  # fmt: skip
