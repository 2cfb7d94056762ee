"""A coordinator that lies on the wire: one honest attempt, of which one message to one victim is altered."""

import dataclasses
from collections.abc import Callable

import pytest
from secagg_bench import STAGES, Bench

from edgeveil.shared.secagg.agreement import messages
from edgeveil.shared.secagg.primitives.errors import Refused

N = 5
VICTIM = 0


def until(bench: Bench, last: str, lost: dict | None = None) -> object:
    """Play honestly before the exchange `last`; return the stage that is about to send it."""
    stage = bench.stage()
    gone: set[int] = set()
    for name in STAGES:
        if name == last:
            return stage
        gone |= set((lost or {}).get(name, ()))
        bench.exchange(name, stage, gone)
        stage = stage.close()
    raise AssertionError(last)


def honest_request(bench: Bench, name: str, lost: dict | None = None) -> tuple[object, bytes]:
    """The victim's session, ready for the honest request `name`, and that request."""
    victim = bench.agents[VICTIM].id
    return bench.sessions[victim], until(bench, name, lost).requests()[victim]


DECODE = {
    "share": messages.ShareRequest,
    "masked": messages.MaskedRequest,
    "unmask": messages.UnmaskRequest,
}


def altered(name: str, body: bytes, change: Callable) -> bytes:
    if name == "agree":
        return change(messages.AgreeRequest.decode(body)).encode()
    return change(DECODE[name].decode(body, 1000)).encode()


def refuses(bench: Bench, name: str, change: Callable, code: str, lost: dict | None = None):
    session, body = honest_request(bench, name, lost)
    with pytest.raises(Refused) as refusal:
        getattr(session, name)(altered(name, body, change))
    assert refusal.value.code == code
    assert session.state == "ABORTED"
    with pytest.raises(Refused, match="erased"):
        getattr(session, name)(body)


def replace(**fields):
    return lambda message: dataclasses.replace(message, **fields)


def swap_first(items: tuple, new: object) -> tuple:
    return (new, *items[1:])


def share_for(victim: bytes, reply: messages.ShareReply) -> tuple[bytes, bytes, bytes]:
    """What a reply holds for the victim: (its id, ciphertext, commitments)."""
    return next(entry for entry in reply.sealed if entry[0] == victim)
