"""Models that come to this device: fetched from its coordinator, checked, kept, put to use, taken back.

What a check on the owner's records finds never leaves the device, and nothing that leaves depends on it: a
model is fetched and asked for in the same way whatever was found. No torch, no ledger.
"""

__all__ = ["client", "fetching", "following", "kept", "receiving", "threshold"]
