"""The last PRV figure of a ledger: it takes seconds and changes only when something was spent."""

import contextlib
import hashlib
import json
from collections.abc import Iterable
from pathlib import Path

from edgeveil.agent.ledger.prv import Prv, epsilon_prv
from edgeveil.agent.ledger.reading import PRV
from edgeveil.shared.base.files import write_atomic
from edgeveil.shared.privacy.rdp import Segment


def cached_prv(folder: Path, history: Iterable[Segment], delta: float) -> Prv:
    """As epsilon_prv; remembered beside the ledger if it could be computed and written."""
    segments = sorted(history)
    key = hashlib.sha256(repr((segments, delta)).encode("ascii")).hexdigest()
    path = folder / PRV
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        kept = json.loads(path.read_bytes())
        if kept["key"] == key:
            return Prv(float(kept["epsilon"]), str(kept["note"]))
    found = epsilon_prv(segments, delta)
    if found.epsilon is not None:
        with contextlib.suppress(OSError):
            write_atomic(path, json.dumps({"key": key, **found._asdict()}).encode("ascii"))
    return found
