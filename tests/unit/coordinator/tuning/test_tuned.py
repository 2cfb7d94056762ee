"""plan.tuned.toml: the plan as it was written, with other values."""

import tomllib

import pytest

from edgeveil.coordinator.tuning.tuned import check_output, rendered, write_tuned
from edgeveil.shared.base.errors import ConfigError


def test_other_keys_and_names_of_files_stay_as_they_are_written(tmp_path):
    source, output = tmp_path / "plan.toml", tmp_path / "plan.tuned.toml"
    source.write_text(
        '[task]\nid = "feature-head"\noptions = { labels = "a,\\"b\\"" }\n[training]\nsteps = 1\n'
        '[rounds]\nrequire = ["idle"]\n[evaluation]\ndata = "test.npz"\n'
    )
    values = {"training.steps": 4, "training.learning_rate": 1e-05, "server.strategy": "fedavgm", "task.options.vary": True}  # fmt: skip
    write_tuned(output, source, values, "trial 3\nof 5")
    assert tomllib.loads(output.read_text()) == {
        "task": {"id": "feature-head", "options": {"labels": 'a,"b"', "vary": True}},
        "training": {"steps": 4, "learning_rate": 1e-05},
        "rounds": {"require": ["idle"]},
        "evaluation": {"data": "test.npz"},
        "server": {"strategy": "fedavgm"},
    }


def test_what_is_rendered_is_read_back():
    values = {"a": {"b c": 1, "é": "x\x7f\n", "d": {"e": [1.5, "q"], "f": {}}}, "g": False}
    assert tomllib.loads(rendered(values)) == values


def test_a_file_that_was_written_by_hand_is_not_replaced(tmp_path):
    path = tmp_path / "plan.tuned.toml"
    check_output(path)
    path.write_text("[task]\n")
    with pytest.raises(ConfigError, match="was not written by coordinator tune"):
        check_output(path)
