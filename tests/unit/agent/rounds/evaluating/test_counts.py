"""From a tally to masked integers: scaled exactly, noised as claimed, and refused where a claim is false."""

from dataclasses import replace

import numpy as np
import pytest
from fakes_federation import plan_for

from edgeveil.agent.rounds.evaluating.counts import (
    check_counts,
    noisy_lanes,
    sealed,
    sensitivity,
    unsealed,
    whole_multiple,
)
from edgeveil.coordinator.plan.evaluation import evaluation_params, evaluation_plan
from edgeveil.shared.base.errors import PolicyRefusal
from edgeveil.shared.scores import classification, matching, regression
from edgeveil.shared.scores.noisy.released import released

FORMS = {
    "classes": classification.form(10),
    "numbers": regression.FORM,
    "boxes": matching.form(2, 50),
}


def asked(form, **changes):
    plan = plan_for(4, evaluation__on="devices", evaluation__epsilon=1.0, **changes)
    what = released(form)
    proposal = evaluation_plan(plan, what.form)
    return proposal, evaluation_params(plan, proposal, what.form), what


@pytest.mark.parametrize("name", FORMS)
def test_a_plan_claims_no_more_noise_than_its_lanes_hold_and_wastes_little(name):
    proposal, params, what = asked(FORMS[name])
    check_counts(proposal, params, what)
    moved = sensitivity(params.segments[1], what.form.bound)
    claimed = proposal.noise_multiplier * moved
    assert 0.9 * (1 << proposal.noise_bits) < claimed <= 1 << proposal.noise_bits


def test_counts_come_back_from_a_sum_with_the_noise_of_all():
    proposal, params, _ = asked(FORMS["classes"])
    counts = np.arange(30) * 7
    segment = params.segments[1]
    scale = (1 << proposal.noise_bits) * segment.step
    lanes = [unsealed(sealed(noisy_lanes(counts, proposal, params)))[1:] for _ in range(200)]
    errors = np.array(lanes) * segment.step - counts
    assert abs(errors.mean()) < 4 * scale / np.sqrt(errors.size)
    assert errors.std() == pytest.approx(scale, rel=0.05)
    assert whole_multiple(segment) > 1


def test_what_is_not_a_whole_multiple_is_rounded_and_the_rounding_is_paid_for():
    proposal, params, _ = asked(FORMS["numbers"])
    segment = params.segments[1]
    assert whole_multiple(segment) == 0
    assert sensitivity(segment, 5.0) == pytest.approx(5.0 / segment.step + np.sqrt(5))
    counts = np.array([600 << 20, 3 << 20, 1 << 20, 300 << 20, 200 << 20])
    lanes = np.array([noisy_lanes(counts, proposal, params) for _ in range(300)])
    scale = (1 << proposal.noise_bits) * segment.step
    assert np.abs(lanes.mean(axis=0) * segment.step - counts).max() < 5 * scale / np.sqrt(300)


def test_counts_that_no_device_can_have_are_cut_before_the_noise():
    proposal, params, _ = asked(FORMS["classes"])
    lanes = noisy_lanes(np.full(30, 1 << 40), proposal, params)
    assert (np.abs(lanes) <= params.segments[1].bound).all()


LIES = {
    "a second weight": lambda plan, params: (plan, with_weight(params, 2)),
    "more cells": lambda plan, params: (plan, with_counts(params, count=31)),
    "other lanes": lambda plan, params: (plan, with_counts(params, name="params")),
    "finer lanes": lambda plan, params: (plan, with_counts(params, step=params.segments[1].step / 4)),
    "a smaller sensitivity": lambda plan, params: (plan.model_copy(update={"sensitivity": 1.0}), params),
    "less noise": lambda plan, params: (plan.model_copy(update={"noise_bits": 4}), params),
    "more noise than lanes": lambda plan, params: (plan.model_copy(update={"noise_bits": 28}), params),
}  # fmt: skip


def with_weight(params, bound):
    weight, counts = params.segments
    return replace(params, segments=(replace(weight, bound=bound), counts))


def with_counts(params, **changes):
    weight, counts = params.segments
    return replace(params, segments=(weight, replace(counts, **changes)))


@pytest.mark.parametrize("lie", LIES)
def test_a_vector_that_is_not_what_the_task_sums_is_refused(lie):
    proposal, params, what = asked(FORMS["classes"])
    with pytest.raises(PolicyRefusal) as refused:
        check_counts(*LIES[lie](proposal, params), what)
    assert refused.value.code == "POLICY_VECTOR"
