import numpy as np
import pytest
from catalogue_bench import grey_digits, task_and_options, write_npz, write_png

from edgeveil.shared.base.errors import DataError
from edgeveil.shared.data.images import read_images
from edgeveil.shared.data.left_out import total
from edgeveil.shared.data.schema import infer

CLASSES = tuple(str(index) for index in range(10))


def _read(path):
    return read_images(path, CLASSES, (28, 28, 1))


def test_folder_and_archive_of_the_same_images_are_read_alike(tmp_path):
    pixels, labels = grey_digits(20)
    for row, (image, label) in enumerate(zip(pixels, labels, strict=True)):
        write_png(tmp_path / "tree" / str(label) / f"{row:02}.png", image)
    order = np.argsort(labels, kind="stable")  # a tree is read class by class
    archive = write_npz(tmp_path / "packed" / "data.npz", X=pixels[order], y=labels[order])
    tree = _read(tmp_path / "tree")
    for source in (archive, archive.parent):
        packed = _read(source)
        assert packed.pixels.tobytes() == tree.pixels.tobytes()
        assert packed.targets.tolist() == tree.targets.tolist()
    assert tree.pixels.dtype == np.float32
    assert tree.pixels.max() == np.float32(250 / 255)


@pytest.mark.parametrize("shape", [(4, 28, 28), (4, 1, 28, 28), (4, 28, 28, 1)])
@pytest.mark.parametrize("dtype", [np.uint8, np.float16, np.float32, np.float64])
def test_a_channel_axis_of_one_and_every_float_type_are_accepted(shape, dtype, tmp_path):
    ones = np.full(shape, 255 if dtype == np.uint8 else 1, dtype=dtype)
    found = _read(write_npz(tmp_path / "a.npz", X=ones, y=np.arange(4, dtype=np.int32)))
    assert found.pixels.shape == (4, 28, 28)
    assert (found.pixels == 1).all()
    assert found.targets.dtype == np.int64


@pytest.mark.parametrize(
    ("arrays", "fault"),
    [
        ({"X": np.zeros((4, 8, 8), np.uint8)}, r"shape \(4, 8, 8\)"),
        ({"X": np.zeros((4, 3, 28, 28), np.uint8)}, "shape"),
        ({"X": np.zeros((4, 28, 28), np.int16)}, "type int16"),
        ({"y": np.zeros(3, np.int64)}, "expected 4 integers"),
        ({"y": np.zeros((4, 1), np.int64)}, "expected 4 integers"),
        ({"y": np.zeros(4)}, "expected 4 integers"),
    ],
)
def test_says_what_is_wrong_with_the_arrays(arrays, fault, tmp_path):
    good = {"X": np.zeros((4, 28, 28), np.uint8), "y": np.zeros(4, np.int64)}
    with pytest.raises(DataError, match=fault):
        _read(write_npz(tmp_path / "a.npz", **{**good, **arrays}))


@pytest.mark.parametrize("label", [np.int64(10), np.int64(-1), np.uint64(2**64 - 1)])
def test_a_label_outside_the_classes_leaves_out_its_record_and_no_other(label, tmp_path):
    labels = np.array([0, 1, label, 2], dtype=type(label))
    found = _read(write_npz(tmp_path / "a.npz", X=np.zeros((4, 28, 28), np.uint8), y=labels))
    assert found.targets.tolist() == [0, 1, 2]
    assert ["record 2 " in line for line in found.skipped] == [True]


@pytest.mark.parametrize("value", [200.0, -0.5])
def test_a_record_out_of_range_is_left_out_and_named(value, tmp_path):
    pixels = np.zeros((3, 28, 28), np.float32)
    pixels[1, 2, 2] = value
    found = _read(write_npz(tmp_path / "a.npz", X=pixels, y=np.arange(3)))
    assert found.targets.tolist() == [0, 2]
    assert "0..1" in found.skipped[0]


def test_a_record_that_is_not_finite_is_left_out_and_named(tmp_path):
    pixels = np.zeros((4, 28, 28), np.float32)
    pixels[1, 3, 3] = np.nan
    pixels[2, 0, 0] = np.inf
    path = write_npz(tmp_path / "a.npz", X=pixels, y=np.array([5, 6, 7, 8]))
    found = _read(path)
    assert found.targets.tolist() == [5, 8]
    assert len(found.skipped) == 2
    assert "record 1 " in found.skipped[0]
    assert "record 2 " in found.skipped[1]


@pytest.mark.parametrize("shape", [(4, 28, 20, 3), (4, 3, 28, 20)])
def test_colours_are_read_with_their_channels_last_or_first(shape, tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (4, 28, 20, 3), dtype=np.uint8)
    stored = pixels if shape[3] == 3 else np.moveaxis(pixels, 3, 1)
    path = write_npz(tmp_path / "a.npz", X=stored, y=np.arange(4))
    schema = infer(path)
    assert schema.shape == (28, 20, 3)
    found = schema.read(path)
    assert np.array_equal(found.pixels, pixels.astype(np.float32) / np.float32(255))


def test_a_task_for_grey_images_does_not_take_those_in_colours(tmp_path):
    path = write_npz(tmp_path / "a.npz", X=np.zeros((4, 28, 28, 3), np.uint8), y=np.arange(4))
    with pytest.raises(DataError, match="channels are options of the task"):
        _read(path)


@pytest.mark.parametrize(
    ("value", "says"),
    [
        (255.0, "reach 255: divide X by 255, or store it as uint8"),
        (np.nan, "not finite"),
        (-1.0, "scale X to 0..1"),
        (1e30, "scale X to 0..1"),
    ],
)
def test_where_most_records_have_one_fault_the_first_sentence_names_it_and_its_remedy(
    value, says, tmp_path
):
    pixels = np.zeros((10, 28, 28), np.float32)
    pixels[:6, 5, 5] = value
    path = write_npz(tmp_path / "a.npz", X=pixels, y=np.arange(10))
    found = _read(path)
    assert len(found.targets) == 4
    assert "most records are like this" in found.skipped[0]
    assert says in found.skipped[0]
    assert len(found.skipped) == 6
    pixels[1:6] = 0
    few = _read(write_npz(path, X=pixels, y=np.arange(10)))
    assert few.advice == ""
    assert says in few.skipped[0]


def test_a_million_records_with_one_fault_are_not_a_million_sentences(tmp_path):
    count = 5000
    pixels = np.full((count, 28, 28), 2, np.float32)
    found = _read(write_npz(tmp_path / "a.npz", X=pixels, y=np.zeros(count, np.int64)))
    assert len(found.left) == 1001
    assert total(found.left) == count


def test_a_path_that_is_absent_or_ambiguous_is_an_error(tmp_path):
    with pytest.raises(DataError, match="no such file or folder"):
        _read(tmp_path / "nothing")
    pixels, labels = grey_digits(10)
    write_npz(tmp_path / "a.npz", X=pixels, y=labels)
    assert len(_read(tmp_path).targets) == 10
    (tmp_path / "0").mkdir()
    with pytest.raises(DataError, match=r"1 \.npz files and 1 folders"):
        _read(tmp_path)
    (tmp_path / "0").rmdir()
    write_npz(tmp_path / "b.npz", X=pixels, y=labels)
    with pytest.raises(DataError, match=r"2 \.npz files"):
        _read(tmp_path)


def test_tasks_name_their_own_classes_and_sizes(tmp_path):
    write_png(tmp_path / "no" / "a.png", np.zeros((50, 70), dtype=np.uint8))
    write_png(tmp_path / "yes" / "b.png", np.full((50, 70), 255, dtype=np.uint8))
    task, options = task_and_options(
        "image-classification", "cnn", classes=2, labels="no,yes", height=16, width=32
    )
    found = task.load(tmp_path, options)
    assert options.class_names == ("no", "yes")
    assert found.inputs.shape == (2, 1, 16, 32)
    assert found.inputs[:, 0, 0, 0].tolist() == [-1, 1]
    assert found.targets.tolist() == [0, 1]
    assert len(found) == 2
