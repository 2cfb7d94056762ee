"""The owner's records as they lie on the disk, in the forms of `sources`: files that nobody vouches for."""

__all__ = [
    "arrays",
    "boxes",
    "images",
    "kinds",
    "left_out",
    "pictures",
    "probe",
    "schema",
    "tabular",
    "tree",
]
