import json

import dp_bench as bench
import pytest

from edgeveil.shared.base.errors import ProtocolError
from edgeveil.shared.secagg.primitives.canonical import Malformed
from edgeveil.shared.wire.messages import VERSIONS, RoundAccept, RoundOffer
from edgeveil.shared.wire.plan import TrainingPlan
from edgeveil.shared.wire.versions import Versions


@pytest.mark.parametrize(
    ("agent", "coordinator", "version"),
    [((1, 1), (1, 1), 1), ((1, 3), (2, 5), 3), ((2, 5), (1, 3), 3), ((1, 9), (4, 4), 4)],
)
def test_the_newest_common_version_is_chosen(agent, coordinator, version):
    assert Versions(*agent).agree(Versions(*coordinator)) == version


def test_without_a_common_version_the_refusal_names_both_and_who_is_to_update():
    with pytest.raises(ProtocolError, match="protocol 2 to 3, this agent 1; update this agent"):
        Versions(1, 1).agree(Versions(2, 3))
    with pytest.raises(ProtocolError, match="protocol 1, this agent 2; update the coord") as error:
        Versions(2, 2).agree(Versions(1, 1))
    assert error.value.code == "VERSION"


def test_four_bytes_are_the_only_spelling():
    assert Versions(1, 258).encode() == b"\x00\x01\x01\x02"
    assert Versions.decode(b"\x00\x01\x01\x02") == Versions(1, 258)
    for wrong in (b"", b"\x00\x01\x01", b"\x00\x02\x00\x01", bytes(4), b"\x00\x01\x00\x01\x00"):
        with pytest.raises(Malformed):
            Versions.decode(wrong)


def test_membership_includes_both_ends():
    assert [version in Versions(2, 4) for version in range(1, 6)] == [0, 1, 1, 1, 0]


def _offer(**changes):
    values = {
        "task_id": "task",
        "task_version": "1.0.0",
        "code_hash": bytes(32),
        "shard": 7,
        "params": b"p",
        "plan_json": b"{}",
        "roster_body": b"r",
        "roster_signature": bytes(64),
        "tensors": (),
        "ledger_echo": b"",
        "deadline_ms": 1,
        "open_signature": bytes(64),
    }
    return RoundOffer(**(values | changes))


def test_an_offer_carries_shard_and_versions():
    offer = _offer()
    assert RoundOffer.decode(offer.encode()) == offer
    assert (offer.shard, offer.versions) == (7, VERSIONS)


def test_of_an_offer_in_another_version_only_the_versions_are_read():
    newer = Versions(VERSIONS.newest + 1, VERSIONS.newest + 4)
    whole = _offer(versions=newer).encode()
    other_layout = whole.replace(b"round-offer\x0d", b"round-offer\x05", 1)[:60]
    for body in (whole, other_layout):
        with pytest.raises(ProtocolError, match=f"this agent {VERSIONS}") as error:
            RoundOffer.decode(body)
        assert error.value.code == "VERSION"


@pytest.mark.parametrize(
    "body",
    [b"", b"\x20edgeveil/app-v1/round-offer", _offer().encode()[:30], _offer().encode()[:-1]],
    ids=["empty", "no field", "torn head", "torn end"],
)
def test_a_torn_offer_is_malformed(body):
    with pytest.raises(ProtocolError) as error:
        RoundOffer.decode(body)
    assert error.value.code == "MALFORMED"


def test_an_offer_whose_versions_are_no_range_is_malformed():
    body = _offer().encode().replace(VERSIONS.encode(), b"\x00\x02\x00\x01", 1)
    with pytest.raises(ProtocolError) as error:
        RoundOffer.decode(body)
    assert error.value.code == "MALFORMED"


def test_an_agent_may_only_choose_an_offered_version():
    assert RoundAccept.decode(RoundAccept(b"a", b"h").encode()).version == VERSIONS.newest
    with pytest.raises(ProtocolError, match=f"chose protocol 9, offered was {VERSIONS}"):
        RoundAccept.decode(RoundAccept(b"a", b"h", 9).encode())
    with pytest.raises(ProtocolError):
        RoundAccept.decode(RoundAccept(b"a", b"h").encode()[:-1])


@pytest.mark.parametrize(
    ("changes", "code", "sentence"),
    [
        (
            {"kind\x1b[2J\nok": "train"},
            "VERSION",
            (
                "the plan asks for 'kind\\x1b[2J\\nok', which this agent's release does not know; "
                "update this agent"
            ),
        ),
        (
            {"optimizer": "lion"},
            "MALFORMED",
            "plan: 'optimizer': Input should be 'sgd', 'adam' or 'adamw'",
        ),
        ({"steps": 0}, "MALFORMED", "plan: 'steps': Input should be greater than or equal to 1"),
        (
            {"proximal": "0.1", "momentum": "0.5"},
            "MALFORMED",
            "plan: 'all': Value error, proximal belongs to sgd without momentum",
        ),
    ],
    ids=["an unknown key", "an unknown value", "out of range", "a combination"],
)
def test_a_plan_that_is_not_understood_is_refused_in_one_line(changes, code, sentence):
    fields = json.loads(bench.plan().to_json()) | changes
    text = json.dumps(fields, sort_keys=True, separators=(",", ":")).encode()
    with pytest.raises(ProtocolError) as error:
        TrainingPlan.from_json(text)
    assert (error.value.code, error.value.message) == (code, sentence)
