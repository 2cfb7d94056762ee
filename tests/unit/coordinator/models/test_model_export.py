"""From a run to a package: which round, what is said of it, and that the graph is the model."""

import json
from contextlib import nullcontext

import numpy as np
import onnx
import pytest
import torch
from look_bench import run
from models_bench import pictures, resigned, signer_of, trained
from typer.testing import CliRunner

from edgeveil.agent.inference.runtime import open_model
from edgeveil.coordinator.cli.app import app
from edgeveil.coordinator.models import graph
from edgeveil.coordinator.models.export import export
from edgeveil.coordinator.runs import checkpoint
from edgeveil.shared.base.errors import ConfigError, StateDamaged
from edgeveil.shared.models.manifest import Manifest
from edgeveil.shared.models.package import read_package
from edgeveil.shared.scores.boxes import detections
from edgeveil.shared.tasks import registry
from edgeveil.shared.tasks.graphs import packaged
from edgeveil.shared.tasks.modules import write_vector

OPTIONS = {"classes": 3, "height": 8, "width": 8, "variant": "linear"}


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """(home, run id, package file) of the best round of a run; torch makes one graph."""
    folder = tmp_path_factory.mktemp("exported")
    home, run_id = trained(folder, "image-classification", **OPTIONS)
    found = export(home, run_id, None, folder / "a.evm", licence="CC-BY-4.0")
    assert found["round"] == 2
    return home, run_id, folder / "a.evm"


def test_the_manifest_says_what_the_records_say(exported):
    home, run_id, file = exported
    package = read_package(file)
    told = package.manifest
    assert package.signer == signer_of(home)
    assert (told.origin.run, told.origin.round, told.origin.rounds) == (run_id, 2, 2)
    assert told.origin.fewest_agents == told.origin.most_agents == 3
    assert told.licence == "CC-BY-4.0"
    assert told.metrics["accuracy"] == pytest.approx(1 - 0.5 / 1.4)
    assert 0 < told.privacy.epsilon_at_most <= told.privacy.epsilon_planned == 8.0
    assert told.privacy.epsilon_attested is None
    assert told.task.hash == registry.newest("image-classification").task_hash().hex()
    assert told.software["torch"]
    assert told.software["onnx"]


IN_SHARES = {
    "training__steps": 1, "privacy__noise": "shared", "privacy__honest": 2, "privacy__epsilon_sum": 1.0,
    "secagg__n_max": 6,
}  # fmt: skip


def test_noise_in_shares_has_both_figures_in_the_manifest_and_in_one_line(tmp_path, exported):
    home, run_id = trained(tmp_path, "image-classification", asked=IN_SHARES, **OPTIONS)
    export(home, run_id, "last", tmp_path / "shares.evm")
    told = read_package(tmp_path / "shares.evm").manifest
    sums = told.privacy.sums
    assert sums.honest == 2
    assert 0 < sums.epsilon_at_most < told.privacy.epsilon_at_most
    assert sums.epsilon_at_most <= sums.epsilon_planned == 1.0
    assert f", of sums {sums.epsilon_at_most:.3g} at δ" in told.privacy.said
    assert Manifest.decode(told.encode()) == told
    plain = read_package(exported[2]).manifest
    assert plain.privacy.sums is None
    assert b'"sums"' not in plain.encode(), "as packages of before"
    listed = json.loads(run(home, "models", "--json").stdout)[0]
    assert listed["epsilon_sum_at_most"] == sums.epsilon_at_most


def test_the_weights_are_the_recorded_checkpoint_byte_for_byte(exported):
    home, run_id, file = exported
    package = read_package(file)
    path = home / "runs" / run_id / "round-0002.safetensors"
    assert package.weights == path.read_bytes()


def test_the_graph_is_the_model_of_that_round(exported):
    home, run_id, file = exported
    task = registry.load(registry.newest("image-classification"))
    saved = checkpoint.load(home / "runs" / run_id / "round-0002.safetensors")
    options = task.parse_options(OPTIONS)
    raw = np.random.default_rng(4).random((5, 8, 8), dtype=np.float32)
    logits = task.inputs(raw, options) @ saved.vector.reshape(3, 65).T
    wanted = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    assert np.allclose(open_model(file).scores(raw), wanted, atol=1e-6)


def test_no_path_of_this_machine_stands_in_a_package(exported):
    home, _, file = exported
    data = file.read_bytes()
    for word in (b".py", b"site-packages", str(home).encode(), b"stack_trace", b"File "):
        assert word not in data


def test_the_official_checker_accepts_the_graph(exported):
    onnx.checker.check_model(onnx.load_from_string(read_package(exported[2]).model), full_check=True)  # fmt: skip


@pytest.mark.parametrize("away", [1e-4, 1.0, np.inf, np.nan])
def test_a_graph_that_computes_something_else_is_refused(exported, away):
    home, run_id, file = exported
    task = registry.load(registry.newest("image-classification"))
    options = task.parse_options(OPTIONS)
    saved = checkpoint.load(home / "runs" / run_id / "round-0002.safetensors")
    for factor, harmless in ((1.0, True), (1.0 + away, False)):
        module = task.build(options).eval()
        vector = saved.vector * np.float32(factor)
        write_vector(module, vector, saved.tensors)
        held = nullcontext() if harmless else pytest.raises(StateDamaged, match="nothing was written")  # fmt: skip
        with held:
            graph.compare(read_package(file).model, packaged(task, options, module))


@pytest.mark.parametrize("which", ["3", "0", "first", "-1", "99999999999999999999"])
def test_a_round_that_is_not_there_is_refused(exported, tmp_path, which):
    home, run_id, _ = exported
    with pytest.raises(ConfigError, match="round"):
        export(home, run_id, which, tmp_path / "a.evm")


def test_a_changed_checkpoint_is_never_packaged(tmp_path):
    home, run_id = trained(tmp_path, "image-classification", **OPTIONS)
    path = home / "runs" / run_id / "round-0002.safetensors"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    with pytest.raises(StateDamaged, match="SHA-256"):
        export(home, run_id, "2", tmp_path / "a.evm")


def test_a_package_has_its_own_ending(exported, tmp_path):
    with pytest.raises(ConfigError, match=r"\.evm"):
        export(exported[0], exported[1], None, tmp_path / "a.zip")


def test_models_are_listed_with_best_and_last_round_and_epsilon(exported):
    home, run_id, _ = exported
    (row,) = json.loads(run(home, "models", "--json").stdout)
    assert row["run"] == run_id
    assert row["best"]["round"] == row["last"]["round"] == 2
    assert row["bytes"] > 0
    assert row["exported"] == [2]
    assert 0 < row["epsilon_at_most"] <= 8
    assert run_id in run(home, "models", columns=200).stdout


def test_show_and_verify_tell_a_person_what_a_file_is(exported):
    home, run_id, file = exported
    shown = CliRunner().invoke(app, ["model", "show", str(file), "--json"])
    assert json.loads(shown.stdout)["manifest"]["origin"]["run"] == run_id
    assert run_id in CliRunner().invoke(app, ["model", "show", str(file)]).stdout
    found = json.loads(run(home, "model", "verify", file, "--json").stdout)
    assert found["whose"] == "this coordinator"
    assert "Gemm" in found["operators"]
    assert run(home, "model", "verify", file, "--trust", "00" * 32, check=False).returncode == 77


def test_features_in_a_graph_are_those_of_training_to_the_last_bits(tmp_path):
    """A rounding of an angle weighs 3e-4 after the root: strokes along diagonals find it."""
    home, run_id = trained(tmp_path, "feature-head")
    export(home, run_id, "last", tmp_path / "a.evm")
    task = registry.load(registry.newest("feature-head"))
    saved = checkpoint.load(home / "runs" / run_id / "round-0002.safetensors")
    at = np.add.outer(np.arange(28), np.arange(28))
    strokes = [np.where(each % period < 2, value, 0) for each in (at, at[::-1]) for period in (3, 5, 8) for value in (60, 255)]  # fmt: skip
    raw = (np.stack(strokes) / 255).astype(np.float32)
    logits = task.inputs(raw, task.parse_options({})) @ saved.vector.reshape(10, 589).T
    wanted = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    assert np.allclose(open_model(tmp_path / "a.evm").scores(raw), wanted, rtol=2e-6, atol=0)


def test_where_a_plan_averages_the_average_is_what_is_published(exported, tmp_path):
    home, run_id, _ = exported
    folder = home / "runs" / run_id
    saved = checkpoint.load(folder / "round-0001.safetensors")
    average = folder / "round-0001.average.safetensors"
    digest = checkpoint.save(average, saved.vector / 2, saved.tensors, saved.metadata)
    export(home, run_id, "1", tmp_path / "a.evm")
    assert read_package(tmp_path / "a.evm").manifest.weights.sha256 == digest
    average.unlink()


def test_privacy_and_cohorts_are_those_up_to_that_round(exported, tmp_path):
    home, run_id, file = exported
    export(home, run_id, "1", tmp_path / "a.evm")
    first, second = (read_package(each).manifest for each in (tmp_path / "a.evm", file))
    assert (first.origin.rounds, second.origin.rounds) == (1, 2)
    assert 0 < first.privacy.epsilon_at_most < second.privacy.epsilon_at_most


def test_a_model_that_other_code_trained_is_not_exported(tmp_path):
    home, run_id = trained(tmp_path, "image-classification", task_hash="00" * 32, **OPTIONS)
    with pytest.raises(ConfigError, match="another build"):
        export(home, run_id, "last", tmp_path / "a.evm")


def test_a_run_is_published_as_it_is_exported(exported):
    home, run_id, _ = exported
    told = json.loads(run(home, "model", "publish", run_id, "--round", "1", "--json").stdout)
    assert (told["run"], told["round"], told["to"]) == (run_id, 1, None)
    (found,) = json.loads(run(home, "model", "published", "--json").stdout)
    assert found["privacy"].startswith("ε at most")
    assert sorted(path.name for path in home.glob("publish*")) == ["published"], (
        "nothing is left over"
    )


def test_a_run_and_its_package_are_evaluated_alike_by_the_task_itself(exported, tmp_path):
    home, run_id, file = exported
    np.savez(tmp_path / "a.npz", X=pictures(30, 8, 8), y=np.arange(30) % 3)
    data = ("--data", tmp_path / "a.npz")
    first, second = (json.loads(run(home, "evaluate", what, *data, "--json").stdout) for what in (run_id, file))  # fmt: skip
    assert first["metrics"] == second["metrics"]
    assert first["records"] == 30
    model = open_model(file)
    predicted = [model.labels.index(each.label) for each in model.predict(pictures(30, 8, 8))]
    assert first["metrics"]["accuracy"] == pytest.approx(np.mean(predicted == np.arange(30) % 3))
    shown = run(home, "evaluate", file, *data).stdout
    assert "Confusion matrix" in shown
    run(home, "evaluate", file, *data, "--html", tmp_path / "a.html")
    assert "Confusion matrix" in (tmp_path / "a.html").read_text()


def test_what_cannot_be_evaluated_is_one_sentence(exported, tmp_path):
    home, run_id, file = exported
    (tmp_path / "cut.evm").write_bytes(file.read_bytes()[:-1])
    other = resigned(read_package(file), task=read_package(file).manifest.task.model_dump() | {"hash": "00" * 32})  # fmt: skip
    (tmp_path / "other.evm").write_bytes(other)
    for what, data, code in (
        (tmp_path / "cut.evm", tmp_path, 65),
        (tmp_path / "other.evm", tmp_path, 77),
        (run_id, tmp_path / "gone", 65),
        ("run-nobody", tmp_path, 2),
    ):
        found = run(home, "evaluate", what, "--data", data, check=False)
        assert (found.returncode, found.stderr.count("\n")) == (code, 1), found.stderr


def test_a_detector_in_a_package_finds_what_torch_finds(tmp_path):
    options = {"labels": "car,bus", "variant": "tiny", "size": 64}
    home, run_id = trained(tmp_path, "detection", scale=0.05, **options)
    file = tmp_path / "eyes.evm"
    export(home, run_id, "2", file)
    model = open_model(file)
    assert model.manifest.output.rows == 3 * (4**2 + 2**2)
    assert model.manifest.input.resize == "letterbox"
    task = registry.load(registry.newest("detection"))
    parsed = task.parse_options(options)
    module = task.build(parsed).eval()
    saved = checkpoint.load(home / "runs" / run_id / "round-0002.safetensors")
    write_vector(module, saved.vector, saved.tensors)
    squares = pictures(3, 64, 64, 3).astype(np.float32) / 255
    with torch.inference_mode():
        rows = module(torch.from_numpy(squares).permute(0, 3, 1, 2)).numpy()
    assert np.abs(model.outputs(squares) - rows).max() <= 1e-3  # of pixels
    for found, row in zip(model.predict(squares), rows, strict=True):
        wanted = detections(row, 64)
        assert len(found.boxes) == len(wanted) > 0
        assert [box.score for box in found.boxes] == pytest.approx(wanted[:, 1].tolist(), abs=1e-4)
