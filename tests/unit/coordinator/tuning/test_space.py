"""space.toml: what may be tried, what is refused, and where the sentence points."""

import pytest
from fakes_federation import plan_for

from edgeveil.coordinator.tuning.space import changed, load_space
from edgeveil.shared.base.errors import ConfigError


def loaded(folder, text, **changes):
    path = folder / "space.toml"
    path.write_text(text)
    return load_space(path, plan_for(3, **changes))


def test_ranges_and_choices_of_training_server_and_options_are_read(tmp_path):
    text = """\
[training.learning_rate]
low = 1
high = 100.0
log = true
[training.steps]
low = 1
high = 8
[server.strategy]
choices = ["fedavg", "fedavgm"]
[task.options.features]
choices = ["orientation", "blocks"]
"""
    axes = loaded(tmp_path, text).axes
    assert list(axes) == ["server.strategy", "task.options.features", "training.learning_rate", "training.steps"]  # fmt: skip
    assert axes["training.steps"].whole
    assert not axes["training.learning_rate"].whole
    assert axes["task.options.features"].ends == ("orientation", "blocks")


@pytest.mark.parametrize(
    ("key", "axis", "told"),
    [
        ("training.epsilon", "low = 1.0\nhigh = 2.0", "training.epsilon: a budget is decided, not tried"),
        ("training.delta", "choices = [1e-5, 1e-6]", "a budget is decided"),
        ("training.privacy", 'choices = ["dp", "none"]', "a budget is decided"),
        ("training.learning_rat", "low = 1.0\nhigh = 2.0", 'did you mean "learning_rate"'),
        ("server.robust", 'choices = ["none", "median"]', "server.robust: unknown key"),
        ("server.strategy", 'choices = ["fedavg", "scaffold"]', "scaffold is not simulated"),
        ("server.strategy", 'choices = ["fedavg", "fedsgd"]', "server.strategy = 'fedsgd'"),
        ("rounds.count", "low = 1\nhigh = 2", "rounds: unknown key"),
        ("training.steps", "low = 1.0\nhigh = 8.0", "training.steps: a whole number"),
        ("training.steps", "low = 0\nhigh = 8", "training.steps = 0"),
        ("training.sample_rate", "low = 0.1\nhigh = 1.5", "training.sample_rate = 1.5"),
        ("training.steps", "low = 8\nhigh = 1", "low 8 is not below high 1"),
        ("training.steps", "low = 1", "give low and high, or choices"),
        ("training.steps", "low = 1\nhigh = 3\nchoices = [1, 2]", "choices stand alone"),
        ("training.steps", "choices = [1, 1]", "one is named twice"),
        ("training.steps", "choices = [1]", "training.steps.choices"),
        ("training.steps", 'low = "1"\nhigh = 3', "training.steps.low"),
        ("training.learning_rate", "low = 0.0\nhigh = 3.0\nlog = true", "must be above 0"),
        ("training.learning_rate", "low = 1.0\nhigh = inf", "training.learning_rate.high"),
        ("training.learning_rate", "low = 1.0\nhigh = 2.0\nstep = 0.1", "step: unknown key"),
        ("task.options.size", "choices = [20, 30]", "task.options.size"),
        ("model.initial", 'choices = ["a", "b"]', "model: unknown key"),
    ],
)  # fmt: skip
def test_what_no_trial_could_take_is_named_before_anything_is_tried(key, axis, told, tmp_path):
    with pytest.raises(ConfigError) as found:
        loaded(tmp_path, f"[{key}]\n{axis}\n")
    assert told in found.value.message
    assert all(line.startswith(str(tmp_path)) for line in found.value.message.splitlines())


def test_an_empty_space_and_one_of_too_many_keys_are_refused(tmp_path):
    with pytest.raises(ConfigError, match="names no key"):
        loaded(tmp_path, "")
    many = "".join(f"[task.options.a{n}]\nchoices = [1, 2]\n" for n in range(17))
    with pytest.raises(ConfigError, match="17 keys, and at most 16"):
        loaded(tmp_path, many)


def test_a_changed_plan_keeps_everything_else_and_is_checked_as_a_whole():
    plan = plan_for(3, training__momentum=0.5)
    made = changed(plan, {"training.steps": 3, "server.strategy": "fedadam"})
    assert (made.training.steps, made.server.strategy) == (3, "fedadam")
    assert made.training.model_copy(update={"steps": 2}) == plan.training
    with pytest.raises(ConfigError, match="momentum belongs to sgd"):
        changed(plan, {"training.optimizer": "adam"})
    with pytest.raises(ConfigError, match="leaves no budget"):
        changed(plan_for(3, training__epsilon=0.001), {"training.steps": 100_000})


def test_drawn_numbers_have_few_digits_and_stay_within_their_ends(tmp_path):
    axis = loaded(tmp_path, "[training.learning_rate]\nlow = 1.23441\nhigh = 9.87654\n").axes["training.learning_rate"]  # fmt: skip
    assert axis.rounded(3.14159265) == 3.142
    assert axis.rounded(1.23441) == 1.23441
    assert axis.rounded(9.87654) == 9.87654
