"""Sums over records in float64, so that one record moves a sum by its own clipped gradient and no more.

A float32 sum of n gradients of norm C can be off by n²·6e-8·C, and by another amount once a record is
taken out: with a thousand records several percent of C, which the noise does not cover. In float64 it
is n²·1.1e-16·C, below the clipping margin of 1e-4 up to half a million records in one step.

An accelerator without float64 hands its gradients over, and the processor clips and adds them.
"""

from collections.abc import Iterator

import torch
from torch import Tensor

BLOCK = 1 << 17  # values widened at a time: 1 MB, which stays in a processor's cache
LARGE_BLOCK = 1 << 21  # the same on an accelerator, to which every call costs
NARROW = ("mps",)  # kinds of devices that have no float64


def place(values: Tensor) -> torch.device:
    """Where sums over `values` are made."""
    return torch.device("cpu") if values.device.type in NARROW else values.device


def brought(values: Tensor) -> Tensor:
    """The same values there."""
    return values.to(place(values))


def weighted_sum(weights: Tensor, rows: Tensor) -> Tensor:
    """Σ weightsᵢ·rowsᵢ over the records, float64; weights (B,), rows (B, …)."""
    flat = brought(rows.flatten(1))
    wide = weights.to(flat.device).double()
    total = flat.new_zeros(flat.shape[1], dtype=torch.float64)
    for part in _blocks(flat):
        total.addmv_(flat[part].double().T, wide[part])
    return total.view(rows.shape[1:])


def _blocks(rows: Tensor) -> Iterator[slice]:
    """Records of (B, n) that are widened together."""
    most = BLOCK if rows.device.type == "cpu" else LARGE_BLOCK
    records = max(1, most // max(1, rows.shape[1]))
    return (slice(at, at + records) for at in range(0, len(rows), records))


def outer_sum(left: Tensor, right: Tensor) -> Tensor:
    """Σ leftᵢ ⊗ rightᵢ over the records, float64; (B, a) and (B, b) give (a, b)."""
    return brought(left).double().T @ brought(right).double()


def norms(parts: list[Tensor]) -> Tensor:
    """(B,) L2 norm of each record's gradient over all parts (B, …), float64."""
    return torch.stack([squares(part.flatten(1)) for part in parts]).sum(dim=0).sqrt()


def squares(rows: Tensor) -> Tensor:
    """‖row‖² (B,), in float64: no finite float32 overflows or vanishes in it."""
    here = brought(rows)
    found = here.new_empty(len(here), dtype=torch.float64)
    for part in _blocks(here):
        found[part] = torch.linalg.vector_norm(here[part].double(), dim=1)
    return found.square()
