"""A device's part in rounds: `run` starts it, `session` answers offers, `offer` judges them, `work` trains and seals,
`evaluating` counts on held-out records.
"""

__all__ = ["condition", "device", "embedding", "evaluating", "run", "session", "start"]
