"""`coordinator simulate`: the plan that ships, masked and not, stopped and gone on with, on Ray and without."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from edgeveil.coordinator.cli.app import app
from edgeveil.coordinator.simulation import summing
from edgeveil.coordinator.simulation.ray_workers import RAY
from edgeveil.coordinator.store.store import Store

BASIC = Path(__file__).resolve().parents[2] / "deploy/samples/plan-basic.toml"
ACTOR = "ray::ClientAppActor"


def simulate(home, *options, code=0, agents=5):
    words = ["simulate", str(BASIC), "--agents", str(agents), "--home", str(home), "--json"]
    found = CliRunner().invoke(app, [*words, *options], catch_exceptions=True)
    if code:
        assert found.exit_code
        return found.exception
    assert found.exit_code == 0, found.exception
    return json.loads(found.stdout)


@pytest.fixture(scope="module")
def masked(tmp_path_factory):
    home = tmp_path_factory.mktemp("masked") / "home"
    return home, simulate(home, "--ray", "off", "--rounds", "2")


def test_the_plan_that_ships_learns_the_digits_that_come_along(masked):
    _, report = masked
    assert report["simulated"] is True
    assert report["run"].startswith("sim-")
    assert report["rounds_committed"] == 2
    assert report["metrics"]["accuracy"] > 0.8
    facts = report["simulation"]
    assert 0 < facts["epsilon"] <= 8
    assert facts["epsilon_sum"] == facts["epsilon"]
    assert facts["memory"] > 1 << 20
    assert facts["forecast"]["bytes_up"] > 5890


def test_each_device_has_a_ledger_that_its_owners_command_reads(masked):
    from edgeveil.agent.ledger.budget import read_budget

    home, report = masked
    spent = {read_budget(path).epsilon_spent for path in (home / "agents").iterdir()}
    assert len(list((home / "agents").iterdir())) == 5
    assert max(spent) == pytest.approx(report["simulation"]["epsilon"])


def test_every_look_says_that_it_was_simulated(masked, tmp_path):
    home, report = masked
    for words in (["rounds"], ["report"], ["show", report["run"], "1"]):
        shown = CliRunner().invoke(app, [*words, "--home", str(home)]).stdout
        assert "(simulated)" in " ".join(shown.split()), words
    for language, word in (("en", "made-up devices"), ("zh", "虚拟设备")):
        page = tmp_path / f"{language}.html"
        CliRunner().invoke(app, ["report", "--home", str(home), "--html", str(page), "--lang", language])  # fmt: skip
        assert word in page.read_text()


def test_the_same_command_shows_the_report_again_and_trains_nothing(masked):
    home, report = masked
    again = simulate(home, "--ray", "off", "--rounds", "2")
    assert again["run"] == report["run"]
    assert again["rounds"] == report["rounds"]


def test_a_sum_without_masks_is_that_of_the_lanes_bit_for_bit(tmp_path, monkeypatch):
    from edgeveil.agent.rounds import work

    lanes, sums = [], []
    vector, result = work.vector_lanes, summing.CollectVectors._result
    monkeypatch.setattr(
        work, "vector_lanes", lambda *given: lanes.append(vector(*given)) or lanes[-1]
    )
    monkeypatch.setattr(
        summing.CollectVectors, "_result", lambda self: sums.append(result(self)) or sums[-1]
    )
    report = simulate(tmp_path / "home", "--ray", "off", "--rounds", "1", "--secagg", "sum")
    assert report["rounds_committed"] == 1
    assert len(lanes) == len(sums[0].u3) == 5
    assert np.array_equal(sums[0].lanes, np.sum(lanes, axis=0))


def test_devices_drop_out_and_the_rounds_stand(tmp_path):
    report = simulate(tmp_path / "home", "--ray", "off", "--rounds", "3", "--dropout", "0.15", agents=12)  # fmt: skip
    assert report["rounds_committed"] == 3
    assert {why for row in report["rounds"] for why in row["dropped_reasons"].values()} == {"lost"}


def test_devices_of_which_some_lack_classes_take_part(tmp_path):
    report = simulate(tmp_path / "home", "--ray", "off", "--rounds", "1", "--partition", "dirichlet:0.1")  # fmt: skip
    assert len(report["rounds"][0]["survived"]) == 5


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--partition", "group"), "the records name no groups"),
        (("--agents", "2"), "at least 3 in a round"),
        (("--agents", "9000"), "too few for 9000 devices"),
        (("--data", "/nowhere"), "there is no such folder"),
    ],
)
def test_what_cannot_be_simulated_is_one_sentence(tmp_path, options, said):
    error = simulate(tmp_path / "home", "--ray", "off", *options, code=1)
    assert said in str(error)
    assert "\n" not in str(error)


def test_a_cluster_that_does_not_answer_is_one_sentence(tmp_path):
    pytest.importorskip("ray")
    error = simulate(tmp_path / "home", "--ray", "127.0.0.1:9", code=1)
    assert "nothing answers there" in str(error)


def test_another_ray_is_named_with_the_one_that_is_wanted(tmp_path, monkeypatch):
    from edgeveil.coordinator.simulation import ray_workers

    monkeypatch.setattr(ray_workers.importlib.util, "find_spec", lambda _: None)
    assert "edgeveil[simulate]" in str(simulate(tmp_path / "home", code=1))
    monkeypatch.setattr(ray_workers.importlib.util, "find_spec", lambda _: object())
    monkeypatch.setattr(ray_workers, "version", lambda _: "2.0.0")
    assert f"takes {RAY}" in str(simulate(tmp_path / "home", code=1))
    assert not (tmp_path / "home").exists()


def processes(parent):
    """Ids of everything that a simulation has started, by what their command lines say."""
    found = {}
    for path in Path("/proc").glob("[0-9]*"):
        try:
            fields = (path / "stat").read_text().rpartition(")")[2].split()
            found[int(path.name)] = int(fields[1]), (path / "cmdline").read_bytes().decode()
        except (OSError, IndexError):
            continue
    wanted, todo = {}, [parent]
    while todo:
        here = todo.pop()
        for pid, (above, line) in found.items():
            if above == here and pid not in wanted:
                wanted[pid] = line
                todo.append(pid)
    return wanted


def wait_for(reached, seconds=90.0):
    until = time.monotonic() + seconds
    while not (found := reached()):
        assert time.monotonic() < until
        time.sleep(0.1)
    return found


def committed(home):
    with Store.open(home, read_only=True) as store:
        return sum(row.outcome == "committed" for run in store.runs() for row in store.rounds(run.run_id))  # fmt: skip


def test_on_ray_a_killed_worker_costs_an_attempt_and_a_stop_leaves_none(tmp_path):
    pytest.importorskip("ray")
    home = tmp_path / "home"
    words = [sys.executable, "-c", "from edgeveil.coordinator.cli.app import main; main()", "simulate", str(BASIC),
             "--agents", "6", "--rounds", "30", "--home", str(home)]  # fmt: skip
    running = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    try:
        wait_for(lambda: (home / "devices.json").exists() and committed(home))
        family = processes(running.pid)
        workers = [pid for pid, line in family.items() if line.startswith(ACTOR)]
        assert workers, family
        os.kill(workers[0], signal.SIGKILL)
        before = committed(home)
        wait_for(lambda: committed(home) > before + 1)
        family = processes(running.pid)
        running.send_signal(signal.SIGINT)
        said = running.communicate(timeout=60)[1]
    finally:
        running.kill()
        running.wait()
    assert running.returncode == 75
    assert "the same command goes on from there" in said
    wait_for(lambda: not [pid for pid in family if Path(f"/proc/{pid}").exists()], 15.0)
    done = committed(home)
    report = simulate(home, "--ray", "off", "--rounds", "30", "-q", agents=6)
    assert report["rounds_committed"] == 30 > done


@pytest.fixture
def sensors(tmp_path):
    """A plan of columns, and the folder that it was made of."""
    folder = tmp_path / "sensors"
    folder.mkdir()
    rows = "".join(f"{at / 100},{at % 7},{'ab'[at % 2]}\n" for at in range(400))
    (folder / "rows.csv").write_text("heat,load,state\n" + rows)
    feature = 'role = "feature"\nrange = [0, 10]\n'
    (folder / "schema.toml").write_text(
        f'[[columns]]\nname = "heat"\n{feature}[[columns]]\nname = "load"\n{feature}'
        '[[columns]]\nname = "state"\nrole = "label"\nlabels = ["a", "b"]\n'
    )
    words = [
        "plan",
        "new",
        "--data",
        str(folder),
        "--agents",
        "3",
        "-o",
        str(tmp_path / "columns.toml"),
    ]
    made = CliRunner().invoke(app, words)
    assert made.exit_code == 0, made.exception
    return folder, tmp_path / "columns.toml"


def refusal(home, *words):
    found = CliRunner().invoke(app, ["simulate", *map(str, words), "--agents", "3", "--home", str(home), "--ray", "off"])  # fmt: skip
    assert found.exit_code
    assert not home.exists()
    return str(found.exception)


def test_records_of_another_kind_are_refused_before_there_is_a_folder(sensors, tmp_path):
    folder, plan = sensors
    assert "the digits that come along are pictures; name --data" in refusal(tmp_path / "h", plan)
    assert "holds table, and feature-head takes images" in refusal(tmp_path / "h", BASIC, "--data", folder)  # fmt: skip


def test_what_a_plan_is_judged_by_is_not_what_it_is_trained_on(sensors, tmp_path):
    folder, plan = sensors
    plan.write_text(
        plan.read_text().replace("[evaluation]\n", f'[evaluation]\ndata = "{folder}"\n')
    )
    assert "judged by what it was trained on" in refusal(tmp_path / "h", plan, "--data", folder)
