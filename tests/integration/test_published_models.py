"""Published models over the real gateway: offered to members alone, in slices, at once."""

import os
import threading
import time

import httpx
import pytest
from delivery_bench import CNN, Front, newer

from edgeveil.agent.joining.signed_post import signed_headers
from edgeveil.coordinator.gateway.vocabulary import GatewaySettings
from edgeveil.coordinator.models.publishing import withdraw
from edgeveil.shared.models.offer import OFFER_PATH, SLICE, SLICE_PATH, Answer
from edgeveil.shared.wire.certificates import pinned_context

HOLD_S = 3.0


@pytest.fixture(scope="module")
def front(tmp_path_factory):
    made = Front(tmp_path_factory.mktemp("front"), GatewaySettings(hold_s=HOLD_S))
    yield made
    made.stop()


@pytest.fixture(scope="module")
def homes(front):
    return front.devices("cam-1", "cam-2")


def post(front, home, path, body, **changes):
    keys = home.node_key(), home.node_public_pem(), home.identity()
    headers = signed_headers(*keys, f"1.{os.urandom(8).hex()}", path, changes.pop("signed", body))
    with httpx.Client(
        verify=pinned_context(front.certificate), trust_env=False, timeout=30
    ) as client:
        return client.post(front.url + path, content=body, headers=headers)


def offer_to(front, home, body=b"{}"):
    return Answer.decode(post(front, home, OFFER_PATH, body).content).offer


def code(answer):
    return answer.status_code, answer.json()["code"]


def test_a_member_is_offered_the_newest_and_gets_its_bytes_in_slices(front, homes):
    assert offer_to(front, homes[0]) is None
    front.publish()
    offer = offer_to(front, homes[0])
    offer.check(front.public)
    found = post(front, homes[0], SLICE_PATH, b'{"serial": %d, "at": 0}' % offer.serial)
    assert found.content == CNN.read_bytes()
    assert len(found.content) == offer.size <= SLICE
    assert code(post(front, homes[0], SLICE_PATH, b'{"serial": %d, "at": %d}' % (offer.serial, SLICE))) == (403, "object")  # fmt: skip


def test_a_model_of_more_than_one_slice_comes_whole(front, homes, tmp_path, monkeypatch):
    path = newer(tmp_path / "big.evm", 3)
    front.publish(path)
    offer = offer_to(front, homes[0])
    content = os.urandom(2 * SLICE + 5)
    monkeypatch.setattr(front.shelf, "part", lambda _agent, _serial, at, size: content[at : at + size] or None)  # fmt: skip
    parts = [post(front, homes[0], SLICE_PATH, b'{"serial": %d, "at": %d}' % (offer.serial, at)).content for at in (0, SLICE, 2 * SLICE)]  # fmt: skip
    assert [len(part) for part in parts] == [SLICE, SLICE, 5]
    assert b"".join(parts) == content


def test_one_agents_model_is_nobody_elses(front, homes, tmp_path):
    before = offer_to(front, homes[0]).serial
    only = front.publish(newer(tmp_path / "b.evm", 4), ["cam-2"])["serial"]
    assert offer_to(front, homes[1]).serial == only
    assert offer_to(front, homes[0]).serial == before
    assert code(post(front, homes[0], SLICE_PATH, b'{"serial": %d, "at": 0}' % only)) == (403, "object")  # fmt: skip


def test_a_question_waits_until_something_is_published_and_not_for_ever(front, homes, tmp_path):
    known = offer_to(front, homes[0]).serial
    body = b'{"serial": %d, "wait": true}' % known
    began = time.monotonic()
    assert offer_to(front, homes[0], body) is None
    assert time.monotonic() - began >= HOLD_S - 0.1
    threading.Timer(0.5, lambda: front.publish(newer(tmp_path / "c.evm", 5))).start()
    began = time.monotonic()
    assert offer_to(front, homes[0], body).serial > known
    assert time.monotonic() - began < HOLD_S - 0.5


def test_what_is_withdrawn_is_offered_no_more(front, homes, tmp_path):
    found = front.publish(newer(tmp_path / "d.evm", 6))
    withdraw(front.home, str(found["serial"]))
    front.look()
    assert offer_to(front, homes[0]).serial < found["serial"]
    assert code(post(front, homes[0], SLICE_PATH, b'{"serial": %d, "at": 0}' % found["serial"])) == (403, "object")  # fmt: skip


def test_strangers_and_unsigned_or_strange_questions_get_nothing(front, homes, tmp_path):
    (stranger,) = Front.devices(front, "left")
    front.members.pop()
    front.gateway.set_members(front.members)
    assert code(post(front, stranger, OFFER_PATH, b"{}")) == (401, "revoked")
    assert code(post(front, homes[0], OFFER_PATH, b"{}", signed=b"{ }")) == (401, "signature")
    assert code(post(front, homes[0], OFFER_PATH, b'{"score": 0.3}')) == (400, "malformed")
    assert code(post(front, homes[0], SLICE_PATH, b'{"serial": 1, "at": 7}')) == (400, "malformed")
    assert code(post(front, homes[0], OFFER_PATH, b"{" + b" " * 300 + b"}")) == (413, "oversize")


def test_the_operator_sees_what_was_fetched_and_what_is_told(front, homes):
    serial = offer_to(front, homes[0]).serial
    offer_to(front, homes[0], b'{"serial": %d, "in_use": "%s"}' % (serial, b"ab" * 32))
    offer_to(front, homes[1], b'{"serial": 0}')
    told = front.gateway.models_told()
    ids = {member.name: member.agent_id for member in front.members}
    assert told[ids["cam-1"]] == (serial, "ab" * 32)
    assert told[ids["cam-2"]] == (0, None)


def test_more_questions_at_once_than_an_agent_may_have_are_told_so(front, homes):
    known = offer_to(front, homes[0]).serial
    body = b'{"serial": %d, "wait": true}' % known
    found = []
    threads = [threading.Thread(target=lambda: found.append(post(front, homes[0], OFFER_PATH, body).status_code)) for _ in range(10)]  # fmt: skip
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert sorted(found) == [200] * 8 + [429] * 2
