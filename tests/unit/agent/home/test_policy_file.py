"""policy.toml: what it says, what it refuses, and that it reads back to itself."""

import tomllib

import pytest

from edgeveil.agent.home.policy import Policy
from edgeveil.shared.base.errors import ConfigError

FULL = {
    "epsilon_max": 3.0,
    "n_ref": 1000,
    "tasks": [{"id": "feature-head", "version": "1.0.0", "hash": "ab" * 32}],
    "coordinators": ["cd" * 32],
    "schedule": {"noise_multiplier": 9.5, "sample_rate": 1.0, "steps": 40},
    "gradient_modes": ["ghost"],
    "secagg": {"n_min": 2, "allow_two": True, "bits": [32]},
}


def load(tmp_path, text):
    path = tmp_path / "policy.toml"
    path.write_text(text)
    return Policy.load(path)


@pytest.mark.parametrize("policy", [Policy.default(), Policy(**FULL)], ids=["default", "full"])
def test_a_written_policy_reads_back_equal(tmp_path, policy):
    assert load(tmp_path, policy.to_toml()) == policy
    assert Policy.from_json(policy.to_json()) == policy
    assert load(tmp_path, policy.to_toml()).hash() == policy.hash()


def test_labels_are_kept_in_the_form_in_which_they_are_compared(tmp_path):
    text = '[data]\nheight = 8\nwidth = 8\nchannels = 3\nlabels = ["a\u0308", "b"]'
    policy = load(tmp_path, text)
    assert policy.data.labels == ("\u00e4", "b")
    assert policy.data.as_schema().shape == (8, 8, 3)
    assert load(tmp_path, policy.to_toml()) == policy


def test_an_empty_file_is_the_default(tmp_path):
    assert load(tmp_path, "") == Policy.default()


def test_every_change_changes_the_hash():
    assert Policy(epsilon_max=7.9).hash() != Policy().hash()
    assert len(Policy().hash()) == 32


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("epsilon_max = nan", "epsilon_max"),
        ("epsilon_max = 1e999", "epsilon_max"),
        ("epsilon_max = 0", "epsilon_max"),
        ("epsilon_max = 51", "epsilon_max"),
        ('epsilon_max = "8"', "epsilon_max"),
        ("epsilon_max = true", "epsilon_max"),
        ("delta = 0", "delta"),
        ("delta = 1e-3\nn_ref = 1000", "delta"),
        ("q_max = 1.5", "q_max"),
        ("steps_max = 1.0", "steps_max"),
        ('unit = "person"', "unit"),
        ("clip_norm = { least = 2.0, most = 1.0 }", "clip_norm"),
        ("clip_norm = { least = 0, most = 1.0 }", "clip_norm.least"),
        ("gradient_modes = []", "gradient_modes"),
        ('gradient_modes = ["functorch"]', "gradient_modes"),
        ('metrics = "plain"', "metrics"),
        ('metrics = "dp"', "metrics"),
        ("dp_required = false", "dp_required"),
        ("secagg_required = false", "secagg_required"),
        ("epsilon = 8", "epsilon"),
        ("secagg = { n_min = 2 }", "secagg"),
        ("secagg = { n_min = 1, allow_two = true }", "secagg.n_min"),
        ("secagg = { n_min = 9, n_max = 8 }", "secagg"),
        ("secagg = { bits = [20] }", "secagg.bits"),
        ('coordinators = ["nonsense"]', "coordinators"),
        ("epsilon_max = 1e-9\ndelta = 1e-30", "no budget"),
    ],
)
def test_a_wrong_value_is_named_with_file_and_key(tmp_path, text, key):
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, text)
    assert str(tmp_path / "policy.toml") in str(caught.value)
    assert key in str(caught.value)


def test_all_faults_of_a_file_are_named_at_once(tmp_path):
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, "q_max = 2\nsteps_max = 0\nfoo = 1")
    assert len(str(caught.value).splitlines()) == 3


def test_a_file_that_is_not_toml_or_not_there_is_a_configuration_error(tmp_path):
    with pytest.raises(ConfigError, match="not valid TOML"):
        load(tmp_path, "epsilon_max = ")
    with pytest.raises(ConfigError, match="does not exist"):
        Policy.load(tmp_path / "absent.toml")


def test_a_policy_cannot_be_changed_in_memory():
    with pytest.raises(ValueError):
        Policy().epsilon_max = 9.0


def test_the_floors_of_secure_aggregation_reach_the_client():
    floors = Policy(**FULL).client_policy()
    assert (floors.n_min, floors.allow_two, set(floors.bits)) == (2, True, {32})
    default = Policy().client_policy()
    assert (default.n_min, default.c_min, default.gamma_ppm, default.sigma) == (3, 1, 100_000, 80)
    assert not default.allow_two
    assert set(default.prg) == {1, 2}


def test_a_mistake_is_told_like_in_every_other_file(tmp_path):
    text = 'sigma_mn = 2\ntasks = "instaled"\ncoordinators = ["x"]\nepsilon_max = "8"\n'
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, text)
    told = str(caught.value)
    assert 'policy.toml: sigma_mn: unknown key; did you mean "sigma_min"?' in told
    assert "policy.toml: tasks: input should be 'installed' (got 'instaled')" in told
    assert "policy.toml: epsilon_max: input should be a valid number (got '8')" in told
    assert "[" not in told.replace("[0-9a-f]", "")


def test_a_new_policy_shows_both_forms_of_data_and_each_can_be_taken_as_it_stands():
    text = Policy.default().to_toml()
    lines = [line.removeprefix("# ") for line in text[text.index("# Of pictures:") :].splitlines()]
    starts = [at for at, line in enumerate(lines) if line == "[data]"]
    kinds = []
    for start, end in zip(starts, [starts[1] - 1, len(lines)], strict=True):
        data = tomllib.loads("\n".join(lines[start:end]))["data"]
        kinds.append(
            Policy.model_validate({**Policy.default().model_dump(), "data": data}).data.kind
        )
    assert kinds == ["images", "windows"]
