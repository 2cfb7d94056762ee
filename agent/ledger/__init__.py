"""The privacy ledger on the disk and what may be charged to it. No torch; reads work without a network."""

__all__ = [
    "budget",
    "budget_plan",
    "budget_reset",
    "fingerprint",
    "guard",
    "prv",
    "reading",
    "store",
    "witnesses",
]
