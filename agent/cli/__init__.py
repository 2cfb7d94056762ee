"""The `agent` command: parse, call one function, print. Nothing below imports from here."""

import os

# Else pydantic looks through every installed package for plugins, which would then see messages and manifests:
# a tenth of the time that a short command takes.
os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")

__all__ = ["app"]
