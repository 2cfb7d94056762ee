"""A plan with so many devices in numbers, and what cannot be explained."""

import math

import pytest
from fakes_federation import plan_for
from secagg_bench import Bench, params

from edgeveil.coordinator.explaining.explain import Explanation, explain
from edgeveil.coordinator.explaining.looks import page, rows
from edgeveil.coordinator.plan.derived import training_plan
from edgeveil.shared.base.errors import ConfigError
from edgeveil.shared.secagg.primitives.errors import Aborted


def explained(agents, *, parameters=5890, dropout=0.0, bandwidth=100.0, **changes):
    plan = plan_for(10, **changes)
    given = {"parameters": parameters, "dropout": dropout, "bandwidth": bandwidth}
    return explain(plan, agents=agents, **given)


@pytest.mark.parametrize(
    ("agents", "shards", "size", "neighbours"),
    [(3, 1, 3, 2), (10, 1, 10, 9), (100, 1, 100, 99), (1000, 1, 1000, 120), (10_000, 20, 500, 98)],
)
def test_cohorts_of_every_size_are_explained(agents, shards, size, neighbours):
    found = explained(agents)
    assert (found.sums.shards, found.sums.smallest) == (shards, size)
    assert found.sums.neighbours == neighbours
    assert found.bytes_of_round.coordinator_in == agents * found.bytes_of_round.up


@pytest.mark.parametrize("agents", [4, 5, 8, 11])
def test_as_many_are_survived_as_the_protocol_survives_and_no_more(agents):
    told = explained(agents, rounds__goal=agents).sums
    bench = Bench.of(agents, params(agents, c_min=0))
    assert bench.params.solve(agents).t == told.threshold
    result = bench.play({"masked": range(told.lost_any)})
    assert len(result.u3) == agents - told.lost_any
    with pytest.raises(Aborted):
        Bench.of(agents, params(agents, c_min=0)).play({"masked": range(told.lost_any + 1)})


def test_more_devices_mean_less_noise_and_more_parameters_more_of_everything():
    few, many, wide = explained(10), explained(1000), explained(10, parameters=100_000)
    assert few.noise.std / many.noise.std == pytest.approx(10)
    assert wide.noise.norm_in_clips / few.noise.norm_in_clips == pytest.approx(math.sqrt(100_000 / 5890))  # fmt: skip
    assert wide.bytes_of_round.up > 10 * few.bytes_of_round.up
    assert wide.costs_of_round.coordinator_memory > few.costs_of_round.coordinator_memory
    plan = plan_for(10)
    sigma = training_plan(plan).noise_multiplier
    assert few.noise.std == pytest.approx(sigma * plan.training.clip_norm / math.sqrt(10))


def test_noise_in_shares_has_two_figures_and_no_noise_none():
    shared = explained(
        10, training__steps=1, privacy__noise="shared", privacy__honest=4, privacy__epsilon_sum=3.0,
        rounds__minimum=8,
    ).epsilon  # fmt: skip
    assert shared.run_of_sums < 3.0 < shared.run < 8.0
    assert shared.rounds_in_plan_budget >= 2


def test_the_run_and_a_spare_round_fit_into_the_budget_of_the_plan():
    plan = plan_for(10)
    found = explained(10).epsilon
    assert found.rounds_in_plan_budget >= plan.rounds.count + plan.rounds.spare


def test_losses_that_no_sum_survives_are_said():
    assert explained(100, dropout=0.1).sums.survives
    lost = explained(100, dropout=0.5)
    assert not lost.sums.survives
    assert ("survives 50% lost", "no") in [row[:2] for row in rows(lost)]


@pytest.mark.parametrize(
    "given",
    [
        {"agents": 2}, {"agents": 10_001}, {"agents": 10, "parameters": 0},
        {"agents": 10, "parameters": 10**12}, {"agents": 10, "dropout": math.nan},
        {"agents": 10, "dropout": 0.9}, {"agents": 10, "bandwidth": 0.0},
        {"agents": 10, "bandwidth": math.inf}, {"agents": 5, "rounds__goal": 18, "secagg__shard_max": 6, "server__robust": "median"},
    ],
    ids=str,
)  # fmt: skip
def test_what_cannot_be_explained_is_refused_in_one_sentence(given):
    with pytest.raises(ConfigError) as refused:
        explained(given.pop("agents"), **given)
    assert "\n" not in str(refused.value)


def test_json_reads_back_and_the_page_holds_every_row_and_needs_no_network():
    found = explained(100)
    assert Explanation.model_validate_json(found.model_dump_json()) == found
    made = page(found)
    assert all(row[0] in made for row in rows(found))
    assert "http://" not in made
    assert "https://" not in made
    assert "<script" not in made
