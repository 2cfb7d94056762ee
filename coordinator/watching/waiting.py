"""What a run really waits for, and the sentence that says so: who is missing, who said no and why."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from edgeveil.coordinator.records.records import Outcome, RoundRecord
from edgeveil.coordinator.reports.facts import STAGES, natural
from edgeveil.coordinator.reports.words import Words
from edgeveil.coordinator.watching.live import WAITING, Now

MOST_NAMED = 8  # agents in one sentence
REFUSED = "refused:"

Kind = Literal["idle", "opening", "agents", "answers", "server", "again"]


@dataclass(frozen=True)
class Waiting:
    """`missing`: members that are not connected; `unsigned`: joined, on no signed roster yet.

    `kept_out`: connected and not asked, with the reason; `refused`: who said no in the newest attempt, where
    that came to nothing for `why`, with the code. `here` of `wanted` agents, while there are too few.
    """

    kind: Kind = "idle"
    stage: str = ""
    here: int = 0
    wanted: int = 0
    awaited: Sequence[str] = ()
    missing: Sequence[str] = ()
    unsigned: Sequence[str] = ()
    kept_out: Mapping[str, str] = field(default_factory=dict)
    refused: Mapping[str, str] = field(default_factory=dict)
    why: str = ""

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def waiting(
    now: Now,
    agents: Sequence[Mapping[str, Any]],
    newest: RoundRecord | None,
    kept_out: Mapping[str, str],
    *,
    opening: bool = False,
) -> Waiting:
    """`agents` as in `coordinator status`; `newest` finished attempt of the run; `opening`: not begun yet."""
    if opening:
        return Waiting("opening")
    if not now.run:
        return Waiting()
    again = newest if newest is not None and newest.outcome is Outcome.ABORTED else None
    said_no = {} if again is None else refusals(again)
    why = "" if again is None else again.reason
    if now.waits_for:
        here, _, rest = now.waits_for.partition("-of-")
        return Waiting(
            "agents",
            here=int(here),
            wanted=int(rest.partition("-")[0]),
            missing=_named(agents, "offline"),
            unsigned=_named(agents, "pending", "held"),
            kept_out=dict(kept_out),
            refused=said_no,
            why=why,
        )
    awaited = sorted((name for name, part in now.parts.items() if part == WAITING), key=natural)
    if awaited:
        stage = (
            now.stage if now.stage in STAGES else STAGES[0]
        )  # asked, and the stage begins at once
        return Waiting("answers", stage=stage, awaited=awaited, refused=said_no, why=why)
    if now.stage in {"aborted", "select"} and again is not None:
        return Waiting("again", refused=said_no, why=why)
    return Waiting("opening" if now.stage == "select" else "server")


def refusals(record: RoundRecord) -> dict[str, str]:
    """Who refused in that attempt, and the code."""
    return {
        name: reason.removeprefix(REFUSED).partition(":")[0]
        for name, reason in record.dropped_reasons.items()
        if reason.startswith(REFUSED)
    }


def sentence(found: Waiting, words: Words) -> str:
    """For the operator, in the language of the words."""
    parts = [_first(found, words)]
    if found.missing:
        parts.append(words("wait_missing", names=_some(found.missing)))
    if found.unsigned:
        parts.append(words("wait_unsigned", names=_some(found.unsigned)))
    if found.kept_out:
        parts.append(words("wait_kept_out", names=_some(_because(found.kept_out))))
    if found.why and found.kind in {"agents", "again"}:
        parts.append(words("wait_why", why=found.why))
    if found.refused:
        parts.append(words("wait_refused", names=_some(_because(found.refused))))
    return words("wait_then").join(parts)


def _first(found: Waiting, words: Words) -> str:
    if found.kind == "agents":
        return words("wait_agents", here=found.here, wanted=found.wanted)
    if found.kind == "answers":
        stage = words(f"stage_{found.stage}")
        return words("wait_answers", stage=stage, names=_some(found.awaited))
    return words(f"wait_{found.kind}")


def _because(reasons: Mapping[str, str]) -> list[str]:
    return [f"{name} ({reasons[name]})" for name in sorted(reasons, key=natural)]


def _named(agents: Iterable[Mapping[str, Any]], *states: str) -> list[str]:
    return sorted((str(a["name"]) for a in agents if a["state"] in states), key=natural)


def _some(names: Sequence[str]) -> str:
    """At most so many, and how many more there are."""
    more = len(names) - MOST_NAMED
    return ", ".join([*names[:MOST_NAMED], *([f"+{more}"] if more > 0 else [])])
