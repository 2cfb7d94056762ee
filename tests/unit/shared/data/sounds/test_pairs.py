"""Pictures, recordings and windows of one moment: what the table names, what it cannot name, and what is left out."""

import json
import os

import numpy as np
import pytest
from sounds_bench import RATE, WINDOW, tone, write_pairs, write_wav, write_window
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
    assert {name: part.shape for name, part in found.parts.items()} == {"image": (6, 28, 28), "sound": (6, RATE)}  # fmt: skip
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
        ("", "names the columns label and two or three of image, sound, window"),
        ("image,sound\n", "label is not"),
        ("image,label\n", "only image is there"),
        ("image,image,sound,label\n", "image is not"),
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


FELT = ("ax [g]", "load [%]")


@pytest.fixture
def felt(tmp_path):
    return write_pairs(tmp_path / "felt", 6, senses=("window", "image", "sound"))


@pytest.mark.parametrize(
    ("senses", "schema"),
    [
        (("window", "image"), PairSchema((28, 28, 1), 0, 0, SCHEMA.labels, FELT, 20)),
        (("sound", "window"), PairSchema((), RATE, 1000, SCHEMA.labels, FELT, 20)),
        (("image", "window", "sound"), PairSchema((28, 28, 1), RATE, 1000, SCHEMA.labels, FELT, 20)),
    ],
)  # fmt: skip
def test_any_two_senses_or_all_make_a_record(senses, schema, tmp_path):
    folder = write_pairs(tmp_path / "d", 6, senses=senses)
    probe(folder)
    assert kinds.infer(folder) == schema
    found = schema.read(folder)
    assert set(found.parts) == set(senses)
    assert found.parts["window"].shape == (6, 20, 2)
    assert count_records(folder) == len(list(raw_records(folder))) == len(found.targets) == 6
    assert schema.survey(folder).usable == (2, 2, 2)
    assert sum(part[0].size for part in found.parts.values()) == schema.shape[0]
    policy = Policy(data=record_policy(schema))
    (tmp_path / "policy.toml").write_text(policy.to_toml())
    assert Policy.load(tmp_path / "policy.toml").data.as_schema() == schema


def test_data_check_shows_a_window_beside_the_other_senses(felt, tmp_path):
    command = ["data", "check", "--home", str(tmp_path / "home"), "--data", str(felt)]
    found = json.loads(CliRunner().invoke(app, [*command, "--json"]).stdout)
    assert (found["columns"], found["window"], found["usable"]) == (list(FELT), 20, 6)
    shown = " ".join(CliRunner().invoke(app, command).stdout.split())
    assert "1 s at 8,000 samples a second and 20 rows of ax [g], load [%]" in shown


def test_a_window_decides_about_its_own_line_alone(felt):
    write_window(felt / "felt" / "000.csv", 300, rows=19)
    (felt / "felt" / "001.csv").write_text("ax\n0\n")
    (felt / "felt" / "002.csv").unlink()
    os.mkfifo(felt / "felt" / "002.csv")
    (felt / "felt" / "003.csv").write_text("ax,load\n" + "nan,=1+1\n" * 20)
    (felt / "felt" / "004.csv").write_bytes(np.random.default_rng(1).bytes(3000))
    found = kinds.infer(felt).read(felt)
    assert len(found.targets) == 1
    assert [each.reason for each in found.left] == [Reason.UNREADABLE, Reason.UNREADABLE, Reason.UNREADABLE, Reason.MISSING, Reason.SHORT]  # fmt: skip
    assert all(each.why for each in found.left)


def test_values_are_cut_to_the_public_range_and_come_in_the_order_asked_for(felt):
    write_window(felt / "felt" / "000.csv", 300)
    (felt / "felt" / "000.csv").write_text("load,ax\n" + "900,-7\n" * 30)
    asked = PairSchema((28, 28, 1), 0, 0, SCHEMA.labels, FELT[::-1], 20)
    assert kinds.infer(felt).fits(asked)
    assert asked.read(felt).parts["window"][0].tolist() == [[100.0, -2.0]] * 20


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (None, "window.toml"),
        (WINDOW.replace("window = 20", ""), "window = ROWS is missing"),
        (WINDOW + '[[columns]]\nname = "state"\nrole = "label"\nlabels = ["a"]\n', "a label stands in"),
        (WINDOW.replace("range = [0, 100]", ""), "range"),
    ],
)  # fmt: skip
def test_windows_that_nobody_describes_are_said_at_the_start(text, says, felt):
    (felt / "window.toml").unlink()
    if text is not None:
        (felt / "window.toml").write_text(text)
    with pytest.raises(DataError, match=says):
        probe(felt)


def test_a_window_that_is_described_otherwise_by_now_is_refused(felt):
    pinned = kinds.infer(felt)
    (felt / "window.toml").write_text(WINDOW.replace("= 20", "= 10"))
    with pytest.raises(DataError, match="10 rows"):
        pinned.read(felt)


@pytest.mark.parametrize(
    "wrong",
    [{"rate": 8000}, {"length_ms": 1000}, {"window": 20}, {"height": 28}, {"height": 28, "width": 28}],
)  # fmt: skip
def test_a_policy_with_half_a_sense_or_one_alone_is_refused(wrong):
    from edgeveil.agent.home.records.record_policy import PairPolicy

    with pytest.raises(ValueError, match=r"belong together|two or three"):
        PairPolicy(kind="pairs", labels=("a", "b"), **wrong)


def test_records_with_more_senses_serve_a_task_that_asks_for_two(felt):
    own = kinds.infer(felt)
    assert own.fits(SCHEMA)
    assert not SCHEMA.fits(own)
    assert not own.fits(PairSchema((28, 28, 1), 0, 0, SCHEMA.labels, FELT, 19))
