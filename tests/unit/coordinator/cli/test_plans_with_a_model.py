"""`coordinator run` with a plan that names an initial model: told, refused, or found changed."""

import json

import numpy as np
import pytest
from desk_bench import desk
from look_bench import initialised, run

from edgeveil.coordinator.runs import checkpoint
from edgeveil.shared.base.exit_codes import ExitCode
from edgeveil.shared.tasks import registry
from edgeveil.shared.vector.model_vector import count

PLAN = """
[task]
id = "feature-head"
[model]
initial = "start.safetensors"
[training]
steps = 1
clip_norm = 0.3
learning_rate = 1.0
epsilon = 2.0
[rounds]
count = 1
"""
TASK = registry.load(registry.newest("feature-head"))
TENSORS = TASK.tensors(TASK.parse_options({"variant": "fixed"}))


@pytest.fixture
def plan(tmp_path):
    path = tmp_path / "plan.toml"
    path.write_text(PLAN)
    return path


def save(folder, value):
    vector = np.full(count(TENSORS), value, np.float32)
    return checkpoint.save(folder / "start.safetensors", vector, TENSORS, {})


def test_run_says_where_the_model_is_from_and_when_its_file_has_changed(tmp_path, plan):
    home = initialised(tmp_path)
    first = save(tmp_path, 0.5)
    with desk(home) as made:
        new = json.loads(run(home, "run", plan, "--detach", "--json").stdout)
        assert new["taken"] == "new"
        assert f"the file start.safetensors (SHA-256 {first})" in new["warnings"][-1]
        changed = save(tmp_path, 0.25)
        again = json.loads(run(home, "run", plan, "--detach", "--json").stdout)
        assert (again["run"], again["taken"]) == (new["run"], "continues")
        assert changed in again["warnings"][-1]
        assert f"keeps the one it was given ({first})" in again["warnings"][-1]
        assert made.store.run(new["run"]).initial.source_sha256 == first


def test_run_refuses_a_file_that_does_not_fit_and_queues_nothing(tmp_path, plan):
    home = initialised(tmp_path)
    (tmp_path / "start.safetensors").write_bytes(b"nothing")
    with desk(home) as made:
        refused = run(home, "run", plan, "--detach", check=False)
        assert refused.returncode == ExitCode.USAGE
        said = " ".join(refused.stderr.split())
        assert "plan: model.initial:" in said
        assert "start.safetensors: not safetensors" in said
        assert made.store.runs() == []
