"""The one allow-list for every name that reaches a path, a log line or a terminal."""

import re

from edgeveil.shared.base.errors import ConfigError

NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,39}")


def check_name(value: str, what: str) -> str:
    """Return `value` if it is a name of at most 40 characters [a-z0-9-], else raise ConfigError."""
    if NAME.fullmatch(value) is None:
        raise ConfigError(
            f"{what} {value!r} is not a valid name: use 1 to 40 of a-z, 0-9 and '-', not starting with '-'"
        )
    return value
