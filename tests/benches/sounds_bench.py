"""Small WAV files for the tests of their reader and of the tasks that learn from them."""

import struct
from pathlib import Path

import numpy as np
from PIL import Image

RATE = 8000
PCM, FLOAT, EXTENSIBLE = 1, 3, 0xFFFE


def tone(pitch_hz, seconds=0.3, rate=RATE, seed=0):
    """A sine that swells and fades, with a little noise, in -0.5..0.5."""
    time = np.arange(round(seconds * rate)) / rate
    shape = np.sin(np.pi * np.arange(len(time)) / max(1, len(time)))
    noise = np.random.default_rng(seed).normal(0, 0.01, len(time))
    return np.clip(0.4 * shape * np.sin(2 * np.pi * pitch_hz * time) + noise, -0.5, 0.5)


def as_bytes(values, coding=PCM, bits=16):
    """The numbers of a file, of values (frames,) or (frames, channels) in -1..1."""
    if coding == FLOAT:
        return np.asarray(values, f"<f{bits // 8}").tobytes()
    whole = np.round(np.asarray(values) * (2.0 ** (bits - 1) - 1)).astype(np.int64)
    if bits == 8:
        return (whole + 128).astype("u1").tobytes()
    if bits == 24:
        return whole.astype("<i4").reshape(-1, 1).view("u1")[:, :3].tobytes()
    return whole.astype(f"<i{bits // 8}").tobytes()


def chunk(name, data, size=None):
    return name + struct.pack("<I", len(data) if size is None else size) + data + b"\0" * (len(data) % 2)  # fmt: skip


def wav(values, *, rate=RATE, coding=PCM, bits=16, before=(), size=None, channels=None, block=None):
    """A whole file; `before` are chunks ahead of its samples, the other changes are lies in its header."""
    values = np.asarray(values)
    count = (1 if values.ndim == 1 else values.shape[1]) if channels is None else channels
    block = count * bits // 8 if block is None else block
    form = struct.pack(
        "<HHIIHH", coding, count, rate, (rate * block) & 0xFFFFFFFF, block & 0xFFFF, bits
    )
    if coding == EXTENSIBLE:
        form += struct.pack("<HHIH14x", 22, bits, 0, PCM)
    data = as_bytes(values, FLOAT if coding == FLOAT else PCM, bits)
    body = b"WAVE" + chunk(b"fmt ", form) + b"".join(before) + chunk(b"data", data, size)
    return b"RIFF" + struct.pack("<I", len(body)) + body


def write_wav(path: Path, values, **form):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(wav(values, **form))
    return path


def write_tones(root: Path, count, labels=("high", "low", "mid"), leave=None):
    """`count` recordings, in turn of each class, whose pitch tells it; without the record `leave`."""
    numbers = sorted(range(count), key=lambda at: (at % len(labels), at))
    for place, at in enumerate(numbers):
        if place != leave:
            pitch = {"low": 300, "mid": 900, "high": 2000}[labels[at % len(labels)]]
            values = tone(pitch * (1 + 0.01 * at), seed=at)
            write_wav(root / labels[at % len(labels)] / f"{at:03}.wav", values)
    return root


WINDOW_ROWS = 20
WINDOW = f"""window = {WINDOW_ROWS}
[[columns]]
name = "ax"
unit = "g"
range = [-2, 2]
[[columns]]
name = "load"
unit = "%"
range = [0, 100]
"""


def write_window(path: Path, pitch_hz, seed=0, rows=WINDOW_ROWS):
    """Rows of ax and load, the faster the higher the tone."""
    time = np.arange(rows)[:, None]
    noise = np.random.default_rng(seed).normal(0, 0.05, (rows, 2))
    values = np.sin(time * pitch_hz / 1000) * [1, 40] + [0, 50] + noise
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("ax,load\n" + "".join(f"{a:.4f},{b:.4f}\n" for a, b in values))
    return path


def write_pairs(root: Path, count, labels=("high", "low", "mid"), leave=None, senses=("sound", "image")):  # fmt: skip
    """`count` lines of records.csv, of each class in turn: a grey picture with a bar, a recording with a tone, and
    a window that swings, as `senses` asks for.
    """
    numbers = sorted(range(count), key=lambda at: (at % len(labels), at))
    lines = [",".join([senses[0], "label", *senses[1:]])]
    if "window" in senses:
        root.mkdir(parents=True, exist_ok=True)
        (root / "window.toml").write_text(WINDOW)
    for place, at in enumerate(numbers):
        if place != leave:
            label = labels[at % len(labels)]
            pixels = np.random.default_rng(at).integers(0, 60, (28, 28), np.uint8)
            pixels[:, 8 * (at % len(labels)) :][:, :6] = 250
            (root / "seen").mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(root / "seen" / f"{at:03}.png")
            pitch = {"low": 300, "mid": 900, "high": 2000}[label]
            write_wav(root / "heard" / f"{at:03}.wav", tone(pitch, seed=at))
            write_window(root / "felt" / f"{at:03}.csv", pitch, seed=at)
            names = {"sound": "heard/{}.wav", "image": "seen/{}.png", "window": "felt/{}.csv"}
            first, *others = (names[sense].format(f"{at:03}") for sense in senses)
            lines.append(",".join([first, label, *others]))
    (root / "records.csv").write_text("\n".join(lines) + "\n")
    return root
