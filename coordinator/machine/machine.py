"""What a driver sees of a machine: the actions it asks for, and one interface alone or in shards (pure)."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Protocol

from edgeveil.shared.base.errors import RefusalCode
from edgeveil.shared.secagg.agreement.result import Result
from edgeveil.shared.wire.messages import Stage


@dataclass(frozen=True, slots=True)
class Send:
    """Ask these agents; `bodies` is empty for ROUND, whose offers the driver composes."""

    stage: Stage
    agents: tuple[bytes, ...]
    bodies: Mapping[bytes, bytes]
    deadline_s: float


@dataclass(frozen=True, slots=True)
class Finish:
    result: Result


@dataclass(frozen=True, slots=True)
class Abort:
    """`reason` is a code of the protocol, for the event log and the exit message."""

    reason: str
    detail: str


Action = Send | Finish | Abort


class Machine(Protocol):
    """Drive with start(), then reply()/refused()/invalid()/lost()/tick(); stop after Finish or Abort.

    Every event takes the monotonic second at which it happened. `results` holds the sum of each shard
    that finished; `complaints`, by accuser, whose share did not open; `suspects` who is proved to have
    lied about shares, whether or not there is a sum.
    """

    @property
    def waiting(self) -> frozenset[bytes]: ...
    @property
    def dropped(self) -> dict[bytes, str]: ...
    @property
    def deadline(self) -> float: ...
    @property
    def results(self) -> tuple[Result, ...]: ...
    @property
    def complaints(self) -> dict[bytes, bytes]: ...
    @property
    def suspects(self) -> frozenset[bytes]: ...
    @property
    def stage_seconds(self) -> dict[str, float]: ...
    @property
    def answer_seconds(self) -> dict[str, float]: ...

    def start(self, now: float) -> list[Action]: ...
    def reply(
        self, agent: bytes, stage: Stage, body: bytes, bulk: bytes | memoryview | None, now: float
    ) -> list[Action]: ...
    def refused(
        self, agent: bytes, stage: Stage, code: RefusalCode, now: float, about: bytes = b""
    ) -> list[Action]: ...
    def invalid(
        self, agent: bytes, stage: Stage, code: RefusalCode, now: float
    ) -> list[Action]: ...
    def lost(self, agents: Iterable[bytes], now: float) -> list[Action]: ...
    def tick(self, now: float) -> list[Action]: ...
