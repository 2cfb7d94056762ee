"""The owner's records: what they are declared as (`record_policy`), what the newest look found of them (`usable`),
what a frozen network made of them (`feature_cache`), and how they look (`sheet`).
"""

__all__ = ["feature_cache", "record_policy", "sheet", "usable"]
