import struct
import zlib

import numpy as np
import pytest
from catalogue_bench import write_png
from PIL import Image

from edgeveil.shared.base.errors import DataError
from edgeveil.shared.data.folders import MAX_PIXELS, read_folders, read_image

CLASSES = ("cat", "dog")


def test_reads_every_readable_file_in_the_order_of_classes_and_names(tmp_path):
    for name, level in [
        ("dog/b.png", 40),
        ("dog/a.PNG", 30),
        ("cat/z.jpeg", 20),
        ("cat/y.jpg", 10),
    ]:
        write_png(tmp_path / name, np.full((12, 12), level, dtype=np.uint8))
    (tmp_path / "dog" / "notes.txt").write_text("not an image")
    (tmp_path / "dog" / "deeper").mkdir()
    (tmp_path / ".cache").mkdir()
    pixels, targets, skipped = read_folders(tmp_path, CLASSES, 8, 12)
    assert pixels.shape == (4, 8, 12)
    assert pixels.mean(axis=(1, 2)).round().tolist() == [10, 20, 30, 40]
    assert targets.tolist() == [0, 0, 1, 1]
    assert skipped == ()


def test_a_broken_file_is_left_out_and_named(tmp_path):
    good = write_png(tmp_path / "cat" / "a.png", np.zeros((8, 8), dtype=np.uint8))
    (tmp_path / "cat" / "broken.png").write_bytes(good.read_bytes()[:40])
    (tmp_path / "cat" / "text.jpg").write_text("hello")
    (tmp_path / "cat" / "empty.png").touch()
    _, targets, skipped = read_folders(tmp_path, CLASSES, 8, 8)
    assert len(targets) == 1
    assert [any(name in line for line in skipped) for name in ("broken", "text", "empty")] == [
        True,
        True,
        True,
    ]


def test_a_folder_of_an_unknown_class_is_left_out_and_named(tmp_path):
    write_png(tmp_path / "cat" / "a.png", np.zeros((8, 8), dtype=np.uint8))
    write_png(tmp_path / "dgo" / "b.png", np.zeros((8, 8), dtype=np.uint8))
    _, targets, skipped = read_folders(tmp_path, CLASSES, 8, 8)
    assert targets.tolist() == [0]
    assert len(skipped) == 1
    assert "'dgo' is not a class" in skipped[0]


def test_no_folder_and_no_image_are_no_records(tmp_path):
    for _ in range(2):
        pixels, targets, _ = read_folders(tmp_path, CLASSES, 8, 8)
        assert pixels.shape == (0, 8, 8)
        assert targets.shape == (0,)
        (tmp_path / "cat").mkdir(exist_ok=True)


def test_the_camera_orientation_is_applied(tmp_path):
    pixels = np.zeros((8, 16), dtype=np.uint8)
    pixels[:, :8] = 255  # the left half is bright
    exif = Image.Exif()
    exif[0x0112] = 6  # rotate by 90 degrees clockwise to see it upright
    path = tmp_path / "a.jpg"
    Image.fromarray(pixels).save(path, exif=exif)
    upright = read_image(path, 16, 8)
    assert upright[:6].mean() > 250
    assert upright[10:].mean() < 5


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "P", "1", "LA"])
def test_every_colour_mode_becomes_grey(mode, tmp_path):
    path = tmp_path / "a.png"
    Image.new("RGB", (8, 8), (255, 255, 255)).convert(mode).save(path)
    assert (read_image(path, 8, 8) == 255).all()


@pytest.mark.parametrize("side", [8_000, 40_000])
def test_refuses_a_decompression_bomb_before_decoding_it(side, tmp_path):
    path = tmp_path / "bomb.png"
    path.write_bytes(_png_header(side, side))
    assert side * side > MAX_PIXELS
    with pytest.raises(DataError, match="pixels"):
        read_image(path, 8, 8)


def test_reads_no_other_format_under_a_png_name(tmp_path):
    path = tmp_path / "a.png"
    Image.new("L", (8, 8)).save(path, format="BMP")
    with pytest.raises(DataError, match="not a readable image"):
        read_image(path, 8, 8)


def _png_header(width, height):
    def chunk(kind, data):
        checksum = zlib.crc32(kind + data)
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", checksum)

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    body = chunk(b"IDAT", zlib.compress(b"\x00" * 100))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + body + chunk(b"IEND", b"")
