from itertools import combinations
from os import urandom

import pytest

from edgeveil.shared.secagg.primitives import shamir
from edgeveil.shared.secagg.server.recovery import search


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


def _points(t, n):
    secret = urandom(32)
    return secret, shamir.split(secret, t, range(1, n + 1), urandom)


@pytest.mark.parametrize("wrong", [(), (1,), (7,), (1, 2), (2, 6), (1, 3, 5)])
def test_search_finds_the_secret_and_the_wrong_shares(wrong):
    secret, points = _points(4, 9)
    for x in wrong:
        points[x] = bytes(32)
    found, liars = search(points, 4, lambda candidate: candidate == secret)
    assert found == secret
    assert liars == ([] if min(wrong, default=9) > 4 else sorted(wrong))


def test_search_gives_up_when_too_many_lie():
    secret, points = _points(4, 6)
    for x in (1, 2, 3):
        points[x] = bytes(32)
    assert search(points, 4, lambda candidate: candidate == secret) == (None, [])


def test_search_stops_after_its_tries():
    tries = []

    def fits(candidate):
        tries.append(candidate)
        return False

    _, points = _points(30, 60)
    assert search(points, 30, fits) == (None, [])
    assert len(tries) == 500


def test_search_never_tries_a_set_twice():
    tries = []

    def fits(candidate):
        tries.append(candidate)
        return False

    _, points = _points(4, 7)
    for x in points:
        points[x] = urandom(32)  # any two sets now give different secrets
    search(points, 4, fits)
    assert len(tries) == len(set(tries)) == len(list(combinations(range(7), 4)))


def test_colluding_holders_cannot_frame_an_honest_one():
    """Equal errors at x = 1 and 2 cancel in some sets of five, where honest shares look wrong."""
    shares = shamir.split(bytes(32), 5, range(1, 8), bytes)
    for x in (1, 2):
        shares[x] = bytes(byte ^ 0x5A for byte in shares[x])
    found, liars = search(shares, 5, lambda candidate: candidate == bytes(32))
    assert found == bytes(32)
    assert liars == []
