"""The fixed statistics of a window: what they are, of what they are independent, and that they are the same for all."""

import numpy as np
import pytest
from sensors_bench import motion

from edgeveil.shared.tasks.sensors import statistics, synthetic

PINNED = (
    [-0.00217869, 0.4376037, 0.32982267, 0.00902729],
    [0.60439147, 0.31225216, 0.37863653, 0.71280147],
)


@pytest.fixture
def windows():
    return motion(40, 100, 4)[0]


def test_a_window_of_motion_has_255_numbers_of_length_one(windows):
    found = statistics.described(windows, motion=True)
    assert found.shape == (40, 255) == (40, statistics.count(6, motion=True))
    assert found.dtype == np.float32
    assert np.linalg.norm(found, axis=1) == pytest.approx(np.ones(40), abs=1e-5)


@pytest.mark.parametrize(("length", "columns"), [(16, 1), (50, 2), (100, 6), (300, 9)])
def test_windows_of_any_length_and_any_columns_have_as_many_as_is_said(length, columns):
    random = np.random.default_rng(1)
    values = random.uniform(-1, 1, (5, length, columns)).astype(np.float32)
    found = statistics.described(values, motion=False)
    assert found.shape == (5, statistics.count(columns, motion=False))
    assert np.isfinite(found).all()


def test_each_window_is_described_by_itself_bit_for_bit(windows):
    whole = statistics.described(windows, motion=True)
    one = statistics.described(windows[7:8], motion=True)
    assert whole[7].tobytes() == one[0].tobytes()


def test_a_still_sensor_and_one_at_its_end_have_finite_numbers():
    for value in (0.0, 1.0, -1.0):
        still = np.full((2, 100, 6), value, np.float32)
        for moving in (True, False):
            assert np.isfinite(statistics.described(still, motion=moving)).all()


def test_levels_and_rhythm_are_those_of_the_window():
    time = np.arange(100) / 100
    wave = np.stack([0.5 * np.sin(2 * np.pi * 5 * time), 0.2 + 0 * time], axis=1)[None]
    found = dict(zip(range(60), statistics._statistics(wave, motion=False)[0], strict=False))
    columns = 2
    assert found[0] == pytest.approx(0, abs=1e-9)  # mean of the first column
    assert found[1] == pytest.approx(0.2)
    assert found[columns] == pytest.approx(0.5 / np.sqrt(2), rel=1e-3)  # its spread
    bands = [found[columns * (11 + at)] for at in range(7)]
    assert bands.index(max(bands)) == 3  # four to six periods a window
    assert sum(band > 0.1 for band in bands) == 1


def test_the_magnitude_does_not_change_when_the_sensor_is_turned(windows):
    turned = windows.copy()
    turned[..., 0], turned[..., 1] = -windows[..., 1], windows[..., 0]
    turned[..., 3], turned[..., 4] = -windows[..., 4], windows[..., 3]
    raw = [statistics._statistics(each.astype(float), motion=True) for each in (windows, turned)]
    channels = 8
    for block in range(statistics.PER_CHANNEL):
        for magnitude in (6, 7):
            at = channels * block + magnitude
            assert raw[0][:, at] == pytest.approx(raw[1][:, at], abs=1e-9)


def test_which_of_two_columns_goes_ahead_is_told():
    time = np.arange(100) / 100
    first, second = np.sin(2 * np.pi * 2 * time), np.sin(2 * np.pi * 2 * (time - 0.1))
    ahead = statistics._lagged(np.stack([first, second], axis=1)[None])
    behind = statistics._lagged(np.stack([second, first], axis=1)[None])
    assert ahead[0, 0] > 0.5
    assert behind[0, 0] == pytest.approx(-ahead[0, 0])


def test_the_constants_are_made_of_no_data_and_always_the_same():
    first = synthetic.motion_windows(20)
    assert first.tobytes() == synthetic.motion_windows(20).tobytes()
    assert first.shape == (synthetic.WINDOWS, 20, 6)
    still = np.linalg.norm(first[..., :3].mean(axis=1), axis=1)
    assert 0.8 < np.median(still) < 1.2  # gravity
    assert np.abs(synthetic.plain_windows(20, 3)).max() <= 1


def test_the_made_up_numbers_follow_their_distributions_from_the_raw_stream_alone():
    draws = synthetic.Draws()
    first = draws.uniform(0, 1, (3,))
    raw = np.random.PCG64(synthetic.SEED).random_raw(3)
    assert first.tolist() == [(int(each) >> 11) / 2**53 for each in raw]
    normal, waiting = draws.normal((50_000,)), draws.exponential(0.4, (50_000,))
    assert (normal.mean(), normal.std()) == pytest.approx((0, 1), abs=0.02)
    assert (abs(normal) < 1).mean() == pytest.approx(0.6827, abs=0.01)
    assert (waiting.mean(), np.median(waiting)) == pytest.approx((0.4, 0.4 * np.log(2)), rel=0.02)


def test_the_constants_of_motion_are_pinned():
    center, spread = statistics.constants(100, 6, motion=True)
    assert center[[0, 6, 100, 254]] == pytest.approx(PINNED[0], abs=1e-6)
    assert spread[[0, 6, 100, 254]] == pytest.approx(PINNED[1], abs=1e-6)


def test_one_odd_number_does_not_take_the_whole_length(windows):
    loud = windows.copy()
    loud[:, 50, 0] = 30.0
    plain, odd = (statistics.described(each, motion=True) for each in (windows, loud))
    assert np.abs(odd).max() < 0.5
    assert (plain * odd).sum(axis=1).min() > 0.3
