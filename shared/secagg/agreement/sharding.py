"""Cohorts too large for one graph: shards with a protocol instance each, whose sums are added.

docs/protocol.md, "Shards". A shard is a cohort of its own with its own ctx, n_min and quorum, so a
shard reveals its own sum: what an update hides behind is its shard, never the whole round.
"""

from collections.abc import Callable, Iterable, Mapping

from edgeveil.shared.secagg.agreement.result import Result
from edgeveil.shared.secagg.primitives.canonical import digest, list_bytes, u32
from edgeveil.shared.secagg.primitives.errors import Code, Infeasible

WHOLE_UP_TO = 1000  # members; above, recovering the dropped costs more than it hides
SIZES = (500, 400, 300, 200, 100)  # tried in this order when a cohort has to be split


def shard_size(cohort: int, feasible: Callable[[int], bool]) -> int:
    """The largest shard a cohort of this size should be cut into; itself where it may stay whole.

    Raises:
        Infeasible: no size from 100 to 500 is feasible.
    """
    if cohort <= WHOLE_UP_TO and feasible(cohort):
        return cohort
    for size in SIZES:
        if size < cohort and feasible(size):
            return size
    raise Infeasible(
        Code.GRAPH_MISMATCH,
        f"a cohort of {cohort} has no parameters, neither whole nor in shards of "
        f"{SIZES[-1]} to {SIZES[0]}",
    )


def partition(
    members: Iterable[bytes], *, most: int, least: int, seed: bytes
) -> tuple[tuple[bytes, ...], ...]:
    """The fewest shards of at most `most` members, equal in size up to one, none below `least`.

    Who lands where follows from H("shard-order", seed, id) and nothing else. Each shard is ascending.

    Raises:
        Infeasible: the members cannot be cut that way.
    """
    ordered = sorted(set(members), key=lambda member: (digest("shard-order", seed, member), member))
    count = max(1, -(-len(ordered) // most))
    if len(ordered) < count * least:
        raise Infeasible(
            Code.COHORT_TOO_SMALL,
            f"{len(ordered)} members make no {count} shards of {least} to {most}",
        )
    return tuple(tuple(sorted(ordered[place::count])) for place in range(count))


def combine(results: Mapping[int, Result]) -> Result:
    """One result for all shards that finished, by shard number; sums and sets are added.

    Hashes are H("shards", list(u32 shard ‖ hash)); a lone shard 0 keeps its own.
    """
    numbers = sorted(results)
    first = results[numbers[0]]
    if numbers == [0]:
        return first
    parts = [results[number] for number in numbers]
    lanes = first.lanes.copy()
    for part in parts[1:]:
        lanes += part.lanes

    def joined(hash_of: Callable[[Result], bytes]) -> bytes:
        return digest("shards", list_bytes(u32(n) + hash_of(results[n]) for n in numbers))

    def members(of: Callable[[Result], tuple[bytes, ...]]) -> tuple[bytes, ...]:
        return tuple(sorted(agent for part in parts for agent in of(part)))

    return Result(
        params=first.params,
        lanes=lanes,
        u1=members(lambda part: part.u1),
        u2=members(lambda part: part.u2),
        u3=members(lambda part: part.u3),
        u1_hash=joined(lambda part: part.u1_hash),
        u2_hash=joined(lambda part: part.u2_hash),
        u3_hash=joined(lambda part: part.u3_hash),
        result_hash=joined(lambda part: part.result_hash),
        liars=members(lambda part: part.liars),
        weights={agent: weight for part in parts for agent, weight in part.weights.items()},
    )
