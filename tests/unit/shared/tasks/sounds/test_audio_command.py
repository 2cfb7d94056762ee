"""audio-command: options that are bounded, records that are what the plan asks for."""

import numpy as np
import pytest
from sounds_bench import tone, write_tones, write_wav

from edgeveil.shared.base.errors import ConfigError, DataError
from edgeveil.shared.tasks.registry import load, newest

LABELS = "high,low,mid"


@pytest.fixture
def task():
    return load(newest("audio-command"))


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({}, "options.labels"),
        ({"labels": "one"}, "2 to 1000 are needed"),
        ({"labels": "a,../b"}, "cannot be the name of a class folder"),
        ({"labels": "a,.b"}, "cannot be the name of a class folder"),
        ({"labels": LABELS, "rate": 12_000}, "options.rate"),
        ({"labels": LABELS, "length_ms": 299}, "options.length_ms"),
        ({"labels": LABELS, "length_ms": 10_001}, "options.length_ms"),
        ({"labels": LABELS, "variant": "lstm"}, "options.variant"),
    ],
)
def test_options_that_make_no_task_are_refused_by_name(options, says, task):
    with pytest.raises(ConfigError, match=says):
        task.parse_options(options)


def test_a_plan_may_name_more_classes_in_another_order(task, tmp_path):
    write_tones(tmp_path / "d", 6)
    options = task.parse_options({"labels": "mid,other,low,high", "rate": 8000})
    records = task.load(tmp_path / "d", options)
    assert records.targets.tolist() == [0, 0, 2, 2, 3, 3]


def test_recordings_of_a_multiple_of_the_rate_are_taken_and_others_named(task, tmp_path):
    write_wav(tmp_path / "d" / "low" / "a.wav", tone(300, rate=16_000), rate=16_000)
    write_wav(tmp_path / "d" / "low" / "b.wav", tone(300, rate=11_025), rate=11_025)
    options = task.parse_options({"labels": LABELS, "rate": 8000})
    records = task.load(tmp_path / "d", options)
    assert len(records) == 1
    assert "b.wav: 11,025 samples a second" in records.skipped[0]


def test_a_folder_that_is_not_there_is_named(task, tmp_path):
    with pytest.raises(DataError, match="nowhere"):
        task.load(tmp_path / "nowhere", task.parse_options({"labels": LABELS}))


@pytest.mark.parametrize("length_ms", [300, 10_000])
@pytest.mark.parametrize("rate", [8000, 11_025, 24_000])
def test_the_network_takes_records_of_any_allowed_length(rate, length_ms, task):
    options = task.parse_options({"labels": LABELS, "variant": "cnn", "rate": rate, "length_ms": length_ms})  # fmt: skip
    raw = np.zeros((2, task.schema(options).length), np.float32)
    import torch

    assert task.build(options)(torch.from_numpy(task.inputs(raw, options))).shape == (2, 3)
