"""A model made smaller on this device: 8-bit and sparse variants, measured beside it, one of them kept or none.

Weights are rounded or set to zero, nothing is learned: that is post-processing and charges no budget. What ranges
of local records go into stays on the device. No torch, no ledger.
"""

__all__ = ["graphs", "keeping", "report", "variants"]
