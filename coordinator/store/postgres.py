"""PostgreSQL for the store: as durable as the file, one writer at a time, one coordinator, outages waited for.

The coordinator that serves holds an advisory lock, and counts its transactions in a row of its own. The
lock keeps a second one out. The row settles what the lock cannot: after an outage it tells whether the
transaction under way was committed, and whether another coordinator has been here since.
"""

import secrets
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError, IntegrityError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from edgeveil.coordinator.store import database, schema
from edgeveil.coordinator.store.place import Server
from edgeveil.shared.base.errors import (
    Busy,
    ConfigError,
    EdgeveilError,
    NotInstalled,
    StateDamaged,
    StoreAway,
)
from edgeveil.shared.terminal.telling import say

PATIENCE_S = 60.0  # how long the coordinator that serves waits for the server to come back
LONGEST_PAUSE_S = 2.0
CONNECT_S = 5
_SERVING, _WRITING = 0x65646776, 0x65646777  # advisory locks: one coordinator, one transaction
_WRITER = "writer"  # key of the row in `meta`
_DURABLE = ("fsync", "full_page_writes")
# What libpq says of a connection that no waiting mends; it gives no code before a session stands.
_LASTING = (
    "authentication failed",
    "no password",
    "pg_hba.conf",
    "does not exist",
    "certificate",
    "support SSL",
)
_CAUSES: dict[str, tuple[type[EdgeveilError], str]] = {
    "55P03": (Busy, "another process kept it locked for {timeout:.0f} s; try again"),
    "53100": (Busy, "the server's disk is full; nothing was lost, free some space and try again"),
    "25006": (ConfigError, "is read-only (a standby?); name the primary in [store]"),
    "42501": (ConfigError, "the user may not do this; let it own the database"),
}


class PostgresDatabase(database.Database):
    """One database on a server, for one coordinator; `serving`: that is this process, and it waits."""

    def __init__(self, home: Path, server: Server, *, read_only: bool, serving: bool) -> None:
        self._server = server
        self._patience_s = PATIENCE_S if serving else 0.0
        self._turn = threading.Lock()
        self._token = ""  # of the coordinator that serves; empty for a command
        self._count = 0  # its transactions so far
        self._unsure = False  # whether the last one counts
        self._holder: Any = None  # the connection that has the lock
        try:
            import psycopg  # noqa: PLC0415 - an extra
        except ImportError as error:
            raise NotInstalled(
                "coordinator.toml names a PostgreSQL server, which is reached with psycopg",
                'pip install "edgeveil[postgres]"',
            ) from error
        self._driver = psycopg
        engine = sa.create_engine(
            "postgresql+psycopg://",
            creator=self._connect,
            pool_timeout=database.LOCK_TIMEOUT_S,
            pool_pre_ping=True,
            hide_parameters=True,  # an error must not carry a proof key into a traceback
        )
        super().__init__(home, server.name, engine, read_only=read_only)

    def check(self) -> None:
        """Insist on what makes a commit survive a power loss."""
        with self.reading() as connection:
            for setting in _DURABLE:
                if connection.exec_driver_sql(f"SHOW {setting}").scalar() != "on":
                    raise ConfigError(
                        f"{self.name}: the server runs with {setting} off, so a power loss would lose rounds; "
                        f"set {setting} = on in postgresql.conf"
                    )

    def hold(self) -> None:
        """Be its one coordinator until close(); raises Busy if there is another."""
        with self._translated():
            self._patiently(self._take_lock)
        with self.writing() as connection:
            token = secrets.token_hex(8)
            statement = database.insert(connection, schema.meta).values(
                key=_WRITER, value=f"{token}:0"
            )
            connection.execute(
                statement.on_conflict_do_update(
                    index_elements=[schema.meta.c.key], set_={"value": f"{token}:0"}
                )
            )
        self._token = token

    def close(self) -> None:
        super().close()
        if self._holder is not None:
            self._holder.close()

    @contextmanager
    def _session(self, *, writing: bool) -> Iterator[sa.Connection]:
        if not writing:
            with self._begun(self._begin_reading) as connection:
                yield connection
            return
        if not self._turn.acquire(timeout=database.LOCK_TIMEOUT_S):
            raise Busy(f"{self.name}: another thread kept it busy; try again")
        try:
            with self._begun(self._begin_writing) as connection:
                yield connection
        finally:
            self._turn.release()

    @contextmanager
    def _begun(self, begin: Callable[[], sa.Connection]) -> Iterator[sa.Connection]:
        connection = self._patiently(begin)
        try:
            yield connection
        finally:
            connection.close()  # which undoes what was not committed

    def _begin_reading(self) -> sa.Connection:
        return self._started("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")

    def _begin_writing(self) -> sa.Connection:
        connection = self._begin_settling()
        if self._token:
            try:
                self._count_one(connection)
            except BaseException:
                connection.close()
                raise
        return connection

    def _begin_settling(self) -> sa.Connection:
        """When whoever wrote before has ended, the own session that broke included."""
        if self._token:
            self._keep_lock()
        mode = "READ ONLY" if self.read_only else "READ WRITE"
        return self._started(f"SET TRANSACTION {mode}", f"SELECT pg_advisory_xact_lock({_WRITING})")

    def _started(self, *statements: str) -> sa.Connection:
        connection = self._engine.connect()
        try:
            for statement in statements:
                connection.exec_driver_sql(statement)
        except BaseException:
            connection.close()
            raise
        return connection

    def _count_one(self, connection: sa.Connection) -> None:
        """Only where nobody else has been: then this transaction is the next of ours."""
        row = schema.meta.c
        if self._unsure:
            self._count += self._counted(connection)
            self._unsure = False
        mine = (row.key == _WRITER) & (row.value == f"{self._token}:{self._count}")
        following = f"{self._token}:{self._count + 1}"
        counted = connection.execute(sa.update(schema.meta).where(mine).values(value=following))
        if counted.rowcount != 1:
            raise Busy(
                f"{self.name}: another coordinator has taken it over; this one must not go on"
            )

    def _commit(self, connection: sa.Connection) -> None:
        try:
            connection.commit()
        except DBAPIError as error:
            if not error.connection_invalidated:
                raise
            self._settle(error)
        self._count += bool(self._token)

    def _settle(self, error: DBAPIError) -> None:
        """Find out what became of a commit that nobody confirmed; returns if it stands."""
        if not self._token:
            raise StoreAway(
                f"{self.name}: went away during a commit; look whether it was done before you repeat it"
            ) from error
        self._unsure = True
        with self._begun(self._begin_settling) as connection:
            stands = self._counted(connection)
        self._unsure = False
        if not stands:
            raise StoreAway(f"{self.name}: went away before a commit, which was undone") from error

    def _counted(self, connection: sa.Connection) -> bool:
        """Whether the transaction after the last one known is there."""
        row = schema.meta.c
        query = sa.select(row.value).where(row.key == _WRITER)
        found = connection.execute(query).scalar_one_or_none()
        return bool(found == f"{self._token}:{self._count + 1}")

    def _take_lock(self) -> None:
        """Waits for a moment: of a coordinator that was killed the server hears a little later."""
        holder = self._connect(autocommit=True)
        try:
            holder.execute(f"SELECT pg_advisory_lock({_SERVING})")
        except self._driver.errors.LockNotAvailable as error:
            holder.close()
            raise Busy(
                f"{self.name}: in use by another running `coordinator serve`; stop it first"
            ) from error
        self._holder = holder

    def _keep_lock(self) -> None:
        """Take it again where the connection broke: the server forgets it with the connection."""
        try:
            self._holder.execute("SELECT 1")
        except self._driver.OperationalError:
            with suppress(self._driver.Error):
                self._holder.close()
            try:
                self._take_lock()
            except Busy as error:  # perhaps by the broken connection, until the server notices
                raise StoreAway(error.message) from error

    def _patiently(self, begin: Callable[[], Any]) -> Any:
        """`begin()`, again and again while the server is away; nothing has been done before it returns."""
        until, pause, told = time.monotonic() + self._patience_s, 0.1, False
        while True:
            try:
                begun = begin()
            except (DBAPIError, self._driver.Error, StoreAway) as error:
                found = error if isinstance(error, StoreAway) else self._explain(error)
                if not isinstance(found, StoreAway) or time.monotonic() + pause > until:
                    raise found from error
                if not told:
                    say(f"{found}; trying again for {self._patience_s:.0f} s", level="warning")
                    told = True
            else:
                if told:
                    say(f"{self.name}: is back")
                return begun
            time.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE_S)

    def _connect(self, *, autocommit: bool = False) -> Any:
        timeout = round(1000 * database.LOCK_TIMEOUT_S)
        return self._driver.connect(
            **self._server.reached_by(),
            connect_timeout=CONNECT_S,
            tcp_user_timeout=timeout,
            application_name="edgeveil",
            options=f"-c synchronous_commit=on -c lock_timeout={timeout} -c search_path=public",
            autocommit=autocommit,
        )

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except IntegrityError:
            raise
        except PoolTimeout as error:
            raise Busy(f"{self.name}: too many requests at once; try again") from error
        except (DBAPIError, self._driver.Error) as error:
            raise self._explain(error) from error

    def _explain(self, error: Exception) -> EdgeveilError:
        """In one sentence, and without the values that the server puts into its details."""
        cause: Any = error.orig if isinstance(error, DBAPIError) else error
        code = str(getattr(cause, "sqlstate", None) or "")
        said = getattr(getattr(cause, "diag", None), "message_primary", None)
        text = next(iter(str(said or cause).splitlines()), type(cause).__name__)[:300]
        if code in _CAUSES:
            kind, sentence = _CAUSES[code]
            return kind(f"{self.name}: {sentence.format(timeout=database.LOCK_TIMEOUT_S)}")
        if not code and any(sign in text for sign in _LASTING):
            return ConfigError(f"{self.name}: refuses this coordinator ({text}); correct [store]")
        if isinstance(cause, self._driver.OperationalError):
            return StoreAway(f"{self.name}: does not answer ({text})")
        return StateDamaged(f"{self.name}: cannot be used ({text}); restore a backup")
