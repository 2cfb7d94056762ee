"""The third state of a client session: shares are opened and the vector is masked (M3).

docs/protocol.md, "Messages" M3 and "Masks". The masks are added to the session's own copy of the
vector in place, so no clear copy is left once the reply exists.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar

from edgeveil.shared.secagg.agreement import messages
from edgeveil.shared.secagg.agreement.cohort import Cohort, Sets
from edgeveil.shared.secagg.client.settings import Settings
from edgeveil.shared.secagg.client.unmasking import Masked
from edgeveil.shared.secagg.primitives import keys, mask, ring
from edgeveil.shared.secagg.primitives.errors import Code, Refused
from edgeveil.shared.secagg.primitives.keys import KeyPair
from edgeveil.shared.secagg.primitives.ring import Ring
from edgeveil.shared.secagg.primitives.sealing import SharePair, unseal


@dataclass(frozen=True, slots=True)
class Link:
    """What one neighbour needs: its public mask key, and the two keys of the channel."""

    mask_key: bytes
    sealing: bytes = field(repr=False)
    opening: bytes = field(repr=False)


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class Shared:
    name: ClassVar[str] = "SHARED"
    settings: Settings
    vector: Ring
    cohort: Cohort
    pairwise: KeyPair
    seed: bytes
    links: Mapping[bytes, Link]

    def masked(self, body: bytes) -> tuple[bytes, memoryview, "Masked"]:
        settings, cohort = self.settings, self.cohort
        request = messages.MaskedRequest.decode(body, settings.params.n_max)
        u2 = cohort.read_bitmap(request.u2)
        self._check_senders(u2, request.sealed)
        held = {sender: self._open(sender, *rest) for sender, *rest in request.sealed}
        pair_keys = {sender: self._pair_key(sender) for sender in held}
        self._add_masks(pair_keys)
        packed = ring.pack(self.vector, settings.params.bits)
        u2_hash = cohort.u2_hash(u2)
        signature = settings.signer.sign(cohort.masked_message(u2_hash, settings.own, packed))
        return messages.MaskedReply(signature).encode(), packed, Masked(settings, cohort, held, u2)

    def erase(self) -> None:
        self.vector.fill(0)

    def _check_senders(self, u2: Sets, sealed: messages.Sealed) -> None:
        settings, cohort = self.settings, self.cohort
        if settings.own not in u2:
            raise Refused(Code.U2_INVALID, "U2 leaves this agent out and yet asks it")
        settings.check_size(u2, "U2", len(cohort))
        due = [peer for peer in self.links if peer in u2]
        if [sender for sender, *_ in sealed] != due:
            raise Refused(Code.U2_INVALID, "the shares do not come from exactly N_i ∩ U2")
        if len(due) < cohort.solution.t:
            raise Refused(
                Code.QUORUM,
                f"{len(due)} neighbours in U2, {cohort.solution.t} are needed to unmask",
            )

    def _open(self, sender: bytes, sealed: bytes, commitments: bytes) -> SharePair:
        """The shares, which this agent can prove later to be those that the sender dealt."""
        own = self.settings.own
        pair = unseal(
            self.links[sender].opening,
            sealed,
            commitments,
            ctx=self.cohort.ctx,
            u1_hash=self.cohort.u1_hash,
            sender=sender,
            receiver=own,
        )
        if pair.x != self.cohort.share_index(sender, own):
            raise Refused(Code.SHARE_AUTH, "a share carries a foreign index", agent=sender)
        if self.cohort.commitments(sender, own, pair.seed, pair.secret) != commitments:
            raise Refused(
                Code.SHARE_AUTH, "a share is not the one its sender committed to", agent=sender
            )
        return pair

    def _pair_key(self, peer: bytes) -> bytes:
        try:
            return keys.pair_mask_key(
                self.pairwise,
                self.links[peer].mask_key,
                ctx=self.cohort.ctx,
                u1_hash=self.cohort.u1_hash,
                own_id=self.settings.own,
                other_id=peer,
            )
        except keys.BadKey as error:
            raise Refused(Code.KEY_INVALID, f"mask key: {error}", agent=peer) from error

    def _add_masks(self, pair_keys: Mapping[bytes, bytes]) -> None:
        """Y = x + PRG(self) + Σ ±PRG(pair): + towards larger ids, − towards smaller ones."""
        own, cipher = self.settings.own, self.settings.params.cipher
        self_key = keys.self_mask_key(
            self.seed, ctx=self.cohort.ctx, u1_hash=self.cohort.u1_hash, agent_id=own
        )
        pairs = [(key, peer < own) for peer, key in pair_keys.items()]
        mask.add_all_into(self.vector, [(self_key, False), *pairs], cipher=cipher)
