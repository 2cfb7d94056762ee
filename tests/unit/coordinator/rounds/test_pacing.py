"""How many are asked, how long is waited, who rests: all from round records, and from nothing else."""

import math
import random

import pytest
from toy_machine_bench import lost_agents, play, toy_stages

from edgeveil.coordinator.plan.cohort import needed, needed_for_quorum, select, survival
from edgeveil.coordinator.plan.plan import Plan
from edgeveil.coordinator.plan.sections import SecaggSection
from edgeveil.coordinator.records.records import Outcome, RoundRecord
from edgeveil.coordinator.rounds.pacing import KEPT, WAVE, deadlines, rates, resting, waves
from edgeveil.shared.wire.messages import Stage

NAMES = tuple(f"agent-{number}" for number in range(10))


def record(*, dropped=None, stages=None, seconds=None, outcome=Outcome.COMMITTED, selected=NAMES):
    dropped = dropped or {}
    return RoundRecord(
        "run", 1, 1, outcome,
        selected=selected, survived=tuple(set(selected) - set(dropped)), dropped=tuple(dropped),
        dropped_reasons=dropped,
        extra={"dropped_stages": stages or {}, "answer_seconds": seconds or {}},
    )  # fmt: skip


def test_the_numbers_are_those_of_the_exact_binomial():
    assert [needed(goal, 0.1) for goal in (3, 5, 10, 20, 50, 100)] == [7, 9, 16, 29, 65, 124]
    assert [needed(goal, 0.2) for goal in (3, 5, 10, 20, 50, 100)] == [9, 12, 20, 35, 77, 144]
    by_hand = sum(math.comb(16, k) * 0.9**k * 0.1 ** (16 - k) for k in range(10, 17))
    assert survival(16, 10, 0.1) == pytest.approx(by_hand, abs=1e-12)
    assert survival(15, 10, 0.1) < 0.999 <= survival(16, 10, 0.1)
    assert needed(7, 0.0) == 7


def test_a_small_goal_asks_for_enough_to_keep_the_quorum():
    quorum = SecaggSection(c_min=0).quorum
    assert needed_for_quorum(3, 0.2, 0.0, quorum) == needed(3, 0.2)
    assert needed_for_quorum(3, 0.05, 0.15, quorum) > needed(3, 0.2)
    assert needed_for_quorum(50, 0.05, 0.15, quorum) == needed(50, 1 - 0.95 * 0.85)


@pytest.mark.parametrize("goal", [300, 1000, 5000])
def test_a_large_goal_is_answered_at_once_whether_one_graph_serves_it_or_not(goal):
    nobody = SecaggSection(c_min=0, sigma=128).quorum
    for quorum in (SecaggSection(c_min=0).quorum, nobody, lambda members: members + 1):
        assert needed_for_quorum(goal, 0.2, 0.2, quorum) == needed(goal, 1 - 0.8 * 0.8)


def test_a_large_cohort_gets_more_time_for_its_later_stages():
    small, large = deadlines([], 300.0, 100), deadlines([], 300.0, 1000)
    assert (small.share_s, small.agree_s) == (20.0, 10.0)
    assert (large.share_s, large.masked_s, large.agree_s) == (200.0, 300.0, 100.0)
    assert deadlines([], 5.0, 1000).share_s == 5.0


def test_the_draw_is_uniform_and_never_repeats_an_agent():
    agents = [bytes([number]) for number in range(6)]
    counts = dict.fromkeys(agents, 0)
    for _ in range(3000):
        drawn = select(agents, 2)
        assert len(set(drawn)) == 2
        for agent in drawn:
            counts[agent] += 1
    assert all(abs(count - 1000) < 5 * math.sqrt(1000 * 2 / 3) for count in counts.values())
    assert select(agents, 99) == tuple(agents)


def test_rates_follow_what_was_lost_and_where():
    assert rates([]).first == pytest.approx(0.05)
    lost = {"agent-1": "lost", "agent-2": "deadline"}
    many = [record(dropped=lost, stages={"agent-1": "round", "agent-2": "masked"})] * 20
    found = rates(many)
    assert found.first == pytest.approx(0.1, abs=0.01)
    assert found.later == pytest.approx(1 / 9, abs=0.01)


def test_late_agents_and_lasting_refusals_are_no_losses():
    reasons = {"agent-1": "late", "agent-2": "refused:BUDGET_EXHAUSTED"}
    stages = {"agent-1": "round", "agent-2": "round"}
    assert rates([record(dropped=reasons, stages=stages)] * 20).first < 0.05


def test_a_deadline_is_the_plans_until_three_rounds_were_seen_and_adapts_then():
    seen = {stage.name.lower(): 2.0 for stage in Stage}
    assert deadlines([record(seconds=seen)] * 2, 300.0, 10).round_s == 300.0
    found = deadlines([record(seconds=seen)] * 3, 300.0, 10)
    assert {found.of(stage) for stage in Stage} == {11.0, 10.0}  # 3·2 + 5, and AGREE's own limit
    assert deadlines([record(seconds=seen | {"round": 200.0})] * 3, 300.0, 10).round_s == 300.0


def test_a_deadline_that_cut_somebody_off_doubles_until_it_does_not():
    seen = {"masked": 1.0}
    cut = record(dropped={"agent-1": "deadline"}, stages={"agent-1": "masked"}, seconds=seen)
    calm = record(seconds=seen)
    assert deadlines([calm] * 3, 300.0, 10).masked_s == 8.0
    assert deadlines([calm] * 3 + [cut], 300.0, 10).masked_s == 16.0
    assert deadlines([calm] * 3 + [cut] * 2, 300.0, 10).masked_s == 32.0
    assert deadlines([calm] * 3 + [cut] * 9, 300.0, 10).masked_s == 60.0
    assert deadlines([calm] * 3 + [cut, calm], 300.0, 10).masked_s == 8.0


def test_whoever_refuses_for_good_rests_ever_longer_and_is_asked_again():
    refused = record(dropped={"agent-1": "refused:POLICY_SIGMA"}, stages={"agent-1": "round"})
    others = record(selected=NAMES[2:])
    assert resting([refused]) == {"agent-1"}
    assert resting([refused, others]) == {"agent-1"}
    assert resting([refused, others, others]) == frozenset()
    twice = [refused, others, others, refused]
    assert resting(twice + [others] * 3) == {"agent-1"}
    assert resting(twice + [others] * 4) == frozenset()
    assert resting([refused, record()]) == frozenset()
    assert resting([refused] * 40 + [others] * 32) == frozenset()
    assert KEPT > 32


def test_an_agent_that_was_lost_or_refused_by_chance_does_not_rest():
    for why in ("lost", "deadline", "late", "refused:TIMEOUT", "refused:INTERNAL"):
        assert (
            resting([record(dropped={"agent-1": why}, stages={"agent-1": "round"})]) == frozenset()
        )


def test_offers_to_a_thousand_leave_in_waves_and_the_deadline_knows():
    agents = [number.to_bytes(16, "big") for number in range(1000)]
    found = list(waves(agents))
    assert [len(part) for _, part in found] == [WAVE] * 10
    assert [after for after, _ in found] == [float(second) for second in range(10)]
    assert [agent for _, part in found for agent in part] == agents
    assert deadlines([], 300.0, 1000).round_s == 309.0
    assert deadlines([], 300.0, 100).round_s == 300.0


@pytest.mark.parametrize(("goal", "rate"), [(3, 0.1), (10, 0.1), (10, 0.2), (20, 0.2)])
def test_the_real_machine_reaches_the_goal_as_often_as_promised(goal, rate):
    """2,000 rounds a row; scripts/monte_carlo_rounds.py plays a hundred thousand."""
    quorum = SecaggSection(c_min=0).quorum
    first = rate / 5
    later = (rate - first) / (1 - first)
    asked = needed_for_quorum(goal, first, later, quorum)
    adverts = needed_for_quorum(goal, 0.0, later, quorum, assurance=0.9999)
    chance = random.Random(goal)
    with toy_stages():
        reached = [
            play(asked, goal, adverts, lost_agents(asked, rate, chance)) >= goal
            for _ in range(2000)
        ]
    assert sum(reached) >= 2000 - 8  # 99.9 % leaves two; eight come with probability below 0.001
    flat = math.ceil(1.3 * goal)
    with toy_stages():
        few = [play(flat, goal, flat, lost_agents(flat, rate, chance)) >= goal for _ in range(500)]
    assert sum(few) < 500 * 0.999


def test_a_plan_sizes_its_lanes_for_twenty_per_cent():
    values = {
        "task": {"id": "feature-head"},
        "training": {"steps": 1, "clip_norm": 1.0, "learning_rate": 1.0, "epsilon": 8.0},
        "rounds": {"count": 1, "goal": 10},
    }
    assert Plan.model_validate(values).cohort_max == 20
