"""The models in a home: one in use, one before it, no more files than are named, a whole index after any crash."""

import os

import pytest
from delivery_bench import newer

from edgeveil.agent.delivery import kept as kept_models
from edgeveil.agent.delivery.kept import MOST_KEPT, KeptModels
from edgeveil.shared.base.errors import ConfigError, StateDamaged, StorageFailed
from edgeveil.shared.models.package import read_package


@pytest.fixture
def models(tmp_path):
    home = tmp_path / "home"
    home.mkdir(mode=0o700)
    return KeptModels(home)


def add(models, tmp_path, number, **options):
    path = newer(tmp_path / "a.evm", number)
    return models.add(read_package(path), path.read_bytes(), vouched=True, **options)


def test_the_one_before_comes_back_and_the_one_taken_back_says_so(models, tmp_path):
    first, second = (add(models, tmp_path, number) for number in (1, 2))
    models.use(first.model)
    models.use(second.model)
    assert models.roll_back("taken back by hand").model == first.model
    assert models.index().find(second.model).note == "taken back by hand"
    with pytest.raises(ConfigError, match="no model from before"):
        models.roll_back("again")
    assert models.in_use().model == first.model


def test_using_the_model_in_use_forgets_no_way_back(models, tmp_path):
    first, second = (add(models, tmp_path, number) for number in (1, 2))
    for each in (first, second, second):
        models.use(each.model)
    assert models.index().before == first.model


def test_those_in_use_and_before_are_never_pruned(models, tmp_path):
    first, second = (add(models, tmp_path, number) for number in (1, 2))
    models.use(first.model)
    models.use(second.model)
    for number in range(3, 12):
        newest = add(models, tmp_path, number)
    index = models.index()
    assert {first.model, second.model, newest.model} <= {each.model for each in index.models}
    assert len(index.models) == MOST_KEPT == len(list(models.folder.glob("*.evm")))


def test_without_a_model_it_is_said_what_to_do(models):
    with pytest.raises(ConfigError, match="agent model get"):
        models.in_use()
    with pytest.raises(ConfigError, match="agent model list"):
        models.called("ab")


def test_a_full_disk_changes_nothing(models, tmp_path, monkeypatch):
    first = add(models, tmp_path, 1)
    models.use(first.model)

    def full(*_args, **_kwargs):
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr(kept_models, "write_atomic", full)
    with pytest.raises(StorageFailed, match="the model in use stays"):
        add(models, tmp_path, 2)
    assert models.in_use().model == first.model


def test_a_damaged_index_is_one_sentence_with_the_way_out(models, tmp_path):
    add(models, tmp_path, 1)
    for damage in (b"", b"{", b'{"fetched": -1}', b'{"in_use": 3}', b'{"other": 1}'):
        models.index_path.write_bytes(damage)
        with pytest.raises(StateDamaged, match="agent model get"):
            models.index()


def test_the_serials_that_were_fetched_never_go_back(models, tmp_path):
    models.note_fetched(1)  # makes the folder too
    for serial in (9, 4):
        models.note_fetched(serial)
    assert models.index().fetched == 9
    assert models.folder.stat().st_mode & 0o777 == 0o700
