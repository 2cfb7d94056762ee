"""The database of a home: found, checked and migrated."""

import functools
from collections.abc import Callable
from pathlib import Path

import sqlalchemy as sa

from edgeveil.coordinator.store import database, place, postgres, schema, sqlite
from edgeveil.shared.base.errors import ConfigError, StateDamaged

FILE = "state.db"
_ANYTHING = (schema.members, schema.invites, schema.roster, schema.runs)


def open_database(
    home: Path, *, create: bool, read_only: bool, serving: bool = False
) -> database.Database:
    """Open home/state.db, or what coordinator.toml names instead; check and migrate it.

    `serving`: as its one coordinator, which waits whenever it is away.

    Raises:
        ConfigError: absent, unreachable by what coordinator.toml says, or written by an older version
            and opened read-only.
        StateDamaged: not a database, damaged, open to others, or written by a newer version.
        Busy: another process keeps it locked, or the server does not answer.
        NotInstalled: the server's driver is absent.
    """
    server = place.place_of(home)
    if server is None:
        return open_file(home / FILE, create=create, read_only=read_only)
    return open_server(home, server, create=create, read_only=read_only, serving=serving)


def open_file(path: Path, *, create: bool, read_only: bool) -> database.Database:
    """As open_database(), of an SQLite file wherever it is."""
    return _prepared(sqlite.open_file(path, create=create, read_only=read_only))


def open_server(
    home: Path,
    server: place.Server,
    *,
    create: bool,
    read_only: bool = False,
    serving: bool = False,
) -> database.Database:
    """As open_database(), of a PostgreSQL server; with `create` its database must hold no coordinator."""
    opened = postgres.PostgresDatabase(home, server, read_only=read_only, serving=serving)
    _prepared(opened, functools.partial(_insist_on_own, opened, create=create))
    if serving:
        try:
            opened.hold()
        except BaseException:
            opened.close()
            raise
    return opened


def _insist_on_own(opened: database.Database, found: str | None, *, create: bool) -> None:
    if found is None and not create:
        raise StateDamaged(
            f"{opened.name}: has no tables of a coordinator; fill it with `coordinator move-database` or "
            "`coordinator restore`, or correct [store] in coordinator.toml"
        )
    if found == schema.HEAD and create and _holds_something(opened):
        raise ConfigError(
            f"{opened.name}: holds a coordinator already; nothing is overwritten, name an empty database"
        )


def _prepared(
    opened: database.Database, insist: Callable[[str | None], None] = lambda _: None
) -> database.Database:
    try:
        opened.check()
        found = _version(opened)
        insist(found)
        _bring_up_to_date(opened, found)
    except BaseException:
        opened.close()
        raise
    return opened


def _bring_up_to_date(opened: database.Database, found: str | None) -> None:
    if found == schema.HEAD:
        return
    if found is not None and found > schema.HEAD:
        raise StateDamaged(
            f"{opened.name}: written by a newer version (schema {found}, this one knows {schema.HEAD}); "
            "upgrade again or restore the backup made before the upgrade"
        )
    if opened.read_only:
        raise ConfigError(
            f"{opened.name}: written by an older version (schema {found or 'none'}); "
            "start `coordinator serve` once to migrate it"
        )
    _migrate(opened)


def _version(opened: database.Database) -> str | None:
    with opened.reading() as connection:
        if not sa.inspect(connection).has_table("alembic_version"):
            return None
        version = connection.exec_driver_sql("SELECT version_num FROM alembic_version").scalar()
    return None if version is None else str(version)


def _holds_something(opened: database.Database) -> bool:
    with opened.reading() as connection:
        return any(connection.execute(sa.select(table).limit(1)).first() for table in _ANYTHING)


def _migrate(opened: database.Database) -> None:
    """Run the missing migrations in one transaction; another process may have been faster."""
    from alembic import command  # noqa: PLC0415 - costs 0.2 s that only a migration is worth
    from alembic.config import Config  # noqa: PLC0415 - as above

    scripts = Path(__file__).with_name("migrations")
    config = Config()
    config.set_main_option("script_location", str(scripts).replace("%", "%%"))
    with opened.writing() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "head")
