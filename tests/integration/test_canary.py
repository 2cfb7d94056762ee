"""Marked values in data, updates, metrics and faults of a device: none of them in any page, log or database.

The search is shown to work first: the same values are found where they may be.
"""

import json
import struct
import time
from dataclasses import replace

import numpy as np
import pytest
from fakes_federation import Federation, on_device, plan_for

from edgeveil.agent.ledger.store import LedgerStore
from edgeveil.agent.reports.own_metrics import OwnMetrics
from edgeveil.agent.reports.page_view import JOURNAL, own_state, page
from edgeveil.coordinator.gateway.counts import Counts
from edgeveil.coordinator.plan.plan import Plan
from edgeveil.coordinator.reports.exports.points import points
from edgeveil.coordinator.reports.facts import RunFacts
from edgeveil.coordinator.reports.page import report_page
from edgeveil.coordinator.reports.reading import one_round
from edgeveil.coordinator.reports.summary import build
from edgeveil.coordinator.reports.tables import round_tables, rounds_csv
from edgeveil.coordinator.reports.words import Words
from edgeveil.coordinator.runs import checkpoint
from edgeveil.coordinator.runs.evaluation import Evaluator
from edgeveil.coordinator.watching.live import Live
from edgeveil.coordinator.watching.live_page import View, draw, live_page
from edgeveil.coordinator.watching.metrics import Metrics, Readings
from edgeveil.shared.base.errors import DataError
from edgeveil.shared.events.log import EventLog
from edgeveil.shared.tasks import registry
from edgeveil.shared.terminal.console import stdout

SENTENCE = "canary-7f3a91 loss was 0.271828182845"


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """(federation, updates, run): two rounds; agent-4 fails in the second with a telling sentence."""
    patch = pytest.MonkeyPatch()
    federation = Federation(tmp_path_factory.mktemp("canary"))
    live = Live()
    federation.events.close()
    folder = federation.home / "runs"
    updates, seal = [], LedgerStore.seal

    def keep(self, attempt, blob, **facts):
        updates.append(bytes(blob))
        return seal(self, attempt, blob, **facts)

    patch.setattr(LedgerStore, "seal", keep)
    for home in federation.homes:
        session = federation.sessions[home.pinned().agent_id]
        journal = EventLog(home.path / JOURNAL)
        on_device(session, journal=journal)
    driver, first = federation.driver(plan_for(4, evaluation__data=str(federation.test)))
    run_folder = folder / driver.run.run_id
    run_folder.mkdir(parents=True, exist_ok=True)
    federation.events = EventLog(run_folder / "events.jsonl", watch=live.take)
    around = replace(driver._around, events=federation.events)
    driver._around = driver._sums._around = driver._training._around = around
    driver._complete(first)
    faulty = federation.sessions[federation.id_of("agent-4")]

    def fail(*_arguments):
        raise DataError(SENTENCE)

    patch.setattr(faulty._device.shelf, "load", fail)
    driver._complete(2)
    yield federation, updates, driver.run.run_id, live
    patch.undo()
    federation.close()


def evaluated(federation, run_id, number, path):
    """What a device would measure of the model of that round on its own data, had anybody asked."""
    run = federation.store.run(run_id)
    plan = Plan.model_validate_json(run.plan)
    task = registry.load(registry.find(plan.task.id, plan.task.version))
    options = task.parse_options(plan.task.options)
    model = checkpoint.load(federation.home / "runs" / run_id / f"round-{number:04d}.safetensors")
    return Evaluator(task, options, path).evaluate(model.vector)


def metric_traces(federation, run_id):
    """Every agent's own loss after each round, as a number and as text."""
    found = {}
    for number in (1, 2):
        for agent, path in enumerate(federation.pieces, start=1):
            loss, name = (
                evaluated(federation, run_id, number, path)["loss"],
                f"loss of agent {agent}",
            )
            found[f"{name} after round {number}"] = struct.pack("<d", loss)
            found[f"{name} after round {number} as text"] = repr(loss)[:10].encode()
            found[f"{name} after round {number} as short text"] = f"{loss:.6f}".encode()
    return found


def traces(updates, federation):
    """What must not be found: pieces of updates and records as bytes, their values as text."""
    found = {"the sentence of a fault": SENTENCE[:13].encode()}
    for number, blob in enumerate(updates):
        values = np.frombuffer(blob, "<f4")
        strong = int(np.argmax(np.abs(values)))
        found[f"update {number}"] = blob[4 * strong : 4 * strong + 32]
        found[f"update {number} in double"] = values[strong : strong + 4].astype("<f8").tobytes()
        found[f"update {number} as text"] = repr(float(values[strong])).encode()[:10]
        found[f"update {number} as short text"] = f"{values[strong]:.6f}".encode()
    for number, path in enumerate(federation.pieces):
        pixels = np.load(path)["X"][0].ravel()
        lit = int(np.argmax(pixels > 0))
        found[f"record of agent {number + 1}"] = pixels[lit : lit + 64].tobytes()
        found[f"data file of agent {number + 1}"] = path.name.encode()
    return found


def coordinators_texts(federation, run_id, live):
    """Everything the coordinator keeps or shows: each file of its home, each page, each print."""
    store, home = federation.store, federation.home
    texts = {str(path.relative_to(home)): path.read_bytes() for path in home.rglob("*") if path.is_file()}  # fmt: skip
    run, records = store.run(run_id), store.rounds(run_id)
    facts = RunFacts(run, records)
    for language in ("en", "zh"):
        texts[f"report {language}"] = report_page(facts, language, made=time.time()).encode()
        drawn = draw(facts, 1, Words(language))
        view = View("https://x", live.now(), [], facts, [run], time.time(), drawn=drawn)
        texts[f"live page {language}"] = live_page(view, language).encode()
    texts["report.json"] = json.dumps(build(run, records, home)).encode()
    texts["csv"] = "".join(rounds_csv(records, ["accuracy", "macro_f1", "loss"])).encode()
    with stdout.capture() as captured:
        for made in round_tables(store.rounds(run_id, number=2), []):
            stdout.print(made)
    texts["show"] = captured.get().encode()
    texts["metrics"] = coordinator_metrics(live).encode()
    exported = [json.dumps(dict(point.values)) for point in points(facts)]
    texts["exported"] = "\n".join(exported).encode()
    return texts


def coordinator_metrics(live):
    metrics = Metrics(lambda: Readings({}, 3, True, 1.0, 1.0, Counts()))
    for line in live.now().recent:
        metrics.take(line)
    return metrics.render()


def test_the_federation_trained_and_one_agent_left_with_a_fault(trained):
    federation, updates, run_id, _ = trained
    assert len(updates) == 7
    rows = federation.store.rounds(run_id)
    assert [row.outcome for row in rows] == ["committed", "committed"]
    assert rows[1].dropped_reasons == {"agent-4": "refused:DATASET_UNKNOWN"}


def test_the_search_finds_what_is_there(trained):
    federation, updates, _, _ = trained
    marks = traces(updates, federation)
    assert any(SENTENCE in said for said in federation.statuses), "its owner is told"
    sealed = b"".join(updates)
    assert marks["update 0"] in sealed
    assert all(len(mark) >= 8 for mark in marks.values())
    raw = np.load(federation.pieces[0])["X"].tobytes()
    assert marks["record of agent 1"] in raw


def test_the_search_finds_the_one_loss_that_may_be_shown(trained):
    """The coordinator's own, measured on its own data in just the way of the agents' losses."""
    federation, _, run_id, live = trained
    texts = coordinators_texts(federation, run_id, live)
    database = b"".join(text for name, text in texts.items() if name.startswith("state.db"))
    for number in (1, 2):
        loss = evaluated(federation, run_id, number, federation.test)["loss"]
        shown = repr(loss)[:10].encode()
        assert all(shown in text for text in (texts["report.json"], texts["csv"], database))
    exported = [json.loads(line) for line in texts["exported"].splitlines()]
    assert exported[-1]["quality/loss"] == loss


def test_nothing_the_coordinator_keeps_or_shows_holds_a_trace(trained):
    federation, updates, run_id, live = trained
    texts = coordinators_texts(federation, run_id, live)
    assert {"state.db", "report en", "live page zh", "csv", "show", "metrics", "exported"} <= set(
        texts
    )
    assert any(name.endswith("events.jsonl") for name in texts)
    assert any(name.endswith(".safetensors") for name in texts)
    marks = traces(updates, federation) | metric_traces(federation, run_id)
    for what, mark in marks.items():
        for name, content in texts.items():
            assert mark not in content, f"{what} in {name}"


def test_no_report_carries_a_value_of_a_single_agent(trained):
    """Beside names, stages and reasons, a record knows nothing by agent."""
    federation, _, run_id, _ = trained
    for record in federation.store.rounds(run_id):
        values = record.as_json()
        extra = values["extra"]
        assert set(extra) <= {
            "dropped_stages", "roster_epoch", "versions", "task_hash", "noise_multiplier", "steps", "sample_rate",
            "modulus_bits", "context", "shards", "answer_seconds", "confusion", "complaints", "suspects", "wrong_shares", "detail",
            "sizes",  # what each device declares to hold, a public figure
        }  # fmt: skip
        by_agent = [key for key, value in values.items() if "agent-1" in json.dumps(value)]
        assert set(by_agent) <= {"selected", "survived", "dropped", "dropped_reasons", "extra"}


def test_the_devices_own_page_and_journal_hold_no_content_either(trained):
    federation, updates, _, _ = trained
    home = federation.homes[0]
    own = own_state(home.path, "data")
    texts = [page(own, "en").encode(), page(own, "zh").encode(), OwnMetrics().render(own).encode()]
    texts.append((home.path / JOURNAL).read_bytes())
    assert b'"size":' in texts[-1]
    for what, mark in traces(updates, federation).items():
        if not what.startswith("data file"):
            assert all(mark not in text for text in texts), what


def test_one_round_can_be_read_with_its_events_and_without_a_trace(trained):
    federation, updates, run_id, _ = trained
    (federation.home / "coordinator.toml").write_text(
        f'url = "https://x:1"\nfederation_public = "{"0" * 64}"\n'
    )
    records, events = one_round(federation.home, run_id, 2)
    assert len(records) == 1
    assert {line.agent for line in events if line.event == "agent.reply"} == {"agent-1", "agent-2", "agent-3"}  # fmt: skip
    left = next(line for line in events if line.event == "agent.drop")
    assert (left.agent, left.stage, left.reason) == ("agent-4", "round", "refused:DATASET_UNKNOWN")
    shown = json.dumps([line.as_json() for line in events]).encode()
    assert all(mark not in shown for mark in traces(updates, federation).values())
