"""Rounds with their hands on: whom to ask, what to propose, what came of it. `driver` goes through a run."""

__all__ = ["attempt_runner", "driver"]
