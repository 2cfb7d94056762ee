"""A run that goes on from the model of another: what devices are offered, what they pay, what is told of it."""

import hashlib
import json
import threading
from types import SimpleNamespace

import pytest
from fakes_federation import Federation, plan_for
from look_bench import run as command

from edgeveil.agent.ledger.budget import read_budget
from edgeveil.coordinator.cli.doctor import diagnose
from edgeveil.coordinator.records.records import RunState
from edgeveil.coordinator.reports.exports.points import settings
from edgeveil.coordinator.reports.facts import RunFacts
from edgeveil.coordinator.reports.page import report_page
from edgeveil.coordinator.reports.privacy.page import page
from edgeveil.coordinator.reports.privacy.report import build
from edgeveil.coordinator.rounds.attempt_runner import Surroundings
from edgeveil.coordinator.runs import checkpoint
from edgeveil.coordinator.runs.open_run import Progress
from edgeveil.coordinator.runs.runs import Taken, open_run, submit
from edgeveil.coordinator.serving.execution import Execution
from edgeveil.shared.base.clock import SystemClock
from edgeveil.shared.doctor.checks import Level
from edgeveil.shared.vector.model_vector import model_hash
from edgeveil.shared.wire.messages import Stage

REST = """
[training]
steps = 2
clip_norm = 0.3
learning_rate = 1.0
epsilon = 2.0
[rounds]
count = 1
"""


def execution(federation):
    def surroundings(events):
        return Surroundings(
            transport=federation.wire,
            events=events,
            clock=SystemClock(),
            stop=threading.Event(),
            names=federation.names,
            note_head=lambda *_: None,
            housekeeping=lambda: None,
        )

    return Execution(
        federation.home,
        federation.store,
        signer=federation.coordinator,
        progress=Progress(),
        watch=lambda _line: None,
        surroundings=surroundings,
        quiet=True,
    )


def plan(federation, **changes):
    return plan_for(
        4,
        rounds__count=1,
        training__epsilon=2.0,
        evaluation__data=str(federation.test),
        **changes,
    )


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run of one round, and another of one round that begins with the model of the first."""
    federation = Federation(tmp_path_factory.mktemp("continued"))
    hand = execution(federation)
    parent, _ = submit(federation.store, plan(federation))
    hand.execute(parent)
    paid = [read_budget(home.path).epsilon_spent for home in federation.homes]
    child, taken = submit(federation.store, plan(federation, model__initial=parent.run_id))
    assert taken is Taken.NEW
    hand.execute(child)
    (federation.home / "coordinator.toml").write_text(
        f'url = "https://127.0.0.1:1"\nfederation_public = "{federation.federation.public.hex()}"\n'
    )
    store, runs = federation.store, federation.home / "runs"
    yield SimpleNamespace(
        federation=federation,
        parent=store.run(parent.run_id),
        child=store.run(child.run_id),
        facts=RunFacts(store.run(child.run_id), store.rounds(child.run_id)),
        folder=runs / child.run_id,
        source=runs / parent.run_id / "round-0001.safetensors",
        paid=paid,
    )
    federation.close()


def test_devices_are_offered_the_parents_model_bound_by_its_hash_in_round_one(trained):
    assert [trained.parent.state, trained.child.state] == [RunState.FINISHED] * 2
    saved = checkpoint.load(trained.source)
    offers = [
        request
        for _, request in trained.federation.wire.requests
        if request.attempt.run_id == trained.child.run_id and request.stage is Stage.ROUND
    ]
    assert len(offers) == 4
    assert {bytes(offer.bulk) for offer in offers} == {saved.vector.tobytes()}
    charged = [charges(home)[-1] for home in trained.federation.homes]
    assert {each["run_id"] for each in charged} == {trained.child.run_id}
    wanted = model_hash(saved.vector, saved.tensors).hex()
    assert {each["model_hash"] for each in charged} == {wanted}


def charges(home):
    """Every reservation in the device's ledger, oldest first."""
    (ledger,) = home.path.rglob("ledger.jsonl")
    bodies = [json.loads(line)["body"] for line in ledger.read_text().splitlines()]
    return [body for body in bodies if "model_hash" in body]


def test_devices_pay_for_both_runs_and_the_figures_of_the_second_are_its_own(trained):
    homes = trained.federation.homes
    both = [read_budget(home.path).epsilon_spent for home in homes]
    assert all(after > before > 0 for before, after in zip(trained.paid, both, strict=True))
    told = build(trained.facts, SystemClock())
    alone = told["guarantee"]["epsilon_at_most"]
    assert 0 < alone < min(both)
    (said,) = [text for text in told["not_covered"] if text.startswith("What went before")]
    assert f"round 1 of {trained.parent.run_id}" in said
    assert "in their own ledgers" in said
    assert trained.parent.run_id in page(told)


def test_report_events_checkpoints_exports_and_pages_say_where_the_model_came_from(trained):
    parent = trained.parent.run_id
    sha256 = hashlib.sha256(trained.source.read_bytes()).hexdigest()
    report = json.loads((trained.folder / "report.json").read_text())
    told = report["initial_model"]
    assert (told["run"], told["round"], told["sha256"]) == (parent, 1, sha256)
    lines = map(json.loads, (trained.folder / "events.jsonl").read_text().splitlines())
    start = next(line for line in lines if line["event"] == "run.start")
    assert (start["parent"], start["model"]) == (f"{parent}:1", sha256)
    for number in (0, 1):
        found = checkpoint.load(trained.folder / f"round-{number:04d}.safetensors").metadata
        assert found["initial_run"] == parent
        assert found["initial_round"] == "1"
        assert found["initial_sha256"] == sha256
    exported = settings(trained.facts)
    assert exported["initial_model.sha256"] == sha256
    assert exported["model.initial"] == parent
    for language in ("en", "zh"):
        assert sha256 in report_page(trained.facts, language, made=0.0)
    shown = json.loads(command(trained.federation.home, "report", "--json").stdout)
    assert shown["initial_model"] == told


def test_the_parent_says_nothing_of_another_model_and_stays_finished(trained):
    federation, parent = trained.federation, trained.parent
    report = (trained.source.parent / "report.json").read_text()
    assert json.loads(report)["initial_model"] is None
    assert submit(federation.store, plan(federation)) == (parent, Taken.FINISHED)
    named = plan(federation, model__initial=parent.run_id)
    assert submit(federation.store, named) == (trained.child, Taken.FINISHED)


def test_a_run_that_was_killed_before_its_first_round_begins_with_the_same_model(trained, tmp_path):
    federation, file = trained.federation, tmp_path / "start.safetensors"
    file.write_bytes(trained.source.read_bytes())
    run, _ = submit(federation.store, plan(federation, model__initial=str(file)))
    before = open_run(federation.store, federation.home, run)
    file.write_bytes((trained.folder / "round-0001.safetensors").read_bytes())
    after = open_run(federation.store, federation.home, federation.store.run(run.run_id))
    assert before[1].model.tobytes() == after[1].model.tobytes()
    assert (before[2], after[2]) == (1, 1)
    assert (run.initial.run, run.initial.round) == (trained.parent.run_id, 1)  # the file says so


def test_the_doctor_looks_at_the_initial_model_of_a_plan_with_the_same_words(trained, tmp_path):
    path = tmp_path / "plan.toml"
    head = '[task]\nid = "feature-head"\n[model]\ninitial = "{}"\n'
    (tmp_path / "good.safetensors").write_bytes(trained.source.read_bytes())
    (tmp_path / "bad.safetensors").write_bytes(trained.source.read_bytes()[:-4])
    for named, good in [
        ("good.safetensors", True),
        (trained.parent.run_id, True),
        (f"{trained.parent.run_id}@1", True),
        ("bad.safetensors", False),
        (f"{trained.parent.run_id}@7", False),
        ("nowhere.safetensors", False),
    ]:
        path.write_text(head.format(named) + REST)
        (found,) = [
            each
            for each in diagnose(trained.federation.home, path)
            if each.check == "plan" and "[secagg]" not in each.fix
        ]
        assert (found.level is Level.GREEN) is good, found
        assert good or "plan: model.initial: " in found.text
        assert good or named.partition("@")[0] in found.text
