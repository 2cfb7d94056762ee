"""Agents that lie about shares: a whole cohort as it stands before M5, and sessions that cheat.

`Dealt` makes what the server holds after M4 without playing M1 to M4, so that a cohort of a thousand
takes seconds. `deal` and `reveal` make real sessions lie as dealers (M2) and as holders (M5).
"""

import random
from dataclasses import replace

import numpy as np
from secagg_bench import CTX, identities, one_hot, params

from edgeveil.shared.secagg.agreement import messages
from edgeveil.shared.secagg.agreement.cohort import Cohort, advert_hash
from edgeveil.shared.secagg.client.keys import Advertised
from edgeveil.shared.secagg.client.unmasking import Agreed
from edgeveil.shared.secagg.primitives import keys, mask, ring, shamir
from edgeveil.shared.secagg.primitives.sealing import SharePair, seal
from edgeveil.shared.secagg.server.stages import CollectUnmasking, ServerSetup
from edgeveil.shared.secagg.server.unmasking import Masked


def xored(share, error):
    return bytes(a ^ b for a, b in zip(share, error, strict=True))


class Dealt:
    """n honest agents of which the last `lost` fell silent after M2; `lost` and `people` by place."""

    def __init__(self, n, lost=0, *, seed=1, **changes):
        self.rng = random.Random(f"{n}/{lost}/{seed}")
        bits = 16 if n <= 300 else 32
        self.params = params(n, lanes=4, bits=bits, **changes)
        self.people = identities(n)
        self.ids = [one.id for one in self.people]
        pairs = {one: keys.KeyPair(self.rng.randbytes(32)) for one in self.ids}
        self.publics = {one: pair.public for one, pair in pairs.items()}
        adverts = [
            (one, advert_hash(CTX, one, bytes(32), self.publics[one], 1)) for one in self.ids
        ]
        self.cohort = Cohort(CTX, adverts, self.params)
        self.u2 = frozenset(self.ids)
        self.u3 = frozenset(self.ids[: n - lost])
        self.seeds = {one: self.rng.randbytes(32) for one in self.ids}
        self.pairs = {}  # owner → holder → the two shares it was dealt
        for owner in self.ids:
            self.deal(owner, self.seeds[owner] + pairs[owner].secret)
        self.total = self._masked_sum(pairs)
        self.setup = ServerSetup(CTX, self.params, {one.id: one.public for one in self.people})

    @property
    def solution(self):
        return self.cohort.solution

    @property
    def corrupt(self):
        """C, the members that may collude."""
        return max(len(self.ids) * self.params.gamma_ppm // 1_000_000, self.params.c_min)

    def kind(self, owner):
        return messages.SEED_SHARE if owner in self.u3 else messages.SECRET_SHARE

    def deal(self, owner, secret, errors=()):
        """`errors`: by holder, what its shares are off the polynomial; the owner commits to that."""
        holders = self.cohort.neighbours(owner)
        xs = range(1, len(holders) + 1)
        shares = shamir.split(secret, self.solution.t, xs, self.rng.randbytes)
        dealt = {holder: shares[x] for x, holder in zip(xs, holders, strict=True)}
        for holder, error in dict(errors).items():
            dealt[holder] = xored(dealt[holder], error)
        self.pairs[owner] = dealt
        self._answers, self._commitments = {}, {}

    def due(self, holder, owner):
        """The share of this owner that the holder is asked for."""
        both = self.pairs[owner][holder]
        return both[:32] if owner in self.u3 else both[32:]

    def commitments(self):
        self._commitments = self._commitments or {
            owner: {
                holder: self.cohort.commitment(owner, holder, self.kind(owner), self.due(holder, owner))
                for holder in dealt
            }
            for owner, dealt in self.pairs.items()
        }  # fmt: skip
        return self._commitments

    def stage(self):
        """The server's last stage, before any answer."""
        masked = Masked(
            cohort=self.cohort,
            u2=self.u2,
            u3=self.u3,
            mask_keys=self.publics,
            weights=dict.fromkeys(self.ids, 1),
            commitments=self.commitments(),
            total=self.total.copy(),
        )
        return CollectUnmasking(self.setup, masked, dict.fromkeys(self.u3, bytes(64)))

    def answer(self, holder, lie=None):
        """The signed answer; `lie(owner, share)` gives what is revealed instead."""
        if lie is None and holder in self._answers:
            return self._answers[holder]
        shares = tuple(
            (owner, self.kind(owner), (lie or _truly)(owner, self.due(holder, owner)))
            for owner in self.cohort.neighbours(holder)
        )
        hashes = self.cohort.u2_hash(self.u2), self.cohort.u3_hash(self.u3)
        listed = messages.share_list(shares)
        message = self.cohort.unmask_message(*hashes, holder, listed)
        signer = self.people[self.cohort.rank(holder)]
        answer = messages.UnmaskReply(shares, signer.sign(message)).encode()
        if lie is None:
            self._answers[holder] = answer
        return answer

    def expected(self):
        places = [place for place, one in enumerate(self.ids) if one in self.u3]
        return sum(one_hot(place, self.params) for place in places)

    def _masked_sum(self, pairs):
        total = ring.zeros(self.params.lanes, self.params.bits)
        total[:] = self.expected().astype(total.dtype)
        scope = {"ctx": CTX, "u1_hash": self.cohort.u1_hash}
        for one in self.u3:
            mask.add_into(total, keys.self_mask_key(self.seeds[one], **scope, agent_id=one))
        for gone in self.u2 - self.u3:
            for peer in self.cohort.neighbours(gone):
                if peer in self.u3:
                    key = keys.pair_mask_key(pairs[gone], self.publics[peer], **scope, own_id=gone, other_id=peer)  # fmt: skip
                    mask.add_into(total, key, subtract=peer > gone)
        return total


def _truly(_owner, share):
    return share


def random_lie(rng):
    """Each wrong share another one: errors of full rank."""
    return lambda _owner, share: xored(share, rng.randbytes(31) + b"\x01")


def common_lie(error):
    """All liars and all owners the same error: of rank one."""
    return lambda _owner, share: xored(share, error)


def deal(monkeypatch, dealers, alter):
    """These agents seal `alter(place, holder, pair)` for each of their neighbours: (pair, committed pair)."""
    honest = Advertised._seal

    def lying(self, cohort, seed, links):
        own = self.settings.own
        if own not in dealers:
            return honest(self, cohort, seed, links)
        xs = range(1, len(links) + 1)
        shares = shamir.split(seed + self.pairwise.secret, cohort.solution.t, xs)
        sealed = []
        for x, (peer, link) in zip(xs, links.items(), strict=True):
            pair, promised = alter(x - 1, peer, SharePair(x, shares[x][:32], shares[x][32:]))
            both = cohort.commitments(own, peer, promised.seed, promised.secret)
            scope = {"ctx": cohort.ctx, "u1_hash": cohort.u1_hash, "sender": own, "receiver": peer}
            sealed.append((peer, seal(link.sealing, pair, both, **scope), both))
        return tuple(sealed)

    monkeypatch.setattr(Advertised, "_seal", lying)


def off(pair, error):
    """The pair of shares with this error in both."""
    return replace(pair, seed=xored(pair.seed, error), secret=xored(pair.secret, error))


def reveal(monkeypatch, holders, lie):
    """These agents reveal `lie(owner, share)` in place of each share they hold."""
    honest = Agreed.unmask

    def lying(self, body):
        if self.settings.own in holders:
            for peer, pair in self.held.items():
                self.held[peer] = replace(pair, seed=lie(peer, pair.seed), secret=lie(peer, pair.secret))  # fmt: skip
        return honest(self, body)

    monkeypatch.setattr(Agreed, "unmask", lying)


def noise(size=32, seed=0):
    return np.random.default_rng(seed).bytes(size)
