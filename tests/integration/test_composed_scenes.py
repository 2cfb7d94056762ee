"""Scenes with known boxes: what they are composed of, and that nothing is in two of them."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
from scenes_bench import CLASSES, OTHER_CLASSES, Camera, as_records, dealt, items_of, scenes

ROOT = Path(__file__).resolve().parents[2]


def test_the_same_seed_gives_the_same_scenes_and_another_one_others():
    items = items_of(CLASSES, "test", most=20)
    first, again = (scenes(Camera.of(1), items, 3) for _ in range(2))
    other = scenes(Camera.of(1), items, 3, seed=8)
    assert all(np.array_equal(a.pixels, b.pixels) for a, b in zip(first, again, strict=True))
    assert not np.array_equal(first[0].pixels, other[0].pixels)


def test_boxes_lie_inside_and_hold_what_was_pasted():
    items = items_of(CLASSES, "test", most=20)
    for scene in scenes(Camera.of(3), items, 30):
        _, left, top, right, bottom = scene.boxes.T
        assert (left >= 0).all()
        assert (top >= 0).all()
        assert (right <= 128).all()
        assert (bottom <= 128).all()
        assert (right - left >= 4).all()
        assert (bottom - top >= 4).all()


def test_no_picture_of_clothes_is_used_by_two_sources():
    one, other = (items_of(CLASSES, "test", at, 2, most=60) for at in range(2))
    seen = {item.tobytes() for cut in one.cut for item in cut}
    assert not any(item.tobytes() in seen for cut in other.cut for item in cut)


def test_the_public_classes_are_none_of_the_private_ones():
    assert not set(CLASSES) & set(OTHER_CLASSES)


def test_there_are_empty_scenes_and_every_class_on_every_camera():
    made = dealt(cameras=2, count=60, held=8)
    assert [len(found) for found in made.values()] == [60, 60, 8, 8]
    for name in ("camera-1", "camera-2"):
        pixels, boxes = as_records(made[name])
        assert pixels.shape == (60, 3, 128, 128)
        assert {int(box[0]) for each in boxes for box in each} == {0, 1, 2}
        assert any(len(each) == 0 for each in boxes)


def test_the_script_writes_coco_folders(tmp_path):
    script = [sys.executable, str(ROOT / "scripts/make_scenes.py"), str(tmp_path / "made")]
    wanted = ["--cameras", "1", "--scenes", "4", "--test", "3"]
    found = subprocess.run([*script, *wanted], capture_output=True, text=True)
    assert found.returncode == 0, found.stderr
    folder = tmp_path / "made/camera-1"
    told = json.loads((folder / "instances.json").read_text())
    assert [each["name"] for each in told["categories"]] == list(CLASSES)
    assert {each["file_name"] for each in told["images"]} == {
        path.name for path in (folder / "images").iterdir()
    }
    again = subprocess.run([*script, *wanted], capture_output=True, text=True)
    assert again.returncode == 1
    assert "is there already" in again.stderr
