"""Sums and charges of a run need not be gathered from a hundred thousand records any more."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"

VALUES = {
    "seconds": (sa.Float, "json_extract(record, '$.seconds')"),
    "bytes_up": (sa.Integer, "json_extract(record, '$.bytes_up')"),
    "bytes_down": (sa.Integer, "json_extract(record, '$.bytes_down')"),
    "survivors": (sa.Integer, "json_array_length(record, '$.survived')"),
}

# `->` and not `->>`, which would look into every string of the record and refuse some that JSON allows.
POSTGRES_VALUES = {
    "seconds": (sa.Float, "(record::json -> 'seconds')::text::double precision"),
    "bytes_up": (sa.BigInteger, "(record::json -> 'bytes_up')::text::bigint"),
    "bytes_down": (sa.BigInteger, "(record::json -> 'bytes_down')::text::bigint"),
    "survivors": (sa.Integer, "json_array_length(record::json -> 'survived')"),
}

# As RoundRecord.charged(): asked, and not refused at the offer.
CHARGED = """
INSERT INTO charges (run_id, agent, times)
SELECT run_id, asked.value, count(*)
FROM rounds, json_each(record, '$.selected') AS asked
WHERE outcome != 'open' AND NOT EXISTS (
    SELECT 1 FROM json_each(record, '$.dropped_reasons') AS gone
    WHERE gone.key = asked.value AND gone.value LIKE 'refused%' AND coalesce((
        SELECT stage.value FROM json_each(record, '$.extra.dropped_stages') AS stage
        WHERE stage.key = asked.value
    ), '') IN ('', 'round')
)
GROUP BY run_id, asked.value
"""


def upgrade() -> None:
    postgres = op.get_bind().dialect.name == "postgresql"  # which computes as it stores
    for name, (kind, expression) in (POSTGRES_VALUES if postgres else VALUES).items():
        computed = sa.Computed(expression, persisted=postgres)
        made: sa.Column[float] = sa.Column(name, kind, computed)
        op.add_column("rounds", made)
    op.create_index("rounds_totals", "rounds", ["run_id", "outcome", *VALUES])
    op.create_table(
        "charges",
        sa.Column("run_id", sa.Text, sa.ForeignKey("runs.run_id"), primary_key=True),
        sa.Column("agent", sa.Text, primary_key=True),
        sa.Column("times", sa.Integer, nullable=False),
    )
    if not postgres:  # where no release had rounds before there were charges
        op.execute(CHARGED)
