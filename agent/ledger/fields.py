"""What each ledger record says, in the ledger's own spelling: integers, strings, hexadecimal floats."""

import contextlib
from functools import cache
from importlib.metadata import PackageNotFoundError, version

from edgeveil.agent.home.policy import Policy
from edgeveil.agent.home.size import Size
from edgeveil.agent.ledger.guard import Question, Reservation
from edgeveil.shared.base.errors import ConfigError
from edgeveil.shared.privacy.filter import cap, choose_order
from edgeveil.shared.privacy.ledger.facts import TALLY, WHOLE, WHOLE_SHARE
from edgeveil.shared.privacy.ledger.heads import SignedHead
from edgeveil.shared.privacy.ledger.records import Value
from edgeveil.shared.privacy.ledger.state import LedgerState
from edgeveil.shared.privacy.rdp import rdp_step, to_epsilon
from edgeveil.shared.wire.messages import Attempt
from edgeveil.shared.wire.plan import AnyPlan, EvaluationPlan

RNG = "chacha20 keyed by os.urandom"
SHARE = "subsampled_discrete_gaussian_share"
EVALUATED = "none: a tally of records held out, charged beside the training on the others"
SHARES_RNG = "discrete Gaussian from aes-256-ctr keyed by os.urandom"


def anchor_fields(run_id: str, head: SignedHead) -> dict[str, Value]:
    return {"run_id": run_id, "echo_seq": head.seq, "echo_hash": head.hash.hex()}


def delta_too_large(policy: Policy, n_ref: int) -> ConfigError:
    return ConfigError(
        f"policy.toml: delta {policy.delta} must be below 1/n_ref = {1 / n_ref:.3g}; lower it"
    )


def open_fields(size: Size, unit: str, policy: Policy) -> dict[str, Value]:
    """`policy` requires noise: one that does not is chained by a record of its own, once it is confirmed."""
    if policy.delta * size.n_ref >= 1:
        raise delta_too_large(policy, size.n_ref)
    alpha = choose_order(policy.epsilon_max, policy.delta, policy.planned)
    fields: dict[str, Value] = {"unit": unit, "n_ref": size.n_ref, "alpha": alpha}
    fields["count_scale"] = size.scale
    return {**fields, "software": _software(), **limit_fields(policy, alpha)}


def limit_fields(policy: Policy, alpha: int) -> dict[str, Value]:
    return {
        "epsilon_max": policy.epsilon_max.hex(),
        "delta": policy.delta.hex(),
        "cap": cap(policy.epsilon_max, policy.delta, alpha).hex(),
        "policy_hash": policy.hash().hex(),
        "policy": policy.to_json(),
    }


def shared_fields(reservation: Reservation, state: LedgerState) -> dict[str, Value]:
    """Of a round with noise in shares: what its update alone would show, and what its sum does."""
    question = reservation.question
    sigma, q, steps = question.summed
    step = rdp_step(sigma, q, state.sum_alpha)
    spent = state.sum_spent + steps * step
    return {
        **reserve_fields(reservation, state),
        "mechanism": _integers(question.plan) or SHARE,
        "rng": SHARES_RNG,
        "honest": question.plan.honest,
        "sum_alpha": state.sum_alpha,
        "sum_sigma": sigma.hex(),
        "sum_rdp_step": step.hex(),
        "sum_rdp_spent": spent.hex(),
        "sum_epsilon_enforced": to_epsilon(spent, state.sum_alpha, state.delta).hex(),
    }


def reserve_fields(reservation: Reservation, state: LedgerState) -> dict[str, Value]:
    question = reservation.question
    integers = _integers(question.plan)
    sigma, q, steps = question.segment
    step = state.rdp_step(sigma, q)
    spent = state.rdp_spent + steps * step
    return {
        **_round_fields(question),
        "mechanism": integers or "subsampled_gaussian",
        "sigma": sigma.hex(),
        "q": q.hex(),
        "sampling": "full" if q == 1 else "poisson",
        "rng": SHARES_RNG if integers else RNG,
        "rdp_step": step.hex(),
        "rdp_spent": spent.hex(),
        "epsilon_enforced": to_epsilon(spent, state.alpha, state.delta).hex(),
    }


def unlimited_fields(reservation: Reservation) -> dict[str, Value]:
    """Of a round without noise: no figure, since none would bound anything."""
    return {**_round_fields(reservation.question), "mechanism": "none"}


def _integers(plan: AnyPlan) -> str:
    """The mechanism of a plan whose noise is integers whoever adds it; "" for any other."""
    if isinstance(plan, EvaluationPlan):
        return TALLY
    if plan.whole:
        return WHOLE_SHARE if plan.shared_noise else WHOLE
    return ""


def _round_fields(question: Question) -> dict[str, Value]:
    plan = question.plan
    return {
        **attempt_fields(question.attempt),
        "coordinator_id": question.coordinator_id.hex(),
        "task_id": question.task_id,
        "task_version": question.task_version,
        "task_hash": question.task_hash.hex(),
        "model_hash": question.model_hash.hex(),
        "plan_hash": question.plan_hash.hex(),
        "steps_planned": plan.charged_steps,
        "clip": plan.clip_norm.hex(),
        "optimizer": optimizer_text(plan),
        "software": _software(),
    }


def attempt_fields(attempt: Attempt) -> dict[str, Value]:
    return {"run_id": attempt.run_id, "round": attempt.round, "attempt": attempt.attempt}


def optimizer_text(plan: AnyPlan) -> str:
    """What was done with the gradients; for reports, it costs nothing."""
    if isinstance(plan, EvaluationPlan):
        return EVALUATED
    text: str = plan.optimizer
    if plan.plain:
        text += f", batches of {plan.batch_size}"
    if plan.whole:
        text = f"{plan.steps} plain steps of {text}; the whole update is clipped"
    if plan.momentum:
        text += f", momentum {plan.momentum:g}"
    if plan.average:
        text += f", averaged with decay {plan.average:g}"
    return text


@cache
def _software() -> str:
    """Versions of what trains, read from the installation without importing it."""
    found = []
    for name in ("edgeveil", "opacus", "torch"):
        with contextlib.suppress(PackageNotFoundError):
            found.append(f"{name} {version(name)}")
    return ", ".join(found)
