"""Sums over records in float64, so that one record moves a sum by its own clipped gradient and no more.

A float32 sum of n gradients of norm C can be off by n²·6e-8·C, and by another amount once a record is
taken out: with a thousand records several percent of C, which the noise does not cover. In float64 it
is n²·1.1e-16·C, below the clipping margin of 1e-4 up to half a million records in one step.
"""

import torch
from torch import Tensor

BLOCK = 1 << 21  # values widened at a time: 16 MB


def weighted_sum(weights: Tensor, rows: Tensor) -> Tensor:
    """Σ weightsᵢ·rowsᵢ over the records, float64; weights (B,), rows (B, …)."""
    flat, wide = rows.flatten(1), weights.double()
    records = max(1, BLOCK // max(1, flat.shape[1]))
    total = torch.zeros(flat.shape[1], dtype=torch.float64)
    for at in range(0, len(flat), records):
        total += wide[at : at + records] @ flat[at : at + records].double()
    return total.view(rows.shape[1:])


def outer_sum(left: Tensor, right: Tensor) -> Tensor:
    """Σ leftᵢ ⊗ rightᵢ over the records, float64; (B, a) and (B, b) give (a, b)."""
    return left.double().T @ right.double()


def norms(parts: list[Tensor]) -> Tensor:
    """(B,) L2 norm of each record's gradient over all parts (B, …), float64."""
    squares = [
        torch.linalg.vector_norm(part.flatten(1), dim=1, dtype=torch.float64).square()
        for part in parts
    ]
    return torch.stack(squares).sum(dim=0).sqrt()
