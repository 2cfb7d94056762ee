"""Asked before anybody trains: `question` composes, `asking` collects the answers, `willing` holds a run's
first round back until enough would take part, `check` asks for an operator, `words` says why one would not.
"""

__all__ = ["check", "question", "willing"]
