"""Sums of tallies with noise: `released` says what is summed, `estimates` makes figures with intervals of it, `noised`
shows them.
"""

__all__ = ["estimates", "noised", "released"]
