"""The door for one recording: samples in -1..1 or a reason, whatever the file holds."""

import os
import random
import struct
import time

import numpy as np
import pytest
import soundfile
from sounds_bench import EXTENSIBLE, FLOAT, PCM, RATE, chunk, tone, wav

from edgeveil.shared.data.left_out import LeftOut, Reason
from edgeveil.shared.data.sounds import compressed, recordings
from edgeveil.shared.data.sounds.recordings import rate_of, read_sound

LENGTH = 2400
RANDOM = random.Random(20261130)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "a.wav"


def read(path, data, rate=RATE, length=LENGTH):
    path.write_bytes(data)
    return read_sound(path, rate, length)


@pytest.mark.parametrize(
    ("coding", "bits", "near"),
    [(PCM, 8, 0.01), (PCM, 16, 1e-4), (PCM, 24, 1e-6), (PCM, 32, 1e-7), (FLOAT, 32, 1e-7), (FLOAT, 64, 1e-7), (EXTENSIBLE, 16, 1e-4), (EXTENSIBLE, 24, 1e-6)],
)  # fmt: skip
def test_every_form_that_is_promised_gives_the_same_samples(coding, bits, near, path):
    values = tone(440)
    found = read(path, wav(values, coding=coding, bits=bits))
    assert found.shape == (LENGTH,)
    assert found.dtype == np.float32
    assert np.abs(found - values).max() < near


def test_it_is_read_as_libsndfile_reads_it(path):
    for coding, bits in ((PCM, 16), (PCM, 24), (FLOAT, 32)):
        found = read(path, wav(tone(440), coding=coding, bits=bits))
        assert np.array_equal(found, soundfile.read(path, dtype="float32")[0])


def test_channels_are_averaged(path):
    left, right = tone(440), tone(700, seed=2)
    found = read(path, wav(np.stack([left, right], axis=1)))
    assert np.abs(found - (left + right) / 2).max() < 1e-4


def test_a_shorter_recording_gets_silence_on_both_sides(path):
    values = tone(440, seconds=0.1)
    found = read(path, wav(values))
    assert not found[:800].any()
    assert not found[1600:].any()
    assert np.abs(found[800:1600] - values).max() < 1e-4


def test_of_a_longer_recording_the_loudest_window_is_taken(path):
    values = np.concatenate([np.zeros(5000), tone(440), np.zeros(3000)])
    assert np.abs(read(path, wav(values)) - tone(440)).max() < 0.06


@pytest.mark.parametrize("times", [2, 3, 6])
def test_a_multiple_of_the_rate_is_brought_down_without_folding_high_sounds_into_low_ones(
    times, path
):
    low = read(path, wav(tone(500, rate=RATE * times), rate=RATE * times))
    wanted = tone(500)
    assert np.corrcoef(low[100:-100], wanted[100:-100])[0, 1] > 0.99
    high = read(path, wav(tone(RATE * 0.75, rate=RATE * times), rate=RATE * times))
    assert np.abs(high).max() < 0.03 + 0.01 * np.abs(low).max()


@pytest.mark.parametrize("rate", [11_025, 12_000, 7999, 4000, 104_000])
def test_another_rate_is_left_out_with_what_to_do(rate, path):
    found = read(path, wav(tone(440, rate=rate), rate=rate))
    assert found.reason is Reason.RATE
    assert "ffmpeg -i FILE -ar 8000" in found.why


BAD = {
    "empty": (b"", Reason.NO_SOUND, "not a WAV file"),
    "text": (b"hello" * 20, Reason.NO_SOUND, "not a WAV file"),
    "big endian": (b"RIFX" + wav(tone(440))[4:], Reason.NO_SOUND, "not a WAV file"),
    "no samples": (wav(np.zeros(0)), Reason.NO_SOUND, "holds no sample"),
    "no chunk of samples": (wav(tone(440))[:36], Reason.NO_SOUND, "without samples"),
    "cut short": (wav(tone(440))[:-100], Reason.NO_SOUND, "cut short: its header promises 4,800"),
    "a forged size": (wav(tone(440), size=0xFFFFFFF0), Reason.NO_SOUND, "cut short"),
    "no form": (b"RIFF\0\0\0\0WAVE" + chunk(b"data", bytes(99)), Reason.NO_SOUND, "before their form"),
    "a short form": (b"RIFF\0\0\0\0WAVE" + chunk(b"fmt ", bytes(9)), Reason.NO_SOUND, "header is cut"),
    "1000 channels": (wav(tone(440), channels=1000), Reason.TOO_LARGE, "1000 channels, at most 8"),
    "no channel": (wav(tone(440), channels=0), Reason.TOO_LARGE, "0 channels"),
    "a rate of zero": (wav(tone(440), rate=0), Reason.RATE, "no rate of a recording"),
    "a rate of 4 GHz": (wav(tone(440), rate=0xFFFFFFFF), Reason.RATE, "no rate of a recording"),
    "another size of a frame": (wav(tone(440), block=7), Reason.NO_SOUND, "contradicts itself"),
    "A-law": (wav(tone(440), coding=6, bits=8), Reason.NO_SOUND, "8 bits of A-law are not read"),
    "12 bits": (wav(tone(440), bits=16).replace(b"\x02\0\x10\0", b"\x02\0\x0c\0", 1), Reason.NO_SOUND, "12 bits of PCM"),
    "NaN": (wav([0.1, np.nan] * 900, coding=FLOAT, bits=32), Reason.VALUES, "not finite"),
    "infinite": (wav([0.1, -np.inf] * 900, coding=FLOAT, bits=64), Reason.VALUES, "not finite"),
    "beyond float32": (wav([0.1, 1e300] * 900, coding=FLOAT, bits=64), Reason.VALUES, "not finite"),
    "floats of whole numbers": (wav([1.0, 900] * 900, coding=FLOAT, bits=32), Reason.VALUES, "reach 900"),
    "too short": (wav(tone(440, seconds=0.02)), Reason.SHORT, "0.02 s, a window takes 0.3 s"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_what_is_no_recording_is_left_out_with_the_reason(name, path):
    data, reason, says = BAD[name]
    found = read(path, data)
    assert found.reason is reason
    assert says in found.why


def test_a_huge_file_is_left_out_before_it_is_unpacked(path, monkeypatch):
    monkeypatch.setattr(recordings, "MAX_BYTES", 1000)
    assert read(path, wav(tone(440))).reason is Reason.TOO_LARGE


def test_a_header_of_very_many_chunks_is_given_up(path):
    began = time.process_time()
    notes = (chunk(b"note", b""),) * 200_000
    assert "without samples" in read(path, wav(tone(440), before=notes)).why
    assert time.process_time() - began < 1
    few = read(path, wav(tone(440), before=(chunk(b"LIST", b"odd"), chunk(b"bext", bytes(602)))))
    assert np.abs(few - tone(440)).max() < 1e-4


def test_a_pipe_is_never_waited_for(path):
    os.mkfifo(path)
    assert read_sound(path, RATE, LENGTH).reason is Reason.UNREADABLE
    assert rate_of(path) is None


def test_silence_is_a_record(path):
    assert not read(path, wav(np.zeros(LENGTH))).any()


@pytest.mark.parametrize("suffix", ["flac", "ogg"])
def test_compressed_recordings_are_read_by_the_extra(suffix, tmp_path):
    path = tmp_path / f"a.{suffix}"
    soundfile.write(path, np.stack([tone(440)] * 2, axis=1), RATE)
    found = read_sound(path, RATE, LENGTH)
    assert np.abs(found - tone(440)).max() < (1e-4 if suffix == "flac" else 0.1)
    assert rate_of(path) == RATE
    path.write_bytes(path.read_bytes()[:200])
    assert read_sound(path, RATE, LENGTH).reason is Reason.NO_SOUND


def test_without_the_extra_a_compressed_recording_is_left_out_and_says_what_to_install(
    tmp_path, monkeypatch
):
    path = tmp_path / "a.flac"
    soundfile.write(path, tone(440), RATE)
    monkeypatch.setattr(compressed, "LIBRARY", "a_library_that_nobody_has")
    found = read_sound(path, RATE, LENGTH)
    assert found.reason is Reason.KIND
    assert 'pip install "edgeveil[audio]"' in found.why
    assert rate_of(path) is None


def test_a_compressed_file_that_unpacks_to_very_much_is_left_out(tmp_path, monkeypatch):
    path = tmp_path / "a.flac"
    soundfile.write(path, np.zeros(RATE * 60), RATE)
    monkeypatch.setattr(recordings, "MAX_SAMPLES", RATE * 59)
    assert path.stat().st_size < 20_000
    assert read_sound(path, RATE, LENGTH).reason is Reason.TOO_LARGE


def samples(folder):
    """Small files of every form."""
    values = np.stack([tone(440), tone(700)], axis=1)
    for coding, bits in ((PCM, 8), (PCM, 16), (PCM, 24), (PCM, 32), (FLOAT, 32), (FLOAT, 64), (EXTENSIBLE, 16)):  # fmt: skip
        yield "a.wav", wav(values, coding=coding, bits=bits, before=(chunk(b"LIST", b"INFO"),))
    for suffix in ("flac", "ogg"):
        soundfile.write(folder / f"s.{suffix}", values, RATE)
        yield f"a.{suffix}", (folder / f"s.{suffix}").read_bytes()


def mutated(data):
    """A file with some bytes changed, cut out, doubled or removed; mostly where the header is."""
    made = bytearray(data)
    for _ in range(RANDOM.choice((1, 1, 2, 5))):
        at = RANDOM.randrange(min(len(made), RANDOM.choice((48, 90, 1 << 20))) or 1)
        kind = RANDOM.randrange(5)
        if kind == 0:
            made[at : at + 1] = RANDOM.randbytes(1)
        elif kind == 1:
            made[at : at + 4] = RANDOM.choice((b"\xff" * 4, bytes(4), b"\xff\xff\xff\x7f"))
        elif kind == 2:
            del made[at : at + RANDOM.choice((1, 2, 4, 50))]
        elif kind == 3:
            made[at:at] = made[at : at + RANDOM.choice((1, 4, 40))]
        else:
            made[at : at + 4] = struct.pack("<I", RANDOM.randrange(1 << RANDOM.choice((8, 16, 32))))
    return bytes(made)


def tried(folder, rounds):
    used = 0
    for name, data in samples(folder):
        path = folder / name
        assert isinstance(read(path, data), np.ndarray), name
        for _ in range(rounds):
            found = read(path, mutated(data))
            rate_of(path)
            if isinstance(found, LeftOut):
                assert found.name == str(path)
                assert found.why
            else:
                used += 1
                assert found.shape == (LENGTH,)
                assert np.isfinite(found).all()
                assert np.abs(found).max() <= 1
    return used


def test_any_mutated_recording_is_read_or_left_out_with_a_reason(tmp_path):
    assert tried(tmp_path, 60) > 50


@pytest.mark.long
def test_many_thousand_mutated_recordings_stop_nothing(tmp_path):
    assert tried(tmp_path, 2000) > 1000
