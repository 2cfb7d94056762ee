"""What belongs to the owner: the home folder, keys, policy, data, log, refusals and notices."""

__all__ = [
    "config",
    "data",
    "feature_cache",
    "home",
    "log",
    "notices",
    "policy",
    "policy_changes",
    "refusals",
    "size",
]
