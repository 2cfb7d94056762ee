"""What the coordinator must not forget: enrolment, roster, runs, rounds and ledger heads.

One SQLite file, home/state.db, or a database on a PostgreSQL server. Models and events lie in the home
(coordinator.runs.checkpoint, shared.events.log); a round counts once its checkpoint is on the disk and its
record is in here.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Self

from edgeveil.coordinator.store import agents, failures, rounds, sums
from edgeveil.coordinator.store.opening import FILE, open_database
from edgeveil.shared.base.clock import Clock, SystemClock

__all__ = ["FILE", "Store"]


class Store(agents.AgentTables, rounds.RoundTables, sums.SumTables, failures.FailureTables):
    """Thread-safe; every method is one transaction that is on the disk when it returns."""

    @classmethod
    def open(
        cls,
        home: Path,
        *,
        create: bool = False,
        read_only: bool = False,
        serving: bool = False,
        clock: Clock | None = None,
    ) -> Self:
        """Open the database of that home, migrating it if needed.

        `serving`: as its one coordinator until close(); whenever the database is away it is waited for.

        Raises:
            ConfigError: absent and not `create`, or too old to be read without migrating.
            StateDamaged: damaged, readable by others, or written by a newer version.
            Busy: another process keeps it locked or serves from it, or its server does not answer.
            NotInstalled: the server's driver is absent.
        """
        database = open_database(home, create=create, read_only=read_only, serving=serving)
        return cls(database, clock or SystemClock())

    @property
    def home(self) -> Path:
        """The coordinator's folder, with the runs in it."""
        return self._database.home

    @property
    def name(self) -> str:
        """What errors call the database."""
        return self._database.name

    def watch_commits(self, watch: Callable[[float], None]) -> None:
        """`watch` gets the seconds that each commit took to reach the disk."""
        self._database.watch_commits = watch

    def close(self) -> None:
        self._database.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
