"""What an offer can choose decides neither what is read nor which code comes back."""

import contextlib
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from fakes_federation import DIGITS, POLICY, Federation, plan_for
from PIL import Image

from edgeveil.agent.home.data import DataShelf
from edgeveil.agent.home.home import AgentHome
from edgeveil.agent.home.policy import Policy
from edgeveil.agent.home.policy_changes import loosened
from edgeveil.agent.rounds.start import declare_data
from edgeveil.coordinator.rounds.driver import RunFailed
from edgeveil.shared.base.errors import DataError
from edgeveil.shared.data.schema import Schema, infer
from edgeveil.shared.wire.messages import Stage

OPENED = []
watched = [None]


def _note(event, arguments):
    if watched[0] is not None and event in {"open", "os.listdir", "os.scandir"}:
        path = str(arguments[0])
        if path.startswith(watched[0]):
            OPENED.append((event, path))


sys.addaudithook(_note)


@pytest.fixture
def federation(tmp_path):
    made = Federation(tmp_path)
    yield made
    made.close()


def fill(federation):
    for session in federation.sessions.values():
        session._device.shelf.fill()


def answers(federation, **changes):
    """What every agent answered to the first offer of such a plan, and how often data were touched."""
    fill(federation)
    OPENED.clear()
    watched[0] = str(federation.pieces[0].parent / "piece-")
    try:
        plan = plan_for(4, rounds__count=1, rounds__attempts=1, **changes)
        with contextlib.suppress(RunFailed):
            federation.train(plan, ask=False)
    finally:
        watched[0] = None
    found = [(reply.stage, reply.refusal) for _, _, reply in federation.wire.captured]
    return found, list(OPENED)


MISFITS = {
    "fewer classes": {"variant": "fixed", "classes": 9},
    "other names": {"variant": "fixed", "labels": "a,b,c,d,e,f,g,h,i,j"},
    "in colours": {"variant": "fixed", "channels": 3},
    "another height": {"variant": "fixed", "height": 32},
    "so large that it would not fit in memory": {
        "variant": "fixed",
        "height": 512,
        "width": 512,
        "classes": 10,
    },
    "small": {"variant": "fixed", "height": 8, "width": 8},
}


@pytest.mark.parametrize("options", MISFITS.values(), ids=MISFITS)
def test_every_kind_of_misfit_gets_one_code_uncharged_and_touches_no_data(federation, options):
    found, opened = answers(federation, task__options=options)
    assert {code for stage, code in found if stage is Stage.ROUND} == {"POLICY_TASK"}
    assert opened == []
    for home in federation.homes:
        ledger = home.ledger_folder / "data" / "ledger.jsonl"
        assert b'"kind":"reserve"' not in ledger.read_bytes()


@pytest.mark.parametrize("records", [20, 200])
def test_no_data_are_touched_by_an_offer_that_trains_either(tmp_path, records):
    federation = Federation(tmp_path, records=records)
    found, opened = answers(federation)
    federation.close()
    assert opened == [], "all of it was read before the first offer"
    assert {code for _, code in found} == {None}


def test_a_device_trains_from_what_it_read_at_its_start(federation):
    fill(federation)
    for piece in federation.pieces:
        piece.unlink()
    federation.train(plan_for(4, rounds__count=1))
    assert len(federation.store.rounds()[0].survived) == 4


def test_a_device_that_lacks_a_class_trains_under_the_plan_s_indices(tmp_path):
    """Labels of its own order: the same records under both namings give the same model inputs."""
    few = DIGITS.model_copy(update={"labels": ("7", "1"), "usable_min": 0.1})
    federation = Federation(tmp_path, data=few)
    federation.train(plan_for(4, rounds__count=1))
    assert len(federation.store.rounds()[0].survived) == 4
    federation.close()


def write(folder, name, shade):
    path = folder / name / "a.png"
    path.parent.mkdir(parents=True)
    Image.fromarray(np.full((40, 60), shade, np.uint8)).save(path)


def test_classes_are_matched_by_name(tmp_path):
    from edgeveil.shared.tasks import registry

    write(tmp_path, "cat", 10)
    write(tmp_path, "ant", 200)
    task = registry.load(registry.newest("image-classification"))
    options = task.parse_options({"variant": "linear", "classes": 3, "labels": "dog,cat,ant"})
    schema = infer(tmp_path)
    assert schema == Schema("images", (28, 28, 1), ("ant", "cat"))
    found = DataShelf(tmp_path, schema=schema).load(task, options)
    expected = task.load(tmp_path, options)
    order = np.argsort(found.targets), np.argsort(expected.targets)
    assert found.targets[order[0]].tolist() == [1, 2]
    assert np.array_equal(found.inputs[order[0]], expected.inputs[order[1]])


@pytest.mark.parametrize(
    ("raw", "labels", "expected"),
    [
        ((5, 12, 28), [0, 1, 2, 2, 0], ((12, 28, 1), ("0", "1", "2"))),
        ((5, 1, 12, 28), [0, 0, 0, 0, 1], ((12, 28, 1), ("0", "1"))),
        ((5, 12, 28, 1), [0, 0, 0, 0, 10**6], ((12, 28, 1), ("0",))),
    ],
)
def test_the_schema_of_arrays_is_theirs(tmp_path, raw, labels, expected):
    np.savez(tmp_path / "a.npz", X=np.zeros(raw, np.uint8), y=np.array(labels))
    assert infer(tmp_path / "a.npz") == infer(tmp_path) == Schema("images", *expected)


@pytest.mark.parametrize("raw", [(5, 12, 28, 3), (5, 3, 12, 28)])
def test_arrays_in_colours_have_a_schema_that_fits_no_grey_task(tmp_path, raw):
    np.savez(tmp_path / "a.npz", X=np.zeros(raw, np.uint8), y=np.zeros(5, np.int64))
    found = infer(tmp_path)
    assert found == Schema("images", (12, 28, 3), ("0",))
    assert not found.fits(Schema("images", (12, 28, 1), ("0",)))


def test_a_device_with_photos_in_colours_trains_in_colours(tmp_path, monkeypatch):
    from edgeveil.shared.tasks import registry
    from edgeveil.shared.tasks.backbone import asset

    monkeypatch.setattr(asset, "PACKAGE", "weights_that_nobody_has")
    for name, colour in (("cat", (200, 10, 10)), ("ant", (10, 200, 10))):
        (tmp_path / "photos" / name).mkdir(parents=True)
        Image.new("RGB", (40, 60), colour).save(
            tmp_path / "photos" / name / "a.webp", lossless=True
        )
    home = AgentHome(tmp_path / "home")
    home.policy_path.write_text(POLICY.to_toml())
    policy, _ = declare_data(home, POLICY, tmp_path / "photos", lambda _sentence: None)
    assert policy.data.channels == 3
    schema = policy.data.as_schema()
    task = registry.load(registry.newest("image-classification"))
    options = task.parse_options({"classes": 2, "labels": "ant,cat", "channels": 3})
    assert schema.fits(task.schema(options))
    found = DataShelf(tmp_path / "photos", schema=schema).load(task, options)
    assert found.inputs.shape == (2, 3, 28, 28)
    assert found.inputs[0, :, 0, 0] * 127.5 + 127.5 == pytest.approx([10, 200, 10])


def test_what_no_image_task_reads_has_no_schema(tmp_path):
    np.savez(tmp_path / "a.npz", X=np.zeros((5, 3)), y=np.zeros(5, np.int64))
    with pytest.raises(DataError, match="expected"):
        infer(tmp_path)


def test_the_schema_is_pinned_at_the_first_start_and_never_follows_the_folder(tmp_path):
    home, data, said = AgentHome(tmp_path / "home"), tmp_path / "photos", []
    write(data, "cat", 10)
    home.policy_path.write_text(POLICY.to_toml())
    first, _ = declare_data(home, Policy.load(home.policy_path), data, said.append)
    assert first.data.labels == ("cat",)
    assert said[0] == "data: 1 usable images, 1 classes (cat 1), 28×28 grey"
    assert "fixed" in said[1]
    write(data, "dog", 20)
    again, _ = declare_data(home, Policy.load(home.policy_path), data, said.append)
    assert again == first
    assert len(said) == 3
    assert "1 left out, the first because" in said[2]
    assert "'dog' is not a class" in said[2]
    shutil.rmtree(data)
    assert Policy.from_json(again.to_json()) == again


def test_only_naming_the_data_for_the_first_time_needs_no_confirmation():
    named = POLICY.model_copy(update={"data": DIGITS})
    other = POLICY.model_copy(update={"data": DIGITS.model_copy(update={"height": 32})})
    assert loosened(POLICY, named) == ()
    assert loosened(named, other) == ("data",)
    assert loosened(named, POLICY) == ("data",)


def test_more_than_memory_holds_is_told_at_the_start(tmp_path, monkeypatch):
    monkeypatch.setattr("edgeveil.agent.home.data.MAX_VALUES", 28 * 28 * 3)
    path = Path(tmp_path / "a.npz")
    np.savez(path, X=np.zeros((4, 28, 28), np.uint8), y=np.zeros(4, np.int64))
    with pytest.raises(DataError, match="in memory"):
        DataShelf(path, schema=infer(path)).fill()
    assert replace(infer(path), labels=("0",)).fits(infer(path))
