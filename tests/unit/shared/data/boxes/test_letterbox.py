"""Letterbox and tiles: every picture fits, and boxes come back to where they were."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edgeveil.shared.data.boxes.letterbox import GREY, Letterbox
from edgeveil.shared.data.boxes.tiles import MOST_TILES, OVERLAP, parts

sides = st.integers(1, 9000)
unhurried = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])


@unhurried
@given(sides, sides, st.sampled_from([64, 128, 416, 640]), st.randoms())
def test_boxes_come_back_to_a_thousandth_of_a_pixel(width, height, side, random):
    found = Letterbox.of(width, height, side)
    x = sorted(random.uniform(0, width) for _ in range(2))
    y = sorted(random.uniform(0, height) for _ in range(2))
    box = np.array([[x[0], y[0], x[1], y[1]]])
    there = found.onto_square(box)
    assert (there >= -1e-9).all()
    assert (there <= side + 1e-9).all()
    assert np.abs(found.onto_picture(there) - box).max() <= 1e-3


@unhurried
@given(sides, sides, st.sampled_from([64, 128, 416]))
def test_a_picture_fills_its_square_in_one_direction_and_lies_in_the_middle(width, height, side):
    found = Letterbox.of(width, height, side)
    assert max(found.wide, found.high) == side
    assert abs(side - found.wide - 2 * found.left) <= 1
    assert abs(side - found.high - 2 * found.top) <= 1
    ratio = (found.wide / found.high) / (width / height)
    if min(found.wide, found.high) > 16:  # below that a whole pixel is more
        assert ratio == pytest.approx(1, rel=0.05)


def test_what_a_box_frames_is_what_the_square_shows_there():
    pixels = np.zeros((30, 90, 3), np.uint8)
    pixels[6:18, 30:60] = 255
    found = Letterbox.of(90, 30, 64)
    square = found.place(pixels)
    x1, y1, x2, y2 = np.round(found.onto_square(np.array([[30, 6, 60, 18]]))[0]).astype(int)
    assert square.shape == (3, 64, 64)
    assert square[:, y1 + 1 : y2 - 1, x1 + 1 : x2 - 1].min() > 200
    assert square[0, 0, 0] == GREY
    inner = square[:, found.top : found.top + found.high].astype(float)
    inner[:, y1 - 1 - found.top : y2 + 1 - found.top, x1 - 1 : x2 + 1] = 0
    assert inner.max() < 60


def test_a_picture_of_the_right_size_is_taken_as_it_is():
    pixels = np.random.default_rng(1).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    assert np.array_equal(Letterbox.of(64, 64, 64).place(pixels), pixels.transpose(2, 0, 1))


@unhurried
@given(st.integers(1, 3000), st.integers(1, 3000), st.sampled_from([0, 64, 300, 1000]))
def test_tiles_cover_a_picture_and_overlap(width, height, tile):
    found = parts(width, height, tile)
    assert {0, width} <= {each[0] for each in found} | {each[2] for each in found}
    for low, high, size in ((0, 2, width), (1, 3, height)):
        spans = sorted({(each[low], each[high]) for each in found})
        assert spans[0][0] == 0
        assert spans[-1][1] == size
        for (_, end), (start, _) in pairwise(spans):
            assert end - start >= round(tile * OVERLAP) - 1
    if not tile or max(width, height) <= tile:
        assert found == [(0, 0, width, height)]


def test_the_most_tiles_are_enough_for_a_large_photo():
    assert len(parts(6000, 4000, 1000)) <= MOST_TILES
