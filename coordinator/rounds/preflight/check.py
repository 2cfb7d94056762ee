"""`coordinator run PLAN --check`: asks everybody who is connected, and begins nothing."""

import math
from typing import Any

from edgeveil.coordinator.machine.preflight import YES
from edgeveil.coordinator.plan.plan import Plan
from edgeveil.coordinator.rounds.attempt_runner import Surroundings
from edgeveil.coordinator.rounds.eligibility import present_and_kept_out
from edgeveil.coordinator.rounds.preflight.asking import ask
from edgeveil.coordinator.rounds.preflight.question import WholePlan
from edgeveil.coordinator.rounds.preflight.words import in_words, sentence
from edgeveil.coordinator.store.store import Store
from edgeveil.shared.base.errors import EnrollmentError
from edgeveil.shared.tasks.spec import Task
from edgeveil.shared.wire.identity import Signer
from edgeveil.shared.wire.messages import Attempt

RUN = "check"  # the run that a question names when there is none; no run is ever called so


def check(
    plan: Plan, task: Task, attempt: Attempt, *, store: Store, signer: Signer, around: Surroundings
) -> dict[str, Any]:
    """Who would take part in a run of this plan that goes on with `attempt`, and why the others not.

    {would, asked, needs, enough, sentence, agents: [{agent, would, reason, why, fix}], warnings}

    Raises:
        EnrollmentError: no roster is in force.
        Stopped, TransportError: as an attempt.
    """
    signed = store.roster()
    if signed is None:
        raise EnrollmentError("no roster has been signed yet; run: coordinator roster sign")
    present, kept_out = present_and_kept_out(
        signed.roster.members,
        around.transport.presence(),
        around.names,
        excluded=(),
        required=plan.rounds.require,
        sizes=store.declared_sizes(),
        wanted=plan.sizes,
    )
    tensors = task.tensors(task.parse_options(plan.task.options))
    size = sum(math.prod(tensor.shape) for tensor in tensors)
    heads = {agent: store.ledger_head(agent) for agent in present}
    questions = WholePlan.of(plan, task.spec, size, signer).questions(attempt, signed, heads)
    found = ask(questions, signed.roster.members, around, limit_s=plan.rounds.deadline_s)
    reasons = {around.names[agent]: why for agent, why in {**found, **kept_out}.items()}
    would = sum(reason == YES for reason in reasons.values())
    needed = plan.rounds.minimum
    return {
        "would": would,
        "asked": len(reasons),
        "needs": needed,
        "enough": would >= needed,
        "sentence": sentence(reasons, needed),
        "agents": [_row(name, reason) for name, reason in sorted(reasons.items())],
        "warnings": list(plan.notices),
    }


def _row(name: str, reason: str) -> dict[str, Any]:
    why, fix = ("", "") if reason == YES else in_words(reason)
    return {"agent": name, "would": reason == YES, "reason": reason, "why": why, "fix": fix}
