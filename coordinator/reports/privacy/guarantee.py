"""What a run can have cost in privacy as the coordinator reckons it, beside what agents attest. No torch."""

import math
import statistics
from typing import Any

from edgeveil.coordinator.records.records import RoundRecord
from edgeveil.coordinator.reports.facts import RunFacts
from edgeveil.coordinator.reports.privacy.words import Words
from edgeveil.shared.privacy.filter import choose_order
from edgeveil.shared.privacy.ledger.facts import MOST_POINTS
from edgeveil.shared.privacy.rdp import epsilon, rdp_step, to_epsilon
from edgeveil.shared.privacy.report import words
from edgeveil.shared.privacy.report.two_figures import holds_sums
from edgeveil.shared.privacy.unlimited import in_json, share
from edgeveil.shared.secagg.primitives.solver import assumed_corrupt

NEARLY = 0.8  # of its limit: a device near its budget
SAID = Words("en")


def guarantee(found: RunFacts, most: dict[str, float]) -> dict[str, Any]:
    """The section of that name; `most`: agents by name → the most this run can have charged them, as ε."""
    training = found.plan.training
    planned = None if training.epsilon is None else found.plan.limit
    spent = list(most.values())
    top = max(spent, default=0.0)
    asked = found.epsilon_if_always_asked
    order, enforced = _enforced(found)
    return {
        "limited": found.limited,
        "epsilon_planned": planned,
        **_evaluations(found),
        "delta": training.delta,
        "delta_why": SAID("said_delta_why"),
        "epsilon_at_most_by_agent": {agent: in_json(value) for agent, value in most.items()},
        "epsilon_at_most": in_json(top),
        "epsilon_median": in_json(statistics.median(spent)) if spent else 0.0,
        "epsilon_left": None if planned is None else max(0.0, planned - top),
        "share_spent": share(top, found.plan.limit),
        "best_order": epsilon(found.history, training.delta)[1] if found.history else None,
        "gaussian_mu": None if found.proposal.shared_noise else words.gaussian_mu(found.history),
        "rounds_left": max(0, found.plan.rounds.count - len(found.committed)),
        "epsilon_enforced": enforced,
        "alpha": order,
        "epsilon_prv": None,
        "not_here": "PRV stands in each device's own report; epsilon_enforced and alpha are those of a "
        "ledger that holds this run alone, under a limit of epsilon_planned",
        "epsilon_if_always_asked": in_json(asked),
        "epsilon_attested": _attested(found),
        "epsilon_attested_note": SAID("said_attested_note"),
        "sums_only": _sums_only(found),
        "curve": _curve(found),
        "in_words": words.meaning(top, training.delta, run=True),
    }


def _evaluations(found: RunFacts) -> dict[str, Any]:
    """What of it evaluations on devices are planned to cost, and how many each was asked for at most."""
    asked = found.plan.evaluation
    if not asked.on_devices:
        return {}
    told = {"epsilon_planned": asked.epsilon, "epsilon_sum_planned": asked.epsilon_sum}
    return {"evaluations_on_devices": {**told, "at_most": found.evaluations}}


def _enforced(found: RunFacts) -> tuple[int | None, float | None]:
    """(order, ε) as a ledger opened for this run alone, limited to the plan's ε, enforces them."""
    training = found.plan.training
    if training.epsilon is None:
        return None, None
    order = choose_order(found.plan.limit, training.delta)
    rdp = sum(
        one.steps * rdp_step(one.noise_multiplier, one.sample_rate, order) for one in found.history
    )
    return order, to_epsilon(rdp, order, training.delta) if rdp else 0.0


def _attested(found: RunFacts) -> dict[str, Any]:
    """What agents of this run say their ledgers have charged, at their newest answer to any run.

    An `epsilon` of an agent that is null is not limited, and so is a `max` or `median` where any agent tells.
    """
    told = {agent: found.told[agent] for agent in found.agents if agent in found.told}
    spent = [budget.epsilon for budget in told.values()]
    used = {agent: share(budget.epsilon, budget.epsilon_max) for agent, budget in told.items()}
    return {
        "by_agent": {
            agent: {
                "epsilon": in_json(budget.epsilon),
                "epsilon_limit": budget.epsilon_max,
                "delta": budget.delta,
                "resets": budget.resets,
            }
            for agent, budget in told.items()
        },
        "agents_that_do_not_tell": len(found.agents) - len(told),
        "max": in_json(max(spent)) if spent else None,
        "median": in_json(statistics.median(spent)) if spent else None,
        "near_budget": [agent for agent, share in used.items() if NEARLY <= share < 1],
        "at_or_over_budget": [agent for agent, share in used.items() if share >= 1],
    }


def _curve(found: RunFacts) -> list[dict[str, float | None]]:
    """After each attempt, the most that the run can have charged any agent."""
    tops = found.paid.max(axis=0, initial=0)
    every = max(1, math.ceil(len(tops) / MOST_POINTS))
    kept = [index for index in range(len(tops)) if index % every == 0 or index == len(tops) - 1]
    return [
        {
            "attempt": index + 1,
            "epsilon_at_most": in_json(
                found.epsilon_after(int(tops[index]), int(found.asked[index]))
            ),
        }
        for index in kept
    ]


def _sums_only(found: RunFacts) -> dict[str, Any]:
    """ε towards somebody who sees sums only; information, never a promise."""
    proposal = found.proposal
    smallest = min((_smallest_sum(found, record) for record in found.committed), default=0)
    rules = found.plan.secagg
    honest = max(0, smallest - assumed_corrupt(smallest, rules.gamma_ppm, rules.c_min))
    two = found.most_of_two
    if two is not None:
        # agents open no sum that holds fewer honest ones, and charge for just these
        return {
            "epsilon": in_json(two.sums),
            "epsilon_planned": two.sums_limit,
            "epsilon_alone": in_json(two.alone),
            "honest": proposal.honest,
            "note": holds_sums(proposal.honest),
            "alone_note": words.HOLDS_ALONE,
        }
    value = None
    if found.records and found.proposal.noised:
        measured = found.evaluated(found.evaluations)
        asked = int(found.asked.max(initial=0))
        history = [found.segment(len(found.records) - asked), *([measured[1]] if measured else [])]
        value = words.sums_only(
            history, proposal.delta, honest=honest, steps_per_round=proposal.charged_steps
        )
    note = SAID("said_sums_note", n=honest)
    if value is None:
        note = SAID("said_sums_undefined")
    return {"epsilon": value, "note": note}


def _smallest_sum(found: RunFacts, record: RoundRecord) -> int:
    """Agents in the smallest sum of a round: of several shards at least n_min, as each agent insists."""
    alone = int(record.extra.get("shards", 1)) == 1
    return len(record.survived) if alone else found.plan.secagg.n_min
