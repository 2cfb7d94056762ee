"""Files that arrive in a folder: each once, when whoever writes it has finished.

A file has arrived when two looks in a row find the same size and time of change. What is there at the first
look is old, and a file that changes later arrives again. Hidden entries and links to folders are left out.
"""

import os
import stat
from dataclasses import dataclass, field
from pathlib import Path

from edgeveil.agent.inference.inputs import endings

Stamp = tuple[int, int, int]
MOST_FILES = 1_000_000


@dataclass
class Arrivals:
    """look() again and again, some tenths of a second apart; `skipped` counts files beyond MOST_FILES."""

    folder: Path
    existing: bool = False  # also what is there at the first look
    endings: tuple[str, ...] = endings(None)  # of the names of files that count
    skipped: int = 0
    _known: dict[str, Stamp] = field(default_factory=dict)  # arrived, as they were then
    _growing: dict[str, Stamp] = field(default_factory=dict)
    _first: bool = True

    def look(self) -> list[str]:
        """What has arrived since the last look, by path."""
        seen = self._seen()
        self._known = {path: stamp for path, stamp in self._known.items() if path in seen}
        if self._first:
            self._first = False
            self._known = {} if self.existing else dict(seen)
        changed = {path: stamp for path, stamp in seen.items() if self._known.get(path) != stamp}
        arrived = [path for path, stamp in changed.items() if self._growing.get(path) == stamp]
        self._known |= {path: changed[path] for path in arrived}
        self._growing = {path: stamp for path, stamp in changed.items() if path not in arrived}
        return sorted(arrived)

    def _seen(self) -> dict[str, Stamp]:
        seen: dict[str, Stamp] = {}
        self.skipped = 0
        for folder, folders, names in os.walk(self.folder):
            folders[:] = [name for name in folders if name[0] != "."]
            for name in names:
                if name[0] == "." or not name.lower().endswith(self.endings):
                    continue
                if len(seen) >= MOST_FILES:
                    self.skipped += 1
                    continue
                path = os.path.join(folder, name)  # noqa: PTH118 - a million of them, twice a second
                try:
                    found = os.stat(path)  # noqa: PTH116
                except OSError:
                    continue  # it has left again
                if not stat.S_ISREG(found.st_mode):
                    continue  # a pipe would be waited for
                seen[path] = (found.st_ino, found.st_mtime_ns, found.st_size)
        return seen
