"""One signed question to the coordinator: is this device known, and as what? Changes nothing there."""

import base64
import os
from datetime import UTC, datetime

import httpx
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from pydantic import BaseModel, ConfigDict, ValidationError

from agent.authority import unreachable
from agent.state import AgentHome, Pinned
from shared.certificates import pinned_context
from shared.errors import TransportError
from shared.messages import PROTOCOL
from shared.request_signature import (
    NONCE_BYTES,
    PROTOCOL_HEADER,
    SESSION_HEADER,
    SIGNATURE_HEADER,
    Session,
    sign,
)
from shared.standing import MAX_ANSWER, PATH, Standing

TIMEOUT_S = 5.0


class _Refusal(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)

    code: str


def ask(home: AgentHome, pinned: Pinned) -> Standing | str:
    """The standing, or the code of the refusal: one of the gateway's, or the HTTP status.

    Raises:
        TransportError: unreachable, or an answer no coordinator of ours gives.
        ProtocolError: a yes that cannot be read.
    """
    headers = _headers(home)
    try:
        with (
            httpx.Client(
                verify=pinned_context(pinned.ca_pem), trust_env=False, timeout=TIMEOUT_S
            ) as client,
            client.stream("POST", pinned.url + PATH, headers=headers) as response,
        ):
            body = bytearray()
            for piece in response.iter_raw():
                body += piece
                if len(body) > MAX_ANSWER:
                    raise TransportError(f"{pinned.url} is not an Edgeveil coordinator")
            status = response.status_code
    except httpx.HTTPError as error:
        raise TransportError(unreachable(pinned.url, error)) from error
    if status == httpx.codes.OK:
        return Standing.decode(bytes(body))
    try:
        return _Refusal.model_validate_json(bytes(body)).code[:40]
    except ValidationError:
        return str(status)


def _headers(home: AgentHome) -> dict[str, str]:
    """Flower's three and ours, as the link sends them; the session is the last one of this home."""
    timestamp = datetime.now(UTC).isoformat()
    session = str(Session(max(1, home.last_session()), os.urandom(8).hex()))
    triple = home.node_key().sign(timestamp.encode("ascii"), ec.ECDSA(hashes.SHA256()))
    return {
        "flwr-public-key": base64.b64encode(home.node_public_pem()).decode("ascii"),
        "flwr-timestamp": timestamp,
        "flwr-signature": base64.b64encode(triple).decode("ascii"),
        SESSION_HEADER: session,
        PROTOCOL_HEADER: str(PROTOCOL),
        SIGNATURE_HEADER: sign(
            home.identity(),
            PATH,
            b"",
            timestamp=timestamp,
            session=session,
            nonce=os.urandom(NONCE_BYTES),
        ),
    }
