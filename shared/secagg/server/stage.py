"""What all stages of the server share: whom it waits for, and when it may go on.

docs/protocol.md, "State machines". Sans-I/O: the caller sends requests(), feeds accept() and drop(),
watches deadlines, and calls close() once nobody is waited for, or at the deadline if quorate.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

from cryptography.exceptions import InvalidSignature

from edgeveil.shared.secagg.agreement.cohort import Sets
from edgeveil.shared.secagg.primitives import keys
from edgeveil.shared.secagg.primitives.canonical import Malformed
from edgeveil.shared.secagg.primitives.errors import Aborted, Code, PeerFault, Refused
from edgeveil.shared.secagg.primitives.parameters import Params

Bulk: TypeAlias = bytes | bytearray | memoryview
Spread: TypeAlias = Callable[[Callable[[range], None], Iterable[range]], Iterable[None]]


@dataclass(frozen=True, slots=True)
class ServerSetup:
    """One attempt. `members` are the agents asked: id → identity key of the verified roster.

    The removal of masks is cut into `parts` ranges of lanes and run by `spread`, the built-in map or a
    thread pool's.
    """

    ctx: bytes
    params: Params
    members: Mapping[bytes, bytes] = field(repr=False)
    parts: int = 1
    spread: Spread = map

    def __post_init__(self) -> None:
        """Raise Aborted: POLICY_SECAGG or POLICY_VECTOR, for an attempt that cannot work."""
        if not self.params.n_min <= len(self.members) <= self.params.n_max:
            raise Aborted(
                Code.POLICY_SECAGG,
                f"{len(self.members)} agents asked, the parameters allow "
                f"{self.params.n_min} to {self.params.n_max}",
            )
        try:
            self.params.check_overflow()
        except Refused as error:
            raise Aborted(error.code, str(error)) from error

    def verify(self, agent: bytes, signature: bytes, message: bytes, code: Code) -> None:
        """Raise PeerFault(code) unless the signature is the agent's."""
        try:
            keys.verifies(self.members[agent], signature, message)
        except InvalidSignature as error:
            raise PeerFault(code, "a signature does not verify", agent=agent) from error


class Stage(ABC):
    """One exchange. An answer is accepted once, while it is waited for, and never after close()."""

    def __init__(self, setup: ServerSetup, asked: Iterable[bytes]) -> None:
        self._setup = setup
        self._waiting = set(asked)
        self._closed = False

    @property
    def waiting(self) -> Sets:
        return frozenset(self._waiting)

    @property
    def quorate(self) -> bool:
        """Whether close() would go on with the answers at hand."""
        return not self._closed and self._problem() is None

    def accept(self, agent: bytes, body: bytes, bulk: Bulk | None = None) -> None:
        """Take one agent's answer.

        Raises:
            PeerFault: the answer breaks the protocol or is not waited for. Nothing of it was kept;
                the caller drops the agent and goes on.
        """
        if agent not in self._waiting:
            raise PeerFault(Code.STATE, "no answer of this agent is waited for", agent=agent)
        try:
            self._take(agent, body, bulk)
        except Malformed as error:
            raise PeerFault(Code.MALFORMED, str(error), agent=agent) from error
        self._waiting.discard(agent)

    def drop(self, agent: bytes) -> None:
        """Stop waiting for an agent; an answer accepted before stays in."""
        self._waiting.discard(agent)

    @abstractmethod
    def _take(self, agent: bytes, body: bytes, bulk: Bulk | None) -> None:
        """Check and keep one answer, or raise PeerFault or Malformed and keep nothing."""

    @abstractmethod
    def _problem(self) -> Aborted | None:
        """What keeps the attempt from going on with the answers at hand."""

    def _finish(self) -> None:
        """Raise Aborted if the quorum is missing; accept nothing from here on."""
        problem = self._problem()
        if self._closed:
            problem = Aborted(Code.STATE, "this stage is closed")
        if problem is not None:
            raise problem
        self._closed = True
        self._waiting.clear()

    def _without_bulk(self, bulk: Bulk | None) -> None:
        if bulk is not None:
            raise Malformed("this reply carries no vector")


def too_small(members: Sets, name: str, params: Params) -> Aborted | None:
    if len(members) >= params.n_min:
        return None
    return Aborted(
        Code.COHORT_TOO_SMALL, f"{name} has {len(members)} of at least {params.n_min} agents"
    )
