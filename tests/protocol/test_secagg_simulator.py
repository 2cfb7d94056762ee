"""The simulated network: CI plays a part of the schedules that scripts/simulate_protocol.py plays."""

from collections import Counter

import numpy as np
import pytest
from protocol.sim import CALM, Simulation, Violation, reuse_until_the_test_ends, simulate

from edgeveil.shared.secagg.client.masking import Shared
from edgeveil.shared.secagg.client.session import ClientSession
from edgeveil.shared.secagg.server.masking import CollectMasked

PLAIN = 100
pytestmark = pytest.mark.timeout(900)  # tens of seconds of work, on however busy a machine


@pytest.mark.parametrize("schedules", [300, pytest.param(1000, marks=pytest.mark.long)])
def test_no_schedule_breaks_a_rule(monkeypatch, schedules):
    """After the first hundred, what one party of a schedule signed or agreed on is not computed again."""
    ended, faults = Counter(), Counter()
    for seed in range(1, schedules + 1):
        if seed == PLAIN + 1:
            reuse_until_the_test_ends(monkeypatch)
        outcome = simulate(seed)
        ended.update(outcome.ended)
        faults.update(outcome.faults)
    assert ended["finished"] > schedules / 2
    assert {"crashed", "QUORUM", "COHORT_TOO_SMALL"} <= set(ended)
    assert min(faults[kind] for kind in ("drop", "duplicate", "late")) > schedules
    assert min(faults["agent crash"], faults["coordinator crash"]) > schedules / 4


@pytest.mark.parametrize("seed", [3, 77, 1059, 4711])
def test_one_seed_replays_the_same_schedule(seed):
    first, again = simulate(seed), simulate(seed)
    assert (first.trace, first.ended, first.faults) == (again.trace, again.ended, again.faults)


def _calm(seed):
    simulation = Simulation(seed)
    return simulation.weather is CALM and simulation.out.n > 4


SEED = next(seed for seed in range(1000) if _calm(seed))


def test_without_faults_the_first_attempt_finishes():
    assert simulate(SEED).ended == ["finished"]


def test_a_server_that_loses_a_vector_is_found(monkeypatch):
    take = CollectMasked._take

    def lossy(self, agent, body, bulk):
        before = self._total[1:].copy()
        take(self, agent, body, bulk)
        if len(self._u3) == 1:
            self._total[1:] = before

    monkeypatch.setattr(CollectMasked, "_take", lossy)
    with pytest.raises(Violation, match=f"seed {SEED}: aborted although"):
        simulate(SEED)


def test_a_summand_that_is_off_by_one_is_found(monkeypatch):
    add_masks = Shared._add_masks

    def shifted(self, pair_keys):
        add_masks(self, pair_keys)
        np.add(self.vector[1:], 1, out=self.vector[1:])

    monkeypatch.setattr(Shared, "_add_masks", shifted)
    with pytest.raises(Violation, match=f"seed {SEED}: a wrong sum"):
        simulate(SEED)


def test_an_agent_that_answers_a_repeated_request_anew_is_found(monkeypatch):
    """The cache is what keeps a transport retry from becoming a second release."""

    repeat = ClientSession._repeat

    def anew(self, stage):
        reply, vector = repeat(self, stage)
        return reply, memoryview(bytes(byte ^ 1 for byte in vector))

    monkeypatch.setattr(ClientSession, "_repeat", anew)
    with pytest.raises(Violation, match="two different masked vectors"):
        [simulate(seed) for seed in range(50)]
