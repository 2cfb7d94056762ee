"""No study reads what an agent holds, asks a device, or looks at the data that will judge."""

import pytest
from fakes_federation import plan_for

from edgeveil.coordinator.tuning import refusals
from edgeveil.shared.base.errors import ConfigError


@pytest.fixture(autouse=True)
def nobody_lives_here(monkeypatch, tmp_path):
    monkeypatch.setattr(refusals, "user_state_path", lambda name: tmp_path / "state" / name)


@pytest.fixture
def data(tmp_path):
    (tmp_path / "public").mkdir()
    return tmp_path / "public"


def check(data, tmp_path):
    refusals.check_data(data, tmp_path / "fl" / "coordinator")


def agent(folder, data):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "agent.toml").write_text(f'data = "{data}"\n')
    return folder


def test_data_that_no_agent_knows_are_taken(data, tmp_path):
    agent(tmp_path / "fl" / "cam-1", tmp_path / "photos")
    check(data, tmp_path)


@pytest.mark.parametrize("mark", refusals.MARKS)
def test_a_folder_in_an_agents_home_is_refused_by_any_file_of_it(mark, data, tmp_path):
    (data / "home" / mark).parent.mkdir(parents=True)
    (data / "home" / mark).touch()
    inner = data / "home" / "records" / "cats"
    inner.mkdir(parents=True)
    with pytest.raises(ConfigError, match="home is the home of an agent"):
        check(inner, tmp_path)
    with pytest.raises(ConfigError, match=r"holds .*home, the home of an agent"):
        check(data, tmp_path)


@pytest.mark.parametrize("place", ["state/edgeveil/agent", "fl/cam-1", "cam-2", "fl"])
@pytest.mark.parametrize("named", ["public", "public/cats", "."])
def test_what_an_agent_trains_on_is_refused_with_all_above_and_within(place, named, data, tmp_path):
    (data / "cats").mkdir()
    home = agent(tmp_path / place, tmp_path / named)
    with pytest.raises(ConfigError) as found:
        check(data, tmp_path)
    assert f"{home / 'agent.toml'} names" in found.value.message


def test_a_link_to_an_agents_data_is_no_way_around(data, tmp_path):
    agent(tmp_path / "fl" / "cam-1", data)
    (tmp_path / "link").symlink_to(data)
    with pytest.raises(ConfigError, match="names"):
        check(tmp_path / "link", tmp_path)


def test_an_agent_whose_file_cannot_be_read_refuses_as_well(data, tmp_path):
    home = agent(tmp_path / "fl" / "cam-1", "x")
    (home / "agent.toml").write_text("data = [")
    with pytest.raises(ConfigError, match="which data it holds cannot be told"):
        check(data, tmp_path)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"evaluation__on": "devices", "evaluation__epsilon": 1.0, "evaluation__metric": "accuracy"}, "a study never asks a device"),
        ({"training__privacy": "none", "training__epsilon": None, "training__delta": 1e-5}, "there is no budget to save"),
        ({"server__strategy": "scaffold"}, "scaffold"),
        ({"model__initial": "run-20260101-000000-0123abcd@best"}, "export it"),
    ],
)  # fmt: skip
def test_plans_that_a_study_cannot_carry_out_are_refused(changes, told):
    with pytest.raises(ConfigError, match=told):
        refusals.check_plan(plan_for(3, **changes))


def test_the_data_that_judge_the_plan_are_not_tuned_on(data):
    plan = plan_for(3, evaluation__data=str(data / "test.npz"))
    with pytest.raises(ConfigError, match="would make its figures look too good"):
        refusals.check_apart(data, plan)
    refusals.check_apart(data.parent / "other", plan)
