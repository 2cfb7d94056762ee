"""A coordinator that has a device refuse again and again, through the real session and the real log."""

import os
from dataclasses import replace

import pytest
from fakes_federation import Federation
from owners_log_bench import logged_to

from edgeveil.agent.home import log
from edgeveil.agent.home.refusals import read_refusals
from edgeveil.shared.base.clock import SystemClock
from edgeveil.shared.wire.messages import Attempt, Stage, make_request

FLOOD = 300


@pytest.fixture
def federation(tmp_path):
    federation = Federation(tmp_path)
    yield federation
    federation.close()


def test_a_flood_of_refusals_leaves_every_other_alarm_in_the_owners_log(federation, tmp_path):
    agent = federation.id_of("agent-1")
    session = federation.sessions[agent]

    def ask(number, stage):
        run = os.urandom(8).hex()
        return make_request(federation.coordinator, agent, stage, Attempt(run, number, 1), b"")

    path = tmp_path / log.FILE
    with logged_to(path, SystemClock()):
        forged = replace(ask(1, Stage.ROUND), signature=bytes(64))
        assert session.handle(forged).refusal is not None  # nobody but its coordinator may ask
        for number in range(1, FLOOD + 1):
            for stage in (Stage.ROUND, Stage.MASKED):
                assert session.handle(ask(number, stage)).refusal is not None
    counted = {
        code: entry["count"] for code, entry in read_refusals(session._device.home.path).items()
    }
    assert sum(counted.values()) == 2 * FLOOD + 1, "every refusal is counted for the report"
    lines = path.read_text().splitlines()
    assert "COORDINATOR_UNKNOWN" in lines[0]
    assert len(lines) == 1 + 2 * log.AT_ONCE
    assert not path.with_name(f"{log.FILE}.1").exists()
