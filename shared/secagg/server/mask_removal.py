"""Taking the masks off the running sum, by ranges of lanes that can run side by side.

docs/protocol.md, "Unmasking" and "Performance"; after Bonawitz et al. 2017. With y_i the upload of i:
Σ x_i = Σ y_i − Σ_{i∈U3} PRG(self_i) + Σ_{i∈U2∖U3} Σ_{j∈N_i∩U3} ± PRG(pair_ij), + where id_i < id_j.
Each range applies every key, seeking in the keystream; ranges touch disjoint lanes, so a thread pool
needs no locks.
"""

from collections.abc import Mapping, Sequence
from functools import partial

from edgeveil.shared.secagg.agreement.cohort import Cohort, Sets
from edgeveil.shared.secagg.primitives import keys, mask
from edgeveil.shared.secagg.primitives.ring import Ring
from edgeveil.shared.secagg.server.recovery import Recovered
from edgeveil.shared.secagg.server.stage import Spread

Signed = tuple[bytes, bool]  # a mask key, and whether its mask is subtracted


def mask_keys(
    cohort: Cohort, u2: Sets, u3: Sets, publics: Mapping[bytes, bytes], found: Recovered
) -> list[Signed]:
    """− self masks of U3; ± pair masks between the dropped (U2 ∖ U3) and their neighbours in U3."""
    ctx, u1_hash = cohort.ctx, cohort.u1_hash
    removed = [
        (keys.self_mask_key(seed, ctx=ctx, u1_hash=u1_hash, agent_id=agent), True)
        for agent, seed in found.seeds.items()
    ]
    for dropped in sorted(u2 - u3):
        own = keys.KeyPair(found.secrets[dropped])
        for peer in cohort.neighbours(dropped):
            if peer in u3:
                key = keys.pair_mask_key(
                    own, publics[peer], ctx=ctx, u1_hash=u1_hash, own_id=dropped, other_id=peer
                )
                removed.append((key, dropped > peer))
    return removed


def remove_masks(
    total: Ring, removed: Sequence[Signed], *, cipher: str, parts: int, spread: Spread
) -> None:
    """Apply every mask to `total` in place, in `parts` ranges run by `spread`."""
    work = partial(_remove, total, removed, cipher)
    for _ in spread(work, _ranges(len(total), total.itemsize, parts)):
        pass


def _remove(total: Ring, removed: Sequence[Signed], cipher: str, lanes: range) -> None:
    view = total[lanes.start : lanes.stop]
    mask.add_all_into(view, removed, cipher=cipher, start=lanes.start)


def _ranges(count: int, width: int, parts: int) -> list[range]:
    """At most `parts` ranges with borders at multiples of the mask engine's chunk."""
    chunk = mask.CHUNK // width
    chunks = -(-count // chunk)
    size = -(-chunks // max(1, parts)) * chunk
    return [range(start, min(start + size, count)) for start in range(0, count, size)]
