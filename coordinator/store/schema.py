"""The tables of the database as they are today; coordinator/migrations says how they came about."""

from typing import Any

import sqlalchemy as sa

HEAD = "0003"  # the newest migration; read here so that opening does not need to import alembic

metadata = sa.MetaData()

_NAME = sa.Text().with_variant(
    sa.Text(collation="C"), "postgresql"
)  # sorted by bytes, as in SQLite
_BYTES = sa.Integer().with_variant(sa.BigInteger(), "postgresql")
_IN_FORCE = sa.text("revoked IS NULL")
_COMMITTED = sa.text("outcome = 'committed'")

# In the words of SQLite; the migration has those of PostgreSQL.
_TOTALLED: tuple[tuple[str, sa.types.TypeEngine[Any], str], ...] = (
    ("seconds", sa.Float(), "json_extract(record, '$.seconds')"),
    ("bytes_up", _BYTES, "json_extract(record, '$.bytes_up')"),
    ("bytes_down", _BYTES, "json_extract(record, '$.bytes_down')"),
    ("survivors", sa.Integer(), "json_array_length(record, '$.survived')"),
)


def _computed(name: str, kind: sa.types.TypeEngine[Any], source: str) -> sa.Column[Any]:
    return sa.Column(name, kind, sa.Computed(source, persisted=False))


meta = sa.Table(
    "meta",
    metadata,
    sa.Column("key", sa.Text, primary_key=True),
    sa.Column("value", sa.Text, nullable=False),
)

members = sa.Table(
    "members",
    metadata,
    sa.Column("agent_id", sa.LargeBinary, primary_key=True),
    sa.Column("name", _NAME, nullable=False),
    sa.Column("identity_public", sa.LargeBinary, nullable=False),
    sa.Column("node_public", sa.LargeBinary, nullable=False, unique=True),
    sa.Column("joined", sa.Float, nullable=False),
    sa.Column("revoked", sa.Float),
    sa.Column("ledger_head", sa.LargeBinary, nullable=False),
    sa.Column("held", sa.Boolean, nullable=False, server_default=sa.false()),
    # A revoked device keeps its row, so its key stays out for ever while its name may be used again.
    sa.Index(
        "members_name", "name", unique=True, sqlite_where=_IN_FORCE, postgresql_where=_IN_FORCE
    ),
)

invites = sa.Table(
    "invites",
    metadata,
    sa.Column("token_id", sa.LargeBinary, primary_key=True),
    sa.Column("name", _NAME, nullable=False),
    sa.Column("proof_key", sa.LargeBinary, nullable=False),
    sa.Column("expires", sa.Integer, nullable=False),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("wrong_proofs", sa.Integer, nullable=False),
    sa.Column("agent_id", sa.LargeBinary, sa.ForeignKey("members.agent_id")),
    sa.Column("hold", sa.Boolean, nullable=False, server_default=sa.false()),
)

roster = sa.Table(
    "roster",
    metadata,
    sa.Column("epoch", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("body", sa.LargeBinary, nullable=False),
    sa.Column("signature", sa.LargeBinary, nullable=False),
)

runs = sa.Table(
    "runs",
    metadata,
    sa.Column("number", sa.Integer, primary_key=True),
    sa.Column("run_id", sa.Text, nullable=False, unique=True),
    sa.Column("plan", sa.Text, nullable=False),
    sa.Column("plan_hash", sa.Text, nullable=False),
    sa.Column("created", sa.Float, nullable=False),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
)

rounds = sa.Table(
    "rounds",
    metadata,
    sa.Column("run_id", sa.Text, sa.ForeignKey("runs.run_id"), primary_key=True),
    sa.Column("round", sa.Integer, primary_key=True),
    sa.Column("attempt", sa.Integer, primary_key=True),
    sa.Column("outcome", sa.Text, nullable=False),
    sa.Column("record", sa.Text, nullable=False),
    # Read from the record by the database, so that they cannot disagree with it.
    *(_computed(name, kind, source) for name, kind, source in _TOTALLED),
    sa.Index("rounds_totals", "run_id", "outcome", *(name for name, _, _ in _TOTALLED)),
    # However the coordinator fails, a round can be committed only once.
    sa.Index(
        "rounds_committed",
        "run_id",
        "round",
        unique=True,
        sqlite_where=_COMMITTED,
        postgresql_where=_COMMITTED,
    ),
)

# Counted as attempts end; the sum over a hundred thousand records would take too long to look at.
charges = sa.Table(
    "charges",
    metadata,
    sa.Column("run_id", sa.Text, sa.ForeignKey("runs.run_id"), primary_key=True),
    sa.Column("agent", sa.Text, primary_key=True),
    sa.Column("times", sa.Integer, nullable=False),
)
