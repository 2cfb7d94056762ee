"""Messages have one spelling, items one length, lists one order; nothing else is read."""

import pytest
from secagg_values_bench import Z, body, listed

from edgeveil.shared.secagg.agreement.messages import (
    MaskedRequest,
    ShareReply,
    ShareRequest,
    UnmaskReply,
    UnmaskRequest,
)
from edgeveil.shared.secagg.primitives import canonical
from edgeveil.shared.secagg.primitives.canonical import Malformed

ENTRY = bytes(15) + b"\x05"
WRONG_ITEMS = [
    (lambda size: ShareRequest.decode(_share_request(listed(bytes(48 + size)), listed()), 9), 48),
    (lambda size: ShareRequest.decode(_share_request(listed(), listed(bytes(148 + size))), 9), 148),
    (
        lambda size: ShareReply.decode(body("m2-reply", listed(bytes(129 + size)), bytes(64)), 9),
        129,
    ),
    (lambda size: MaskedRequest.decode(body("m3-request", b"", listed(bytes(129 + size))), 9), 129),
    (lambda size: UnmaskRequest.decode(body("m5-request", listed(bytes(66 + size))), 9), 66),
    (lambda size: UnmaskReply.decode(body("m5-reply", listed(bytes(49 + size)), bytes(64)), 9), 49),
]


def _share_request(cohort: bytes, neighbours: bytes, *numbers: bytes) -> bytes:
    k, t, h, quorum = numbers or (Z[:2], Z[:2], Z[:2], Z[:4])
    return body("m2-request", cohort, neighbours, k, t, h, quorum)


@pytest.mark.parametrize(("decode", "size"), WRONG_ITEMS)
def test_list_items_have_one_length(decode, size):
    decode(0)
    for wrong in (-1, 1):
        with pytest.raises(Malformed, match=f"^not a list of 1 items of {size} bytes each$"):
            decode(wrong)


@pytest.mark.parametrize(
    ("spelling", "count"),
    [
        (listed(b"ab", b"c", b"def"), 3),  # the sum of the lengths is right
        (listed(b"ab") + b"c", 1),
        (listed(b"ab")[:-1], 1),
        (listed(b"ab")[:4], 1),
        (listed() + bytes(6), 0),
    ],
)
def test_a_list_of_rows_has_one_spelling(spelling, count):
    assert canonical.parse_rows(listed(b"ab", b"cd"), "ss", most=2) == [(b"a", b"b"), (b"c", b"d")]
    assert canonical.parse_rows(listed(), "ss", most=0) == []
    with pytest.raises(Malformed, match=f"^not a list of {count} items of 2 bytes each$"):
        canonical.parse_rows(spelling, "ss", most=3)


TWICE = [
    lambda a, b: _share_request(listed(ENTRY + a, ENTRY + b), listed()),
    lambda a, b: _share_request(listed(), listed(ENTRY + a + bytes(100), ENTRY + b + bytes(100))),
]


@pytest.mark.parametrize("spell", TWICE)
def test_one_id_with_two_contents_is_not_ascending(spell):
    one, other = bytes(32), b"\x01" * 32
    with pytest.raises(Malformed, match="a list is not strictly ascending"):
        ShareRequest.decode(spell(one, other), 9)


def test_one_sender_owner_or_position_with_two_contents_is_not_ascending():
    for decode in (
        lambda: MaskedRequest.decode(
            body("m3-request", b"", listed(ENTRY + bytes(113), ENTRY + b"\x01" * 113)), 9
        ),
        lambda: UnmaskReply.decode(
            body("m5-reply", listed(ENTRY + bytes(33), ENTRY + b"\x01" * 33), bytes(64)), 9
        ),
        lambda: UnmaskRequest.decode(
            body("m5-request", listed(b"\x00\x01" + bytes(64), b"\x00\x01" + b"\x01" * 64)), 9
        ),
    ):
        with pytest.raises(Malformed, match="a list is not strictly ascending"):
            decode()


def test_numbers_have_one_width():
    for place in range(4):
        numbers = [Z[:2], Z[:2], Z[:2], Z[:4]]
        for width in (1, 3, 5):
            numbers[place] = Z[:width]
            with pytest.raises(Malformed, match="expected an integer of"):
                ShareRequest.decode(_share_request(listed(), listed(), *numbers), 9)


def test_lists_are_bounded_by_the_cohort_limit():
    three = listed(*(bytes([place]) * 48 for place in range(3)))
    assert len(ShareRequest.decode(_share_request(three, listed()), 3).cohort) == 3
    with pytest.raises(Malformed, match="a list of 3 items where 2 are allowed"):
        ShareRequest.decode(_share_request(three, listed()), 2)


def test_the_leading_field_of_a_message_of_one_field_is_that_field():
    assert canonical.leading("edgeveil/secagg-v1/x", canonical.canon("x", b"only")) == b"only"
    assert canonical.leading("edgeveil/secagg-v1/x", canonical.canon("x", b"1", b"2")) == b"1"
