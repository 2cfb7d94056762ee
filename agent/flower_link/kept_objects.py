"""Objects of the last model that came in two parts: the frozen one is fetched once, not in every round.

Objects are addressed by their content, so what is kept is what the next message would bring. In memory: a
device that starts anew fetches it again.
"""

from collections.abc import Iterable, Mapping

from edgeveil.shared.flower.objects import repeating

MOST_BYTES = 64 << 20  # above it nothing is kept, and everything is fetched each time


class KeptObjects:
    """`most_bytes` bounds memory."""

    def __init__(self, most_bytes: int = MOST_BYTES) -> None:
        self._most_bytes = most_bytes
        self._contents: dict[str, bytes] = {}

    def known(self, names: Iterable[str]) -> dict[str, bytes]:
        """Those of `names` that need not be fetched."""
        return {name: self._contents[name] for name in names if name in self._contents}

    def keep(self, contents: Mapping[str, bytes]) -> None:
        """Of a message that was read; another one of two parts takes the place of the last."""
        found = repeating(contents)
        if found and sum(map(len, found.values())) <= self._most_bytes:
            self._contents = found
