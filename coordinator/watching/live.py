"""Where the running attempt stands, from the events as they are written; for page, top and metrics."""

import threading
from collections import deque
from dataclasses import asdict, dataclass, field
from typing import Any

from edgeveil.shared.events.log import Event, EventLine

RECENT = 200  # events that are remembered
WAITING, ANSWERED = "waiting", "answered"
CONNECTED = "connected"
ENDED = {
    Event.ROUND_COMMIT: "committed",
    Event.ROUND_EVALUATE: "evaluated",
    Event.ROUND_ABORT: "aborted",
}
AWAY = ("offline", "revoked")  # states of agents that are shown last and folded


@dataclass(frozen=True)
class Now:
    """`parts`: agents of the present attempt → "waiting", "answered" or the reason why it left."""

    run: str = ""
    round: int = 0
    attempt: int = 0
    stage: str = ""
    since: float = 0.0  # Unix seconds at which the stage began
    waits_for: str = ""  # such as 1-of-3-agents, while there are too few
    parts: dict[str, str] = field(default_factory=dict)
    recent: tuple[EventLine, ...] = ()

    def as_json(self) -> dict[str, Any]:
        return asdict(self) | {"recent": [line.as_json() for line in self.recent]}

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> "Now":
        recent = tuple(EventLine(**line) for line in values.get("recent", ()))
        return cls(**{**values, "recent": recent})

    @property
    def answered(self) -> int:
        return sum(1 for part in self.parts.values() if part == ANSWERED)

    @property
    def taking_part(self) -> int:
        return sum(1 for part in self.parts.values() if part in {WAITING, ANSWERED})


class Live:
    """take() is called by whichever thread wrote the event; now() by whoever looks."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._now = Now()
        self._parts: dict[str, str] = {}
        self._recent: deque[EventLine] = deque(maxlen=RECENT)

    def now(self) -> Now:
        with self._lock:
            values = asdict(self._now) | {"parts": dict(self._parts)}
            return Now(**(values | {"recent": tuple(self._recent)}))

    def take(self, line: EventLine) -> None:
        with self._lock:
            self._recent.append(line)
            event = Event(line.event)
            if event in {Event.RUN_FINISH, Event.RUN_STOP, Event.RUN_FAIL}:
                self._now, self._parts = Now(), {}
            elif event in {Event.RUN_START, Event.RUN_RESUME, Event.ROUND_WAIT} and line.run:
                self._begin(line, waits_for=line.reason)
            elif event is Event.ROUND_START:
                self._begin(line)
            else:
                self._within(event, line)

    def _begin(self, line: EventLine, waits_for: str = "") -> None:
        self._parts = {}
        self._now = Now(line.run, line.round, line.attempt, "select", line.ts, waits_for)

    def _within(self, event: Event, line: EventLine) -> None:
        """What happens to the agents of an attempt."""
        here = self._now
        if event is Event.AGENT_SELECT:
            self._parts[line.agent] = WAITING
        elif event is Event.AGENT_REPLY and line.agent in self._parts:
            self._parts[line.agent] = ANSWERED
        elif event is Event.AGENT_DROP and line.agent in self._parts:
            self._parts[line.agent] = line.reason
        elif event is Event.STAGE_START:
            for agent, part in self._parts.items():
                self._parts[agent] = WAITING if part == ANSWERED else part
            self._now = Now(here.run, here.round, line.attempt, line.stage, line.ts)
        elif event in ENDED:
            stage = ENDED[event]
            self._now = Now(here.run, here.round, line.attempt, stage, line.ts)
