"""Everything the gateway must refuse, tried by an agent with valid keys against the real thing."""

import os
import threading
import time
from datetime import timedelta

import httpx
import pytest
from fleet_raw_bench import FLEET, RawAgent, code, connected_pair, pull_body, resident
from flwr.proto.fleet_pb2 import (
    ActivateNodeRequest,
    PullMessagesRequest,
)
from flwr.proto.node_pb2 import Node
from load_bench import Stopwatch
from transport_bench import PATIENCE_S, Bench, BenchAgent, federation

from edgeveil.shared.wire.certificates import pinned_context


@pytest.fixture(scope="module")
def bench():
    with federation(3, links=False) as running:
        yield running


@pytest.fixture
def pair(bench):
    with connected_pair(bench) as agents:
        yield agents


def test_every_other_route_of_superlink_is_not_found_from_outside(bench):
    superlink = bench.runtime._superlink
    with httpx.Client(verify=superlink.tls(), trust_env=False) as inside:
        paths = inside.get(f"https://{superlink.address}/openapi.json").json()["paths"]
    assert len(paths) > 60
    allowed = {
        FLEET + name
        for name in (
            "activate-node",
            "deactivate-node",
            "send-node-heartbeat",
            "pull-messages",
            "pull-object",
            "confirm-message-received",
            "push-messages",
            "push-object",
        )
    }
    assert allowed < set(paths)
    with httpx.Client(
        base_url=bench.url, verify=pinned_context(bench.certificate), trust_env=False
    ) as outside:
        for path in {*paths, "/docs", "/openapi.json", "/health", "/", "/v1/fleet/"} - allowed:
            assert outside.post(path).status_code == 404, path
            assert outside.get(path).status_code == 404, path
        for path in allowed:
            for method in ("GET", "PUT", "DELETE", "OPTIONS", "HEAD"):
                assert outside.request(method, path).status_code == 404, path
            assert code(outside.post(path)) == (401, "signature")


def test_health_and_readiness_are_answered_without_a_key(bench):
    with httpx.Client(
        base_url=bench.url, verify=pinned_context(bench.certificate), trust_env=False
    ) as outside:
        for path in ("/healthz", "/readyz"):
            asked = time.time()
            found = outside.get(path).json()
            assert found["status"] == "ok"
            assert asked - 1 <= found["time"] <= time.time() + 1
        assert outside.post("/v1/join", content=b"x" * 100).json() == {"length": 100}
        assert code(outside.post("/v1/join", content=b"x" * 20000)) == (413, "oversize")


def test_refuses_a_key_that_is_not_on_the_roster(bench):
    stranger = RawAgent(bench, BenchAgent("stranger"))
    assert code(stranger.activate()) == (401, "unknown_key")


def test_refuses_the_header_triple_on_another_body_or_route(pair):
    honest, _ = pair
    body = pull_body(honest)
    headers = honest.headers(FLEET + "pull-messages", body)
    other = PullMessagesRequest(node=honest.node, message_ids=["x"]).SerializeToString()
    again = honest.client.post(FLEET + "pull-messages", content=other, headers=headers)
    assert code(again) == (401, "signature")
    route = honest.client.post(FLEET + "deactivate-node", content=body, headers=headers)
    assert code(route) == (401, "signature")


def test_refuses_a_repeated_request_by_its_nonce(pair):
    honest, _ = pair
    path = FLEET + "send-node-heartbeat"
    from flwr.proto.heartbeat_pb2 import SendNodeHeartbeatRequest

    body = SendNodeHeartbeatRequest(node=honest.node, heartbeat_interval=30).SerializeToString()
    headers = honest.headers(path, body)
    assert honest.client.post(path, content=body, headers=headers).status_code == 200
    assert code(honest.client.post(path, content=body, headers=headers)) == (401, "signature")


def test_refuses_a_signature_by_another_identity(pair):
    honest, evil = pair
    path, body = FLEET + "pull-messages", pull_body(honest)
    headers = honest.headers(path, body) | {
        "edgeveil-signature": evil.headers(path, body)["edgeveil-signature"]
    }
    assert code(honest.client.post(path, content=body, headers=headers)) == (401, "signature")


@pytest.mark.parametrize("name", ["flwr-signature", "edgeveil-signature", "edgeveil-session"])
def test_refuses_a_missing_or_mangled_auth_header(pair, name):
    honest, _ = pair
    path, body = FLEET + "pull-messages", pull_body(honest)
    for value in (None, "", "AAAA", "x" * 2000):
        headers = honest.headers(path, body)
        if value is None:
            del headers[name]
        else:
            headers[name] = value
        answer = honest.client.post(path, content=body, headers=headers)
        assert code(answer) == (401, "signature")


@pytest.mark.parametrize("age_s", [-60, 310, 90_000, -90_000])
def test_refuses_a_stale_or_early_time_and_says_its_own(pair, age_s):
    honest, _ = pair
    asked = time.time()
    answer = honest.post("pull-messages", pull_body(honest), age_s=age_s)
    assert code(answer) == (401, "clock_skew")
    assert asked - 1 <= answer.json()["server_time"] <= time.time() + 1


def test_a_request_near_the_edge_of_the_window_is_served(pair):
    honest, _ = pair
    assert honest.post("deactivate-node", b"", age_s=280).status_code == 428  # no node id
    honest.agent.session += 1


def test_another_protocol_version_is_named(pair):
    honest, _ = pair
    path, body = FLEET + "pull-messages", pull_body(honest)
    headers = honest.headers(path, body) | {"edgeveil-protocol": "99"}
    assert code(honest.client.post(path, content=body, headers=headers)) == (426, "version")


def test_refuses_another_agents_node_id_and_a_stale_one(pair):
    honest, evil = pair
    stolen = PullMessagesRequest(node=honest.node).SerializeToString()
    assert code(evil.post("pull-messages", stolen)) == (401, "identity")
    stale = PullMessagesRequest(node=Node(node_id=12345)).SerializeToString()
    assert code(evil.post("pull-messages", stale)) == (428, "activate_first")
    foreign = ActivateNodeRequest(public_key=honest.agent.member.node_public, heartbeat_interval=30)
    assert code(evil.post("activate-node", foreign.SerializeToString())) == (401, "identity")


def test_an_older_session_is_superseded_and_a_twin_raises_the_alarm(bench, pair):
    honest, _ = pair
    newer = RawAgent(bench, honest.agent, session=2)
    assert code(newer.post("pull-messages", pull_body(honest))) == (428, "activate_first")
    assert newer.activate().status_code == 200
    assert code(honest.post("pull-messages", pull_body(honest))) == (409, "superseded")
    twin = RawAgent(bench, honest.agent, session=2)
    assert code(twin.activate()) == (409, "superseded")
    assert ("session.clone", "honest", "") in bench.events.seen


def test_a_device_that_plays_its_own_copy_cannot_rotate_the_log_away(bench, pair):
    honest, _ = pair
    for session in range(2, 12):
        for _ in "ab":  # two starts under one number
            RawAgent(bench, honest.agent, session=session).activate()
    seen = bench.events.seen.count(("session.clone", "honest", ""))
    assert 1 <= seen <= 3


def test_an_unsigned_claim_cannot_push_the_real_session_out(pair):
    honest, evil = pair
    path, body = FLEET + "pull-messages", pull_body(honest)
    headers = honest.headers(path, body) | {"edgeveil-session": f"999.{os.urandom(8).hex()}"}
    assert code(evil.client.post(path, content=body, headers=headers)) == (401, "signature")
    assert honest.heartbeat().status_code == 200


def test_activation_and_heartbeat_are_limited(bench, pair):
    honest, _ = pair
    bench.clock.stop()
    try:
        assert honest.heartbeat(10).status_code == 400
        assert honest.heartbeat().status_code == 200
        assert code(honest.heartbeat()) == (429, "rate")
        codes = [honest.activate().status_code for _ in range(6)]
    finally:
        bench.clock.go_on()
    assert codes == [200] * 5 + [429]


def test_refuses_bodies_above_the_cap_and_every_body_in_chunks(bench, pair):
    honest, _ = pair
    path = FLEET + "pull-messages"
    answer = honest.client.post(path, content=b"x" * 5000, headers=honest.headers(path, b""))
    assert code(answer) == (413, "oversize")
    answer = honest.client.post(path, content=iter([b"x"]), headers=honest.headers(path, b"x"))
    assert code(answer) == (411, "malformed")
    before = resident()
    path = FLEET + "push-object"

    def endless():
        for _ in range(100):
            yield b"z" * (1 << 20)

    try:
        answer = honest.client.post(path, content=endless(), headers=honest.headers(path, b""))
        assert code(answer) == (411, "malformed")
    except (httpx.NetworkError, httpx.RemoteProtocolError):
        pass  # the gateway hung up while we were still sending
    assert resident() - before < 64 << 20


def test_refuses_compressed_and_unreadable_bodies(pair):
    honest, _ = pair
    path, body = FLEET + "pull-messages", pull_body(honest)
    headers = honest.headers(path, body) | {"content-encoding": "gzip"}
    assert code(honest.client.post(path, content=body, headers=headers)) == (400, "malformed")
    assert code(honest.post("pull-messages", b"\xff\xff\xff")) == (400, "malformed")


def test_revocation_ends_a_held_poll_within_a_second(bench, pair):
    honest, evil = pair
    result: list[tuple[int, str]] = []
    thread = threading.Thread(
        target=lambda: result.append(code(evil.post("pull-messages", pull_body(evil))))
    )
    thread.start()
    bench.await_poll(evil.agent)
    with Stopwatch() as watch:
        bench.runtime.set_members([honest.agent.member])
        thread.join(PATIENCE_S)
    assert watch.within(1), watch
    assert result == [(401, "revoked")]
    assert code(evil.activate()) == (401, "revoked")
    assert honest.heartbeat().status_code == 200


def test_rejections_are_counted_by_reason(bench, pair):
    honest, _ = pair
    before = bench.gateway.rejected().get("clock_skew", 0)
    honest.post("pull-messages", pull_body(honest), age_s=timedelta(hours=1).total_seconds())
    assert bench.gateway.rejected()["clock_skew"] == before + 1


def test_a_taken_port_is_named(bench):
    other = Bench(0)
    from edgeveil.shared.base.errors import ConfigError

    with pytest.raises(ConfigError, match=f"127.0.0.1:{bench.gateway.port}"):
        other.gateway.start(
            "127.0.0.1",
            bench.gateway.port,
            (bench.home / "gateway.crt", bench.home / "gateway.key"),
        )
    other.gateway.stop()
