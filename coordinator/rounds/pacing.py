"""What earlier attempts say about the next one: drop rates, deadlines, who should rest (pure).

Everything here follows from round records, which hold participation, timing and refusal codes and
nothing about anybody's data (docs/design.md, "Pace").
"""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from edgeveil.coordinator.machine.attempt import Deadlines
from edgeveil.coordinator.machine.drop_reasons import DropReason
from edgeveil.coordinator.plan.cohort import HIGHEST_RATE, needed_for_quorum
from edgeveil.coordinator.records.records import Outcome, RoundRecord
from edgeveil.shared.base.errors import RefusalCode
from edgeveil.shared.wire.messages import Stage

CLOSING = 0.9999  # so that closing the first stage early costs no assurance worth mentioning
WINDOW = 20  # attempts that count
PRIOR_ASKED = 20.0  # agents' worth of belief in the rates below before anything was observed
FIRST_RATE, LATER_RATE = 0.05, 0.05  # lost before the advert, and between advert and sum
ENOUGH = 3  # observations before a deadline adapts
TIMES, PLUS_S = 3.0, 5.0  # a stage may take this much longer than the slowest answer seen
MOST_RESTS = 5  # a refusing agent is asked again after at most 2^5 attempts
WAVE, WAVE_S = 100, 1.0  # offers that leave at once, and the seconds between two waves

KEPT = 64  # records anything here looks back on

_P = RefusalCode
# Codes that the same plan meets again: the device or its owner has to change something first.
LASTING = frozenset(
    {
        _P.VERSION, _P.TASK_UNKNOWN, _P.POLICY_SECAGG, _P.POLICY_VECTOR, _P.BUDGET_EXHAUSTED,
        _P.BUDGET_WOULD_EXCEED, _P.LEDGER_CORRUPT, _P.LEDGER_ROLLBACK, _P.DATASET_CHANGED,
        _P.DATASET_UNKNOWN, _P.POLICY_SIGMA, _P.POLICY_SAMPLING, _P.POLICY_STEPS, _P.POLICY_CLIP,
        _P.POLICY_LR, _P.POLICY_DELTA, _P.POLICY_TASK, _P.POLICY_COORDINATOR, _P.POLICY_COHORT,
        _P.POLICY_WHEN, _P.POLICY_SIZE, _P.POLICY_DP, _P.POLICY_NOISE, _P.POLICY_METRICS,
        _P.MODEL_NOT_INDEPENDENT, _P.SELF_TEST_FAILED,
    }
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Rates:
    """Share of the asked agents lost before their advert, and of the others before the sum."""

    first: float
    later: float

    def asked(self, goal: int, quorum: Callable[[int], int]) -> int:
        """How many to ask so that `goal` are in the sum and `quorum(adverts)` stay to the end."""
        return needed_for_quorum(goal, _up(self.first), _up(self.later), quorum)

    def adverts(self, goal: int, quorum: Callable[[int], int]) -> int:
        """How many adverts to wait for so that the same holds from there on."""
        return needed_for_quorum(goal, 0.0, _up(self.later), quorum, assurance=CLOSING)


def rates(records: Sequence[RoundRecord]) -> Rates:
    """Observed over the last attempts, with a prior that a few rounds outweigh.

    Agents that were merely late, and those that refuse for good and therefore rest, are not losses.
    """
    asked = answered = PRIOR_ASKED
    first, later = FIRST_RATE * PRIOR_ASKED, LATER_RATE * PRIOR_ASKED
    for record in records[-WINDOW:]:
        stages = record.extra.get("dropped_stages", {})
        lost = {name for name, why in record.dropped_reasons.items() if _is_loss(why)}
        early = sum(stages.get(name, _FIRST) == _FIRST for name in lost)
        ignored = len(record.dropped_reasons) - len(lost)
        asked += len(record.selected) - ignored
        answered += len(record.selected) - ignored - early
        first += early
        later += len(lost) - early
    return Rates(min(first / asked, HIGHEST_RATE), min(later / answered, HIGHEST_RATE))


def deadlines(records: Sequence[RoundRecord], limit_s: float, agents: int) -> Deadlines:
    """Per stage: the plan's own limit until enough is known, then a multiple of what was seen.

    A stage that cut somebody off in the last attempts gets twice the time for each of them in a
    row, up to the limit, so that a deadline that was too short heals itself.
    """
    usual = Deadlines.capped(limit_s, agents)
    recent = records[-WINDOW:]
    found = {f"{stage.name.lower()}_s": _deadline(stage, recent, usual) for stage in Stage}
    waves = (math.ceil(agents / WAVE) - 1) * WAVE_S
    return replace(usual, **found | {"round_s": found["round_s"] + waves})


def resting(records: Sequence[RoundRecord]) -> frozenset[str]:
    """Agents that refused for a reason that lasts, and were asked too recently to ask again."""
    refusals: dict[str, int] = {}
    last: dict[str, int] = {}
    for place, record in enumerate(records):
        for name in record.selected:
            why = record.dropped_reasons.get(name, "")
            refusals[name] = refusals.get(name, 0) + 1 if _lasts(why) else 0
            last[name] = place
    now = len(records)
    return frozenset(
        name
        for name, times in refusals.items()
        if times and now - last[name] <= 2 ** min(times, MOST_RESTS)
    )


def waves(agents: Sequence[bytes]) -> Iterator[tuple[float, tuple[bytes, ...]]]:
    """(seconds after the start, agents): a thousand models do not leave at the same moment."""
    for number, start in enumerate(range(0, len(agents), WAVE)):
        yield number * WAVE_S, tuple(agents[start : start + WAVE])


_FIRST = Stage.ROUND.name.lower()


def _deadline(stage: Stage, records: Iterable[RoundRecord], usual: Deadlines) -> float:
    name, limit = stage.name.lower(), usual.of(stage)
    seen: list[float] = []
    misses = 0
    for record in records:
        times: Mapping[str, float] = record.extra.get("answer_seconds", {})
        if record.outcome is Outcome.COMMITTED and name in times:
            seen.append(times[name])
        misses = misses + 1 if _cut_off(record, name) else 0
    if len(seen) < ENOUGH:
        return limit
    return min((TIMES * max(seen) + PLUS_S) * 2.0 ** min(misses, 16), limit)


def _cut_off(record: RoundRecord, stage: str) -> bool:
    stages = record.extra.get("dropped_stages", {})
    return any(
        why == DropReason.DEADLINE and stages.get(name) == stage
        for name, why in record.dropped_reasons.items()
    )


def _lasts(why: str) -> bool:
    kind, _, code = why.partition(":")
    return kind == DropReason.REFUSED and code.partition(":")[0] in LASTING


def _is_loss(why: str) -> bool:
    return why != DropReason.LATE and not _lasts(why)


def _up(rate: float) -> float:
    """To the next whole per cent: the same rate for a while, and never below the observed one."""
    return min(math.ceil(rate * 100 - 1e-9) / 100, HIGHEST_RATE)
