"""A file with a task: loaded, kept, hashed again, and refused in one sentence."""

import os
import subprocess
import sys

import numpy as np
import own_tasks_bench as bench
import pytest

from edgeveil.shared.base.errors import ConfigError, ProtocolError, StateDamaged
from edgeveil.shared.scores.class_scores import CLASSES
from edgeveil.shared.scores.metric import MetricSpec, Scoring
from edgeveil.shared.scores.regression import REGRESSION
from edgeveil.shared.tasks import registry
from edgeveil.shared.tasks.conformance.suite import CHECKS, examine
from edgeveil.shared.tasks.own.installing import candidate
from edgeveil.shared.tasks.own.shelf import INDEX, Shelf, use
from edgeveil.shared.tasks.own.source import MOST


@pytest.fixture(autouse=True)
def no_own_tasks():
    yield
    registry.take_own(())


@pytest.fixture
def shelf(tmp_path):
    return Shelf(tmp_path / "home")


def install(shelf, folder, text=bench.GOOD):
    made = candidate(str(bench.write(folder, text)), shelf)
    made.install(shelf)
    use(shelf.folder.parent)
    return made


@pytest.mark.parametrize("name", bench.ALL)
def test_a_model_and_a_loss_make_a_task_that_keeps_every_promise(name, shelf, tmp_path):
    subject = candidate(str(bench.write(tmp_path, bench.ALL[name])), shelf).subject()
    assert [each for each in examine(subject) if each.fault] == []
    assert len(list(examine(subject))) == len(CHECKS)


def test_an_installed_task_is_found_and_loaded_from_the_copy(shelf, tmp_path):
    made = install(shelf, tmp_path)
    (tmp_path / "my_task.py").unlink()
    spec = registry.find("valve", "1.0.0")
    assert spec == registry.newest("valve")
    assert spec.scoring is CLASSES
    assert spec.task_hash().hex() == made.entry.hash
    task = registry.load(spec)
    assert task.spec is spec
    assert registry.load(spec) is task
    assert task.build(task.parse_options({}))(task.probe(3, _random(), None)[0]).shape == (3, 2)
    assert "valve" not in {each.id for each in registry.product()}


def test_both_sides_that_install_the_same_file_have_the_same_hash(tmp_path):
    hashes = {
        install(Shelf(tmp_path / side), tmp_path / f"{side}-file").entry.hash for side in ("a", "b")
    }
    assert len(hashes) == 1
    other = candidate(str(bench.write(tmp_path, bench.GOOD + "\n# other")), Shelf(tmp_path / "c"))
    assert other.entry.hash not in hashes


def test_a_change_in_the_product_it_is_built_on_changes_its_hash(shelf, tmp_path):
    made = install(shelf, tmp_path)
    behind = set(made.found.behind)
    assert {"tasks/own/simple.py", "tasks/modules.py", "data/tabular/rows.py", "scores/classification.py"} <= behind  # fmt: skip
    assert "tasks/registry.py" not in behind


def test_knowing_the_own_tasks_of_a_home_imports_no_torch_and_no_task(shelf, tmp_path):
    marker = tmp_path / "imported"
    text = bench.GOOD + f"\nopen({str(marker)!r}, 'a').write('.')\n"
    install(shelf, tmp_path, text)
    assert marker.read_text() == "."
    code = (
        "import sys; from pathlib import Path; from edgeveil.shared.tasks.own.shelf import use\n"
        "from edgeveil.shared.tasks import registry\n"
        f"use(Path({str(shelf.folder.parent)!r}))\n"
        "spec = registry.find('valve', '1.0.0'); spec.task_hash(); registry.installed_tasks()\n"
        "assert not {'torch', 'torchvision', 'opacus', 'PIL'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    assert marker.read_text() == "."


def test_a_copy_that_was_changed_is_not_loaded(shelf, tmp_path):
    install(shelf, tmp_path)
    spec = registry.find("valve", "1.0.0")
    copy = shelf.folder / "valve.py"
    copy.write_bytes(copy.read_bytes() + b"\nraise SystemExit('it ran')\n")
    with pytest.raises(ConfigError, match=r"valve 1\.0\.0: .*valve\.py.* has changed since it was installed"):  # fmt: skip
        registry.load(spec)


def test_a_copy_that_became_a_link_is_not_followed(shelf, tmp_path):
    install(shelf, tmp_path)
    copy = shelf.folder / "valve.py"
    copy.rename(tmp_path / "elsewhere.py")
    copy.symlink_to(tmp_path / "elsewhere.py")
    with pytest.raises(ConfigError, match="is a link, which is not followed"):
        registry.load(registry.find("valve", "1.0.0"))


def test_a_removed_task_is_gone(shelf, tmp_path):
    install(shelf, tmp_path)
    shelf.remove("valve")
    use(shelf.folder.parent)
    with pytest.raises(ProtocolError, match="'valve'"):
        registry.find("valve", "1.0.0")
    assert not (shelf.folder / "valve.py").exists()
    with pytest.raises(ConfigError, match="no own task 'valve' is installed; there are none"):
        shelf.remove("valve")


def test_a_new_version_takes_the_place_of_the_old_one(shelf, tmp_path):
    install(shelf, tmp_path)
    install(shelf, tmp_path, bench.changed("1.0.0", "1.1.0"))
    assert [(each.id, each.version) for each in shelf.installed()] == [("valve", "1.1.0")]
    assert registry.load(registry.newest("valve")).spec.version == "1.1.0"


def test_a_list_of_tasks_that_is_damaged_is_said_so(shelf, tmp_path):
    install(shelf, tmp_path)
    for damaged in ("{", '{"tasks": [{"id": "../x"}]}', "[]"):
        (shelf.folder / INDEX).write_text(damaged)
        with pytest.raises(StateDamaged, match="no list of own tasks"):
            use(shelf.folder.parent)


def test_an_own_task_never_stands_before_one_of_the_product(shelf, tmp_path):
    install(shelf, tmp_path)
    text = (shelf.folder / INDEX).read_text().replace('"valve"', '"tabular"')
    (shelf.folder / INDEX).write_text(text)
    use(shelf.folder.parent)
    assert registry.newest("tabular") in registry.product()
    assert registry.catalogue() == registry.product()


FULL = """
from edgeveil.shared.scores.metric import MetricSpec, Scoring
from edgeveil.shared.tasks.sensors.tabular import Tabular
from edgeveil.shared.tasks.spec import TaskSpec


class Mine(Tabular):
    spec = TaskSpec("mine", "2.0.0", "", (), Scoring((MetricSpec("accuracy", "Accuracy", True, "%", (0.0, 1.0)),)))


TASK = Mine()
"""


def test_metrics_of_its_own_are_known_without_loading_it(shelf, tmp_path):
    install(shelf, tmp_path, FULL)
    wanted = Scoring((MetricSpec("accuracy", "Accuracy", True, "%", (0.0, 1.0)),))
    assert registry.scoring("mine") == wanted
    assert registry.load(registry.newest("mine")).spec.scoring == wanted


def test_a_number_is_measured_as_a_regression(shelf, tmp_path):
    install(shelf, tmp_path, bench.NUMBER)
    assert registry.scoring("power") is REGRESSION


REFUSED = [
    ("def f(:\n", r"my_task\.py, line 1: is no Python"),
    (b"\xff\xfe\x00", "is not UTF-8"),
    ("x = 1\n", "has no TASK"),
    ("TASK = 3\n", "TASK lacks spec, parse_options"),
    ("x = 1\nraise ValueError('not today\\nsecret')\n", r"my_task\.py, line 2: raised ValueError when it was loaded: not today$"),
    ("import sys\nsys.exit(0)\n", r"line 2: raised SystemExit when it was loaded: 0"),
    ("import no_such_package_1\n", r"line 1: imports no_such_package_1, which is not installed here; install that package on every machine"),
    ("def f():\n    from helpers_of_mine import g\n", r"line 2: imports helpers_of_mine"),
    ("import __main__\n", r"line 1: imports __main__"),
    ("from . import helpers\n", r"line 1: imports from beside itself; a task is one file"),
    ("from edgeveil.agent.home import home\n", r"imports edgeveil\.agent\.home; both sides have edgeveil\.shared alone"),
    ("from edgeveil import coordinator\n", r"imports edgeveil"),
    (bench.changed('id="valve"', 'id="tabular"'), "edgeveil itself has a task tabular; give yours another id"),
    (bench.changed('id="valve"', 'id="../valve"'), "is no name: use 1 to 40"),
    (bench.changed('"1.0.0"', '"one"'), "version 'one' must be three numbers"),
    (bench.changed('("closed", "open")', "()"), "give either classes=|number="),
    (bench.changed('("closed", "open")', '("open", "open")'), "a class is named twice"),
    (bench.changed("0..10", "10"), "columns: .*is not written as name"),
    (FULL.replace("Scoring((MetricSpec", "type('Mine', (Scoring,), {})((MetricSpec"), "the scoring has to be one of edgeveil's"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "said"), REFUSED)
def test_a_file_that_is_no_task_is_refused_in_one_sentence(text, said, shelf, tmp_path):
    path = bench.write(tmp_path, text)
    with pytest.raises(ConfigError, match=said) as caught:
        candidate(str(path), shelf)
    assert "\n" not in str(caught.value)
    assert "my_task.py" in str(caught.value) or "task valve" in str(caught.value)
    assert not shelf.folder.exists()


def test_a_file_that_is_none_is_refused_in_one_sentence(shelf, tmp_path):
    big = tmp_path / "big.py"
    big.write_bytes(b"#" * (10 << 20))
    link = tmp_path / "link.py"
    link.symlink_to(bench.write(tmp_path, bench.GOOD))
    pipe = tmp_path / "pipe.py"
    os.mkfifo(pipe)
    folder = tmp_path / "folder.py"
    folder.mkdir()
    for path, said in ((big, f"more than {MOST >> 20} MB"), (link, "is a link"), (pipe, "no regular file"), (folder, "Is a directory"), (tmp_path / "none.py", "cannot be read")):  # fmt: skip
        with pytest.raises(ConfigError, match=said):
            candidate(str(path), shelf)


@pytest.mark.parametrize(
    ("text", "promise", "said"),
    [
        (
            bench.BATCH_NORM,
            "has a gradient of each record alone",
            "body.1 (BatchNorm1d) uses the statistics of the batch; replace it with GroupNorm",
        ),
        (bench.NORMALISED, "has a gradient of each record alone", "a mean over the batch"),
        (bench.MEAN_LOSS, "has a gradient of each record alone", "not one value per record"),
        (bench.STATE, "remembers nothing between records", "keep no state between records"),
        (bench.NAN, "has a gradient of each record alone", "is zero or no number"),
        (bench.NAN_SPREADS, "stands a record of NaN", "spoils the losses of others"),
    ],
)
def test_a_task_that_cannot_be_trained_privately_is_told_why(text, promise, said, shelf, tmp_path):
    subject = candidate(str(bench.write(tmp_path, text)), shelf).subject()
    faults = {each.promise: each.fault for each in examine(subject) if each.fault}
    assert said in faults[promise]


def test_records_of_several_kinds_reach_the_model_in_their_documented_form(shelf, tmp_path):
    shapes = {}
    for name, text in bench.ALL.items():
        subject = candidate(str(bench.write(tmp_path, text)), shelf).subject()
        inputs, _ = subject.load(tmp_path / name).take(np.arange(9))
        shapes[name] = tuple(inputs.shape)
    assert shapes == {"valve": (9, 2), "shake": (9, 16, 2), "power": (9, 3), "leaf": (9, 3, 16, 12)}


def _random():
    import torch

    return torch.Generator().manual_seed(1)
