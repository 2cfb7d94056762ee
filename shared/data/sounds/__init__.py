"""Recordings of sound: one file a record, in a folder for each class."""

__all__ = ["recordings", "schema"]
