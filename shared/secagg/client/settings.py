"""What stays the same through a client session: parameters, roster, identity, randomness."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from edgeveil.shared.secagg.agreement.cohort import Sets, agent_id
from edgeveil.shared.secagg.primitives.errors import Code, Refused
from edgeveil.shared.secagg.primitives.parameters import Params
from edgeveil.shared.secagg.primitives.solver import assumed_corrupt


class Signer(Protocol):
    """An Ed25519 identity: 32 public bytes, 64-byte signatures."""

    @property
    def public(self) -> bytes: ...

    def sign(self, message: bytes) -> bytes: ...


@dataclass(frozen=True, slots=True)
class Settings:
    """What stays the same through a session."""

    ctx: bytes
    params: Params
    members: Mapping[bytes, bytes] = field(repr=False)
    signer: Signer = field(repr=False)
    random: Callable[[int], bytes] = field(repr=False)
    weight: int
    own: bytes = b""
    honest: int = 0  # the least number of honest members, this one included, that a sum has to hold

    @classmethod
    def of(  # noqa: PLR0917 - the fields, in their order
        cls,
        ctx: bytes,
        params: Params,
        members: Mapping[bytes, bytes],
        signer: Signer,
        random: Callable[[int], bytes],
        weight: int,
        honest: int = 0,
    ) -> "Settings":
        """Raise Refused: NOT_MEMBER unless the roster holds our id with our key; POLICY_VECTOR."""
        own = agent_id(signer.public)
        if members.get(own) != signer.public:
            raise Refused(Code.NOT_MEMBER, "the roster does not hold this agent with its key")
        if weight < 1:
            raise Refused(Code.POLICY_VECTOR, f"a vector of weight {weight} counts for nothing")
        return cls(ctx, params, members, signer, random, weight, own, honest)

    def check_size(self, members: Sets, name: str, n: int) -> None:
        """Raise Refused(COHORT_TOO_SMALL): n_min holds on U1, U2 and U3 alike, and so does `honest`.

        `n` is |U1|: as many as may be corrupt of all that were asked may be among these.
        """
        if len(members) < self.params.n_min:
            raise Refused(
                Code.COHORT_TOO_SMALL,
                f"{name} has {len(members)} members, at least {self.params.n_min} are due",
            )
        corrupt = assumed_corrupt(n, self.params.gamma_ppm, self.params.c_min)
        if len(members) - corrupt < self.honest:
            raise Refused(
                Code.COHORT_TOO_SMALL,
                f"{name} has {len(members)} members of which {corrupt} may be corrupt; the noise needs "
                f"{self.honest} honest ones",
            )
