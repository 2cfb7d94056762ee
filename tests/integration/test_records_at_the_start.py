"""What a device declares of its records, shown and asked before anything is sent, and when it takes no part."""

import json
import shutil
import sys

import numpy as np
import pytest
from enrollment_bench import running_coordinator
from fakes_federation import POLICY, Federation, plan_for, write_digits
from PIL import Image
from terminal_bench import shown_on_a_terminal
from typer.testing import CliRunner

from edgeveil.agent.cli.app import app
from edgeveil.agent.cli.doctor import _data as data_finding
from edgeveil.agent.home.home import AgentHome
from edgeveil.agent.home.policy import Policy
from edgeveil.agent.home.policy_changes import loosened
from edgeveil.agent.home.records.record_policy import DataPolicy
from edgeveil.agent.home.records.usable import Summary, doubts, last_look
from edgeveil.agent.reports.page_view import own_state, page
from edgeveil.shared.base.errors import DataError
from edgeveil.shared.base.exit_codes import ExitCode
from edgeveil.shared.data.schema import Schema
from edgeveil.shared.doctor.checks import Level

MAIN = [sys.executable, "-c", "from edgeveil.agent.cli.app import main; main()"]


@pytest.fixture
def bench(tmp_path):
    with running_coordinator(tmp_path / "coordinator") as running:
        yield running


@pytest.fixture
def photos(tmp_path):
    """12 coats, 5 bags, and a file that is no image."""
    folder = tmp_path / "photos"
    for name, many in (("bag", 5), ("coat", 12)):
        (folder / name).mkdir(parents=True)
        for number in range(many):
            shade = np.full((30, 40), 10 * number, np.uint8)
            Image.fromarray(shade).save(folder / name / f"{number}.png")
    (folder / "bag" / "broken.png").write_bytes(b"no image")
    return folder


class Joining:
    """`agent join` of one device."""

    def __init__(self, bench, tmp_path, data):
        (token,) = bench.invite("cam-1")
        self.home = tmp_path / "device"
        self.arguments = ["join", token.encode(), "--data", str(data), "--home", str(self.home)]

    def run(self):
        return CliRunner().invoke(app, self.arguments)

    def set(self, *assignments):
        arguments = ["policy", "set", *assignments, "--home", str(self.home), "--yes"]
        return CliRunner().invoke(app, arguments)

    def at_a_terminal(self, typed, ends=0):
        seen = shown_on_a_terminal(
            MAIN + self.arguments, columns=300, typed=typed, ends=ends, NO_COLOR="1"
        )
        return " ".join(seen.split())

    @property
    def policy(self):
        return Policy.load(self.home / "policy.toml")


SUMMARY = (
    "17 usable images, 2 classes (bag 5, coat 12), 28×28 grey; 1 left out, the first because: "
)


def test_whoever_joins_without_a_terminal_is_told_what_is_declared_and_finds_it_in_the_log(
    bench, tmp_path, photos
):
    device = Joining(bench, tmp_path, photos)
    result = device.run()
    assert result.exit_code == 0, result.output
    log = (device.home / "agent.log").read_text()
    for told in (SUMMARY, "broken.png", "data is fixed as", "agent policy set data.labels="):
        assert told in log
        assert told in result.stderr.replace('\\"', '"')
    assert device.policy.data.labels == ("bag", "coat")


def test_at_a_terminal_the_owner_is_asked_and_after_a_no_nothing_was_declared_or_sent(
    bench, tmp_path, photos
):
    device = Joining(bench, tmp_path, photos)
    seen = device.at_a_terminal(b"n\n", ends=1)
    assert SUMMARY in seen
    assert "Are these 2 labels and 28×28 grey right?" in seen
    assert "agent policy set data.height=28" in seen
    assert device.policy.data is None
    assert AgentHome(device.home).find_pinned() is None
    assert bench.store.agents() == []
    own = ("data.height=32", "data.width=32", 'data.labels=["coat","bag"]')
    assert device.set(*own).exit_code == 0  # as it advised
    assert "17 usable images, 2 classes (coat 12, bag 5), 32×32 grey" in device.at_a_terminal(b"")


def test_after_a_yes_it_is_declared_and_never_asked_again(bench, tmp_path, photos):
    device = Joining(bench, tmp_path, photos)
    assert "state: pending" in device.at_a_terminal(b"y\n")
    (photos / "hat").mkdir()
    assert "right?" not in device.at_a_terminal(b"")
    assert device.policy.data.labels == ("bag", "coat")


def test_names_that_look_mistyped_are_said_before_they_are_declared(bench, tmp_path, photos):
    (photos / "coats").mkdir()
    shutil.copy(photos / "coat" / "1.png", photos / "coats")
    device = Joining(bench, tmp_path, photos)
    seen = device.at_a_terminal(b"n\n", ends=1)
    assert seen.index("one record or none in class 'coats'") < seen.index("right?")
    assert seen.index("by one letter, one mistyped? 'coat' and 'coats'") < seen.index("right?")


@pytest.mark.parametrize(
    ("labels", "alike"),
    [
        (("Bag", "bag"), True),
        (("coat", "coot"), True),
        (("coat", "cat"), True),
        (("jacket", "jackett"), True),
        (("cat", "dog", "rat"), False),
        (("class1", "class2", "class10"), False),
        (tuple(map(str, range(1000))), False),
        (("dress", "shirt", "trousers"), False),
    ],
)
def test_only_case_or_one_letter_makes_names_look_alike(labels, alike):
    summary = Summary(Schema("images", (28, 28, 1), labels), (9,) * len(labels))
    assert bool(list(doubts(summary))) == alike


def unscaled(path):
    """Floats of 0 to 255 as nobody scaled them: no record that a task can use."""
    return np.random.default_rng(1).uniform(2, 255, (40, 28, 28)).astype(np.float32)


def nan(path):
    return np.full((40, 28, 28), np.nan, np.float32)


def save(path, make):
    np.savez(path, X=make(path), y=np.arange(40) % 10)
    return path


@pytest.mark.parametrize("make", [unscaled, nan])
def test_a_device_without_usable_records_does_not_join_and_says_so_everywhere(
    bench, tmp_path, make
):
    device = Joining(bench, tmp_path, save(tmp_path / "data.npz", make))
    result = device.run()
    assert isinstance(result.exception, DataError)
    assert result.exception.exit_code is ExitCode.DAMAGED
    said = str(result.exception)
    for part in (
        "0 of 40 records are usable",
        "does not take part",
        "agent data check",
        "usable_min",
    ):
        assert part in said
    assert bench.store.agents() == []
    assert said in (device.home / "agent.log").read_text()
    assert data_finding(device.home, None, None).level is Level.RED
    assert last_look(device.home, "data").refused == said
    budget = CliRunner().invoke(app, ["budget", "--home", str(device.home)])
    assert "not ready: " in budget.stderr
    assert "0 of 40 records are usable" in budget.stderr
    save(tmp_path / "data.npz", lambda path: unscaled(path) / 255)
    assert device.run().exit_code == 0, "the token was not used up"
    assert data_finding(device.home, None, None).level is Level.GREEN
    assert "not ready" not in CliRunner().invoke(app, ["budget", "--home", str(device.home)]).stderr


def test_the_process_of_such_a_device_ends_with_65_before_it_joins(bench, tmp_path):
    device = Joining(bench, tmp_path, save(tmp_path / "data.npz", nan))
    device.arguments[:2] = ["run", "--join", device.arguments[1]]
    assert "0 of 40 records are usable" in device.at_a_terminal(b"y\n", ends=65)
    assert bench.store.agents() == []
    assert "0 of 40 records are usable" in (device.home / "agent.log").read_text()


def test_the_owner_decides_with_how_few_usable_records_a_device_takes_part(bench, tmp_path):
    def half(path):
        return np.concatenate([nan(path)[:21], unscaled(path)[21:] / 255])

    device = Joining(bench, tmp_path, save(tmp_path / "data.npz", half))
    assert isinstance(device.run().exception, DataError)
    assert device.set("data.usable_min=0.4").exit_code == 0
    assert device.run().exit_code == 0
    assert device.policy.data.usable_min == 0.4
    assert device.set("data.usable_min=1.1").exit_code != 0


def test_only_fewer_usable_records_need_the_owners_word():
    at = DataPolicy(height=28, width=28, labels=("one",))
    old, less, more = (
        Policy(data=at.model_copy(update={"usable_min": share})) for share in (0.5, 0.4, 0.6)
    )
    assert loosened(old, less) == ("data.usable_min",)
    assert loosened(old, more) == ()


def test_the_declaration_can_be_corrected_later(bench, tmp_path, photos):
    device = Joining(bench, tmp_path, photos)
    assert device.run().exit_code == 0
    (photos / "coat").rename(photos / "jacket")
    assert isinstance(device.run().exception, DataError), (
        "12 of 18 are of no class that is declared"
    )
    assert device.set('data.labels=["bag","jacket"]').exit_code == 0
    result = device.run()
    assert result.exit_code == 0, result.output
    assert "jacket 12" in result.stderr


@pytest.mark.parametrize("make", [unscaled, nan])
def test_nothing_is_charged_on_a_device_whose_arrays_no_task_can_use(tmp_path, monkeypatch, make):
    def pieces(folder, count, records):
        paths = write_digits(folder, count, records)
        save(paths[0], make)
        return paths

    monkeypatch.setattr("fakes_federation.write_digits", pieces)
    federation = Federation(tmp_path, agents=5)
    try:
        federation.train(plan_for(4, rounds__count=1))
        assert "0 of 40 records are usable" in federation.unready["agent-1"]
        assert len(federation.store.rounds()[0].survived) == 4
        assert not (federation.homes[0].ledger_folder / "data" / "ledger.jsonl").exists()
    finally:
        federation.close()


def test_no_ledger_is_opened_for_such_records_so_that_not_even_their_count_is_charged(
    tmp_path, monkeypatch
):
    def pieces(folder, count, records):
        return [save(path, nan) for path in write_digits(folder, count, records)]

    monkeypatch.setattr("fakes_federation.write_digits", pieces)
    federation = Federation(tmp_path, policy=POLICY.model_copy(update={"n_ref": None}))
    federation.close()
    assert len(federation.unready) == 4
    assert not list(tmp_path.glob("agent-*/ledger/*/ledger.jsonl"))


def test_the_page_says_whether_the_last_start_was_ready(bench, tmp_path):
    path = save(tmp_path / "data.npz", lambda path: unscaled(path) / 255)
    device = Joining(bench, tmp_path, path)
    assert device.run().exit_code == 0
    assert "40 of 40" in page(own_state(device.home, "data"), "en")
    save(path, nan)
    assert isinstance(device.run().exception, DataError)
    for language, word in (("en", "NOT READY"), ("zh", "未就绪")):
        shown = page(own_state(device.home, "data"), language)
        assert word in shown
        assert "0 of 40 records are usable" in shown
    kept = json.loads((device.home / "data.json").read_text())
    assert kept["usable"] == 0
