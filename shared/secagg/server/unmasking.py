"""The server's last stages: signatures on the survivors (M4 → V), then one share per peer (M5)."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from edgeveil.shared.secagg.agreement import messages
from edgeveil.shared.secagg.agreement.cohort import Cohort, Sets
from edgeveil.shared.secagg.agreement.result import Result, make_result
from edgeveil.shared.secagg.primitives.errors import Aborted, Code, PeerFault
from edgeveil.shared.secagg.primitives.ring import Ring
from edgeveil.shared.secagg.server import mask_removal as unmasking
from edgeveil.shared.secagg.server import recovery
from edgeveil.shared.secagg.server.quorum import lacking
from edgeveil.shared.secagg.server.stage import Bulk, ServerSetup, Stage


@dataclass(frozen=True, slots=True)
class Masked:
    """What is known after M3: the sets, the masked sum, and what shares and secrets must match.

    `commitments`: by owner, then holder, to the share of it that is due at M5.
    """

    cohort: Cohort
    u2: Sets
    u3: Sets
    mask_keys: Mapping[bytes, bytes] = field(repr=False)
    weights: Mapping[bytes, int] = field(repr=False)
    commitments: Mapping[bytes, Mapping[bytes, bytes]] = field(repr=False)
    total: Ring = field(repr=False)

    @property
    def u2_hash(self) -> bytes:
        return self.cohort.u2_hash(self.u2)

    @property
    def u3_hash(self) -> bytes:
        return self.cohort.u3_hash(self.u3)


class CollectAgreements(Stage):
    """M4: each survivor's one signature on (U2, U3)."""

    def __init__(self, setup: ServerSetup, masked: Masked) -> None:
        super().__init__(setup, masked.u3)
        self._masked = masked
        self._message = masked.cohort.agree_message(masked.u2_hash, masked.u3_hash)
        self._signatures: dict[bytes, bytes] = {}

    def requests(self) -> dict[bytes, bytes]:
        body = messages.AgreeRequest(self._masked.cohort.bitmap(self._masked.u3)).encode()
        return dict.fromkeys(sorted(self._masked.u3), body)

    def close(self) -> "CollectUnmasking":
        self._finish()
        return CollectUnmasking(self._setup, self._masked, self._signatures)

    def _take(self, agent: bytes, body: bytes, bulk: Bulk | None) -> None:
        self._without_bulk(bulk)
        reply = messages.AgreeReply.decode(body)
        self._setup.verify(agent, reply.signature, self._message, Code.KEY_INVALID)
        self._signatures[agent] = reply.signature

    def _problem(self) -> Aborted | None:
        signers = frozenset(self._signatures)
        return lacking(self._masked.cohort, signers, self._masked.u2, self._masked.u3, "V")


class CollectUnmasking(Stage):
    """M5: for each neighbour in U2 the share that takes its masks away.

    A share that is not the one its owner committed to proves that its holder lies: nothing of that
    answer is taken. The stage is quorate with t good answers per agent, whoever else lies.
    """

    def __init__(
        self, setup: ServerSetup, masked: Masked, signatures: Mapping[bytes, bytes]
    ) -> None:
        super().__init__(setup, signatures)
        self._masked = masked
        self._signatures = signatures
        self._answered: set[bytes] = set()
        self._liars: set[bytes] = set()
        self._shares: dict[bytes, dict[bytes, bytes]] = {agent: {} for agent in masked.u2}
        self._hashes = masked.u2_hash, masked.u3_hash

    def requests(self) -> dict[bytes, bytes]:
        rank = self._masked.cohort.rank
        listed = tuple((rank(agent), self._signatures[agent]) for agent in sorted(self._signatures))
        body = messages.UnmaskRequest(listed).encode()
        return dict.fromkeys(sorted(self._signatures), body)

    def close(self) -> Result:
        """The decoded sum.

        Raises:
            Aborted: QUORUM; SHARE_AUTH for a mask secret that does not fit; SUM_RANGE. In `guilty`
                all that were found to lie about shares.
        """
        try:
            self._finish()
            return self._open()
        except Aborted as error:
            error.guilty |= self._liars
            raise

    def _open(self) -> Result:
        masked = self._masked
        found = recovery.recover(
            masked.cohort, self._shares, masked.u3, masked.mask_keys, masked.commitments
        )
        self._liars |= found.liars
        unmasking.remove_masks(
            masked.total,
            unmasking.mask_keys(masked.cohort, masked.u2, masked.u3, masked.mask_keys, found),
            cipher=self._setup.params.cipher,
            parts=self._setup.parts,
            spread=self._setup.spread,
        )
        return make_result(
            masked.total,
            self._setup.params,
            masked.cohort,
            u2=masked.u2,
            u3=masked.u3,
            weights=masked.weights,
            liars=frozenset(self._liars),
        )

    def _take(self, agent: bytes, body: bytes, bulk: Bulk | None) -> None:
        self._without_bulk(bulk)
        masked = self._masked
        reply = messages.UnmaskReply.decode(body, self._setup.params.n_max)
        due = tuple(
            (peer, messages.SEED_SHARE if peer in masked.u3 else messages.SECRET_SHARE)
            for peer in masked.cohort.neighbours(agent)
            if peer in masked.u2
        )
        if tuple((owner, kind) for owner, kind, _ in reply.shares) != due:
            raise PeerFault(Code.GRAPH_MISMATCH, "shares of others than due", agent=agent)
        listed = messages.share_list(reply.shares)
        message = masked.cohort.unmask_message(*self._hashes, agent, listed)
        self._setup.verify(agent, reply.signature, message, Code.KEY_INVALID)
        self._check_commitments(agent, reply)
        for owner, _, share in reply.shares:
            self._shares[owner][agent] = share
        self._answered.add(agent)

    def _check_commitments(self, agent: bytes, reply: messages.UnmaskReply) -> None:
        """A share may fail only by its holder's lie: at M3 the holder checked it by the same hash."""
        cohort, commitments = self._masked.cohort, self._masked.commitments
        for owner, kind, share in reply.shares:
            if cohort.commitment(owner, agent, kind, share) != commitments[owner][agent]:
                self._liars.add(agent)
                raise PeerFault(
                    Code.SHARE_AUTH, "a share is not the one that was dealt", agent=agent
                )

    def _problem(self) -> Aborted | None:
        thin = self._masked.cohort.thin(self._answered, self._masked.u2)
        if not thin:
            return None
        return Aborted(Code.QUORUM, f"{len(thin)} agents lack shares to unmask them", agent=thin[0])
