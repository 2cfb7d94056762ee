"""`agent join`: from a token to a pinned coordinator and a place on the roster.

Keys are made on the device and never leave it. Nothing is sent before the server has shown the
certificate authority that the token names, and nothing is sent that was not saved first; so the same
command can be repeated after any interruption (docs/operating.md, "Enrolment").
"""

import threading
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from typing import Literal

from edgeveil.agent.home.home import AgentHome, Pinned
from edgeveil.agent.joining.authority import fetch_authority
from edgeveil.agent.joining.join_client import post_join
from edgeveil.shared.base.clock import Clock, SystemClock
from edgeveil.shared.base.errors import EnrollmentError, ProtocolError, TransportError
from edgeveil.shared.wire.certificates import pinned_context
from edgeveil.shared.wire.join import JoinAnswer, JoinRequest
from edgeveil.shared.wire.roster import agent_id
from edgeveil.shared.wire.tokens import Token, fingerprint


@dataclass(frozen=True, slots=True)
class JoinState:
    """`pending` until a roster signed by the federation key holds this device."""

    state: Literal["pending", "member"]
    agent_id: bytes
    name: str
    approved: bool = True  # false: the operator has still to say yes


def join(
    home: AgentHome, token: Token, *, clock: Clock | None = None, timeout_s: float = 10.0
) -> JoinState:
    """Join; the same token again continues where it stopped.

    The caller holds home.lock() if an `agent run` could be using the home.

    Raises:
        EnrollmentError: the server shows another CA or other keys than the token names; the token
            is expired, used, void or unknown; this home has joined with another token; the device
            was revoked.
        TransportError: unreachable, or its certificate does not verify.
    """
    pinned = home.find_pinned()
    if pinned is not None and pinned.token_id == token.token_id:
        return refresh(home, clock=clock, timeout_s=timeout_s)
    if pinned is not None:
        raise EnrollmentError(
            f"{home.path}: has already joined {pinned.url} as {pinned.name}; "
            "use another --home for another token"
        )
    ca_pem = fetch_authority(token.url, token.authority, timeout_s=timeout_s)
    home.ensure_keys()
    home.save_join_token(token)
    answer = _ask(home, token, (token.url, ca_pem), timeout_s)
    return admit(home, token, answer, ca_pem, clock=clock)


def admit(
    home: AgentHome,
    token: Token,
    answer: JoinAnswer,
    ca_pem: bytes,
    *,
    clock: Clock | None = None,
) -> JoinState:
    """Pin what a coordinator answered to request_of(); raises EnrollmentError where the token names others."""
    _check(home, token, answer, token.url)
    pinned = Pinned(
        url=token.url,
        ca_pem=ca_pem,
        coordinator_public=bytes.fromhex(answer.coordinator_public),
        federation_public=bytes.fromhex(answer.federation_public),
        name=answer.name,
        agent_id=agent_id(home.identity().public),
        token_id=token.token_id,
        state="pending",
        offline=token.offline,
    )
    home.save_pinned(pinned)
    return _settle(home, pinned, answer, clock)


def refresh(home: AgentHome, *, clock: Clock | None = None, timeout_s: float = 10.0) -> JoinState:
    """Go on with the stored token; a member is answered without the network.

    Raises:
        EnrollmentError: never joined, or refused, see join().
        TransportError: unreachable, or its certificate does not verify; worth another try.
    """
    token, pinned = home.join_token(), home.find_pinned()
    if pinned is None and token is not None:
        return join(home, token, clock=clock, timeout_s=timeout_s)
    pinned = home.pinned()
    if pinned.state == "member":
        home.erase_join_token()
        return JoinState("member", pinned.agent_id, pinned.name)
    if token is None:
        raise EnrollmentError(f"{home.path}: its token is gone; enrol again from an empty --home")
    answer = _ask(home, token, (pinned.url, pinned.ca_pem), timeout_s)
    return _settle(home, pinned, answer, clock)


def wait_until_member(
    home: AgentHome,
    stop: threading.Event,
    on_status: Callable[[str], None],
    *,
    every_s: float = 3.0,
    clock: Clock | None = None,
) -> JoinState:
    """refresh() until a signed roster holds us or `stop` is set: often at first, soon every few seconds.

    Raises:
        EnrollmentError: refused for good; an unreachable coordinator is waited for.
    """
    name = _name(home)
    state = JoinState("pending", agent_id(home.identity().public), name)
    said, pause_s = "", every_s / 6
    while not stop.is_set():
        try:
            state = refresh(home, clock=clock)
            status = _waiting(state)
        except TransportError as error:
            status = f"{name}: {error.message}; trying again"
        if state.state == "member":
            on_status(f"{state.name}: on the roster")
            return state
        if status != said:
            on_status(status)
            said = status
        stop.wait(pause_s)
        pause_s = min(every_s, 1.3 * pause_s)
    return state


def _waiting(state: JoinState) -> str:
    if not state.approved:
        return f"{state.name}: waiting for the operator to approve this device"
    return f"{state.name}: waiting for the federation key to sign a roster with this device"


def _name(home: AgentHome) -> str:
    token, pinned = home.join_token(), home.find_pinned()
    return token.name if pinned is None and token is not None else home.pinned().name


def request_of(home: AgentHome, token: Token) -> JoinRequest:
    """What this device asks with; both its keys are there."""
    return JoinRequest.make(
        token_id=token.token_id,
        proof_key=token.proof_key,
        name=token.name,
        signer=home.identity(),
        node_public=home.node_public_pem(),
        software=version("edgeveil"),
    )


def _ask(home: AgentHome, token: Token, server: tuple[str, bytes], timeout_s: float) -> JoinAnswer:
    """The yes of a coordinator (URL, CA in PEM), held against the token; raises as join() does."""
    url, ca_pem = server
    request = request_of(home, token)
    answer = post_join(url, pinned_context(ca_pem), request, timeout_s=timeout_s)
    _check(home, token, answer, url)
    return answer


def _check(home: AgentHome, token: Token, answer: JoinAnswer, url: str) -> None:
    if answer.agent_id != agent_id(home.identity().public).hex():
        raise EnrollmentError(f"{url} answered for another device; ask the operator")
    shown = (answer.federation_public, answer.coordinator_public)
    if tuple(fingerprint(bytes.fromhex(key)) for key in shown) != (
        token.federation,
        token.coordinator,
    ):
        raise EnrollmentError(
            f"{url} shows another federation key or coordinator key than the token names: "
            "somebody is in between, or the coordinator was set up anew; ask the operator"
        )


def _settle(home: AgentHome, pinned: Pinned, answer: JoinAnswer, clock: Clock | None) -> JoinState:
    """Save what the answer changed. The operator may have renamed the device meanwhile."""
    if answer.state == "member":
        _accept(home, answer, (clock or SystemClock()).wall())
    home.save_pinned(pinned.model_copy(update={"state": answer.state, "name": answer.name}))
    if answer.state == "member":
        home.erase_join_token()
    return JoinState(answer.state, pinned.agent_id, answer.name, answer.approved)


def _accept(home: AgentHome, answer: JoinAnswer, now: float) -> None:
    """Take the first roster under the same rules as every later one."""
    try:
        home.accept_roster(answer.roster_body, answer.roster_signature, now=now)
    except ProtocolError as error:
        raise EnrollmentError(
            f"the coordinator shows a roster this device must refuse ({error.code}: {error.message}); "
            "ask the operator to sign and import a new one"
        ) from error
