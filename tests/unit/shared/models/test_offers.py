"""Offers of published models: signed whole, one spelling, nothing unknown taken."""

import pytest

from edgeveil.shared.base.errors import ProtocolError
from edgeveil.shared.models.offer import SLICE, Offer, Question, SliceQuestion
from edgeveil.shared.wire.identity import Identity

SIGNER = Identity.generate()
VALUES = {"serial": 7, "model": "ab" * 32, "file": "cd" * 32, "size": 5, "run": "run-1", "round": 2}


def test_an_offer_verifies_by_the_key_that_signed_it_and_by_no_other():
    offer = Offer.decode(Offer.sign(VALUES, SIGNER).model_dump_json().encode())
    offer.check(SIGNER.public)
    with pytest.raises(ProtocolError, match="does not verify"):
        offer.check(Identity.generate().public)


@pytest.mark.parametrize(
    ("field", "other"),
    [("serial", 8), ("model", "ab" * 31 + "00"), ("file", "ee" * 32), ("size", 6), ("run", "run-2"), ("round", 3)],
)  # fmt: skip
def test_every_field_of_an_offer_is_signed(field, other):
    offer = Offer.sign(VALUES, SIGNER).model_copy(update={field: other})
    with pytest.raises(ProtocolError, match="does not verify"):
        offer.check(SIGNER.public)


@pytest.mark.parametrize(
    "body",
    [
        b"", b"null", b"[]", b'{"serial": -1}', b'{"serial": 1.0}', b'{"serial": true}', b'{"serial": "1"}',
        b'{"serial": 9007199254740992}', b'{"wait": 1}', b'{"in_use": "x"}', b'{"score": 0.5}', b"{" * 250,
    ],
)  # fmt: skip
def test_a_question_says_what_it_may_and_nothing_else(body):
    with pytest.raises(ProtocolError):
        Question.decode(body)


@pytest.mark.parametrize("at", [-SLICE, 1, SLICE - 1, SLICE * 10_000])
def test_a_part_begins_where_parts_begin(at):
    with pytest.raises(ProtocolError):
        SliceQuestion.decode(b'{"serial": 1, "at": %d}' % at)
