"""Pruning of whole channels: the model is taken apart and exported anew, which needs torch.

What is left is fitted to local records without labels, and stays here. No ledger, no training.
"""

__all__ = ["pruning"]
