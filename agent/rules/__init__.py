"""What follows from what a model says, by the owner's own rules: conditions, gates, rules.toml. Pure.

Nothing here sends or runs anything, and a condition is parsed and walked, never evaluated as code.
"""

__all__ = ["actions", "facts", "ranges", "rule_file", "ruling"]
