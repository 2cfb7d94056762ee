"""What a plan costs and withstands with so many devices, before any device is asked (`coordinator plan explain`)."""

__all__ = ["explain", "looks"]
