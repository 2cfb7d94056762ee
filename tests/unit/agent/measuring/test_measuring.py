"""Times, memory and energy of a model on this device."""

import pytest
from models_bench import VECTORS

from edgeveil.agent.measuring.bench import LOCAL, bench, providers
from edgeveil.agent.measuring.energy import counters
from edgeveil.agent.measuring.latency import CPU, Asked, measured
from edgeveil.agent.measuring.verdict import for_camera
from edgeveil.shared.base.errors import ConfigError, ModelError
from edgeveil.shared.models import known_answer
from edgeveil.shared.models.package import read_package

CNN = read_package(VECTORS / "cnn.evm")
FAST = Asked(warm_up=0, seconds=0.01, least=5)


def test_a_camera_is_answered_in_time_or_told_how_many_frames_are():
    assert for_camera(12.3, 25) == (True, "12.3 ms at p99: 25 frames a second with 3.3x to spare")
    holds, said = for_camera(80.0, 25)
    assert not holds
    assert "about 10.4 frames a second, so take one frame in 3" in said
    assert not for_camera(39.0, 25)[0], "39 of 40 ms leave no time to read the frame"


def test_a_model_is_measured_in_a_process_of_its_own():
    found = bench(CNN, FAST, ["cpu"], fps=1)
    ((name, row),) = found.rows
    assert (name, row.provider, row.calls) == (CPU, CPU, 5) or row.calls > 5
    assert 0 < row.p50_ms <= row.p99_ms
    assert 0 < row.memory_bytes < row.peak_bytes
    assert (row.joules_per_record is None) == bool(row.no_energy)
    told = found.as_json()
    assert told["fps"]["holds"]
    assert told["providers"][CPU]["memory_bytes"] == row.memory_bytes


def test_only_providers_that_compute_here_are_taken():
    assert "AzureExecutionProvider" not in LOCAL
    assert providers(["cPu"]) == (CPU,)
    with pytest.raises(ConfigError, match="this onnxruntime has"):
        providers(["azure"])


def test_a_camera_gives_one_picture_at_a_time():
    with pytest.raises(ConfigError, match="--fps"):
        bench(CNN, Asked(batch=4), fps=25)


def test_what_the_runtime_does_not_take_is_one_sentence():
    with pytest.raises(ModelError, match="cannot be measured") as told:
        measured(CNN.model[:-10], known_answer.records(CNN.manifest.input), FAST)
    assert "\n" not in told.value.message


def test_energy_is_the_difference_of_counters_or_a_reason(tmp_path):
    assert "has no" in counters(tmp_path).why
    assert "this system has no" in counters(tmp_path / "none").why
    package = tmp_path / "intel-rapl:0"
    package.mkdir()
    (package / "energy_uj").write_text("9000000\n")
    (package / "max_energy_range_uj").write_text("10000000\n")
    found = counters(tmp_path)
    assert not found.why
    before = found.read()
    (package / "energy_uj").write_text("9500000\n")
    assert found.joules(before) == pytest.approx(0.5)
    (package / "energy_uj").write_text("500000\n")
    assert found.joules(before) == pytest.approx(1.5), "the counter went round"
    (package / "energy_uj").write_text("secret")
    assert "cannot be read" in counters(tmp_path).why
