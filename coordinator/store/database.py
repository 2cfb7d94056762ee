"""SQLite for the store: durable, private, migrated, and honest about what went wrong.

WAL with synchronous=FULL: only FULL keeps acknowledged commits through a power loss, and a round
needs a handful of them (docs/design.md, "State"). What the tables mean is the store's business.
"""

import os
import sqlite3
import stat
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import quote

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError, IntegrityError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.pool import QueuePool

from edgeveil.coordinator.store.schema import HEAD
from edgeveil.shared.base.clock import Clock
from edgeveil.shared.base.errors import Busy, ConfigError, EdgeveilError, StateDamaged
from edgeveil.shared.base.failpoints import Failpoint, failpoint
from edgeveil.shared.base.files import fsync_directory

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

    Kept = TypeVar("Kept", bound=DataclassInstance)

LOCK_TIMEOUT_S = 10.0
_WRITING = "edgeveil_writing"
_BUSY = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}


class Database:
    """One file, any number of threads; each `reading` or `writing` block is one transaction."""

    def __init__(self, path: Path, *, read_only: bool) -> None:
        self.path = path
        self.read_only = read_only
        self.watch_commits: Callable[[float], None] | None = None  # gets the seconds of each
        self._engine = sa.create_engine(
            "sqlite://",
            creator=self._connect,
            poolclass=QueuePool,
            pool_timeout=LOCK_TIMEOUT_S,
            hide_parameters=True,  # an error must not carry a proof key into a traceback
        )
        sa.event.listen(self._engine, "begin", _begin)

    @contextmanager
    def reading(self) -> Iterator[sa.Connection]:
        """A consistent view; raises StateDamaged or Busy."""
        with self._translated(), self._engine.connect() as connection, connection.begin():
            yield connection

    @contextmanager
    def writing(self) -> Iterator[sa.Connection]:
        """Committed and on the disk when the block ends, undone if it raises.

        Takes SQLite's write lock at once, so that what the block reads cannot change under it.
        """
        with self._translated(), self._engine.connect() as plain:
            connection = plain.execution_options(**{_WRITING: True})
            with connection.begin():
                yield connection
                started = time.monotonic()
                failpoint(Failpoint.DATABASE_COMMIT_BEFORE)
            if self.watch_commits is not None:
                self.watch_commits(time.monotonic() - started)
            failpoint(Failpoint.DATABASE_COMMIT_AFTER)

    def check(self) -> None:
        """Switch to WAL and look for damaged pages; raises StateDamaged or Busy."""
        with self._translated(), closing(self._connect()) as connection:
            connection.execute("PRAGMA journal_mode=WAL")
            verdict = connection.execute("PRAGMA quick_check(1)").fetchone()
        if verdict != ("ok",):
            raise StateDamaged(f"{self.path}: damaged; restore it from a backup")

    def close(self) -> None:
        self._engine.dispose()

    def _connect(self) -> sqlite3.Connection:
        mode = "ro" if self.read_only else "rw"
        connection = sqlite3.connect(
            f"file:{quote(str(self.path))}?mode={mode}",
            uri=True,
            timeout=LOCK_TIMEOUT_S,
            check_same_thread=False,
            isolation_level=None,  # no implicit BEGIN: _begin() says which kind
        )
        connection.execute("PRAGMA foreign_keys=ON")
        connection.execute("PRAGMA synchronous=FULL")
        connection.execute("PRAGMA secure_delete=ON")
        return connection

    @contextmanager
    def _translated(self) -> Iterator[None]:
        """SQLite's errors as ours. A broken constraint stays what it is, for the store to explain."""
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


class Tables:
    """Base of a group of tables: the database they are in and the clock of their time stamps."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    def _one(self, query: sa.Select[Any]) -> sa.Row[Any] | None:
        with self._database.reading() as connection:
            return connection.execute(query).one_or_none()

    def _all(self, query: sa.Select[Any]) -> Sequence[Any]:
        with self._database.reading() as connection:
            return connection.execute(query).all()

    def _write(self, statement: sa.Insert | sa.Update | sa.Delete) -> None:
        with self._database.writing() as connection:
            connection.execute(statement)


def as_row(value: "DataclassInstance") -> dict[str, Any]:
    """A flat frozen record as column values; its fields are named like the columns."""
    return {item.name: getattr(value, item.name) for item in fields(value)}


def from_row(kind: "type[Kept]", row: sa.Row[Any], **typed: object) -> "Kept":
    """The inverse; `typed`: what is more than the value of its column."""
    return kind(**{item.name: getattr(row, item.name) for item in fields(kind)} | typed)


def open_database(path: Path, *, create: bool, read_only: bool) -> Database:
    """Open, check and migrate.

    Raises:
        ConfigError: absent, or written by an older version and opened read-only.
        StateDamaged: not a database, damaged, open to others, or written by a newer version.
        Busy: another process keeps it locked.
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
    database = Database(path, read_only=read_only)
    try:
        _prepare(database)
    except BaseException:
        database.close()
        raise
    return database


def _prepare(database: Database) -> None:
    if not database.read_only:
        database.check()
    found = _version(database)
    if found == HEAD:
        return
    if found is not None and found > HEAD:
        raise StateDamaged(
            f"{database.path}: written by a newer version (schema {found}, this one knows {HEAD}); "
            "upgrade again or restore the backup made before the upgrade"
        )
    if database.read_only:
        raise ConfigError(
            f"{database.path}: written by an older version (schema {found or 'none'}); "
            "start `coordinator serve` once to migrate it"
        )
    _migrate(database)


def _version(database: Database) -> str | None:
    with database.reading() as connection:
        tables = connection.exec_driver_sql(
            "SELECT name FROM sqlite_master WHERE name = 'alembic_version'"
        ).all()
        if not tables:
            return None
        version = connection.exec_driver_sql("SELECT version_num FROM alembic_version").scalar()
    return None if version is None else str(version)


def _migrate(database: Database) -> None:
    """Run the missing migrations in one transaction; another process may have been faster."""
    from alembic import command  # noqa: PLC0415 - costs 0.2 s that only a migration is worth
    from alembic.config import Config  # noqa: PLC0415 - as above

    scripts = Path(__file__).with_name("migrations")
    config = Config()
    config.set_main_option("script_location", str(scripts).replace("%", "%%"))
    with database.writing() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "head")


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
        return Busy(f"{path}: another process kept it locked for {LOCK_TIMEOUT_S:.0f} s; try again")
    if code == sqlite3.SQLITE_FULL:
        return Busy(f"{path}: the disk is full; nothing was lost, free some space and try again")
    if code in (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN):
        return ConfigError(
            f"{path}: cannot be opened for writing; check that its folder is writable for you"
        )
    return StateDamaged(f"{path}: cannot be used ({error}); restore it from a backup")
