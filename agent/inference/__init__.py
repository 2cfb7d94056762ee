"""Models at work on this device: from a package and records to labels and scores. Nothing is sent, and no
ledger, round or training is touched: `from edgeveil.agent.inference import load`.
"""

from edgeveil.agent.inference.runtime import load as load

__all__ = [
    "arrivals",
    "boxes",
    "drawing",
    "evaluation",
    "inputs",
    "moments",
    "predicting",
    "runtime",
    "serving",
    "trust",
    "values",
    "video",
]
