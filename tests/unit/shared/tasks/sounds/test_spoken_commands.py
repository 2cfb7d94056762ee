"""Commands spoken by espeak-ng: the same each time, by voices that no two groups share; and they can be learned."""

import shutil
import subprocess
import sys
import wave

import numpy as np
import pytest
from catalogue_bench import SCRIPTS, script

from edgeveil.shared.tasks.registry import load, newest

make = script("make_commands")
spoken = pytest.mark.skipif(
    not shutil.which(make.PROGRAM), reason="espeak-ng is not installed (Debian: espeak-ng)"
)


def test_no_voice_is_in_two_groups_and_every_device_has_its_own():
    devices, validation, test = make.groups(8)
    voices = [voice for group in (*devices, validation, test) for voice in group.voices]
    assert len(voices) == len(set(voices)) == 8 * 5 + 6 + 10
    assert len({group.accents for group in devices}) == 8
    with pytest.raises(SystemExit, match="1 to 9"):
        make.groups(10)


def test_noise_is_as_far_below_the_voice_as_it_says():
    values = np.sin(np.arange(16_000) / 5)
    for seed in range(5):
        noise = make.noisy(values, np.random.default_rng(seed)) - values
        below = 10 * np.log10((values**2).mean() / (noise**2).mean())
        assert make.NOISE_DB[0] <= below <= make.NOISE_DB[1]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("spoken") / "d"
    command = [sys.executable, str(SCRIPTS / "make_commands.py"), str(folder), "--devices", "2"]
    subprocess.run([*command, "--recordings", "5", "--test", "3"], check=True, capture_output=True)
    return folder


@spoken
def test_the_same_command_makes_the_same_recordings(made):
    files = sorted(made.rglob("*.wav"))
    assert len(files) == 2 * 8 * 5 + 3 * 8 * 3
    with wave.open(str(files[0])) as file:
        assert (file.getframerate(), file.getnchannels(), file.getnframes()) == (16_000, 1, 16_000)
    group = make.groups(2)[0][0]
    make.write_group({str(made / "again"): True}, group, 1, (0, 1))
    first, again = (root / "close/0001.wav" for root in (made / "device-1/commands", made / "again"))  # fmt: skip
    assert first.read_bytes() == again.read_bytes()


@spoken
def test_a_linear_model_on_the_features_learns_what_unseen_voices_say(made):
    task = load(newest("audio-command"))
    options = task.parse_options({"labels": ",".join(make.COMMANDS)})
    parts = [task.load(made / name, options) for name in ("device-1/commands", "device-2/commands")]
    known = np.concatenate([part.inputs for part in parts])
    labels = np.concatenate([part.targets for part in parts])
    ones = np.eye(8)[labels]
    weights = np.linalg.solve(known.T @ known + 0.1 * np.eye(known.shape[1]), known.T @ ones)
    heard = task.load(made / "server/quiet", options)
    right = ((heard.inputs @ weights).argmax(axis=1) == heard.targets).mean()
    assert right > 0.6  # of ten recordings of each command; chance is 0.125
