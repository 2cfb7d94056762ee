"""What the store needs of its database, whichever it is: transactions, and errors in our words.

SQLite (sqlite.py) unless coordinator.toml names a PostgreSQL server (postgres.py). What the tables mean is
the store's business.
"""

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from edgeveil.shared.base.clock import Clock
from edgeveil.shared.base.failpoints import Failpoint, failpoint

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

    Kept = TypeVar("Kept", bound=DataclassInstance)

LOCK_TIMEOUT_S = 10.0


class Database(ABC):
    """Any number of threads; each `reading` or `writing` block is one transaction.

    `home`: the coordinator's folder; `name`: what errors call the database.
    """

    def __init__(self, home: Path, name: str, engine: sa.Engine, *, read_only: bool) -> None:
        self.home = home
        self.name = name
        self.read_only = read_only
        self.watch_commits: Callable[[float], None] | None = None  # gets the seconds of each
        self._engine = engine

    @contextmanager
    def reading(self) -> Iterator[sa.Connection]:
        """A consistent view; raises StateDamaged or Busy."""
        with self._translated(), self._session(writing=False) as connection:
            yield connection

    @contextmanager
    def writing(self) -> Iterator[sa.Connection]:
        """Committed and on the disk when the block ends, undone if it raises.

        There is one writer at a time, so that what the block reads cannot change under it.
        """
        with self._translated():
            with self._session(writing=True) as connection:
                yield connection
                started = time.monotonic()
                failpoint(Failpoint.DATABASE_COMMIT_BEFORE)
                self._commit(connection)
            if self.watch_commits is not None:
                self.watch_commits(time.monotonic() - started)
            failpoint(Failpoint.DATABASE_COMMIT_AFTER)

    def close(self) -> None:
        self._engine.dispose()

    @abstractmethod
    def check(self) -> None:
        """Raise StateDamaged, ConfigError or Busy unless it is sound and keeps what it acknowledges."""

    @abstractmethod
    def _session(self, *, writing: bool) -> AbstractContextManager[sa.Connection]:
        """A connection in a transaction, which is undone unless it was committed."""

    @abstractmethod
    def _translated(self) -> AbstractContextManager[None]:
        """The driver's errors as ours. A broken constraint stays what it is, for the store to explain."""

    def _commit(self, connection: sa.Connection) -> None:
        connection.commit()


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


def insert(connection: sa.Connection, table: sa.Table) -> "sqlite.Insert | postgresql.Insert":
    """An INSERT that can say what to do with a row that is there already."""
    postgres = connection.dialect.name == "postgresql"
    return postgresql.insert(table) if postgres else sqlite.insert(table)


def as_row(value: "DataclassInstance") -> dict[str, Any]:
    """A flat frozen record as column values; its fields are named like the columns."""
    return {item.name: getattr(value, item.name) for item in fields(value)}


def from_row(kind: "type[Kept]", row: sa.Row[Any], **typed: object) -> "Kept":
    """The inverse; `typed`: what is more than the value of its column."""
    return kind(**{item.name: getattr(row, item.name) for item in fields(kind)} | typed)
