"""Whether a model that arrived is put to use: policy, self-test, the owner's own records; and the way back."""

import pytest
from delivery_bench import CNN, labelled, newer, own_data, policy, turned
from models_bench import resigned

from edgeveil.agent.delivery.kept import KeptModels
from edgeveil.agent.delivery.receiving import open_in_use, receive, take_file
from edgeveil.agent.home.home import AgentHome
from edgeveil.shared.base.errors import ModelError, ModelUntrusted
from edgeveil.shared.models import known_answer
from edgeveil.shared.models.package import read_package

SIGNER = read_package(CNN).signer.hex()


@pytest.fixture
def home(tmp_path):
    return AgentHome(tmp_path / "home")


def arrive(home, path, **options):
    return KeptModels(home.path).add(read_package(path), path.read_bytes(), vouched=True, **options)


def in_use(home):
    return KeptModels(home.path).in_use().model


def test_the_first_model_is_used_and_a_newer_one_takes_its_place(home, tmp_path):
    first = arrive(home, CNN)
    assert receive(home.path, first) == ""
    second = arrive(home, newer(tmp_path / "b.evm", 2))
    assert receive(home.path, second) == ""
    assert in_use(home) == second.model
    assert KeptModels(home.path).index().before == first.model


def test_a_model_that_is_worse_on_the_owners_records_is_kept_and_not_used(home, tmp_path):
    own_data(home, labelled(tmp_path))
    first = arrive(home, CNN)
    receive(home.path, first)
    worse = arrive(home, turned(tmp_path / "b.evm", 2))
    note = receive(home.path, worse)
    assert "of this device's own records, the model in use on 100%" in note
    assert in_use(home) == first.model
    assert KeptModels(home.path).index().find(worse.model).note == note
    policy(home, model={"worse_max": 1.0})
    assert receive(home.path, worse) == ""
    assert in_use(home) == worse.model


def test_records_that_the_model_cannot_take_are_no_hindrance(home, tmp_path):
    own_data(home, tmp_path / "gone")
    receive(home.path, arrive(home, CNN))
    assert receive(home.path, arrive(home, newer(tmp_path / "b.evm", 2))) == ""


def test_a_model_that_computes_something_else_here_is_not_used(home, tmp_path):
    receive(home.path, arrive(home, CNN))
    wrong = tuple(tuple(9.0 for _ in range(3)) for _ in range(known_answer.COUNT))
    note = receive(home.path, arrive(home, newer(tmp_path / "b.evm", 2, self_test=wrong)))
    assert "self-test fails" in note
    assert in_use(home) == read_package(CNN).digest


def test_the_right_answers_of_a_self_test_pass(home, tmp_path):
    from edgeveil.agent.inference.runtime import open_model

    model = open_model(CNN)
    asked = {model.input.name: known_answer.records(model.input)}
    (given,) = model._session.run(None, asked)
    found = arrive(home, newer(tmp_path / "b.evm", 2, self_test=known_answer.told(given)))
    assert receive(home.path, found) == ""


def test_a_task_that_the_owner_does_not_list_is_not_used(home, tmp_path):
    policy(home, tasks=[{"id": "tabular", "version": "1"}])
    assert "policy.toml allows no task" in receive(home.path, arrive(home, CNN))
    task = read_package(CNN).manifest.task
    policy(home, tasks=[{"id": task.id, "version": task.version, "hash": "00" * 32}])
    assert "policy.toml allows no task" in receive(home.path, arrive(home, CNN))
    policy(home, tasks=[{"id": task.id, "version": task.version, "hash": task.hash}])
    assert receive(home.path, arrive(home, CNN)) == ""


def test_a_model_with_other_labels_waits_for_the_owners_word(home, tmp_path):
    receive(home.path, arrive(home, CNN))
    output = read_package(CNN).manifest.output.model_dump() | {"labels": ("pear", "apple", "plum")}
    other = arrive(home, newer(tmp_path / "b.evm", 2, output=output))
    assert f"agent model use {other.model[:12]}" in receive(home.path, other)
    assert in_use(home) == read_package(CNN).digest


def test_a_model_whose_file_breaks_gives_way_to_the_one_before(home, tmp_path):
    first, second = arrive(home, CNN), arrive(home, newer(tmp_path / "b.evm", 2))
    for each in (first, second):
        receive(home.path, each)
    path = KeptModels(home.path).path(second.model)
    path.write_bytes(path.read_bytes()[:-3])
    said = []
    model = open_in_use(home.path, trust=None, threads=1, say=said.append)
    assert model.digest == first.model == in_use(home)
    assert len(said) == 1
    assert "in use again" in said[0]
    KeptModels(home.path).path(first.model).unlink()
    with pytest.raises(ModelError):
        open_in_use(home.path, trust=None, threads=1, say=said.append)


def test_a_file_of_the_owners_is_taken_with_a_word_on_its_signer_and_not_served_without_one(home):
    kept, notice = take_file(home.path, CNN, None, older=False)
    assert SIGNER in notice
    KeptModels(home.path).use(kept.model)
    with pytest.raises(ModelUntrusted, match=f"--trust {SIGNER}"):
        open_in_use(home.path, trust=None, threads=1, say=print)
    assert open_in_use(home.path, trust=SIGNER, threads=1, say=print).digest == kept.model
    kept, notice = take_file(home.path, CNN, SIGNER, older=False)
    assert notice == ""
    assert open_in_use(home.path, trust=None, threads=1, say=print).digest == kept.model


def test_an_older_file_needs_the_owners_word(home, tmp_path):
    receive(home.path, arrive(home, newer(tmp_path / "b.evm", 100_000_000)))
    with pytest.raises(ModelError, match="older than the model in use; --older"):
        take_file(home.path, CNN, SIGNER, older=False)
    kept, _ = take_file(home.path, CNN, SIGNER, older=True)
    assert KeptModels(home.path).use(kept.model).model == read_package(CNN).digest


def test_a_foreign_or_cut_file_changes_nothing(home, tmp_path):
    receive(home.path, arrive(home, CNN))
    (tmp_path / "foreign.evm").write_bytes(resigned(read_package(CNN), key=bytes(32)))
    (tmp_path / "cut.evm").write_bytes(CNN.read_bytes()[:-1])
    with pytest.raises(ModelUntrusted):
        take_file(home.path, tmp_path / "foreign.evm", SIGNER, older=False)
    with pytest.raises(ModelError):
        take_file(home.path, tmp_path / "cut.evm", SIGNER, older=False)
    assert in_use(home) == read_package(CNN).digest
