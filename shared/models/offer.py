"""What a coordinator says of a published model, and how a device asks for it (docs/protocol.md, "Published models").

An offer is signed by the coordinator and grows in `serial` with each publication, so that nobody can show a
device an older one. Questions are signed as every request of a device is; none tells what a device thinks
of a model, and `in_use` is filled in by owners who want that.
"""

from collections.abc import Mapping
from typing import Annotated, ClassVar, Self

from pydantic import Field

from edgeveil.shared.base.errors import RefusalCode
from edgeveil.shared.base.names import NAME
from edgeveil.shared.base.peer_json import PeerJson
from edgeveil.shared.models.package import MOST_BYTES
from edgeveil.shared.secagg.primitives.canonical import u64
from edgeveil.shared.wire.canonical import canon
from edgeveil.shared.wire.identity import Signer, verify

OFFER_PATH, SLICE_PATH = "/v1/model", "/v1/model-slice"
SLICE = 1 << 20  # bytes of one answer; the last one is shorter
MOST_QUESTION, MOST_ANSWER = 256, 4096  # bytes of JSON
LABEL = "model-offer"

Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Serial = Annotated[int, Field(ge=1, lt=1 << 53)]


class Offer(PeerJson):
    """`model` is the SHA-256 of the manifest, `file` that of the whole package, `size` its bytes."""

    called: ClassVar[str] = "an offer of a model"

    serial: Serial
    model: Digest
    file: Digest
    size: Annotated[int, Field(ge=1, le=MOST_BYTES)]
    run: Annotated[str, Field(pattern=rf"^{NAME.pattern}$")]
    round: Annotated[int, Field(ge=0, lt=1 << 32)]
    signature: Annotated[str, Field(pattern=r"^[0-9a-f]{128}$")]

    @classmethod
    def sign(cls, values: Mapping[str, object], signer: Signer) -> Self:
        """`values`: all but the signature."""
        unsigned = cls.model_validate({**values, "signature": "00" * 64})
        return unsigned.model_copy(update={"signature": signer.sign(unsigned.signed()).hex()})

    def signed(self) -> bytes:
        return canon(
            LABEL,
            u64(self.serial),
            bytes.fromhex(self.model),
            bytes.fromhex(self.file),
            u64(self.size),
            self.run.encode("ascii"),
            u64(self.round),
        )

    def check(self, public: bytes) -> None:
        """Raise ProtocolError unless the key `public` signed it."""
        code, who = RefusalCode.COORDINATOR_UNKNOWN, "the coordinator on the offered model"
        verify(public, bytes.fromhex(self.signature), self.signed(), code=code, who=who)


class Question(PeerJson):
    """Body of POST OFFER_PATH: is there an offer above `serial`, the newest that this device has fetched?

    `wait`: answer only when there is, or when the gateway holds a poll no longer.
    """

    called: ClassVar[str] = "a question for a model"

    serial: Annotated[int, Field(ge=0, lt=1 << 53)] = 0
    wait: bool = False
    in_use: Digest | None = None


class Answer(PeerJson):
    """To a Question; None: nothing newer."""

    called: ClassVar[str] = "an answer to a question for a model"

    offer: Offer | None = None


class SliceQuestion(PeerJson):
    """Body of POST SLICE_PATH: bytes `at`, a multiple of SLICE, to at + SLICE of the offered file."""

    called: ClassVar[str] = "a question for a part of a model"

    serial: Serial
    at: Annotated[int, Field(ge=0, le=MOST_BYTES, multiple_of=SLICE)]
