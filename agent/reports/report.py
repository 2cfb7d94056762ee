"""The privacy report of one data set: every figure from the verified ledger, signed by the device.

docs/design.md, "Privacy report" lists the fields. The figures can be recomputed by anybody who has
the report (agent.reports.verify), and compared with the ledger by whoever has that.
"""

import contextlib
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edgeveil.agent.home.home import AgentHome
from edgeveil.agent.home.policy import Policy, SecaggPolicy
from edgeveil.agent.home.refusals import read_refusals
from edgeveil.agent.ledger.budget import Budget, budget_of, find_ledger, unspent
from edgeveil.agent.ledger.prv import EPS_ERROR, Prv
from edgeveil.agent.ledger.reading import Verified
from edgeveil.agent.reports.audited import newest
from edgeveil.agent.reports.prv_cache import cached_prv
from edgeveil.agent.reports.words import Words
from edgeveil.shared.base.clock import Clock, utc_text
from edgeveil.shared.base.files import write_atomic
from edgeveil.shared.base.installed import software
from edgeveil.shared.privacy.ledger.facts import Facts, SegmentFacts, collect, thinned
from edgeveil.shared.privacy.ledger.state import LedgerState
from edgeveil.shared.privacy.rdp import Segment, epsilon
from edgeveil.shared.privacy.report import sections
from edgeveil.shared.privacy.report import words as privacy_words
from edgeveil.shared.privacy.report.two_figures import holds_sums
from edgeveil.shared.privacy.unlimited import UNLIMITED, in_json, shown
from edgeveil.shared.secagg.primitives.errors import Infeasible
from edgeveil.shared.secagg.primitives.solver import COMPLETE_UP_TO, assumed_corrupt, solve
from edgeveil.shared.wire.canonical import canon
from edgeveil.shared.wire.identity import Signer

KIND = "edgeveil agent privacy report"
PREVIOUS = "report.sha256"
SAID = Words("en")


def build(path: Path, dataset: str | None, clock: Clock, *, prv: bool = True) -> dict[str, Any]:
    """The signed report; before the first round, one that says that nothing was spent.

    Raises:
        LedgerDamaged, EnrollmentError, ConfigError: as agent.ledger.budget.read_budget.
    """
    home, name, found = find_ledger(path, dataset)
    policy = _policy(home, found)
    facts = collect(()) if found is None else collect(found.bodies_in_order())
    numeric = Prv(None, SAID("said_prv_not_asked"))
    if found is not None and found.state.unlimited:
        numeric = Prv(None, SAID("said_prv_unlimited"))
    elif found is not None and found.state.shared:
        numeric = Prv(None, SAID("said_prv_shared"))
    elif prv and found is not None:
        numeric = cached_prv(home.ledger_folder / name, found.state.history, found.state.delta)
    report = compose(home, name, found, policy, facts=facts, numeric=numeric, now=utc_text(clock))
    report["mechanism"]["audit"] = newest(home.path)
    report["integrity"]["refusals"] = read_refusals(home.path)
    report["integrity"]["previous_report_sha256"] = previous_report(home, name)
    return sign(report, home.identity())


def compose(
    home: AgentHome,
    name: str,
    found: Verified | None,
    policy: Policy,
    *,
    facts: Facts,
    numeric: Prv,
    now: str,
) -> dict[str, Any]:
    """Every section but the audit, the refusals, the previous report and the signature."""
    budget = unspent(name, policy) if found is None else budget_of(name, found)
    ever = epsilon(facts.everything, budget.delta)[0] if budget.limited else UNLIMITED
    return {
        "schema": privacy_words.SCHEMA,
        "kind": KIND,
        **budget.as_json(),
        "identity": _identity(home, name, facts, now),
        "guarantee": _guarantee(budget, found, facts, numeric, ever),
        "privacy_unit": sections.privacy_unit(
            budget.unit, whole=facts.only_whole, n_ref=budget.n_ref
        ),
        "trust_model": _trust(policy),
        "mechanism": _mechanism(budget, facts),
        "accounting": _accounting(budget, facts, numeric),
        "not_covered": _not_covered(facts, ever),
        "integrity": _integrity(found, facts),
        "utility": _utility(budget),
    }


def sign(report: dict[str, Any], signer: Signer) -> dict[str, Any]:
    return {**report, "signature": signer.sign(message(report)).hex()}


def message(report: Mapping[str, Any]) -> bytes:
    """What the device signs: the report without its signature, in one spelling."""
    fields = {key: value for key, value in report.items() if key != "signature"}
    text = json.dumps(fields, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return canon("privacy-report", text.encode("ascii"))


def keep_hash(path: Path, report: Mapping[str, Any]) -> None:
    """Remember this report's hash, so that the next one names it; a full disk forgets it."""
    folder = AgentHome(path).ledger_folder / str(report["dataset"])
    if folder.is_dir():
        digest = hashlib.sha256(message(report)).hexdigest()
        with contextlib.suppress(OSError):
            write_atomic(folder / PREVIOUS, digest.encode("ascii"))


def previous_report(home: AgentHome, name: str) -> str | None:
    path = home.ledger_folder / name / PREVIOUS
    try:
        return path.read_text("ascii").strip()[:64] or None
    except (OSError, ValueError):
        return None


def _policy(home: AgentHome, found: Verified | None) -> Policy:
    """The policy in force: the one the ledger chained, once there is a ledger."""
    if found is None:
        return Policy.load(home.policy_path)
    return Policy.from_json(found.state.limits.policy_json)


def _identity(home: AgentHome, name: str, facts: Facts, now: str) -> dict[str, Any]:
    pinned = home.find_pinned()
    return {
        "agent": None if pinned is None else pinned.agent_id.hex(),
        "public_key": home.identity().public.hex(),
        "dataset": name,
        "tasks": [{"id": i, "version": v, "hash": h} for i, v, h in sorted(facts.tasks)],
        "coordinators": sorted(facts.coordinators),
        "runs": len(facts.runs),
        "software": facts.software or [software()],
        "reported_by": software(),
        "time": now,
    }


def _guarantee(
    budget: Budget, found: Verified | None, facts: Facts, numeric: Prv, ever: float
) -> dict[str, Any]:
    """`ever` is ε since the ledger was opened, resets or not."""
    state = None if found is None else found.state
    history = () if state is None else state.history
    return {
        "limited": budget.limited,
        "epsilon_spent": in_json(budget.epsilon_spent),
        "best_order": state.epsilon_and_order[1] if state and history else None,
        "epsilon_enforced": in_json(budget.epsilon_enforced),
        "alpha": None if state is None else state.alpha,
        "rdp_spent": 0.0 if state is None else state.rdp_spent,
        "cap": None if state is None else state.cap,
        "epsilon_prv": numeric.epsilon,
        "epsilon_prv_note": numeric.note,
        "gaussian_mu": None if budget.rounds_shared else privacy_words.gaussian_mu(history),
        "delta": budget.delta,
        "delta_why": SAID("said_delta_why"),
        "epsilon_limit": budget.epsilon_limit,
        "epsilon_left": max(0.0, budget.epsilon_limit - budget.epsilon_enforced),
        "share_spent": budget.share_spent,
        "rounds_left": budget.rounds_left,
        "epsilon_since_opening": in_json(ever),
        "curve": [
            {"round": p.number, "epsilon": p.epsilon_enforced, "share_spent": p.share_spent}
            for p in thinned(facts.points)
        ],
        "in_words": privacy_words.meaning(ever, budget.delta),
        **_sums(budget, state, facts),
    }


def _sums(budget: Budget, state: LedgerState | None, facts: Facts) -> dict[str, Any]:
    """What whoever sees only sums was shown at most; only where noise is, or may be, in shares."""
    if not budget.tells_sums:
        return {}
    return {
        "sums": {
            "epsilon_sum": in_json(budget.epsilon_sum),
            "epsilon_sum_limit": budget.epsilon_sum_limit,
            "epsilon_alone": in_json(budget.epsilon_spent),
            "alpha": state.sum_alpha if state and state.sum_alpha else None,
            "rounds_with_noise_in_shares": facts.shared,
            "honest": _honest(facts),
            "epsilon_sum_holds": holds_sums(_honest(facts)),
            "epsilon_alone_holds": privacy_words.HOLDS_ALONE,
        }
    }


def _honest(facts: Facts) -> int | None:
    """How many honest agents each sum was to hold, where that was the same for all of them."""
    return next(iter(facts.honest)) if len(facts.honest) == 1 else None


def _trust(policy: Policy) -> dict[str, Any]:
    block = policy.secagg
    return sections.trust_model(
        privacy_words.SEEN_AND_WHEN,
        {"required": policy.secagg_required},
        n_min=block.n_min,
        threshold=_threshold(block),
        colluders=assumed_corrupt(block.n_min, block.gamma_ppm, block.c_min),
        sigma=block.sigma,
    )


def _threshold(block: SecaggPolicy) -> int | None:
    """Shares that open a mask in the smallest allowed sum; None where the coordinator's losses count too."""
    if block.n_min > COMPLETE_UP_TO:
        return None
    try:
        return solve(block.n_min, block.gamma_ppm, 0, sigma=block.sigma, eta=1, c_min=block.c_min).t
    except Infeasible:
        return None


def _mechanism(budget: Budget, facts: Facts) -> dict[str, Any]:
    return {
        "name": SAID("said_mechanism"),
        "segments": [
            {**row, **_segment(facts.segments[row["noise_multiplier"], row["sample_rate"]])}
            for row in privacy_words.segment_rows(facts.history, budget.delta)
        ],
        "without_noise": {**_segment(facts.unlimited), "steps": facts.unlimited.steps},
        "evaluations": facts.evaluations,
        **({"whole_updates": facts.whole} if facts.whole else {}),
        "gradient_modes": dict(sorted(facts.gradient_modes.items())),
        "sampling": sorted(facts.samplings),
        "sampling_self_test": SAID("said_sampling_test"),
        "noise_generator": sorted(facts.generators),
        "noise_self_test": SAID("said_noise_test"),
        "arithmetic": SAID("said_arithmetic"),
        "empty_draws": SAID("said_empty_draws"),
        "normaliser": SAID("said_normaliser"),
    }


def _segment(facts: SegmentFacts) -> dict[str, Any]:
    return {
        "rounds": facts.rounds,
        "steps_per_round": sorted(facts.steps_per_round),
        "clip_norms": sorted(facts.clip_norms),
        "optimizers": sorted(facts.optimizers),
    }


def _accounting(budget: Budget, facts: Facts, numeric: Prv) -> dict[str, Any]:
    check = None
    if numeric.epsilon is not None and 0 < budget.epsilon_spent < UNLIMITED:
        check = {
            "epsilon_prv": numeric.epsilon,
            "rule": SAID("said_rule", error=f"{EPS_ERROR:g}"),
            "passed": numeric.epsilon <= budget.epsilon_spent + EPS_ERROR,
        }
    return sections.accounting(
        SAID("said_composition"),
        prv_eps_error=EPS_ERROR,
        cross_check=check,
        rounds_charged=facts.charged,
        never_finished=facts.never_sealed,
        fate_unknown=facts.unknown,
        delivered=facts.acknowledged - facts.unknown,
        refunded=0,
    )


def _not_covered(facts: Facts, ever: float) -> list[str]:
    found = privacy_words.not_covered(whole=facts.only_whole)
    if facts.unlimited.rounds:
        found.insert(0, SAID("said_without_noise", n=facts.unlimited.rounds))
    if facts.resets and not facts.unlimited.rounds:
        count = len(facts.resets)
        often = SAID("said_once") if count == 1 else SAID("said_often", n=count)
        found.insert(0, SAID("said_before_resets", often=often, ever=f"{ever:.4g}"))
    return found


def _integrity(found: Verified | None, facts: Facts) -> dict[str, Any]:
    state = None if found is None else found.state
    return {
        "ledger_head": None if state is None else state.hash.hex(),
        "ledger_records": 0 if state is None else state.seq,
        "ledger_signature": None if state is None else state.sig.hex(),
        "opened": facts.opened or None,
        "policy_changes": [{"time": at, "note": note} for at, note in facts.policy_changes],
        "resets": [{"time": at, "note": note} for at, note in facts.resets],
        "heads_confirmed_by_coordinators": facts.anchors,
        "rollback": SAID("said_rollback"),
    }


def _utility(budget: Budget) -> dict[str, Any]:
    return {
        "metrics_mode": "none",
        "metrics_charge": "none: nothing is sent, so nothing is charged",
        "scores": "no score of this device's data leaves it; the coordinator tests the model on data "
        "of its own",
        "sentence": f"{privacy_words.tier(budget.epsilon_spent)}: epsilon {shown(budget.epsilon_spent, '.3g')} of at most "
        f"{budget.epsilon_limit:g} at delta {budget.delta:g}, per {budget.unit}",
    }


def segment_history(report: Mapping[str, Any]) -> tuple[Segment, ...]:
    """The history that a report states."""
    rows = report["mechanism"]["segments"]
    return tuple(Segment(r["noise_multiplier"], r["sample_rate"], r["steps"]) for r in rows)
