"""A device that has joined and trained, for the tests of reports, verification and policy commands."""

import os
from dataclasses import dataclass
from pathlib import Path

import privacy_bench as bench

from agent.policy import Policy
from agent.state import AgentHome, Pinned
from shared.roster import agent_id


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
                self.device.spend(store, bench.proposal(number, run=run, **plan))

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
