"""Every row of one database into an empty other one, whichever they are: for backups, and for moving."""

from collections.abc import Iterator

import sqlalchemy as sa

from edgeveil.coordinator.store import schema
from edgeveil.coordinator.store.database import Database

BATCH = 500


def copy_rows(source: Database, target: Database) -> int:
    """How many there were. One view of the source, one transaction of the target: all of them or none."""
    copied = 0
    with source.reading() as old, target.writing() as new:
        for table in schema.metadata.sorted_tables:
            for rows in _batches(old, table):
                new.execute(sa.insert(table), rows)
                copied += len(rows)
        if new.dialect.name == "postgresql":
            _count_on(new)
    return copied


def _batches(connection: sa.Connection, table: sa.Table) -> Iterator[list[dict[str, object]]]:
    columns = [column for column in table.columns if column.computed is None]
    query = sa.select(*columns).execution_options(yield_per=BATCH)
    for rows in connection.execute(query).mappings().partitions():
        yield [dict(row) for row in rows]


def _count_on(connection: sa.Connection) -> None:
    """The numbers of runs go on after the highest one."""
    highest = sa.select(sa.func.coalesce(sa.func.max(schema.runs.c.number), 0)).scalar_subquery()
    counter = sa.func.pg_get_serial_sequence("runs", "number")
    connection.execute(sa.select(sa.func.setval(counter, highest + 1, False)))
