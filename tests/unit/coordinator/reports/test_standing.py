"""The line of a round: the metric, its change, ε so far, the time left; and the best model beside the last."""

import io
import json
import random
from dataclasses import replace

import pytest
from fakes_federation import plan_for
from look_bench import fill, initialised, run
from reports_bench import a_record, a_run, facts_of
from rich.console import Console

from edgeveil.coordinator.cli.top import Picture, draw
from edgeveil.coordinator.records.records import RoundRecord, RunState
from edgeveil.coordinator.reports.exports.points import points
from edgeveil.coordinator.reports.facts import RunFacts
from edgeveil.coordinator.reports.page import report_page
from edgeveil.coordinator.reports.standing import (
    best_round,
    round_line,
    seconds_left,
    sentence,
    standing,
)
from edgeveil.coordinator.store.store import Store
from edgeveil.coordinator.watching.live import Now
from edgeveil.shared.pages.text import human_seconds

NAMES = ["agent-1", "agent-2", "agent-3", "agent-4"]


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    home = initialised(tmp_path_factory.mktemp("standing"))
    with Store.open(home) as store:
        fill(store, 5)
    return home


def facts_with(accuracies, **changes):
    """A run of 10 rounds of which these have been evaluated so far."""
    rng = random.Random(1)
    records = [a_record(number, NAMES, rng=rng) for number in range(1, len(accuracies) + 1)]
    measured = [
        replace(record, metrics={} if value is None else {"accuracy": value})
        for record, value in zip(records, accuracies, strict=True)
    ]
    plan = plan_for(4, rounds__count=10, **changes)
    return RunFacts(a_run(plan, state=RunState.RUNNING), measured)


def test_the_line_of_a_round_says_the_metric_its_change_the_cost_and_the_time_left(home):
    with Store.open(home, read_only=True) as store:
        known = store.last_run()
        line = round_line(store, known, 3)
        charged = max(store.charges(known.run_id).values())
        spent = RunFacts(known, ()).epsilon_after(charged)
    assert line == f"accuracy 68.8% (+4.5 points), ε {spent:.2f} of 8, about 6 s left"


def test_a_worse_round_shows_a_minus_and_one_without_a_measurement_no_old_figure():
    assert "accuracy 80.0% (-10.0 points)" in sentence(standing(facts_with([0.9, 0.8])))
    assert "accuracy" not in sentence(standing(facts_with([0.9, None])))
    assert "points" not in sentence(standing(facts_with([0.9])))


def test_the_time_left_is_that_of_a_usual_round_whatever_one_took():
    rows = [RoundRecord("run-1", n, 1, "committed", finished=at) for n, at in enumerate((10.0, 12.0, 14.0, 5000.0, 5002.0), 1)]  # fmt: skip
    assert seconds_left(rows, 10) == 20.0
    assert seconds_left(rows, 0) is None
    assert seconds_left([], 10) is None


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.2, "1 s"), (89, "89 s"), (100, "2 min"), (5300, "88 min"), (7300, "2 h 2 min"), (86400, "24 h")],
)  # fmt: skip
def test_a_length_of_time_is_short_to_read(seconds, text):
    assert human_seconds(seconds) == text


def test_the_best_model_stands_beside_the_last_on_the_page_each_with_its_file():
    found = facts_with([0.7, 0.93, 0.8])
    assert best_round(found).round == 2
    page = report_page(found, "en", made=1.75e9)
    first = page[page.index('id="summary"') : page.index('id="quality"')]
    assert first.index("93.0%") < first.index("80.0%")
    for text in ("round 2<", "round 3, -13.0 points", f"runs/{found.run.run_id}/best.safetensors",
                 f"runs/{found.run.run_id}/last.safetensors", "Time left"):  # fmt: skip
        assert text in first, text


def test_the_first_screen_has_a_sentence_the_metric_the_cost_and_the_curve_in_either_language():
    for language, words in (("en", "Finished: 12 of 12 rounds"), ("zh", "已完成：12/12 轮")):
        page = report_page(facts_of(12, 4), language, made=1.75e9)
        lead = page[page.index('class="lead"') : page.index('id="quality"')]
        assert words in lead
        assert lead.index('class="meter calm"') < lead.index("85.3%") < lead.index("<polyline")


IN_SHARES = {
    "training__steps": 1, "privacy__noise": "shared", "privacy__honest": 2, "privacy__epsilon_sum": 1.0,
    "secagg__n_max": 6,
}  # fmt: skip


def test_noise_in_shares_has_both_figures_in_the_line_on_the_page_and_for_other_tools():
    found = facts_with([0.8, 0.9], **IN_SHARES)
    two = standing(found).two
    assert 0 < two.sums < two.alone < 8
    line = sentence(standing(found))
    assert f"ε alone {two.alone:.2f} of 8, ε of sums {two.sums:.2f} of 1, about" in line
    for language in ("en", "zh"):
        page = report_page(found, language, made=1.75e9)
        assert all(f"{said}</li>" in page for said in two.sentences(language))
        assert page.count('class="mark"') == 1
    last = list(points(found))[-1].values
    assert last["privacy/epsilon_at_most"] == two.alone
    assert last["privacy/epsilon_sum_at_most"] == two.sums
    assert standing(facts_with([0.8])).two is None


@pytest.mark.parametrize("width", [80, 40])
def test_the_glance_has_one_bar_with_both_marks_and_a_sentence_for_each(width):
    found = facts_with([0.8, 0.9], **IN_SHARES)
    two = standing(found).two
    status = {"url": "https://x:1", "pid": 1, "run": found.run.run_id, "agents": []}
    picture = Picture(
        status,
        Now(),
        {},
        run=found.run,
        charged={"agent-1": two.alone},
        rounds=10,
        limit=8.0,
        two=two,
    )
    console = Console(file=io.StringIO(), width=width)
    console.print(draw(picture, 1.0, width))
    shown = console.file.getvalue()
    assert two.blocks(24).rstrip("░")[:8] in shown
    flat = " ".join(shown.split())
    assert all(said in flat for said in two.lines())
    assert max(map(len, shown.splitlines())) <= width
    told = picture.as_json()
    assert (told["epsilon_sum"], told["epsilon_alone"]) == (two.sums, two.alone)
    assert told["epsilon_sum_limit"] == 1


def test_the_report_on_a_terminal_begins_with_the_best_model_and_the_last(home):
    with Store.open(home, read_only=True) as store:
        known = store.last_run()
    folder = home / "runs" / known.run_id
    folder.mkdir(parents=True, exist_ok=True)
    header = json.dumps({"__metadata__": {"round": "2"}}).encode()
    (folder / "best.safetensors").write_bytes(len(header).to_bytes(8, "little") + header)
    shown = run(home, "report", columns=200).stdout
    rows = [line.split() for line in shown[shown.index("what") :].splitlines() if "model" in line]
    assert " ".join(rows[0]) == f"best model accuracy 64.3%, round 2: {folder}/best.safetensors"
    assert " ".join(rows[1]) == f"last model accuracy 75.0%, round 5: {folder}/last.safetensors"
    (folder / "best.safetensors").write_bytes(b"no model")
    assert "best model" not in run(home, "report", columns=200).stdout
