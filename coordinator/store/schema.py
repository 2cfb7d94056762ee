"""The tables of state.db as they are today; coordinator/migrations says how they came about."""

import sqlalchemy as sa

HEAD = "0002"  # the newest migration; read here so that opening does not need to import alembic

metadata = sa.MetaData()

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
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("identity_public", sa.LargeBinary, nullable=False),
    sa.Column("node_public", sa.LargeBinary, nullable=False, unique=True),
    sa.Column("joined", sa.Float, nullable=False),
    sa.Column("revoked", sa.Float),
    sa.Column("ledger_head", sa.LargeBinary, nullable=False),
    sa.Column("held", sa.Boolean, nullable=False, server_default=sa.false()),
    # A revoked device keeps its row, so its key stays out for ever while its name may be used again.
    sa.Index("members_name", "name", unique=True, sqlite_where=sa.text("revoked IS NULL")),
)

invites = sa.Table(
    "invites",
    metadata,
    sa.Column("token_id", sa.LargeBinary, primary_key=True),
    sa.Column("name", sa.Text, nullable=False),
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
    # However the coordinator fails, a round can be committed only once.
    sa.Index(
        "rounds_committed",
        "run_id",
        "round",
        unique=True,
        sqlite_where=sa.text("outcome = 'committed'"),
    ),
)
