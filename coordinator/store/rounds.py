"""The store's half about work: runs, and every attempt of every round."""

import gc
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from pydantic_core import from_json
from sqlalchemy.exc import IntegrityError

from edgeveil.coordinator.records.records import (
    EVALUATION,
    InitialModel,
    Outcome,
    RoundRecord,
    Run,
    RunState,
)
from edgeveil.coordinator.store import database, schema
from edgeveil.shared.base.errors import ConfigError, StateDamaged
from edgeveil.shared.base.names import SIMULATED
from edgeveil.shared.terminal.progress import Step, counted, silent

LOOKED_AT = 64  # attempts, for what devices declare of themselves
INITIAL = "initial:"  # and the id of a run: a key of `meta`
OPEN = "open"  # the outcome of an attempt that has begun and not ended


class RoundTables(database.Tables):
    """Every method is one transaction that is on the disk when it returns."""

    def new_run_id(self, *, simulated: bool = False) -> str:
        """A fresh id such as run-20260131-120000-9f3c07d1; of a simulation sim-…"""
        stamp = datetime.fromtimestamp(self._clock.wall(), tz=UTC).strftime("%Y%m%d-%H%M%S")
        return f"{SIMULATED if simulated else 'run-'}{stamp}-{os.urandom(4).hex()}"

    def create_run(
        self,
        plan: str,
        plan_hash: str,
        *,
        run_id: str | None = None,
        initial: InitialModel | None = None,
    ) -> Run:
        """A new run in state QUEUED. The copy of its `initial` model is on the disk before."""
        known = run_id or self.new_run_id()
        now = self._clock.wall()
        run = Run(known, plan, plan_hash, now, RunState.QUEUED, initial=initial)
        values = database.as_row(run)
        del values["initial"]
        with self._database.writing() as connection:
            connection.execute(sa.insert(schema.runs).values(values))
            if initial is not None:
                text = json.dumps(asdict(initial))
                row = {"key": f"{INITIAL}{known}", "value": text}
                connection.execute(sa.insert(schema.meta).values(row))
        return run

    def set_run_state(self, run_id: str, state: RunState, reason: str = "") -> None:
        table = schema.runs
        statement = sa.update(table).where(table.c.run_id == run_id)
        self._write(statement.values(state=state, reason=reason))

    def run(self, run_id: str) -> Run:
        """Raises ConfigError if there is no such run."""
        row = self._one(_runs().where(schema.runs.c.run_id == run_id))
        if row is None:
            raise ConfigError(f"no run {run_id!r} is known; see: coordinator rounds")
        return _run(row)

    def runs(self) -> list[Run]:
        """Every run, oldest first."""
        return [_run(row) for row in self._all(_runs().order_by(schema.runs.c.number))]

    def last_run(self) -> Run | None:
        row = self._one(_runs().order_by(schema.runs.c.number.desc()).limit(1))
        return None if row is None else _run(row)

    def open_attempt(self, run_id: str, round_number: int) -> int:
        """The number of a new attempt, on the disk before anybody hears of it.

        Agents refuse a (round, attempt) they have seen, so a number must never be used twice,
        whatever crashes in between. Counts from 1.

        Raises:
            ConfigError: no such run.
        """
        self.run(run_id)
        table = schema.rounds
        with self._database.writing() as connection:
            attempt = int(connection.execute(_attempts(run_id, round_number)).scalar_one()) + 1
            key = {"run_id": run_id, "round": round_number, "attempt": attempt}
            values = key | {"outcome": OPEN, "record": "{}"}
            connection.execute(sa.insert(table).values(values))
        return attempt

    def last_attempt(self, run_id: str, round_number: int) -> int:
        """The highest attempt ever opened for that round; 0 when none was."""
        with self._database.reading() as connection:
            return int(connection.execute(_attempts(run_id, round_number)).scalar_one())

    def record_round(self, record: RoundRecord) -> RoundRecord:
        """Close an open attempt; returns the record as stored, with its time.

        Raises:
            ValueError: the attempt is not open, or its round is committed already.
        """
        stored = replace(record, finished=record.finished or self._clock.wall())
        with self._database.writing() as connection:
            _close_attempt(connection, stored)
        return stored

    def record_evaluation(self, record: RoundRecord) -> RoundRecord:
        """Close an evaluation of a committed round, and put what it measured into that round's record.

        In one transaction, so that a figure and the attempt it came from are on the disk together.

        Raises:
            ValueError: the attempt is not open, or its round is not committed.
        """
        stored = replace(record, finished=record.finished or self._clock.wall())
        table = schema.rounds
        of_round = (table.c.run_id == record.run) & (table.c.round == record.round)
        where = of_round & (table.c.outcome == Outcome.COMMITTED)
        with self._database.writing() as connection:
            row = connection.execute(sa.select(table).where(where)).one_or_none()
            if row is None:
                raise ValueError(f"{record.run} round {record.round} is not committed")
            _close_attempt(connection, stored)
            trained = self._record(row)
            measured = replace(
                trained,
                metrics={**trained.metrics, **stored.metrics},
                extra={**trained.extra, EVALUATION: stored.extra[EVALUATION]},
            )
            connection.execute(sa.update(table).where(where).values(record=_text(measured)))
        return stored

    def abandon_open_attempts(self, run_id: str, reason: str) -> list[RoundRecord]:
        """Record what a crash left open as aborted for `reason`; called before a run is resumed."""
        table = schema.rounds
        query = sa.select(table).where(table.c.run_id == run_id, table.c.outcome == OPEN)
        now = self._clock.wall()
        with self._database.writing() as connection:
            records = [
                RoundRecord(run_id, row.round, row.attempt, Outcome.ABORTED, reason, finished=now)
                for row in connection.execute(query.order_by(table.c.round, table.c.attempt)).all()
            ]
            for record in records:
                _close_attempt(connection, record)
        return records

    def rounds(
        self,
        run_id: str | None = None,
        *,
        number: int | None = None,
        last: int | None = None,
        failed: bool = False,
        step: Step = silent,
    ) -> list[RoundRecord]:
        """Finished attempts, of one run or of all, oldest first.

        `number`: of that round only; `last`: the newest so many; `failed`: aborted ones only; `step`
        hears of each one read.
        """
        with _no_collector():
            found = self.each_round(run_id, number=number, last=last, failed=failed)
            return list(counted(found, step))

    def each_round(
        self,
        run_id: str | None = None,
        *,
        number: int | None = None,
        last: int | None = None,
        failed: bool = False,
    ) -> Iterator[RoundRecord]:
        """As rounds(), one after the other; the transaction ends with the last of them."""
        table, runs = schema.rounds, schema.runs
        order = (runs.c.number, table.c.round, table.c.attempt)
        chosen = sa.select(table, runs.c.number).join(runs, runs.c.run_id == table.c.run_id)
        chosen = chosen.where(
            table.c.outcome == Outcome.ABORTED if failed else table.c.outcome != OPEN
        )
        if run_id is not None:
            chosen = chosen.where(table.c.run_id == run_id)
        if number is not None:
            chosen = chosen.where(table.c.round == number)
        if last is None:
            query = chosen.order_by(*order)
        else:
            newest = chosen.order_by(*(column.desc() for column in order)).limit(last).subquery()
            places = (newest.c.number, newest.c.round, newest.c.attempt)
            query = sa.select(newest).order_by(*places)
        with self._database.reading() as connection:
            for row in connection.execute(query):
                yield self._record(row)

    def count_rounds(self, run_id: str | None = None) -> dict[str, int]:
        """Finished attempts by outcome; one pass over an index, however many there are."""
        table = schema.rounds
        query = sa.select(table.c.outcome, sa.func.count()).where(table.c.outcome != OPEN)
        if run_id is not None:
            query = query.where(table.c.run_id == run_id)
        rows = self._all(query.group_by(table.c.outcome))
        return {str(outcome): int(count) for outcome, count in rows}

    def last_committed(self, run_id: str) -> RoundRecord | None:
        """The newest round that counts, from which a run is resumed."""
        table = schema.rounds
        committed = (table.c.run_id == run_id) & (table.c.outcome == Outcome.COMMITTED)
        row = self._one(sa.select(table).where(committed).order_by(table.c.round.desc()).limit(1))
        return None if row is None else self._record(row)

    def declared_sizes(self) -> dict[str, int]:
        """The size (n_ref) that each device last declared, by name, in the newest attempts of any run."""
        table, runs = schema.rounds, schema.runs
        ended = sa.select(table).join(runs).where(table.c.outcome != OPEN)
        newest = ended.order_by(runs.c.number.desc(), table.c.round.desc(), table.c.attempt.desc())
        with self._database.reading() as connection:
            rows = connection.execute(newest.limit(LOOKED_AT)).all()
        found: dict[str, int] = {}
        for row in reversed(rows):
            found |= self._record(row).sizes
        return found

    def _record(self, row: sa.Row[Any]) -> RoundRecord:
        try:
            return RoundRecord.from_json(from_json(row.record))
        except (TypeError, ValueError) as error:
            where = f"{row.run_id} round {row.round} attempt {row.attempt}"
            raise StateDamaged(
                f"{self._database.name}: the record of {where} is unreadable; restore a backup"
            ) from error


@contextmanager
def _no_collector() -> Iterator[None]:
    """Leave cyclic garbage for later: looking through all records again and again takes most of the time."""
    collecting = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collecting:
            gc.enable()


def _attempts(run_id: str, number: int) -> sa.Select[Any]:
    """The highest attempt of that round; 0 when none was opened."""
    table = schema.rounds
    highest = sa.func.coalesce(sa.func.max(table.c.attempt), 0)
    return sa.select(highest).where(table.c.run_id == run_id, table.c.round == number)


def _close_attempt(connection: sa.Connection, record: RoundRecord) -> None:
    table = schema.rounds
    where = (
        (table.c.run_id == record.run)
        & (table.c.round == record.round)
        & (table.c.attempt == record.attempt)
        & (table.c.outcome == OPEN)
    )
    statement = sa.update(table).where(where).values(outcome=record.outcome, record=_text(record))
    name = f"{record.run} round {record.round} attempt {record.attempt}"
    try:
        closed = connection.execute(statement).rowcount
    except IntegrityError as error:
        raise ValueError(f"{name}: this round is committed already") from error
    if closed != 1:
        raise ValueError(f"{name}: this attempt is not open")
    _count_charges(connection, record)


def _text(record: RoundRecord) -> str:
    return json.dumps(record.as_json(), separators=(",", ":"), allow_nan=False)


def _count_charges(connection: sa.Connection, record: RoundRecord) -> None:
    table = schema.charges
    charged = record.charged()
    rows = [{"run_id": record.run, "agent": agent, "times": 1} for agent in charged]
    if rows:
        statement = database.insert(connection, table).on_conflict_do_update(
            index_elements=[table.c.run_id, table.c.agent], set_={"times": table.c.times + 1}
        )
        connection.execute(statement, rows)


def _runs() -> sa.Select[Any]:
    """Every run, and beside it what is remembered of its initial model."""
    runs, meta = schema.runs, schema.meta
    mine = meta.c.key == sa.literal(INITIAL) + runs.c.run_id
    return sa.select(runs, meta.c.value.label("initial")).outerjoin(meta, mine)


def _run(row: sa.Row[Any]) -> Run:
    initial = None if row.initial is None else InitialModel(**json.loads(row.initial))
    return database.from_row(Run, row, state=RunState(row.state), initial=initial)
