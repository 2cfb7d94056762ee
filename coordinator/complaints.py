"""Whom the agents complain about: two who could not open the same agent's shares exclude it (pure).

A refusal SHARE_AUTH names the sender of the share that did not open. One complaint proves nothing,
since accuser and accused can both lie; two different accusers within a run cost the accused its place
in that run. An agent whose own shares fit no secret at unmasking is excluded at once.
"""

from collections.abc import Iterable

ENOUGH = 2  # different accusers


class Complaints:
    """One run's; agents by name, so that they can be rebuilt from its round records."""

    def __init__(self) -> None:
        self._accusers: dict[str, set[str]] = {}
        self._convicted: set[str] = set()

    def note(self, pairs: Iterable[tuple[str, str]]) -> None:
        """Each pair is (accuser, accused)."""
        for accuser, accused in pairs:
            self._accusers.setdefault(accused, set()).add(accuser)

    def convict(self, agents: Iterable[str]) -> None:
        self._convicted.update(agents)

    @property
    def excluded(self) -> frozenset[str]:
        """Who is asked no more in this run."""
        accused = {name for name, by in self._accusers.items() if len(by) >= ENOUGH}
        return frozenset(accused | self._convicted)
