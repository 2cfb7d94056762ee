"""What belongs to the owner: the home folder, keys, policy, data, refusals, answers and notices."""

__all__ = [
    "config",
    "data",
    "home",
    "notices",
    "policy",
    "policy_changes",
    "preflights",
    "refusals",
    "size",
]
