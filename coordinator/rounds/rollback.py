"""Signs that this database is older than its agents, as after restoring a backup (pure).

An agent that has been further in a run, or holds a newer roster, says so with its refusal
(docs/protocol.md, "Messages"). One may lie; more than the plan assumes to be corrupt prove it. An
agent that restarted refuses with the attempt at hand, and one that saw a lost attempt of the same
round is passed by the next attempts: neither is a sign.
"""

import re
from collections.abc import Iterable, Mapping

from edgeveil.coordinator.machine.drop_reasons import DropReason
from edgeveil.coordinator.records.records import RoundRecord
from edgeveil.shared.base.errors import RefusalCode
from edgeveil.shared.wire.messages import Stage

MOST_LOST = 1000  # attempts of one round
LEAST = 2  # different agents, however few corrupt ones the plan assumes
_FIRST = Stage.ROUND.name.lower()
_REPLAY = re.compile(rf"{DropReason.REFUSED}:{RefusalCode.ROUND_REPLAY}:round-(\d+)-attempt-(\d+)")
_STALE = re.compile(rf"{DropReason.REFUSED}:{RefusalCode.ROSTER_STALE}:epoch-(\d+)")
_OTHER = f"{DropReason.REFUSED}:{RefusalCode.EQUIVOCATION}"


def lost_attempt(reason: str, number: int, known: int) -> int:
    """The attempt of round `number` at which an agent says to have been, `known` being the last one here.

    0 for another reason, and for more attempts than a backup can lack: nobody is believed that.
    """
    been = seen(reason)
    if been is None or been[0] != number or been[1] > known + MOST_LOST:
        return 0
    return been[1]


def seen(reason: str) -> tuple[int, int] | None:
    """The round and attempt at which an agent has been that refuses one before it."""
    found = _REPLAY.fullmatch(reason)
    return None if found is None else (int(found[1]), int(found[2]))


class Restored:
    """One run's; rebuilt from its round records, so that a restart forgets nothing."""

    def __init__(self, corrupt: int) -> None:
        """`corrupt`: how many members of one cohort the plan assumes to collude."""
        self._enough = max(LEAST, corrupt + 1)
        self._rounds: dict[str, int] = {}  # agent → a later round it has been at
        self._epochs: dict[str, int] = {}  # agent → the newer roster it holds
        self._others: set[str] = set()  # agents that know another roster of the same epoch
        self._epoch = 0

    def note(self, record: RoundRecord) -> None:
        """Take in why agents left one attempt."""
        stages = record.extra.get("dropped_stages", {})
        reasons = record.dropped_reasons
        early = {agent: why for agent, why in reasons.items() if stages.get(agent) == _FIRST}
        later = {
            agent: why for agent, why in reasons.items() if agent not in early and why != _OTHER
        }
        self.hear(record.round, int(record.extra.get("roster_epoch", 0)), early | later)

    def hear(self, here: int, epoch: int, reasons: Mapping[str, str]) -> None:
        """Take in why agents refuse at round `here`; what this database has reached by now is forgotten."""
        self._catch_up(here, epoch)
        for agent, reason in reasons.items():
            if (been := seen(reason)) and been[0] > here:
                self._rounds[agent] = been[0]
            elif (found := _STALE.fullmatch(reason)) and int(found[1]) > epoch:
                self._epochs[agent] = int(found[1])
            elif reason == _OTHER:
                self._others.add(agent)

    def _catch_up(self, here: int, epoch: int) -> None:
        self._rounds = {agent: number for agent, number in self._rounds.items() if number > here}
        self._epochs = {agent: number for agent, number in self._epochs.items() if number > epoch}
        if epoch > self._epoch:
            self._epoch = epoch
            self._others.clear()

    @property
    def later_round(self) -> int | None:
        """A round at which at least one honest agent has been, later than this database knows."""
        return _proved(self._rounds.values(), self._enough)

    @property
    def newer_epoch(self) -> int | None:
        """The epoch of a roster at least one honest agent holds and this database does not."""
        return _proved(self._epochs.values(), self._enough)

    @property
    def other_roster(self) -> bool:
        """Agents hold another roster of the same epoch: it was signed twice."""
        return len(self._others) >= self._enough

    def run_is_lost(self, run_id: str) -> str:
        """The sentence for a run that agents have taken further than this database, or ""."""
        if self.later_round is None:
            return ""
        return (
            f"this database is older than the agents: {len(self._rounds)} of them have been at round "
            f"{self.later_round} of {run_id} ({RefusalCode.ROUND_REPLAY}), which was lost when a "
            "backup was restored; they repeat nothing, so this run is closed: start a new one with "
            "`coordinator run PLAN`"
        )

    def roster_is_old(self) -> str:
        """The sentence for a roster that agents have gone beyond, or ""."""
        how = "; import the newest signed roster, or sign one above it"
        if self.newer_epoch is not None:
            return (
                f"this database is older than the agents: {len(self._epochs)} of them hold roster epoch "
                f"{self.newer_epoch} ({RefusalCode.ROSTER_STALE}), which was lost when a backup was "
                f"restored{how}: `coordinator roster sign --epoch {self.newer_epoch + 1}`, revoking "
                "first whoever was revoked since; then `coordinator run` continues here"
            )
        if self.other_roster:
            return (
                f"{len(self._others)} agents hold another roster of the epoch in force "
                f"({RefusalCode.EQUIVOCATION}): it was signed twice, as after restoring a backup{how}: "
                "`coordinator roster sign`; then `coordinator run` continues here"
            )
        return ""


def _proved(claims: Iterable[int], enough: int) -> int | None:
    """The highest value that at least `enough` agents reach, so that liars cannot raise it."""
    ordered = sorted(claims, reverse=True)
    return ordered[enough - 1] if len(ordered) >= enough else None
