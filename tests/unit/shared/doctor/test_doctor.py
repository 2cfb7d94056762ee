"""The doctors: what they see, what they say about it, and that looking changes nothing."""

import hashlib
import json
import os
import socket
import time

import pytest
from enrollment_bench import Device, TurnableClock, running_coordinator
from store_bench import add_agent

from edgeveil.agent.cli import doctor as agent_doctor
from edgeveil.agent.home.config import save, settle
from edgeveil.agent.home.home import AgentHome
from edgeveil.agent.joining.enrollment import join
from edgeveil.coordinator.cli import doctor as coordinator_doctor
from edgeveil.coordinator.cli.setup import initialise
from edgeveil.coordinator.federation.certificates import ensure_leaf
from edgeveil.coordinator.federation.tls import tls_folder
from edgeveil.coordinator.store.store import Store
from edgeveil.shared.base.errors import StateDamaged
from edgeveil.shared.doctor import checks as doctor
from edgeveil.shared.doctor.checks import Level, examine, green, red, worst, yellow
from edgeveil.shared.doctor.network import clock


def port_of(listener):
    return listener.getsockname()[1]


@pytest.fixture
def home(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = port_of(listener)
    initialise(
        tmp_path / "c", tmp_path / "federation", url=f"https://127.0.0.1:{port}",
        listen=f"127.0.0.1:{port}", hosts=(), passphrase=None,
    )  # fmt: skip
    return tmp_path / "c"


def found(findings, check):
    return [item for item in findings if item.check == check]


def level(findings, check):
    return worst(found(findings, check))


def tree(folder):
    return {
        path: (hashlib.sha256(path.read_bytes()).digest(), path.stat().st_mode)
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not path.name.startswith("state.db-")
    }


# What any machine is asked


def test_the_worst_finding_decides():
    assert worst([green("a", ""), yellow("b", "", "fix"), green("c", "")]) is Level.YELLOW
    assert worst([green("a", ""), red("b", "", "fix"), yellow("c", "", "fix")]) is Level.RED


def test_a_check_that_fails_is_a_red_finding_and_the_next_one_still_runs():
    def damaged():
        raise StateDamaged("x.key: open to others")

    def missing():
        raise FileNotFoundError(2, "No such file", "y.key")

    def uninstalled():
        import no_such_module_here  # noqa: F401

    checks = [
        ("a", "mend a", damaged),
        ("b", "mend b", missing),
        ("c", "", uninstalled),
        ("d", "", lambda: [green("d", "")]),
    ]
    findings = examine(checks)
    assert [item.level for item in findings] == [Level.RED] * 3 + [Level.GREEN]
    assert "no_such_module_here is not installed" in findings[2].text
    assert findings[0].fix == "mend a"
    assert "y.key" in findings[1].text


@pytest.mark.parametrize(
    ("ahead", "wanted"),
    [(0, Level.GREEN), (3, Level.YELLOW), (6, Level.RED), (-200, Level.YELLOW), (-301, Level.RED)],
)
def test_a_clock_is_judged_by_what_the_gateway_accepts(ahead, wanted):
    assert clock(ahead, 0.01).level is wanted


@pytest.mark.parametrize(
    ("days", "wanted"), [(30, Level.GREEN), (5, Level.YELLOW), (-1, Level.RED)]
)
def test_what_ends_soon_is_said_before_it_ends(days, wanted):
    until = time.time() + days * 86_400 + 60
    assert doctor.expiry("tls", "it", until, "renew").level is wanted


@pytest.mark.parametrize("needed", [1 << 20, 1 << 50])
def test_memory_and_disk_are_held_against_what_is_needed(tmp_path, needed):
    wanted = Level.GREEN if needed < 1 << 30 else Level.RED
    assert doctor.memory(needed, "it").level is wanted
    assert doctor.disk(tmp_path / "not" / "yet", needed).level is wanted


def test_a_missing_part_of_the_installation_is_named():
    (finding,) = doctor.installation(("no_such_module_here",), "serve")
    assert (finding.level, finding.fix) == (Level.RED, 'pip install "edgeveil[serve]"')


def test_findings_are_json():
    shown = doctor.as_json([yellow("tls", "soon", "renew")])
    assert json.loads(json.dumps(shown)) == {
        "level": "yellow",
        "findings": [{"check": "tls", "level": "yellow", "text": "soon", "fix": "renew"}],
    }


# The coordinator


def test_a_fresh_coordinator_has_nothing_red_and_is_left_as_it_was(home):
    before = tree(home)
    findings = coordinator_doctor.diagnose(home, None)
    assert worst(findings) is Level.YELLOW
    assert "on the coordinator's machine" in found(findings, "federation")[0].text
    assert found(findings, "roster")[0].fix == "coordinator invite NAME…"
    assert tree(home) == before
    (home.parent / "federation" / "federation.key").unlink()
    assert level(coordinator_doctor.diagnose(home, None), "federation") is Level.GREEN


def test_no_coordinator_says_how_to_begin(tmp_path):
    findings = coordinator_doctor.diagnose(tmp_path / "nothing", None)
    assert findings[-1].check == "configuration"
    assert "coordinator init" in findings[-1].fix
    assert not (tmp_path / "nothing").exists()


def test_a_key_open_to_others_is_red_with_the_command_that_closes_it(home):
    (home / "identity.key").chmod(0o644)
    findings = coordinator_doctor.diagnose(home, None)
    assert "chmod" in found(findings, "permissions")[0].fix
    assert level(findings, "keys") is Level.RED


def test_a_port_in_use_is_red(home):
    from edgeveil.coordinator.plan.config import load_config

    with socket.create_server(load_config(home).address):
        assert level(coordinator_doctor.diagnose(home, None), "port") is Level.RED
    assert level(coordinator_doctor.diagnose(home, None), "port") is Level.GREEN


@pytest.mark.parametrize(("age_days", "says"), [(100, "expired"), (-1, "not valid yet")])
def test_a_certificate_that_agents_would_refuse_is_red(home, age_days, says):
    for name in ("server.pem", "server.key"):
        (tls_folder(home) / name).unlink()
    ensure_leaf(tls_folder(home), ["127.0.0.1"], clock=TurnableClock(time.time() - age_days * 86_400))  # fmt: skip
    (finding,) = found(coordinator_doctor.diagnose(home, None), "tls")
    assert finding.level is Level.RED
    assert says in finding.text


PLAN = """[task]
id = "feature-head"
options = { variant = "fixed" }
[training]
steps = 2
clip_norm = 0.3
learning_rate = 1.0
epsilon = 8.0
[rounds]
count = 5
"""


def test_a_plan_is_held_against_the_machine_with_its_task_and_its_data(home, tmp_path):
    plan = tmp_path / "plan.toml"
    plan.write_text(PLAN)
    findings = coordinator_doctor.diagnose(home, plan)
    assert "5 rounds of feature-head 1.2.0" in found(findings, "plan")[0].text
    assert "5,890 parameters" in found(findings, "memory")[0].text
    (tmp_path / "test").mkdir()
    for wrong in ('[evaluation]\ndata = "test"\n', "[nonsense]\n"):
        plan.write_text(PLAN + wrong)
        assert level(coordinator_doctor.diagnose(home, plan), "plan") is Level.RED
    plan.write_text(PLAN.replace("feature-head", "no-such-task"))
    assert level(coordinator_doctor.diagnose(home, plan), "plan") is Level.RED


def test_who_waits_for_the_operator_is_named(home):
    from dataclasses import replace

    with Store.open(home) as store:
        add_agent(store, replace(Device().enrolled("cam-1"), held=True))
        add_agent(store, Device().enrolled("cam-2"))
    shown = found(coordinator_doctor.diagnose(home, None), "roster")
    assert "coordinator agents approve cam-1" in [item.fix for item in shown]
    assert any("no roster is signed yet" in item.text for item in shown)


def test_a_clock_that_went_back_is_noticed(home):
    os.utime(home / "identity.key", (time.time() + 3600, time.time() + 3600))
    assert level(coordinator_doctor.diagnose(home, None), "clock") is Level.RED


def test_a_damaged_database_is_red_and_the_rest_is_still_looked_at(home):
    (home / "state.db").write_bytes(b"nonsense" * 1000)
    findings = coordinator_doctor.diagnose(home, None)
    assert level(findings, "database") is Level.RED
    assert level(findings, "tls") is Level.GREEN


# The agent


@pytest.fixture
def bench(tmp_path):
    with running_coordinator(tmp_path / "coordinator") as running:
        yield running


@pytest.fixture
def data(tmp_path):
    from fakes_federation import write_digits

    (tmp_path / "digits").mkdir()
    return write_digits(tmp_path / "digits", 1, 60)[0]


def test_a_device_is_told_before_it_joins_and_nothing_is_made(bench, data, tmp_path):
    (token,) = bench.invite("cam-1")
    home = tmp_path / "device"
    findings = agent_doctor.diagnose(home, token=token, data=data, dataset=None)
    assert level(findings, "token") is Level.GREEN
    assert "60 records" in found(findings, "data")[0].text
    assert not home.exists()
    assert [invite.state for invite in bench.store.invites()] == ["open"]


def test_an_expired_token_and_missing_data_are_red(bench, tmp_path):
    (token,) = bench.invite("cam-1", ttl_s=0.01)
    findings = agent_doctor.diagnose(tmp_path / "d", token=token, data=tmp_path / "no", dataset=None)  # fmt: skip
    assert level(findings, "token") is Level.RED
    assert level(findings, "data") is Level.RED


def test_a_joined_device_is_looked_at_without_changing_it(bench, data, tmp_path):
    (token,) = bench.invite("cam-1")
    home = AgentHome(tmp_path / "device")
    join(home, token)
    save(home.path, settle(home.path, data, None))
    before = tree(home.path)
    findings = agent_doctor.diagnose(home.path, token=None, data=None, dataset=None)
    assert level(findings, "keys") is Level.GREEN
    assert level(findings, "roster") is Level.YELLOW
    bench.sign_and_import()
    assert tree(home.path) == before


def test_an_unreachable_coordinator_is_red_with_the_step_that_failed(bench, data, tmp_path):
    home = AgentHome(tmp_path / "device")
    join(home, bench.invite("cam-1")[0])
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = port_of(listener)
    moved = home.pinned().model_copy(update={"url": f"https://127.0.0.1:{port}"})
    home.save_pinned(moved)
    findings = agent_doctor.diagnose(home.path, token=None, data=data, dataset=None)
    assert level(findings, "port") is Level.RED
    home.save_pinned(moved.model_copy(update={"url": "https://no-such-host.invalid:1"}))
    findings = agent_doctor.diagnose(home.path, token=None, data=data, dataset=None)
    assert level(findings, "dns") is Level.RED


def test_one_open_file_does_not_keep_the_rest_from_being_looked_at(bench, data, tmp_path):
    home = AgentHome(tmp_path / "device")
    join(home, bench.invite("cam-1")[0])
    (home.path / "notes.txt").touch(mode=0o644)
    findings = agent_doctor.diagnose(home.path, token=None, data=data, dataset=None)
    assert level(findings, "permissions") is Level.RED
    assert level(findings, "keys") is Level.GREEN


def test_a_home_open_to_others_is_red_and_not_closed_behind_the_owners_back(tmp_path):
    home = tmp_path / "device"
    home.mkdir(mode=0o755)
    (home / "identity.key").touch(mode=0o644)
    findings = agent_doctor.diagnose(home, token=None, data=None, dataset=None)
    assert level(findings, "permissions") is Level.RED
    assert home.stat().st_mode & 0o777 == 0o755
