"""Networks of the YOLOv3 family: their sizes, what a row means, which weights are trained."""

import pytest
import torch

from edgeveil.shared.base.errors import ConfigError
from edgeveil.shared.tasks.detection.networks import NO_OBJECT, Head, Twice, detector
from edgeveil.shared.tasks.detection.options import DetectionOptions, Scale
from edgeveil.shared.tasks.modules import read_vector, trainable, write_vector
from edgeveil.shared.tasks.registry import load, newest


def options(**changes):
    return DetectionOptions(labels="car,bus,bicycle", size=128, **changes)


@pytest.mark.parametrize(
    ("variant", "width", "size", "rows"),
    [
        ("lite", "", 473_920, 3 * (16**2 + 8**2)),
        ("tiny", "", 546_932, 3 * (8**2 + 4**2)),
        ("tiny", "1/2", 2_174_968, 240),
        ("tiny", "1", 8_674_496, 240),
        ("full", "1/4", 3_864_064, 3 * (16**2 + 8**2 + 4**2)),
    ],
)
def test_they_have_the_documented_parameters_and_rows(variant, width, size, rows):
    asked = options(variant=variant, width=width)
    module = detector(asked)
    assert sum(p.numel() for p in module.parameters()) == size
    with torch.inference_mode():
        assert module(torch.rand(1, 3, 128, 128)).shape == (1, rows, 8)
    assert asked.rows == rows


def test_a_row_is_a_box_about_its_cell_and_anchor():
    scale = Scale(stride=16, side=2, anchors=((10.0, 20.0), (30.0, 8.0)))
    head = Head(4, scale, classes=3)
    with torch.no_grad():
        for layer in (head.boxes, head.classes):
            layer.weight.zero_()
            layer.bias.zero_()
        head.boxes.bias.view(2, 5)[1] = torch.tensor([100.0, -100.0, 100.0, -100.0, 7.0])
        rows = head(torch.rand(1, 4, 2, 2))[0]
    assert rows.shape == (2 * 2 * 2, 8)
    assert rows[:4, :2].tolist() == [[8, 8], [24, 8], [8, 24], [24, 24]]  # the middle of each cell
    assert rows[:4, 2:4].tolist() == [[10, 20]] * 4
    second = rows[4:]  # pushed to the ends of what a row can reach
    assert second[0].tolist() == [24, -8, 120, 0, 7, 0, 0, 0]


def test_pixels_are_doubled_as_the_nearest_ones():
    x = torch.rand(2, 3, 4, 5)
    wanted = torch.nn.functional.interpolate(x, scale_factor=2, mode="nearest")
    assert torch.equal(Twice()(x), wanted)


def test_at_first_nearly_nothing_is_an_object():
    with torch.inference_mode():
        rows = detector(options())(torch.rand(2, 3, 128, 128))
    assert (rows[..., 4] - NO_OBJECT).abs().max() < 1


def test_training_the_classes_leaves_everything_else_as_it_is():
    asked = options(train="classes")
    module = detector(asked)
    trained = trainable(module)
    assert [each.name.split(".")[2] for each in trained] == ["classes"] * 4
    assert sum(p.numel() for p in module.parameters() if p.requires_grad) == 1_746
    assert not any(p.any() for name, p in module.named_parameters() if name.endswith("classes.weight"))  # fmt: skip
    whole = detector(options())
    others = tuple(each for each in trainable(whole) if "classes" not in each.name)
    write_vector(module, read_vector(whole, trainable(whole)), trainable(whole))
    assert all(torch.equal(dict(module.named_parameters())[each.name], dict(whole.named_parameters())[each.name]) for each in others)  # fmt: skip


def test_anchors_follow_the_side_of_the_square_or_are_given():
    assert options().scales[0].anchors[0] == (10, 18)
    doubled = DetectionOptions(labels="car", size=256).scales
    assert doubled[0].anchors[0] == (20, 36)
    assert [each.side for each in doubled] == [32, 16]
    given = DetectionOptions(labels="car", size=128, anchors="8x8|20x30,40x40").scales
    assert [each.anchors for each in given] == [((8, 8),), ((20, 30), (40, 40))]


@pytest.mark.parametrize(
    ("raw", "fault"),
    [
        ({}, "options.labels: Field required"),
        ({"labels": "car,car"}, "named twice"),
        ({"labels": "car", "size": 100}, "multiple of 32"),
        ({"labels": "car", "size": 4096}, "options.size"),
        ({"labels": "car", "anchors": "10x10"}, "anchors for 1 scales; lite has 2"),
        ({"labels": "car", "anchors": "1x1|2x2|3x3"}, "anchors for 3 scales"),
        ({"labels": "car", "anchors": "10x|2x2"}, "'10x' is no anchor; write WIDTHxHEIGHT"),
        ({"labels": "car", "anchors": "nanx2|2x2"}, "is no anchor"),
        ({"labels": "car", "anchors": "0x2|2x2"}, "is no anchor"),
        ({"labels": "car", "anchors": ",".join(["2x2"] * 6) + "|2x2"}, "6 anchors of one scale"),
        ({"labels": "car", "boxes_max": 65}, "options.boxes_max"),
        ({"labels": "car", "width": "2"}, "options.width"),
        ({"labels": "car", "mosaic": True}, "options.mosaic"),
    ],
)
def test_refuses_options_that_make_no_detector(raw, fault):
    with pytest.raises(ConfigError, match=fault):
        load(newest("detection")).parse_options(raw)
