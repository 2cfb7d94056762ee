"""Bytes of one round, from the very classes whose bytes travel; what is signed or sealed is only as long as that."""

from functools import lru_cache
from itertools import count
from typing import NamedTuple

from edgeveil.coordinator.plan.derived import secagg_params, training_plan
from edgeveil.coordinator.plan.plan import Plan
from edgeveil.shared.privacy.ledger.heads import SignedHead
from edgeveil.shared.secagg.agreement import messages
from edgeveil.shared.secagg.agreement.cohort import agent_id
from edgeveil.shared.secagg.primitives.parameters import Params, Solution
from edgeveil.shared.secagg.primitives.sealing import SEALED_BYTES
from edgeveil.shared.tasks.spec import TaskSpec
from edgeveil.shared.wire.messages import MaskedAccept, RoundAccept, RoundOffer, Tensor
from edgeveil.shared.wire.roster import Roster

SIGNATURE = bytes(messages.SIGNATURE)
SHARE = bytes(messages.KEY)


class Traffic(NamedTuple):
    """Of one device in one round."""

    down: int
    up: int
    model: int  # of `down`: the model itself
    vector: int  # of `up`: the masked vector itself


def traffic(
    plan: Plan,
    spec: TaskSpec,
    tensors: tuple[Tensor, ...],
    *,
    parameters: int,
    members: int,
    solution: Solution,
    cohort: int,
) -> Traffic:
    """A device that stays to the end, in a sum of `members` of whom nobody is lost, of a roster of `cohort`."""
    proposal = training_plan(plan)
    params = secagg_params(plan, proposal, parameters)
    head = SignedHead(bytes(16), 1, bytes(32), SIGNATURE).encode()
    offer = RoundOffer(
        task_id=spec.id,
        task_version=spec.version,
        code_hash=spec.code_hash(),
        shard=0,
        params=params.encode(),
        plan_json=proposal.to_json(),
        roster_body=_roster(cohort),
        roster_signature=SIGNATURE,
        tensors=tensors,
        ledger_echo=head,
        deadline_ms=0,
        open_signature=SIGNATURE,
    )
    model = 4 * parameters * (2 if proposal.control_variates else 1)
    vector = packed(params)
    asked, answered = exchanges(members, solution)
    advert = messages.Advert(bytes(32), bytes(16), SHARE, SHARE, 1, SIGNATURE)
    masked = messages.MaskedReply(SIGNATURE)
    return Traffic(
        down=len(offer.encode()) + model + asked,
        up=len(RoundAccept(advert.encode(), head).encode())
        + len(MaskedAccept(masked.encode(), head).encode())
        + vector
        + answered,
        model=model,
        vector=vector,
    )


def packed(params: Params) -> int:
    return params.lanes * params.bits // 8


@lru_cache(maxsize=64)
def exchanges(members: int, solution: Solution) -> tuple[int, int]:
    """(down, up) of one device in M2 to M5, without the reply of M3."""
    ids = [number.to_bytes(messages.ID, "big") for number in range(members)]
    near = ids[: solution.k]
    bitmap = bytes(-(-members // 8))
    sealed = tuple((peer, bytes(SEALED_BYTES), bytes(2 * messages.COMMITMENT)) for peer in near)
    asked = (
        messages.ShareRequest(
            cohort=tuple((member, bytes(messages.HASH)) for member in ids),
            neighbours=tuple(messages.Neighbour(peer, SHARE, SHARE, 1, SIGNATURE) for peer in near),
            k=solution.k,
            t=solution.t,
            h=solution.h or 0,
            quorum=solution.quorum,
        ),
        messages.MaskedRequest(bitmap, sealed),
        messages.AgreeRequest(bitmap),
        messages.UnmaskRequest(tuple(zip(range(members), [SIGNATURE] * members, strict=True))),
    )
    answered = (
        messages.ShareReply(sealed, SIGNATURE),
        messages.AgreeReply(SIGNATURE),
        messages.UnmaskReply(tuple((peer, messages.SEED_SHARE, SHARE) for peer in near), SIGNATURE),
    )
    return sum(len(each.encode()) for each in asked), sum(len(each.encode()) for each in answered)


def _roster(cohort: int) -> bytes:
    keys = (number.to_bytes(32, "big") for number in count())
    members = {agent_id(key): key for key, _ in zip(keys, range(cohort), strict=False)}
    return Roster(bytes(32), 1, 0, 0, members).body()
