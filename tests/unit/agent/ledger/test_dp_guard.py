"""The device's decision on a proposal: one code per rule, in order, from public numbers only."""

import re
import subprocess
import sys
from dataclasses import replace

import privacy_bench as bench
import pytest

from edgeveil.agent.home.policy import Policy
from edgeveil.agent.home.size import Size, settle_size
from edgeveil.agent.ledger.guard import precheck
from edgeveil.shared.base.errors import BudgetExhausted, ConfigError, PolicyRefusal, RefusalCode
from edgeveil.shared.privacy.counting import charged
from edgeveil.shared.privacy.filter import cap
from edgeveil.shared.privacy.rdp import rdp_total


@pytest.fixture
def device(tmp_path):
    return bench.Device(tmp_path / "ledger")


@pytest.fixture
def store(device):
    with device.open() as store:
        yield store


def refusal(proposal, store, policy=None, pinned=bench.COORDINATOR):
    with pytest.raises(PolicyRefusal) as caught:
        precheck(proposal, policy or Policy(), store.state, pinned=pinned)
    return caught.value.code


def test_a_refusal_for_the_budget_says_what_still_fits_and_which_budget_would_do(device, store):
    asked = bench.question(rounds=10, steps=20)
    with pytest.raises(PolicyRefusal, match=r"ε 8 still fits: 2 rounds of 20 steps") as caught:
        precheck(asked, Policy(), store.state, pinned=bench.COORDINATOR)
    found = float(re.search(r"epsilon_max=([0-9.]+)", str(caught.value))[1])
    for wanted, enough in ((found, True), (found - 0.1, False)):
        limits = replace(
            store.state.limits, epsilon_max=wanted, cap=cap(wanted, 1e-5, store.state.alpha)
        )
        state = replace(store.state, limits=limits)
        assert (state.steps_left(4.43, 1.0) >= 200) == enough


def test_no_budget_is_named_for_a_plan_that_none_would_hold(store):
    asked = bench.question(noise_multiplier=0.5, steps=100, rounds=10)
    with pytest.raises(PolicyRefusal, match="no budget up to 50 holds the 10 to come"):
        precheck(asked, Policy(), store.state, pinned=bench.COORDINATOR)


def test_an_acceptable_proposal_is_admitted_and_changes_nothing(device, store):
    before = device.ledger.read_bytes()
    assert not device.admit(store, bench.question()).free
    assert device.ledger.read_bytes() == before


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"dataset_id": "other"}, RefusalCode.DATASET_UNKNOWN),
        ({"coordinator_id": b"x" * 32}, RefusalCode.POLICY_COORDINATOR),
        ({"noise_multiplier": 0.49}, RefusalCode.POLICY_SIGMA),
        ({"noise_multiplier": 1e300}, RefusalCode.POLICY_SIGMA),
        ({"sample_rate": 0.51}, RefusalCode.POLICY_SAMPLING),
        ({"steps": 101}, RefusalCode.POLICY_STEPS),
        ({"rounds": 11}, RefusalCode.POLICY_STEPS),
        ({"clip_norm": 0.09}, RefusalCode.POLICY_CLIP),
        ({"clip_norm": 1.01}, RefusalCode.POLICY_CLIP),
        ({"learning_rate": 1000.5}, RefusalCode.POLICY_LR),
        ({"learning_rate": 0.05}, RefusalCode.POLICY_LR),
        ({"delta": 2e-5}, RefusalCode.POLICY_DELTA),
        ({"rounds": 10, "steps": 20}, RefusalCode.POLICY_SIGMA),
        ({"noise_multiplier": 1.5, "steps": 50}, RefusalCode.BUDGET_WOULD_EXCEED),
    ],
)
def test_each_rule_has_its_code(store, changes, code):
    policy = Policy(
        q_max=0.5 if code is RefusalCode.POLICY_SAMPLING else 1.0,
        steps_max=100,
        rounds_max=10,
        clip_norm={"least": 0.1, "most": 1.0},
        learning_rate={"least": 0.1, "most": 1000.0},
    )
    assert refusal(bench.question(**changes), store, policy) is code


def test_a_plan_without_noise_is_refused_by_name(store):
    asked = bench.question(**bench.WITHOUT_NOISE)
    assert refusal(asked, store) is RefusalCode.POLICY_DP
    named = Policy(without_noise_for=[bench.COORDINATOR.hex()])
    assert refusal(asked, store, named) is RefusalCode.POLICY_DP


def test_the_owners_word_holds_for_the_coordinator_it_names_and_no_other(store):
    asked = bench.question(**bench.WITHOUT_NOISE)
    other = Policy(dp_required=False, without_noise_for=["ab" * 32])
    assert refusal(asked, store, other) is RefusalCode.POLICY_DP
    own = Policy(dp_required=False, without_noise_for=["ab" * 32, bench.COORDINATOR.hex()])
    assert not precheck(asked, own, store.state, pinned=bench.COORDINATOR).free


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"steps": 101}, RefusalCode.POLICY_STEPS),
        ({"rounds": 11}, RefusalCode.POLICY_STEPS),
        ({"clip_norm": 1.01}, RefusalCode.POLICY_CLIP),
        ({"learning_rate": 1000.5}, RefusalCode.POLICY_LR),
        ({"dataset_id": "other"}, RefusalCode.DATASET_UNKNOWN),
        ({"coordinator_id": b"x" * 32}, RefusalCode.POLICY_COORDINATOR),
        ({"n_ref_min": 2000}, RefusalCode.POLICY_SIZE),
    ],
)
def test_every_other_rule_holds_without_noise_too(store, changes, code):
    policy = Policy(
        dp_required=False,
        without_noise_for=[bench.COORDINATOR.hex()],
        steps_max=100,
        rounds_max=10,
        clip_norm={"least": 0.1, "most": 1.0},
        learning_rate={"least": 0.1, "most": 1000.0},
    )
    asked = bench.question(**bench.WITHOUT_NOISE | changes)
    assert refusal(asked, store, policy) is code


def test_noise_for_which_not_one_step_fits_finds_the_budget_exhausted(store):
    policy = Policy(sigma_min=0.1)
    asked = bench.question(noise_multiplier=0.2)
    assert refusal(asked, store, policy) is RefusalCode.BUDGET_EXHAUSTED


def test_a_refused_task_is_named_by_id_version_and_hash(store):
    allowed = {"id": "feature-head", "version": "1.0.0"}
    for rule, fits in (
        (allowed, True),
        ({**allowed, "hash": (b"t" * 32).hex()}, True),
        ({**allowed, "hash": "00" * 32}, False),
        ({**allowed, "version": "1.0.1"}, False),
        ({**allowed, "id": "other"}, False),
    ):
        policy = Policy(tasks=[rule])
        if fits:
            precheck(bench.question(), policy, store.state, pinned=bench.COORDINATOR)
        else:
            assert refusal(bench.question(), store, policy) is RefusalCode.POLICY_TASK
    assert refusal(bench.question(), store, Policy(tasks=[])) is RefusalCode.POLICY_TASK


def test_a_task_may_be_allowed_with_some_of_its_models_only(store):
    policy = Policy(tasks=[{"id": "feature-head", "version": "1.0.0", "variants": ["fixed"]}])
    named = bench.question(options={"variant": "fixed"})
    precheck(named, policy, store.state, pinned=bench.COORDINATOR)
    for options in ({"variant": "cnn"}, {}):
        asked = bench.question(options=options)
        assert refusal(asked, store, policy) is RefusalCode.POLICY_TASK


def test_a_listed_coordinator_replaces_the_pinned_one(store):
    policy = Policy(coordinators=[bench.COORDINATOR.hex()])
    precheck(bench.question(), policy, store.state, pinned=b"z" * 32)
    assert (
        refusal(bench.question(coordinator_id=b"z" * 32), store, policy, pinned=b"z" * 32)
        is RefusalCode.POLICY_COORDINATOR
    )


def test_a_round_beyond_the_plan_is_refused(store):
    assert refusal(bench.question(6), store) is RefusalCode.POLICY_STEPS


def test_a_charged_attempt_or_an_earlier_one_is_a_replay(device, store):
    device.spend(store, bench.question(2, 3))
    for earlier in (bench.question(2, 3), bench.question(2, 2), bench.question(1, 9)):
        assert refusal(earlier, store) is RefusalCode.ROUND_REPLAY
    device.admit(store, bench.question(1, 1, run="run-2"))


def test_a_later_attempt_after_an_upload_is_charged_anew(device, store):
    device.spend(store, bench.question(1, 1), until="submit")
    assert not device.admit(store, bench.question(1, 2)).free


def test_a_sealed_update_answers_a_new_attempt_of_the_same_question_for_free(device, store):
    device.spend(store, bench.question(1, 1), until="seal")
    assert device.admit(store, bench.question(1, 2)).free
    for other in (
        bench.question(2, 1),
        bench.question(1, 2, model_hash=b"n" * 32),
        bench.question(1, 2, task_hash=b"n" * 32),
        bench.question(1, 2, learning_rate=99.0),
        bench.question(1, 2, run="run-2"),
    ):
        assert not device.admit(store, other).free


def test_a_free_answer_needs_no_budget(tmp_path):
    device = bench.Device(tmp_path / "one-round")
    plan = {"noise_multiplier": 2.0, "rounds": 1, "steps": 9}
    with device.open() as store:
        device.spend(store, bench.question(1, 1, **plan), until="seal")
        assert store.state.steps_left(2.0, 1.0) < 9
        assert device.admit(store, bench.question(1, 2, **plan)).free


def test_the_rest_of_the_plan_must_fit_too(store):
    fits = store.state.steps_left(4.43, 1.0)
    assert fits == 48
    precheck(bench.question(rounds=6), Policy(), store.state, pinned=bench.COORDINATOR)
    assert refusal(bench.question(rounds=7), store) is RefusalCode.POLICY_SIGMA


def test_the_budget_ends_at_the_exact_step(device, store):
    for round_number in range(1, 7):
        device.spend(store, bench.question(round_number, rounds=6))
    assert store.state.steps_left(4.43, 1.0) == 0
    with pytest.raises(BudgetExhausted) as caught:
        device.admit(store, bench.question(1, run="run-2", rounds=1, steps=1))
    assert caught.value.code is RefusalCode.BUDGET_EXHAUSTED
    assert store.state.epsilon_enforced <= 8.0


def test_a_ledger_whose_delta_is_too_large_for_its_data_refuses(tmp_path):
    with bench.Device(tmp_path / "l", size=Size(100), policy=Policy(delta=1e-3)).open() as store:
        state = replace(store.state, n_ref=1000)
        with pytest.raises(PolicyRefusal) as caught:
            precheck(bench.question(), Policy(delta=1e-3), state, pinned=bench.COORDINATOR)
        assert caught.value.code is RefusalCode.POLICY_DELTA


def test_the_guard_and_the_ledger_need_no_torch():
    code = (
        "import sys, edgeveil.agent.ledger.guard, edgeveil.agent.ledger.store, edgeveil.agent.home.policy, edgeveil.agent.ledger.fingerprint;"
        "sys.exit(any(name in sys.modules for name in ('torch', 'opacus', 'flwr')))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize(
    ("least", "most", "refused"),
    [(1, 1000, False), (1000, 1000, False), (1, 1, False), (1001, 1, True), (1, 999, True)],
)
def test_a_plan_for_devices_of_another_size_is_refused(store, least, most, refused):
    """A most of 1: all weigh alike, and the size has no upper end."""
    asked = replace(bench.question(n_ref_min=least), weight_max=most)
    if not refused:
        precheck(asked, Policy(), store.state, pinned=bench.COORDINATOR)
        return
    assert refusal(asked, store) is RefusalCode.POLICY_SIZE


def test_a_count_is_charged_with_the_first_record_and_a_declared_size_costs_nothing(tmp_path):
    with bench.Device(tmp_path / "one" / "declared").open() as store:
        assert (store.state.rdp_spent, store.state.history) == (0.0, ())
    with bench.Device(tmp_path / "two" / "counted", size=Size(30, 10)).open() as store:
        state = store.state
        assert state.history == (charged(10),)
        assert state.rdp_spent == rdp_total(state.history, state.alpha) > 0
        assert state.n_ref == 30


def test_the_size_is_the_owner_s_figure_or_a_step_of_the_ladder():
    assert settle_size(Policy(n_ref=500), lambda: 143) == Size(500)
    counted = settle_size(Policy(), lambda: 100_000)
    assert counted == Size(100_000, 10)
    with pytest.raises(ConfigError):
        settle_size(Policy(), lambda: 0)
