"""One agreed view of U1: who takes part, whose neighbour is whom, and the hashes that bind it.

docs/protocol.md, "Encodings", "Graph" and "Messages". Both sides build it from the same list; any
difference shows in u1_hash, hence in every key and signature. Also the sentences that are signed.
"""

import hashlib
from collections.abc import Iterable, Sequence

import numpy as np

from edgeveil.shared.secagg.agreement.graph import Graph, Members
from edgeveil.shared.secagg.primitives.canonical import (
    Malformed,
    canon,
    digest,
    list_bytes,
    u8,
    u32,
)
from edgeveil.shared.secagg.primitives.parameters import Params

Sets = frozenset[bytes]
_ID = u32(16)  # canon()'s length before an id, and what stands between the ids and a share
_KIND = {kind: u32(1) + u8(kind) + u32(32) for kind in (1, 2)}


def agent_id(identity_public: bytes) -> bytes:
    """The 16 bytes that follow from an identity key."""
    return digest("agent-id", identity_public)[:16]


def advert_message(
    ctx: bytes, agent: bytes, channel_key: bytes, mask_key: bytes, weight: int
) -> bytes:
    return canon("advert", ctx, agent, channel_key, mask_key, u32(weight))


def advert_hash(
    ctx: bytes, agent: bytes, channel_key: bytes, mask_key: bytes, weight: int
) -> bytes:
    """H("advert", …): the hash of exactly the signed bytes."""
    return digest("advert", ctx, agent, channel_key, mask_key, u32(weight))


class Cohort:
    """U1 in ascending order with its parameters and graph; immutable.

    `adverts` are (id, advert hash), strictly ascending. Raises Infeasible.
    """

    __slots__ = ("_commits", "_near", "_rank", "ctx", "graph", "ids", "solution", "u1_hash")

    def __init__(self, ctx: bytes, adverts: Sequence[tuple[bytes, bytes]], params: Params) -> None:
        self.ctx = ctx
        self.ids = tuple(agent for agent, _ in adverts)
        self.u1_hash = digest("u1", ctx, list_bytes(agent + advert for agent, advert in adverts))
        self.solution = params.solve(len(self.ids))
        self.graph = Graph(self.ids, ctx, self.u1_hash, self.solution.k)
        self._rank = {agent: rank for rank, agent in enumerate(self.ids)}
        self._near: dict[bytes, tuple[bytes, ...]] = {}
        blank = canon("share-commit", ctx, self.u1_hash, bytes(16), bytes(16), bytes(1), bytes(32))
        self._commits = blank[:-81]  # what precedes the fields that differ

    def __len__(self) -> int:
        return len(self.ids)

    def rank(self, agent: bytes) -> int:
        return self._rank[agent]

    def neighbours(self, agent: bytes) -> tuple[bytes, ...]:
        """N_i in ascending order; kept, for the server asks at every stage."""
        if agent not in self._near:
            ranks = self.graph.neighbours(self._rank[agent])
            self._near[agent] = tuple(map(self.ids.__getitem__, ranks))
        return self._near[agent]

    def share_index(self, owner: bytes, holder: bytes) -> int:
        """x_{owner→holder} = 1 + rank of the holder among the owner's neighbours; 1..255."""
        return 1 + self.graph.position(self._rank[owner], self._rank[holder])

    def bitmap(self, members: Iterable[bytes]) -> bytes:
        bits = self._members(members)
        return np.packbits(bits, bitorder="little").tobytes()

    def read_bitmap(self, data: bytes) -> Sets:
        """Raise Malformed for another length or a padding bit."""
        n = len(self.ids)
        if len(data) != (n + 7) // 8:
            raise Malformed(f"a bitmap of {len(data)} bytes for {n} agents")
        bits = np.unpackbits(np.frombuffer(data, np.uint8), bitorder="little")
        if bits[n:].any():
            raise Malformed("a bitmap with padding bits set")
        return frozenset(self.ids[rank] for rank in np.flatnonzero(bits[:n]))

    def u2_hash(self, u2: Iterable[bytes]) -> bytes:
        return digest("u2", self.ctx, self.u1_hash, self.bitmap(u2))

    def u3_hash(self, u3: Iterable[bytes]) -> bytes:
        return digest("u3", self.ctx, self.u1_hash, self.bitmap(u3))

    def commitment(self, owner: bytes, holder: bytes, kind: int, share: bytes) -> bytes:
        """The first 16 bytes of H("share-commit", ctx, u1_hash, owner, holder, u8 kind, share).

        Spelled here and not by canon(): an agent makes and checks 4k of them, the server n·k.
        """
        spelled = b"".join((self._commits, _ID, owner, _ID, holder, _KIND[kind], share))
        return hashlib.sha256(spelled).digest()[:16]

    def commitments(self, owner: bytes, holder: bytes, seed: bytes, secret: bytes) -> bytes:
        """What a pair of shares travels beside: the commitments of kind 1 and kind 2."""
        return self.commitment(owner, holder, 1, seed) + self.commitment(owner, holder, 2, secret)

    def shares_message(self, agent: bytes, sealed: bytes) -> bytes:
        hashed = hashlib.sha256(sealed).digest()
        return canon("shares", self.ctx, self.u1_hash, agent, hashed)

    def masked_message(
        self, u2_hash: bytes, agent: bytes, packed: bytes | bytearray | memoryview
    ) -> bytes:
        hashed = hashlib.sha256(packed).digest()
        return canon("masked", self.ctx, self.u1_hash, u2_hash, agent, hashed)

    def agree_message(self, u2_hash: bytes, u3_hash: bytes) -> bytes:
        return canon("agree", self.ctx, self.u1_hash, u2_hash, u3_hash)

    def unmask_message(self, u2_hash: bytes, u3_hash: bytes, agent: bytes, shares: bytes) -> bytes:
        hashed = hashlib.sha256(shares).digest()
        return canon("unmask", self.ctx, self.u1_hash, u2_hash, u3_hash, agent, hashed)

    def thin(self, live: Iterable[bytes], of: Iterable[bytes]) -> list[bytes]:
        """Those of `of` with fewer than t neighbours in `live`: nobody could unmask them."""
        counts = self.graph.count(self._members(live))
        return [agent for agent in of if counts[self._rank[agent]] < self.solution.t]

    def narrow(self, live: Iterable[bytes], of: Iterable[bytes]) -> list[bytes]:
        """Those of `of` with at most h members of `live` in a half window; [] when complete.

        This rule is what keeps a lying coordinator from cutting the ring into two sums.
        """
        if self.solution.h is None:
            return []
        after, before = self.graph.windows(self._members(live))
        least = np.minimum(after, before)
        return [agent for agent in of if least[self._rank[agent]] <= self.solution.h]

    def _members(self, agents: Iterable[bytes]) -> Members:
        members = np.zeros(len(self.ids), np.bool_)
        members[[self._rank[agent] for agent in agents]] = True
        return members
