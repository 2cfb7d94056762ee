"""Whom the agents complain about: more than all the corrupt ones together exclude an agent (pure).

A refusal SHARE_AUTH names the sender of the share that did not open. One complaint proves nothing,
since accuser and accused can both lie; only more accusers than the plan assumes to be corrupt show
that an honest one is among them. An agent whose lie about shares is proved, as their dealer or as a
holder, is excluded at once.
"""

from collections.abc import Iterable

LEAST = 2  # different accusers, however few corrupt agents the plan assumes


class Complaints:
    """One run's; agents by name, so that they can be rebuilt from its round records."""

    def __init__(self, corrupt: int) -> None:
        """`corrupt`: how many members of one cohort the plan assumes to collude."""
        self._enough = max(LEAST, corrupt + 1)
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
        accused = {name for name, by in self._accusers.items() if len(by) >= self._enough}
        return frozenset(accused | self._convicted)
