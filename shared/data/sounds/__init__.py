"""Recordings of sound: one file a record, in a folder for each class; or beside pictures and windows of one moment."""

__all__ = ["pair_table", "pairs", "recordings", "schema"]
