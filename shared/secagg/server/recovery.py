"""Secrets from shares that are proved to be their owners' (docs/protocol.md, "Unmasking").

A revealed share counts only if its owner committed to it, so all that can still be wrong is the
owner's doing: shares that do not lie on one polynomial. Any t of them give the polynomial, which
then has to meet every commitment of that owner, of holders that lied or are gone as well.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice

from edgeveil.shared.secagg.agreement.cohort import Cohort, Sets
from edgeveil.shared.secagg.agreement.messages import KEY, SECRET_SHARE, SEED_SHARE
from edgeveil.shared.secagg.primitives import shamir
from edgeveil.shared.secagg.primitives.errors import Aborted, Code
from edgeveil.shared.secagg.primitives.keys import KeyPair

Shares = Mapping[bytes, Mapping[bytes, bytes]]  # by owner, then holder; likewise commitments


@dataclass(frozen=True, slots=True)
class Recovered:
    """Self-mask seeds of the survivors, mask secrets of the dropped, and owners proved to have lied."""

    seeds: Mapping[bytes, bytes] = field(repr=False)
    secrets: Mapping[bytes, bytes] = field(repr=False)
    liars: Sets = frozenset()


def recover(
    cohort: Cohort,
    shares: Shares,
    u3: Sets,
    mask_keys: Mapping[bytes, bytes],
    commitments: Shares,
) -> Recovered:
    """`shares` of all owners of U2, at least t each, as committed to; all of the kind due.

    The seed of an owner whose shares do not fit together is taken all the same: whatever it masked
    with, it can have added no more to the sum than any agent can, and perhaps nothing.

    Raises:
        Aborted: SHARE_AUTH, where a mask secret is not that of the advertised key. `guilty` names
            its owner, and every other one that is proved to have lied.
    """
    seeds: dict[bytes, bytes] = {}
    secrets: dict[bytes, bytes] = {}
    liars: set[bytes] = set()
    closed: set[bytes] = set()  # whose pair masks stay on
    for owner, secret, others in _polynomials(cohort, shares):
        kind = SEED_SHARE if owner in u3 else SECRET_SHARE
        if any(
            cohort.commitment(owner, holder, kind, share) != commitments[owner][holder]
            for holder, share in others
        ):
            liars.add(owner)
        (seeds if owner in u3 else secrets)[owner] = secret
        if owner not in u3 and KeyPair(secret).public != mask_keys[owner]:
            closed.add(owner)
    if closed:
        raise Aborted(
            Code.SHARE_AUTH,
            "the shares of an agent do not give the secret of its mask key",
            agent=min(closed),
            guilty=frozenset(liars | closed),
        )
    return Recovered(seeds, secrets, frozenset(liars))


def _polynomials(
    cohort: Cohort, shares: Shares
) -> Iterator[tuple[bytes, bytes, list[tuple[bytes, bytes]]]]:
    """(owner, secret, what every holder was dealt that was not needed to find it) of each owner.

    Owners whose t first holders have the same indices are worked on at once.
    """
    t, every = cohort.solution.t, range(1, cohort.solution.k + 1)
    alike: dict[tuple[int, ...], list[bytes]] = {}
    for owner in sorted(shares):
        indexed = zip(every, cohort.neighbours(owner), strict=True)  # as in share_index()
        present = (x for x, holder in indexed if holder in shares[owner])
        alike.setdefault(tuple(islice(present, t)), []).append(owner)
    for xs, owners in alike.items():
        others = [x for x in every if x not in frozenset(xs)]
        near = [(owner, cohort.neighbours(owner)) for owner in owners]
        rows = [b"".join(shares[owner][holders[x - 1]] for owner, holders in near) for x in xs]
        secrets, *dealt = shamir.evaluate(xs, rows, [0, *others])
        for place, (owner, holders) in enumerate(near):
            part = slice(KEY * place, KEY * (place + 1))
            spread = [(holders[x - 1], row[part]) for x, row in zip(others, dealt, strict=True)]
            yield owner, secrets[part], spread
