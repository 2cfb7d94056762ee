"""Invitations and the join desk: how a device gets from a token to the list of the enrolled.

The desk cannot admit anybody to the federation: only a roster signed by the offline federation key
does (coordinator.federation.roster_files). Until then a joined device is told that it is pending.
"""

import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_public_key

from edgeveil.coordinator.federation.rate_limit import RateLimiter
from edgeveil.coordinator.records.records import EnrolledAgent, Invite, InviteState
from edgeveil.coordinator.store.store import Store
from edgeveil.shared.base import errors
from edgeveil.shared.base.clock import Clock, SystemClock
from edgeveil.shared.base.names import check_name
from edgeveil.shared.events.log import Event, EventLog, Level
from edgeveil.shared.wire.join import MAX_REQUEST, JoinAnswer, JoinCode, JoinRequest, Keys
from edgeveil.shared.wire.messages import VERSIONS
from edgeveil.shared.wire.roster import agent_id
from edgeveil.shared.wire.tokens import Token, fingerprint

LONGEST_S = 366 * 86_400.0
WRONG_PROOFS = 5  # then the token is void
TOLD, TOLD_S = (
    10,
    3600.0,
)  # refusals of one name in the log at once, and then one in so many seconds
PER_SECOND, BURST = 10.0, 60.0  # join requests of one address; waiting devices ask every 3 s

_ANSWERS = {
    JoinCode.MALFORMED: (400, "the body is not a join request"),
    JoinCode.TOO_LARGE: (413, f"a join request has at most {MAX_REQUEST} bytes"),
    JoinCode.RATE: (429, "too many join requests from this address"),
    JoinCode.VERSION: (400, f"this coordinator speaks protocol {VERSIONS}"),
    JoinCode.TOKEN_UNKNOWN: (401, "no such token; a newer one may have replaced it"),
    JoinCode.TOKEN_EXPIRED: (410, "the token has expired"),
    JoinCode.TOKEN_VOID: (410, "the token is void after too many wrong proofs"),
    JoinCode.TOKEN_USED: (409, "another device has used this token"),
    JoinCode.PROOF: (401, "the proof of the token is wrong"),
    JoinCode.NAME: (403, "the token was made for another name"),
    JoinCode.SIGNATURE: (401, "the identity signature is wrong"),
    JoinCode.NODE_KEY: (400, "the node key is not a P-256 public key in PEM"),
    JoinCode.TAKEN: (409, "the name or one of the keys is enrolled already"),
    JoinCode.REVOKED: (403, "this device was revoked"),
    JoinCode.UNAVAILABLE: (503, "the coordinator cannot answer now"),
}


def create_invites(
    store: Store,
    names: Sequence[str],
    *,
    ttl_s: float,
    url: str,
    authority: bytes,
    keys: Keys,
    hold: bool = False,
    offline: bool = False,
    clock: Clock | None = None,
) -> list[Token]:
    """One token per name; an unused token of the same name stops working.

    `authority` is the fingerprint of the CA certificate; with `hold` a device that joins waits for
    the operator's approval, `offline` says that the federation key is not on this machine.

    Raises:
        ConfigError: a bad or repeated name, no name, a lifetime that is not positive or over a year.
        EnrollmentError: a name is enrolled already; then no token is made.
    """
    if not names or len(set(names)) != len(names):
        raise errors.ConfigError("give each agent to be invited exactly once")
    if not 0 < ttl_s <= LONGEST_S:
        raise errors.ConfigError(
            f"a token must live longer than 0 s and at most a year, not {ttl_s:g} s"
        )
    expires = int((clock or SystemClock()).wall() + ttl_s)
    tokens = [
        Token(
            url=url,
            authority=authority,
            federation=fingerprint(keys.federation),
            coordinator=fingerprint(keys.coordinator),
            secret=os.urandom(16),
            expires=expires,
            name=check_name(name, "the agent name"),
            offline=offline,
        )
        for name in names
    ]
    fresh = (expires, InviteState.OPEN)
    store.replace_invites(
        [Invite(one.token_id, one.name, one.proof_key, *fresh, hold=hold) for one in tokens]
    )
    return tokens


class _No(Exception):
    """Ends one request; never leaves this module."""

    def __init__(self, code: JoinCode) -> None:
        super().__init__(code)
        self.code = code


@dataclass(eq=False)
class JoinDesk:
    """Answers POST /v1/join. Thread-safe; never raises on anything a stranger can send."""

    store: Store
    keys: Keys
    events: EventLog | None = None
    clock: Clock = field(default_factory=SystemClock)

    def __post_init__(self) -> None:
        self._limiter = RateLimiter(PER_SECOND, BURST, self.clock)
        self._told = RateLimiter(1 / TOLD_S, TOLD, self.clock)

    def handle(self, body: bytes, address: str) -> tuple[int, dict[str, object]]:
        """(HTTP status, JSON object) for one request from `address`."""
        try:
            return 200, self._join(body, address)
        except _No as no:
            code = no.code
        except errors.EdgeveilError as error:
            # A locked or full database heals; a damaged one ends the coordinator at its next commit.
            code = JoinCode.UNAVAILABLE
            reason = "store.busy" if isinstance(error, errors.Busy) else "store.failed"
            self._emit(Event.JOIN_REFUSE, level="error", reason=reason)
        status, detail = _ANSWERS[code]
        return status, {"code": code.value, "detail": detail}

    def _join(self, body: bytes, address: str) -> dict[str, object]:
        if not self._limiter.allow(address):
            raise _No(JoinCode.RATE)
        request = _parse(body)
        invite = self.store.invite(bytes.fromhex(request.token_id))
        if invite is None:
            raise _No(JoinCode.TOKEN_UNKNOWN)
        self._check_invite(invite, request)
        agent = _check_keys(request, self.clock.wall())
        if invite.state is InviteState.OPEN:
            agent = self._enrol(invite, replace(agent, held=invite.hold))
        else:
            agent = self._known(invite, agent)
        return self._answer(agent)

    def _check_invite(self, invite: Invite, request: JoinRequest) -> None:
        """Raise _No unless the sender may go on with this invite, used or not."""
        if invite.state is InviteState.VOID:
            raise _No(JoinCode.TOKEN_VOID)
        if invite.state is InviteState.OPEN and self.clock.wall() >= invite.expires:
            raise _No(JoinCode.TOKEN_EXPIRED)
        try:
            request.check_proof(invite.proof_key)
        except errors.ProtocolError as error:
            self._emit(Event.JOIN_REFUSE, agent=invite.name, level="warning", reason=JoinCode.PROOF)
            if self.store.count_wrong_proof(invite.token_id, limit=WRONG_PROOFS):
                self._emit(Event.INVITE_VOID, agent=invite.name, level="alarm")
            raise _No(JoinCode.PROOF) from error
        if request.name != invite.name:
            raise _No(JoinCode.NAME)

    def _enrol(self, invite: Invite, agent: EnrolledAgent) -> EnrolledAgent:
        known = self.store.agent(agent.agent_id)
        if known is not None and known.revoked is not None:
            raise _No(JoinCode.REVOKED)
        try:
            self.store.redeem(invite.token_id, agent)
        except errors.EnrollmentError as error:
            # Two requests of one device may cross; the loser finds what the winner stored.
            now = self.store.invite(invite.token_id)
            if now is None or now.state is not InviteState.USED:
                raise _No(JoinCode.TAKEN) from error
            return self._known(now, agent)
        self._emit(Event.AGENT_JOIN, agent=agent.name, sync=True)
        return agent

    def _known(self, invite: Invite, agent: EnrolledAgent) -> EnrolledAgent:
        """The agent that used this invite, if the sender is the same one."""
        known = None if invite.agent_id is None else self.store.agent(invite.agent_id)
        if known is None or (known.identity_public, known.node_public) != (
            agent.identity_public,
            agent.node_public,
        ):
            self._emit(Event.INVITE_REUSE, agent=invite.name, level="alarm", sync=True)
            raise _No(JoinCode.TOKEN_USED)
        if known.revoked is not None:
            raise _No(JoinCode.REVOKED)
        return known

    def _answer(self, agent: EnrolledAgent) -> dict[str, object]:
        signed = self.store.roster()
        who = (agent.agent_id, agent.name, self.keys)
        if signed is None or agent.agent_id not in signed.roster.members:
            return JoinAnswer.pending(*who, approved=not agent.held)
        return JoinAnswer.member(*who, signed)

    def _emit(
        self,
        event: Event,
        *,
        level: Level = "info",
        agent: str = "",
        reason: str = "",
        sync: bool = False,
    ) -> None:
        """A log that cannot be written must not cost a device its answer.

        What a stranger can repeat is told some times and then now and then: it must not rotate the log away.
        """
        repeatable = event in {Event.JOIN_REFUSE, Event.INVITE_REUSE}
        if repeatable and not self._told.allow(f"{event}/{agent or reason}"):
            return
        if self.events is not None:
            with suppress(OSError):
                self.events.emit(event, level=level, agent=agent, reason=reason, sync=sync)


def _parse(body: bytes) -> JoinRequest:
    if len(body) > MAX_REQUEST:
        raise _No(JoinCode.TOO_LARGE)
    try:
        request = JoinRequest.decode(body)
    except errors.ProtocolError as error:
        raise _No(JoinCode.MALFORMED) from error
    if request.protocol not in VERSIONS:
        raise _No(JoinCode.VERSION)
    return request


def _check_keys(request: JoinRequest, now: float) -> EnrolledAgent:
    """The device as it would be enrolled; raises _No for a bad signature or node key."""
    try:
        request.check_signature()
    except errors.ProtocolError as error:
        raise _No(JoinCode.SIGNATURE) from error
    identity = bytes.fromhex(request.identity_public)
    node = _canonical_node_key(request.node_public)
    return EnrolledAgent(agent_id(identity), request.name, identity, node, joined=now)


def _canonical_node_key(text: str) -> bytes:
    """The key's PEM in its one spelling, since the gateway compares bytes."""
    try:
        sent = text.encode("ascii")
        key = load_pem_public_key(sent)
    except (ValueError, UnsupportedAlgorithm) as error:
        raise _No(JoinCode.NODE_KEY) from error
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP256R1):
        raise _No(JoinCode.NODE_KEY)
    if key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo) != sent:
        raise _No(JoinCode.NODE_KEY)
    return sent
