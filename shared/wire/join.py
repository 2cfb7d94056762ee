"""What a device and the join desk say to each other at POST /v1/join (docs/protocol.md, "Joining").

The request proves two things over the same canonical bytes: that the device holds the token's
secret (HMAC, keyed with a hash of the secret so that the coordinator need not store the secret)
and that it holds the identity key it wants enrolled (Ed25519).
"""

import base64
import hashlib
import hmac
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, ClassVar, Literal

from pydantic import Base64Bytes, BaseModel, ConfigDict, Field

from edgeveil.shared.base.errors import ProtocolError, RefusalCode
from edgeveil.shared.base.names import NAME
from edgeveil.shared.base.peer_json import PeerJson
from edgeveil.shared.secagg.primitives.canonical import u16
from edgeveil.shared.wire.canonical import canon
from edgeveil.shared.wire.identity import Signer, verify
from edgeveil.shared.wire.messages import PROTOCOL
from edgeveil.shared.wire.roster import SignedRoster

PATH = "/v1/join"
MAX_REQUEST = 16 << 10  # bytes
MAX_ANSWER = 2 << 20  # bytes; a roster of 10,000 members has 0.7 MB in base64

Name = Annotated[str, Field(pattern=rf"^{NAME.pattern}$")]


def _hex(size: int) -> object:
    return Field(pattern=rf"^[0-9a-f]{{{2 * size}}}$")


class JoinCode(StrEnum):
    """Every reason the desk may give for a no."""

    MALFORMED = "malformed"
    TOO_LARGE = "too_large"
    RATE = "rate"
    VERSION = "version"
    TOKEN_UNKNOWN = "token_unknown"  # noqa: S105 - a code, as those below
    TOKEN_EXPIRED = "token_expired"  # noqa: S105
    TOKEN_VOID = "token_void"  # noqa: S105
    TOKEN_USED = "token_used"  # noqa: S105
    PROOF = "proof"
    NAME = "name"
    SIGNATURE = "signature"
    NODE_KEY = "node_key"
    TAKEN = "taken"
    REVOKED = "revoked"
    UNAVAILABLE = "unavailable"


class JoinRequest(PeerJson):
    """Binary values in hex; `node_public` is the PEM of a P-256 key, `software` our version."""

    called: ClassVar[str] = "a join request"

    protocol: int = Field(ge=0, le=65535)
    token_id: Annotated[str, _hex(16)]
    name: Name
    identity_public: Annotated[str, _hex(32)]
    node_public: str = Field(max_length=512)
    software: str = Field(pattern=r"^[0-9A-Za-z.+-]{1,40}$")
    proof: Annotated[str, _hex(32)] = Field(repr=False)
    signature: Annotated[str, _hex(64)]

    @classmethod
    def make(
        cls,
        *,
        token_id: bytes,
        proof_key: bytes,
        name: str,
        signer: Signer,
        node_public: bytes,
        software: str,
    ) -> "JoinRequest":
        unproved = cls(
            protocol=PROTOCOL,
            token_id=token_id.hex(),
            name=name,
            identity_public=signer.public.hex(),
            node_public=node_public.decode("ascii"),
            software=software,
            proof="0" * 64,
            signature="0" * 128,
        )
        message = unproved.message()
        proof = hmac.digest(proof_key, message, hashlib.sha256).hex()
        return unproved.model_copy(update={"proof": proof, "signature": signer.sign(message).hex()})

    def encode(self) -> bytes:
        return self.model_dump_json().encode("utf-8")

    def check_proof(self, proof_key: bytes) -> None:
        """Raise ProtocolError unless the sender holds the token's secret."""
        expected = hmac.digest(proof_key, self.message(), hashlib.sha256)
        if not hmac.compare_digest(expected, bytes.fromhex(self.proof)):
            raise ProtocolError(RefusalCode.KEY_INVALID, "the proof of the token is wrong")

    def check_signature(self) -> None:
        """Raise ProtocolError unless the sender holds the identity key."""
        identity = bytes.fromhex(self.identity_public)
        signature = bytes.fromhex(self.signature)
        code = RefusalCode.KEY_INVALID
        verify(identity, signature, self.message(), code=code, who=self.name)

    def message(self) -> bytes:
        """What token and identity prove."""
        return canon(
            "join",
            u16(self.protocol),
            bytes.fromhex(self.token_id),
            self.name.encode("ascii"),
            bytes.fromhex(self.identity_public),
            self.node_public.encode("utf-8"),
            self.software.encode("ascii"),
        )


@dataclass(frozen=True, slots=True)
class Keys:
    """The public keys (32 bytes) a device is to pin."""

    coordinator: bytes
    federation: bytes

    def as_json(self) -> dict[str, str]:
        return {
            "coordinator_public": self.coordinator.hex(),
            "federation_public": self.federation.hex(),
        }


class JoinAnswer(PeerJson):
    """A yes: `pending` until a signed roster holds the device, then `member` with that roster.

    The keys are those whose fingerprints the token names. `approved`: false while the operator has
    still to say yes to this device.
    """

    called: ClassVar[str] = "an answer to a join request"

    state: Literal["pending", "member"]
    agent_id: Annotated[str, _hex(16)]
    name: Name
    coordinator_public: Annotated[str, _hex(32)]
    federation_public: Annotated[str, _hex(32)]
    approved: bool = True
    roster_body: Base64Bytes = b""
    roster_signature: Base64Bytes = b""

    @staticmethod
    def pending(agent_id: bytes, name: str, keys: Keys, *, approved: bool) -> dict[str, object]:
        who = {"state": "pending", "agent_id": agent_id.hex(), "name": name}
        return {**who, "approved": approved, **keys.as_json()}

    @staticmethod
    def member(agent_id: bytes, name: str, keys: Keys, roster: SignedRoster) -> dict[str, object]:
        return {
            "state": "member",
            "agent_id": agent_id.hex(),
            "name": name,
            "roster_body": base64.b64encode(roster.roster.body()).decode("ascii"),
            "roster_signature": base64.b64encode(roster.signature).decode("ascii"),
            **keys.as_json(),
        }


class JoinRefusal(BaseModel):
    """A no, with a code the device turns into a sentence of its own."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    code: JoinCode
