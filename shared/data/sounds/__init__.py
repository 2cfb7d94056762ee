"""Recordings of sound: one file a record, in a folder for each class; or pictures and recordings in pairs."""

__all__ = ["pairs", "recordings", "schema"]
