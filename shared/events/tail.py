"""An event log as it grows, through rotations; and its lines as people read them."""

import time
from pathlib import Path
from typing import BinaryIO

from rich.text import Text

from edgeveil.shared.events.log import EventLine, parse_line

COLOURS = {"warning": "yellow", "error": "red", "alarm": "bold red"}


class Tail:
    """Complete lines from byte `start` of the file that is there now; an absent file may come later."""

    def __init__(self, path: Path, start: int = 0) -> None:
        self._path = path
        self._start = start
        self._file: BinaryIO | None = None
        self._pending = b""

    def read(self) -> list[EventLine]:
        """What was added since the last call. Lines that are no events of this version are skipped."""
        data = self._more()
        *lines, self._pending = (self._pending + data).split(b"\n")
        found = []
        for line in lines:
            try:
                found.append(parse_line(line))
            except (TypeError, ValueError):
                continue
        return found

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None

    def _more(self) -> bytes:
        if self._file is None:
            if not self._path.exists():
                return b""
            self._file = self._path.open("rb")
            size = self._path.stat().st_size
            self._file.seek(self._start if self._start <= size else 0)
        data = self._file.read()
        if not data and self._was_put_aside():
            data = self._file.read()  # what came between reading and looking
            self.close()
            self._start = 0
        return data

    def _was_put_aside(self) -> bool:
        if self._file is None or not self._path.exists():
            return False
        mine, there = Path(f"/proc/self/fd/{self._file.fileno()}").stat(), self._path.stat()
        return mine.st_ino != there.st_ino


def as_text(line: EventLine) -> Text:
    """One line for a terminal; every part of it is a name or a code."""
    clock = time.strftime("%H:%M:%S", time.localtime(line.ts))
    where = f"round {line.round}" + (f".{line.attempt}" if line.attempt > 1 else "")
    parts = [clock, f"{line.event:<18}", f"{where:<10}" if line.round else ""]
    parts += [line.stage, line.agent, line.reason]
    if line.dur_ms is not None:
        parts.append(f"{line.dur_ms / 1000:.2f} s")
    return Text("  ".join(part for part in parts if part), style=COLOURS.get(line.level, ""))


def size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0
