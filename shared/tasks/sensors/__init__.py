"""Tasks on columns of numbers: tables of one row a record, and windows of rows."""

__all__ = ["classes", "networks", "regression", "sequence", "statistics", "tables", "tabular"]
