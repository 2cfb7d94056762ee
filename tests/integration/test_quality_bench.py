"""scripts/bench_quality.py on small data: what it runs, what it says of gates, seeds, and of what is not there."""

import json

import numpy as np
import pytest
from catalogue_bench import script
from sensors_bench import motion

from edgeveil.shared.base.errors import DataError
from edgeveil.shared.tasks.records import ArrayRecords
from edgeveil.shared.tasks.registry import load, newest

federating = script("federating")
QUALITY = script("bench_quality")
COLUMNS = script("bench_wearables").COLUMNS
RAW = {"columns": COLUMNS, "labels": "slow,fast", "variant": "cnn1d", "window": 48}
TASK = load(newest("sensor-sequence"))
OPTIONS = TASK.parse_options(RAW)


def windows(count, seed):
    """Two paces that a model can tell apart, in -1..1."""
    values, labels = motion(count, 48, 2, seed)
    return ArrayRecords((values / 2).astype(np.float32), labels.astype(np.int64))


DEVICES = [windows(40, seed) for seed in (1, 2, 3)]


def plan(epsilon, rate, **changes):
    return federating.one_step(3, "sensor-sequence", RAW, epsilon, rate, **changes)


def test_a_federation_without_noise_learns_and_one_with_noise_names_its_multiplier():
    changes = script("bench_wearables").NO_NOISE | {"rounds__count": 15}
    model, noise = federating.federate(plan(0.0, 0.01, **changes), DEVICES)
    found = federating.scored(TASK, OPTIONS, model, windows(60, 4))
    assert noise == 0
    assert found["accuracy"] > 0.7  # of two paces; batches are drawn anew each time
    noisy, multiplier = federating.federate(plan(1.0, 0.1, rounds__count=2), DEVICES)
    assert multiplier > 1
    assert not np.array_equal(noisy, model)


def test_devices_count_by_their_records():
    """Beside a device of one record, another of hundreds decides where a model without noise goes."""
    changes = script("bench_wearables").NO_NOISE | {"rounds__count": 1, "server__average": "none"}
    large, small = windows(200, 5), windows(2, 6)
    asked = plan(
        0.0, 0.01, **changes | {"training__optimizer": "sgd", "training__batch_size": 1000}
    )
    both, _ = federating.federate(asked, [large, small])
    alone, _ = federating.federate(asked, [large])
    other, _ = federating.federate(asked, [small])
    assert np.linalg.norm(both - alone) < 0.05 * np.linalg.norm(both - other)


def test_records_in_one_place_learn_without_noise():
    model = federating.pooled(TASK, OPTIONS, DEVICES, steps=40, rate=0.01)
    assert federating.scored(TASK, OPTIONS, model, windows(60, 4))["accuracy"] > 0.9


def learned(_sources, seed):
    """A real measure, in seconds."""
    model = federating.pooled(TASK, OPTIONS, DEVICES, steps=30, rate=0.01, seed=seed)
    return QUALITY.percent(federating.scored(TASK, OPTIONS, model, windows(60, 4)), "accuracy")


def absent(_sources, _seed):
    raise DataError("no such data here; run: something")


def measure(name, run=learned, **bars):
    return QUALITY.Measure(name, run, (QUALITY.Figure("accuracy", "accuracy", **bars),))


def test_the_table_shows_every_seed_and_what_was_met(tmp_path, capsys):
    out = tmp_path / "found.json"
    measures = (measure("paces", gate=80.0, goal=100.5),)
    assert QUALITY.main(["--seeds", "2", "--out", str(out)], measures) == 0
    shown = capsys.readouterr().out
    assert "80 met" in shown
    assert "100.5 MISSED" in shown
    assert "s of CPU (goal: at most 14,400)" in shown
    (row,) = json.loads(out.read_text())
    (figure,) = row["figures"]
    assert len(figure["seeds"]) == 2
    assert figure["mean"] == pytest.approx(np.mean(figure["seeds"]), abs=1e-3)
    assert row["cpu_seconds"] > 0


@pytest.mark.parametrize(
    ("bars", "code"), [({"gate": 100.5}, 1), ({"gate": 100.5, "lower": True}, 0)]
)
def test_a_missed_gate_ends_with_one(bars, code, capsys):
    assert QUALITY.main(["--seeds", "1"], (measure("paces", **bars),)) == code
    assert ("MISSED" in capsys.readouterr().out) is bool(code)


def test_what_cannot_be_measured_is_named_and_the_rest_goes_on(capsys):
    measures = (measure("absent", absent, gate=1.0), measure("paces", gate=1.0))
    assert QUALITY.main(["--seeds", "1"], measures) == 1
    shown = capsys.readouterr().out
    assert "left out: no such data here; run: something" in shown
    assert "1 met" in shown


def test_only_what_is_asked_for_is_measured(capsys):
    measures = (measure("absent", absent), measure("paces"))
    assert QUALITY.main(["--only", "paces", "--seeds", "1"], measures) == 0
    assert "absent" not in capsys.readouterr().out
    with pytest.raises(SystemExit):
        QUALITY.main(["--only", "nothing"], measures)


def test_every_measure_is_listed_once(capsys):
    assert QUALITY.main(["--list"]) == 0
    names = [line.split()[0] for line in capsys.readouterr().out.splitlines()]
    assert names == [each.name for each in QUALITY.MEASURES]
    assert len(set(names)) == len(names)
