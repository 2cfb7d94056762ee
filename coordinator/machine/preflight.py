"""Who would take part in a run, collected answer by answer before anybody trains (pure)."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from edgeveil.coordinator.machine.drop_reasons import DropReason, told
from edgeveil.shared.base.errors import ProtocolError, RefusalCode
from edgeveil.shared.wire.messages import PreflightAnswer

YES = ""  # the reason of an agent that would take part


@dataclass(slots=True)
class Answers:
    """`questions`: the hash of each agent's question. `reasons` are YES, or as why agents leave a round."""

    questions: Mapping[bytes, bytes]
    reasons: dict[bytes, str] = field(default_factory=dict)

    @property
    def waiting(self) -> frozenset[bytes]:
        return frozenset(self.questions) - self.reasons.keys()

    def answered(self, agent: bytes, body: bytes) -> None:
        """Take a signed answer; one to another question is no answer."""
        try:
            answer = PreflightAnswer.decode(body)
        except ProtocolError as error:
            self.invalid(agent, error.code)
            return
        if answer.question != self.questions.get(agent):
            self.invalid(agent, RefusalCode.CTX_MISMATCH)
        elif answer.code is None:
            self._note(agent, YES)
        else:
            self.refused(agent, answer.code, answer.about)

    def refused(self, agent: bytes, code: RefusalCode, about: bytes) -> None:
        said = told(code, about) if about else ""
        self._note(agent, f"{DropReason.REFUSED}:{code}{said}")

    def invalid(self, agent: bytes, code: RefusalCode) -> None:
        self._note(agent, f"{DropReason.INVALID}:{code}")

    def lost(self, agents: Iterable[bytes]) -> None:
        for agent in agents:
            self._note(agent, DropReason.LOST)

    def close(self) -> None:
        """Nobody is waited for any longer."""
        for agent in self.waiting:
            self._note(agent, DropReason.DEADLINE)

    def _note(self, agent: bytes, reason: str) -> None:
        if agent in self.waiting:
            self.reasons[agent] = reason
