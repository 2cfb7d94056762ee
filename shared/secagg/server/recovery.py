"""Secrets from shares, some of which may be wrong (docs/protocol.md, "Unmasking").

Each recovered secret is checked against what its owner committed to, so a lying holder costs time
but never a wrong sum. First the t shares of lowest x; then one share left out, then two and so on;
when a set fits, every other share is compared with the polynomial and the liars are named,
unless they are so many that honest holders could be framed.
"""

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import combinations, islice

from edgeveil.shared.secagg.agreement.cohort import Cohort, Sets
from edgeveil.shared.secagg.primitives import shamir
from edgeveil.shared.secagg.primitives.errors import Aborted, Code
from edgeveil.shared.secagg.primitives.keys import KeyPair

MAX_TRIES = 500  # sets of shares per secret


@dataclass(frozen=True, slots=True)
class Recovered:
    """Self-mask seeds of the survivors, mask secrets of the dropped, and holders of wrong shares."""

    seeds: Mapping[bytes, bytes] = field(repr=False)
    secrets: Mapping[bytes, bytes] = field(repr=False)
    liars: Sets


def recover(
    cohort: Cohort,
    shares: Mapping[bytes, Mapping[bytes, bytes]],
    u3: Sets,
    mask_keys: Mapping[bytes, bytes],
    commitments: Mapping[bytes, bytes],
) -> Recovered:
    """`shares` by owner, then holder; all owners of U2, each with ≥ t shares of the right kind.

    Raises:
        Aborted: SHARE_AUTH. It names the owner only where its guilt is certain: every set of t
            shares was tried, and so many holders answered that t of them must be honest. Otherwise
            lying holders could have an honest owner excluded, and nobody is named.
    """
    seeds: dict[bytes, bytes] = {}
    secrets: dict[bytes, bytes] = {}
    liars: set[bytes] = set()
    for owner in sorted(shares):
        holders = enumerate(cohort.neighbours(owner), start=1)  # share indices, as in share_index()
        found = {x: holder for x, holder in holders if holder in shares[owner]}
        points = {x: shares[owner][holder] for x, holder in found.items()}
        if owner in u3:
            fits = _commits(cohort, owner, commitments[owner])
        else:
            fits = _opens(mask_keys[owner])
        secret, wrong = search(points, cohort.solution.t, fits)
        if secret is None:
            guilty = proves_guilt(len(points), cohort.solution.t, cohort.solution.c)
            raise Aborted(
                Code.SHARE_AUTH,
                "the shares of an agent fit no secret",
                agent=owner if guilty else None,
            )
        (seeds if owner in u3 else secrets)[owner] = secret
        liars.update(found[x] for x in wrong)
    return Recovered(seeds, secrets, frozenset(liars))


def search(
    points: Mapping[int, bytes], t: int, fits: Callable[[bytes], bool]
) -> tuple[bytes | None, list[int]]:
    """(secret, indices of wrong shares); secret None if no tried set of t shares fits.

    Holders who collude can bend their shares so that another polynomial with the same secret fits.
    It agrees with at most t − 2 honest shares, so up to (r − t + 1)/2 wrong ones of r cannot frame
    anybody; beyond that nobody is named.
    """
    for place, chosen in enumerate(islice(_subsets(list(points), t), MAX_TRIES)):
        base = {x: points[x] for x in chosen}
        secret = shamir.combine(base)
        if not fits(secret):
            continue
        if place == 0:
            return secret, []
        wrong = [x for x in points if shamir.combine(base, at=x) != points[x]]
        return secret, wrong if 2 * len(wrong) <= len(points) - t + 1 else []
    return None, []


def proves_guilt(answers: int, t: int, corrupt: int) -> bool:
    """Whether a search without success shows that the owner, and not its holders, lied."""
    return answers >= t + corrupt and math.comb(answers, t) <= MAX_TRIES


def _subsets(xs: list[int], t: int) -> Iterator[tuple[int, ...]]:
    """The first t indices, then the first t without one, without two, and so on; none twice."""
    for left_out in range(len(xs) - t + 1):
        for absent in combinations(xs[: t + left_out], left_out):
            chosen = tuple(x for x in xs if x not in absent)[:t]
            if not absent or absent[-1] <= chosen[-1]:
                yield chosen


def _commits(cohort: Cohort, owner: bytes, commitment: bytes) -> Callable[[bytes], bool]:
    return lambda seed: cohort.commitment(owner, seed) == commitment


def _opens(mask_key: bytes) -> Callable[[bytes], bool]:
    return lambda secret: KeyPair(secret).public == mask_key
