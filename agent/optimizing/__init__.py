"""Pruning of whole channels: the model is taken apart and exported anew, which needs torch. No ledger, no training."""

__all__ = ["pruning"]
