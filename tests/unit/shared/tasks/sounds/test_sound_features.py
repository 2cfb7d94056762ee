"""Features of recordings: public, of one record alone, the same when said louder, later or slower."""

import numpy as np
import pytest
import torch
from sounds_bench import tone

from edgeveil.shared.tasks.sounds import features, graph

RATES = ((8000, 8000), (16_000, 3200), (11_025, 11_025), (22_050, 4410), (24_000, 48_000))


def word(rate, length, *, at=0.2, seconds=0.4, loud=0.5, falling=False):
    """A tone that rises by an octave, in silence."""
    made = np.zeros(length)
    share = np.arange(round(seconds * rate)) / round(seconds * rate)
    pitch = 800 * 2 ** (1 - share if falling else share)
    spoken = loud * np.sin(np.pi * share) * np.sin(2 * np.pi * np.cumsum(pitch) / rate)
    made[round(at * rate) :][: len(spoken)] = spoken
    return made.astype(np.float32)


def hard(length):
    random = np.random.default_rng(3)
    return np.stack(
        [
            random.uniform(-1, 1, length),
            random.uniform(-1e-3, 1e-3, length) * (np.arange(length) > length // 2),
            np.zeros(length),
            np.eye(1, length, length // 3)[0],
            np.full(length, 0.3),
            np.full(length, 1e-5),
            np.resize(tone(2000, rate=8000), length),
            np.resize([1.0, -1.0], length),
        ]
    ).astype(np.float32)


@pytest.mark.parametrize(("rate", "length"), RATES)
def test_the_graph_computes_what_numpy_does(rate, length):
    raw = hard(length)
    for own, theirs in ((features.statistics, graph.Statistics), (features.picture, graph.Picture)):
        found = theirs(rate, length)(torch.from_numpy(raw)).numpy()
        assert np.abs(found - own(raw, rate)).max() < 1e-3  # at full scale on the highest pitch


def test_a_record_is_of_length_one_and_silence_of_none():
    found = features.statistics(np.stack([word(8000, 8000), np.zeros(8000, np.float32)]), 8000)
    assert found.shape == (2, features.statistics_count())
    assert np.linalg.norm(found, axis=1) == pytest.approx([1, 0], abs=1e-5)


def test_no_record_has_a_part_in_what_another_one_becomes():
    raw = hard(8000)
    for made in (features.statistics, features.picture):
        together = made(raw, 8000)
        assert all(np.array_equal(made(raw[at : at + 1], 8000)[0], together[at]) for at in range(len(raw)))  # fmt: skip


@pytest.mark.parametrize("change", [{"at": 0.5}, {"loud": 0.02}, {"seconds": 0.6}])
def test_a_word_said_later_softer_or_slower_is_nearly_the_same(change):
    first, other, backwards = features.statistics(
        np.stack([word(8000, 8000), word(8000, 8000, **change), word(8000, 8000, falling=True)]), 8000
    )  # fmt: skip
    assert first @ other > 0.95
    assert first @ backwards < 0.3


def test_a_sound_that_hardly_changes_is_not_blown_up_into_noise():
    steady = features.statistics(np.full((1, 8000), 1e-5, np.float32), 8000)
    assert np.linalg.norm(steady) < 1e-3


def test_bands_are_triangles_that_meet_between_the_ends_of_what_is_heard():
    bands = features.mel_bands(16_000)
    hertz = np.arange(bands.shape[1]) * 16_000 / features.frame(16_000)
    inside = (hertz > 700) & (hertz < 7000)  # wider than the lowest bands, narrower than the ends
    assert np.allclose(bands.sum(axis=0)[inside], 1)
    assert not bands[:, (hertz < features.LOWEST_HZ) | (hertz > features.HIGHEST * 8000)].any()
    peaks = hertz[bands.argmax(axis=1)]
    assert (np.diff(peaks) > 0).all()
    assert bands.max() <= 1


def test_what_the_cosines_tell_is_orthogonal():
    told = features.cosines()
    assert np.allclose(told[1:] @ told[1:].T, np.eye(features.CEPSTRA - 1))
