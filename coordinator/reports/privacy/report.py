"""The coordinator's privacy report of one run: what it asked for, saw and can know. No torch.

What an agent really spent stands in that agent's own ledger. The figures here are what this run can
have charged at most (coordinator.reports.facts) and, of agents whose owners allow it, what they attest
over all runs: signed by them, not checkable by anybody else.
"""

import hashlib
import statistics
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from edgeveil.coordinator.records.records import NOT_COUNTED, RoundRecord
from edgeveil.coordinator.reports.facts import RunFacts, initial_model
from edgeveil.coordinator.reports.privacy.guarantee import guarantee
from edgeveil.coordinator.reports.privacy.words import Words
from edgeveil.coordinator.reports.reading import run_facts
from edgeveil.shared.base.clock import Clock, utc_text
from edgeveil.shared.base.errors import RefusalCode
from edgeveil.shared.base.installed import software
from edgeveil.shared.privacy.rdp import epsilon
from edgeveil.shared.privacy.report import sections, words
from edgeveil.shared.privacy.unlimited import UNLIMITED, in_json
from edgeveil.shared.secagg.primitives.solver import assumed_corrupt

KIND = "edgeveil coordinator privacy report"
OVER_BUDGET = {RefusalCode.BUDGET_EXHAUSTED, RefusalCode.BUDGET_WOULD_EXCEED}
SAID = Words("en")


def read(home: Path, run_id: str | None, clock: Clock, *, quiet: bool = True) -> dict[str, Any]:
    """The report of one run, or of the last.

    Raises:
        ConfigError: this home has no such run.
    """
    return build(run_facts(home, run_id, quiet=quiet), clock)


def build(found: RunFacts, clock: Clock) -> dict[str, Any]:
    most = {agent: found.charged(agent) for agent in found.agents}
    whole = found.hides_devices
    return {
        "schema": words.SCHEMA,
        "kind": KIND,
        "run": found.run.run_id,
        "identity": _identity(found, utc_text(clock)),
        "guarantee": guarantee(found, most),
        "privacy_unit": sections.privacy_unit(
            SAID("said_device") if whole else words.RECORD,
            whole=whole,
            across_agents=SAID("said_across"),
        ),
        "trust_model": _trust(found),
        "mechanism": _mechanism(found),
        "accounting": _accounting(found),
        "not_covered": [
            *_without_noise(found),
            *words.not_covered(whole=whole),
            SAID("said_counted"),
            *_before(found),
        ],
        "agents": _agents(found, most),
        "refusals": refusals(found.records),
        "rounds": _rounds(found),
        "utility": _utility(found),
    }


def refusals(records: Sequence[RoundRecord]) -> dict[str, int]:
    """How often agents refused, by code."""
    found: Counter[str] = Counter()
    for record in records:
        for reason in record.dropped_reasons.values():
            kind, _, code = reason.partition(":")
            if kind == "refused":
                found[code] += 1
    return dict(sorted(found.items()))


def _identity(found: RunFacts, now: str) -> dict[str, Any]:
    task = found.plan.task
    return {
        "run": found.run.run_id,
        "task": {"id": task.id, "version": task.version, "hash": _task_hash(found)},
        "plan_sha256": found.run.plan_hash,
        "proposal_sha256": hashlib.sha256(found.proposal.to_json()).hexdigest(),
        "initial_model": initial_model(found),
        "software": software(),
        "time": now,
    }


def _without_noise(found: RunFacts) -> list[str]:
    """What no ε covers at all; the first thing to be read."""
    if found.limited:
        return []
    return [SAID("said_began_without" if found.proposal.noised else "said_without_noise")]


def _before(found: RunFacts) -> list[str]:
    """What had been spent before this run on the model it began with."""
    initial = found.run.initial
    if initial is None:
        return []
    said = NOT_COUNTED[0].upper() + NOT_COUNTED[1:]
    return [f"What went before: the run began with the model of {initial.whose}. {said}."]


def _task_hash(found: RunFacts) -> str | None:
    """Of the newest attempt; None where no attempt recorded it."""
    told = (record.extra.get("task_hash") for record in reversed(found.records))
    return next((str(value) for value in told if value), None)


def _trust(found: RunFacts) -> dict[str, Any]:
    rules = found.plan.secagg
    return sections.trust_model(
        words.SEEN_AND_WHY,
        {"protocol": "secagg-v1"},
        n_min=rules.n_min,
        threshold=rules.threshold(rules.n_min),
        colluders=assumed_corrupt(rules.n_min, rules.gamma_ppm, rules.c_min),
        sigma=rules.sigma,
        enforced_by=SAID("said_enforced_by"),
    )


def _mechanism(found: RunFacts) -> dict[str, Any]:
    proposal = found.proposal
    optimizer = str(proposal.optimizer)
    if proposal.momentum:
        optimizer += f", momentum {proposal.momentum:g}"
    if proposal.plain:
        return _plain_mechanism(found, optimizer)
    return {
        "name": SAID("said_mechanism"),
        "noise_multiplier": proposal.noise_multiplier,
        "sample_rate": proposal.sample_rate,
        "steps_per_round": proposal.steps,
        "clip_norm": proposal.clip_norm,
        "learning_rate": proposal.learning_rate,
        "optimizer": optimizer,
        "average": proposal.average,
        "rounds_planned": proposal.rounds,
        "spare_rounds": found.plan.rounds.spare,
        "gradient_mode": SAID("said_own_choice"),
        "noise_generator": SAID("said_own_generator"),
        "arithmetic": SAID("said_arithmetic"),
        "empty_draws": SAID("said_empty_draws"),
        "sampling": SAID("said_full") if proposal.sample_rate == 1 else SAID("said_poisson"),
    }


def _plain_mechanism(found: RunFacts, optimizer: str) -> dict[str, Any]:
    """Where no step is noised: what a device does, the bound of what it sends, and the noise of that, if any."""
    proposal = found.proposal
    return {
        "name": SAID("said_whole_update" if proposal.whole else "said_no_mechanism"),
        "noise_multiplier": proposal.noise_multiplier,
        "steps_per_round": proposal.steps,
        "batch_size": proposal.batch_size,
        "clip_norm": proposal.clip_norm,
        "learning_rate": proposal.learning_rate,
        "schedule": proposal.schedule,
        "weight_decay": proposal.weight_decay,
        "optimizer": optimizer,
        "rounds_planned": proposal.rounds,
        "spare_rounds": found.plan.rounds.spare,
    }


def _accounting(found: RunFacts) -> dict[str, Any]:
    proposal = found.proposal
    check = UNLIMITED
    if proposal.noised:
        planned = found.segment(proposal.rounds + found.plan.rounds.spare)
        check = epsilon([planned], proposal.delta)[0]
    return sections.accounting(
        SAID("said_composition"),
        epsilon_of_plan_and_spare_rounds=in_json(check),
        within_epsilon_planned=check <= found.plan.training.limit * (1 + 1e-9),
        attempts=len(found.records),
        attempts_aborted=found.aborted,
        aborted_attempts_counted=SAID("said_aborted_count"),
    )


def _agents(found: RunFacts, most: dict[str, float]) -> dict[str, Any]:
    out_of_budget: Counter[str] = Counter()
    for record in found.records:
        for agent, reason in record.dropped_reasons.items():
            if reason.partition(":")[2] in OVER_BUDGET:
                out_of_budget[agent] += 1
    return {
        "asked": len(found.agents),
        "epsilon_at_most": in_json(max(most.values(), default=0.0)),
        "epsilon_median": in_json(statistics.median(most.values())) if most else 0.0,
        "refused_for_budget": dict(sorted(out_of_budget.items())),
    }


def _rounds(found: RunFacts) -> list[dict[str, Any]]:
    return [
        {
            "round": record.round,
            "attempt": record.attempt,
            "outcome": str(record.outcome),
            "reason": record.reason,
            "asked": len(record.selected),
            "in_the_sum": len(record.survived),
            "refused": sum(r.startswith("refused") for r in record.dropped_reasons.values()),
            "result_hash": record.result_hash,
            "context": record.extra.get("context"),
        }
        for record in found.records
    ]


def _utility(found: RunFacts) -> dict[str, Any]:
    last = found.committed[-1] if found.committed else None
    return {
        "metrics_mode": SAID("said_no_scores"),
        "metrics_charge": "none: nothing is sent, so nothing is charged",
        "scores": dict(last.metrics) if last else {},
        "scores_on": SAID("said_held_out"),
        "sentence": _sentence(found),
    }


def _sentence(found: RunFacts) -> str:
    asked = found.epsilon_if_always_asked
    if asked == UNLIMITED:
        return words.tier(asked)
    return SAID(
        "said_sentence",
        tier=words.tier(asked),
        epsilon=f"{asked:.3g}",
        delta=f"{found.plan.training.delta:g}",
    )
