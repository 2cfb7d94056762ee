"""The transport's small parts: codec, objects, request signatures, store, buckets, retry."""

import hashlib
import json
import os
import threading
import time
from dataclasses import replace

import httpx
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from flwr.app import Array, ArrayRecord, ConfigRecord, MetricRecord, RecordDict
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeveil.agent.flower_link.kept_objects import KeptObjects
from edgeveil.agent.flower_link.retry import ActivateFirst, Caller, Dropped, SessionOver, Stopped
from edgeveil.coordinator.gateway.edge_store import EdgeStore, Refused
from edgeveil.shared.base.errors import EnrollmentError, ProtocolError, RefusalCode, TransportError
from edgeveil.shared.flower.codec import (
    bulk_record,
    decode_attempt,
    decode_reply,
    decode_request,
    encode_reply,
    encode_request,
)
from edgeveil.shared.flower.objects import check_objects
from edgeveil.shared.wire.identity import Identity
from edgeveil.shared.wire.messages import Asking, Attempt, Reply, Request, Stage
from edgeveil.shared.wire.request_signature import BadSignature, Session, check, sign

ATTEMPT = Attempt("run-1", 3, 2)
A, B = b"a" * 16, b"b" * 16


def digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


@given(
    stage=st.sampled_from([*Asking, *Stage]),
    body=st.binary(max_size=200),
    bulk=st.none() | st.tuples(st.binary(max_size=200), st.none() | st.binary(max_size=200)),
    number=st.integers(1, 2**64 - 1),
    attempt=st.integers(1, 2**32 - 1),
)
@settings(max_examples=60, deadline=None)
def test_requests_and_replies_come_back_as_they_went(stage, body, bulk, number, attempt):
    at = Attempt("run-9", number, attempt)
    model, frozen = bulk or (None, None)
    request = Request(stage, at, body, b"s" * 64, model, frozen)
    assert decode_request(encode_request(request)) == request
    reply = Reply(stage, at, body, None, b"s" * 64, model)
    assert decode_reply(encode_reply(reply)) == reply
    refusal = Reply(stage, at, b"", RefusalCode.BUDGET_EXHAUSTED, b"s" * 64)
    assert decode_reply(encode_reply(refusal)) == refusal


def good() -> RecordDict:
    return encode_request(Request(Stage.ROUND, ATTEMPT, b"body", b"s" * 64, b"bulk"))


def changed(**values: object) -> RecordDict:
    records = good()
    config = {**records["secagg"], **values}
    records["secagg"] = ConfigRecord({k: v for k, v in config.items() if v is not None})
    return records


def with_record(name: str, record: object) -> RecordDict:
    records = good()
    records[name] = record
    return records


RAW = {"dtype": "uint8", "shape": (4,), "stype": "edgeveil.raw", "data": b"bulk"}


@pytest.mark.parametrize(
    "records",
    [
        RecordDict(),
        changed(stage=b"train.other"),
        changed(stage=b"\xff"),
        changed(stage="train.round"),
        changed(body=None),
        changed(extra=b""),
        changed(signature=b"s" * 63),
        changed(attempt=b""),
        changed(attempt=Attempt("Run", 1, 1).encode()),
        changed(attempt=Attempt("run", 0, 1).encode()),
        changed(attempt=ATTEMPT.encode() + b"x"),
        changed(body=b"x" * ((4 << 20) + 1)),
        with_record("other", MetricRecord({"loss": 1.0})),
        with_record("y", bulk_record("y", b"z")),
        with_record("model", ArrayRecord({})),
        with_record("model", ConfigRecord({"model": b"x"})),
        with_record("model", ArrayRecord({"other": Array(**RAW)})),
        with_record("model", ArrayRecord({"model": Array(**RAW), "b": Array(**RAW)})),
        with_record("model", ArrayRecord({"frozen": Array(**RAW)})),
        with_record(
            "model",
            ArrayRecord({"model": Array(**RAW), "frozen": Array(**{**RAW, "dtype": "int8"})}),
        ),
        with_record("model", ArrayRecord({"model": Array(**{**RAW, "shape": (5,)})})),
        with_record("model", ArrayRecord({"model": Array(**{**RAW, "dtype": "float32"})})),
        with_record("model", ArrayRecord({"model": Array(**{**RAW, "stype": "numpy.ndarray"})})),
    ],
)
def test_another_form_of_request_is_malformed(records):
    with pytest.raises(ProtocolError) as caught:
        decode_request(records)
    assert caught.value.code is RefusalCode.MALFORMED


@pytest.mark.parametrize(
    "fields",
    [{"refusal": b"NO_SUCH_CODE"}, {"refusal": b"TIMEOUT"}, {"refusal": b"\xff"}],
)
def test_a_refusal_outside_the_list_or_with_content_is_malformed(fields):
    records = encode_reply(Reply(Stage.ROUND, ATTEMPT, b"body", None, b"s" * 64))
    records["secagg"] = ConfigRecord({**records["secagg"], **fields})
    with pytest.raises(ProtocolError):
        decode_reply(records)


def test_one_record_serves_many_requests_without_a_copy():
    data = os.urandom(1000)
    record = bulk_record("model", data)
    assert record["model"].data is data
    requests = [Request(Stage.ROUND, ATTEMPT, bytes([n]), b"s" * 64, data) for n in range(3)]
    assert all(encode_request(request, record)["model"] is record for request in requests)


def test_a_reply_brings_no_second_array():
    records = encode_reply(Reply(Stage.MASKED, ATTEMPT, b"body", None, b"s" * 64, b"bulk"))
    records["y"] = ArrayRecord({"y": Array(**RAW), "frozen": Array(**RAW)})
    with pytest.raises(ProtocolError, match="not one array"):
        decode_reply(records)


def message(*chunks: bytes) -> dict[str, bytes]:
    """The objects of a message with one array for each of `chunks`."""
    found = {}
    for chunk in chunks:
        made = item("ArrayChunk", [], chunk)
        found |= made | item("Array", list(made), b'{"arraychunk_ids": [0]}')
    return found | item("ArrayRecord", [], b"{}")


def test_what_two_messages_of_two_arrays_have_in_common_is_known_the_second_time():
    kept = KeptObjects()
    first, second = message(b"model 1", b"body"), message(b"model 2", b"body")
    assert kept.known(first) == {}
    kept.keep(first)
    assert kept.known(second) == item("ArrayChunk", [], b"body")
    kept.keep(message(b"a model alone"))
    kept.keep(item("ConfigRecord", [], b"{}"))
    assert kept.known(second) == item("ArrayChunk", [], b"body")
    kept.keep(second)
    assert kept.known(first) == item("ArrayChunk", [], b"body")


def test_a_device_keeps_no_more_objects_than_its_bound():
    kept = KeptObjects(most_bytes=30)
    kept.keep(message(b"model", bytes(40)))
    assert kept.known(message(b"model", bytes(40))) == {}


def test_an_attempt_reads_back():
    assert decode_attempt(ATTEMPT.encode()) == ATTEMPT


def item(kind: str, children: list[str], body: bytes) -> dict[str, bytes]:
    content = f"{kind} {','.join(children)} {len(body)}".encode() + b"\x00" + body
    return {digest(content): content}


def array(chunks: dict[str, bytes], order: object) -> dict[str, bytes]:
    body = json.dumps({"arraychunk_ids": order}).encode()
    return chunks | item("Array", list(chunks), body)


def test_an_array_may_use_its_chunks_within_the_bound_only():
    chunks = item("ArrayChunk", [], b"x" * 1000)
    check_objects(array(chunks, [0]), most_bytes=2000)
    with pytest.raises(ProtocolError, match="inflate to more"):
        check_objects(array(chunks, [0] * 1000), most_bytes=100_000)


@pytest.mark.parametrize(
    "contents",
    [
        {"a": b""},
        {"a": b"no divider"},
        {"a": b"two words\x00"},
        {"a": b"Message \xff 0\x00"},
        item("CustomDataClass", [], b""),
        item("Array", ["absent"], b'{"arraychunk_ids":[0]}'),
        item("Array", [], b'{"arraychunk_ids":[0]}'),
        item("Array", [], b'{"arraychunk_ids":5}'),
        item("Array", [], b"[]"),
        item("Array", [], b"not json"),
        item("Array", [], b"[" * 100_000),
    ],
)
def test_objects_that_cannot_be_read_are_malformed(contents):
    with pytest.raises(ProtocolError) as caught:
        check_objects(contents, most_bytes=1 << 20)
    assert caught.value.code is RefusalCode.MALFORMED


SIGNED = {
    "path": "/v1/fleet/pull-messages",
    "body": b"body",
    "timestamp": "2026-01-01T00:00:00+00:00",
    "session": "5.0123456789abcdef",
}


def verify(identity: Identity, header: str, **values: object) -> bytes:
    public = Ed25519PublicKey.from_public_bytes(identity.public)
    fields = {**SIGNED, **values}
    return check(
        public,
        header,
        fields["path"],
        fields["body"],
        timestamp=fields["timestamp"],
        session=fields["session"],
    )


def test_a_request_signature_binds_everything_it_covers():
    identity, nonce = Identity.generate(), os.urandom(16)
    header = sign(
        identity,
        SIGNED["path"],
        SIGNED["body"],
        timestamp=SIGNED["timestamp"],
        session=SIGNED["session"],
        nonce=nonce,
    )
    assert verify(identity, header) == nonce
    for name, value in {
        "path": "/v1/fleet/push-object",
        "body": b"bodY",
        "timestamp": "2026-01-01T00:00:01+00:00",
        "session": "6.0123456789abcdef",
    }.items():
        with pytest.raises(BadSignature):
            verify(identity, header, **{name: value})
    other_nonce = os.urandom(16).hex() + header[32:]
    for bad in (other_nonce, header[:-1], header + "=", "", header.replace(".", ":")):
        with pytest.raises(BadSignature):
            verify(identity, bad)
    with pytest.raises(BadSignature):
        verify(Identity.generate(), header)


@pytest.mark.parametrize("text", ["", "1", "0.0123456789abcdef", "1.0123456789ABCDEF", "-1.00"])
def test_a_session_has_one_spelling(text):
    with pytest.raises(BadSignature):
        Session.parse(text)


def test_sessions_order_by_their_counter():
    assert Session.parse("10.0000000000000000") > Session.parse("9.ffffffffffffffff")
    assert str(Session.parse("10.0000000000000001")) == "10.0000000000000001"


def test_the_store_frees_an_object_with_its_last_message():
    store = EdgeStore()
    shared, own = b"shared", b"own"
    names = [digest(shared), digest(own)]
    assert store.hold("m1", names) == frozenset(names)
    store.fill({digest(shared): shared, digest(own): own, digest(b"other"): b"other"})
    assert store.hold("m2", [digest(shared)]) == frozenset()
    store.grant(A, "m1", names)
    assert store.read(A, names[0]) == shared
    with pytest.raises(Refused):
        store.read(B, names[0])
    store.confirm(A, "m1")
    assert store.bytes_held == len(shared)
    with pytest.raises(Refused):
        store.read(A, names[0])
    store.release("m2")
    assert store.bytes_held == 0


def test_an_upload_is_complete_with_its_last_object_and_taken_once():
    store = EdgeStore()
    parts = {digest(part): part for part in (b"one", b"two")}
    assert not store.expect(A, "s", "reply", parts, parts, most_bytes=6)
    first, second = parts
    assert store.take("reply") is None
    assert store.accept(A, "s", first, parts[first]) is None
    assert store.accept(A, "s", first, parts[first]) is None  # repeated
    assert store.accept(A, "s", second, parts[second]) == "reply"
    assert store.take("reply") == parts
    assert store.take("reply") is None
    assert store.bytes_held == 0
    with pytest.raises(Refused):
        store.accept(A, "s", first, parts[first])


def test_an_upload_takes_no_foreign_false_or_excess_object():
    store = EdgeStore()
    content = b"x" * 10
    name = digest(content)
    store.expect(A, "s", "reply", [name, "other"], [name, "other"], most_bytes=9)
    for agent, session, object_id, data, reason in (
        (B, "s", name, content, "object"),
        (A, "t", name, content, "object"),
        (A, "s", digest(b"new"), b"new", "object"),
        (A, "s", name, b"x" * 9, "object"),
        (A, "s", name, content, "oversize"),
    ):
        with pytest.raises(Refused) as caught:
            store.accept(agent, session, object_id, data)
        assert caught.value.reason == reason
    assert store.bytes_held == 0


def test_content_that_another_agent_sent_does_not_stand_in_for_an_upload():
    store = EdgeStore()
    content = b"secret of another agent"
    name = digest(content)
    store.expect(A, "s", "ra", [name], [name], most_bytes=100)
    store.accept(A, "s", name, content)
    assert not store.expect(B, "t", "rb", [name], [name], most_bytes=100)
    with pytest.raises(Refused):
        store.expect(B, "u", "ra", [name], [name], most_bytes=100)
    with pytest.raises(Refused):
        store.read(B, name)


def test_a_restarted_agents_half_upload_is_dropped_and_its_whole_one_kept():
    store = EdgeStore()
    whole, half = b"whole", b"half"
    store.expect(A, "s", "r1", [digest(whole)], [digest(whole)], most_bytes=100)
    assert store.accept(A, "s", digest(whole), whole) == "r1"
    store.expect(A, "t", "r2", [digest(half), "x"], [digest(half), "x"], most_bytes=100)
    store.accept(A, "t", digest(half), half)
    store.forget_agent(A)
    assert store.take("r2") is None
    assert store.bytes_held == len(whole)
    assert store.take("r1") == {digest(whole): whole}


def respond(status: int, **fields: object) -> httpx.HTTPStatusError:
    request = httpx.Request("POST", "https://host/v1/fleet/x")
    response = httpx.Response(status, json=fields, request=request)
    return httpx.HTTPStatusError("", request=request, response=response)


class Script:
    """Raises the given errors one after another, then returns 42."""

    def __init__(self, *errors: BaseException) -> None:
        self.errors = list(errors)

    def __call__(self) -> int:
        if self.errors:
            raise self.errors.pop(0)
        return 42


def caller() -> tuple[Caller, list[str], threading.Event]:
    said: list[str] = []
    stop = threading.Event()
    return Caller("host:1", said.append, stop), said, stop


def test_what_may_pass_is_tried_again():
    call, said, _ = caller()
    script = Script(httpx.ConnectError("refused"), respond(503, code="unavailable"))
    assert call.call(script) == 42
    assert len(said) == 2


@pytest.mark.parametrize(
    ("error", "raised", "word"),
    [
        (respond(401, code="unknown_key"), EnrollmentError, "roster"),
        (respond(401, code="revoked"), EnrollmentError, "revoked"),
        (respond(409, code="superseded"), EnrollmentError, "newer"),
        (respond(401, code="signature"), TransportError, "signature"),
        (respond(401), TransportError, "no reason"),
        (respond(426, code="version"), TransportError, "update"),
        (respond(428, code="activate_first"), ActivateFirst, ""),
        (respond(403, code="object"), Dropped, ""),
        (respond(413, code="oversize"), Dropped, ""),
        (respond(307), Dropped, ""),
        (respond(500), Dropped, ""),
    ],
)
def test_each_answer_has_one_reaction(error, raised, word):
    call, _, _ = caller()
    with pytest.raises(raised, match=word):
        call.call(Script(error))


def test_a_clock_answer_of_a_server_with_our_time_ends_the_session():
    call, _, _ = caller()
    with pytest.raises(SessionOver):
        call.call(Script(respond(401, code="clock_skew", server_time=time.time() + 1)))


@pytest.mark.parametrize("server_time", [1.7e9, None, "soon", 1e300, True])
def test_a_clock_answer_is_explained_whatever_the_server_says(server_time):
    call, said, stop = caller()

    def stop_soon() -> int:
        threading.Timer(0.05, stop.set).start()
        raise respond(401, code="clock_skew", server_time=server_time)

    with pytest.raises(Stopped):
        call.call(stop_soon)
    assert "clock" in said[0]


def test_a_call_with_a_deadline_ends_there():
    call, _, _ = caller()
    with pytest.raises(Dropped):
        call.call(Script(*[httpx.ConnectError("refused")] * 50), deadline=0.0)


def test_a_request_is_not_equal_to_one_with_another_body():
    one = Request(Stage.ROUND, ATTEMPT, b"a", b"s" * 64)
    assert decode_request(encode_request(replace(one, body=b"b"))) != one
