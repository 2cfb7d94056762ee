import json
import os
import threading

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from enrollment_bench import NOW, Bench, Device, TurnableClock
from events_bench import read_events
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edgeveil.coordinator.federation.rate_limit import RateLimiter
from edgeveil.coordinator.records.records import InviteState
from edgeveil.shared.base.errors import ConfigError, EnrollmentError
from edgeveil.shared.wire.join import MAX_REQUEST, JoinAnswer, JoinCode
from edgeveil.shared.wire.roster import SignedRoster
from edgeveil.shared.wire.tokens import fingerprint


@pytest.fixture
def bench(tmp_path):
    made = Bench(tmp_path)
    yield made
    made.close()


def events(bench):
    return [(line.event, line.level, line.agent) for line in read_events(bench.events_path)]


# Invitations


def test_an_invite_pins_everything_the_device_must_believe(bench):
    (token,) = bench.invite("cam-1", ttl_s=60)
    assert (token.url, token.authority, token.name) == (bench.url, bench.authority, "cam-1")
    assert token.federation == fingerprint(bench.federation.public)
    assert token.coordinator == fingerprint(bench.coordinator.public)
    assert token.expires == NOW + 60


def test_no_secret_is_in_the_state_folder(bench):
    tokens = bench.invite("a", "b", "c")
    bench.post(Device().request(tokens[0]))
    bench.post(Device().request(tokens[1], proof_key=b"?" * 32))
    stored = b"".join(path.read_bytes() for path in bench.folder.rglob("*") if path.is_file())
    assert tokens[2].proof_key in stored
    for token in tokens:
        assert token.secret not in stored
        assert token.secret.hex().encode() not in stored


def test_tokens_of_one_call_differ(bench):
    a, b = bench.invite("a", "b")
    assert a.secret != b.secret
    assert a.token_id != b.token_id


@pytest.mark.parametrize("names", [(), ("a", "a"), ("A",), ("-a",), ("a/b",), ("x" * 41,)])
def test_names_that_cannot_be_invited_store_nothing(bench, names):
    with pytest.raises(ConfigError):
        bench.invite(*names)
    assert bench.store.invites() == []


@pytest.mark.parametrize("ttl_s", [0, -1, 367 * 86_400, 1e12])
def test_a_token_must_live(bench, ttl_s):
    with pytest.raises(ConfigError, match="longer"):
        bench.invite("a", ttl_s=ttl_s)


def test_an_enrolled_name_is_not_invited_again(bench):
    bench.post(Device().request(bench.invite("a")[0]))
    with pytest.raises(EnrollmentError, match="already enrolled: a"):
        bench.invite("a")


# Joining


def test_a_device_is_pending_until_a_signed_roster_holds_it(bench):
    (token,) = bench.invite("a")
    device = Device()
    request = device.request(token)
    keys = {
        "coordinator_public": bench.coordinator.public.hex(),
        "federation_public": bench.federation.public.hex(),
    }
    pending = {"state": "pending", "agent_id": device.agent_id.hex(), "name": "a", "approved": True}
    pending |= keys
    assert bench.post(request) == (200, pending)
    assert bench.post(request) == (200, pending)
    bench.sign_and_import()
    status, answer = bench.post(request)
    assert (status, answer["state"]) == (200, "member")
    read = JoinAnswer.decode(json.dumps(answer).encode())
    opened = SignedRoster.open(read.roster_body, read.roster_signature, bench.federation.public)
    assert opened.roster.members == {device.agent_id: device.identity.public}
    assert bench.post(request) == (status, answer)


def test_a_joined_device_is_answered_after_its_token_has_expired(bench):
    (token,) = bench.invite("a", ttl_s=10)
    request = Device().request(token)
    bench.post(request)
    bench.clock.seconds += 20
    assert bench.post(request)[0] == 200


def test_the_same_device_may_come_back_with_a_newer_version(bench):
    (token,) = bench.invite("a")
    device = Device()
    bench.post(device.request(token))
    assert bench.post(device.request(token, software="0.2.0"))[0] == 200


@pytest.mark.parametrize("other", ["identity", "node"])
def test_another_key_for_a_used_token_is_refused_with_an_alarm(bench, other):
    (token,) = bench.invite("a")
    device = Device()
    bench.post(device.request(token))
    thief = Device() if other == "identity" else Device(identity=device.identity)
    status, answer = bench.post(thief.request(token))
    assert (status, answer["code"]) == (409, "token_used")
    assert events(bench)[-1] == ("invite.reuse", "alarm", "a")
    assert [agent.agent_id for agent in bench.store.agents()] == [device.agent_id]


def test_a_used_token_shown_again_and_again_cannot_rotate_the_log_away(bench):
    (token,) = bench.invite("a")
    bench.post(Device().request(token))
    thief = Device().request(token)
    for _ in range(50):
        bench.clock.seconds += 1
        assert bench.post(thief)[1]["code"] == "token_used"
    told = [event for event, *_ in events(bench)].count("invite.reuse")
    assert told == 10
    bench.clock.seconds += 3600
    bench.post(thief)
    assert events(bench)[-1] == ("invite.reuse", "alarm", "a"), "an hour later it is told again"


def test_an_expired_token_is_gone(bench):
    (token,) = bench.invite("a", ttl_s=10)
    bench.clock.seconds += 10
    assert bench.post(Device().request(token))[1]["code"] == "token_expired"
    assert bench.post(Device().request(token))[0] == 410
    assert bench.store.agents() == []


def test_a_replaced_token_is_unknown(bench):
    (old,) = bench.invite("a")
    (new,) = bench.invite("a")
    assert bench.post(Device().request(old))[1]["code"] == "token_unknown"
    assert bench.post(Device().request(new))[0] == 200


def test_the_fifth_wrong_proof_voids_the_token(bench):
    (token,) = bench.invite("a")
    wrong = Device().request(token, proof_key=os.urandom(32))
    assert [bench.post(wrong)[1]["code"] for _ in range(6)] == ["proof"] * 5 + ["token_void"]
    status, answer = bench.post(Device().request(token))
    assert (status, answer["code"]) == (410, "token_void")
    assert bench.store.invite(token.token_id).state is InviteState.VOID
    assert ("invite.void", "alarm", "a") in events(bench)


def test_four_wrong_proofs_leave_the_token_usable(bench):
    (token,) = bench.invite("a")
    wrong = Device().request(token, proof_key=os.urandom(32))
    for _ in range(4):
        bench.post(wrong)
    assert bench.post(Device().request(token))[0] == 200


def test_wrong_proofs_do_not_touch_a_used_token(bench):
    (token,) = bench.invite("a")
    device = Device()
    bench.post(device.request(token))
    for _ in range(7):
        assert bench.post(device.request(token, proof_key=b"?" * 32))[1]["code"] == "proof"
    assert bench.post(device.request(token))[0] == 200


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("name", "b"),
        pytest.param("identity_public", Device().identity.public.hex(), id="identity_public"),
        ("node_public", Device().node_public.decode()),
        ("software", "9.9.9"),
    ],
)
def test_the_proof_covers_every_field(bench, field, value):
    (token,) = bench.invite("a")
    changed = Device().request(token).model_copy(update={field: value})
    assert bench.post(changed)[1]["code"] == "proof"
    assert bench.store.agents() == []


def test_a_token_is_good_for_its_own_name_only(bench):
    (token,) = bench.invite("a")
    assert bench.post(Device().request(token, name="b"))[0] == 403


def test_the_identity_key_must_be_at_hand(bench):
    (token,) = bench.invite("a")
    request = Device().request(token)
    stranger = Device().request(token)
    forged = request.model_copy(update={"signature": stranger.signature})
    assert bench.post(forged)[1]["code"] == "signature"
    assert bench.store.agents() == []


def test_only_a_p256_node_key_in_its_one_spelling_is_taken(bench):
    (token,) = bench.invite("a")
    good = Device()
    keys = {
        "garbage": b"garbage",
        "another curve": Device(node=ec.generate_private_key(ec.SECP384R1())).node_public,
        "comment": b"# hello\n" + good.node_public,
        "no line end": good.node_public.rstrip(b"\n"),
    }
    for what, pem in keys.items():
        code = bench.post(good.request(token, node_public=pem))[1]["code"]
        assert code == "node_key", what
    assert bench.post(good.request(token))[0] == 200


def test_a_device_cannot_enrol_twice_under_two_names(bench):
    first, second = bench.invite("a", "b")
    device = Device()
    bench.post(device.request(first))
    assert bench.post(device.request(second))[1]["code"] == "taken"
    assert bench.store.invite(second.token_id).state is InviteState.OPEN


def test_a_revoked_device_stays_out(bench):
    (token,) = bench.invite("a")
    device = Device()
    bench.post(device.request(token))
    bench.sign_and_import()
    bench.store.revoke("a")
    assert bench.post(device.request(token))[1]["code"] == "revoked"
    (again,) = bench.invite("a")
    assert bench.post(device.request(again))[1]["code"] == "revoked"
    assert bench.post(Device().request(again))[0] == 200


def test_another_protocol_version_is_named(bench):
    (token,) = bench.invite("a")
    for other in (1, 3):
        request = Device().request(token).model_copy(update={"protocol": other})
        assert bench.post(request)[1]["code"] == "version"


def test_crossing_requests_of_one_device_get_one_answer(bench):
    (token,) = bench.invite("a")
    request = Device().request(token).encode()
    answers = []
    threads = [
        threading.Thread(target=lambda: answers.append(bench.post(request))) for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(answers) == 8
    assert all(answer == answers[0] and answer[0] == 200 for answer in answers)
    assert [event for event, *_ in events(bench)] == ["agent.join"]


def test_crossing_devices_with_one_token_enrol_one(bench):
    (token,) = bench.invite("a")
    requests = [Device().request(token).encode() for _ in range(8)]
    statuses = []
    threads = [
        threading.Thread(target=lambda body=body: statuses.append(bench.post(body)[0]))
        for body in requests
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(statuses) == [200] + [409] * 7
    assert len(bench.store.agents()) == 1


# What strangers send


def test_a_body_above_the_limit_is_not_parsed(bench):
    assert bench.post(b" " * (MAX_REQUEST + 1))[0] == 413


@pytest.mark.parametrize(
    "body",
    [b"", b"null", b"[]", b"{}", b"[" * 16000, b"\xff" * 10, b'{"protocol": NaN}', b'{"a":1e999}'],
)
def test_garbage_is_one_clear_answer(bench, body):
    assert bench.post(body) == (
        400,
        {"code": "malformed", "detail": "the body is not a join request"},
    )


def test_an_extra_or_missing_field_is_malformed(bench):
    (token,) = bench.invite("a")
    values = json.loads(Device().request(token).encode())
    for wrong in (
        values | {"admin": True},
        {key: value for key, value in values.items() if key != "software"},
        values | {"protocol": "1"},
        values | {"token_id": values["token_id"].upper()},
        values | {"name": "a\n"},
    ):
        assert bench.post(json.dumps(wrong).encode())[1]["code"] == "malformed"
    assert bench.store.invite(token.token_id).wrong_proofs == 0


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    st.binary(max_size=300) | st.text(max_size=100).map(lambda t: json.dumps({"name": t}).encode())
)
def test_nothing_a_stranger_sends_raises(bench, body):
    bench.clock.seconds += 1
    status, answer = bench.post(body)
    assert (status, answer["code"]) == (400, "malformed")


def test_an_address_that_asks_too_often_is_slowed_down_alone(bench):
    statuses = [bench.desk.handle(b"", "192.0.2.1")[0] for _ in range(80)]
    assert statuses == [400] * 60 + [429] * 20
    assert bench.desk.handle(b"", "192.0.2.2")[0] == 400
    bench.clock.seconds += 1
    assert [bench.desk.handle(b"", "192.0.2.1")[0] for _ in range(11)] == [400] * 10 + [429]


def test_a_damaged_store_is_answered_with_unavailable(bench):
    (token,) = bench.invite("a")
    request = Device().request(token)
    bench.store.close()
    for name in ("state.db-wal", "state.db-shm"):
        (bench.folder / name).unlink(missing_ok=True)
    (bench.folder / "state.db").write_bytes(b"garbage" * 1000)
    status, answer = bench.post(request)
    assert (status, answer["code"]) == (503, "unavailable")


def test_a_log_that_cannot_be_written_costs_no_device_its_answer(bench):
    (token,) = bench.invite("a")
    nowhere = os.open(bench.events_path, os.O_RDONLY)
    os.dup2(nowhere, bench.events._handle)
    os.close(nowhere)
    assert bench.post(Device().request(token))[0] == 200
    assert bench.post(Device().request(token))[1]["code"] == "token_used"


def test_every_code_has_an_answer_and_every_answer_a_status(bench):
    from edgeveil.coordinator.federation.enrollment import _ANSWERS

    assert _ANSWERS.keys() == set(JoinCode)
    assert all(400 <= status < 600 for status, _ in _ANSWERS.values())


def test_the_events_hold_neither_addresses_nor_keys(bench):
    (token,) = bench.invite("a")
    device = Device()
    bench.post(device.request(token, proof_key=b"?" * 32))
    bench.post(device.request(token))
    bench.post(Device().request(token))
    text = bench.events_path.read_text()
    for secret in ("192.0.2.7", token.token_id.hex(), device.identity.public.hex(), "BEGIN"):
        assert secret not in text


def test_the_limiter_forgets_the_oldest_address_first_and_counts_an_ipv6_network_as_one():
    clock = TurnableClock()
    limiter = RateLimiter(0.0, 1.0, clock, most=2)
    assert limiter.allow("2001:db8::1")
    assert not limiter.allow("2001:db8::ffff%eth0")
    assert limiter.allow("2001:db8:0:1::1")
    assert limiter.allow("not-an-address")
    assert limiter.allow("2001:db8::1")
    assert len(limiter._buckets) == 2
    assert limiter.allow("192.0.2.1")
    assert not limiter.allow("::ffff:192.0.2.1")
