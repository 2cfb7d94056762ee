"""A task of an installed package: found by its entry point, hashed with all files of its package."""

import sys

import own_tasks_bench as bench
import pytest

from edgeveil.shared.base.errors import ConfigError
from edgeveil.shared.tasks import registry
from edgeveil.shared.tasks.own import packages
from edgeveil.shared.tasks.own.installing import candidate
from edgeveil.shared.tasks.own.shelf import Shelf, use

ENTRY = "[edgeveil.tasks]\n{name} = {value}\n"


@pytest.fixture
def site(tmp_path, monkeypatch):
    """A place where packages can be installed, with one that has a task."""
    folder = tmp_path / "site"
    bench.write(folder / "valve_pack", "", "__init__.py")
    bench.write(folder / "valve_pack", bench.GOOD, "task.py")
    entry(folder, "valve", "valve_pack.task:TASK")
    monkeypatch.syspath_prepend(str(folder))
    yield folder
    registry.take_own(())
    for name in [name for name in sys.modules if name.startswith("valve_pack")]:
        del sys.modules[name]


def entry(folder, name, value, dist="valve_pack-1.0"):
    bench.write(folder / f"{dist}.dist-info", ENTRY.format(name=name, value=value), "entry_points.txt")  # fmt: skip
    bench.write(folder / f"{dist}.dist-info", f"Metadata-Version: 2.1\nName: {dist[:-4]}\nVersion: 1.0\n", "METADATA")  # fmt: skip


def installed(tmp_path):
    shelf = Shelf(tmp_path / "home")
    made = candidate("valve", shelf)
    made.install(shelf)
    use(shelf.folder.parent)
    return made


def test_an_entry_point_is_a_task_once_its_owner_has_installed_it(site, tmp_path):
    assert packages.offered() == ("valve",)
    assert registry.newest("valve") is None
    assert "valve_pack" not in sys.modules
    made = installed(tmp_path)
    assert made.entry.package == "valve"
    assert registry.load(registry.newest("valve")).spec.task_hash().hex() == made.entry.hash
    assert not (tmp_path / "home" / "tasks" / "valve.py").exists()


@pytest.mark.parametrize("name", ["task.cpython-311-x86_64-linux-gnu.so", "fast.so", "task.pyc", "deep/more.pyd"])  # fmt: skip
def test_compiled_code_beside_the_source_is_refused_by_name(name, site, tmp_path):
    file = site / "valve_pack" / name
    file.parent.mkdir(exist_ok=True)
    file.write_bytes(b"\x7fELF")
    with pytest.raises(ConfigError, match="compiled code") as caught:
        installed(tmp_path)
    assert name in caught.value.message


def test_compiled_code_that_comes_later_takes_the_task_away(site, tmp_path):
    installed(tmp_path)
    (site / "valve_pack" / "task.pyc").write_bytes(b"\0")
    with pytest.raises(ConfigError, match="compiled code"):
        registry.load(registry.newest("valve"))


def test_what_python_keeps_of_the_sources_is_no_hindrance(site, tmp_path):
    cache = site / "valve_pack" / "__pycache__"
    cache.mkdir()
    (cache / "task.cpython-311.pyc").write_bytes(b"\0")
    assert installed(tmp_path).entry.package == "valve"


def test_a_package_that_has_changed_is_not_loaded(site, tmp_path):
    installed(tmp_path)
    bench.write(site / "valve_pack", "x = 1\n", "more.py")
    with pytest.raises(ConfigError, match="the package of valve, or edgeveil, has changed"):
        registry.load(registry.newest("valve"))


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("other", "valve_pack.task:TASK", "neither a file nor one entry point of edgeveil.tasks; installed packages have other"),
        ("valve", "valve_pack.task:Valve", "it has to end with :TASK"),
        ("valve", "valve_gone.task:TASK", "its package valve_gone is not there"),
        ("valve", "valve_pack.nothing:TASK", "raised ModuleNotFoundError when it was loaded"),
        ("valve", "valve_pack:TASK", "has no TASK"),
    ],
)  # fmt: skip
def test_an_entry_point_that_is_no_task_is_refused_in_one_sentence(name, value, said, site, tmp_path):  # fmt: skip
    entry(site, name, value)
    with pytest.raises(ConfigError, match=said) as caught:
        candidate("valve", Shelf(tmp_path / "home"))
    assert "\n" not in str(caught.value)


def test_two_packages_with_one_name_are_told_apart_by_nobody(site, tmp_path):
    entry(site, "valve", "valve_pack.task:TASK", dist="another-1.0")
    with pytest.raises(ConfigError, match="nor one entry point"):
        candidate("valve", Shelf(tmp_path / "home"))
