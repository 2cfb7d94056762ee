"""One agent's side of one attempt: five requests in order, each answered once.

docs/protocol.md, "Messages" and "State machines". Sans-I/O: the caller moves bytes, keeps time and
writes the ledger record `submit` after masked() returned and before the vector leaves the device.
Any failed check raises Refused, erases the session, and nothing it held can be sent any more.
"""

import hashlib
import os
from collections.abc import Callable, Mapping
from typing import TypeAlias, TypeVar

from edgeveil.shared.secagg.client.keys import Advertised, Trained
from edgeveil.shared.secagg.client.masking import Shared
from edgeveil.shared.secagg.client.policy import ClientPolicy
from edgeveil.shared.secagg.client.settings import Settings, Signer
from edgeveil.shared.secagg.client.unmasking import Agreed, Done, Masked
from edgeveil.shared.secagg.primitives import ring
from edgeveil.shared.secagg.primitives.canonical import Malformed
from edgeveil.shared.secagg.primitives.errors import Code, Refused
from edgeveil.shared.secagg.primitives.parameters import Params
from edgeveil.shared.secagg.primitives.ring import Lanes

__all__ = ["ClientPolicy", "ClientSession", "Signer"]

Answer: TypeAlias = tuple[bytes, memoryview]
State: TypeAlias = Trained | Advertised | Shared | Masked | Agreed | Done
Step: TypeAlias = tuple[bytes, memoryview, State]
S = TypeVar("S", Trained, Advertised, Shared, Masked, Agreed)


class ClientSession:
    """IDLE → TRAINED → ADVERTISED → SHARED → MASKED → AGREED → DONE, or ABORTED from anywhere.

    The identical request again gets the identical reply (a transport retry). A different request of
    an answered stage is EQUIVOCATION, a request ahead of its stage is STATE; both erase the session.
    `members` is the verified roster: agent id → identity key. `vector` is int64 (params.lanes,), its
    first lane the public weight that the advert tells; it is copied, and the session never holds it in
    clear after masked(). With `honest` above 0 it holds a share of the noise: no set is agreed to that may
    have fewer honest members, and its values are taken modulo the ring, since noise has no bound.
    """

    __slots__ = ("_answers", "_seen", "_state", "_step")

    def __init__(
        self,
        *,
        ctx: bytes,
        params: Params,
        members: Mapping[bytes, bytes],
        signer: Signer,
        policy: ClientPolicy,
        vector: Lanes,
        random: Callable[[int], bytes] = os.urandom,
        honest: int = 0,
    ) -> None:
        """Raise Refused: POLICY_SECAGG, POLICY_VECTOR or NOT_MEMBER."""
        policy.check(params)
        lanes = ring.to_ring(vector, params, bounded=not honest)
        settings = Settings.of(ctx, params, members, signer, random, int(vector[0]), honest)
        self._state: State | None = Trained(settings, lanes)
        self._seen: dict[str, bytes] = {}  # stage → SHA-256 of the answered request
        self._answers: dict[str, Answer] = {}

    @property
    def state(self) -> str:
        return "ABORTED" if self._state is None else self._state.name

    def advert(self) -> bytes:
        """The signed public keys of this attempt (M1 reply); the same bytes when asked again."""
        return self._answer("advert", b"", Trained, lambda state: _bare(*state.advert()))[0]

    def share(self, body: bytes) -> bytes:
        """M2: check the cohort, then seal one share for each neighbour.

        Raises:
            Refused: MALFORMED, U1_INVALID, COHORT_TOO_SMALL, GRAPH_MISMATCH, NOT_MEMBER,
                ADVERT_SIGNATURE, KEY_INVALID, STATE, EQUIVOCATION.
        """
        return self._answer("share", body, Advertised, lambda state: _bare(*state.share(body)))[0]

    def masked(self, body: bytes) -> tuple[bytes, memoryview]:
        """M3: (body, packed masked vector). Refuses U2_INVALID, QUORUM, SHARE_AUTH and the above."""
        return self._answer("masked", body, Shared, lambda state: state.masked(body))

    def agree(self, body: bytes) -> bytes:
        """M4: the one signature on (U2, U3). Refuses U3_INVALID, COHORT_TOO_SMALL, QUORUM."""
        return self._answer("agree", body, Masked, lambda state: _bare(*state.agree(body)))[0]

    def unmask(self, body: bytes) -> bytes:
        """M5: one share of one kind per neighbour. Refuses QUORUM, WINDOW, U3_INVALID."""
        return self._answer("unmask", body, Agreed, lambda state: _bare(*state.unmask(body)))[0]

    def erase(self) -> None:
        """Forget keys, shares, vector and replies; every later request is refused with STATE."""
        if self._state is not None:
            self._state.erase()
        self._state = None
        self._answers.clear()

    def _answer(self, stage: str, body: bytes, due: type[S], handle: Callable[[S], Step]) -> Answer:
        seen = hashlib.sha256(body).digest()
        if self._state is not None and self._seen.get(stage) == seen:
            return self._repeat(stage)
        answered = False
        try:
            reply, vector, self._state = handle(self._due(stage, due))
            answered = True
        except Malformed as error:
            raise Refused(Code.MALFORMED, f"{stage}: {error}") from error
        finally:
            if not answered:
                self.erase()
        if isinstance(self._state, Done):
            self._answers.clear()  # only the last reply may still be asked for
        self._seen[stage] = seen
        self._answers[stage] = reply, vector
        return reply, vector

    def _repeat(self, stage: str) -> Answer:
        """The reply given before; a stale retry is refused without harm to the session."""
        if stage not in self._answers:
            raise Refused(Code.STATE, f"{stage}: answered before, and the attempt is over")
        return self._answers[stage]

    def _due(self, stage: str, due: type[S]) -> S:
        """The state that answers this stage; raises Refused if it is not the present one."""
        if self._state is None:
            raise Refused(Code.STATE, f"{stage}: this session was erased; wait for a new attempt")
        if stage in self._seen:
            raise Refused(Code.EQUIVOCATION, f"{stage}: a second, different request")
        if not isinstance(self._state, due):
            raise Refused(Code.STATE, f"{stage} does not fit the state {self.state}")
        return self._state


def _bare(reply: bytes, following: State) -> Step:
    return reply, memoryview(b""), following
