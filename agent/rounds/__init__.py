"""A device's part in rounds: `run` starts it, `session` answers offers, `offer` judges them, `work` trains and seals."""

__all__ = ["condition", "run"]
