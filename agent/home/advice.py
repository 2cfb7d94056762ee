"""What helps against each refusal: one sentence for the owner, which ends with a command of this device.

Told on the terminal, in agent.log and on the device's own page; nothing of it is sent.
"""

from typing import NamedTuple

from edgeveil.shared.base.errors import RefusalCode as Code


class Advice(NamedTuple):
    """`why` says when `command` helps; capitals in a command stand for a value of the owner's."""

    why: str
    command: str

    @property
    def sentence(self) -> str:
        return f"{self.why}: {self.command}"


def advised(code: Code, cause: object) -> str:
    """The refusal's own sentence, and what helps."""
    return f"{cause}; {ADVICE[code].sentence}"


_LOOK = "agent doctor"
_SAME_RELEASE = Advice("install the same release of edgeveil on both sides and compare", _LOOK)
_ROSTER = Advice(
    "the operator signs and imports a new roster (coordinator roster sign); see which one is here",
    _LOOK,
)
_OPERATOR = Advice(
    "nothing was charged for it; if it comes again, show the operator this device's agent.log and",
    _LOOK,
)
_COHORT = Advice(
    "the round is tried again by itself, with other devices; if it comes again, look", _LOOK
)
_PEER = Advice("another device or the coordinator lies or is damaged; tell the operator", _LOOK)
_LEDGER = Advice("training stays refused; what the ledger holds and lacks", "agent verify")
_RESERVED = Advice("this version never gives it; what this device agrees to", "agent policy show")
_BUDGET = Advice(
    "the operator can plan more noise or fewer rounds; to count anew, agent budget reset; to allow more",
    "agent policy set epsilon_max=E --yes",
)

ADVICE: dict[Code, Advice] = {
    Code.VERSION: _SAME_RELEASE,
    Code.COORDINATOR_UNKNOWN: Advice(
        "somebody else asks than the coordinator this device joined; see which that is", _LOOK
    ),
    Code.ROSTER_SIGNATURE: Advice(
        "it is not signed by the federation this device joined; ask the operator why, and look",
        _LOOK,
    ),
    Code.ROSTER_STALE: _ROSTER,
    Code.ROSTER_EXPIRED: _ROSTER,
    Code.NOT_MEMBER: _ROSTER,
    Code.ROUND_REPLAY: Advice(
        "the coordinator asks for a round of the past and goes on by itself; what was charged",
        "agent budget",
    ),
    Code.POLICY_SECAGG: Advice(
        "the operator can plan larger or stronger cohorts; to allow these, the key of [secagg] that is named",
        "agent policy set secagg.KEY=VALUE --yes",
    ),
    Code.POLICY_VECTOR: _OPERATOR,
    Code.TASK_UNKNOWN: Advice(
        "install the same release of edgeveil, and of an own task the same file (agent task list), on both "
        "sides and compare",
        _LOOK,
    ),
    Code.MODEL_INVALID: _OPERATOR,
    Code.CTX_MISMATCH: _OPERATOR,
    Code.STATE: _COHORT,
    Code.U1_INVALID: _PEER,
    Code.COHORT_TOO_SMALL: Advice(
        "more devices have to take part; to allow fewer", "agent policy set secagg.n_min=N --yes"
    ),
    Code.GRAPH_MISMATCH: _PEER,
    Code.KEY_INVALID: _PEER,
    Code.ADVERT_SIGNATURE: _PEER,
    Code.SHARE_AUTH: _PEER,
    Code.U2_INVALID: _PEER,
    Code.U3_INVALID: _PEER,
    Code.QUORUM: _COHORT,
    Code.WINDOW: _COHORT,
    Code.EQUIVOCATION: _PEER,
    Code.TIMEOUT: _COHORT,
    Code.UPDATE_NON_FINITE: Advice(
        "training ran away; the operator plans a lower learning rate; to insist on one",
        "agent policy set learning_rate.most=R",
    ),
    Code.MALFORMED: _SAME_RELEASE,
    Code.BUDGET_EXHAUSTED: _BUDGET,
    Code.BUDGET_WOULD_EXCEED: _BUDGET,
    Code.LEDGER_LOCKED: Advice("stop the other process of this device, then", "agent run"),
    Code.STORAGE_FAILED: Advice(
        "free some space; it goes on by itself then, and nothing is lost", _LOOK
    ),
    Code.LEDGER_CORRUPT: _LEDGER,
    Code.LEDGER_ROLLBACK: _LEDGER,
    Code.DATASET_CHANGED: Advice(
        "stop it and start it with the name that these records have here",
        "agent run --dataset NAME",
    ),
    Code.DATASET_UNKNOWN: Advice("the records have to be readable where they were", _LOOK),
    Code.POLICY_SIGMA: Advice(
        "the operator can plan more noise or fewer rounds; to allow less noise, "
        "agent policy set sigma_min=S --yes; to allow a larger budget",
        "agent policy set epsilon_max=E --yes",
    ),
    Code.POLICY_SAMPLING: Advice("to allow it", "agent policy set q_max=Q --yes"),
    Code.POLICY_STEPS: Advice(
        "to allow more rounds, agent policy set rounds_max=N --yes; to allow more steps",
        "agent policy set steps_max=N --yes",
    ),
    Code.POLICY_CLIP: Advice(
        "to allow it (or clip_norm.least)", "agent policy set clip_norm.most=C --yes"
    ),
    Code.POLICY_LR: Advice(
        "to allow it (or learning_rate.least)", "agent policy set learning_rate.most=R --yes"
    ),
    Code.POLICY_DELTA: Advice(
        "to allow a larger one, below one over n_ref", "agent policy set delta=D --yes"
    ),
    Code.POLICY_TASK: Advice(
        "to allow an own task, agent task install FILE; one of edgeveil's, agent policy set tasks=installed --yes; if the records are declared wrongly",
        "agent policy set data.labels='[\"NAME\"]' --yes",
    ),
    Code.POLICY_COORDINATOR: Advice(
        "to allow the one this device joined", "agent policy set coordinators=pinned --yes"
    ),
    Code.POLICY_METRICS: _RESERVED,
    Code.POLICY_COHORT: _RESERVED,
    Code.POLICY_SIZE: Advice(
        "the operator can plan for such sizes (n_ref_min, n_ref_max); this ledger keeps its figure, "
        "another one holds for data sets that begin after",
        "agent policy set n_ref=N",
    ),
    Code.POLICY_DP: Advice(
        "nothing, if that is meant: it adds noise to whatever it sends; without noise only where one owner has all "
        "devices and the coordinator, and ε may be unlimited for ever",
        "agent policy set dp_required=false --yes",
    ),
    Code.POLICY_NOISE: Advice(
        "nothing, if that is meant: it adds all of the noise itself; docs/privacy.md says what shares of it promise, and "
        "where the owner wants that",
        "agent policy set 'shared_noise={epsilon_sum_max=1.0,federation_key=\"offline\"}' --yes",
    ),
    Code.POLICY_WHEN: Advice(
        "nothing, if that is meant: it trains when the rule holds; to change it (or when.battery_min, when.idle)",
        "agent policy set when.charging=false --yes",
    ),
    Code.PREFLIGHT_LATER: Advice(
        "more plans were asked about than it answers in an hour; what this device agrees to",
        "agent policy show",
    ),
    Code.MODEL_NOT_INDEPENDENT: Advice(
        "records of this task would not be protected one by one; allow other tasks only",
        'agent policy set tasks=\'[{id="ID",version="V"}]\'',
    ),
    Code.SELF_TEST_FAILED: Advice("do not train before this installation passes", "agent audit"),
    Code.INTERNAL: Advice("the fault stands in agent.log; please report it with", _LOOK),
}
