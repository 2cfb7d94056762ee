"""The store's half about people's devices: invites, agents, the roster, ledger heads."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError

from edgeveil.coordinator.records.records import EnrolledAgent, Invite, InviteState
from edgeveil.coordinator.store import database, schema
from edgeveil.shared.base.errors import ConfigError, EnrollmentError, ProtocolError, StateDamaged
from edgeveil.shared.privacy.ledger.heads import SignedHead, ToldBudget
from edgeveil.shared.wire.roster import Roster, SignedRoster


class AgentTables(database.Tables):
    """Every method is one transaction that is on the disk when it returns."""

    def replace_invites(self, invites: Sequence[Invite]) -> None:
        """Store new invitations; an unused one of the same name is deleted.

        Raises:
            EnrollmentError: a name belongs to an enrolled agent; then nothing is stored.
        """
        table = schema.invites
        names = [invite.name for invite in invites]
        agents = schema.members.c
        in_force = sa.select(agents.name).where(agents.name.in_(names), agents.revoked.is_(None))
        with self._database.writing() as connection:
            taken = sorted(connection.execute(in_force).scalars())
            if taken:
                raise EnrollmentError(
                    f"already enrolled: {', '.join(taken)}; revoke the old agent first "
                    "or choose another name"
                )
            unused = table.c.name.in_(names) & (table.c.state != InviteState.USED)
            connection.execute(sa.delete(table).where(unused))
            for invite in invites:
                connection.execute(sa.insert(table).values(database.as_row(invite)))

    def invite(self, token_id: bytes) -> Invite | None:
        row = self._one(sa.select(schema.invites).where(schema.invites.c.token_id == token_id))
        return None if row is None else _invite(row)

    def invites(self) -> list[Invite]:
        rows = self._all(sa.select(schema.invites).order_by(schema.invites.c.name))
        return [_invite(row) for row in rows]

    def count_wrong_proof(self, token_id: bytes, *, limit: int) -> bool:
        """Count one more wrong proof against an open invite; True if that made it void."""
        table = schema.invites
        open_one = (table.c.token_id == token_id) & (table.c.state == InviteState.OPEN)
        with self._database.writing() as connection:
            more = sa.update(table).where(open_one).values(wrong_proofs=table.c.wrong_proofs + 1)
            connection.execute(more)
            full = open_one & (table.c.wrong_proofs >= limit)
            void = sa.update(table).where(full).values(state=InviteState.VOID)
            return connection.execute(void).rowcount == 1

    def redeem(self, token_id: bytes, agent: EnrolledAgent) -> None:
        """Enrol `agent` and use up its invite, both or neither.

        Raises:
            EnrollmentError: the invite is not open any more, or the name or a key is enrolled.
        """
        table = schema.invites
        open_one = (table.c.token_id == token_id) & (table.c.state == InviteState.OPEN)
        with self._database.writing() as connection:
            _insert_agent(connection, agent)
            used = sa.update(table).where(open_one)
            used = used.values(state=InviteState.USED, agent_id=agent.agent_id)
            if connection.execute(used).rowcount != 1:
                raise EnrollmentError(f"the invite of {agent.name} is not open any more")

    def agents(self, *, include_revoked: bool = False) -> list[EnrolledAgent]:
        """Everybody who joined, by name; on the roster or not yet."""
        query = sa.select(schema.members).order_by(schema.members.c.name, schema.members.c.joined)
        if not include_revoked:
            query = query.where(schema.members.c.revoked.is_(None))
        return [database.from_row(EnrolledAgent, row) for row in self._all(query)]

    def agent(self, agent_id: bytes) -> EnrolledAgent | None:
        row = self._one(sa.select(schema.members).where(schema.members.c.agent_id == agent_id))
        return None if row is None else database.from_row(EnrolledAgent, row)

    def revoke(self, name: str) -> EnrolledAgent:
        """Shut out the agent of that name for ever; raises ConfigError if there is none."""
        with self._database.writing() as connection:
            agent = _in_force(connection, name)
            now = self._clock.wall()
            _set(connection, agent, revoked=now)
        return replace(agent, revoked=now)

    def approve(self, name: str) -> EnrolledAgent:
        """Let the agent of that name onto the next roster; raises ConfigError if there is none."""
        with self._database.writing() as connection:
            agent = _in_force(connection, name)
            _set(connection, agent, held=False)
        return replace(agent, held=False)

    def rename(self, old: str, new: str) -> EnrolledAgent:
        """Give the agent of that name another one.

        Raises:
            ConfigError: there is none.
            EnrollmentError: another agent has the new name.
        """
        with self._database.writing() as connection:
            agent = _in_force(connection, old)
            try:
                _set(connection, agent, name=new)
            except IntegrityError as error:
                raise EnrollmentError(
                    f"another agent is called {new}; choose another name"
                ) from error
        return replace(agent, name=new)

    def roster(self) -> SignedRoster | None:
        """The roster in force: the one of the highest epoch. Its signature was checked on import."""
        row = self._one(sa.select(schema.roster).order_by(schema.roster.c.epoch.desc()).limit(1))
        if row is None:
            return None
        try:
            return SignedRoster(Roster.decode(row.body), row.signature)
        except ProtocolError as error:
            raise StateDamaged(f"{self._database.name}: {error}; restore a backup") from error

    def next_epoch(self) -> int:
        signed = self.roster()
        return 1 if signed is None else signed.roster.epoch + 1

    def save_roster(self, signed: SignedRoster) -> None:
        """Put a verified roster in force; the same one again changes nothing.

        Raises:
            EnrollmentError: its epoch is not above the present one.
        """
        epoch, body = signed.roster.epoch, signed.roster.body()
        table = schema.roster
        with self._database.writing() as connection:
            newest = sa.select(table).order_by(table.c.epoch.desc()).limit(1)
            row = connection.execute(newest).one_or_none()
            if row is not None and row.epoch == epoch and row.body == body:
                return
            if row is not None and row.epoch >= epoch:
                raise EnrollmentError(
                    f"roster epoch {epoch} is not above the present {row.epoch}; export a new one"
                )
            values = {"epoch": epoch, "body": body, "signature": signed.signature}
            connection.execute(sa.insert(table).values(values))

    def members(self) -> list[EnrolledAgent]:
        """Agents of the roster in force that are not revoked, by name."""
        signed = self.roster()
        if signed is None:
            return []
        listed = signed.roster.members
        return [agent for agent in self.agents() if agent.agent_id in listed]

    def set_ledger_head(self, agent_id: bytes, head: bytes) -> None:
        """Keep the newest signed ledger head of an agent, to be echoed in its next offer."""
        table = schema.members
        self._write(sa.update(table).where(table.c.agent_id == agent_id).values(ledger_head=head))

    def ledger_head(self, agent_id: bytes) -> bytes:
        """The stored head, empty when none is known."""
        table = schema.members
        row = self._one(sa.select(table.c.ledger_head).where(table.c.agent_id == agent_id))
        return b"" if row is None else bytes(row.ledger_head)

    def told_budgets(self) -> dict[str, ToldBudget]:
        """By name, what the newest head of each agent in force told; only of those that tell it."""
        table = schema.members
        query = sa.select(table.c.name, table.c.ledger_head).where(table.c.revoked.is_(None))
        rows = self._all(query.where(table.c.ledger_head != b""))
        try:
            heads = {row.name: SignedHead.decode(row.ledger_head) for row in rows}
        except ProtocolError as error:
            raise StateDamaged(f"{self._database.name}: {error}; restore a backup") from error
        return {name: head.told for name, head in heads.items() if head.told is not None}


def _insert_agent(connection: sa.Connection, agent: EnrolledAgent) -> None:
    values = database.as_row(agent) | {"ledger_head": b""}
    try:
        connection.execute(sa.insert(schema.members).values(values))
    except IntegrityError as error:
        raise EnrollmentError(
            f"{agent.name}: this name or one of the device's keys is enrolled already"
        ) from error


def _in_force(connection: sa.Connection, name: str) -> EnrolledAgent:
    table = schema.members
    query = sa.select(table).where(table.c.name == name, table.c.revoked.is_(None))
    row = connection.execute(query).one_or_none()
    if row is None:
        raise ConfigError(f"no agent named {name!r} is enrolled; see: coordinator agents")
    return database.from_row(EnrolledAgent, row)


def _set(connection: sa.Connection, agent: EnrolledAgent, **values: object) -> None:
    table = schema.members
    statement = sa.update(table).where(table.c.agent_id == agent.agent_id).values(**values)
    connection.execute(statement)


def _invite(row: sa.Row[Any]) -> Invite:
    return database.from_row(Invite, row, state=InviteState(row.state))
