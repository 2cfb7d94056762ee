"""From publishing to the model in use: by hand, in the background, through lies, cuts and a full disk; and what
the coordinator can see of it."""

import hashlib
import json
import os
import subprocess
import sys
import threading
import time
from collections import namedtuple

import pytest
from delivery_bench import CNN, Front, labelled, newer, own_data, policy, turned
from models_bench import resigned

from edgeveil.agent.delivery import fetching
from edgeveil.agent.delivery.client import ModelClient
from edgeveil.agent.delivery.fetching import Fetcher, fetch, signer_here
from edgeveil.agent.delivery.kept import KeptModels
from edgeveil.agent.home.policy import Policy
from edgeveil.agent.rounds import run
from edgeveil.coordinator.gateway.vocabulary import GatewaySettings
from edgeveil.coordinator.models.publishing import withdraw
from edgeveil.shared.base.errors import (
    EnrollmentError,
    ModelError,
    ModelUntrusted,
    StorageFailed,
    TransportError,
)
from edgeveil.shared.models.offer import SLICE
from edgeveil.shared.models.package import parse_package, read_package
from edgeveil.shared.wire.identity import Identity

COMMAND = [sys.executable, "-P", "-c", "from edgeveil.agent.cli.app import main; main()"]


@pytest.fixture(scope="module")
def front(tmp_path_factory):
    made = Front(tmp_path_factory.mktemp("front"), GatewaySettings(hold_s=2.0))
    yield made
    made.stop()


@pytest.fixture
def home(front, request):
    (made,) = front.devices(f"cam-{abs(hash(request.node.name)) % 10**8}")
    return made


@pytest.fixture
def client(home):
    made = ModelClient(home.path)
    yield made
    made.close()


def agent(*arguments, home, code=0):
    found = subprocess.run([*COMMAND, *map(str, arguments), "--home", str(home.path)], capture_output=True, text=True)  # fmt: skip
    assert found.returncode == code, found.stdout + found.stderr
    assert "Traceback" not in found.stderr
    return found


def until(reached, what, within_s=30):
    end = time.monotonic() + within_s
    while not reached():
        assert time.monotonic() < end, what
        time.sleep(0.05)


def in_use(home):
    return KeptModels(home.path).index().in_use


def taken(client, front, home):
    offer = client.ask(KeptModels(home.path).index().fetched, wait=False)
    return fetch(client, home.path, offer, signer_here(home.path, None))


def test_the_commands_get_list_use_and_go_back(front, home, tmp_path):
    front.publish()
    assert "in use now" in agent("model", "get", home=home).stdout
    assert "nothing newer is offered" in agent("model", "get", home=home).stderr
    second = front.publish(newer(tmp_path / "b.evm", 2))["model"]
    assert json.loads(agent("model", "get", "--json", home=home).stdout) == {"fetched": second, "used": True, "note": ""}  # fmt: skip
    rows = json.loads(agent("model", "list", "--json", home=home).stdout)
    assert [(row["is"], row["round"]) for row in rows] == [("before", 2), ("in use", 2)]
    assert "in use again" in agent("model", "rollback", home=home).stdout
    assert agent("model", "rollback", home=home, code=2).stderr.count("\n") == 1
    agent("model", "use", second[:12], home=home)
    assert in_use(home) == second
    assert "taken back" not in agent("model", "list", home=home).stdout
    third = front.publish(newer(tmp_path / "c.evm", 3))["model"]
    agent("model", "get", "--keep", home=home)
    assert in_use(home) == second
    agent("model", "use", third, home=home)
    assert agent("model", "use", "0123456789", home=home, code=2).stderr.count("\n") == 1


def test_a_model_that_is_not_used_ends_get_with_65_and_its_reason(front, home, tmp_path):
    front.publish()
    agent("model", "get", home=home)
    own_data(home, labelled(tmp_path))
    front.publish(turned(tmp_path / "b.evm", 2))
    found = agent("model", "get", home=home, code=65)
    assert "own records" in found.stderr
    assert in_use(home) == read_package(CNN).digest


def test_a_device_that_has_joined_nobody_is_told_so(tmp_path):
    found = subprocess.run([*COMMAND, "model", "get", "--home", str(tmp_path / "new")], capture_output=True, text=True)  # fmt: skip
    assert found.returncode == 77
    assert "agent join" in found.stderr


def test_the_background_takes_what_is_published_and_only_while_the_policy_says_so(front, home, tmp_path, monkeypatch):  # fmt: skip
    monkeypatch.setattr(fetching, "OFF_S", 0.2)
    front.publish()
    said = []
    fetcher = Fetcher(home.path, said.append)
    fetcher.start()
    time.sleep(1)
    assert in_use(home) is None
    policy(home, model={"fetch": True})
    until(lambda: in_use(home) == read_package(CNN).digest, "never fetched")
    found = front.publish(newer(tmp_path / "b.evm", 4))
    began = time.monotonic()
    until(lambda: in_use(home) == found["model"], "not swapped")
    assert time.monotonic() - began < 5
    until(lambda: sum("is in use now" in each for each in said) == 2, "not told")
    fetcher.stop()


def test_what_a_check_finds_changes_nothing_that_is_asked(front, home, tmp_path, monkeypatch):
    """The questions of a device that refuses the model by its records are those of one that uses it."""
    (other,) = front.devices(f"twin-{os.getpid()}")
    own_data(home, labelled(tmp_path))
    asked = {home.path: [], other.path: []}
    post = ModelClient._post

    def recorded(self, path, body, most):
        asked[self._home].append((path, json.loads(body)))
        return post(self, path, body, most)

    made = ModelClient.__init__

    def init(self, folder):
        made(self, folder)
        self._home = folder

    monkeypatch.setattr(ModelClient, "__init__", init)
    monkeypatch.setattr(ModelClient, "_post", recorded)
    front.publish()
    fetchers = []
    for each in (home, other):
        policy(each, model={"fetch": True})
        fetchers.append(Fetcher(each.path, lambda _: None))
        fetchers[-1].start()
    until(lambda: all(in_use(each) for each in (home, other)), "never fetched")
    found = front.publish(turned(tmp_path / "b.evm", 5))
    until(lambda: all(KeptModels(each.path).index().find(found["model"]) and KeptModels(each.path).index().find(found["model"]).judged for each in (home, other)), "never judged")  # fmt: skip
    assert (in_use(home), in_use(other)) == (read_package(CNN).digest, found["model"])
    time.sleep(2.5)  # another question each
    for each in fetchers:
        each.stop()
    mine, theirs = (unique(asked[each.path]) for each in (home, other))
    assert mine == theirs
    assert all(body.get("in_use") is None for _, body in mine)


def unique(questions):
    """In order, without repetitions: how often a poll ends depends on the clock."""
    return [json.loads(text) for text in dict.fromkeys(map(json.dumps, questions))]


def test_the_model_in_use_is_told_only_with_the_owners_word(front, home):
    front.publish()
    policy(home, model={"fetch": True}, tell_model=True)
    fetcher = Fetcher(home.path, lambda _: None)
    fetcher.start()
    agent_id = home.pinned().agent_id
    until(lambda: front.gateway.models_told()[agent_id][1] == read_package(CNN).digest, "not told")
    fetcher.stop()


def test_a_fetch_that_is_cut_goes_on_where_it_stopped(front, home, client, tmp_path, monkeypatch):
    found = front.publish(newer(tmp_path / "big.evm", 6))
    monkeypatch.setattr(fetching, "SLICE", 4096)
    calls = []

    def failing(self, serial, at):
        calls.append(at)
        if len(calls) == 3:
            raise TransportError("cut")
        return front.shelf.part(home.pinned().agent_id, serial, at, 4096)

    monkeypatch.setattr(ModelClient, "part", failing)
    with pytest.raises(TransportError, match="cut"):
        taken(client, front, home)
    kept = taken(client, front, home)
    assert kept.model == found["model"]
    assert calls[2] == calls[3] == 8192
    assert not list(KeptModels(home.path).folder.glob("incoming*"))


def test_bytes_that_a_power_cut_left_behind_are_fetched_anew(front, home, client, tmp_path):
    found = front.publish(newer(tmp_path / "a.evm", 7))
    offer = client.ask(0, wait=False)
    folder = KeptModels(home.path).folder
    folder.mkdir(mode=0o700)
    (folder / f"incoming-{offer.file}.part").write_bytes(bytes(SLICE + 5))
    assert taken(client, front, home).model == found["model"]


@pytest.mark.parametrize("lie", [b"x", CNN.read_bytes()[:-1] + b"x", bytes(SLICE)])
def test_other_bytes_than_were_offered_are_refused_once_and_asked_for_no_more(front, home, client, monkeypatch, lie):  # fmt: skip
    front.publish()
    agent("model", "get", home=home)
    front.publish()
    monkeypatch.setattr(front.shelf, "part", lambda _agent, _serial, at, size: lie[at : at + size] or None)  # fmt: skip
    with pytest.raises(ModelError, match="not the file that was offered"):
        taken(client, front, home)
    assert client.ask(KeptModels(home.path).index().fetched, wait=False) is None
    assert in_use(home) == read_package(CNN).digest


def test_an_offer_by_another_key_or_an_older_one_is_not_taken(front, home, client, tmp_path):
    front.publish()
    offer = client.ask(0, wait=False)
    stranger = Identity.generate()
    forged = type(offer).sign(offer.model_dump() | {"serial": offer.serial + 5}, stranger)
    with pytest.raises(ModelUntrusted, match="does not verify"):
        fetch(client, home.path, forged, signer_here(home.path, None))
    assert KeptModels(home.path).index().fetched == 0
    taken(client, front, home)
    assert fetch(client, home.path, offer, signer_here(home.path, None)) is None


def test_a_coordinator_cannot_send_what_devices_alone_may_make(front, home, client, monkeypatch):
    """A variant's graph may hold operators that a coordinator's may not."""
    variant = {"parent": "ab" * 32, "signer": "cd" * 32, "made": "int8", "calibrated": False}
    data = resigned(read_package(CNN), derived=variant)
    front.publish()
    offer = client.ask(0, wait=False)
    values = offer.model_dump() | {
        "model": parse_package(data).digest, "file": hashlib.sha256(data).hexdigest(), "size": len(data),
    }  # fmt: skip
    monkeypatch.setattr(front.shelf, "part", lambda _agent, _serial, at, size: data[at : at + size] or None)  # fmt: skip
    signer = Identity.load(front.home / "identity.key")
    with pytest.raises(ModelError, match="such variants never travel"):
        fetch(client, home.path, type(offer).sign(values, signer), signer_here(home.path, None))
    assert in_use(home) is None


def test_a_package_of_another_signer_under_a_true_offer_is_refused(
    front, home, client, monkeypatch
):
    package = read_package(CNN)
    data = resigned(package, key=bytes(32))
    front.publish()
    offer = client.ask(0, wait=False)
    values = offer.model_dump() | {"file": hashlib.sha256(data).hexdigest(), "size": len(data)}
    monkeypatch.setattr(front.shelf, "part", lambda _agent, _serial, at, size: data[at : at + size] or None)  # fmt: skip
    signer = Identity.load(front.home / "identity.key")
    with pytest.raises(ModelUntrusted):
        fetch(client, home.path, type(offer).sign(values, signer), signer_here(home.path, None))
    assert in_use(home) is None


def test_a_full_disk_is_one_sentence_and_the_next_try_succeeds(front, home, client, monkeypatch):
    found = front.publish()
    usage = namedtuple("usage", "free")  # noqa: PYI024
    monkeypatch.setattr(fetching.shutil, "disk_usage", lambda _: usage(1000))
    with pytest.raises(StorageFailed, match="1,000 bytes are free"):
        taken(client, front, home)
    monkeypatch.undo()
    assert taken(client, front, home).model == found["model"]


def test_a_model_that_is_withdrawn_while_it_is_fetched_is_not_taken(front, home, client):
    found = front.publish()
    offer = client.ask(0, wait=False)
    withdraw(front.home, str(found["serial"]))
    front.look()
    with pytest.raises(TransportError, match="offered no more"):
        fetch(client, home.path, offer, signer_here(home.path, None))


def test_a_policy_for_other_coordinators_and_a_revoked_device_take_nothing(front, home, client):
    policy(home, coordinators=["ab" * 32])
    with pytest.raises(EnrollmentError, match="coordinators does not name"):
        signer_here(home.path, None)
    policy(home)
    members = front.members
    front.gateway.set_members(members[:-1])
    with pytest.raises(EnrollmentError, match="revoked"):
        client.ask(0, wait=False)
    front.gateway.set_members(members)


def test_two_processes_fetch_an_offer_once(front, home, monkeypatch):
    front.publish()
    clients = [ModelClient(home.path) for _ in range(2)]
    offer = clients[0].ask(0, wait=False)
    found = []
    threads = [threading.Thread(target=lambda c=c: found.append(fetch(c, home.path, offer, signer_here(home.path, None)))) for c in clients]  # fmt: skip
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert sorted(each is None for each in found) == [False, True]


def test_an_agent_fetches_beside_its_rounds_where_its_owner_lets_it(front, home, tmp_path):
    front.publish()
    said = []
    with run._models(home.path, Policy.default(), said.append):
        time.sleep(1)
    assert in_use(home) is None
    policy(home, model={"fetch": True})
    with run._models(home.path, Policy.load(home.policy_path), said.append):
        until(lambda: in_use(home) == read_package(CNN).digest, "never fetched")
    front.publish(newer(tmp_path / "b.evm", 2))
    time.sleep(1)
    assert in_use(home) == read_package(CNN).digest, "it has stopped"
    until(lambda: any("is in use now" in each for each in said), "not told")


def test_the_question_after_a_fetch_comes_at_a_fixed_point_however_long_the_model_is_judged(front, home, tmp_path, monkeypatch):  # fmt: skip
    (other,) = front.devices(f"slow-{os.getpid()}")
    asked = {home.path: [], other.path: []}
    ask = ModelClient.ask

    def noted(self, serial, **options):
        asked[self.home].append((time.monotonic(), serial))
        return ask(self, serial, **options)

    made = ModelClient.__init__

    def init(self, folder):
        made(self, folder)
        self.home = folder

    receive = fetching.receive

    def judged(folder, kept):
        if folder == other.path:
            time.sleep(4)
        return receive(folder, kept)

    monkeypatch.setattr(ModelClient, "__init__", init)
    monkeypatch.setattr(ModelClient, "ask", noted)
    monkeypatch.setattr(fetching, "receive", judged)
    front.publish()
    fetchers = [Fetcher(each.path, lambda _: None) for each in (home, other)]
    for each, fetcher in zip((home, other), fetchers, strict=True):
        policy(each, model={"fetch": True})
        fetcher.start()
    until(lambda: all(len(each) >= 2 for each in asked.values()), "never asked again")
    for fetcher in fetchers:
        fetcher.stop()
    for each in asked.values():
        (first, _), (second, known) = each[:2]
        assert known > 0
        assert second - first >= 0.8 * fetching.FETCHED_S
    assert in_use(other) is None, "the question did not wait for the verdict"
