"""docs/tasks/detection.md: its plan is one, and every option stands on it."""

import re
import tomllib
from pathlib import Path

from edgeveil.coordinator.plan.derived import training_plan
from edgeveil.coordinator.plan.evaluation import judged_by
from edgeveil.coordinator.plan.plan import WITHOUT_NOISE, Plan
from edgeveil.shared.scores.detection import SHOWN_AT
from edgeveil.shared.tasks import registry
from edgeveil.shared.tasks.detection.networks import detector

TEXT = (Path(__file__).resolve().parents[2] / "docs/tasks/detection.md").read_text()
TASK = registry.load(registry.newest("detection"))


def planned():
    (block,) = re.findall(r"```toml\n# plan.toml\n(.*?)```", TEXT, re.DOTALL)
    plan = Plan.model_validate(tomllib.loads(block))
    return plan, TASK.parse_options(plan.task.options)


def test_the_plan_on_the_page_can_be_run():
    plan, _ = planned()
    assert training_plan(plan).noise_multiplier > 0
    assert judged_by(plan).name == "map50"


def test_the_plan_without_noise_is_one_that_nobody_is_warned_of_beyond_its_having_none():
    (block,) = re.findall(r"```toml\n(\[training\]\nprivacy.*?)```", TEXT, re.DOTALL)
    task = {"id": "detection", "options": {"labels": "a,b"}}
    plan = Plan.model_validate({"task": task, **tomllib.loads(block)})
    assert not training_plan(plan).noised
    assert WITHOUT_NOISE in plan.notices
    assert not any("mAP" in notice for notice in plan.notices)


def test_every_option_stands_on_the_page():
    _, options = planned()
    assert all(f"| `{name}` |" in TEXT for name in type(options).model_fields)


def test_sizes_and_thresholds_are_those_of_the_code():
    for raw, told in (({}, "473,920"), ({"variant": "tiny"}, "546,932"), ({"train": "classes"}, "1,746")):  # fmt: skip
        module = detector(TASK.parse_options({"labels": "a,b,c", **raw}))
        assert f"{sum(p.numel() for p in module.parameters() if p.requires_grad):,}" == told
        assert told in TEXT
    assert f"a score of at least {SHOWN_AT:g}".replace("0.", ".") in TEXT
