"""A folder that grows while the agent runs: what is used when, and that no answer waits for it or follows from it."""

import threading

import numpy as np
import pytest
from catalogue_bench import write_png
from fakes_federation import POLICY, Federation, plan_for

from edgeveil.agent.home.config import AgentConfig, save, settle
from edgeveil.agent.home.data import DataShelf
from edgeveil.agent.home.records.record_policy import DataPolicy
from edgeveil.agent.home.watching import Watcher
from edgeveil.shared.base.errors import ConfigError, DataError
from edgeveil.shared.tasks import registry
from edgeveil.shared.wire.messages import Stage

SIDE, PATIENCE_S = 8, 60
LABELS = ("cat", "dog")
DATA = DataPolicy(height=SIDE, width=SIDE, labels=LABELS)
OPTIONS = {"variant": "fixed", "classes": 2, "height": SIDE, "width": SIDE, "labels": "cat,dog"}


def photo(root, label, number):
    value = (60 if label == "cat" else 180) + number % 50
    write_png(root / label / f"{number}.png", np.full((SIDE, SIDE), value, np.uint8))


def photos(root, count):
    for number in range(count):
        photo(root, LABELS[number % 2], number)
    return root


def watched(shelf, told, *, size=None, between=None, least=0.5):
    return Watcher(
        shelf,
        between=between or threading.Lock(),
        size=lambda: size,
        accept=lambda found: found.check(least, shelf.path),
        tell=told.append,
    )


@pytest.fixture
def shelf(tmp_path):
    made = DataShelf(photos(tmp_path / "photos", 6), schema=DATA.as_schema())
    made.fill()
    return made


def test_a_device_trains_on_new_photos_from_the_next_round_on_and_no_round_waits_for_them(tmp_path):
    pieces = [photos(tmp_path / f"photos-{number}", 20) for number in range(4)]
    policy = POLICY.model_copy(update={"data": DATA, "n_ref": 20})
    federation = Federation(tmp_path, agents=3, policy=policy, pieces=pieces)
    try:
        agent, gate = min(federation.sessions), threading.Event()
        session = federation.sessions[agent]
        grown = session._device.shelf.path
        gate.set()

        def held_up(found):
            assert gate.wait(PATIENCE_S)
            return found

        shelf = session._device.shelf
        shelf.complete(held_up)  # what a slow disk, or a network over the pictures, would do
        plan = plan_for(3, task__options=OPTIONS, rounds__count=3)
        driver, _ = federation.driver(plan)
        assert driver.attempt(1) is None
        for number in range(20, 50):
            photo(grown, "dog", number)
        gate.clear()
        told = []
        reading = threading.Thread(target=watched(shelf, told, size=session.size).look)
        reading.start()
        assert driver.attempt(2) is None  # while the folder is being read
        assert reading.is_alive()
        assert shelf.in_use().usable == 20
        gate.set()
        reading.join(PATIENCE_S)
        assert shelf.in_use().labels == {"cat": 10, "dog": 40}
        assert driver.attempt(3) is None
        task, options = driver_task(driver)
        assert len(shelf.load(task, options)) == 50
        assert any("counts as 20" in sentence for sentence in told)
        assert session.size == 20  # whatever lies in the folder
        sizes = [
            [len(reply.body) for who, asked, reply in federation.wire.captured
             if who == agent and asked.attempt.round == number and asked.stage in set(Stage)]
            for number in (1, 2, 3)
        ]  # fmt: skip
        assert sizes[0] == sizes[1] == sizes[2]
    finally:
        federation.close()


def driver_task(driver):
    task = registry.load(driver.run.task)
    return task, task.parse_options(driver.run.plan.task.options)


def test_records_in_use_change_between_two_answers_alone(shelf):
    between = threading.Lock()
    photo(shelf.path, "cat", 100)
    watcher = watched(shelf, [], between=between)
    photo(shelf.path, "cat", 101)
    with between:  # an answer is being made
        looking = threading.Thread(target=watcher.look)
        looking.start()
        looking.join(1)
        assert shelf.in_use().usable == 6
    looking.join(PATIENCE_S)
    assert shelf.in_use().usable == 8


def test_an_unchanged_folder_is_not_read_again_and_a_picture_that_was_half_there_is_taken_later(
    shelf,
):
    told = []
    watcher = watched(shelf, told)
    assert not watcher.look()
    half = shelf.path / "dog" / "new.png"
    photo(shelf.path, "dog", 77)
    whole = (shelf.path / "dog" / "77.png").read_bytes()
    half.write_bytes(whole[: len(whole) // 2])
    assert watcher.look()
    assert shelf.in_use().usable == 7
    assert "1 left out" in told[-1]
    assert not watcher.look()
    half.write_bytes(whole)
    assert watcher.look()
    assert shelf.in_use().usable == 8


def test_every_record_is_used_however_many_there_are(shelf):
    told = []
    watcher = watched(shelf, told, size=6)
    for number in range(200, 240):
        photo(shelf.path, LABELS[number % 2], number)
    assert watcher.look()
    assert shelf.in_use().usable == 46
    assert "46 records, and this data set counts as 6: all are used" in told[-1]


def test_photos_that_are_gone_are_used_no_more(shelf):
    watcher = watched(shelf, [])
    (shelf.path / "cat" / "0.png").unlink()
    assert watcher.look()
    assert shelf.in_use().labels == {"cat": 2, "dog": 3}


def test_a_folder_with_which_no_device_would_start_changes_nothing_and_is_told(shelf):
    told = []
    watcher = watched(shelf, told, least=0.9)
    for number in range(10):
        (shelf.path / "cat" / f"broken-{number}.png").write_text("no picture")
    assert not watcher.look()
    assert shelf.in_use().usable == 6
    assert "still with the former records" in told[0]
    assert not watcher.look()
    assert len(told) == 1


def test_a_photo_that_comes_into_a_linked_class_folder_is_seen(tmp_path):
    photos(tmp_path / "elsewhere", 6)
    root = tmp_path / "photos"
    root.mkdir()
    for label in LABELS:
        (root / label).symlink_to(tmp_path / "elsewhere" / label)
    (root / "cat" / "around").symlink_to(root)  # a link that leads back ends nothing
    shelf = DataShelf(root, schema=DATA.as_schema())
    shelf.fill()
    watcher = watched(shelf, told := [])
    assert not watcher.look()
    photo(tmp_path / "elsewhere", "dog", 100)
    assert watcher.look()
    assert told[0].startswith("data: 7 usable images")


def test_a_photo_that_is_replaced_behind_a_link_is_seen(tmp_path):
    root = photos(tmp_path / "photos", 6)
    photo(tmp_path / "elsewhere", "dog", 100)
    (root / "dog" / "link.png").symlink_to(tmp_path / "elsewhere" / "dog" / "100.png")
    shelf = DataShelf(root, schema=DATA.as_schema())
    shelf.fill()
    write_png(tmp_path / "elsewhere" / "dog" / "100.png", np.zeros((SIDE, SIDE), np.uint8))
    assert watched(shelf, []).look()


def test_a_shelf_of_nobody_knows_what_cannot_be_watched(tmp_path):
    with pytest.raises(DataError, match="not declared"):
        DataShelf(photos(tmp_path / "photos", 2)).look_again()


def test_the_watch_ends_with_the_agent(shelf):
    stop = threading.Event()
    thread = threading.Thread(target=watched(shelf, []).run, args=(stop,))
    thread.start()
    stop.set()
    thread.join(PATIENCE_S)
    assert not thread.is_alive()


def test_watching_is_the_owners_word_in_agent_toml(tmp_path):
    save(tmp_path, AgentConfig(data=tmp_path))
    assert not settle(tmp_path, None, None).watch
    path = tmp_path / "agent.toml"
    path.write_text(path.read_text() + "watch = true\n")
    found = settle(tmp_path, None, None)
    assert found.watch
    save(tmp_path, found)
    assert settle(tmp_path, None, None).watch
    path.write_text(f'data = "{tmp_path}"\nwatch = "yes"\n')
    with pytest.raises(ConfigError, match="watch"):
        settle(tmp_path, None, None)
