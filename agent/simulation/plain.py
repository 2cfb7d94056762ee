"""A device's part in a sum without masks: what `coordinator simulate --secagg sum` leaves out is here, and only this.

The coordinator's side of it is coordinator.simulation.summing. A home that a real coordinator answers for never
gets one: only agent.simulation.device makes them.
"""

from collections.abc import Callable, Mapping
from typing import Protocol

from edgeveil.shared.secagg.client.policy import ClientPolicy
from edgeveil.shared.secagg.primitives import ring
from edgeveil.shared.secagg.primitives.canonical import u32
from edgeveil.shared.secagg.primitives.errors import Code, Refused
from edgeveil.shared.secagg.primitives.parameters import Params
from edgeveil.shared.secagg.primitives.ring import Lanes


class _Signer(Protocol):
    @property
    def public(self) -> bytes: ...
    def sign(self, message: bytes) -> bytes: ...


class PlainSession:
    """ADVERTISED → SHARED → DONE: says its weight, hands its lanes over as they are, hears that they are in the sum.

    Takes what ClientSession takes and holds the same parameters against the same policy; exact integers, so that
    a sum of these is that of the masked ones.
    """

    def __init__(
        self,
        *,
        ctx: bytes,
        params: Params,
        members: Mapping[bytes, bytes],
        signer: _Signer,
        policy: ClientPolicy,
        vector: Lanes,
        random: Callable[[int], bytes] | None = None,
        honest: int = 0,
    ) -> None:
        """Raise Refused: POLICY_SECAGG or POLICY_VECTOR."""
        del ctx, members, signer, random
        policy.check(params)
        self._weight = int(vector[0])
        self._packed: memoryview | None = ring.pack(
            ring.to_ring(vector, params, bounded=not honest), params.bits
        )
        self.state = "SHARED"

    def advert(self) -> bytes:
        return u32(self._weight)

    def masked(self, body: bytes) -> tuple[bytes, memoryview]:
        del body
        if self._packed is None:
            raise Refused(Code.STATE, "this session was erased; wait for a new attempt")
        self.state = "MASKED"
        return b"", self._packed

    def unmask(self, body: bytes) -> bytes:
        del body
        self.erase()
        return b""

    def share(self, body: bytes) -> bytes:
        raise Refused(Code.STATE, f"a sum without masks has no shares ({len(body)} bytes)")

    agree = share

    def erase(self) -> None:
        self._packed = None
        self.state = "DONE"
