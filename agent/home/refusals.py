"""How often this device refused, by code: for its owner's report. No sentence, no record, bounded."""

import contextlib
import json
from pathlib import Path
from typing import Any

from edgeveil.shared.base.errors import RefusalCode
from edgeveil.shared.base.files import write_atomic

FILE = "refusals.json"


class RefusalCounts:
    """A small file with one entry per code of the closed list, however often somebody asks."""

    def __init__(self, home: Path) -> None:
        self._path = home / FILE
        self._counts = read_refusals(home)

    def note(self, code: RefusalCode, *, where: str, now: float) -> None:
        """Count one refusal; `where` is stage, run, round and attempt. A full disk loses the count."""
        entry = self._counts.setdefault(code.value, {"count": 0})
        entry |= {"count": entry["count"] + 1, "last": where, "time": int(now)}
        with contextlib.suppress(OSError):
            write_atomic(self._path, json.dumps(self._counts, sort_keys=True).encode("ascii"))


def read_refusals(home: Path) -> dict[str, dict[str, Any]]:
    """{code: {"count", "last", "time"}}; empty if there is none, or if the file is not readable."""
    try:
        found = json.loads((home / FILE).read_bytes())
        return {
            RefusalCode(code).value: {
                "count": int(entry["count"]),
                "last": str(entry["last"]),
                "time": int(entry["time"]),
            }
            for code, entry in found.items()
        }
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}
