"""One POST to /v1/join, with every failure turned into one clear sentence."""

import ssl

import httpx
from pydantic import ValidationError

from edgeveil.agent.joining.authority import unreachable
from edgeveil.shared.base.errors import EnrollmentError, ProtocolError, TransportError
from edgeveil.shared.wire import certificates, join

NOT_OURS = "is not an Edgeveil coordinator; check the token"
_SENTENCES = {
    join.JoinCode.MALFORMED: "the coordinator does not understand this join request; compare versions",
    join.JoinCode.TOO_LARGE: "the coordinator finds the join request too large; compare versions",
    join.JoinCode.VERSION: "the coordinator speaks another protocol version; install the same release",
    join.JoinCode.TOKEN_UNKNOWN: "the coordinator does not know this token; a newer one may have "
    "replaced it, ask the operator",
    join.JoinCode.TOKEN_EXPIRED: "this token has expired; ask the operator for a new one",
    join.JoinCode.TOKEN_VOID: "this token was locked after several wrong proofs; ask for a new one",
    join.JoinCode.TOKEN_USED: "another device has already joined with this token; if that was not you, "
    "tell the operator, and ask for a new one",
    join.JoinCode.PROOF: "the coordinator says that the token's secret is wrong; copy the token again",
    join.JoinCode.NAME: "this token was made for another name; ask for a new one",
    join.JoinCode.SIGNATURE: "the coordinator could not verify this device's identity key",
    join.JoinCode.NODE_KEY: "the coordinator does not accept this device's node key",
    join.JoinCode.TAKEN: "this name or one of this device's keys is enrolled already; use an empty --home "
    "or ask the operator for another name",
    join.JoinCode.REVOKED: "this device was revoked; enrol it again from an empty --home",
}


def post_join(
    url: str, context: ssl.SSLContext, request: join.JoinRequest, *, timeout_s: float
) -> join.JoinAnswer:
    """Send the request over the verified connection.

    Raises:
        EnrollmentError: the coordinator says no.
        TransportError: unreachable, its certificate does not verify, or it is too busy.
    """
    status, body = _post(url, context, request.encode(), timeout_s)
    if status == httpx.codes.OK:
        try:
            return join.JoinAnswer.decode(body)
        except ProtocolError as error:
            raise EnrollmentError(f"{url} {NOT_OURS}") from error
    code = _refusal(body)
    if code in _SENTENCES:
        raise EnrollmentError(_SENTENCES[code])
    if code is None and status < httpx.codes.INTERNAL_SERVER_ERROR:
        raise EnrollmentError(f"{url} refuses to enrol this device (HTTP {status})")
    raise TransportError(f"{url}: the coordinator is busy (HTTP {status})")


def _post(url: str, context: ssl.SSLContext, body: bytes, timeout_s: float) -> tuple[int, bytes]:
    """Status and body; neither proxies of the environment nor redirects are followed."""
    headers = {"content-type": "application/json"}
    try:
        with (
            httpx.Client(verify=context, trust_env=False, timeout=timeout_s) as client,
            client.stream("POST", url + join.PATH, content=body, headers=headers) as response,
        ):
            received = bytearray()
            for chunk in response.iter_bytes():
                received += chunk
                if len(received) > join.MAX_ANSWER:
                    raise EnrollmentError(f"{url} {NOT_OURS}")
            return response.status_code, bytes(received)
    except httpx.HTTPError as error:
        refusal = certificates.find_refusal(error)
        if refusal is not None:
            raise TransportError(
                f"{url}: its certificate does not verify: {certificates.why_refused(refusal)}"
            ) from error
        raise TransportError(unreachable(url, error)) from error


def _refusal(body: bytes) -> join.JoinCode | None:
    try:
        return join.JoinRefusal.model_validate_json(body).code
    except ValidationError:
        return None
