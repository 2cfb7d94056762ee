"""Finding lines in an event log of a hundred megabytes without reading all of it as JSON."""

import re
from collections.abc import Iterator
from pathlib import Path

from edgeveil.shared.base.errors import StateDamaged
from edgeveil.shared.events.log import KEPT, EventLine, parse_line, rotated

BLOCK = 65_536  # bytes read at a time from the end of a file


def newest(path: Path, count: int) -> list[EventLine]:
    """The last `count` lines of a log, oldest first, rotated files included.

    Raises:
        StateDamaged: one of them is not an event. A torn last line is skipped.
    """
    found: list[EventLine] = []
    for number in range(KEPT + 1):
        if len(found) >= count:
            break
        file = rotated(path, number)
        wanted = count - len(found)
        found[:0] = [_parse(file, data) for data in _last_lines(file, wanted)]
    return found


def of_round(path: Path, number: int) -> Iterator[EventLine]:
    """Every line about this round, oldest first; other lines are not even read as JSON.

    Raises:
        StateDamaged: a line that names the round is not an event.
    """
    # Our own lines have no spaces and no text that could hold this in another place.
    wanted = re.compile(rb'^.*"round":%d[,}].*\n' % number, re.MULTILINE)
    needle = b'"round":%d' % number
    for place in range(KEPT, -1, -1):
        file = rotated(path, place)
        data = _content(file)
        start = data.find(needle)
        if start < 0:
            continue
        for match in wanted.finditer(data, data.rfind(b"\n", 0, start) + 1):
            yield _parse(file, match.group())


def _last_lines(file: Path, count: int) -> list[bytes]:
    """The last `count` complete lines, each with its line feed."""
    try:
        handle = file.open("rb")
    except FileNotFoundError:
        return []
    with handle:
        at = handle.seek(0, 2)
        data = b""
        while at > 0 and data.count(b"\n") <= count:
            step = min(BLOCK, at)
            at -= step
            handle.seek(at)
            data = handle.read(step) + data
    lines = data[: data.rfind(b"\n") + 1].splitlines(keepends=True)
    return lines[-count:]


def _content(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except FileNotFoundError:
        return b""


def _parse(file: Path, data: bytes) -> EventLine:
    try:
        return parse_line(data)
    except (TypeError, ValueError, RecursionError) as error:
        raise StateDamaged(f"{file}: not an event line ({error})") from error
