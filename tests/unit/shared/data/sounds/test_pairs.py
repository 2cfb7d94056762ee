"""Pictures and recordings in pairs: what the table names, what it cannot name, and what is left out."""

import json
import os

import numpy as np
import pytest
from sounds_bench import RATE, tone, write_pairs, write_wav
from typer.testing import CliRunner

from edgeveil.agent.cli.app import app
from edgeveil.agent.home.data import DataShelf
from edgeveil.agent.home.policy import Policy
from edgeveil.agent.home.records.record_policy import record_policy
from edgeveil.shared.base.errors import DataError
from edgeveil.shared.data import kinds
from edgeveil.shared.data.left_out import Reason
from edgeveil.shared.data.probe import count_left_out, count_records, probe, raw_records
from edgeveil.shared.data.sounds.pairs import PairSchema

SCHEMA = PairSchema((28, 28, 1), RATE, 1000, ("high", "low", "mid"))


@pytest.fixture
def folder(tmp_path):
    return write_pairs(tmp_path / "d", 6)


def add(folder, *lines):
    with (folder / "records.csv").open("a") as file:
        file.writelines(f"{line}\n" for line in lines)


def test_a_folder_of_pairs_is_known_read_and_counted(folder):
    probe(folder)
    assert kinds.infer(folder) == SCHEMA
    assert count_records(folder) == len(list(raw_records(folder))) == 6
    assert count_left_out(folder) == 0
    found = SCHEMA.read(folder)
    assert found.pixels.shape == (6, 28, 28)
    assert found.samples.shape == (6, RATE)
    assert found.targets.tolist() == [0, 0, 1, 1, 2, 2]
    assert found.left == ()
    assert SCHEMA.survey(folder).usable == (2, 2, 2)


def test_a_line_is_left_out_as_a_whole_and_named(folder):
    (folder / "seen" / "broken.png").write_text("none")
    write_wav(folder / "heard" / "other.wav", tone(300, rate=11_025), rate=11_025)
    add(
        folder,
        "heard/000.wav,high,seen/broken.png",
        "heard/other.wav,high,seen/000.png",
        "heard/gone.wav,high,seen/000.png",
        "heard/000.wav,purple,seen/000.png",
        "heard/000.wav,,seen/000.png",
        "heard/000.wav,high",
    )
    found = SCHEMA.read(folder)
    assert len(found.targets) == 6
    assert [each.reason for each in found.left] == [Reason.DAMAGED, Reason.UNREADABLE, Reason.RATE, Reason.RAGGED, Reason.LABEL, Reason.LABEL]  # fmt: skip
    survey = SCHEMA.survey(folder)
    assert survey.left == found.left
    assert survey.usable == (2, 2, 2)


@pytest.mark.parametrize(
    "name",
    ["../outside.png", "/etc/passwd", "seen/../../outside.png", "link.png", "loop.png", "", ".", "a\0b.png", "seen/" + "x" * 5000],
)  # fmt: skip
def test_no_name_in_the_table_leads_out_of_the_folder(name, folder):
    (folder.parent / "outside.png").write_bytes((folder / "seen/000.png").read_bytes())
    (folder / "link.png").symlink_to(folder.parent / "outside.png")
    (folder / "loop.png").symlink_to(folder / "loop.png")
    add(folder, f"heard/000.wav,high,{name}")
    found = SCHEMA.read(folder)
    assert len(found.targets) == 6
    (left,) = found.left
    assert left.reason is Reason.UNREADABLE
    assert len(list(raw_records(folder))) == 6


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "names the columns image, sound, label"),
        ("image,sound\n", "label is not"),
        ("image,sound,label,label\n", "label is not"),
        ("image,sound,label\n", "holds no line"),
        ("\0" * 100, "names the columns"),
    ],
)
def test_a_table_that_is_none_is_named_with_what_it_needs(text, says, folder):
    (folder / "records.csv").write_text(text)
    with pytest.raises(DataError, match=says):
        probe(folder)


def test_bytes_that_are_no_text_stop_nothing(folder):
    random = np.random.default_rng(5)
    good = (folder / "records.csv").read_bytes()
    for _ in range(150):
        data = bytearray(good)
        for _ in range(random.integers(1, 6)):
            at = random.integers(20, len(data))
            data[at : at + 1] = random.bytes(int(random.integers(0, 4)))
        (folder / "records.csv").write_bytes(data)
        found = SCHEMA.read(folder)
        assert len(found.targets) <= 6
        assert all(each.why for each in found.left)


def test_a_pipe_is_never_waited_for(folder):
    os.mkfifo(folder / "pipe.wav")
    add(folder, "pipe.wav,high,seen/000.png")
    assert SCHEMA.read(folder).left[0].reason is Reason.UNREADABLE


def test_the_policy_holds_what_pairs_are_and_the_owner_is_told(folder, tmp_path):
    policy = Policy(data=record_policy(SCHEMA))
    path = tmp_path / "policy.toml"
    path.write_text(policy.to_toml())
    assert Policy.load(path) == policy
    assert policy.data.as_schema() == SCHEMA
    said = []
    DataShelf(folder, said.append, SCHEMA).fill()
    assert said == ["data: 6 usable pairs, 3 classes (high 2, low 2, mid 2), 28×28 grey and 1 s at 8000 samples a second"]  # fmt: skip
    command = ["data", "check", "--home", str(tmp_path / "home"), "--data", str(folder)]
    found = json.loads(CliRunner().invoke(app, [*command, "--json"]).stdout)
    assert (found["kind"], found["height"], found["rate"], found["usable"]) == ("pairs", 28, RATE, 6)  # fmt: skip
    shown = " ".join(CliRunner().invoke(app, command).stdout.split())
    assert "pairs, 28×28, grey and 1 s at 8,000 samples a second" in shown


def test_pairs_fit_a_task_for_the_same_pictures_and_sounds_alone():
    assert SCHEMA.fits(PairSchema((28, 28, 1), RATE, 1000, ("low", "mid", "more", "high")))
    for asked in (PairSchema((28, 28, 3), RATE, 1000, SCHEMA.labels), PairSchema((28, 28, 1), RATE, 900, SCHEMA.labels), PairSchema((28, 28, 1), RATE, 1000, ("low",)), object()):  # fmt: skip
        assert not SCHEMA.fits(asked)
