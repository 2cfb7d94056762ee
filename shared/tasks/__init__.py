"""The installed tasks: what is trained, on which records, and how it is measured."""

__all__ = ["backbone", "batches", "graphs", "modules", "records", "registry", "sensors", "spec"]
