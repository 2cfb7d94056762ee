"""Every way in which a round aggregates nothing ends it with a reason in log, metric and exit code."""

from dataclasses import replace

import numpy as np
import pytest
from crash_bench import Scenario, World
from events_bench import read_events
from thin_bench import thin_plan

from edgeveil.agent.rounds import work
from edgeveil.coordinator.rounds import training_round
from edgeveil.coordinator.watching.metrics import Metrics
from edgeveil.shared.base.errors import RunFailed
from edgeveil.shared.base.exit_codes import ExitCode
from edgeveil.shared.wire.messages import VERSIONS, RoundOffer, Stage, make_request
from edgeveil.shared.wire.versions import Versions


@pytest.fixture
def world(tmp_path):
    made = World.make(tmp_path / "world", Scenario(1, rounds=1, attempts=1, quiet=True))
    made.plan = thin_plan(4, rounds=1, rounds__attempts=1)
    yield made.open()
    made.close()


def nobody_trains(world, _monkeypatch):
    """Zero usable updates: every agent is silent once it should upload."""
    world.scenario.silent = lambda _attempt: dict.fromkeys(range(4), Stage.MASKED)
    return "COHORT_TOO_SMALL", ""


def another_model(world, _monkeypatch):
    """The bytes that arrive are not the model whose hash the coordinator signed."""

    def hear(_agent, request):
        if request.stage is not Stage.ROUND:
            return request
        return replace(request, bulk=bytes(request.bulk[:-4]) + np.float32(1).tobytes())

    world.hearing = hear
    return "CTX_MISMATCH", "refused:CTX_MISMATCH"


def another_version(world, _monkeypatch):
    newer = Versions(VERSIONS.newest + 1, VERSIONS.newest + 2)

    def hear(agent, request):
        if request.stage is not Stage.ROUND:
            return request
        body = replace(RoundOffer.decode(request.body), versions=newer).encode()
        signer = world.driver._training._signer
        return make_request(signer, agent, request.stage, request.attempt, body, request.bulk)

    world.hearing = hear
    return "VERSION", "refused:VERSION"


def not_a_number_on_the_devices(_world, monkeypatch):
    """An update that is not finite never leaves a device."""
    made = work.from_blob
    monkeypatch.setattr(work, "from_blob", lambda blob: made(blob) * np.float32("nan"))
    return "UPDATE_NON_FINITE", "refused:UPDATE_NON_FINITE"


def not_a_number_in_the_sum(world, monkeypatch):
    monkeypatch.setattr(
        training_round, "mean_update", lambda _result, _params: np.full(world.size, np.inf)
    )
    return "MODEL_INVALID", ""


EXITS = {
    "MODEL_INVALID": ExitCode.USAGE,  # the plan has to change
    "UPDATE_NON_FINITE": ExitCode.USAGE,
    "VERSION": ExitCode.NOT_PERMITTED,  # the devices have to
}
FAULTS = (
    nobody_trains,
    another_model,
    another_version,
    not_a_number_on_the_devices,
    not_a_number_in_the_sum,
)


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.__name__)
def test_nothing_aggregated_is_said_in_log_metric_and_exit_code(world, monkeypatch, fault):
    reason, dropped = fault(world, monkeypatch)
    with pytest.raises(RunFailed, match=f"{reason}[^$]*{dropped}") as caught:
        world.work()
    assert caught.value.exit_code is EXITS.get(reason, ExitCode.TEMPORARY)
    (record,) = world.store.rounds()
    assert (record.outcome, record.reason, record.survived) == ("aborted", reason, ())
    lines = list(read_events(world.driver.run.folder / "events.jsonl"))
    assert [line.reason for line in lines if line.event == "round.abort"] == [reason]
    assert not [line for line in lines if line.event == "round.commit"]
    metrics = Metrics(lambda: None)
    for line in lines:
        metrics.take(line)
    shown = metrics._registry.render()
    assert 'edgeveil_rounds_total{outcome="committed"} 0' in shown
    assert f'edgeveil_aborts_total{{reason="{reason}"}} 1' in shown
    if dropped:
        reasons = record.dropped_reasons.values()
        assert len(reasons) == 4
        assert all(why.startswith(dropped) for why in reasons)
        assert f'edgeveil_refusals_total{{code="{dropped.partition(":")[2]}"}} 4' in shown
    assert world.store.last_committed(world.driver.run.run_id) is None
    assert not list(world.driver.run.folder.glob("round-0001*"))
