"""A device's part in an evaluation: `evaluation` admits and seals it, `counts` makes integers with noise of a tally,
`own_figures` keeps what only the owner sees.
"""

__all__ = ["evaluation", "own_figures"]
