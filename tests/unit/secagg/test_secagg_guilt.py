"""Nobody is named for shares that fit no secret unless its holders cannot have lied together."""

import pytest

from shared.secagg.recovery import MAX_TRIES, proves_guilt


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
