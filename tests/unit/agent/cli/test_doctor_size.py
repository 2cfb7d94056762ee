"""What `agent doctor` says of a device's declared size; the true count stays in its own answer."""

import numpy as np
import pytest

from edgeveil.agent.cli.doctor import _size
from edgeveil.agent.home.home import AgentHome, Pinned
from edgeveil.agent.home.policy import Policy
from edgeveil.shared.doctor.checks import Level
from edgeveil.shared.wire.roster import agent_id


@pytest.fixture
def device(tmp_path):
    home = AgentHome(tmp_path / "device")
    home.ensure_keys()
    home.save_pinned(
        Pinned(
            url="https://127.0.0.1:1",
            ca_pem=b"not used here",
            coordinator_public=bytes(32),
            federation_public=bytes(32),
            name="cam-1",
            agent_id=agent_id(home.identity().public),
            token_id=bytes(16),
            state="member",
        )
    )
    data = tmp_path / "data.npz"
    np.savez(data, X=np.zeros((40, 8, 8), np.uint8), y=np.zeros(40, np.int64))

    def look(n_ref):
        home.policy_path.write_text(Policy(n_ref=n_ref).to_toml(), encoding="utf-8")
        return _size(home.path, data, None)

    return look


def test_a_declared_size_is_explained_with_weight_noise_and_delta(device):
    found = device(100)
    assert found.level is Level.GREEN
    for said in ("counts as 100 records", "weight in the mean", "noise", "below 0.01"):
        assert said in found.text
    assert "40" not in found.text


@pytest.mark.parametrize(("n_ref", "steps"), [(3, "too long"), (1000, "too short")])
def test_a_size_far_from_the_records_is_worth_a_word(device, n_ref, steps):
    found = device(n_ref)
    assert found.level is Level.YELLOW
    assert steps in found.text


def test_without_a_figure_it_says_that_a_noisy_count_will_be_charged(device):
    found = device(None)
    assert found.level is Level.GREEN
    assert "noisy count" in found.text
