"""The owner's records as they lie on the disk, in the forms of `sources`: files that nobody vouches for."""

__all__ = ["images", "kinds", "left_out", "probe", "schema", "tabular", "tree"]
