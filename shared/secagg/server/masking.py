"""The server's third stage: add masked vectors to ONE running sum as they arrive (M3 → U3).

No single vector is kept: it is checked, added modulo the ring, and forgotten.
"""

from collections.abc import Mapping

import numpy as np

from edgeveil.shared.secagg.agreement import messages
from edgeveil.shared.secagg.agreement.cohort import Cohort
from edgeveil.shared.secagg.agreement.messages import Advert, ShareReply
from edgeveil.shared.secagg.primitives import ring
from edgeveil.shared.secagg.primitives.canonical import Malformed
from edgeveil.shared.secagg.primitives.errors import Aborted, Code
from edgeveil.shared.secagg.server.quorum import lacking
from edgeveil.shared.secagg.server.stage import Bulk, ServerSetup, Stage, too_small
from edgeveil.shared.secagg.server.unmasking import CollectAgreements, Masked


class CollectMasked(Stage):
    def __init__(
        self,
        setup: ServerSetup,
        cohort: Cohort,
        adverts: Mapping[bytes, Advert],
        replies: Mapping[bytes, ShareReply],
    ) -> None:
        super().__init__(setup, replies)
        self._cohort = cohort
        self._adverts = adverts
        self._replies = replies
        self._u2 = frozenset(replies)
        self._u2_hash = cohort.u2_hash(self._u2)
        self._u3: set[bytes] = set()
        self._total = ring.zeros(setup.params.lanes, setup.params.bits)

    def requests(self) -> dict[bytes, bytes]:
        """Each agent of U2 gets what its neighbours in U2 sealed for it and committed to."""
        inbox: dict[bytes, list[tuple[bytes, bytes, bytes]]] = {
            agent: [] for agent in sorted(self._u2)
        }
        for sender in inbox:
            for receiver, sealed, commitments in self._replies[sender].sealed:
                if receiver in inbox:
                    inbox[receiver].append((sender, sealed, commitments))
        bitmap = self._cohort.bitmap(self._u2)
        return {
            receiver: messages.MaskedRequest(bitmap, tuple(received)).encode()
            for receiver, received in inbox.items()
        }

    def close(self) -> CollectAgreements:
        self._finish()
        masked = Masked(
            cohort=self._cohort,
            u2=self._u2,
            u3=frozenset(self._u3),
            mask_keys={agent: self._adverts[agent].mask_key for agent in self._cohort.ids},
            weights={agent: self._adverts[agent].weight for agent in self._cohort.ids},
            commitments={owner: self._commitments(owner) for owner in self._u2},
            total=self._total,
        )
        return CollectAgreements(self._setup, masked)

    def _commitments(self, owner: bytes) -> dict[bytes, bytes]:
        """By holder, to the share that will be asked for: of the seed, or of a lost one's mask key."""
        size = messages.COMMITMENT
        due = slice(size) if owner in self._u3 else slice(size, 2 * size)
        return {holder: pair[due] for holder, _, pair in self._replies[owner].sealed}

    def _take(self, agent: bytes, body: bytes, bulk: Bulk | None) -> None:
        if bulk is None:
            raise Malformed("a masked reply without its vector")
        params = self._setup.params
        reply = messages.MaskedReply.decode(body)
        lanes = ring.unpack(bulk, params.lanes, params.bits)
        message = self._cohort.masked_message(self._u2_hash, agent, bulk)
        self._setup.verify(agent, reply.signature, message, Code.KEY_INVALID)
        np.add(self._total, lanes, out=self._total)
        self._u3.add(agent)

    def _problem(self) -> Aborted | None:
        u3 = frozenset(self._u3)
        return too_small(u3, "U3", self._setup.params) or lacking(
            self._cohort, u3, self._u2, u3, "U3"
        )
