"""Whether pictures have colours: by their headers, for each and for a folder of them."""

import io
import random
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from edgeveil.shared.data.headers import has_colours
from edgeveil.shared.data.schema import infer

COLOUR = Image.new("RGB", (8, 8), (200, 10, 10))
GREY = Image.new("L", (8, 8), 90)


@pytest.mark.parametrize(
    ("suffix", "image", "expected"),
    [
        ("png", GREY, False), ("png", COLOUR, True), ("png", GREY.convert("LA"), False),
        ("png", COLOUR.convert("RGBA"), True), ("png", COLOUR.quantize(4), True),
        ("png", GREY.convert("P"), False), ("png", Image.fromarray(np.zeros((8, 8), np.uint16)), False),
        ("jpg", GREY, False), ("jpg", COLOUR, True), ("jpg", COLOUR.convert("CMYK"), True),
        ("gif", GREY, False), ("gif", COLOUR.quantize(4), True),
        ("bmp", GREY, False), ("bmp", COLOUR, True), ("bmp", COLOUR.quantize(4), True),
        ("tif", GREY, False), ("tif", COLOUR, True), ("tif", COLOUR.quantize(4), True),
        ("webp", COLOUR, True),
    ],
)  # fmt: skip
def test_a_header_says_whether_a_picture_is_stored_in_colours(suffix, image, expected, tmp_path):
    path = tmp_path / f"a.{suffix}"
    image.save(path)
    assert has_colours(path) is expected


def test_a_long_preface_of_a_photo_is_passed_over(tmp_path):
    path = tmp_path / "a.jpg"
    COLOUR.save(
        path, icc_profile=bytes(300_000), exif=b"Exif\0\0" + bytes(60_000), progressive=True
    )
    assert has_colours(path) is True


def test_where_nothing_can_be_told_nothing_is_said(tmp_path):
    (tmp_path / "a.png").write_bytes(b"no picture")
    (tmp_path / "d.png").mkdir()
    assert [has_colours(tmp_path / name) for name in ("a.png", "d.png", "gone.png")] == [None] * 3


def test_no_mutated_header_stops_anybody(tmp_path):
    chance, path = random.Random(4), tmp_path / "a"
    for form in ("PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP"):
        saved = io.BytesIO()
        COLOUR.quantize(4).convert("RGB" if form in {"JPEG", "WEBP"} else "P").save(saved, form)
        for _ in range(200):
            made = bytearray(saved.getvalue())
            for _ in range(chance.choice((1, 3, 9))):
                made[chance.randrange(min(60, len(made)))] = chance.randrange(256)
            path.write_bytes(made[: chance.choice((20, 40, 1000))])
            assert has_colours(path) in {None, True, False}


def folder(root, coloured, grey):
    (root / "cat").mkdir()
    for at in range(coloured + grey):
        (COLOUR if at < coloured else GREY).save(root / "cat" / f"{at:03}.png")
    return root


@pytest.mark.parametrize(
    ("coloured", "grey", "channels"), [(0, 5, 1), (1, 4, 1), (2, 2, 1), (4, 1, 3), (5, 0, 3)]
)
def test_the_majority_of_photos_decides_and_never_a_single_one(coloured, grey, channels, tmp_path):
    assert infer(folder(tmp_path, coloured, grey)).shape == (28, 28, channels)


def test_a_look_at_many_photos_is_spread_over_all_of_them(tmp_path, monkeypatch):
    monkeypatch.setattr("edgeveil.shared.data.schema.LOOKED_AT", 10)
    assert infer(folder(tmp_path, 30, 70)).shape == (28, 28, 1)


def test_files_that_tell_nothing_have_no_vote(tmp_path):
    folder(tmp_path, 2, 1)
    for at in range(5):
        (tmp_path / "cat" / f"broken{at}.png").write_bytes(b"x")
    assert infer(tmp_path).shape == (28, 28, 3)


def test_a_device_without_pillow_finds_the_same_schema(tmp_path):
    folder(tmp_path, 3, 1)
    code = (
        "import sys; sys.modules['PIL'] = None\n"
        "from pathlib import Path\nfrom edgeveil.shared.data.schema import infer\n"
        f"print(infer(Path({str(tmp_path)!r})).shape)"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "(28, 28, 3)"
