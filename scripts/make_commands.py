"""Spoken commands for devices to try Edgeveil with: DIR/device-1/commands/lights-on/0001.wav and so on.

    python scripts/make_commands.py DIR --devices 8 --recordings 40

Nobody speaks here: all of it is made by the synthesiser espeak-ng (GPL-3, Debian: espeak-ng), in English with
eight accents. A device is a household: voices of its own, that no other device has, and one accent; each
recording at a pitch, speed, loudness and moment of its own, with noise. DIR/server/commands holds voices
that no device has, in every accent; DIR/server/quiet the same without noise; DIR/validation/commands other
voices again, to choose settings with. Figures on them say how this program learns, not how well it would
know real people. 16,000 samples a second, 16 bits. The same command and version of espeak-ng make the same
files.
"""

import argparse
import io
import shutil
import subprocess
import sys
import wave
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

COMMANDS = {
    "close": "close",
    "colder": "colder",
    "lights-off": "lights off",
    "lights-on": "lights on",
    "louder": "louder",
    "open": "open",
    "quiet": "quiet",
    "warmer": "warmer",
}
ACCENTS = (
    "en-us", "en-gb", "en-gb-scotland", "en-gb-x-rp", "en-gb-x-gbclan", "en-gb-x-gbcwmd", "en-029",
    "en-us-nyc",
)  # fmt: skip
# Variants of espeak-ng that sound like people: no robots, nobody who whispers.
_NAMES = (
    "m1 f1 adam f2 m2 belinda m3 f3 Alicia m4 Andy f4 m5 aunty boris Annie m6 f5 caleb linda m7 Andrea "
    "m8 grandma david steph Denis anika ed steph2 edward shelby Gene steph3 gustave Hugo grandpa iven "
    "iven2 Jacky iven3 john Lee iven4 marcelo Marco Mario max Michael michel Mike norbert pablo paul "
    "pedro quincy rob robert sandro travis victor zac"
)
VOICES = tuple(_NAMES.split())
VOICES_EACH, VALIDATION, TEST = 5, 6, 10  # voices
RATE, SOURCE_RATE, SECONDS = 16_000, 22_050, 1.0
PITCH, WORDS_A_MINUTE = (25, 75), (130, 200)
NOISE_DB = (12.0, 30.0)  # below the voice
SEED = 15
PROGRAM = "espeak-ng"


@dataclass(frozen=True)
class Group:
    """Whose voices these are, and in which accents they speak."""

    voices: tuple[str, ...]
    accents: tuple[str, ...]


def groups(devices: int) -> tuple[list[Group], Group, Group]:
    """Of the devices, for validation, for the test; voices are dealt by lot, and none is in two of them."""
    held = VALIDATION + TEST
    dealt = tuple(np.random.default_rng(SEED).permutation(np.array(VOICES)).tolist())
    most = (len(VOICES) - held) // VOICES_EACH
    if not 1 <= devices <= most:
        sys.exit(f"--devices {devices}: there are voices for 1 to {most}")
    mine = [dealt[held + at :: most][:VOICES_EACH] for at in range(devices)]
    each = [Group(voices, (ACCENTS[at % len(ACCENTS)],)) for at, voices in enumerate(mine)]
    return each, Group(dealt[:VALIDATION], ACCENTS), Group(dealt[VALIDATION:held], ACCENTS)


def spoken(text: str, voice: str, pitch: int, speed: int) -> NDArray[np.float64]:
    """What espeak-ng says, at RATE in -1..1, without the silence around it."""
    command = [PROGRAM, "-v", voice, "-p", str(pitch), "-s", str(speed), "-z", "--stdout", text]
    made = subprocess.run(command, check=True, capture_output=True).stdout
    with wave.open(io.BytesIO(made)) as file:
        values = np.frombuffer(made[made.index(b"data") + 8 :], "<i2") / 32768
        if (file.getframerate(), file.getnchannels()) != (SOURCE_RATE, 1):
            sys.exit(f"{PROGRAM} speaks at {file.getframerate()} Hz, {SOURCE_RATE} was expected")
    loud = np.flatnonzero(np.abs(values) > 0.01)
    if not len(loud):
        sys.exit(f"{PROGRAM} says nothing with the voice {voice}")
    return _at_rate(values[loud[0] : loud[-1] + 1])


def _at_rate(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """From SOURCE_RATE to RATE, by its spectrum."""
    count = round(len(values) * RATE / SOURCE_RATE)
    spectrum = np.fft.rfft(values)[: count // 2 + 1]
    return np.asarray(np.fft.irfft(spectrum, count) * count / len(values))


def recording(voice: NDArray[np.float64], random: np.random.Generator) -> NDArray[np.float64]:
    """SECONDS in which it is said at some moment, at some loudness."""
    room = round(RATE * SECONDS)
    made = np.zeros(max(room, len(voice)))
    start = int(random.integers(0, max(1, room - len(voice))))
    made[start : start + len(voice)] = voice
    return made[:room] / np.abs(made).max() * random.uniform(0.2, 0.9)


def noisy(values: NDArray[np.float64], random: np.random.Generator) -> NDArray[np.float64]:
    """With noise between white and pink, as of a fan or a street."""
    white = np.fft.rfft(random.normal(size=len(values)))
    white /= np.maximum(1, np.arange(len(white))) ** random.uniform(0, 0.5)
    noise = np.fft.irfft(white, len(values))
    below = 10 ** (-random.uniform(*NOISE_DB) / 20)
    power = np.sqrt((values**2).mean() / (noise**2).mean())
    return np.asarray(values + noise * power * below)


def write(path: Path, values: NDArray[np.float64]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE)
        file.writeframes(np.round(np.clip(values, -1, 1) * 32767).astype("<i2").tobytes())


def write_group(folders: dict[str, bool], group: Group, count: int, seed: tuple[int, ...]) -> None:
    """`count` recordings of each command; into each of `folders`, with noise or without."""
    random = np.random.default_rng((SEED, *seed))
    for label, text in COMMANDS.items():
        for number in range(1, count + 1):
            voice = group.voices[number % len(group.voices)]
            accent = group.accents[int(random.integers(len(group.accents)))]
            pitch = int(random.integers(*PITCH))
            speed = int(random.integers(*WORDS_A_MINUTE))
            quiet = recording(spoken(text, f"{accent}+{voice}", pitch, speed), random)
            loud = noisy(quiet, random)
            for folder, with_noise in folders.items():
                write(Path(folder) / label / f"{number:04}.wav", loud if with_noise else quiet)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("dir", type=Path)
    parser.add_argument("--devices", type=int, default=8)
    parser.add_argument(
        "--recordings", type=int, default=40, help="of each command, on each device"
    )
    parser.add_argument("--test", type=int, default=60, help="of each command, on the server")
    wanted = parser.parse_args()
    if not shutil.which(PROGRAM):
        sys.exit(f"{PROGRAM} is missing; on Debian: apt-get install {PROGRAM}")
    if wanted.dir.exists():
        sys.exit(f"{wanted.dir} is there already; name a new folder")
    devices, validation, test = groups(wanted.devices)
    for at, group in enumerate(devices, 1):
        write_group(
            {str(wanted.dir / f"device-{at}/commands"): True}, group, wanted.recordings, (0, at)
        )
    if wanted.test:
        write_group({str(wanted.dir / "validation/commands"): True}, validation, wanted.test, (1,))
        both = {str(wanted.dir / f"server/{name}"): name == "commands" for name in ("commands", "quiet")}  # fmt: skip
        write_group(both, test, wanted.test, (2,))
    print(
        f"{wanted.devices} × {wanted.recordings} recordings of each of {', '.join(COMMANDS)} in {wanted.dir}, "
        f"made by {PROGRAM}"
    )


if __name__ == "__main__":
    main()
