"""scripts/data.py: what is fetched is checked, and what is written can be used as it lies."""

import pytest
from catalogue_bench import script

from edgeveil.shared.base.errors import DataError
from edgeveil.shared.data.kinds import infer


def test_every_set_is_listed_with_its_licence(capsys):
    data = script("data")
    assert data.main(["list"]) == 0
    shown = capsys.readouterr().out
    for name, each in script("data_sets").SETS.items():
        assert name in shown
        assert each.licence


def test_a_wheel_with_other_bytes_is_refused_and_nothing_is_written(tmp_path, capsys):
    (tmp_path / "seglearn-1.2.5-py3-none-any.whl").write_bytes(b"something else")
    data = script("data")
    assert data.main(["get", "watch", "--out", str(tmp_path / "w"), "--cache", str(tmp_path)]) == 65
    assert "not the seglearn==1.2.5 that is expected" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["seglearn-1.2.5-py3-none-any.whl"]


def test_what_is_there_is_not_written_over(tmp_path, capsys):
    assert script("data").main(["get", "mnist", "--out", str(tmp_path)]) == 2
    assert "exists" in capsys.readouterr().err


def test_digits_are_records_as_they_lie(tmp_path, capsys):
    assert script("data").main(["get", "mnist", "--out", str(tmp_path / "d")]) == 0
    found = infer(tmp_path / "d")
    assert found.shape == (28, 28, 1)
    assert len(found.read(tmp_path / "d").targets) == 5000


def test_recordings_of_appliances_are_windows_as_they_lie(tmp_path):
    sets = script("data_sets")
    text = "@data\n" + "".join(
        f"{','.join(str(0.01 * n) for n in range(204))}:{label}\n" for label in range(11)
    )
    (tmp_path / "plaid").mkdir()
    sets.SETS["plaid"].write(tmp_path / "plaid", lambda path: text.encode("utf-8-sig"))
    found = infer(tmp_path / "plaid" / "test").read(tmp_path / "plaid" / "test")
    assert found.targets.tolist() == list(range(11))
    assert found.values.shape == (11, 40, 3)  # a row for each whole cycle


def test_a_set_without_its_package_names_the_command(tmp_path, monkeypatch):
    sets = script("data_sets")
    monkeypatch.setenv("EDGEVEIL_DATA_DIR", str(tmp_path))
    monkeypatch.setattr("public_data_bench._DEBIAN_FOLDER", tmp_path)
    with pytest.raises(DataError, match="apt-get install"):
        sets.SETS["fashion"].write(tmp_path, lambda path: b"")
