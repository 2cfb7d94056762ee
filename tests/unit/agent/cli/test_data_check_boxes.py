"""Pictures with boxes at a device: declared, checked, read once, and what a plan may ask of them."""

import json

import pytest
from boxes_bench import CLASSES, write_coco, write_json, write_voc
from typer.testing import CliRunner

from edgeveil.agent.cli.app import app
from edgeveil.agent.home.data import DataShelf
from edgeveil.agent.home.policy import Policy
from edgeveil.agent.home.policy_changes import loosened
from edgeveil.agent.home.records.record_policy import BoxPolicy, record_policy
from edgeveil.agent.home.records.usable import doubts
from edgeveil.shared.base.errors import ConfigError, ExitCode
from edgeveil.shared.data.boxes.schema import BoxSchema


def run(home, *arguments):
    return CliRunner().invoke(app, ["data", "check", "--home", str(home), *arguments])


def test_boxes_are_counted_by_class_and_faults_by_kind(tmp_path):
    told = write_coco(tmp_path / "data")
    told["annotations"][0]["bbox"] = [90, 90, 3, 3]
    write_json(tmp_path / "data/instances.json", told)
    found = json.loads(run(tmp_path / "home", "--data", str(tmp_path / "data"), "--json").stdout)
    assert (found["kind"], found["side"], found["tile"]) == ("boxes", 128, 0)
    assert found["classes"] == {"car": 0, "truck": 2}
    assert (found["usable"], found["pictures"], found["empty"], found["left_out"]) == (3, 3, 1, 0)
    assert found["box_faults"] == [
        {"fault": "outside the picture", "count": 1, "first": ["images/a.png"]}
    ]
    shown = run(tmp_path / "home", "--data", str(tmp_path / "data"))
    assert shown.exit_code == 0
    assert "3 pictures, 1 of them without a box" in shown.stdout
    assert "outside the picture" in shown.stdout


def test_tiles_say_of_what_epsilon_speaks(tmp_path):
    write_voc(tmp_path / "data")
    policy = Policy(data=BoxPolicy(kind="boxes", side=64, labels=CLASSES, tile=64))
    (tmp_path / "home").mkdir()
    (tmp_path / "home/policy.toml").write_text(policy.to_toml())
    shown = run(tmp_path / "home", "--data", str(tmp_path / "data"))
    assert "tiles of 64 pixels" in shown.stdout
    assert "ε is of a tile" in shown.stdout


def test_where_nothing_can_be_trained_the_check_ends_with_65(tmp_path):
    write_coco(tmp_path / "data")
    for picture in (tmp_path / "data/images").iterdir():
        picture.write_bytes(b"no picture")
    ended = run(tmp_path / "home", "--data", str(tmp_path / "data"))
    assert ended.exception.exit_code == ExitCode.DAMAGED == 65


def test_a_policy_keeps_what_boxes_are(tmp_path):
    declared = record_policy(BoxSchema(256, CLASSES))
    policy = Policy(data=declared)
    path = tmp_path / "policy.toml"
    path.write_text(policy.to_toml())
    assert Policy.load(path) == policy == Policy.from_json(policy.to_json())
    assert declared.as_schema() == BoxSchema(256, CLASSES)
    other = Policy(data=declared.model_copy(update={"tile": 640}))
    assert loosened(policy, other) == ("data",)


@pytest.mark.parametrize("field", [{"side": 100}, {"side": 4096}, {"tile": 3}, {"difficult": 1}])
def test_a_policy_bounds_how_boxes_are_read(field):
    good = {"kind": "boxes", "side": 128, "labels": ["car"]}
    Policy.parse({"data": good}, "policy")
    with pytest.raises(ConfigError, match=next(iter(field))):
        Policy.parse({"data": {**good, **field}}, "policy")


def test_a_device_reads_them_once_and_says_how_many(tmp_path):
    write_coco(tmp_path)
    told = []
    shelf = DataShelf(tmp_path, told.append, BoxSchema(64, CLASSES))
    shelf.fill()
    assert told == [
        "data: 3 usable pictures, 2 classes of boxes (car 1, truck 2), 64×64 in colours"
    ]
    assert (shelf.in_use().usable, dict(shelf.in_use().labels)) == (3, {"car": 1, "truck": 2})
    assert list(doubts(shelf.summary())) == ["one box or none in class 'car': a mistyped name?"]
