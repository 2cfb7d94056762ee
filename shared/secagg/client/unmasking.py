"""The last states of a client session: agree on the survivors (M4), reveal one share each (M5).

docs/protocol.md, "Messages" M4, M5 and "Why M3–M5 look like this". The request of M5 names nobody:
whose share of which kind is revealed follows from the U2 and U3 this agent itself signed.
"""

from dataclasses import dataclass
from typing import ClassVar

from cryptography.exceptions import InvalidSignature

from edgeveil.shared.secagg.agreement import messages
from edgeveil.shared.secagg.agreement.cohort import Cohort, Sets
from edgeveil.shared.secagg.client.settings import Settings
from edgeveil.shared.secagg.primitives import keys
from edgeveil.shared.secagg.primitives.errors import Code, Refused
from edgeveil.shared.secagg.primitives.sealing import SharePair


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class Masked:
    name: ClassVar[str] = "MASKED"
    settings: Settings
    cohort: Cohort
    held: dict[bytes, SharePair]
    u2: Sets

    def agree(self, body: bytes) -> tuple[bytes, "Agreed"]:
        settings, cohort = self.settings, self.cohort
        u3 = cohort.read_bitmap(messages.AgreeRequest.decode(body).u3)
        if not u3 <= self.u2 or settings.own not in u3:
            raise Refused(Code.U3_INVALID, "U3 is not a part of U2 that holds this agent")
        settings.check_size(u3, "U3", len(cohort))
        if cohort.thin(u3, [settings.own]):
            raise Refused(Code.QUORUM, "too few neighbours in U3 to unmask this agent")
        message = cohort.agree_message(cohort.u2_hash(self.u2), cohort.u3_hash(u3))
        signature = settings.signer.sign(message)
        following = Agreed(settings, cohort, self.held, self.u2, u3)
        return messages.AgreeReply(signature).encode(), following

    def erase(self) -> None:
        self.held.clear()


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class Agreed:
    name: ClassVar[str] = "AGREED"
    settings: Settings
    cohort: Cohort
    held: dict[bytes, SharePair]
    u2: Sets
    u3: Sets

    def unmask(self, body: bytes) -> tuple[bytes, "Done"]:
        settings, cohort = self.settings, self.cohort
        request = messages.UnmaskRequest.decode(body, settings.params.n_max)
        settings.check_size(self.u3, "U3", len(cohort))
        self._check_quorum(self._verified(request))
        shares = tuple(
            (peer, messages.SEED_SHARE, pair.seed)
            if peer in self.u3
            else (peer, messages.SECRET_SHARE, pair.secret)
            for peer, pair in self.held.items()
        )
        message = cohort.unmask_message(
            cohort.u2_hash(self.u2),
            cohort.u3_hash(self.u3),
            settings.own,
            messages.share_list(shares),
        )
        reply = messages.UnmaskReply(shares, settings.signer.sign(message)).encode()
        self.erase()
        return reply, Done()

    def erase(self) -> None:
        self.held.clear()

    def _verified(self, request: messages.UnmaskRequest) -> Sets:
        """V: everyone whose signature on our own (U2, U3) verifies; one bad signature refuses."""
        cohort = self.cohort
        message = cohort.agree_message(cohort.u2_hash(self.u2), cohort.u3_hash(self.u3))
        signers = {self.settings.own}
        for position, signature in request.signatures:
            if position >= len(cohort) or cohort.ids[position] not in self.u3:
                raise Refused(Code.U3_INVALID, f"position {position} signs without being in U3")
            agent = cohort.ids[position]
            try:
                keys.verifies(self.settings.members[agent], signature, message)
            except InvalidSignature as error:
                raise Refused(
                    Code.QUORUM, "a signature on (U2, U3) does not verify", agent=agent
                ) from error
            signers.add(agent)
        return frozenset(signers)

    def _check_quorum(self, signers: Sets) -> None:
        """The three rules of M5; without them two sums could be revealed from one cohort."""
        cohort = self.cohort
        if len(signers) < cohort.solution.quorum:
            raise Refused(
                Code.QUORUM, f"{len(signers)} signatures, {cohort.solution.quorum} are due"
            )
        if cohort.thin(signers, self.u2):
            raise Refused(Code.QUORUM, "an agent of U2 has too few signers among its neighbours")
        if cohort.narrow(signers, self.u3):
            raise Refused(Code.WINDOW, "a half window of the ring has too few signers")


class Done:
    name: ClassVar[str] = "DONE"

    def erase(self) -> None:
        """Nothing is left to forget."""
