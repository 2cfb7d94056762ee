"""A plan with mistakes: all are said at once, by `doctor --plan` as by `run`, with what may have been meant."""

import json

import numpy as np
import pytest
from desk_bench import desk
from look_bench import initialised, run

from edgeveil.coordinator.cli.doctor import diagnose
from edgeveil.coordinator.plan.plan_file import load_plan
from edgeveil.shared.base.errors import ConfigError
from edgeveil.shared.base.exit_codes import ExitCode

REST = """
[training]
steps = 8
clip_norm = 0.3
learning_rate = 100.0
epsilon = 8.0
[rounds]
count = 5
goal = 5
"""
LABEL_SPACE = '[task]\nid = "feature-head"\noptions = { classes = 2, labels = "cat, dog" }\n'
UNKNOWN_OPTION = '[task]\nid = "image-classification"\noptions = { height = 32, colours = 3 }\n'
ALL_AT_ONCE = """
[task]
id = "feature-head"
options = { heigth = 32, classes = 1 }
[training]
steps = 0
clip_norms = 0.3
learning_rate = 100.0
epsilon = 8.0
[round]
count = 5
[evaluation]
metric = "accurracy"
data = "nowhere.npz"
"""


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    return initialised(tmp_path_factory.mktemp("plan"))


def said(text, folder):
    path = folder / "plan.toml"
    path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        load_plan(path)
    lines = caught.value.message.split("\n")
    assert all(line.startswith(f"{path}: ") for line in lines)
    return [line.removeprefix(f"{path}: ") for line in lines]


def test_every_mistake_of_a_plan_is_said_at_once_with_what_may_have_been_meant(tmp_path):
    lines = said(ALL_AT_ONCE, tmp_path)
    wanted = {
        "task.options.heigth": 'did you mean "height"?',
        "task.options.classes": "greater than or equal to 2",
        "training.steps": "greater than or equal to 1",
        "training.clip_norms": 'did you mean "clip_norm"?',
        "training.clip_norm": "required key is missing",
        "round": 'did you mean "rounds"?',
        "rounds": "required key is missing",
        "evaluation.metric": 'did you mean "accuracy"?',
        "evaluation.data": "does not exist",
    }
    found = {line.partition(": ")[0]: line for line in lines}
    assert found.keys() == wanted.keys()
    for key, words in wanted.items():
        assert words in found[key]


def test_a_task_that_is_not_installed_is_told_from_one_that_is_nearly_called_so(tmp_path):
    (line,) = said('[task]\nid = "feature-haed"\n' + REST, tmp_path)
    assert 'did you mean "feature-head"?' in line
    (line,) = said('[task]\nid = "zzz"\n' + REST, tmp_path)
    assert (
        "installed here: anomaly, audio-command, detection, detection-two-stage, feature-head, "
        in line
    )


@pytest.mark.parametrize(
    ("task", "words"),
    [(LABEL_SPACE, 'write "cat,dog"'), (UNKNOWN_OPTION, "task.options.colours: unknown key")],
)
def test_the_doctor_and_run_refuse_the_same_options_with_the_same_words(
    home, tmp_path, task, words
):
    path = tmp_path / "plan.toml"
    path.write_text(task + REST)
    doctor = run(home, "doctor", "--plan", path, "--json", check=False)
    assert doctor.returncode == ExitCode.UNAVAILABLE
    red = [each for each in json.loads(doctor.stdout)["findings"] if each["check"] == "plan"]
    assert [each["level"] for each in red] == ["red"]
    assert words in red[0]["text"]
    with desk(home) as made:
        refused = run(home, "run", path, "--detach", check=False)
        assert made.store.runs() == []
    assert refused.returncode == ExitCode.USAGE
    assert words in refused.stderr


def test_the_doctor_and_run_load_the_held_out_data_as_the_run_will(home, tmp_path):
    path = tmp_path / "plan.toml"
    path.write_text('[task]\nid = "feature-head"\n' + REST + '[evaluation]\ndata = "test.npz"\n')
    np.savez(tmp_path / "test.npz", X=np.zeros((4, 28, 28), np.uint8), y=np.array([10, 11, 12, 13]))
    doctor = run(home, "doctor", "--plan", path, check=False)
    assert doctor.returncode == ExitCode.UNAVAILABLE
    assert "label outside 0 to 9" in " ".join(doctor.stdout.split())
    with desk(home) as made:
        refused = run(home, "run", path, "--detach", check=False)
        assert made.store.runs() == []
    assert refused.returncode == ExitCode.DAMAGED
    np.savez(tmp_path / "test.npz", X=np.zeros((4, 28, 28), np.uint8), y=np.array([0, 1, 2, 11]))
    found = list(diagnose(home, path))
    assert any("tested on 3 held-out records" in each.text for each in found)
    (beside,) = [each for each in found if each.check == "held-out"]
    assert beside.level == "yellow"
    assert "1 left out, the first because: " in beside.text


def test_a_plan_that_begins_with_a_byte_order_mark_is_read(tmp_path):
    path = tmp_path / "plan.toml"
    path.write_text('\ufeff[task]\nid = "feature-head"\n' + REST, encoding="utf-8")
    assert load_plan(path).rounds.count == 5


def test_the_doctor_knows_how_a_coordinator_behind_a_proxy_is_served(tmp_path):
    home = initialised(tmp_path)
    config = home / "coordinator.toml"

    def tls():
        found = run(home, "doctor", "--plain-http", "--json", check=False)
        (finding,) = [x for x in json.loads(found.stdout)["findings"] if x["check"] == "tls"]
        return finding

    assert tls()["level"] == "green"
    config.write_text(config.read_text().replace("127.0.0.1:9", "0.0.0.0:9").replace("https://0.0.0.0", "https://127.0.0.1"))  # fmt: skip
    assert tls()["level"] == "red"
    assert "loopback address only" in tls()["text"]


@pytest.mark.parametrize(
    ("named", "meant"),
    [
        ("models/start.safetensors", "{folder}/models/start.safetensors"),
        ("run-20260131-120000-9f3c07d1", "run-20260131-120000-9f3c07d1"),
        ("run-20260131-120000-9f3c07d1@last", "run-20260131-120000-9f3c07d1@last"),
        ("run-20260131-120000-9f3c07d1@12", "run-20260131-120000-9f3c07d1@12"),
        ("./run-20260131-120000-9f3c07d1", "{folder}/run-20260131-120000-9f3c07d1"),
        ("run-20260131-120000-9f3c07d1@first", "{folder}/run-20260131-120000-9f3c07d1@first"),
    ],
)
def test_an_initial_model_is_a_run_by_its_name_or_a_file_beside_the_plan(tmp_path, named, meant):
    path = tmp_path / "plan.toml"
    path.write_text(f'[task]\nid = "feature-head"\n[model]\ninitial = "{named}"\n{REST}')
    assert load_plan(path).model.initial == meant.format(folder=tmp_path.resolve())
