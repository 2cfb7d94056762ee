"""The first states of a client session: keys are made (M1), then shared out (M2).

docs/protocol.md, "Messages". One class per state; a handler checks the whole request before it uses
what the state holds, and returns (reply, next state). The old object is dead from then on.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from edgeveil.shared.secagg.agreement import messages
from edgeveil.shared.secagg.agreement.cohort import Cohort, advert_message
from edgeveil.shared.secagg.client.cohort_check import check_cohort
from edgeveil.shared.secagg.client.masking import Link, Shared
from edgeveil.shared.secagg.client.settings import Settings
from edgeveil.shared.secagg.primitives import keys, shamir
from edgeveil.shared.secagg.primitives.errors import Code, Refused
from edgeveil.shared.secagg.primitives.keys import KeyPair
from edgeveil.shared.secagg.primitives.ring import Ring
from edgeveil.shared.secagg.primitives.sealing import SharePair, seal


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class Trained:
    name: ClassVar[str] = "TRAINED"
    settings: Settings
    vector: Ring

    def advert(self) -> tuple[bytes, "Advertised"]:
        settings = self.settings
        channel = KeyPair.generate(settings.random)
        pairwise = KeyPair.generate(settings.random)
        weight = settings.weight
        message = advert_message(
            settings.ctx, settings.own, channel.public, pairwise.public, weight
        )
        advert = messages.Advert(
            settings.ctx,
            settings.own,
            channel.public,
            pairwise.public,
            weight,
            settings.signer.sign(message),
        )
        return advert.encode(), Advertised(settings, self.vector, channel, pairwise)

    def erase(self) -> None:
        self.vector.fill(0)


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class Advertised:
    name: ClassVar[str] = "ADVERTISED"
    settings: Settings
    vector: Ring
    channel: KeyPair
    pairwise: KeyPair

    def share(self, body: bytes) -> tuple[bytes, "Shared"]:
        settings = self.settings
        request = messages.ShareRequest.decode(body, settings.params.n_max)
        own_keys = (self.channel.public, self.pairwise.public)
        cohort = check_cohort(
            request,
            settings.own,
            own_keys,
            settings.weight,
            ctx=settings.ctx,
            params=settings.params,
            members=settings.members,
        )
        settings.check_size(frozenset(cohort.ids), "U1", len(cohort))
        seed = settings.random(32)
        links = {
            peer.agent_id: Link(
                peer.mask_key, *self._channel_keys(cohort, peer.agent_id, peer.channel_key)
            )
            for peer in request.neighbours
        }
        sealed = self._seal(cohort, seed, links)
        listed = messages.sealed_list(sealed)
        signature = settings.signer.sign(cohort.shares_message(settings.own, listed))
        reply = messages.ShareReply(sealed, signature)
        return reply.encode(), Shared(settings, self.vector, cohort, self.pairwise, seed, links)

    def erase(self) -> None:
        self.vector.fill(0)

    def _channel_keys(self, cohort: Cohort, peer: bytes, public: bytes) -> tuple[bytes, bytes]:
        try:
            return keys.channel_keys(
                self.channel,
                public,
                ctx=cohort.ctx,
                u1_hash=cohort.u1_hash,
                own_id=self.settings.own,
                other_id=peer,
            )
        except keys.BadKey as error:
            raise Refused(Code.KEY_INVALID, f"channel key: {error}", agent=peer) from error

    def _seal(self, cohort: Cohort, seed: bytes, links: Mapping[bytes, "Link"]) -> messages.Sealed:
        """Neighbour number r in ascending order gets share x = r + 1."""
        xs, own = range(1, len(links) + 1), self.settings.own
        secret = seed + self.pairwise.secret
        shares = shamir.split(secret, cohort.solution.t, xs, self.settings.random)
        scope = {"ctx": cohort.ctx, "u1_hash": cohort.u1_hash, "sender": own}
        sealed = []
        for x, (peer, link) in zip(xs, links.items(), strict=True):
            pair = SharePair(x, shares[x][:32], shares[x][32:])
            commitments = cohort.commitments(own, peer, pair.seed, pair.secret)
            sealed.append(
                (peer, seal(link.sealing, pair, commitments, receiver=peer, **scope), commitments)
            )
        return tuple(sealed)
