"""A stranger's file through policies, ledgers, the round machine and secure aggregation, in one process."""

import contextlib

import own_tasks_bench as bench
import pytest
from fakes_federation import POLICY, Federation, plan_for

from edgeveil.agent.home.policy import OwnTask, TaskRule
from edgeveil.agent.home.records.record_policy import record_policy
from edgeveil.coordinator.models.conforming import CHECKS_OF_A_COORDINATOR
from edgeveil.coordinator.rounds.driver import RunFailed
from edgeveil.shared.base.errors import ConfigError
from edgeveil.shared.data.kinds import infer
from edgeveil.shared.tasks import registry
from edgeveil.shared.tasks.conformance.suite import examine
from edgeveil.shared.tasks.own import shelf as shelves
from edgeveil.shared.tasks.own.installing import candidate
from edgeveil.shared.tasks.own.shelf import Shelf, use
from edgeveil.shared.wire.messages import Stage


@pytest.fixture(autouse=True)
def no_own_tasks():
    yield
    registry.take_own(())


def installed(home, text):
    """The rule for a task that is now an own one of this process."""
    made = candidate(str(bench.write(home / "from", text)), Shelf(home))
    made.install(Shelf(home))
    use(home)
    return OwnTask(id=made.entry.id, version=made.entry.version, hash=made.entry.hash)


def federation(folder, *rules, tasks="installed"):
    pieces = [bench.write_valves(folder / f"piece-{at}", 60, at) for at in range(5)]
    data = record_policy(infer(pieces[0]))
    policy = POLICY.model_copy(update={"data": data, "own_tasks": rules, "tasks": tasks})
    return Federation(folder, pieces=pieces, policy=policy)


def plan(made, **changes):
    return plan_for(
        4, task__id="valve", task__options={}, evaluation__data=str(made.test), rounds__count=4,
        **{"training__learning_rate": 2.0, "training__steps": 8, "training__clip_norm": 1.0, **changes},
    )  # fmt: skip


def refusals(made):
    return [reply.refusal for _, _, reply in made.wire.captured if reply.stage is Stage.ROUND]


def check_nothing_charged(made):
    for home, session in zip(made.homes, made.sessions.values(), strict=True):
        assert session._device.shelf._records is None
        ledger = home.ledger_folder / "data" / "ledger.jsonl"
        assert b'"kind":"reserve"' not in ledger.read_bytes()


def test_it_is_trained_by_all_devices_and_measured_by_the_coordinator(tmp_path):
    rule = installed(tmp_path / "home", bench.GOOD)
    made = federation(tmp_path, rule)
    made.train(plan(made))
    found = made.store.rounds()
    assert [row.outcome.value for row in found] == ["committed"] * 4
    assert found[-1].metrics["accuracy"] > 0.8
    assert rule.hash.encode() in (made.homes[0].ledger_folder / "data" / "ledger.jsonl").read_bytes()  # fmt: skip
    made.close()


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {
            "tasks": (TaskRule(id="valve", version="1.0.0"),)
        },  # a rule for what comes with the product
    ],
)
def test_an_offer_loads_nothing_that_the_policy_has_not_allowed(changes, tmp_path, monkeypatch):
    installed(tmp_path / "home", bench.GOOD)
    made = federation(tmp_path, **changes)
    driver, first = made.driver(plan(made, rounds__attempts=1), ask=False)
    _no_load(monkeypatch)
    with contextlib.suppress(RunFailed):
        driver.drive(first)
    assert refusals(made) == ["POLICY_TASK"] * 4
    check_nothing_charged(made)
    assert any("own_tasks does not allow valve 1.0.0 with hash" in each for each in made.statuses)
    made.close()


def test_a_rule_for_other_code_of_the_same_name_allows_nothing(tmp_path):
    installed(tmp_path / "home", bench.GOOD)
    made = federation(tmp_path, OwnTask(id="valve", version="1.0.0", hash="ab" * 32))
    with contextlib.suppress(RunFailed):
        made.train(plan(made, rounds__attempts=1), ask=False)
    assert refusals(made) == ["POLICY_TASK"] * 4
    check_nothing_charged(made)
    made.close()


def test_another_file_at_the_coordinator_is_refused_uncharged_and_both_hashes_are_named(tmp_path, monkeypatch):  # fmt: skip
    theirs = installed(tmp_path / "theirs", bench.GOOD + "\n# one more line\n")
    ours = candidate(str(bench.write(tmp_path, bench.GOOD)), Shelf(tmp_path / "ours"))
    rule = OwnTask(id="valve", version="1.0.0", hash=ours.entry.hash)
    made = federation(tmp_path, rule)
    driver, first = made.driver(plan(made, rounds__attempts=1), ask=False)
    ours.install(Shelf(tmp_path / "ours"))
    use(tmp_path / "ours")
    _no_load(monkeypatch)
    with pytest.raises(RunFailed, match="TASK_UNKNOWN"):
        driver.drive(first)
    assert refusals(made) == ["TASK_UNKNOWN"] * 4
    check_nothing_charged(made)
    (told, *_) = [each for each in made.statuses if "TASK_UNKNOWN" in each]
    assert f"{rule.hash} here and {theirs.hash} at the coordinator" in told
    made.close()


def test_a_copy_that_was_changed_is_refused_uncharged(tmp_path):
    rule = installed(tmp_path / "home", bench.GOOD)
    made = federation(tmp_path, rule)
    driver, first = made.driver(plan(made, rounds__attempts=1), ask=False)
    copy = tmp_path / "home" / "tasks" / "valve.py"
    copy.write_text(copy.read_text() + "\nraise SystemExit('it ran')\n")
    with contextlib.suppress(RunFailed):
        driver.drive(first)
    assert refusals(made) == ["TASK_UNKNOWN"] * 4
    check_nothing_charged(made)
    assert any("valve.py, or edgeveil, has changed since it was installed" in each for each in made.statuses)  # fmt: skip
    made.close()


def test_a_task_that_mixes_records_is_refused_uncharged_even_if_allowed(tmp_path):
    rule = installed(tmp_path / "home", bench.BATCH_NORM)
    made = federation(tmp_path, rule)
    with contextlib.suppress(RunFailed):
        made.train(plan(made, rounds__attempts=1), ask=False)
    assert refusals(made) == ["MODEL_NOT_INDEPENDENT"] * 4
    for home in made.homes:
        assert b'"kind":"reserve"' not in (home.ledger_folder / "data" / "ledger.jsonl").read_bytes()  # fmt: skip
    assert any("body.1 (BatchNorm1d)" in each and "GroupNorm" in each for each in made.statuses)
    made.close()


@pytest.mark.parametrize("name", ["valve", "shake", "leaf", "power"])
def test_a_package_of_its_model_computes_the_same(name, tmp_path):
    made = candidate(str(bench.write(tmp_path, bench.ALL[name])))
    faults = [each for each in examine(made.subject(), CHECKS_OF_A_COORDINATOR[-1:]) if each.fault]
    assert faults == []


def _no_load(monkeypatch):
    """Code of own tasks that is loaded from now on fails the test."""

    def loaded(_self):
        raise ConfigError("loaded for an offer")

    monkeypatch.setattr(shelves, "_loaded", {})
    monkeypatch.setattr("edgeveil.shared.tasks.own.source.Source.load", loaded)
