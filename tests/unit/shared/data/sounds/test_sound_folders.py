"""Folders of recordings: what they are taken for, what is read, and that nothing is left out in silence."""

import json

import numpy as np
import pytest
import soundfile
from catalogue_bench import write_png
from sounds_bench import RATE, tone, write_tones, write_wav
from typer.testing import CliRunner

from edgeveil.agent.cli.app import app
from edgeveil.agent.home.data import DataShelf
from edgeveil.agent.home.policy import Policy
from edgeveil.agent.home.records.record_policy import record_policy
from edgeveil.shared.base.errors import ConfigError, NotInstalled
from edgeveil.shared.data import kinds
from edgeveil.shared.data.left_out import Reason
from edgeveil.shared.data.probe import count_left_out, count_records, probe, raw_records
from edgeveil.shared.data.sounds import compressed
from edgeveil.shared.data.sounds.schema import SoundSchema


@pytest.fixture
def folder(tmp_path):
    return write_tones(tmp_path / "commands", 6)


def odd(folder):
    """One of each thing that is no recording of a class."""
    (folder / "low" / "empty.wav").touch()
    (folder / "low" / "gone.wav").symlink_to(folder / "nowhere.wav")
    (folder / "low" / "phone.m4a").write_bytes(b"m4a")
    (folder / "low" / "._a.wav").touch()
    write_wav(folder / "low" / "more" / "a.wav", tone(300))
    write_wav(folder / "lwo" / "a.wav", tone(300))
    write_wav(folder / "beside.wav", tone(300))
    write_wav(folder / "low" / "other.wav", tone(300, rate=11_025), rate=11_025)


LEFT = {
    Reason.NO_SOUND: "empty.wav",
    Reason.UNREADABLE: "gone.wav",
    Reason.RATE: "other.wav",
    Reason.LABEL: "commands",
    Reason.KIND: "phone.m4a",
    Reason.NESTED: "more",
    Reason.STRAY: "beside.wav",
    Reason.HIDDEN: "._a.wav",
}


def test_a_folder_of_recordings_is_known_and_counted(folder):
    probe(folder)
    assert kinds.infer(folder) == SoundSchema(RATE, 1000, ("high", "low", "mid"))
    assert count_records(folder) == len(list(raw_records(folder))) == 6
    assert count_left_out(folder) == 0


def test_pictures_that_lie_there_too_are_what_is_meant(folder):
    write_png(folder / "low" / "a.png", np.zeros((8, 8), np.uint8))
    assert kinds.infer(folder).kind == "images"
    assert count_records(folder) == 1


def test_nothing_is_left_out_in_silence_and_a_look_says_what_reading_says(folder):
    odd(folder)
    schema = SoundSchema(RATE, 1000, ("high", "low", "mid"))
    found = schema.read(folder)
    assert found.samples.shape == (6, RATE)
    assert found.targets.tolist() == [0, 0, 1, 1, 2, 2]
    assert {each.reason: each.name.rpartition("/")[2] for each in found.left} == LEFT
    assert schema.survey(folder).usable == (2, 2, 2)
    assert schema.survey(folder).left == found.left
    probe(folder)
    assert count_left_out(folder) == 5


@pytest.mark.parametrize(
    ("rates", "taken"),
    [((48_000,), 16_000), ((44_100,), 22_050), ((8000, 8000, 48_000), 8000), ((11_025,), 11_025), ((12_000,), 16_000), ((24_000,), 24_000)],
)  # fmt: skip
def test_the_rate_is_that_of_most_recordings_or_a_part_of_it(rates, taken, tmp_path):
    for at, rate in enumerate(rates):
        write_wav(tmp_path / "a" / f"{at}.wav", tone(300, rate=rate), rate=rate)
    assert kinds.infer(tmp_path).rate == taken


def test_the_policy_holds_what_the_recordings_are_and_reads_it_back(folder, tmp_path):
    schema = kinds.infer(folder)
    policy = Policy(data=record_policy(schema))
    path = tmp_path / "policy.toml"
    path.write_text(policy.to_toml())
    assert Policy.load(path) == policy
    assert policy.data.as_schema() == schema


@pytest.mark.parametrize(
    "wrong", ["rate = 12000", "rate = 8000.5", "length_ms = 100", "length_ms = 20000", "window = 3"]
)
def test_a_policy_that_no_record_can_meet_is_refused(wrong, tmp_path):
    path = tmp_path / "policy.toml"
    lines = {"rate": "rate = 8000", "length_ms": "length_ms = 1000"}
    lines[wrong.split()[0]] = wrong
    path.write_text('[data]\nkind = "sounds"\nlabels = ["a"]\n' + "\n".join(lines.values()))
    with pytest.raises(ConfigError, match=wrong.split()[0]):
        Policy.load(path)


def test_one_schema_fits_another_of_the_same_rate_and_length_with_its_classes():
    own = SoundSchema(8000, 1000, ("a", "b"))
    assert own.fits(SoundSchema(8000, 1000, ("b", "c", "a")))
    for asked in (SoundSchema(8000, 1000, ("a",)), SoundSchema(16_000, 1000, ("a", "b")), SoundSchema(8000, 900, ("a", "b")), object()):  # fmt: skip
        assert not own.fits(asked)


def test_the_owner_is_told_what_can_be_used_and_what_is_left_out(folder, tmp_path):
    odd(folder)
    command = ["data", "check", "--home", str(tmp_path / "home"), "--data", str(folder)]
    found = json.loads(CliRunner().invoke(app, [*command, "--json"]).stdout)
    assert (found["kind"], found["rate"], found["length_ms"]) == ("sounds", RATE, 1000)
    assert (
        found["usable"] == 7
    )  # a folder that is a class, as long as nobody says what the classes are
    reasons = {entry["reason"]: entry["first"][0] for entry in found["reasons"]}
    assert reasons["another sample rate"].startswith("low/other.wav: 11,025 samples a second")
    assert "recordings belong directly into low" in reasons["in a folder inside a class folder"]
    shown = CliRunner().invoke(app, command)
    assert "sounds, 1 s at 8,000 samples a second" in shown.stdout


def test_a_start_reads_it_once_and_says_what_it_is(folder):
    said = []
    schema = kinds.infer(folder)
    shelf = DataShelf(folder, said.append, schema)
    shelf.fill()
    assert said == [
        "data: 6 usable recordings, 3 classes (high 2, low 2, mid 2), 1 s at 8000 samples a second"
    ]


def test_what_only_an_extra_can_read_is_named_before_anything_is_sent(folder, monkeypatch):
    soundfile.write(folder / "low" / "a.flac", tone(300), RATE)
    probe(folder)
    monkeypatch.setattr(compressed, "LIBRARY", "a_library_that_nobody_has")
    with pytest.raises(NotInstalled, match=r'a\.flac: .*run: pip install "edgeveil\[audio\]"') as raised:  # fmt: skip
        probe(folder)
    assert raised.value.exit_code == 69
