"""An event log as it grows, through rotations; and its lines as people read them."""

import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from rich.text import Text

from edgeveil.shared.events.log import EventLine, parse_line

COLOURS = {"warning": "yellow", "error": "red", "alarm": "bold red"}


@dataclass(eq=False)
class Tail:
    """Complete lines from byte `start` of the file that is there now; an absent file may come later."""

    path: Path
    start: int = 0
    _file: BinaryIO | None = field(default=None, init=False)
    _pending: bytes = field(default=b"", init=False)

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
            if not self.path.exists():
                return b""
            self._file = self.path.open("rb")
            size = self.path.stat().st_size
            self._file.seek(self.start if self.start <= size else 0)
        data = self._file.read()
        if not data and self._was_put_aside():
            data = self._file.read()  # what came between reading and looking
            self.close()
            self.start = 0
        return data

    def _was_put_aside(self) -> bool:
        if self._file is None or not self.path.exists():
            return False
        mine, there = Path(f"/proc/self/fd/{self._file.fileno()}").stat(), self.path.stat()
        return mine.st_ino != there.st_ino


def as_text(line: EventLine) -> Text:
    """One line for a terminal; every part of it is a name or a code."""
    clock = time.strftime("%H:%M:%S", time.localtime(line.ts))
    where = f"round {line.round}" + (f".{line.attempt}" if line.attempt > 1 else "")
    parts = [clock, f"{line.event:<18}", f"{where:<10}" if line.round else ""]
    parts += [line.stage, line.agent, line.reason]
    if line.dur_ms is not None:
        parts.append(f"{line.dur_ms / 1000:.2f} s")
    if line.epsilon_alone:
        parts.append(f"ε of sums {line.epsilon_sum:.3g}, alone {line.epsilon_alone:.3g}")
    return Text("  ".join(part for part in parts if part), style=COLOURS.get(line.level, ""))


def size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0
