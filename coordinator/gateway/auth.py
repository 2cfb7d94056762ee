"""Who is asking: the checks on a request before anything acts on it (docs/transport.md, "Gateway").

Order: the address's rate, roster, time, Flower's signature over the time, the agent's rate, session; then the body is read; then
the identity's signature over the whole request and its nonce. Only a request that passed all of it
advances the session, so nobody without the identity key can push a real agent out.
"""

import base64
import binascii
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

from edgeveil.coordinator.federation.rate_limit import RateLimiter
from edgeveil.coordinator.gateway.nodes import Node, Nodes
from edgeveil.coordinator.gateway.nonces import Nonces
from edgeveil.coordinator.gateway.vocabulary import GatewaySettings, Reason, Rejected
from edgeveil.coordinator.machine.transport import Log
from edgeveil.shared.base.clock import Clock
from edgeveil.shared.events.log import Event
from edgeveil.shared.wire.messages import VERSIONS
from edgeveil.shared.wire.request_signature import (
    PROTOCOL_HEADER,
    SESSION_HEADER,
    SIGNATURE_HEADER,
    BadSignature,
    Session,
    check,
)

KEY_HEADER = "flwr-public-key"
TIME_HEADER = "flwr-timestamp"
TRIPLE_HEADER = "flwr-signature"
FORWARDED = (KEY_HEADER, TIME_HEADER, TRIPLE_HEADER)
_HEADERS = (*FORWARDED, SESSION_HEADER, SIGNATURE_HEADER, PROTOCOL_HEADER)
_MOST_HEADER_BYTES = 1024
_ALARMS, _ALARM_S = (
    3,
    3600.0,
)  # of one device at once, and then one in so many seconds: a device that plays
_MOST_ALARMED = 10_000  # its own copy under ever higher counters must not rotate the log away
_SPARE_S = 60.0  # nonces are kept longer than their window
_SPOKEN = frozenset(str(number) for number in range(VERSIONS.oldest, VERSIONS.newest + 1))


@dataclass(frozen=True, slots=True)
class Claim:
    """A request whose headers are in order and whose body has not been read yet."""

    node: Node
    session: Session
    signed: float  # Unix seconds, by the agent's clock
    headers: Mapping[str, str]

    def forwarded(self) -> dict[str, str]:
        """Flower's own headers; ours end here."""
        return {name: self.headers[name] for name in FORWARDED}


class Authenticator:
    """Used in the gateway's thread only."""

    def __init__(self, nodes: Nodes, settings: GatewaySettings, clock: Clock, log: Log) -> None:
        self._nodes = nodes
        self._settings = settings
        self._clock = clock
        self._log = log
        self._agents = RateLimiter(settings.rate_per_agent, settings.burst_per_agent, clock)
        self._addresses = RateLimiter(settings.rate_per_address, settings.burst_per_address, clock)
        self._alarms = RateLimiter(1 / _ALARM_S, _ALARMS, clock, most=_MOST_ALARMED)
        window = settings.oldest_s + settings.newest_s
        self._nonces = Nonces(window + _SPARE_S, clock)

    def claim(
        self, raw: Iterable[tuple[bytes, bytes]], address: str, *, aside: bool = False
    ) -> Claim:
        """Check the headers alone; raises Rejected.

        `aside`: a question beside the agent's session, which it neither continues nor ends.
        """
        if not self._addresses.allow(address):
            raise Rejected(Reason.RATE)
        headers = _auth_headers(raw)
        key = _decode(headers[KEY_HEADER])
        node = self._nodes.find(key)
        if node is None:
            known = self._nodes.was_revoked(key)
            raise Rejected(Reason.REVOKED if known else Reason.UNKNOWN_KEY)
        if headers[PROTOCOL_HEADER] not in _SPOKEN:
            raise Rejected(Reason.VERSION)
        signed = self.check_time(headers[TIME_HEADER])
        _check_triple(node, headers)
        # Not before: whoever knows the public key alone could use up the agent's rate.
        if not self._agents.allow(node.member.name):
            raise Rejected(Reason.RATE)
        try:
            session = Session.parse(headers[SESSION_HEADER])
        except BadSignature as error:
            raise Rejected(Reason.SIGNATURE) from error
        if not aside:
            self._check_session(node, session)
        if session == node.session:
            session = node.session  # one object, for it is kept beside nonces
            if signed <= node.forgotten:
                raise Rejected(Reason.CLOCK_SKEW)  # our clock went back, past nonces we gave up
        return Claim(node, session, signed, headers)

    def check_time(self, timestamp: str) -> float:
        """The time in Unix seconds.

        Raises Rejected(clock_skew) outside −300…+5 s, which lies inside Flower's own window.
        """
        try:
            signed = datetime.fromisoformat(timestamp)
            seconds = signed.astimezone(UTC).timestamp()
        except (ValueError, OverflowError, OSError) as error:
            raise Rejected(Reason.SIGNATURE) from error
        if signed.tzinfo is None:
            raise Rejected(Reason.SIGNATURE)
        if not -self._settings.newest_s < self._clock.wall() - seconds <= self._settings.oldest_s:
            raise Rejected(Reason.CLOCK_SKEW)
        return seconds

    @staticmethod
    def verify(claim: Claim, path: str, body: bytes) -> bytes:
        """The nonce of the identity's signature over this very request; raises Rejected.

        Takes milliseconds of SHA-256 for a large body, so it may run in a worker thread.
        """
        try:
            return check(
                claim.node.identity,
                claim.headers[SIGNATURE_HEADER],
                path,
                body,
                timestamp=claim.headers[TIME_HEADER],
                session=claim.headers[SESSION_HEADER],
            )
        except BadSignature as error:
            raise Rejected(Reason.SIGNATURE) from error

    def admit_aside(self, claim: Claim, nonce: bytes) -> None:
        """As admit(), but for the session."""
        if not self._nonces.use(nonce, claim.node, claim.session, claim.signed):
            raise Rejected(Reason.SIGNATURE)
        if claim.node.revoked:
            raise Rejected(Reason.REVOKED)

    def admit(self, claim: Claim, nonce: bytes) -> bool:
        """Let the session in, fencing older ones; True if it is newer than any before."""
        self.admit_aside(claim, nonce)
        node = claim.node
        with self._nodes.lock:
            if node.revoked:
                raise Rejected(Reason.REVOKED)
            self._check_session(node, claim.session)
            newer = node.session is None or claim.session > node.session
            if newer:
                node.forgotten = float("-inf")
                node.condition = None
            node.session = claim.session
            node.seen(self._clock)
            return newer

    def _check_session(self, node: Node, session: Session) -> None:
        known = node.session
        if known is None or session == known or session.counter > known.counter:
            return
        twin = session.counter == known.counter and node.alarmed != session.counter
        if twin and self._alarms.allow(node.member.name):
            node.alarmed = session.counter  # one alarm each, or the copy could flood the log
            self._log(Event.SESSION_CLONE, level="alarm", agent=node.member.name)
        raise Rejected(Reason.SUPERSEDED)


def _auth_headers(raw: Iterable[tuple[bytes, bytes]]) -> dict[str, str]:
    found: dict[str, str] = {}
    for name_bytes, value in raw:
        name = name_bytes.decode("latin-1").lower()
        if name not in _HEADERS:
            continue
        if name in found or len(value) > _MOST_HEADER_BYTES or not value.isascii():
            raise Rejected(Reason.SIGNATURE)
        found[name] = value.decode("ascii")
    if len(found) != len(_HEADERS):
        raise Rejected(Reason.SIGNATURE)
    return found


def _decode(value: str) -> bytes:
    try:
        return base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError) as error:
        raise Rejected(Reason.SIGNATURE) from error


def _check_triple(node: Node, headers: Mapping[str, str]) -> None:
    signature = _decode(headers[TRIPLE_HEADER])
    signed = headers[TIME_HEADER].encode("ascii")
    try:
        node.transport_key.verify(signature, signed, ec.ECDSA(hashes.SHA256()))
    except InvalidSignature as error:
        raise Rejected(Reason.SIGNATURE) from error
