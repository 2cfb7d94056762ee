"""Flower's records, objects and switches as both adapters use them."""

__all__ = ["codec", "environment", "managing", "objects"]
