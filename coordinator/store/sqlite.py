"""SQLite for the store: durable, private, and honest about what went wrong.

WAL with synchronous=FULL: only FULL keeps acknowledged commits through a power loss, and a round
needs a handful of them (docs/design.md, "State").
"""

import os
import sqlite3
import stat
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from urllib.parse import quote

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError, IntegrityError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.pool import QueuePool

from edgeveil.coordinator.store import database
from edgeveil.shared.base.errors import Busy, ConfigError, EdgeveilError, StateDamaged
from edgeveil.shared.base.files import fsync_directory

_WRITING = "edgeveil_writing"
_BUSY = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}


class SqliteDatabase(database.Database):
    """One file."""

    def __init__(self, path: Path, *, read_only: bool) -> None:
        self.path = path
        engine = sa.create_engine(
            "sqlite://",
            creator=self._connect,
            poolclass=QueuePool,
            pool_timeout=database.LOCK_TIMEOUT_S,
            hide_parameters=True,  # an error must not carry a proof key into a traceback
        )
        sa.event.listen(engine, "begin", _begin)
        super().__init__(path.parent, str(path), engine, read_only=read_only)

    def check(self) -> None:
        """Switch to WAL and look for damaged pages; not where nothing may be written."""
        if self.read_only:
            return
        with self._translated(), closing(self._connect()) as connection:
            connection.execute("PRAGMA journal_mode=WAL")
            verdict = connection.execute("PRAGMA quick_check(1)").fetchone()
        if verdict != ("ok",):
            raise StateDamaged(f"{self.path}: damaged; restore it from a backup")

    @contextmanager
    def _session(self, *, writing: bool) -> Iterator[sa.Connection]:
        """Takes SQLite's write lock at once."""
        with self._engine.connect() as plain:
            connection = plain.execution_options(**{_WRITING: writing})
            connection.begin()
            yield connection

    def _connect(self) -> sqlite3.Connection:
        mode = "ro" if self.read_only else "rw"
        connection = sqlite3.connect(
            f"file:{quote(str(self.path))}?mode={mode}",
            uri=True,
            timeout=database.LOCK_TIMEOUT_S,
            check_same_thread=False,
            isolation_level=None,  # no implicit BEGIN: _begin() says which kind
        )
        connection.execute("PRAGMA foreign_keys=ON")
        connection.execute("PRAGMA synchronous=FULL")
        connection.execute("PRAGMA secure_delete=ON")
        return connection

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except IntegrityError:
            raise
        except PoolTimeout as error:
            raise Busy(f"{self.path}: too many requests at once; try again") from error
        except DBAPIError as error:
            raise _explain(self.path, error.orig) from error
        except sqlite3.Error as error:
            raise _explain(self.path, error) from error


def open_file(path: Path, *, create: bool, read_only: bool) -> SqliteDatabase:
    """The database in that file, not checked yet.

    Raises:
        ConfigError: absent.
        StateDamaged: not a file of its own, open to others, or gone from a home that had it.
    """
    if not path.exists():
        if not create and (path.parent / "coordinator.toml").exists():
            raise StateDamaged(
                f"{path}: the database of this coordinator is missing; restore the folder from a "
                "backup, or initialise a new one in another folder and invite every agent again"
            )
        if read_only or not create:
            raise ConfigError(f"{path}: no coordinator was initialised here; run: coordinator init")
        _create_file(path)
    _check_mode(path)
    return SqliteDatabase(path, read_only=read_only)


def _begin(connection: sa.Connection) -> None:
    writing = connection.get_execution_options().get(_WRITING, False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writing else "BEGIN")


def _create_file(path: Path) -> None:
    """An empty file (0600) before SQLite sees it: its -wal and -shm files inherit the mode."""
    with suppress(FileExistsError):
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600))
    fsync_directory(path.parent)


def _check_mode(path: Path) -> None:
    found = path.lstat()
    if not stat.S_ISREG(found.st_mode):
        raise StateDamaged(f"{path}: the database must be a regular file")
    if found.st_mode & 0o077:
        raise StateDamaged(f"{path}: readable by others; run: chmod 600 {path}")


def _explain(path: Path, error: BaseException | None) -> EdgeveilError:
    code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF
    if code in _BUSY:
        timeout = database.LOCK_TIMEOUT_S
        return Busy(f"{path}: another process kept it locked for {timeout:.0f} s; try again")
    if code == sqlite3.SQLITE_FULL:
        return Busy(f"{path}: the disk is full; nothing was lost, free some space and try again")
    if code in (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN):
        return ConfigError(
            f"{path}: cannot be opened for writing; check that its folder is writable for you"
        )
    return StateDamaged(f"{path}: cannot be used ({error}); restore it from a backup")
