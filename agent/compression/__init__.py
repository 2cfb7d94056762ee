"""A model made smaller on this device: 8-bit and sparse variants, measured beside it, one of them kept or none.

Weights are rounded or set to zero: that is post-processing and charges no budget. What tells of local records stays on
the device. No torch, no ledger.
"""

__all__ = ["graphs", "keeping", "report", "variants"]
