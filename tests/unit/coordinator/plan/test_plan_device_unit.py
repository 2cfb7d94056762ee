"""`unit = "device"` in a plan: what it goes with, lanes wide enough on every device, and how many devices it takes."""

import math
from dataclasses import replace

import numpy as np
import pytest
from fakes_federation import plan_for
from pydantic import ValidationError

from edgeveil.agent.rounds.upload import check_share, clip_in_lanes, noised_lanes
from edgeveil.agent.training.noiseless import bounded
from edgeveil.coordinator.plan.derived import check_worth, secagg_params, training_plan
from edgeveil.coordinator.plan.plan import Plan
from edgeveil.coordinator.plan.plan_file import load_plan
from edgeveil.shared.base.errors import ConfigError, PolicyRefusal, RefusalCode
from edgeveil.shared.privacy.rdp import Segment, epsilon
from edgeveil.shared.privacy.shared_noise import rounded_sensitivity
from edgeveil.shared.vector.quantization import quantise

DEVICES = {
    "training__unit": "device", "training__steps": 20, "training__learning_rate": 0.05,
    "training__clip_norm": 0.5, "training__epsilon": 8.0, "rounds__count": 20,
}  # fmt: skip


def of_devices(agents=128, **changes):
    return plan_for(agents, **DEVICES | changes)


def test_noise_follows_from_rounds_whatever_the_local_steps():
    few, many = (training_plan(of_devices(training__steps=steps)) for steps in (1, 500))
    assert few.noise_multiplier == many.noise_multiplier
    spent = epsilon([Segment(few.noise_multiplier, 1.0, few.rounds)], few.delta)[0]
    assert 0.9 * 8 < spent <= 8


def test_it_is_stored_as_it_is_and_every_device_counts_once(tmp_path):
    plan = of_devices(training__optimizer="adamw", training__batch_size=8)
    assert plan.weights == "uniform"
    assert Plan.model_validate_json(plan.model_dump_json()) == plan
    assert '"unit"' not in plan_for(4).model_dump_json()
    path = tmp_path / "plan.toml"
    path.write_text(
        '[task]\nid = "feature-head"\noptions = { variant = "fixed" }\n[training]\nunit = "device"\nsteps = 9\n'
        "learning_rate = 0.1\nclip_norm = 1.0\nepsilon = 8.0\n[rounds]\ncount = 20\n"
    )
    assert load_plan(path).training.whole


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"training__sample_rate": 0.5}, 'sample_rate belongs to unit = "record"'),
        ({"training__average": 0.5}, 'average belongs to unit = "record"'),
        ({"training__proximal": 0.1}, 'proximal belongs to unit = "record"'),
        ({"training__privacy": "none", "training__epsilon": None}, 'belongs to privacy = "dp"'),
        ({"training__epsilon": None}, "epsilon is missing"),
        ({"secagg__weights": "declared"}, "every device counts once"),
        ({"server__strategy": "scaffold"}, "scaffold belongs to"),
    ],
    ids=str,
)
def test_a_plan_that_means_nothing_is_a_mistake(wrong, said):
    with pytest.raises(ValidationError, match=said):
        of_devices(**wrong)


@pytest.mark.parametrize("agents", [3, 13, 128])
@pytest.mark.parametrize("shared", [False, True])
def test_no_two_clipped_updates_are_rounded_further_apart_than_the_noise_covers(agents, shared):
    """The grid of so many devices; the longest updates there are, and opposite ones, rounded alike."""
    noise = {"privacy__noise": "shared", "privacy__honest": 2, "privacy__epsilon_sum": 40.0, "secagg__gamma_ppm": 0}  # fmt: skip
    plan = of_devices(agents, training__epsilon=50.0, **(noise if shared else {}))
    proposal, parameters = training_plan(plan), max(1, agents // 4)
    params = secagg_params(plan, proposal, parameters)
    check_share(proposal, params, 60)
    values, scale = params.segments[1], 1 << proposal.noise_bits
    charged = rounded_sensitivity(clip_in_lanes(proposal, params, 60), parameters)
    assert scale / charged == pytest.approx(proposal.noise_multiplier, rel=1e-6)
    assert math.sqrt(parameters) / charged < 0.05
    random = np.random.default_rng(agents)
    for _ in range(20):
        long = random.normal(size=parameters) * 1e3
        update, other = bounded(long, 0.5), bounded(-long, 0.5)
        assert np.linalg.norm(update.astype(float)) <= 0.5
        key = random.bytes(32)
        one, two, none = (quantise(u, values, random=lambda _, key=key: key) for u in (update, other, 0 * update))  # fmt: skip
        assert 0.9 * charged < np.linalg.norm(one - two) <= charged
        assert np.linalg.norm(one - none) <= rounded_sensitivity(0.5 / values.step, parameters)
    lanes, beyond = noised_lanes(update, proposal, params)
    assert beyond == 0
    assert np.abs(lanes).max() <= values.bound


@pytest.mark.parametrize("count", [3, 128])
def test_noise_for_half_the_distance_and_lanes_too_fine_are_refused_by_the_device(count):
    """As a coordinator would that charges C in place of 2·C: the same noise under a σ twice as large."""
    plan = of_devices(count, training__epsilon=50.0)
    proposal = training_plan(plan)
    params = secagg_params(plan, proposal, 1)
    weight, values = params.segments
    doubled = proposal.model_copy(update={"noise_multiplier": 2 * proposal.noise_multiplier})
    finer = replace(params, segments=(weight, replace(values, step=values.step * 0.999)))
    full = replace(params, segments=(weight, replace(values, bound=9 << proposal.noise_bits)))
    weighed = replace(params, segments=(replace(weight, bound=100), values))
    for wrong in ((doubled, params), (proposal, finer), (proposal, full), (proposal, weighed)):
        with pytest.raises(PolicyRefusal) as refusal:
            check_share(*wrong, 60)
        assert refusal.value.code is RefusalCode.POLICY_VECTOR


def test_too_few_devices_are_refused_with_how_many_it_takes_and_that_many_are_not():
    """ε 8 in 650 parameters: over a thousand with local noise, a tenth of that with shares of 100 honest ones."""
    plan = of_devices(200)
    with pytest.raises(ConfigError, match=r"it takes (1,\d\d\d) devices") as refused:
        check_worth(plan, training_plan(plan), 650)
    needed = int(refused.value.message.split("it takes ")[1].split()[0].replace(",", ""))
    for agents, fits in ((needed, True), (needed - 1, False)):
        plan = of_devices(agents, secagg__n_max=2000)
        if fits:
            check_worth(plan, training_plan(plan), 650)
            continue
        with pytest.raises(ConfigError, match="it takes"):
            check_worth(plan, training_plan(plan), 650)
    shared = of_devices(
        200, rounds__minimum=180, privacy__noise="shared", privacy__honest=100,
        privacy__epsilon_sum=8.0, training__epsilon=50.0, secagg__gamma_ppm=100_000,
    )  # fmt: skip
    check_worth(shared, training_plan(shared), 650)
