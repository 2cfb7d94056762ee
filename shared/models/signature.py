"""The coordinator's signature over a manifest, and with it over every part whose hash stands there."""

import json
from dataclasses import dataclass

from edgeveil.shared.base.errors import ProtocolError, RefusalCode
from edgeveil.shared.wire.canonical import canon
from edgeveil.shared.wire.identity import Signer, verify

LABEL = "model-package"


@dataclass(frozen=True, slots=True)
class Signature:
    """`key` are the 32 bytes of whoever says to have signed, `value` 64 bytes."""

    key: bytes
    value: bytes

    def encode(self) -> bytes:
        values = {"key": self.key.hex(), "signature": self.value.hex()}
        return json.dumps(values, sort_keys=True, separators=(",", ":")).encode("ascii")

    @classmethod
    def decode(cls, data: bytes) -> "Signature":
        """Raise ValueError unless these are exactly bytes of encode()."""
        try:
            values = json.loads(data)
            found = cls(bytes.fromhex(values["key"]), bytes.fromhex(values["signature"]))
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise ValueError("its signature is not readable") from error
        if found.encode() != data:
            raise ValueError("its signature is not in its canonical form")
        return found


def sign(manifest: bytes, signer: Signer) -> Signature:
    return Signature(signer.public, signer.sign(canon(LABEL, manifest)))


def check(manifest: bytes, signature: Signature) -> None:
    """Raise ValueError unless the signature is that of its own key; whose key it is says nobody."""
    code = RefusalCode.MALFORMED
    try:
        verify(signature.key, signature.value, canon(LABEL, manifest), code=code, who="its signer")
    except ProtocolError as error:
        raise ValueError(error.message) from error
