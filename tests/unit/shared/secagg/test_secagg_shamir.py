from itertools import combinations
from os import urandom

import pytest

from edgeveil.shared.secagg.primitives import shamir


@pytest.mark.parametrize("n", range(2, 7))
def test_exactly_the_sets_of_t_shares_recover(n):
    secret = urandom(64)
    for t in range(1, n + 1):
        shares = shamir.split(secret, t, range(1, n + 1), urandom)
        for size in range(1, n + 1):
            for chosen in combinations(shares, size):
                found = shamir.combine({x: shares[x] for x in chosen})
                assert (found == secret) == (size >= t)


def test_the_field_is_the_one_of_aes():
    assert shamir.PRODUCT[0x53, 0xCA] == 1
    for a in range(1, 256):
        assert sorted(shamir.PRODUCT[a].tolist()) == list(range(256))


def test_every_index_up_to_255_works():
    secret = urandom(8)
    shares = shamir.split(secret, 200, range(1, 256), urandom)
    assert shamir.combine({x: shares[x] for x in range(56, 256)}) == secret
    assert shamir.combine({x: shares[x] for x in range(1, 201)}, at=255) == shares[255]


@pytest.mark.parametrize(
    ("t", "xs"), [(0, [1, 2]), (3, [1, 2]), (2, [0, 1]), (2, [1, 256]), (2, [1, 1])]
)
def test_impossible_sharings_are_refused(t, xs):
    with pytest.raises(ValueError, match="share"):
        shamir.split(b"secret", t, xs, urandom)


def test_coefficients_come_from_one_draw_of_the_right_size():
    sizes = []

    def random(size):
        sizes.append(size)
        return urandom(size)

    shamir.split(bytes(64), 5, range(1, 9), random)
    assert sizes == [4 * 64]


@pytest.mark.parametrize("secrets", [1, 2, 3])
@pytest.mark.parametrize("size", [1, 7, 8, 32, 33])
def test_many_secrets_side_by_side_are_evaluated_as_one_by_one(secrets, size):
    t, xs, ats = 4, (2, 3, 9, 255), (0, 1, 7, 254)
    dealt = [shamir.split(urandom(size), t, range(1, 256), urandom) for _ in range(secrets)]
    rows = [b"".join(shares[x] for shares in dealt) for x in xs]
    for at, row in zip(ats, shamir.evaluate(xs, rows, ats), strict=True):
        for place, shares in enumerate(dealt):
            base = {x: shares[x] for x in xs}
            part = row[size * place : size * (place + 1)]
            assert part == shamir.combine(base, at=at)
            assert at == 0 or part == shares[at]


def test_evaluating_nowhere_gives_nothing():
    assert shamir.evaluate((1, 2), (b"ab", b"cd"), ()) == []


def test_a_share_at_hand_is_given_as_it_is():
    shares = shamir.split(urandom(8), 2, (1, 2, 3), urandom)
    assert shamir.combine(shares, at=2) == shares[2]
