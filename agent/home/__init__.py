"""What belongs to the owner: the home folder, keys, policy, data, log, refusals and notices."""

__all__ = [
    "advice",
    "config",
    "data",
    "home",
    "log",
    "notices",
    "policy",
    "policy_changes",
    "records",
    "refusals",
    "size",
    "watching",
]
