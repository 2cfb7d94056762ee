"""One spelling per message: every truncation and every changed length is malformed."""

import dataclasses

import pytest
from secagg_bench import STAGES, Bench

from edgeveil.shared.secagg.agreement import messages
from edgeveil.shared.secagg.primitives.canonical import Malformed

REQUESTS = {
    "share": lambda data: messages.ShareRequest.decode(data, 5),
    "masked": lambda data: messages.MaskedRequest.decode(data, 5),
    "agree": messages.AgreeRequest.decode,
    "unmask": lambda data: messages.UnmaskRequest.decode(data, 5),
}
REPLIES = {
    "advert": messages.Advert.decode,
    "share": lambda data: messages.ShareReply.decode(data, 5),
    "masked": messages.MaskedReply.decode,
    "agree": messages.AgreeReply.decode,
    "unmask": lambda data: messages.UnmaskReply.decode(data, 5),
}
BENCH = Bench.of(5)
BENCH.play()
SAMPLES = [
    (decode, next(entry[place] for entry in BENCH.traffic if entry[0] == name))
    for decoders, place in ((REQUESTS, 2), (REPLIES, 3))
    for name, decode in decoders.items()
]


@pytest.mark.parametrize(("decode", "data"), SAMPLES)
def test_messages_encode_to_what_they_were_decoded_from(decode, data):
    assert decode(data).encode() == data


@pytest.mark.parametrize(("decode", "data"), SAMPLES)
def test_every_truncation_and_every_tail_is_malformed(decode, data):
    for length in range(len(data)):
        with pytest.raises(Malformed):
            decode(data[:length])
    with pytest.raises(Malformed):
        decode(data + b"\x00")


@pytest.mark.parametrize(("decode", "data"), SAMPLES)
def test_a_changed_byte_is_malformed_or_another_message(decode, data):
    for place in range(len(data)):
        changed = data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :]
        try:
            assert decode(changed).encode() == changed
        except Malformed:
            continue


def test_a_list_above_the_cohort_limit_is_not_even_read():
    data = next(entry[2] for entry in BENCH.traffic if entry[0] == "share")
    with pytest.raises(Malformed, match="5 items where 4"):
        messages.ShareRequest.decode(data, 4)


def test_no_exchange_is_forgotten():
    assert set(REPLIES) == set(STAGES)
    assert set(REQUESTS) == set(STAGES[1:])


@pytest.mark.parametrize("size", [0, 63, 65])
@pytest.mark.parametrize(("decode", "data"), SAMPLES[len(REQUESTS) :])
def test_a_signature_of_another_size_is_malformed(decode, data, size):
    message = decode(data)
    with pytest.raises(Malformed):
        decode(dataclasses.replace(message, signature=bytes(size)).encode())


def test_list_items_of_another_size_are_malformed():
    with pytest.raises(Malformed, match="66 bytes"):
        messages.UnmaskRequest.decode(messages.UnmaskRequest(((1, bytes(63)),)).encode(), 5)
    with pytest.raises(Malformed, match="129 bytes"):
        messages.MaskedRequest.decode(
            messages.MaskedRequest(b"", ((bytes(16), bytes(80), bytes(32)),)).encode(), 5
        )
