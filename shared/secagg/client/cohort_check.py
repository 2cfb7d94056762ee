"""What an agent checks of M2 before it shares anything: the cohort, its graph and its keys.

docs/protocol.md, "Messages" M2. Nothing is taken from the wire that can be recomputed.
"""

import hashlib
from collections.abc import Mapping

from cryptography.exceptions import InvalidSignature

from edgeveil.shared.secagg.agreement.cohort import Cohort, advert_hash, advert_message
from edgeveil.shared.secagg.agreement.messages import Neighbour, ShareRequest
from edgeveil.shared.secagg.primitives import keys
from edgeveil.shared.secagg.primitives.errors import Code, Infeasible, Refused
from edgeveil.shared.secagg.primitives.parameters import Params


def check_cohort(
    request: ShareRequest,
    own: bytes,
    own_keys: tuple[bytes, bytes],
    own_weight: int,
    *,
    ctx: bytes,
    params: Params,
    members: Mapping[bytes, bytes],
) -> Cohort:
    """The cohort both sides agree on; raises Refused with the code of the rule that failed."""
    _check_members(request, own, advert_hash(ctx, own, *own_keys, own_weight), params, members)
    try:
        cohort = Cohort(ctx, request.cohort, params)
    except Infeasible as error:
        raise Refused(error.code, str(error)) from error
    solution = cohort.solution
    echo = (request.k, request.t, request.h, request.quorum)
    if echo != (solution.k, solution.t, solution.h or 0, solution.quorum):
        raise Refused(Code.GRAPH_MISMATCH, f"the coordinator computes {echo}, we {solution}")
    if tuple(peer.agent_id for peer in request.neighbours) != cohort.neighbours(own):
        raise Refused(Code.GRAPH_MISMATCH, "the adverts are not those of our neighbours")
    listed = dict(request.cohort)
    for peer in request.neighbours:
        _check_advert(peer, listed[peer.agent_id], ctx, members[peer.agent_id])
        _check_weight(peer, params)
    _check_keys(request.neighbours, own_keys)
    return cohort


def _check_members(
    request: ShareRequest,
    own: bytes,
    own_advert: bytes,
    params: Params,
    members: Mapping[bytes, bytes],
) -> None:
    n = len(request.cohort)
    if n < params.n_min:
        raise Refused(Code.COHORT_TOO_SMALL, f"U1 has {n} members, {params.n_min} are due")
    strangers = [agent for agent, _ in request.cohort if agent not in members]
    if strangers:
        raise Refused(Code.U1_INVALID, "U1 names one who is not in the roster", agent=strangers[0])
    if dict(request.cohort).get(own) != own_advert:
        raise Refused(Code.U1_INVALID, "U1 does not hold this agent's own advert")


def _check_advert(peer: Neighbour, listed: bytes, ctx: bytes, identity: bytes) -> None:
    message = advert_message(ctx, peer.agent_id, peer.channel_key, peer.mask_key, peer.weight)
    if hashlib.sha256(message).digest() != listed:  # H("advert", …) is the hash of these bytes
        raise Refused(Code.U1_INVALID, "an advert is not the one in U1", agent=peer.agent_id)
    try:
        keys.verifies(identity, peer.signature, message)
    except InvalidSignature as error:
        raise Refused(
            Code.ADVERT_SIGNATURE, "an advert's signature does not verify", agent=peer.agent_id
        ) from error


def _check_weight(peer: Neighbour, params: Params) -> None:
    """Weights within the segment's bound cannot overflow their lane (Params.check_overflow)."""
    if not 1 <= peer.weight <= params.weight_max:
        raise Refused(
            Code.U1_INVALID,
            f"an advert's weight of {peer.weight} is outside 1..{params.weight_max}",
            agent=peer.agent_id,
        )


def _check_keys(neighbours: tuple[Neighbour, ...], own_keys: tuple[bytes, bytes]) -> None:
    """All 2k + 2 keys distinct and canonically spelled; small order shows at the exchange."""
    known = set(own_keys)
    for peer in neighbours:
        for public in (peer.channel_key, peer.mask_key):
            if public in known:
                raise Refused(Code.KEY_INVALID, "a public key occurs twice", agent=peer.agent_id)
            known.add(public)
            try:
                keys.check_spelling(public)
            except keys.BadKey as error:
                raise Refused(Code.KEY_INVALID, str(error), agent=peer.agent_id) from error
