"""Which plans this device was asked about before a run, and what it answered: one small file, bounded.

It holds hashes and codes of the closed list and nothing else. What an answer was judged by (policy, ledger,
release) is a digest beside it: while that is the same, the same plan gets the same answer, also after a
restart, and costs no look at anything.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from edgeveil.shared.base.errors import PolicyRefusal, RefusalCode, StateDamaged
from edgeveil.shared.base.files import read_secret, write_atomic

FILE = "preflights.json"
MOST_NEW, WITHIN_S = 3, 3600.0  # plans that were never asked about, in any hour
KEPT = 64  # plans; the oldest goes first
MOST_BYTES = 64 << 10


@dataclass(frozen=True, slots=True)
class Kept:
    """`since`: Unix seconds of the first question; `judged`: whether `code` (None is yes) is an answer."""

    since: float
    basis: str = ""
    judged: bool = False
    code: RefusalCode | None = None


class KeptAnswers:
    """By plan hash in hex. A file that cannot be read counts as none: all it can cost is three answers."""

    def __init__(self, home: Path) -> None:
        self._path = home / FILE
        self._kept = _read(self._path)

    def find(self, plan: str, basis: str) -> Kept | None:
        """The answer that was judged by the same."""
        kept = self._kept.get(plan)
        return kept if kept is not None and kept.judged and kept.basis == basis else None

    def begin(self, plan: str, now: float) -> None:
        """Count a plan that is new before anything is judged.

        Raises:
            PolicyRefusal: PREFLIGHT_LATER, three others were new within the hour.
            OSError: it could not be kept, so it must not be judged.
        """
        # A clock that was ahead must not shut the door for longer than an hour.
        known = {
            name: replace(kept, since=min(kept.since, now)) for name, kept in self._kept.items()
        }
        if known != self._kept:
            self._write(known)
        if plan in known:
            return
        if sum(now - kept.since < WITHIN_S for kept in known.values()) >= MOST_NEW:
            raise PolicyRefusal(
                RefusalCode.PREFLIGHT_LATER,
                f"a coordinator may ask about {MOST_NEW} new plans in an hour",
            )
        self._write(known | {plan: Kept(now)})

    def keep(self, plan: str, basis: str, code: RefusalCode | None) -> None:
        """Raises OSError: then the answer must not leave."""
        since = self._kept[plan].since
        self._write(self._kept | {plan: Kept(since, basis, judged=True, code=code)})

    def _write(self, kept: Mapping[str, Kept]) -> None:
        newest = sorted(kept.items(), key=lambda item: item[1].since)[-KEPT:]
        fields = {plan: [each.since, each.basis, each.judged, each.code] for plan, each in newest}
        write_atomic(self._path, json.dumps(fields, separators=(",", ":")).encode("ascii"))
        self._kept = dict(newest)


def _read(path: Path) -> dict[str, Kept]:
    try:
        found = json.loads(read_secret(path, most=MOST_BYTES))
        return {
            str(plan): Kept(
                float(since), str(basis), bool(judged), None if code is None else RefusalCode(code)
            )
            for plan, (since, basis, judged, code) in found.items()
        }
    except (StateDamaged, OSError, ValueError, TypeError, AttributeError, RecursionError):
        return {}
