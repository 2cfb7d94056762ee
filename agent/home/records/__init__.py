"""The owner's records: what they are declared as (`record_policy`), what the newest look found of them (`usable`),
what a frozen network made of them (`feature_cache`), which are held out of training (`held_out`), and how they look
(`sheet`).
"""

__all__ = ["feature_cache", "held_out", "record_policy", "sheet", "usable"]
