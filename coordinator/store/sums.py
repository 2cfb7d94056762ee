"""The store's half for whoever looks: sums over the attempts of a run, without reading each of them."""

import json

import sqlalchemy as sa

from edgeveil.coordinator.records.records import Outcome, Totals
from edgeveil.coordinator.store import database, rounds, schema

SEARCHED = 50  # attempts, for when an agent was last heard


class SumTables(database.Tables):
    """Only reads."""

    def totals(self, run_id: str) -> Totals:
        """What the finished attempts of a run add up to; read from one index, however many there are."""
        table, values = schema.rounds, schema.rounds.c
        sums = (
            sa.func.sum(column) for column in (values.seconds, values.bytes_up, values.bytes_down)
        )
        query = sa.select(values.outcome, sa.func.count(), *sums, sa.func.min(values.survivors))
        query = query.where(table.c.run_id == run_id, table.c.outcome != rounds.OPEN)
        rows = {row[0]: row for row in self._all(query.group_by(values.outcome))}
        none = ("", 0, 0.0, 0, 0, None)
        good, bad = rows.get(Outcome.COMMITTED, none), rows.get(Outcome.ABORTED, none)
        return Totals(
            committed=good[1],
            aborted=bad[1],
            seconds=sum(row[2] for row in rows.values()),
            bytes_up=sum(int(row[3]) for row in rows.values()),  # PostgreSQL's are decimals
            bytes_down=sum(int(row[4]) for row in rows.values()),
            smallest=good[5],
        )

    def charges(self, run_id: str) -> dict[str, int]:
        """Agents by name → how many attempts may have charged them; RoundRecord.charged()."""
        table = schema.charges
        query = sa.select(table.c.agent, table.c.times).where(table.c.run_id == run_id)
        return {row.agent: row.times for row in self._all(query)}

    def last_answers(self) -> dict[str, float]:
        """Agents by name → when the newest attempt ended that had their update; of the newest so many."""
        table = schema.rounds
        newest = (
            sa.select(table.c.record)
            .join(schema.runs, schema.runs.c.run_id == table.c.run_id)
            .where(table.c.outcome != rounds.OPEN)
            .order_by(schema.runs.c.number.desc(), table.c.round.desc(), table.c.attempt.desc())
            .limit(SEARCHED)
            .subquery()
        )
        found: dict[str, float] = {}
        for row in self._all(sa.select(newest.c.record)):
            record = json.loads(row.record)
            for name in record["survived"]:
                found.setdefault(name, float(record["finished"]))
        return found
