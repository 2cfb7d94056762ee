"""Tasks on columns of numbers: tables of one row a record, and windows of rows."""

__all__ = [
    "anomaly",
    "classes",
    "forecasting",
    "graph",
    "networks",
    "rare",
    "regression",
    "sequence",
    "statistics",
    "tables",
    "tabular",
]
