"""The one allow-list for every name that reaches a path, a log line or a terminal."""

import difflib
import re
from collections.abc import Iterable, Sequence

from edgeveil.shared.base.errors import ConfigError

MOST_LISTED = 12  # in a sentence
NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,39}")
SIMULATED = "sim-"  # how the id of a simulated run begins, which every signature, event and model of it holds


def meant(word: str, known: Iterable[str]) -> str:
    """`; did you mean "…"?` where one of the known words is near, else ""."""
    near = difflib.get_close_matches(word, list(known), n=1)
    return f'; did you mean "{near[0]}"?' if near else ""


def check_name(value: str, what: str) -> str:
    """Return `value` if it is a name of at most 40 characters [a-z0-9-], else raise ConfigError."""
    if NAME.fullmatch(value) is None:
        raise ConfigError(
            f"{what} {value!r} is not a valid name: use 1 to 40 of a-z, 0-9 and '-', not starting with '-'"
        )
    return value


def listed(names: Sequence[str]) -> str:
    """As many as fit into a sentence; "none" for none."""
    more = len(names) - MOST_LISTED
    return ", ".join([*names[:MOST_LISTED], *([f"and {more} more"] if more > 0 else [])]) or "none"
