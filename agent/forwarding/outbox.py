"""What waits to be delivered: a bounded queue on the disk that survives a crash, several lanes in one file.

SQLite keeps it: put() returns when it is on the disk, and what was put and is not done is there after any crash. A lane
that is full gives up its oldest entries and counts them.
"""

import contextlib
import fcntl
import os
import sqlite3
import threading
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from edgeveil.shared.base.errors import Busy, StateDamaged, StorageFailed
from edgeveil.shared.base.files import private_directory

FOLDER = "outbox"
MOST_PROCESSES = 8  # of one command with one home
PAGE = 4096  # bytes
SPARE_PAGES = (
    4096  # of the file beyond what entries take: indexes, counts, pages not yet used again
)
WAIT_S = 5.0  # for another process that reads
_TABLES = """
CREATE TABLE IF NOT EXISTS waiting(
  seq INTEGER PRIMARY KEY AUTOINCREMENT, lane TEXT NOT NULL, id TEXT NOT NULL, at REAL NOT NULL, body BLOB NOT NULL);
CREATE INDEX IF NOT EXISTS by_lane ON waiting(lane, seq);
CREATE TABLE IF NOT EXISTS counted(
  lane TEXT NOT NULL, what TEXT NOT NULL, n INTEGER NOT NULL, PRIMARY KEY(lane, what));
"""


@dataclass(frozen=True, slots=True)
class Entry:
    """`at` in Unix seconds; `seq` is 0 until it waits."""

    lane: str
    id: str
    at: float
    body: bytes
    seq: int = 0


@dataclass(frozen=True, slots=True)
class Bound:
    entries: int
    size: int  # bytes of bodies


class Outbox:
    """For several threads of one process; `name` is that of the command, and the file is its own while it runs."""

    def __init__(self, home: Path, name: str, bounds: dict[str, Bound]) -> None:
        """Raise Busy when too many processes have one, StateDamaged for a file that is none."""
        self._bounds = bounds
        self._guard = threading.Lock()
        folder = private_directory(private_directory(home) / FOLDER)
        self._lock, self.path = _slot(folder, name)
        try:
            self._base = _opened(self.path)
            pages = sum(bound.size for bound in bounds.values()) // PAGE * 2 + SPARE_PAGES
            self._base.execute(f"PRAGMA max_page_count = {pages}")
            self._held = {lane: self._measure(lane) for lane in bounds}
        except sqlite3.DatabaseError as error:
            os.close(self._lock)
            raise _told(self.path, error) from error

    def put(self, entries: Sequence[Entry]) -> None:
        """All of them, on the disk when this returns; raises StorageFailed, and then none is."""
        with self._changing() as base:
            base.executemany(
                "INSERT INTO waiting(lane, id, at, body) VALUES(?, ?, ?, ?)",
                [(each.lane, each.id, each.at, each.body) for each in entries],
            )
            held = dict(self._held)
            for each in entries:
                count, size = held[each.lane]
                held[each.lane] = (count + 1, size + len(each.body))
            for lane in {each.lane for each in entries}:
                held[lane] = self._within(base, lane, held[lane])
            base.execute("COMMIT")
            self._held = held

    def take(self, lane: str, most: int) -> list[Entry]:
        """The oldest; they stay until done()."""
        with self._guard, _said(self.path):
            rows = self._base.execute(
                "SELECT lane, id, at, body, seq FROM waiting WHERE lane = ? ORDER BY seq LIMIT ?",
                (lane, most),
            )
            return [Entry(*row) for row in rows]

    def done(self, entries: Iterable[Entry], what: str) -> None:
        """They wait no longer; `what` became of them is counted: sent, expired, refused, failed."""
        with self._changing() as base:
            held = dict(self._held)
            for each in entries:
                if base.execute("DELETE FROM waiting WHERE seq = ?", (each.seq,)).rowcount:
                    count, size = held.get(each.lane, (1, len(each.body)))
                    held[each.lane] = (count - 1, size - len(each.body))
                    _count(base, each.lane, what, 1)
            base.execute("COMMIT")
            self._held = held

    def waiting(self, lane: str) -> int:
        return self._held[lane][0]

    def strangers(self) -> list[Entry]:
        """What waits in lanes that nobody has any more."""
        with self._guard, _said(self.path):
            rows = self._base.execute("SELECT lane, id, at, x'', seq FROM waiting ORDER BY seq")
            return [Entry(*row) for row in rows if row[0] not in self._bounds]

    def close(self) -> None:
        with self._guard:
            self._base.close()
            os.close(self._lock)

    @contextlib.contextmanager
    def _changing(self) -> Iterator[sqlite3.Connection]:
        with self._guard, _said(self.path):
            self._base.execute("BEGIN IMMEDIATE")
            try:
                yield self._base
            except BaseException:
                if self._base.in_transaction:
                    self._base.execute("ROLLBACK")
                raise

    def _within(self, base: sqlite3.Connection, lane: str, held: tuple[int, int]) -> tuple[int, int]:  # fmt: skip
        """Give up the oldest until the lane is within its bound; what it holds then."""
        count, size = held
        bound, gone = self._bounds[lane], []
        if count <= bound.entries and size <= bound.size:
            return held
        for seq, length in base.execute("SELECT seq, length(body) FROM waiting WHERE lane = ? ORDER BY seq", (lane,)):  # fmt: skip
            if count <= bound.entries and size <= bound.size:
                break
            gone.append((seq,))
            count, size = count - 1, size - length
        base.executemany("DELETE FROM waiting WHERE seq = ?", gone)
        _count(base, lane, "dropped", len(gone))
        return count, size

    def _measure(self, lane: str) -> tuple[int, int]:
        row = self._base.execute(
            "SELECT count(*), coalesce(sum(length(body)), 0) FROM waiting WHERE lane = ?", (lane,)
        )
        count, size = row.fetchone()
        return int(count), int(size)


def standing(home: Path) -> dict[str, dict[str, int]]:
    """By lane: how many wait, and what became of those before, over all processes; reads alone."""
    found: dict[str, dict[str, int]] = {}
    for path in sorted((home / FOLDER).glob("*.db")):
        with _said(path), contextlib.closing(_opened(path)) as base:
            rows = base.execute(
                "SELECT lane, 'waiting', count(*) FROM waiting GROUP BY lane "
                "UNION ALL SELECT lane, what, n FROM counted"
            )
            for lane, what, n in rows:
                counts = found.setdefault(lane, {})
                counts[what] = counts.get(what, 0) + n
    return found


def _opened(path: Path) -> sqlite3.Connection:
    base = sqlite3.connect(path, timeout=WAIT_S, isolation_level=None, check_same_thread=False)
    base.execute("PRAGMA journal_mode = WAL")
    base.execute("PRAGMA synchronous = FULL")  # a commit is on the disk when it returns
    base.executescript(_TABLES)
    return base


def _slot(folder: Path, name: str) -> tuple[int, Path]:
    """The first file of this name that no other process has, and its lock; what waits there goes on from there."""
    for number in range(1, MOST_PROCESSES + 1):
        stem = name if number == 1 else f"{name}-{number}"
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        handle = os.open(folder / f"{stem}.lock", flags, 0o600)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(handle)
            continue
        return handle, folder / f"{stem}.db"
    raise Busy(f"{folder}: {MOST_PROCESSES} processes deliver from here already; stop one first")


def _count(base: sqlite3.Connection, lane: str, what: str, n: int) -> None:
    base.execute(
        "INSERT INTO counted(lane, what, n) VALUES(?, ?, ?) "
        "ON CONFLICT(lane, what) DO UPDATE SET n = n + excluded.n",
        (lane, what, n),
    )


@contextlib.contextmanager
def _said(path: Path) -> Iterator[None]:
    try:
        yield
    except sqlite3.DatabaseError as error:
        raise _told(path, error) from error


def _told(path: Path, error: sqlite3.DatabaseError) -> StateDamaged | StorageFailed:
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    if code in {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_ERROR}:
        return StateDamaged(
            f"{path}: damaged ({error}); remove it, and what waited in it is lost, or restore it"
        )
    return StorageFailed(f"{path}: {error}; free some space")
