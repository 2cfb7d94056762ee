"""The door for one picture: numbers in 0..1 or a reason, whatever the file holds."""

import io
import random
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from edgeveil.shared.data import pictures
from edgeveil.shared.data.left_out import LeftOut, Reason
from edgeveil.shared.data.pictures import MAX_PIXELS, read_picture

ORIENTATION, MAKE, X_RESOLUTION = 0x0112, 0x010F, 0x011A
SHORT, LONG, ASCII, RATIONAL = 3, 4, 2, 5
RANDOM = random.Random(20261130)


def bright_left(width=16, height=8):
    pixels = np.zeros((height, width), dtype=np.uint8)
    pixels[:, : width // 2] = 255
    return Image.fromarray(pixels)


def exif_of(*entries):
    """EXIF with entries (tag, type, count, value) in this order; each value fits into four bytes."""
    body = b"".join(struct.pack("<HHII", *entry) for entry in entries)
    return b"Exif\0\0II*\0\x08\0\0\0" + struct.pack("<H", len(entries)) + body + bytes(16)


ODD = {
    "make as a rational": (MAKE, RATIONAL, 1, 12),
    "resolution as text": (X_RESOLUTION, ASCII, 4, 0x00323731),
    "a value far outside": (MAKE, ASCII, 900_000, 0x7FFFFFFF),
    "an unknown type": (MAKE, 99, 1, 1),
    "a folder of its own that is none": (0x8769, LONG, 1, 0xFFFFFF00),
}


@pytest.mark.parametrize("entry", ODD.values(), ids=ODD)
def test_an_odd_tag_beside_the_orientation_turns_nothing_and_stops_nothing(entry, tmp_path):
    path = tmp_path / "a.jpg"
    bright_left().save(path, exif=exif_of(entry, (ORIENTATION, SHORT, 1, 6)))
    upright = read_picture(path, 16, 8, 1)
    assert upright[:6].mean() > 0.95
    assert upright[10:].mean() < 0.05


@pytest.mark.parametrize(
    "exif", [b"Exif\0\0", b"Exif\0\0II*\0\xff\xff\xff\xff", b"Exif\0\0" + b"\xff" * 40]
)
def test_an_exif_that_is_none_leaves_a_picture_as_it_is(exif, tmp_path):
    path = tmp_path / "a.jpg"
    bright_left().save(path, exif=exif)
    assert read_picture(path, 8, 16, 1)[:, :6].mean() > 0.95


@pytest.mark.parametrize("suffix", ["jpg", "png", "tif", "webp"])
@pytest.mark.parametrize("turn", range(1, 9))
def test_the_camera_orientation_is_applied_once_in_every_format(turn, suffix, tmp_path):
    path = tmp_path / f"a.{suffix}"
    exif = Image.Exif()
    exif[ORIENTATION] = turn
    bright_left(16, 16).save(path, exif=exif)
    found = read_picture(path, 16, 16, 1)
    bright = {1: found[:, :7], 2: found[:, 9:], 3: found[:, 9:], 4: found[:, :7],
              5: found[:7], 6: found[:7], 7: found[9:], 8: found[9:]}  # fmt: skip
    assert bright[turn].mean() > 0.95
    assert found.mean() == pytest.approx(0.5, abs=0.05)


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "P", "1", "LA", "L"])
@pytest.mark.parametrize("channels", [1, 3])
def test_every_mode_becomes_what_is_asked_for(mode, channels, tmp_path):
    path = tmp_path / "a.png"
    Image.new("RGB", (8, 8), (255, 255, 255)).convert(mode).save(path)
    found = read_picture(path, 8, 8, channels)
    assert found.shape == ((8, 8) if channels == 1 else (8, 8, 3))
    assert found.dtype == np.float32
    assert (found == 1).all()


def test_colours_keep_their_places(tmp_path):
    path = tmp_path / "a.png"
    Image.new("RGB", (8, 8), (255, 51, 0)).save(path)
    assert np.allclose(read_picture(path, 4, 4, 3), [1, 0.2, 0])


def test_printers_colours_are_read(tmp_path):
    Image.new("CMYK", (8, 8), (0, 0, 0, 0)).save(tmp_path / "a.jpg")
    assert (read_picture(tmp_path / "a.jpg", 8, 8, 3) > 0.98).all()


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
@pytest.mark.parametrize("channels", [1, 3])
def test_what_is_transparent_is_white_whatever_colour_it_hides(mode, channels, tmp_path):
    image = Image.new(mode, (8, 8), (0, 0, 0, 0) if mode == "RGBA" else (0, 0))
    image.paste((0, 0, 0, 255) if mode == "RGBA" else (0, 255), (0, 0, 4, 8))
    image.save(tmp_path / "a.png")
    found = read_picture(tmp_path / "a.png", 8, 8, channels)
    assert (found[:, :4] == 0).all()
    assert (found[:, 4:] == 1).all()


def test_half_transparent_black_is_grey(tmp_path):
    Image.new("RGBA", (8, 8), (0, 0, 0, 128)).save(tmp_path / "a.png")
    assert np.allclose(read_picture(tmp_path / "a.png", 8, 8, 1), 127 / 255, atol=0.01)


@pytest.mark.parametrize("kind", ["palette", "grey", "colours", "16 bits"])
def test_a_colour_that_is_declared_transparent_is_white(kind, tmp_path):
    image = {
        "palette": Image.new("P", (8, 8), 0),
        "grey": Image.new("L", (8, 8), 0),
        "colours": Image.new("RGB", (8, 8), (0, 0, 0)),
        "16 bits": Image.fromarray(np.zeros((8, 8), np.uint16)),
    }[kind]
    image.save(tmp_path / "a.png", transparency=(0, 0, 0) if kind == "colours" else 0)
    assert (read_picture(tmp_path / "a.png", 8, 8, 1) == 1).all()


@pytest.mark.parametrize("suffix", ["png", "tif"])
@pytest.mark.parametrize("channels", [1, 3])
def test_greys_of_16_bits_are_scaled_by_the_constant_of_their_type(suffix, channels, tmp_path):
    path = tmp_path / f"a.{suffix}"
    Image.fromarray(np.array([[0, 300], [32_768, 65_535]], np.uint16)).save(path)
    found = read_picture(path, 2, 2, channels)
    expected = np.array([[0, 300], [32_768, 65_535]]) / 65_535
    for plane in [found] if channels == 1 else np.moveaxis(found, 2, 0):
        assert np.allclose(plane, expected, atol=1e-6)  # 300 is no step of 8 bits


def test_white_that_is_stored_as_zero_is_white(tmp_path):
    path = tmp_path / "a.tif"
    Image.fromarray(np.zeros((8, 8), np.uint16)).save(path, tiffinfo={262: 0})
    assert (read_picture(path, 8, 8, 1) == 1).all()


@pytest.mark.parametrize("kind", [np.int32, np.float32])
def test_values_without_a_public_range_are_left_out(kind, tmp_path):
    Image.fromarray(np.zeros((8, 8), kind)).save(tmp_path / "a.tif")
    found = read_picture(tmp_path / "a.tif", 8, 8, 1)
    assert found.reason is Reason.VALUES
    assert "8 or 16 bits" in found.why


def test_of_an_animation_the_first_frame_counts(tmp_path):
    first, second = (Image.new("L", (8, 8), level) for level in (255, 0))
    for suffix in ("gif", "webp", "png", "tif"):
        path = tmp_path / f"a.{suffix}"
        first.save(path, save_all=True, append_images=[second])
        assert (read_picture(path, 8, 8, 1) > 0.98).all(), suffix


def test_what_a_file_is_says_its_content(tmp_path):
    Image.new("L", (8, 8), 255).save(tmp_path / "a.png", format="BMP")
    assert (read_picture(tmp_path / "a.png", 8, 8, 1) == 1).all()


@pytest.mark.parametrize("form", ["PPM", "ICO", "PCX", "TGA", "EPS", "PDF"])
def test_reads_no_other_format_under_a_name_of_one_that_is_read(form, tmp_path):
    Image.new("RGB", (16, 16)).save(tmp_path / "a.png", format=form)
    found = read_picture(tmp_path / "a.png", 8, 8, 1)
    assert found.reason is Reason.DAMAGED
    assert "not a picture in PNG" in found.why


@pytest.mark.parametrize("side", [8_000, 40_000])
def test_a_decompression_bomb_is_left_out_before_it_is_decoded(side, tmp_path):
    path = tmp_path / "bomb.png"
    path.write_bytes(_png(side, side, b"\x00" * 100))
    assert side * side > MAX_PIXELS
    assert read_picture(path, 8, 8, 1).reason is Reason.TOO_LARGE


def test_a_bomb_among_the_metadata_is_left_out_or_harmless(tmp_path):
    bomb = b"Comment\0\0" + zlib.compress(bytes(200 << 20), 9)
    path = tmp_path / "a.png"
    path.write_bytes(_png(8, 8, bytes(8 * 9), (b"zTXt", bomb), (b"iCCP", b"p\0\0" + bomb[9:])))
    assert path.stat().st_size < 1 << 20
    found = read_picture(path, 8, 8, 1)
    assert isinstance(found, LeftOut) or (found == 0).all()


def test_a_file_too_large_to_be_held_is_left_out(tmp_path, monkeypatch):
    monkeypatch.setattr(pictures, "MAX_BYTES", 50)
    Image.new("L", (8, 8)).save(tmp_path / "a.png")
    assert read_picture(tmp_path / "a.png", 8, 8, 1).reason is Reason.TOO_LARGE


@pytest.mark.parametrize(
    "error", [MemoryError(), RecursionError("deep"), KeyError(7), struct.error("s")]
)
def test_whatever_the_library_raises_one_picture_is_left_out(error, tmp_path, monkeypatch):
    path = tmp_path / "a.png"
    Image.new("L", (8, 8)).save(path)

    def broken(*_rest):
        raise error

    monkeypatch.setattr(Image.Image, "convert", broken)
    found = read_picture(path, 8, 8, 1)
    assert found.reason is Reason.DAMAGED
    assert found.why


def test_a_name_that_no_file_can_have_is_a_reason_too(tmp_path):
    assert read_picture(tmp_path / "a\0b.png", 8, 8, 1).reason is Reason.UNREADABLE


def samples():
    """Small files of every kind, with what is easily broken in them: EXIF, palettes, profiles, frames."""
    shades = np.arange(24 * 20, dtype=np.uint16).reshape(20, 24)
    grey = Image.fromarray((shades % 251).astype(np.uint8))
    colour = Image.merge("RGB", (grey, grey.rotate(90, expand=False), grey))
    clear = Image.merge("RGBA", (*colour.split(), grey))
    exif = exif_of((ORIENTATION, SHORT, 1, 6), (MAKE, ASCII, 4, 0x00323731))
    yield "PNG", grey, {"exif": exif}
    yield "PNG", clear, {}
    yield "PNG", colour.quantize(7), {"transparency": 2}
    yield "PNG", Image.fromarray(shades), {"transparency": 7}
    yield "JPEG", colour, {"exif": exif, "icc_profile": bytes(200)}
    yield "JPEG", grey, {"progressive": True}
    yield "JPEG", colour.convert("CMYK"), {}
    yield "BMP", colour, {}
    yield "BMP", grey.convert("1"), {}
    yield "GIF", colour.quantize(9), {"save_all": True, "append_images": [grey], "transparency": 1}
    yield "TIFF", colour, {"compression": "tiff_lzw", "exif": exif[6:]}
    yield "TIFF", Image.fromarray(shades), {}
    yield "TIFF", clear, {"compression": "tiff_deflate"}
    yield "WEBP", clear, {"lossless": True, "exif": exif}
    yield "WEBP", colour, {"save_all": True, "append_images": [clear]}


def mutated(data):
    """A file with some bytes changed, cut out, doubled or moved; mostly where the headers are."""
    made = bytearray(data)
    for _ in range(RANDOM.choice((1, 1, 2, 5, 20))):
        at = RANDOM.randrange(min(len(made), RANDOM.choice((64, 400, 1 << 20))) or 1)
        kind = RANDOM.randrange(5)
        if kind == 0:
            made[at : at + 1] = RANDOM.randbytes(1)
        elif kind == 1:
            made[at : at + 4] = RANDOM.choice(
                (b"\xff" * 4, bytes(4), b"\x7f\xff\xff\xff", b"\0\0\0\1")
            )
        elif kind == 2:
            del made[at : at + RANDOM.choice((1, 2, 4, 50))]
        elif kind == 3:
            made[at:at] = made[at : at + RANDOM.choice((1, 4, 40))]
        else:
            del made[max(at, 8) :]
    return bytes(made)


def tried(path, rounds):
    """How many mutated files of each sample could be used."""
    used = 0
    for form, image, options in samples():
        saved = io.BytesIO()
        image.save(saved, format=form, **options)
        path.write_bytes(saved.getvalue())
        assert isinstance(read_picture(path, 8, 8, 1), np.ndarray), (form, image.mode)
        for _ in range(rounds):
            path.write_bytes(mutated(saved.getvalue()))
            channels = RANDOM.choice((1, 3))
            found = read_picture(path, 8, 12, channels)
            if isinstance(found, LeftOut):
                assert found.name == str(path)
                assert found.why
            else:
                used += 1
                assert found.shape == ((8, 12) if channels == 1 else (8, 12, 3))
                assert ((found >= 0) & (found <= 1)).all()
    return used


def test_any_mutated_picture_is_read_or_left_out_with_a_reason(tmp_path):
    assert tried(tmp_path / "a.png", 60) > 50


@pytest.mark.long
def test_many_thousand_mutated_pictures_stop_nothing(tmp_path):
    assert tried(tmp_path / "a.png", 1000) > 1000


def _png(width, height, raw, *more):
    def chunk(kind, data):
        checksum = zlib.crc32(kind + data)
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", checksum)

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    before = b"".join(chunk(*one) for one in more)
    body = before + chunk(b"IDAT", zlib.compress(raw))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + body + chunk(b"IEND", b"")
