"""A device that has joined and trained, for the tests of reports, verification and policy commands."""

import json
import os
from dataclasses import dataclass
from pathlib import Path

import privacy_bench as bench
from typer.testing import CliRunner

from edgeveil.agent.cli.app import app
from edgeveil.agent.home.home import AgentHome, Pinned
from edgeveil.agent.home.policy import Policy
from edgeveil.shared.wire.roster import agent_id


@dataclass
class JoinedDevice:
    home: AgentHome
    device: bench.Device

    @property
    def path(self) -> Path:
        return self.home.path

    @property
    def ledger(self) -> Path:
        return self.device.ledger

    def train(self, rounds, *, run="run-1", **changes):
        """Whole rounds on the ledger, charged and delivered."""
        with self.device.open() as store:
            first = store.state.rounds_charged + 1
            for number in range(first, first + rounds):
                plan = {"rounds": number, "noise_multiplier": 60.0, "steps": 4, **changes}
                self.device.spend(store, bench.question(number, run=run, **plan))

    def set_policy(self, policy):
        self.device.policy = policy
        self.home.policy_path.write_text(policy.to_toml())


def joined_device(folder, policy=None):
    home = AgentHome(folder / "home")
    home.ensure_keys()
    identity = home.identity()
    home.save_pinned(
        Pinned(
            url="https://127.0.0.1:1",
            ca_pem=b"not used here",
            coordinator_public=bench.COORDINATOR,
            federation_public=os.urandom(32),
            name="cam-1",
            agent_id=agent_id(identity.public),
            token_id=bytes(16),
            state="member",
        )
    )
    device = bench.Device(home.ledger_folder / "data", identity=identity)
    made = JoinedDevice(home, device)
    made.set_policy(policy or Policy())
    return made


def trained_device(tmp_path):
    """Five rounds, and a policy that was changed after two."""
    made = joined_device(tmp_path)
    made.train(2)
    made.set_policy(Policy(epsilon_max=7.0))
    made.train(3, noise_multiplier=80.0)
    return made


def run(device, *arguments):
    return CliRunner().invoke(app, [*arguments, "--home", str(device.path)])


def report(device, tmp_path):
    """(the JSON report, its file, the page's file)."""
    page = tmp_path / "report.html"
    result = run(device, "budget", "--json", "--no-prv", "--html", str(page))
    assert result.exit_code == 0, result.output
    path = tmp_path / "report.json"
    path.write_text(result.stdout)
    return json.loads(result.stdout), path, page
