"""What the coordinator remembers, as plain frozen values: no SQL, no I/O."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from enum import StrEnum
from pathlib import PurePath
from typing import Any

from edgeveil.shared.base.errors import RefusalCode
from edgeveil.shared.base.names import SIMULATED
from edgeveil.shared.scores.noisy.noised import KEPT

NOT_COUNTED = (
    "what the same devices were charged for an initial model stands in their own ledgers and counts "
    "there against their budgets; the figures of this run hold nothing of it"
)
EVALUATION = KEPT  # in a record's extra: what an evaluation on devices was asked, or came to
FIRST_STAGE, UPLOAD_STAGE = "round", "masked"


class Outcome(StrEnum):
    COMMITTED = "committed"
    ABORTED = "aborted"
    EVALUATED = "evaluated"  # a sum of counts on devices; no model came of it


class RunState(StrEnum):
    QUEUED = "queued"
    RUNNING = "running"
    FINISHED = "finished"
    STOPPED = "stopped"  # by the operator; may be resumed
    FAILED = "failed"
    QUARANTINED = "quarantined"  # failed twice at one place, or for good; continued only when told
    LOST = "lost"  # agents have been further than this database, which was restored; never resumed


@dataclass(frozen=True, slots=True)
class InitialModel:
    """What a run begins with where that is not its task's own model. Hashes are SHA-256 in hex.

    `named`: as its plan says it; `source_sha256`: of the file that was read; `sha256`: of the run's own
    copy. `run` and `round`: after which round of which run it was saved; of a file of unknown origin
    "" and None, and what a file tells of itself nobody checks. `unlimited`: it, or one that it was trained
    from, was trained without noise, as far as its run or its file tells.
    """

    named: str
    source_sha256: str
    sha256: str
    run: str = ""
    round: int | None = None
    unlimited: bool = False

    @property
    def whose(self) -> str:
        """In a sentence; of a path on the coordinator's disk only the last part."""
        if not self.run:
            return f"the file {PurePath(self.named).name}"
        return f"round {self.round} of {self.run}"


@dataclass(frozen=True, slots=True)
class Run:
    """`plan` is the operator's plan as text, `plan_hash` its SHA-256 in hex, `created` Unix seconds."""

    run_id: str
    plan: str
    plan_hash: str
    created: float
    state: RunState
    reason: str = ""
    initial: InitialModel | None = None  # None: the task's own

    @property
    def simulated(self) -> bool:
        """Whether its devices were made up; what it trained is a model all the same."""
        return self.run_id.startswith(SIMULATED)


@dataclass(frozen=True, slots=True)
class Failure:
    """How a run failed last: `place` is "start" or "round N", `code` the exit code, `times` in a row there."""

    place: str
    reason: str
    code: int
    times: int = 1


@dataclass(frozen=True, slots=True)
class EnrolledAgent:
    """One joined device. `node_public` is PEM; `joined` and `revoked` are Unix seconds.

    `held`: the operator has still to approve it; until then no roster is exported with it.
    """

    agent_id: bytes
    name: str
    identity_public: bytes
    node_public: bytes
    joined: float
    revoked: float | None = None
    held: bool = False


class InviteState(StrEnum):
    OPEN = "open"
    USED = "used"
    VOID = "void"  # five wrong proofs


@dataclass(frozen=True, slots=True)
class Invite:
    """An invitation as stored: `proof_key` is a hash of the secret, never the secret.

    `hold`: the device that joins with it waits for the operator's approval.
    """

    token_id: bytes
    name: str
    proof_key: bytes = field(repr=False)
    expires: int
    state: InviteState
    wrong_proofs: int = 0
    agent_id: bytes | None = None  # who used it
    hold: bool = False


@dataclass(frozen=True, slots=True)
class Evaluation:
    """A model on the coordinator's own held-out data. `kept`: the task's part of a record's `extra`."""

    metrics: Mapping[str, float] = field(default_factory=dict)
    kept: Mapping[str, Any] = field(default_factory=dict)
    pictures: tuple[bytes, ...] = ()  # JPEG: some of these data with what the model found in them


@dataclass(frozen=True, slots=True)
class RoundRecord:
    """One finished attempt. Agents by name; times in seconds; hashes in hex."""

    run: str
    round: int
    attempt: int
    outcome: Outcome
    reason: str = ""
    selected: tuple[str, ...] = ()
    survived: tuple[str, ...] = ()
    dropped: tuple[str, ...] = ()
    dropped_reasons: Mapping[str, str] = field(default_factory=dict)
    stage_seconds: Mapping[str, float] = field(default_factory=dict)
    metrics: Mapping[str, float] = field(default_factory=dict)
    seconds: float = 0.0
    bytes_up: int = 0
    bytes_down: int = 0
    model_sha256: str = ""
    result_hash: str = ""
    finished: float = 0.0  # Unix seconds; record_round() fills it in when 0
    extra: Mapping[str, Any] = field(default_factory=dict)  # JSON values only

    def as_json(self) -> dict[str, Any]:
        """The record as JSON values, in the order of the fields above; `extra` stays one object."""
        values: dict[str, Any] = {}
        for item in fields(self):
            value = getattr(self, item.name)
            if isinstance(value, tuple):
                value = list(value)
            elif isinstance(value, Mapping):
                value = dict(value)
            values[item.name] = value
        values["outcome"] = self.outcome.value
        return values

    def left_at(self, agent: str) -> str:
        """The stage at which it left; empty when it did not, or when that was not recorded."""
        stages = self.extra.get("dropped_stages")
        return str(stages.get(agent, "")) if isinstance(stages, dict) else ""

    @property
    def evaluates(self) -> bool:
        """Whether devices were asked for counts and not for updates, whatever came of it."""
        return self.outcome is not Outcome.COMMITTED and EVALUATION in self.extra

    @property
    def paid_in_vain(self) -> bool:
        """Whether it came to nothing after agents had uploaded: what they uploaded is spent, and charged."""
        return self.outcome is Outcome.ABORTED and UPLOAD_STAGE in self.extra.get(
            "answer_seconds", {}
        )

    @property
    def sizes(self) -> Mapping[str, int]:
        """What devices declared in this attempt to hold (n_ref), by name, as far as it was heard: their word."""
        found = dict(self.extra.get("sizes", {}))
        for name, reason in self.dropped_reasons.items():
            _, _, told = reason.partition(f":{RefusalCode.POLICY_SIZE}:n-ref-")
            if told.isdecimal():
                found[name] = int(told)
        return found

    @property
    def not_asked(self) -> Mapping[str, str]:
        """Agents that were connected and left out of the draw, with the reason."""
        found = self.extra.get("not_asked")
        return found if isinstance(found, dict) else {}

    def charged(self) -> list[str]:
        """Whom this attempt may have cost budget for training: everybody asked who did not refuse at the offer."""
        return [] if self.evaluates else self.answered()

    def answered(self) -> list[str]:
        """Everybody asked who did not refuse at the offer, and so may have been charged for it."""
        return [
            agent
            for agent in self.selected
            if not self.dropped_reasons.get(agent, "").startswith("refused")
            or self.left_at(agent) not in {FIRST_STAGE, ""}
        ]

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "RoundRecord":
        """Read what as_json() wrote; fields of a newer version are ignored.

        Raises:
            ValueError, TypeError: not a record.
        """
        kept = {key: value for key, value in values.items() if key in _RECORD_FIELDS}
        kept["outcome"] = Outcome(str(kept.get("outcome")))
        for key in ("selected", "survived", "dropped"):
            kept[key] = tuple(kept.get(key, ()))
        return cls(**kept)


@dataclass(frozen=True, slots=True)
class Totals:
    """What all finished attempts of a run add up to. `smallest`: of the committed sums, in agents."""

    committed: int = 0
    aborted: int = 0
    seconds: float = 0.0
    bytes_up: int = 0
    bytes_down: int = 0
    smallest: int | None = None

    @classmethod
    def of(cls, records: Sequence[RoundRecord]) -> "Totals":
        ended = Counter(record.outcome for record in records)
        committed = [record for record in records if record.outcome is Outcome.COMMITTED]
        return cls(
            committed=len(committed),
            aborted=ended[Outcome.ABORTED],
            seconds=sum(record.seconds for record in records),
            bytes_up=sum(record.bytes_up for record in records),
            bytes_down=sum(record.bytes_down for record in records),
            smallest=min((len(record.survived) for record in committed), default=None),
        )


_RECORD_FIELDS = frozenset(item.name for item in fields(RoundRecord))
