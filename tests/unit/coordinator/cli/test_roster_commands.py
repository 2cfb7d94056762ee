"""`coordinator roster` with an epoch of one's own, as after a restored backup, by its command line."""

import time

import pytest
from store_bench import add_agent
from typer.testing import CliRunner

from edgeveil.agent.home.home import AgentHome
from edgeveil.coordinator.cli import app as coordinator_cli
from edgeveil.coordinator.cli.setup import initialise
from edgeveil.coordinator.federation.roster_files import RosterFile
from edgeveil.coordinator.records.records import EnrolledAgent
from edgeveil.coordinator.store.store import Store
from edgeveil.shared.wire.roster import agent_id


@pytest.fixture
def home(tmp_path):
    made = tmp_path / "coordinator"
    initialise(
        made, tmp_path / "federation", url="https://127.0.0.1:1", listen="127.0.0.1:0", hosts=(),
        passphrase=None,
    )  # fmt: skip
    device = AgentHome(tmp_path / "agent")
    device.ensure_keys()
    public = device.identity().public
    with Store.open(made) as store:
        add_agent(
            store,
            EnrolledAgent(agent_id(public), "cam-1", public, device.node_public_pem(), time.time()),
        )
    return made


def roster(home, *arguments):
    return CliRunner().invoke(
        coordinator_cli.app, ["roster", *map(str, arguments), "--home", str(home)]
    )


def epoch(home):
    with Store.open(home, read_only=True) as store:
        return store.roster().roster.epoch


def test_a_roster_is_signed_above_the_one_agents_hold(home):
    assert roster(home, "sign", "--yes", "--epoch", 7).exit_code == 0
    assert epoch(home) == 7
    assert roster(home, "sign", "--yes").exit_code == 0
    assert epoch(home) == 8


@pytest.mark.parametrize("number", [8, 1, 0])
def test_an_epoch_that_is_not_above_the_present_one_is_refused(home, number):
    roster(home, "sign", "--yes", "--epoch", 8)
    found = roster(home, "sign", "--yes", "--epoch", number)
    assert found.exit_code != 0
    assert epoch(home) == 8


def test_a_file_takes_its_epoch_from_the_export(home, tmp_path):
    file = tmp_path / "roster.json"
    assert roster(home, "export", "--epoch", 5, "--output", file).exit_code == 0
    assert RosterFile.decode(file.read_bytes()).roster.epoch == 5
    assert roster(home, "sign", file, "--yes", "--epoch", 6).exit_code == 2
    signed = roster(home, "sign", file, "--yes", "--federation", home.parent / "federation")
    assert signed.exit_code == 0, signed.output
    assert roster(home, "import", file).exit_code == 0
    assert epoch(home) == 5
