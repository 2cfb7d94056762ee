"""What the coordinator must not forget: enrolment, roster, runs, rounds and ledger heads.

One SQLite file, home/state.db. Models and events lie beside it (coordinator.runs.checkpoint,
shared.events.log); a round counts once its checkpoint is on the disk and its record is in here.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Self

from edgeveil.coordinator.store import agents, failures, rounds, sums
from edgeveil.coordinator.store.database import open_database
from edgeveil.shared.base.clock import Clock, SystemClock

FILE = "state.db"


class Store(agents.AgentTables, rounds.RoundTables, sums.SumTables, failures.FailureTables):
    """Thread-safe; every method is one transaction that is on the disk when it returns."""

    @classmethod
    def open(
        cls,
        home: Path,
        *,
        create: bool = False,
        read_only: bool = False,
        clock: Clock | None = None,
    ) -> Self:
        """Open home/state.db, migrating it if needed.

        Raises:
            ConfigError: absent and not `create`, or too old to be read without migrating.
            StateDamaged: damaged, readable by others, or written by a newer version.
            Busy: another process keeps it locked.
        """
        database = open_database(home / FILE, create=create, read_only=read_only)
        return cls(database, clock or SystemClock())

    @property
    def home(self) -> Path:
        """The folder that holds the database, and the runs beside it."""
        return self._database.path.parent

    def watch_commits(self, watch: Callable[[float], None]) -> None:
        """`watch` gets the seconds that each commit took to reach the disk."""
        self._database.watch_commits = watch

    def close(self) -> None:
        self._database.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
