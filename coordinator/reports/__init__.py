"""What happened in a run and what it cost: tables, stable JSON, CSV and web pages.

Reads records, draws no conclusions. Of a single agent it shows taking part, stage and the budget that
the plan charged, never a value that depends on its data.
"""

from coordinator.reports.summary import SCHEMA, build
from coordinator.reports.tables import (
    compare_table,
    round_tables,
    rounds_csv,
    rounds_tables,
    summary_table,
)
from shared.pages.text import human_bytes

__all__ = [
    "SCHEMA",
    "build",
    "compare_table",
    "human_bytes",
    "round_tables",
    "rounds_csv",
    "rounds_tables",
    "summary_table",
]
