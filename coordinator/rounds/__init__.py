"""Rounds with their hands on: `driver` goes through a run, `preflight` asks before the first round,
`sums` collects a secure sum (`selection`, `proposal`, `attempt_runner`), `training_round` learns from it and records the round.
"""

__all__ = ["attempt_runner", "driver", "preflight"]
