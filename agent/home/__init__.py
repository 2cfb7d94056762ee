"""What belongs to the owner: the home folder, keys, policy, data, refusals and notices."""

__all__ = [
    "advice",
    "config",
    "data",
    "home",
    "notices",
    "policy",
    "policy_changes",
    "refusals",
    "size",
    "usable",
]
