"""What a device writes down beside its ledger for itself: JSON in one spelling, under its own signature."""

import json
from collections.abc import Mapping
from typing import Any

from edgeveil.shared.base.errors import RefusalCode
from edgeveil.shared.wire.canonical import canon
from edgeveil.shared.wire.identity import Signer, verify

FORMAT = 1


def sign_note(
    label: str, fields: Mapping[str, Any], signer: Signer, version: int = FORMAT
) -> bytes:
    body = json.dumps({"v": version, **fields}, sort_keys=True, separators=(",", ":"))
    signature = signer.sign(canon(label, body.encode("ascii")))
    return json.dumps({"body": body, "sig": signature.hex()}).encode("ascii")


def read_note(label: str, data: bytes, public: bytes, what: str, version: int = FORMAT) -> Any:
    """The fields; `what` is named where the signature is wrong: ProtocolError(LEDGER_CORRUPT).

    Anything else that is not a note raises ValueError, KeyError, TypeError or RecursionError.
    """
    outer = json.loads(data)
    body, signature = str(outer["body"]), bytes.fromhex(outer["sig"])
    message = canon(label, body.encode("ascii"))
    who = f"this device over its {what}"
    verify(public, signature, message, code=RefusalCode.LEDGER_CORRUPT, who=who)
    fields = json.loads(body)
    if fields["v"] != version:
        raise ValueError(f"format {fields['v']}")
    return fields
