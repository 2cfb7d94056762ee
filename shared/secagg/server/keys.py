"""The server's first stages: collect adverts (M1 → U1), hand out the cohort, collect shares (M2 → U2)."""

from collections.abc import Mapping
from typing import TypeAlias

from edgeveil.shared.secagg.agreement import messages
from edgeveil.shared.secagg.agreement.cohort import Cohort, advert_hash, advert_message
from edgeveil.shared.secagg.agreement.messages import Advert, ShareReply
from edgeveil.shared.secagg.primitives import keys
from edgeveil.shared.secagg.primitives.errors import Aborted, Code, Infeasible, PeerFault
from edgeveil.shared.secagg.server.masking import CollectMasked
from edgeveil.shared.secagg.server.quorum import lacking
from edgeveil.shared.secagg.server.stage import Bulk, ServerSetup, Stage, too_small

Adverts: TypeAlias = Mapping[bytes, Advert]


class CollectAdverts(Stage):
    """M1: signed public keys of all agents that trained."""

    def __init__(self, setup: ServerSetup) -> None:
        super().__init__(setup, setup.members)
        self._adverts: dict[bytes, Advert] = {}
        self._keys: set[bytes] = set()

    def close(self) -> "CollectShares":
        self._finish()
        adverts = {agent: self._adverts[agent] for agent in sorted(self._adverts)}
        listed = [
            (agent, advert_hash(self._setup.ctx, agent, one.channel_key, one.mask_key, one.weight))
            for agent, one in adverts.items()
        ]
        cohort = Cohort(self._setup.ctx, listed, self._setup.params)
        return CollectShares(self._setup, cohort, adverts, tuple(listed))

    def _take(self, agent: bytes, body: bytes, bulk: Bulk | None) -> None:
        self._without_bulk(bulk)
        advert = Advert.decode(body)
        if advert.agent_id != agent:
            raise PeerFault(Code.NOT_MEMBER, "an advert under another's id", agent=agent)
        ctx = self._setup.ctx
        if advert.ctx != ctx:
            raise PeerFault(Code.CTX_MISMATCH, "an advert for another attempt", agent=agent)
        publics = {advert.channel_key, advert.mask_key}
        if len(publics) != 2 or publics & self._keys:
            raise PeerFault(Code.KEY_INVALID, "a public key occurs twice", agent=agent)
        most = self._setup.params.weight_max
        if not 1 <= advert.weight <= most:
            raise PeerFault(
                Code.POLICY_VECTOR,
                f"a weight of {advert.weight}, allowed are 1..{most}",
                agent=agent,
            )
        message = advert_message(ctx, agent, advert.channel_key, advert.mask_key, advert.weight)
        self._setup.verify(agent, advert.signature, message, Code.ADVERT_SIGNATURE)
        try:
            for public in publics:
                keys.check_public(public)
        except keys.BadKey as error:
            raise PeerFault(Code.KEY_INVALID, str(error), agent=agent) from error
        self._adverts[agent] = advert
        self._keys |= publics

    def _problem(self) -> Aborted | None:
        members = frozenset(self._adverts)
        problem = too_small(members, "U1", self._setup.params)
        if problem is not None:
            return problem
        try:
            self._setup.params.solve(len(members))
        except Infeasible as error:
            return Aborted(error.code, str(error))
        return None


class CollectShares(Stage):
    """M2: each agent's shares, sealed for its neighbours, and its commitments to them."""

    def __init__(
        self,
        setup: ServerSetup,
        cohort: Cohort,
        adverts: Adverts,
        listed: tuple[tuple[bytes, bytes], ...],
    ) -> None:
        super().__init__(setup, cohort.ids)
        self._cohort = cohort
        self._adverts = adverts
        self._listed = listed
        self._forwarded = {
            agent: messages.Neighbour(
                agent, one.channel_key, one.mask_key, one.weight, one.signature
            )
            for agent, one in adverts.items()
        }
        self._replies: dict[bytes, ShareReply] = {}

    def requests(self) -> dict[bytes, bytes]:
        return {agent: self._request(agent) for agent in self._cohort.ids}

    def close(self) -> CollectMasked:
        self._finish()
        return CollectMasked(self._setup, self._cohort, self._adverts, self._replies)

    def _request(self, agent: bytes) -> bytes:
        solution = self._cohort.solution
        neighbours = tuple(self._forwarded[peer] for peer in self._cohort.neighbours(agent))
        return messages.ShareRequest(
            self._listed, neighbours, solution.k, solution.t, solution.h or 0, solution.quorum
        ).encode()

    def _take(self, agent: bytes, body: bytes, bulk: Bulk | None) -> None:
        self._without_bulk(bulk)
        reply = ShareReply.decode(body, self._setup.params.n_max)
        receivers = tuple(receiver for receiver, *_ in reply.sealed)
        if receivers != self._cohort.neighbours(agent):
            raise PeerFault(
                Code.GRAPH_MISMATCH, "shares for others than the neighbours", agent=agent
            )
        listed = messages.sealed_list(reply.sealed)
        message = self._cohort.shares_message(agent, listed)
        self._setup.verify(agent, reply.signature, message, Code.KEY_INVALID)
        self._replies[agent] = reply

    def _problem(self) -> Aborted | None:
        u2 = frozenset(self._replies)
        return too_small(u2, "U2", self._setup.params) or lacking(self._cohort, u2, u2, u2, "U2")
