"""A device's part in rounds: `run` starts it, `session` answers offers, `offer` judges them."""

__all__ = ["condition", "run"]
