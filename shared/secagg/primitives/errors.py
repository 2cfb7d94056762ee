"""Failures of secagg-v1, told apart by who has to act on them.

SecaggError   carries `code` (crosses the wire), `agent` (whom it is about) and a sentence (never sent)
├── Refused   the client stops: nothing it holds may be sent any more
├── PeerFault the server drops `agent` and goes on without it
├── Aborted   the server's attempt is over; the sum stays hidden
└── Infeasible no parameters exist for this cohort; shard it or relax gamma and delta
"""

from enum import StrEnum


class Code(StrEnum):
    """The reasons secagg itself can give; the spellings are those of shared.base.errors.RefusalCode."""

    NOT_MEMBER = "NOT_MEMBER"
    POLICY_SECAGG = "POLICY_SECAGG"
    POLICY_VECTOR = "POLICY_VECTOR"
    CTX_MISMATCH = "CTX_MISMATCH"
    STATE = "STATE"
    MALFORMED = "MALFORMED"
    U1_INVALID = "U1_INVALID"
    U2_INVALID = "U2_INVALID"
    U3_INVALID = "U3_INVALID"
    COHORT_TOO_SMALL = "COHORT_TOO_SMALL"
    GRAPH_MISMATCH = "GRAPH_MISMATCH"
    KEY_INVALID = "KEY_INVALID"
    ADVERT_SIGNATURE = "ADVERT_SIGNATURE"
    SHARE_AUTH = "SHARE_AUTH"
    QUORUM = "QUORUM"
    WINDOW = "WINDOW"
    EQUIVOCATION = "EQUIVOCATION"
    SUM_RANGE = "SUM_RANGE"  # the server's only: the unmasked sum is out of its bounds


class SecaggError(Exception):
    """`str(error)` is for the local log; only `code` may leave the machine."""

    def __init__(self, code: str, message: str, *, agent: bytes | None = None) -> None:
        super().__init__(message if agent is None else f"{message} (agent {agent.hex()})")
        self.code = code
        self.agent = agent


class Refused(SecaggError):
    pass


class PeerFault(SecaggError):
    pass


class Aborted(SecaggError):
    """`guilty`: the agents that are proved to have lied, whatever ended the attempt."""

    def __init__(
        self,
        code: str,
        message: str,
        *,
        agent: bytes | None = None,
        guilty: frozenset[bytes] = frozenset(),
    ) -> None:
        super().__init__(code, message, agent=agent)
        self.guilty = guilty


class Infeasible(SecaggError):
    pass
