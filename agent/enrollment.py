"""`agent join`: from a token to a pinned coordinator and a place on the roster.

Keys are made on the device and never leave it. Nothing is sent before the server has shown the
certificate authority that the token names, and nothing is sent that was not saved first; so the same
command can be repeated after any interruption (docs/operating.md, "Enrolment").
"""

import hashlib
import threading
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from typing import Literal

from agent.authority import fetch_authority, pinned_context
from agent.join_client import post_join
from agent.state import AgentHome, Pinned
from shared.clock import Clock, SystemClock
from shared.errors import EnrollmentError, ProtocolError, TransportError
from shared.join import JoinAnswer, JoinRequest
from shared.roster import agent_id
from shared.tokens import Token


@dataclass(frozen=True, slots=True)
class JoinState:
    """`pending` until a roster signed by the federation key holds this device."""

    state: Literal["pending", "member"]
    agent_id: bytes
    name: str


def join(
    home: AgentHome, token: Token, *, clock: Clock | None = None, timeout_s: float = 10.0
) -> JoinState:
    """Join; the same token again continues where it stopped.

    The caller holds home.lock() if an `agent run` could be using the home.

    Raises:
        EnrollmentError: the server shows another CA; the token is expired, used, void or unknown;
            this home has joined with another token; the device was revoked.
        TransportError: unreachable, or its certificate does not verify.
    """
    pinned = home.find_pinned()
    if pinned is not None and pinned.token_id == token.token_id:
        return refresh(home, clock=clock, timeout_s=timeout_s)
    if pinned is not None and pinned.state != "joining":
        raise EnrollmentError(
            f"{home.path}: has already joined {pinned.url} as {pinned.name}; "
            "use another --home for another token"
        )
    ca_pem = fetch_authority(token.url, token.ca_sha256, timeout_s=timeout_s)
    home.ensure_keys()
    home.save_join_secret(token.secret)
    home.save_pinned(
        Pinned(
            url=token.url,
            ca_pem=ca_pem,
            coordinator_public=token.coordinator_public,
            federation_public=token.federation_public,
            name=token.name,
            agent_id=agent_id(home.identity().public),
            token_id=token.token_id,
            state="joining",
        )
    )
    return refresh(home, clock=clock, timeout_s=timeout_s)


def refresh(home: AgentHome, *, clock: Clock | None = None, timeout_s: float = 10.0) -> JoinState:
    """Ask (again) with the stored secret; a member is answered without the network.

    Raises:
        EnrollmentError: never joined, or refused, see join().
        TransportError: unreachable, or its certificate does not verify; worth another try.
    """
    pinned = home.pinned()
    if pinned.state == "member":
        home.erase_join_secret()
        return JoinState("member", pinned.agent_id, pinned.name)
    answer = _ask(home, pinned, timeout_s)
    if answer.state == "member":
        _accept(home, answer, (clock or SystemClock()).wall())
    home.save_pinned(pinned.model_copy(update={"state": answer.state}))
    if answer.state == "member":
        home.erase_join_secret()
    return JoinState(answer.state, pinned.agent_id, pinned.name)


def wait_until_member(
    home: AgentHome,
    stop: threading.Event,
    on_status: Callable[[str], None],
    *,
    every_s: float = 3.0,
    clock: Clock | None = None,
) -> JoinState:
    """refresh() every few seconds until a signed roster holds us or `stop` is set.

    Raises:
        EnrollmentError: refused for good; an unreachable coordinator is waited for.
    """
    pinned = home.pinned()
    state = JoinState("pending", pinned.agent_id, pinned.name)
    said = ""
    while not stop.is_set():
        try:
            state = refresh(home, clock=clock)
            status = (
                f"{pinned.name}: waiting for the federation key to sign a roster with this device"
            )
        except TransportError as error:
            status = f"{pinned.name}: {error.message}; trying again"
        if state.state == "member":
            on_status(f"{pinned.name}: on the roster")
            return state
        if status != said:
            on_status(status)
            said = status
        stop.wait(every_s)
    return state


def _ask(home: AgentHome, pinned: Pinned, timeout_s: float) -> JoinAnswer:
    secret = home.join_secret()
    if secret is None:
        raise EnrollmentError(f"{home.path}: the join was never begun; run: agent join TOKEN")
    request = JoinRequest.make(
        token_id=pinned.token_id,
        proof_key=hashlib.sha256(secret).digest(),
        name=pinned.name,
        signer=home.identity(),
        node_public=home.node_public_pem(),
        software=version("edgeveil"),
    )
    context = pinned_context(pinned.ca_pem)
    answer = post_join(pinned.url, context, request, timeout_s=timeout_s)
    if answer.agent_id != pinned.agent_id.hex() or answer.name != pinned.name:
        raise EnrollmentError(f"{pinned.url} answered for another device; ask the operator")
    return answer


def _accept(home: AgentHome, answer: JoinAnswer, now: float) -> None:
    """Take the first roster under the same rules as every later one."""
    try:
        home.accept_roster(answer.roster_body, answer.roster_signature, now=now)
    except ProtocolError as error:
        raise EnrollmentError(
            f"the coordinator shows a roster this device must refuse ({error.code}: {error.message}); "
            "ask the operator to sign and import a new one"
        ) from error
