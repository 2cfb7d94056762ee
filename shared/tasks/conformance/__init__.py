"""What every task holds to, the owner's own too: checks that say in plain words what is missing.

`suite` runs them, `subject` is what they look at. They need torch, and no test runner.
"""

__all__ = ["layers", "made_data", "subject", "suite"]
