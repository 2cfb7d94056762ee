"""The end of an attempt: the decoded sum, who is in it, and the hashes to publish.

docs/protocol.md, "Unmasking". The range checks limit what a malicious agent can add; they cannot
say who did it.
"""

import hashlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from edgeveil.shared.secagg.agreement.cohort import Cohort, Sets
from edgeveil.shared.secagg.primitives import ring
from edgeveil.shared.secagg.primitives.canonical import digest
from edgeveil.shared.secagg.primitives.errors import Aborted, Code
from edgeveil.shared.secagg.primitives.parameters import SIGNED, WEIGHT, Params
from edgeveil.shared.secagg.primitives.ring import Lanes, Ring


@dataclass(frozen=True, slots=True)
class Result:
    """`lanes` is int64 (params.lanes,); sets are ascending ids; `liars` lied about shares.

    As holders, or as the owner whose shares do not fit together. `weights` are those of the adverts, of all of
    U1; the sum of the survivors' was checked exactly.
    """

    params: Params
    lanes: Lanes = field(repr=False)
    u1: tuple[bytes, ...]
    u2: tuple[bytes, ...]
    u3: tuple[bytes, ...]
    u1_hash: bytes
    u2_hash: bytes
    u3_hash: bytes
    result_hash: bytes
    liars: tuple[bytes, ...]
    weights: Mapping[bytes, int]

    def segment(self, name: str) -> Lanes:
        """The sums of one segment, limbs recombined; raises KeyError for an unknown name."""
        for segment, lanes in ring.segments(self.lanes, self.params):
            if segment.name == name:
                return ring.join_limbs(lanes, segment)
        raise KeyError(name)


def make_result(
    total: Ring,
    params: Params,
    cohort: Cohort,
    *,
    u2: Sets,
    u3: Sets,
    weights: Mapping[bytes, int],
    liars: Sets,
) -> Result:
    """Decode and check the unmasked sum; raises Aborted(SUM_RANGE)."""
    lanes = ring.decode_sum(total, params)
    check_sum(lanes, params, [weights[agent] for agent in u3])
    u2_hash, u3_hash = cohort.u2_hash(u2), cohort.u3_hash(u3)
    packed = hashlib.sha256(ring.pack(total, params.bits)).digest()
    return Result(
        params=params,
        lanes=lanes,
        u1=cohort.ids,
        u2=tuple(sorted(u2)),
        u3=tuple(sorted(u3)),
        u1_hash=cohort.u1_hash,
        u2_hash=u2_hash,
        u3_hash=u3_hash,
        result_hash=digest("result", cohort.ctx, cohort.u1_hash, u2_hash, u3_hash, packed),
        liars=tuple(sorted(liars)),
        weights=dict(weights),
    )


def check_sum(lanes: Lanes, params: Params, weights: Collection[int]) -> None:
    """Raise Aborted(SUM_RANGE) for what summands of these weights cannot add up to."""
    _check_range(lanes, params, len(weights))
    _check_weight(lanes, params, sum(weights))


def _check_range(lanes: Lanes, params: Params, summands: int) -> None:
    for segment, part in ring.segments(lanes, params):
        limit = summands * segment.bound
        if int(part.max()) > limit or (segment.kind == SIGNED and int(part.min()) < -limit):
            raise Aborted(
                Code.SUM_RANGE,
                f"segment {segment.name}: a lane of the sum exceeds {summands} × {segment.bound}",
            )


def _check_weight(lanes: Lanes, params: Params, due: int) -> None:
    for segment, part in ring.segments(lanes, params):
        if segment.name == WEIGHT and int(part.sum()) != due:
            raise Aborted(Code.SUM_RANGE, f"the weights sum to {int(part.sum())}, due is {due}")
