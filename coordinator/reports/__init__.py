"""What happened in a run and what it cost: tables, stable JSON, CSV and web pages.

Reads records, draws no conclusions. Of a single agent it shows taking part, stage and the budget that
the plan charged, never a value that depends on its data.
"""

__all__ = [
    "charts",
    "exports",
    "facts",
    "history",
    "page",
    "privacy",
    "reading",
    "standing",
    "summary",
    "tables",
    "words",
]
