"""`coordinator simulate`: a plan on devices that are made up."""

__all__ = ["commands"]
