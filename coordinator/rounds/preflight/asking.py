"""Questions out, answers in: signatures are checked here, as those of an attempt are."""

import hashlib
from collections.abc import Mapping

from edgeveil.coordinator.machine.preflight import Answers
from edgeveil.coordinator.machine.transport import Incoming
from edgeveil.coordinator.rounds.attempt_runner import (
    POLL_S,
    TTL_MARGIN_S,
    Stopped,
    Surroundings,
)
from edgeveil.coordinator.rounds.pacing import waves
from edgeveil.shared.base.errors import ProtocolError
from edgeveil.shared.wire.messages import Asking, Request, check_reply

MOST_S = 60.0  # a device may have to import what trains first


def ask(
    requests: Mapping[bytes, Request],
    members: Mapping[bytes, bytes],
    around: Surroundings,
    *,
    limit_s: float,
) -> dict[bytes, str]:
    """Why each agent would not take part, or YES (coordinator.machine.preflight).

    `members`: the identity keys of the roster. An agent gets at most `limit_s` seconds, and never more
    than MOST_S.

    Raises:
        Stopped: the operator asked for it.
        TransportError: the transport is gone.
    """
    answers = Answers({a: hashlib.sha256(r.body).digest() for a, r in requests.items()})
    limit_s = min(limit_s, MOST_S)
    now = around.clock.monotonic()
    later = [(now + after, agents) for after, agents in waves(sorted(requests))]
    until = later[-1][0] + limit_s if later else now
    try:
        while answers.waiting and (now := around.clock.monotonic()) < until:
            while later and later[0][0] <= now:
                wave = {agent: requests[agent] for agent in later.pop(0)[1]}
                sent = around.transport.send(wave, ttl_s=limit_s + TTL_MARGIN_S)
                answers.lost(wave.keys() - sent)
            if around.stop.is_set():
                raise Stopped
            around.housekeeping()
            for incoming in around.transport.receive(min(POLL_S, until - now)):
                _take(incoming, answers, requests, members, around)
    finally:
        around.transport.forget()
    answers.close()
    return answers.reasons


def _take(
    incoming: Incoming,
    answers: Answers,
    requests: Mapping[bytes, Request],
    members: Mapping[bytes, bytes],
    around: Surroundings,
) -> None:
    agent, reply = incoming.agent_id, incoming.reply
    if agent not in answers.waiting:
        return
    if reply is None:
        answers.lost([agent])
        return
    if reply.stage is not Asking.PREFLIGHT or reply.attempt != requests[agent].attempt:
        return
    try:
        check_reply(reply, members[agent], agent, around.names[agent])
    except ProtocolError as error:
        answers.invalid(agent, error.code)
        return
    if reply.refusal is not None:
        answers.refused(agent, reply.refusal, reply.body)
    else:
        answers.answered(agent, reply.body)
