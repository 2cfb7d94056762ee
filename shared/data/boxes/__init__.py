"""Pictures with boxes: read from their `formats`, fitted, brought to squares (`letterbox`) as a `schema` says, drawn."""

__all__ = ["drawing", "fitting", "formats", "letterbox", "reading", "schema", "sights", "writing"]
