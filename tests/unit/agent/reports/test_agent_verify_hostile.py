"""Reports made to break the one who checks them are refused with a sentence, and never a bug."""

import json
import os

import pytest
import report_bench
from report_bench import report, run

from edgeveil.agent.reports.report import sign
from edgeveil.agent.reports.verify import Verdict, check
from edgeveil.shared.base.errors import ConfigError
from edgeveil.shared.wire.identity import Identity


@pytest.fixture
def device(tmp_path):
    return report_bench.trained_device(tmp_path)


def signed(device, made):
    made.pop("signature", None)
    return json.dumps(sign(made, device.home.identity()))


def with_segment(name, value):
    def change(made):
        made["mechanism"]["segments"][0][name] = value

    return change


HOSTILE = {
    "steps beyond any float": with_segment("steps", 10**400),
    "σ below any float's square": with_segment("noise_multiplier", 1e-320),
    "σ of nothing": with_segment("noise_multiplier", 0),
    "q below zero": with_segment("sample_rate", -3),
    "q that is a truth value": with_segment("sample_rate", True),
    "an order beyond all": lambda r: r["guarantee"].update(alpha=10**9),
    "δ of zero": lambda r: r["guarantee"].update(delta=0),
    "a negative number of records": lambda r: r["integrity"].update(ledger_records=-1),
    "a number of records in words": lambda r: r["integrity"].update(ledger_records="all"),
    "no records": lambda r: r["integrity"].update(ledger_records=0),
    "a key that is none": lambda r: r["identity"].update(public_key="zz"),
    "a key of low order": lambda r: r["identity"].update(public_key="00" * 32),
    "a section too many": lambda r: r.update(extra={"epsilon_spent": 0}),
    "segments told twice": lambda r: r["mechanism"].update(segments=r["mechanism"]["segments"] * 2),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_numbers_made_to_break_the_arithmetic_are_a_false_report_and_no_bug(device, tmp_path, name):
    made, path, _ = report(device, tmp_path)
    HOSTILE[name](made)
    path.write_text(signed(device, made))
    result = run(device, "verify", str(path))
    assert result.exit_code == Verdict.REPORT, (result.output, result.exception)


@pytest.mark.parametrize(
    "dataset", ["../../etc", "data/../data", "", None, 5.5, "x" * 5000, "\ud800"]
)
def test_a_data_set_that_is_no_name_never_becomes_a_path(device, tmp_path, dataset):
    made, path, _ = report(device, tmp_path)
    path.write_text(signed(device, made | {"dataset": dataset}))
    with pytest.raises(ConfigError, match="names no data set"):
        check(device.path, None, path)


@pytest.mark.parametrize(
    ("old", "new", "why"),
    [
        ("{", '{"epsilon_spent": 0.0,', "a key stands twice"),
        ('"share_spent":', '"share_spent": NaN, "other":', "NaN is not a finite number"),
        ('"share_spent":', '"share_spent": -Infinity, "other":', "-Infinity is not a finite number"),
        ('"share_spent":', '"share_spent": 1e309, "other":', "1e309 is not a finite number"),
    ],
)  # fmt: skip
def test_json_that_two_readers_could_read_differently_is_no_report(device, tmp_path, old, new, why):
    made, path, page = report(device, tmp_path)
    path.write_text(json.dumps(made).replace(old, new, 1))
    with pytest.raises(ConfigError, match=why):
        check(device.path, None, path)
    before, data = page.read_text().split('id="report">')
    page.write_text(before + 'id="report">' + data.replace(old, new, 1))
    with pytest.raises(ConfigError, match=why):
        check(device.path, None, page)


def test_a_report_that_never_ends_never_begins_or_is_too_deep_is_refused_at_once(device, tmp_path):
    pipe, folder, endless = tmp_path / "pipe", tmp_path / "folder", tmp_path / "endless"
    os.mkfifo(pipe)
    folder.mkdir()
    endless.symlink_to("/dev/zero")
    for path in (pipe, folder, endless):
        with pytest.raises(ConfigError, match="cannot be read"):
            check(device.path, None, path)
    for text in ("[" * 100_000, '{"a":' * 100_000, '{"kind":' + "9" * 100_000 + "}"):
        endless.unlink()
        endless.write_text(text)
        with pytest.raises(ConfigError, match="cannot be read as a report"):
            check(device.path, None, endless)
    with endless.open("wb") as file:
        file.truncate(65 << 20)
    with pytest.raises(ConfigError, match="more than 64 MB"):
        check(device.path, None, endless)


def test_a_report_of_another_key_is_never_taken_for_this_devices(device, tmp_path):
    made, path, _ = report(device, tmp_path)
    stranger = Identity.generate()
    made.pop("signature")
    path.write_text(json.dumps(sign(made, stranger)))
    assert run(device, "verify", str(path)).exit_code == Verdict.REPORT
    made["identity"]["public_key"] = stranger.public.hex()
    path.write_text(json.dumps(sign(made, stranger)))
    result = run(device, "verify", str(path))
    assert "whose key that is cannot be told here" in " ".join(result.stdout.split())
    assert "equals the ledger" not in result.stdout
