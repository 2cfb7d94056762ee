"""The first schema."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

NAME = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")  # sorted by bytes, as in SQLite


def upgrade() -> None:
    op.create_table(
        "meta",
        sa.Column("key", sa.Text, primary_key=True),
        sa.Column("value", sa.Text, nullable=False),
    )
    _create_enrolment()
    _create_runs()


def _create_enrolment() -> None:
    op.create_table(
        "members",
        sa.Column("agent_id", sa.LargeBinary, primary_key=True),
        sa.Column("name", NAME, nullable=False),
        sa.Column("identity_public", sa.LargeBinary, nullable=False),
        sa.Column("node_public", sa.LargeBinary, nullable=False, unique=True),
        sa.Column("joined", sa.Float, nullable=False),
        sa.Column("revoked", sa.Float),
        sa.Column("ledger_head", sa.LargeBinary, nullable=False),
    )
    in_force = sa.text("revoked IS NULL")
    op.create_index(
        "members_name",
        "members",
        ["name"],
        unique=True,
        sqlite_where=in_force,
        postgresql_where=in_force,
    )
    op.create_table(
        "invites",
        sa.Column("token_id", sa.LargeBinary, primary_key=True),
        sa.Column("name", NAME, nullable=False),
        sa.Column("proof_key", sa.LargeBinary, nullable=False),
        sa.Column("expires", sa.Integer, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("wrong_proofs", sa.Integer, nullable=False),
        sa.Column("agent_id", sa.LargeBinary, sa.ForeignKey("members.agent_id")),
    )
    op.create_table(
        "roster",
        sa.Column("epoch", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("body", sa.LargeBinary, nullable=False),
        sa.Column("signature", sa.LargeBinary, nullable=False),
    )


def _create_runs() -> None:
    op.create_table(
        "runs",
        sa.Column("number", sa.Integer, primary_key=True),
        sa.Column("run_id", sa.Text, nullable=False, unique=True),
        sa.Column("plan", sa.Text, nullable=False),
        sa.Column("plan_hash", sa.Text, nullable=False),
        sa.Column("created", sa.Float, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
    )
    op.create_table(
        "rounds",
        sa.Column("run_id", sa.Text, sa.ForeignKey("runs.run_id"), primary_key=True),
        sa.Column("round", sa.Integer, primary_key=True),
        sa.Column("attempt", sa.Integer, primary_key=True),
        sa.Column("outcome", sa.Text, nullable=False),
        sa.Column("record", sa.Text, nullable=False),
    )
    committed = sa.text("outcome = 'committed'")
    op.create_index(
        "rounds_committed",
        "rounds",
        ["run_id", "round"],
        unique=True,
        sqlite_where=committed,
        postgresql_where=committed,
    )
