"""The owner's records: what they are declared as (`record_policy`), what the newest start found of them (`usable`),
and what a frozen network made of them (`feature_cache`).
"""

__all__ = ["feature_cache", "record_policy", "usable"]
