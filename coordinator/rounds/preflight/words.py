"""Why an agent would not take part, in words, and what mends it; and the sentence for the whole plan (pure)."""

from collections.abc import Mapping

from edgeveil.coordinator.machine.drop_reasons import DropReason
from edgeveil.coordinator.machine.preflight import YES
from edgeveil.shared.base.errors import RefusalCode

MOST_NAMED = 8  # agents in a sentence
_C = RefusalCode
_PLAN_OR_POLICY = "change the plan, or ask its owner: agent policy show"
_LEDGER = "its owner looks with: agent verify"
_BUDGET = "its owner looks with: agent budget; plan more noise or fewer rounds"
_RELEASE = "install the same release of edgeveil on both sides"
_SAME_FILE = ", and of an own task the same file: coordinator task list, agent task list"
_ROSTER = "sign or import the newest roster: coordinator roster"
_WORDS: Mapping[RefusalCode, tuple[str, str]] = {
    _C.VERSION: ("speaks another version of the protocol or of plans", _RELEASE),
    _C.COORDINATOR_UNKNOWN: ("does not know this coordinator's key", "enrol it again"),
    _C.ROSTER_SIGNATURE: ("does not trust the roster's signature", _ROSTER),
    _C.ROSTER_STALE: ("holds a newer roster", _ROSTER),
    _C.ROSTER_EXPIRED: ("finds the roster expired", _ROSTER),
    _C.EQUIVOCATION: ("holds another roster of this epoch", _ROSTER),
    _C.NOT_MEMBER: ("is not on the roster it was shown", _ROSTER),
    _C.ROUND_REPLAY: (
        "has been further in this run",
        "begin a new run: the database is an old one",
    ),
    _C.TASK_UNKNOWN: (
        "has not this task, other code of it, or no such options",
        _RELEASE + _SAME_FILE,
    ),
    _C.POLICY_SECAGG: ("demands more of secure aggregation", _PLAN_OR_POLICY),
    _C.POLICY_VECTOR: ("would send no vector of this layout", _RELEASE),
    _C.POLICY_TASK: ("allows no such task or data", _PLAN_OR_POLICY),
    _C.POLICY_COORDINATOR: ("does not allow this coordinator", _PLAN_OR_POLICY),
    _C.POLICY_SIGMA: ("allows no whole plan of so little noise", _BUDGET),
    _C.POLICY_SAMPLING: ("allows no such sampling rate", _PLAN_OR_POLICY),
    _C.POLICY_STEPS: ("allows no so many steps or rounds", _PLAN_OR_POLICY),
    _C.POLICY_CLIP: ("allows no such clipping norm", _PLAN_OR_POLICY),
    _C.POLICY_LR: ("allows no such learning rate", _PLAN_OR_POLICY),
    _C.POLICY_DELTA: ("allows no such delta", _PLAN_OR_POLICY),
    _C.POLICY_SIZE: (
        "has a size that the plan is not for",
        "change secagg.n_ref_min or n_ref_max of the plan",
    ),
    _C.POLICY_METRICS: (
        "takes part in no evaluation, or in none after such rounds",
        'plan with evaluation.on = "coordinator", or ask its owner for: agent policy set evaluation_share=0.2',
    ),
    _C.POLICY_DP: (
        "adds noise, and this plan has none",
        'plan with training.privacy = "dp"; only a device\'s owner can allow less: docs/threat-model.md',
    ),
    _C.POLICY_NOISE: (
        "adds all of the noise itself, and this plan has shares of it",
        'plan with privacy.noise = "local"; only a device\'s owner can allow shares: docs/privacy.md',
    ),
    _C.POLICY_WHEN: ("may not train now by its owner's rule", "wait, or ask its owner"),
    _C.BUDGET_EXHAUSTED: ("has spent its budget", _BUDGET),
    _C.BUDGET_WOULD_EXCEED: ("has not the budget for a round of it", _BUDGET),
    _C.DATASET_CHANGED: ("has another data set than its ledger", _LEDGER),
    _C.DATASET_UNKNOWN: ("cannot use its data", "its owner looks with: agent doctor"),
    _C.LEDGER_ROLLBACK: ("has an older ledger than it once showed", _LEDGER),
    _C.LEDGER_CORRUPT: ("has a damaged ledger", _LEDGER),
    _C.LEDGER_LOCKED: ("has its ledger in use by another process", "ask again later"),
    _C.STORAGE_FAILED: ("has a disk that takes nothing", "its owner frees space"),
    _C.MODEL_NOT_INDEPENDENT: ("finds a model that mixes records", "choose another model"),
    _C.SELF_TEST_FAILED: ("failed its own test", "its owner looks with: agent doctor"),
    _C.PREFLIGHT_LATER: ("was asked about too many plans in this hour", "ask again in an hour"),
}
_OTHER = ("refuses", "its owner finds the reason in agent.log")
_LEFT: Mapping[str, tuple[str, str]] = {
    DropReason.LOST: ("went offline", "ask again when it is back"),
    DropReason.DEADLINE: (
        "did not answer in time",
        "ask again; its owner looks with: agent doctor",
    ),
    DropReason.INVALID: ("answered with something else", _RELEASE),
}


def code_of(reason: str) -> RefusalCode | None:
    """The code of a refusal."""
    kind, _, rest = reason.partition(":")
    code = rest.partition(":")[0]
    return RefusalCode(code) if kind == DropReason.REFUSED and code in set(RefusalCode) else None


def in_words(reason: str) -> tuple[str, str]:
    """(what is the matter, what mends it), of a reason that is not YES."""
    code = code_of(reason)
    if code is not None:
        return _WORDS.get(code, _OTHER)
    return _LEFT.get(reason.partition(":")[0], (reason, ""))


def sentence(reasons: Mapping[str, str], needed: int) -> str:
    """Such as: 2 of 3 agents would take part; needs 3: agent-2 …. `reasons`: by name, YES or why not."""
    would = sum(reason == YES for reason in reasons.values())
    said = f"{would} of {len(reasons)} agents would take part; needs {needed}"
    others = [(name, why) for name, why in sorted(reasons.items()) if why != YES]
    named = [f"{name} {_why(why)}" for name, why in others[:MOST_NAMED]]
    if more := len(others) - len(named):
        named.append(f"{more} more")
    return f"{said}: {'; '.join(named)}" if named else said


def _why(reason: str) -> str:
    what, mend = in_words(reason)
    spelled = reason.removeprefix(f"{DropReason.REFUSED}:")
    return (f"{what} ({spelled})" if what != reason else what) + (f": {mend}" if mend else "")
