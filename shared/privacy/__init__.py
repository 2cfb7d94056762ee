"""Privacy accounting: Rényi divergence, the budget as a filter, audits. numpy, never torch."""

__all__ = [
    "audit",
    "counting",
    "filter",
    "gaussian",
    "ledger",
    "rdp",
    "report",
    "shared_noise",
    "unlimited",
    "whole_updates",
]
