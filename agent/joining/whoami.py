"""One signed question to the coordinator: is this device known, and as what? Changes nothing there."""

import os

import httpx
from pydantic import BaseModel, ConfigDict, ValidationError

from edgeveil.agent.home.home import AgentHome, Pinned
from edgeveil.agent.joining.authority import unreachable
from edgeveil.agent.joining.signed_post import signed_headers
from edgeveil.shared.base.errors import TransportError
from edgeveil.shared.wire.certificates import pinned_context
from edgeveil.shared.wire.request_signature import Session
from edgeveil.shared.wire.standing import MAX_ANSWER, PATH, Standing

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
    session = Session(max(1, home.last_session()), os.urandom(8).hex())
    headers = signed_headers(
        home.node_key(), home.node_public_pem(), home.identity(), str(session), PATH, b""
    )
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
