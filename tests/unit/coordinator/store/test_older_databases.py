"""Databases as each released schema wrote them, with members, an invitation, a roster and a run, come
forward whole. The stored texts are never written anew; a new schema adds one of the schema before it.
"""

import sqlite3
from dataclasses import replace
from pathlib import Path

import pytest
from scale_bench import plan_of
from store_bench import note

from edgeveil.coordinator.records.records import InviteState, Outcome, RunState
from edgeveil.coordinator.runs.runs import _same
from edgeveil.coordinator.store import schema
from edgeveil.coordinator.store.migrations import versions
from edgeveil.coordinator.store.store import Store
from edgeveil.shared.base.errors import ConfigError

STORED = Path(__file__).parents[3] / "vectors" / "databases"
RUN = "run-20260101-000000-0a1b2c3d"
OLDER = sorted(path.stem.removeprefix("schema-") for path in STORED.glob("schema-*.sql"))


def test_there_is_one_of_every_schema_before_this_one():
    found = sorted(path.name[1:5] for path in Path(versions.__path__[0]).glob("v*.py"))
    assert [version for version in found if version != schema.HEAD] == OLDER


@pytest.fixture(params=OLDER)
def home(request, tmp_path):
    with sqlite3.connect(tmp_path / "state.db") as plain:
        plain.executescript((STORED / f"schema-{request.param}.sql").read_text())
    (tmp_path / "state.db").chmod(0o600)
    return tmp_path


def test_a_look_does_not_migrate_and_says_what_does(home):
    before = (home / "state.db").read_bytes()
    with pytest.raises(ConfigError, match="written by an older version"):
        Store.open(home, read_only=True)
    assert (home / "state.db").read_bytes() == before


def test_everything_an_older_release_stored_is_there_after_the_migration(home):
    with Store.open(home) as store:
        assert note(store, "note") == "kept"
        assert [agent.name for agent in store.members()] == ["agent-1", "agent-2", "agent-3"]
        everybody = store.agents(include_revoked=True)
        assert [agent.name for agent in everybody if agent.revoked] == ["agent-4"]
        assert not any(agent.held for agent in everybody)
        (invite,) = store.invites()
        assert (invite.name, invite.state, invite.wrong_proofs) == ("agent-5", InviteState.OPEN, 2)
        signed = store.roster()
        assert signed.roster.epoch == 2
        assert set(signed.roster.members) == {agent.agent_id for agent in store.members()}
        (run,) = store.runs()
        assert (run.run_id, run.state) == (RUN, RunState.STOPPED)
        records = store.rounds(RUN)
        assert [(each.round, each.attempt, each.outcome) for each in records] == [
            (1, 1, Outcome.COMMITTED),
            (2, 1, Outcome.ABORTED),
            (2, 2, Outcome.COMMITTED),
        ]
        assert records[1].dropped_reasons["agent-1"] == "refused:POLICY_SIGMA"
        assert store.last_committed(RUN) == records[2]


def test_what_newer_schemas_sum_up_is_made_from_what_was_stored(home):
    with Store.open(home) as store:
        totals = store.totals(RUN)
        assert (totals.committed, totals.aborted, totals.smallest) == (2, 1, 2)
        assert (totals.seconds, totals.bytes_up, totals.bytes_down) == (7.5, 9000, 18000)
        assert store.charges(RUN) == {"agent-1": 2, "agent-2": 3, "agent-3": 3}


def test_the_run_goes_on_where_it_stood(home):
    with Store.open(home) as store:
        (run,) = store.runs()
        plan = plan_of(3, 3)
        task = plan.task.model_copy(update={"version": "1.0.0"})  # the one installed then
        secagg = plan.secagg.model_copy(update={"n_ref_max": 100_000})  # the default then
        then = {"task": task, "secagg": secagg}
        assert _same(run, plan.model_copy(update=then), "another hash, as plans have more keys")
        for now in then:
            changed = {name: value for name, value in then.items() if name != now}
            assert not _same(run, plan.model_copy(update=changed), f"another {now} is another run")
        assert not _same(run, plan_of(3, 4), "another hash")
        attempt = store.open_attempt(RUN, 3)
        last = store.last_committed(RUN)
        store.record_round(replace(last, round=3, attempt=attempt, finished=0.0))
        assert store.totals(RUN).committed == 3
        assert store.charges(RUN)["agent-1"] == 3
    Store.open(home, read_only=True).close()
