"""The application protocol, version 2: what coordinator and agent say, free of any transport.

A Request goes from the coordinator to one agent, a Reply comes back. `body` is the canonical
encoding of the stage's own message (RoundOffer and PreflightQuestion here, the others in
shared.secagg.agreement.messages);
`bulk` carries the model down (ROUND) or the masked vector up (MASKED) as raw little-endian bytes; beside it
`frozen` carries the part of the model that training leaves as it is, where the plan's model has one.
Both directions are signed, since Flower's node id alone proves nothing (docs/threat-model.md).
"""

import hashlib
import struct
from dataclasses import dataclass, field
from enum import StrEnum

from edgeveil.shared.base.errors import Blame, ProtocolError, RefusalCode
from edgeveil.shared.secagg.primitives.canonical import (
    Malformed,
    list_bytes,
    parse_list,
    u16,
    u32,
    u64,
    uint,
)
from edgeveil.shared.wire.canonical import canon, first, parse
from edgeveil.shared.wire.identity import Signer, verify
from edgeveil.shared.wire.versions import Versions

PROTOCOL = 2
VERSIONS = Versions(oldest=2, newest=PROTOCOL)  # what this release speaks, on either side
MAX_BODY = 4 << 20  # bytes; the largest honest body is an n=128 share request of about 30 KB
MAX_TENSORS = 4096
# What a refusal of these codes may say beside its code, in exactly so many bytes.
REFUSAL_BYTES = {
    RefusalCode.SHARE_AUTH: 16,  # the id of the agent whose sealed shares are not good
    RefusalCode.VERSION: 4,  # Versions the agent speaks
    RefusalCode.ROUND_REPLAY: 12,  # Attempt.position(): where the agent has been in that run
    RefusalCode.POLICY_SIZE: 4,  # u32 n_ref of the agent
    RefusalCode.ROSTER_STALE: 8,  # u64 epoch of the roster the agent holds
}
NONCE_BYTES = 16
HASH_BYTES = 32


class Stage(StrEnum):
    """The five exchanges; the value is Flower's message type."""

    ROUND = "train.round"
    SHARE = "query.share"
    MASKED = "query.masked"
    AGREE = "query.agree"
    UNMASK = "query.unmask"


class Asking(StrEnum):
    """What is asked outside the exchanges of an attempt; the value is Flower's message type."""

    PREFLIGHT = "query.preflight"


Kind = Stage | Asking


@dataclass(frozen=True, slots=True, order=True)
class Attempt:
    """One try of one round with fresh keys. `round` and `attempt` count from 1."""

    run_id: str
    round: int
    attempt: int

    def encode(self) -> bytes:
        return canon("attempt", self.run_id.encode("ascii"), u64(self.round), u32(self.attempt))

    def position(self) -> bytes:
        """Twelve bytes: u64 round ‖ u32 attempt."""
        return u64(self.round) + u32(self.attempt)

    def __str__(self) -> str:
        return f"{self.run_id} round {self.round} attempt {self.attempt}"


@dataclass(frozen=True, slots=True)
class Request:
    stage: Kind
    attempt: Attempt
    body: bytes
    signature: bytes  # the coordinator's, over request_bytes()
    bulk: bytes | memoryview | None = field(default=None, repr=False)
    frozen: bytes | memoryview | None = field(default=None, repr=False)  # only beside a bulk


@dataclass(frozen=True, slots=True)
class Reply:
    stage: Kind
    attempt: Attempt
    body: bytes  # in a refusal empty, or what REFUSAL_BYTES allows
    refusal: RefusalCode | None
    signature: bytes  # the agent's, over reply_bytes()
    bulk: bytes | memoryview | None = field(default=None, repr=False)


def request_bytes(agent_id: bytes, stage: Kind, attempt: Attempt, body: bytes) -> bytes:
    """What the coordinator signs; the model itself is bound by the offer's context signature."""
    return canon(
        "request", agent_id, stage.encode("ascii"), attempt.encode(), hashlib.sha256(body).digest()
    )


def reply_bytes(
    agent_id: bytes, stage: Kind, attempt: Attempt, body: bytes, refusal: RefusalCode | None
) -> bytes:
    """What the agent signs; the masked vector itself is bound by the signature inside `body`."""
    code = b"" if refusal is None else refusal.encode("ascii")
    return canon(
        "reply",
        agent_id,
        stage.encode("ascii"),
        attempt.encode(),
        hashlib.sha256(body).digest(),
        code,
    )


def make_request(  # noqa: PLR0917 - the parts of a request in the order of its encoding
    signer: Signer,
    agent_id: bytes,
    stage: Kind,
    attempt: Attempt,
    body: bytes,
    bulk: bytes | memoryview | None = None,
    frozen: bytes | memoryview | None = None,
) -> Request:
    signature = signer.sign(request_bytes(agent_id, stage, attempt, body))
    return Request(stage, attempt, body, signature, bulk, frozen)


def make_reply(
    signer: Signer,
    agent_id: bytes,
    request: Request,
    body: bytes,
    bulk: bytes | memoryview | None = None,
) -> Reply:
    signature = signer.sign(reply_bytes(agent_id, request.stage, request.attempt, body, None))
    return Reply(request.stage, request.attempt, body, None, signature, bulk)


def make_refusal(
    signer: Signer, agent_id: bytes, request: Request, code: RefusalCode, about: bytes = b""
) -> Reply:
    """`about` is empty, or what REFUSAL_BYTES allows for this code."""
    signature = signer.sign(reply_bytes(agent_id, request.stage, request.attempt, about, code))
    return Reply(request.stage, request.attempt, about, code, signature)


def refusal_fits(code: RefusalCode, body: bytes) -> bool:
    """Whether a refusal may carry these bytes: none, or the fixed number its code allows."""
    return len(body) in {0, REFUSAL_BYTES.get(code, 0)}


def check_request(request: Request, coordinator_public: bytes, agent_id: bytes) -> None:
    """Raise ProtocolError(COORDINATOR_UNKNOWN) unless our pinned coordinator addressed this to us."""
    message = request_bytes(agent_id, request.stage, request.attempt, request.body)
    verify(
        coordinator_public,
        request.signature,
        message,
        code=RefusalCode.COORDINATOR_UNKNOWN,
        who="the coordinator",
    )


def check_reply(reply: Reply, identity_public: bytes, agent_id: bytes, name: str) -> None:
    """Raise ProtocolError(KEY_INVALID) unless the roster member `name` itself sent this."""
    message = reply_bytes(agent_id, reply.stage, reply.attempt, reply.body, reply.refusal)
    verify(identity_public, reply.signature, message, code=RefusalCode.KEY_INVALID, who=name)


@dataclass(frozen=True, slots=True)
class Tensor:
    """One trainable parameter in the model vector: float32, row-major, `name` as the model has it."""

    name: str
    shape: tuple[int, ...]

    def encode(self) -> bytes:
        return canon("tensor", self.name.encode("ascii"), b"".join(u32(n) for n in self.shape))

    @classmethod
    def decode(cls, data: bytes) -> "Tensor":
        name, dims = parse("tensor", data, 2)
        if len(dims) % 4 or len(dims) > 32:
            raise Malformed("a tensor has at most 8 dimensions of 4 bytes")
        return cls(
            name.decode("ascii"), tuple(int(n) for n in struct.unpack(f">{len(dims) // 4}I", dims))
        )


@dataclass(frozen=True, slots=True)
class RoundOffer:
    """M1, coordinator → agent: the proposal for one attempt. The model travels as bulk.

    `versions` are the protocols the coordinator speaks, `shard` is the agent's part of the cohort.
    `ledger_echo` is the highest signed ledger head the coordinator holds of this agent, or empty.
    `roster_body` and `roster_signature` are always present; an agent that knows them skips them.
    """

    task_id: str
    task_version: str
    code_hash: bytes
    shard: int
    params: bytes
    plan_json: bytes
    roster_body: bytes
    roster_signature: bytes
    tensors: tuple[Tensor, ...]
    ledger_echo: bytes
    deadline_ms: int
    open_signature: bytes  # the coordinator's Sig("open", ctx)
    versions: Versions = VERSIONS

    def encode(self) -> bytes:
        return canon(
            "round-offer",
            self.versions.encode(),
            self.task_id.encode("ascii"),
            self.task_version.encode("ascii"),
            self.code_hash,
            u32(self.shard),
            self.params,
            self.plan_json,
            self.roster_body,
            self.roster_signature,
            list_bytes(tensor.encode() for tensor in self.tensors),
            self.ledger_echo,
            u64(self.deadline_ms),
            self.open_signature,
        )

    @classmethod
    def decode(cls, data: bytes) -> "RoundOffer":
        """Parse; raises ProtocolError(MALFORMED), or (VERSION) when no version is common.

        Of another version's offer only the first field is read, so its layout may differ.
        """
        try:
            versions = Versions.decode(first("round-offer", data))
            VERSIONS.agree(versions)
            fields = parse("round-offer", data, 13)
            return cls(
                task_id=fields[1].decode("ascii"),
                task_version=fields[2].decode("ascii"),
                code_hash=fields[3],
                shard=uint(fields[4], 4),
                params=fields[5],
                plan_json=fields[6],
                roster_body=fields[7],
                roster_signature=fields[8],
                tensors=tuple(
                    Tensor.decode(item) for item in parse_list(fields[9], most=MAX_TENSORS)
                ),
                ledger_echo=fields[10],
                deadline_ms=uint(fields[11], 8),
                open_signature=fields[12],
                versions=versions,
            )
        except (Malformed, UnicodeDecodeError) as error:
            raise ProtocolError(
                RefusalCode.MALFORMED, f"round offer: {error}", blame=Blame.PEER
            ) from error


@dataclass(frozen=True, slots=True)
class RoundAccept:
    """M1 reply, agent → coordinator: the signed advert (shared.secagg) and the signed ledger head.

    `version` is the protocol the agent chose among those offered.
    """

    advert: bytes
    ledger_head: bytes
    version: int = PROTOCOL

    def encode(self) -> bytes:
        return canon("round-accept", u16(self.version), self.advert, self.ledger_head)

    @classmethod
    def decode(cls, data: bytes) -> "RoundAccept":
        try:
            version, advert, head = parse("round-accept", data, 3)
            chosen = uint(version, 2)
        except Malformed as error:
            raise ProtocolError(RefusalCode.MALFORMED, f"round accept: {error}") from error
        if chosen not in VERSIONS:
            raise ProtocolError(
                RefusalCode.VERSION, f"an agent chose protocol {chosen}, offered was {VERSIONS}"
            )
        return cls(advert, head, chosen)


@dataclass(frozen=True, slots=True)
class MaskedAccept:
    """M3 reply, agent → coordinator: the signature over the masked vector (shared.secagg), and the head
    of the ledger that has just recorded the upload; the vector itself travels as bulk.
    """

    masked: bytes
    ledger_head: bytes

    def encode(self) -> bytes:
        return canon("masked-accept", self.masked, self.ledger_head)

    @classmethod
    def decode(cls, data: bytes) -> "MaskedAccept":
        """Raises ProtocolError(MALFORMED)."""
        try:
            return cls(*parse("masked-accept", data, 2))
        except Malformed as error:
            raise ProtocolError(RefusalCode.MALFORMED, f"masked accept: {error}") from error


@dataclass(frozen=True, slots=True)
class PreflightQuestion:
    """Coordinator → agent: would you accept this whole plan? Answered before anybody trains.

    An offer without model, tensors and deadline; `nonce` makes each question another one, so that an
    old answer never fits. The request's attempt names the run and the round it would begin with.
    """

    task_id: str
    task_version: str
    code_hash: bytes
    params: bytes
    plan_json: bytes
    roster_body: bytes
    roster_signature: bytes
    ledger_echo: bytes
    nonce: bytes
    versions: Versions = VERSIONS

    def encode(self) -> bytes:
        return canon(
            "preflight",
            self.versions.encode(),
            self.task_id.encode("ascii"),
            self.task_version.encode("ascii"),
            self.code_hash,
            self.params,
            self.plan_json,
            self.roster_body,
            self.roster_signature,
            self.ledger_echo,
            self.nonce,
        )

    @property
    def plan_hash(self) -> bytes:
        """Of everything that a run of this plan asks of an agent, 32 bytes; the same for every run."""
        task = (self.task_id.encode("ascii"), self.task_version.encode("ascii"), self.code_hash)
        return hashlib.sha256(canon("preflight-plan", *task, self.params, self.plan_json)).digest()

    @classmethod
    def decode(cls, data: bytes) -> "PreflightQuestion":
        """Parse; raises ProtocolError(MALFORMED), or (VERSION) when no version is common."""
        try:
            versions = Versions.decode(first("preflight", data))
            VERSIONS.agree(versions)
            fields = parse("preflight", data, 10)
            question = cls(
                task_id=fields[1].decode("ascii"),
                task_version=fields[2].decode("ascii"),
                code_hash=fields[3],
                params=fields[4],
                plan_json=fields[5],
                roster_body=fields[6],
                roster_signature=fields[7],
                ledger_echo=fields[8],
                nonce=fields[9],
                versions=versions,
            )
        except (Malformed, UnicodeDecodeError) as error:
            raise ProtocolError(RefusalCode.MALFORMED, f"preflight: {error}") from error
        if len(question.nonce) != NONCE_BYTES or len(question.code_hash) != HASH_BYTES:
            raise ProtocolError(
                RefusalCode.MALFORMED, "preflight: a nonce or hash of another length"
            )
        return question


@dataclass(frozen=True, slots=True)
class PreflightAnswer:
    """The reply, agent → coordinator: yes (`code` None), or the code that an offer would be refused with.

    `question` is the SHA-256 of the question's body; `about` as REFUSAL_BYTES allows. It promises
    nothing: every offer is judged anew.
    """

    question: bytes
    code: RefusalCode | None
    about: bytes = b""
    version: int = PROTOCOL

    def encode(self) -> bytes:
        code = b"" if self.code is None else self.code.encode("ascii")
        return canon("preflight-answer", u16(self.version), self.question, code, self.about)

    @classmethod
    def decode(cls, data: bytes) -> "PreflightAnswer":
        """Raises ProtocolError(MALFORMED), or (VERSION) for one that was not offered."""
        try:
            version, question, named, about = parse("preflight-answer", data, 4)
            chosen = uint(version, 2)
            code = RefusalCode(named.decode("ascii")) if named else None
        except ValueError as error:  # Malformed, not ASCII, or outside the list
            raise ProtocolError(RefusalCode.MALFORMED, f"preflight answer: {error}") from error
        fits = not about if code is None else refusal_fits(code, about)
        if len(question) != HASH_BYTES or not fits:
            raise ProtocolError(
                RefusalCode.MALFORMED, "preflight answer: a field of another length"
            )
        if chosen not in VERSIONS:
            raise ProtocolError(
                RefusalCode.VERSION, f"an agent chose protocol {chosen}, offered was {VERSIONS}"
            )
        return cls(question, code, about, chosen)
