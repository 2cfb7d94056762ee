"""The owner's records as they lie on the disk: folders and arrays that nobody vouches for."""

__all__ = ["images", "probe", "schema"]
