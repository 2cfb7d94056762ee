"""The device's decision on one question, from public values and the ledger only; no torch.

Neither the answer nor its timing depends on a record, and none on the clock. The order of the checks
is that of docs/design.md, "Privacy"; each refusal names one code and public numbers.
"""

import hashlib
import math
from dataclasses import dataclass

from edgeveil.agent.home.policy import MOST_EPSILON, OwnTask, Policy, TaskRule
from edgeveil.shared.base.errors import BudgetExhausted, PolicyRefusal, RefusalCode
from edgeveil.shared.privacy.filter import ROUND_UP
from edgeveil.shared.privacy.ledger.state import LedgerState, Phase
from edgeveil.shared.privacy.rdp import HIGHEST_SIGMA, Segment, to_epsilon
from edgeveil.shared.privacy.shared_noise import shares
from edgeveil.shared.wire.messages import Attempt
from edgeveil.shared.wire.plan import AnyPlan, EvaluationPlan


@dataclass(frozen=True, slots=True)
class Question:
    """What the coordinator asks for, after its signatures were checked.

    `coordinator_id` is its public key; `dataset_id` is the local name of the data to be used.
    """

    coordinator_id: bytes
    task_id: str
    task_version: str
    task_hash: bytes
    model_hash: bytes
    plan: AnyPlan
    plan_json: bytes
    attempt: Attempt
    dataset_id: str
    own_task: bool = False  # the owner installed it; it did not come with the product
    weight_max: int = 1  # the most that an agent may weigh in the sum; 1: all weigh alike

    @property
    def plan_hash(self) -> bytes:
        return hashlib.sha256(self.plan_json).digest()

    @property
    def segment(self) -> Segment:
        """What one round of this plan spends, whoever else is honest."""
        plan = self.plan
        if plan.shared_noise:
            return shares(plan.noise_multiplier, plan.honest, plan.sample_rate)[1]
        return Segment(plan.noise_multiplier, plan.sample_rate, plan.charged_steps)

    @property
    def summed(self) -> Segment:
        """What the sum of one round shows: the same, unless noise is in shares and enough of them are honest."""
        plan = self.plan
        if plan.shared_noise:
            return shares(plan.noise_multiplier, plan.honest, plan.sample_rate)[0]
        return self.segment


@dataclass(frozen=True, slots=True)
class Reservation:
    """An admitted question. `free` if a sealed, never submitted update answers it at no cost."""

    question: Question
    free: bool


def precheck(
    question: Question,
    policy: Policy,
    state: LedgerState,
    *,
    pinned: bytes,
    offline: bool = False,
) -> Reservation:
    """Admit or refuse; changes nothing. `pinned` is the public key this device enrolled with, `offline`
    whether its token said that the federation key is not on the coordinator's machine.

    The floors of secure aggregation are Policy.client_policy().check(params), before reserving.

    Raises:
        PolicyRefusal: outside the policy or the ledger's rules.
        BudgetExhausted: BUDGET_EXHAUSTED if not one step fits, BUDGET_WOULD_EXCEED if the round
            does not. A round that fits while the rest of the plan would not is POLICY_SIGMA.
    """
    _check_dataset(question, state)
    _check_parties(question, policy, pinned)
    _check_replay(question, state)
    _check_noise(question, policy)
    _check_evaluation(question, policy)
    _check_shares(question, policy, state, offline=offline)
    _check_plan(question, policy)
    _check_size(question, state)
    free = reusable(question, state)
    if not question.plan.noised:
        return Reservation(question, free)
    _check_delta(question, policy, state)
    rounds = remaining_rounds(question) - int(free)
    _check_budget(question, state, rounds=rounds, free=free)
    _check_sums(question, state, rounds=rounds, free=free)
    return Reservation(question, free)


def reusable(question: Question, state: LedgerState) -> bool:
    """True if the newest reservation holds a sealed update for exactly this question."""
    entry = state.current
    return (
        entry is not None
        and entry.phase is Phase.SEALED
        and entry.attempt.run_id == question.attempt.run_id
        and entry.attempt.round == question.attempt.round
        and entry.task_hash == question.task_hash
        and entry.model_hash == question.model_hash
        and entry.plan_hash == question.plan_hash
    )


def remaining_rounds(question: Question) -> int:
    """Of the plan's rounds, or of its evaluations, those still to come, this one included."""
    if isinstance(question.plan, EvaluationPlan):
        return question.plan.left(question.attempt.round)
    return question.plan.rounds - question.attempt.round + 1


def _check_dataset(question: Question, state: LedgerState) -> None:
    if question.dataset_id != state.dataset_id:
        raise PolicyRefusal(
            RefusalCode.DATASET_UNKNOWN,
            f"dataset {question.dataset_id!r} is not the one of this ledger ({state.dataset_id!r})",
        )


def _check_parties(question: Question, policy: Policy, pinned: bytes) -> None:
    allowed = (
        question.coordinator_id == pinned
        if isinstance(policy.coordinators, str)
        else question.coordinator_id.hex() in policy.coordinators
    )
    if not allowed:
        raise PolicyRefusal(
            RefusalCode.POLICY_COORDINATOR,
            f"policy.toml: coordinators does not allow {question.coordinator_id.hex()[:16]}…",
        )
    if question.own_task:
        check_own_task(policy, question.task_id, question.task_version, question.task_hash)
        return
    if isinstance(policy.tasks, str):
        return
    if not any(_allows(rule, question) for rule in policy.tasks):
        raise PolicyRefusal(
            RefusalCode.POLICY_TASK,
            f"policy.toml: tasks does not allow {question.task_id} {question.task_version} "
            f"with hash {question.task_hash.hex()[:16]}…",
        )


def check_own_task(policy: Policy, task_id: str, version: str, task_hash: bytes) -> None:
    """Before an own task is loaded: the owner has allowed exactly this code.

    Raises:
        PolicyRefusal: POLICY_TASK.
    """
    if OwnTask(id=task_id, version=version, hash=task_hash.hex()) not in policy.own_tasks:
        raise PolicyRefusal(
            RefusalCode.POLICY_TASK,
            f"policy.toml: own_tasks does not allow {task_id} {version} with hash {task_hash.hex()}; "
            "to allow it: agent task install FILE",
        )


def _allows(rule: TaskRule, question: Question) -> bool:
    same = (rule.id, rule.version) == (question.task_id, question.task_version)
    model = rule.variants is None or question.plan.options.get("variant") in rule.variants
    return same and model and rule.hash in {None, question.task_hash.hex()}


def _check_replay(question: Question, state: LedgerState) -> None:
    last = state.last_attempts.get(question.attempt.run_id)
    if last is not None and question.attempt <= last:
        raise PolicyRefusal(
            RefusalCode.ROUND_REPLAY,
            f"{question.attempt} is not after {last}, which the ledger already charged",
        )


def _check_noise(question: Question, policy: Policy) -> None:
    """Without noise by the owner's word alone, which names the coordinator it trusts so far."""
    if question.plan.noised or question.coordinator_id.hex() in policy.exempt:
        return
    why = (
        "dp_required is true"
        if policy.dp_required
        else f"without_noise_for does not name {question.coordinator_id.hex()[:16]}…"
    )
    raise PolicyRefusal(
        RefusalCode.POLICY_DP, f"the plan trains without noise, and policy.toml: {why}"
    )


def _check_evaluation(question: Question, policy: Policy) -> None:
    """On records that the owner holds out of training for it, and no more often than the plan says."""
    plan, number = question.plan, question.attempt.round
    if not isinstance(plan, EvaluationPlan):
        return
    if not policy.evaluation_share:
        raise PolicyRefusal(
            RefusalCode.POLICY_METRICS,
            "the plan evaluates on devices, and policy.toml: evaluation_share holds no record out for that; "
            "to allow it: agent policy set evaluation_share=0.2",
        )
    if not plan.due(number) and number <= plan.rounds:
        raise PolicyRefusal(
            RefusalCode.POLICY_METRICS,
            f"an evaluation after round {number}, and by the plan it follows every {plan.every} of {plan.rounds}",
        )


def _check_shares(question: Question, policy: Policy, state: LedgerState, *, offline: bool) -> None:
    """Noise in shares by the owner's word, and where two parties know that the coordinator admits nobody."""
    if not question.plan.shared_noise:
        return
    if policy.shared_noise is None:
        why = "policy.toml has no shared_noise, by which its owner would allow that"
    elif not offline:
        why = (
            "this device's token did not say that the federation key is kept off the coordinator's machine; "
            "join with a new token of a federation that is not in one-machine mode"
        )
    elif not state.sum_alpha:
        why = "the ledger has not chained a policy that allows it; start agent run again"
    else:
        return
    raise PolicyRefusal(
        RefusalCode.POLICY_NOISE, f"the plan has each agent add a share of the noise, and {why}"
    )


def _can_be_charged(plan: AnyPlan) -> bool:
    try:
        shares(plan.noise_multiplier, plan.honest, plan.sample_rate)
    except ValueError:
        return False
    return True


def _check_plan(question: Question, policy: Policy) -> None:
    plan = question.plan
    sigma, q = plan.noise_multiplier, plan.sample_rate
    if plan.noised and not policy.sigma_min <= sigma <= HIGHEST_SIGMA:
        bounds = f"{policy.sigma_min}..{HIGHEST_SIGMA}"
        raise _outside(RefusalCode.POLICY_SIGMA, "noise_multiplier", sigma, bounds, "within")
    if plan.shared_noise and not _can_be_charged(plan):
        bounds = f"0.001..{HIGHEST_SIGMA}"
        raise _outside(
            RefusalCode.POLICY_SIGMA, "noise_multiplier·√honest", sigma, bounds, "within"
        )
    if not 0 < q <= policy.q_max:
        raise _outside(RefusalCode.POLICY_SAMPLING, "sample_rate", q, policy.q_max, "≤")
    if not 1 <= plan.steps <= policy.steps_max:
        raise _outside(RefusalCode.POLICY_STEPS, "steps", plan.steps, policy.steps_max, "≤")
    if not 1 <= plan.rounds <= policy.rounds_max:
        raise _outside(RefusalCode.POLICY_STEPS, "rounds", plan.rounds, policy.rounds_max, "≤")
    if not 1 <= question.attempt.round <= plan.rounds:
        raise _outside(RefusalCode.POLICY_STEPS, "round", question.attempt.round, plan.rounds, "≤")
    if isinstance(plan, EvaluationPlan):
        return  # it has no rate, and clips nothing: the device's own code bounds what a record adds
    if plan.clip_norm not in policy.clip_norm:
        raise _outside(
            RefusalCode.POLICY_CLIP, "clip_norm", plan.clip_norm, policy.clip_norm, "within"
        )
    if plan.learning_rate not in policy.learning_rate:
        raise _outside(
            RefusalCode.POLICY_LR,
            "learning_rate",
            plan.learning_rate,
            policy.learning_rate,
            "within",
        )


def _check_size(question: Question, state: LedgerState) -> None:
    """The declared size within what the plan is for; nothing of the records themselves."""
    least, most = question.plan.n_ref_min, question.weight_max
    if state.n_ref < least or 1 < most < state.n_ref:
        bounds = f"from {least}" if most == 1 else f"from {least} to {most}"
        raise PolicyRefusal(
            RefusalCode.POLICY_SIZE,
            f"this data set counts as {state.n_ref} records (n_ref), the plan is for devices {bounds}",
        )


def _check_delta(question: Question, policy: Policy, state: LedgerState) -> None:
    if not 0 < question.plan.delta <= policy.delta:
        raise _outside(RefusalCode.POLICY_DELTA, "delta", question.plan.delta, policy.delta, "≤")
    if state.delta * state.n_ref >= 1:
        raise _outside(RefusalCode.POLICY_DELTA, "delta", state.delta, 1 / state.n_ref, "<")


def _check_budget(question: Question, state: LedgerState, *, rounds: int, free: bool) -> None:
    sigma, q, steps = question.segment
    left = state.steps_left(sigma, q)
    numbers = (
        f"at noise_multiplier {sigma} and sample_rate {q} the ledger admits {left} more steps "
        f"(epsilon {state.epsilon_counted:.4g} of {state.epsilon_max:.4g} spent)"
    )
    if left >= rounds * steps:
        return
    room = _room(question, state, rounds)
    _refuse_budget(numbers, room, (left, rounds, steps), free=free)


def _check_sums(question: Question, state: LedgerState, *, rounds: int, free: bool) -> None:
    """The owner's limit on what sums show, which rounds with the whole noise in each update use up too."""
    most, (sigma, q, steps) = state.limits.epsilon_sum_max, question.summed
    left = state.sum_steps_left(sigma, q)
    if most is None or left >= rounds * steps:
        return
    numbers = (
        f"at a sum's noise_multiplier of {sigma} and sample_rate {q} the ledger admits {left} more steps "
        f"(epsilon {state.epsilon_sum:.4g} of epsilon_sum_max {most:.4g} spent)"
    )
    room = "raise shared_noise.epsilon_sum_max, or ask for a plan with more noise"
    _refuse_budget(numbers, room, (left, rounds, steps), free=free)


def _refuse_budget(numbers: str, room: str, asked: tuple[int, int, int], *, free: bool) -> None:
    """`asked`: steps that are left, rounds to come, steps of each; what does not fit together."""
    left, rounds, steps = asked
    if not free and left < 1:
        raise BudgetExhausted(
            RefusalCode.BUDGET_EXHAUSTED, f"{numbers}; the budget is spent; {room}"
        )
    if not free and left < steps:
        raise BudgetExhausted(
            RefusalCode.BUDGET_WOULD_EXCEED, f"{numbers}; the round asks for {steps}; {room}"
        )
    raise PolicyRefusal(
        RefusalCode.POLICY_SIGMA,
        f"{numbers}; the {rounds} rounds to come ask for {rounds * steps}; {room}",
    )


def _room(question: Question, state: LedgerState, rounds: int) -> str:
    """What still fits, and the least budget that would hold the rest of the plan, for the owner."""
    sigma, q, steps = question.segment
    whole = state.steps_left(sigma, q) // steps
    rest = max(0.0, state.epsilon_max - state.epsilon_counted)
    fits = f"ε {rest:.2g} still fits: {whole} rounds of {steps} steps at noise_multiplier {sigma}"
    spent = state.rdp_spent + rounds * steps * state.rdp_step(sigma, q)
    wanted = to_epsilon(spent, state.alpha, state.delta) * ROUND_UP
    if not wanted <= MOST_EPSILON:
        return f"{fits}; no budget up to {MOST_EPSILON} holds the {rounds} to come"
    return f"{fits}; epsilon_max={math.ceil(wanted * 10) / 10:g} would hold the {rounds} to come"


def _outside(
    code: RefusalCode, what: str, value: object, limit: object, relation: str
) -> PolicyRefusal:
    return PolicyRefusal(
        code, f"the plan's {what} {value} must be {relation} {limit} by policy.toml"
    )
