"""Publishing: what is offered to whom, in which order, and what a crash or a stranger's file leaves behind."""

import json
import os
import threading

import pytest
from delivery_bench import CNN, newer, signing
from enrollment_bench import NOW, Device, TurnableClock
from look_bench import run
from models_bench import resigned
from store_bench import add_agent

from edgeveil.coordinator.models import publishing
from edgeveil.coordinator.models.publishing import ModelShelf, publish, published, withdraw
from edgeveil.coordinator.records.records import EnrolledAgent
from edgeveil.coordinator.serving.backup import back_up, restore
from edgeveil.coordinator.store.store import Store
from edgeveil.shared.base.errors import ConfigError, ModelError, ModelUntrusted, StateDamaged
from edgeveil.shared.models.package import read_package

CLOCK = TurnableClock()
BIG = 1 << 20
VARIANT = {"parent": "ab" * 32, "signer": "cd" * 32, "made": "int8", "calibrated": False}


@pytest.fixture
def home(tmp_path):
    made = signing(tmp_path)
    with Store.open(made) as store:
        for name in ("cam-1", "cam-2"):
            device = Device()
            add_agent(store, EnrolledAgent(device.agent_id, name, device.identity.public, device.node_public, NOW))  # fmt: skip
    return made


def ids(home):
    with Store.open(home, read_only=True) as store:
        return {agent.name: agent.agent_id for agent in store.agents()}


def test_a_published_model_is_offered_to_every_member_and_signed(home):
    found = publish(home, CNN, None, clock=CLOCK)
    shelf = ModelShelf(home)
    for agent in ids(home).values():
        offer = shelf.offer_for(agent)
        offer.check(read_package(CNN).signer)
        assert (offer.serial, offer.model) == (found["serial"], read_package(CNN).digest)
        assert shelf.part(agent, offer.serial, 0, BIG) == CNN.read_bytes()
    assert found["serial"] == int(NOW)


def test_a_model_for_some_is_shown_and_given_to_nobody_else(home, tmp_path):
    agents = ids(home)
    first = publish(home, CNN, None, clock=CLOCK)["serial"]
    second = publish(home, newer(tmp_path / "b.evm", 9), ["cam-2"], clock=CLOCK)["serial"]
    shelf = ModelShelf(home)
    assert shelf.offer_for(agents["cam-1"]).serial == first
    assert shelf.offer_for(agents["cam-2"]).serial == second == first + 1
    assert shelf.part(agents["cam-1"], second, 0, BIG) is None
    assert [row["to"] for row in published(home)] == [None, ["cam-2"]]
    with pytest.raises(ConfigError, match="no agent is called nobody"):
        publish(home, CNN, ["cam-1", "nobody"])


def test_what_is_withdrawn_is_not_offered_and_its_file_is_gone(home, tmp_path):
    agent = ids(home)["cam-1"]
    first = publish(home, CNN, None, clock=CLOCK)["serial"]
    second = publish(home, newer(tmp_path / "b.evm", 9), None, clock=CLOCK)
    shelf = ModelShelf(home)
    assert shelf.part(agent, second["serial"], 0, BIG)
    assert withdraw(home, second["model"][:10])["serial"] == second["serial"]
    assert shelf.reload()
    assert shelf.offer_for(agent).serial == first
    assert shelf.part(agent, second["serial"], 0, BIG) is None
    assert len(list((home / "published").glob("*.evm"))) == 1
    withdraw(home, str(first))
    assert publish(home, CNN, None, clock=CLOCK)["serial"] == second["serial"] + 1, (
        "never one that was"
    )
    with pytest.raises(ConfigError, match="no published model"):
        withdraw(home, "12")


def test_a_strangers_or_damaged_package_is_not_published(home, tmp_path):
    (tmp_path / "foreign.evm").write_bytes(resigned(read_package(CNN), key=bytes(32)))
    (tmp_path / "cut.evm").write_bytes(CNN.read_bytes()[:-9])
    with pytest.raises(ModelUntrusted):
        publish(home, tmp_path / "foreign.evm", None)
    with pytest.raises(ModelError):
        publish(home, tmp_path / "cut.evm", None)
    (tmp_path / "variant.evm").write_bytes(resigned(read_package(CNN), derived=VARIANT))
    with pytest.raises(ModelError, match="a device made this variant"):
        publish(home, tmp_path / "variant.evm", None)
    assert published(home) == []


def test_a_crash_before_the_index_publishes_nothing_and_leaves_nothing_for_long(home, monkeypatch):
    first = publish(home, CNN, None, clock=CLOCK)["serial"]

    def killed(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(publishing, "_save", killed)
    with pytest.raises(KeyboardInterrupt):
        publish(home, CNN, None, clock=CLOCK)
    monkeypatch.undo()
    assert [row["serial"] for row in published(home)] == [first]
    assert len(list((home / "published").glob("*.evm"))) == 2
    publish(home, CNN, None, clock=CLOCK)
    assert len(list((home / "published").glob("*.evm"))) == 2


def test_a_file_that_changed_on_the_disk_is_given_to_nobody(home):
    agent = ids(home)["cam-1"]
    serial = publish(home, CNN, None, clock=CLOCK)["serial"]
    path = home / f"published/{serial}.evm"
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    assert ModelShelf(home).part(agent, serial, 0, BIG) is None
    path.unlink()
    assert ModelShelf(home).part(agent, serial, 0, BIG) is None
    assert published(home)[0]["privacy"] is None


def test_a_damaged_index_is_told_once_and_offers_nothing(home):
    publish(home, CNN, None)
    shelf = ModelShelf(home)
    (home / "published/index.json").write_text("{")
    with pytest.raises(StateDamaged, match="publish anew"):
        shelf.reload()
    assert shelf.reload() is False


def test_the_oldest_of_too_many_ends(home):
    for _ in range(publishing.MOST_KEPT + 2):
        publish(home, CNN, None, clock=CLOCK)
    assert len(published(home)) == publishing.MOST_KEPT == len(list((home / "published").glob("*.evm")))  # fmt: skip


def test_published_models_are_backed_up_and_restored(home, tmp_path):
    serial = publish(home, CNN, None)["serial"]
    back_up(home, tmp_path / "backup")
    restore(tmp_path / "backup", tmp_path / "again")
    agent = ids(home)["cam-1"]
    assert ModelShelf(tmp_path / "again").part(agent, serial, 0, BIG) == CNN.read_bytes()


def test_a_full_disk_publishes_nothing(home, monkeypatch):
    def full(*_args, **_kwargs):
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr(publishing, "write_atomic", full)
    with pytest.raises(ConfigError, match="No space left on device"):
        publish(home, CNN, None)
    monkeypatch.undo()
    assert published(home) == []


def test_the_commands_publish_show_and_withdraw(home):
    told = json.loads(run(home, "model", "publish", CNN, "--to", "cam-2", "--json").stdout)
    assert told["live"] is False
    assert "cam-2" in run(home, "model", "published", columns=200).stdout
    serial = str(told["serial"])
    run(home, "model", "withdraw", serial)
    for wrong in (["withdraw", serial], ["publish", CNN, "--to", "nobody"], ["publish", CNN, "--round", "3"]):  # fmt: skip
        found = run(home, "model", *wrong, check=False)
        assert (found.returncode, found.stderr.count("\n")) == (2, 1)


def test_parts_are_read_from_the_file_and_none_is_kept_in_memory(home):
    serial = publish(home, CNN, None)["serial"]
    agent, shelf, data = ids(home)["cam-1"], ModelShelf(home), CNN.read_bytes()
    parts = [shelf.part(agent, serial, at, 1000) for at in range(0, len(data), 1000)]
    assert b"".join(parts) == data
    assert shelf.part(agent, serial, len(data), 1000) is None
    held = [value for value in vars(shelf).values() if isinstance(value, dict)]
    assert all(not isinstance(each, bytes) for found in held for each in found.values())


def test_many_threads_that_ask_while_the_index_changes_get_whole_parts_or_none(home, tmp_path):
    serial = publish(home, CNN, None)["serial"]
    agent, shelf, data = ids(home)["cam-1"], ModelShelf(home), CNN.read_bytes()
    found, stop = [], threading.Event()

    def ask():
        while not stop.is_set():
            found.append(shelf.part(agent, serial, 4096, 4096))

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for each in threads:
        each.start()
    for number in range(20, 24):
        publish(home, newer(tmp_path / f"{number}.evm", number), None)
        shelf.reload()
    withdraw(home, str(serial))
    shelf.reload()
    stop.set()
    for each in threads:
        each.join()
    assert set(found) <= {data[4096:8192], None}
    assert data[4096:8192] in found
    assert shelf.part(agent, serial, 4096, 4096) is None
