"""A user's own task: one file, or an entry point, that the owner of a machine installs by hand.

`shelf` is what is installed in a home, `source` reads and loads a file, `packages` finds entry points,
`simple` makes a task of a model and a loss, `template` begins one. Nothing here is reached from the network:
a file is imported by its owner's command, or from the copy in the home whose hash is known.
"""

__all__ = ["installing", "shelf", "simple", "telling", "template"]
