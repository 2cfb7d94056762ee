"""The store's part about failures: where a run failed last and how often in a row."""

import json
from dataclasses import asdict

import sqlalchemy as sa

from edgeveil.coordinator.records.records import Failure
from edgeveil.coordinator.store import database, schema


class FailureTables(database.Tables):
    """Every method is one transaction that is on the disk when it returns."""

    def note_failure(self, run_id: str, failure: Failure) -> Failure:
        """Remember it; with the same place and exit code as the last one, `times` goes on counting."""
        before = self.failure(run_id)
        times = 1
        if before is not None and (before.place, before.code) == (failure.place, failure.code):
            times = before.times + 1
        noted = Failure(failure.place, failure.reason, failure.code, times)
        table = schema.meta
        text = json.dumps(asdict(noted))
        with self._database.writing() as connection:
            statement = database.insert(connection, table).values(key=_key(run_id), value=text)
            connection.execute(
                statement.on_conflict_do_update(index_elements=[table.c.key], set_={"value": text})
            )
        return noted

    def failure(self, run_id: str) -> Failure | None:
        """The last one, whatever became of the run since; None when it has not failed."""
        table = schema.meta
        row = self._one(sa.select(table.c.value).where(table.c.key == _key(run_id)))
        return None if row is None else Failure(**json.loads(row.value))

    def forgive(self, run_id: str) -> None:
        """Begin to count anew."""
        self._write(sa.delete(schema.meta).where(schema.meta.c.key == _key(run_id)))


def _key(run_id: str) -> str:
    return f"failure:{run_id}"
