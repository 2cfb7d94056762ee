"""A whole event log at once, for logs as short as those of tests."""

from pathlib import Path

from edgeveil.shared.events.log import EventLine
from edgeveil.shared.events.search import newest

EVERY_LINE = 1_000_000_000


def read_events(path: Path) -> list[EventLine]:
    """Every complete line, oldest first, rotated files included; raises StateDamaged."""
    return newest(path, EVERY_LINE)
