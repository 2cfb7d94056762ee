"""What a device asks its coordinator about published models, in signed requests beside its session.

Answers are bounded, redirects and proxies are not followed, and only the pinned authority is believed
(docs/transport.md, "Models").
"""

import json
import os
from pathlib import Path

import httpx

from edgeveil.agent.home.home import AgentHome
from edgeveil.agent.joining.authority import unreachable
from edgeveil.agent.joining.cuttable import Cuttable
from edgeveil.agent.joining.signed_post import signed_headers
from edgeveil.shared.base.errors import EnrollmentError, ProtocolError, TransportError
from edgeveil.shared.models.offer import (
    MOST_ANSWER,
    OFFER_PATH,
    SLICE,
    SLICE_PATH,
    Answer,
    Offer,
    Question,
    SliceQuestion,
)
from edgeveil.shared.wire.certificates import pinned_context
from edgeveil.shared.wire.request_signature import Session

TIMEOUT_S = 30.0  # a question may be held for 20 s
_NOT_PERMITTED = {
    "unknown_key": "this device is not on its roster",
    "revoked": "this device was revoked there",
}


class ModelClient:
    """Keeps one connection; close(), from any thread, also ends a question that is held."""

    def __init__(self, home: Path) -> None:
        """Raises EnrollmentError if the home has joined nobody."""
        device = AgentHome(home)
        pinned = device.pinned()
        self.url = pinned.url
        self._keys = device.node_key(), device.node_public_pem(), device.identity()
        self._session = str(Session(max(1, device.last_session()), os.urandom(8).hex()))
        self._http = Cuttable(
            verify=pinned_context(pinned.ca_pem),
            trust_env=False,
            follow_redirects=False,
            timeout=httpx.Timeout(TIMEOUT_S, connect=10.0),
            headers={"accept-encoding": "identity"},
        )

    def close(self) -> None:
        self._http.cut()

    def ask(self, serial: int, *, wait: bool, in_use: str | None = None) -> Offer | None:
        """An offer above `serial`, the newest fetched here; its signature is not checked yet.

        Raises:
            EnrollmentError: the coordinator does not know this device, or no more.
            TransportError: unreachable, busy, or it publishes no models.
        """
        question = Question(serial=serial, wait=wait, in_use=in_use)
        body = self._post(OFFER_PATH, question.model_dump_json().encode("ascii"), MOST_ANSWER)
        try:
            return Answer.decode(body).offer
        except ProtocolError as error:
            raise TransportError(f"{self.url}: its answer about models cannot be read") from error

    def part(self, serial: int, at: int) -> bytes:
        """At most SLICE bytes; raises as ask() does, TransportError also when it is offered no more."""
        question = SliceQuestion(serial=serial, at=at)
        return self._post(SLICE_PATH, question.model_dump_json().encode("ascii"), SLICE)

    def _post(self, path: str, body: bytes, most: int) -> bytes:
        headers = signed_headers(*self._keys, self._session, path, body)
        try:
            with self._http.stream(
                "POST", self.url + path, content=body, headers=headers
            ) as answer:
                found = bytearray()
                for piece in answer.iter_raw():
                    found += piece
                    if len(found) > most:
                        raise TransportError(f"{self.url}: its answer is longer than it may be")
        except httpx.HTTPError as error:
            raise TransportError(unreachable(self.url, error)) from error
        if answer.status_code == httpx.codes.OK:
            return bytes(found)
        raise self._refusal(answer.status_code, bytes(found))

    def _refusal(self, status: int, body: bytes) -> Exception:
        code = _code(body)
        if code in _NOT_PERMITTED:
            return EnrollmentError(f"{self.url}: {_NOT_PERMITTED[code]}")
        if code == "clock_skew":
            return TransportError(f"{self.url}: this device's clock and the coordinator's differ: set this one right")  # fmt: skip
        if code == "object":
            return TransportError(f"{self.url}: this model is offered no more; ask again")
        if status == httpx.codes.NOT_FOUND:
            return TransportError(f"{self.url}: this coordinator publishes no models; it is of an older release")  # fmt: skip
        return TransportError(f"{self.url}: the coordinator answered {status} {code}".rstrip())


def _code(body: bytes) -> str:
    try:
        code = json.loads(body)["code"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return ""
    return code[:40] if isinstance(code, str) and code.isascii() and code.isprintable() else ""
