"""Nobody is named for shares that fit no secret unless its holders cannot have lied together."""

import pytest
from secagg_bench import CTX, identities, params

from edgeveil.shared.secagg.agreement.cohort import Cohort
from edgeveil.shared.secagg.primitives.errors import Aborted
from edgeveil.shared.secagg.server.recovery import MAX_TRIES, proves_guilt, recover


@pytest.mark.parametrize(
    ("answers", "t", "corrupt", "proved"),
    [
        (3, 3, 1, False),  # n = 4: one lying holder is enough to break an honest owner's secret
        (4, 3, 1, True),  # n = 5: three of four holders are honest, and all sets were tried
        (9, 6, 3, True),
        (8, 6, 3, False),
        (99, 55, 10, False),  # honest holders suffice, but far more sets than were tried
    ],
)
def test_guilt_needs_enough_honest_holders_and_an_exhaustive_search(answers, t, corrupt, proved):
    assert proves_guilt(answers, t, corrupt) is proved


def test_the_search_is_bounded():
    assert MAX_TRIES <= 1000


def test_the_search_counts_as_exhaustive_up_to_its_last_try():
    assert proves_guilt(MAX_TRIES, 1, 0)
    assert not proves_guilt(MAX_TRIES + 1, 1, 0)


def _cohort(n: int) -> Cohort:
    return Cohort(CTX, [(one.id, bytes(32)) for one in identities(n)], params(n, c_min=1))


def _wrong(cohort: Cohort, owner: bytes, answers: int) -> dict[bytes, dict[bytes, bytes]]:
    holders = cohort.neighbours(owner)[:answers]
    return {owner: {holder: bytes([place]) * 32 for place, holder in enumerate(holders)}}


@pytest.mark.parametrize("summed", [True, False])
@pytest.mark.parametrize(
    ("n", "answers", "named"), [(4, 3, False), (5, 3, False), (5, 4, True)], ids=str
)
def test_an_owner_is_named_only_where_its_holders_cannot_all_have_lied(n, answers, named, summed):
    cohort = _cohort(n)
    owner = cohort.ids[1]
    u3 = frozenset(cohort.ids if summed else cohort.ids[2:])
    with pytest.raises(Aborted) as abort:
        recover(cohort, _wrong(cohort, owner, answers), u3, {owner: bytes(32)}, {owner: bytes(32)})
    assert abort.value.code == "SHARE_AUTH"
    assert abort.value.agent == (owner if named else None)
    sentence = "the shares of an agent fit no secret"
    assert str(abort.value) == (f"{sentence} (agent {owner.hex()})" if named else sentence)
