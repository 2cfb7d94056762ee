"""Every byte that an agent answers with is of a known field; none of them is a score, a count or a text."""

from dataclasses import fields

import numpy as np
import pytest
from fakes_federation import Federation, plan_for

from edgeveil.shared.privacy.ledger.heads import SignedHead
from edgeveil.shared.secagg.agreement.messages import (
    Advert,
    AgreeReply,
    MaskedReply,
    ShareReply,
    UnmaskReply,
)
from edgeveil.shared.wire.messages import Asking, MaskedAccept, PreflightAnswer, RoundAccept, Stage

KEYS, SIGNATURE = 32, 64
FIELDS = {
    RoundAccept: {"advert", "ledger_head", "version"},
    Advert: {"ctx", "agent_id", "channel_key", "mask_key", "weight", "signature"},
    SignedHead: {"dataset", "seq", "hash", "sig", "told"},
    ShareReply: {"sealed", "signature"},
    MaskedAccept: {"masked", "ledger_head"},
    MaskedReply: {"signature"},
    AgreeReply: {"signature"},
    UnmaskReply: {"shares", "signature"},
    PreflightAnswer: {"question", "code", "about", "version"},
}


def opened(stage, body):
    """Each message in the body, decoded; every one must spell the very bytes it was read from."""
    if stage is Asking.PREFLIGHT:
        return [PreflightAnswer.decode(body)]
    if stage is Stage.ROUND:
        accept = RoundAccept.decode(body)
        return [accept, Advert.decode(accept.advert), SignedHead.decode(accept.ledger_head)]
    if stage is Stage.MASKED:
        accept = MaskedAccept.decode(body)
        return [accept, MaskedReply.decode(accept.masked), SignedHead.decode(accept.ledger_head)]
    if stage is Stage.AGREE:
        return [AgreeReply.decode(body)]
    kind = ShareReply if stage is Stage.SHARE else UnmaskReply
    return [kind.decode(body, 4)]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    federation = Federation(tmp_path_factory.mktemp("federation"))
    driver = federation.train(plan_for(4, rounds__count=2))
    yield federation, driver
    federation.close()


def test_nothing_but_protocol_fields_and_one_masked_vector_leaves(trained):
    federation, driver = trained
    replies = [reply for _, _, reply in federation.wire.captured]
    assert len(replies) == 4 + 2 * 4 * len(Stage)
    params = driver._training._params
    layout = [(segment.name, segment.count) for segment in params.segments]
    assert layout == [("weight", 1), ("params", sum(int(np.prod(t.shape)) for t in driver.run.tensors))]  # fmt: skip
    for reply in replies:
        assert reply.refusal is None
        messages = opened(reply.stage, reply.body)
        assert messages[0].encode() == reply.body
        inside = [m.encode() for m in messages[1:]]
        assert all(part in reply.body for part in inside)
        if isinstance(messages[1] if len(messages) > 1 else None, Advert):
            assert messages[1].weight == 60  # what the policy declares, not the count
        for message in messages:
            assert {f.name for f in fields(message)} == FIELDS[type(message)]
        bulk = b"" if reply.bulk is None else bytes(reply.bulk)
        if reply.stage is Stage.MASKED:
            assert len(bulk) == (params.lanes * params.bits + 7) // 8
        else:
            assert bulk == b""


def test_their_sizes_follow_from_the_cohort_alone(trained):
    """So that no number hides in a length: the same for every agent, round after round."""
    federation, _ = trained
    sizes = {stage: set() for stage in (*Asking, *Stage)}
    for _, _, reply in federation.wire.captured:
        sizes[reply.stage].add((len(reply.body), len(reply.bulk or b"")))
    assert all(len(found) == 1 for found in sizes.values()), sizes


def test_the_fixed_fields_have_room_for_keys_and_signatures_only(trained):
    federation, _ = trained
    for _, _, reply in federation.wire.captured:
        for message in opened(reply.stage, reply.body):
            if isinstance(message, Advert):
                assert len(message.channel_key) == len(message.mask_key) == KEYS
                assert len(message.ctx) == 32
            if isinstance(message, SignedHead):
                assert message.told is None
                assert len(message.hash) == 32
            if isinstance(message, MaskedReply | AgreeReply):
                assert len(message.signature) == SIGNATURE
