"""A service on a Unix socket: for its owner alone, and gone at its end."""

import os
import socket
import stat

import pytest
from models_bench import VECTORS, pictures
from service_bench import Served, png

from edgeveil.agent.inference.serving import listening
from edgeveil.shared.base.errors import Busy, ConfigError, StateDamaged

CNN = VECTORS / "cnn.evm"


@pytest.fixture
def path(tmp_path):
    return listening.address(f"unix:{tmp_path}/own/serve.sock")


def test_its_owner_needs_no_token_and_it_is_gone_at_the_end(path):
    made = Served(CNN, path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert made.ask("POST", "/v1/predict", png(pictures(1, 8, 8)[0]), Authorization=None)[0] == 200
    made.close()
    assert not path.exists()


def test_another_user_gets_nothing(path, monkeypatch):
    made = Served(CNN, path)
    monkeypatch.setattr(os, "geteuid", lambda: 4_000_000)
    monkeypatch.setattr(listening, "ROOT", 4_000_001)
    assert made.raw(b"GET /v1/health HTTP/1.1\r\n\r\n") == b""
    monkeypatch.undo()
    assert made.metrics()['edgeveil_serving_connections_refused_total{reason="user"}'] == "1"
    made.close()


def test_a_socket_on_which_nobody_answers_is_replaced_and_one_that_answers_is_not(path):
    first = Served(CNN, path)
    with pytest.raises(Busy, match="stop it first"):
        Served(CNN, path)
    assert first.ask("GET", "/v1/health")[0] == 200
    first.close()
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as killed:
        killed.bind(str(path))
    second = Served(CNN, path)
    assert second.ask("GET", "/v1/health")[0] == 200
    second.close()


def test_what_is_no_socket_stays_and_a_folder_of_others_is_refused(path):
    path.parent.mkdir(mode=0o700)
    path.write_text("mine")
    with pytest.raises(ConfigError, match="no socket"):
        Served(CNN, path)
    assert path.read_text() == "mine"
    path.parent.chmod(0o755)
    with pytest.raises(StateDamaged, match="chmod 700"):
        Served(CNN, path)


def test_a_deep_folder_is_no_obstacle_and_the_socket_of_a_successor_is_left(tmp_path):
    path = tmp_path / ("deep" * 30) / "serve.sock"
    made = Served(CNN, path)
    path.unlink()
    path.write_text("of another")
    made.close()
    assert path.read_text() == "of another"


@pytest.mark.parametrize("text", ["unix:", "unix:/", "unix:/tmp/..", "nowhere", "192.0.2.1:80"])
def test_an_address_that_is_none_is_refused(text):
    with pytest.raises(ConfigError, match="--listen"):
        listening.address(text)
