"""`privacy = "none"` in a plan file: what it needs, what it must not name, and how its updates are rounded."""

import math

import numpy as np
import pytest
from fakes_federation import plan_for
from pydantic import ValidationError

from edgeveil.coordinator.plan.derived import secagg_params, training_plan
from edgeveil.coordinator.plan.first import Wanted, first_plan
from edgeveil.coordinator.plan.first_text import text
from edgeveil.coordinator.plan.plan import Plan
from edgeveil.coordinator.plan.plan_file import load_plan
from edgeveil.shared.base.errors import ConfigError
from edgeveil.shared.vector.quantization import dequantise, quantise

PLAN = """
[task]
id = "feature-head"
options = { variant = "fixed" }
[training]
privacy = "none"
steps = 18
learning_rate = 0.002
clip_norm = 5.0
optimizer = "adamw"
schedule = "cosine"
warmup = 3
[rounds]
count = 20
"""


def written(tmp_path, text):
    path = tmp_path / "plan.toml"
    path.write_text(text)
    return path


def test_a_plan_file_without_noise_needs_no_epsilon_and_is_stored_as_it_is(tmp_path):
    plan = load_plan(written(tmp_path, PLAN))
    assert plan.training.epsilon is None
    assert plan.training.limit == math.inf
    assert plan.weights == "uniform"
    assert Plan.model_validate_json(plan.model_dump_json()) == plan
    proposal = training_plan(plan)
    assert (proposal.noise_multiplier, proposal.delta, proposal.noised) == (0.0, 0.0, False)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("epsilon = 8.0", 'epsilon belongs to privacy = "dp"'),
        ("sample_rate = 0.5", 'sample_rate belongs to privacy = "dp"'),
        ("average = 0.5", 'average belongs to privacy = "dp"'),
    ],
)
def test_keys_of_noise_are_mistakes_in_it(tmp_path, line, said):
    text = PLAN.replace('privacy = "none"', f'privacy = "none"\n{line}')
    with pytest.raises(ConfigError, match=said):
        load_plan(written(tmp_path, text))


def test_a_plan_that_forgets_its_epsilon_is_no_plan_without_noise(tmp_path):
    text = PLAN.replace('privacy = "none"\n', "").split("optimizer")[0] + "[rounds]\ncount = 20\n"
    with pytest.raises(ConfigError, match="epsilon is missing"):
        load_plan(written(tmp_path, text))


def test_no_first_plan_is_without_noise():
    made = first_plan(Wanted(("cat", "dog"), (64, 64, 3), agents=5))
    assert made.plan.training.noised
    assert "privacy" not in text(made)


def test_scaffold_asks_for_noise():
    with pytest.raises(ValidationError, match='scaffold belongs to privacy = "dp"'):
        without(server__strategy="scaffold")


def without(**changes):
    keys = {"privacy": "none", "epsilon": None, "learning_rate": 0.1} | changes
    return plan_for(4, **{k if "__" in k else f"training__{k}": v for k, v in keys.items()})


@pytest.mark.parametrize("weights", ["uniform", "declared"])
def test_rounding_moves_an_update_by_a_thousandth_of_its_bound_at_most(weights):
    plan = without(optimizer="adamw", clip_norm=5.0, secagg__weights=weights)
    size, weight = 50_000, 1 if weights == "uniform" else plan.secagg.n_ref_max
    params = secagg_params(plan, training_plan(plan), size)
    values = params.segments[1]
    update = np.random.default_rng(0).normal(size=size)
    update *= 5.0 / np.linalg.norm(update)
    update[0] = 5.0  # all of the bound in one place still fits
    back = dequantise(quantise(update.astype(np.float32), values, weight=weight), values) / weight
    assert np.linalg.norm(back - update) <= 5.0 * 1e-3
