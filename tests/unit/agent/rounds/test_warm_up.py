"""What takes seconds to load is loaded before somebody asks: while the roster is awaited, and once connected."""

import subprocess
import sys
import threading
from types import SimpleNamespace

import pytest

from edgeveil.agent.rounds import session
from edgeveil.agent.rounds.warm_up import WarmSession
from edgeveil.shared.base.errors import ConfigError, PolicyRefusal, RefusalCode


@pytest.fixture
def warmed(monkeypatch):
    """Make a session of a device with such a trainer and rule, and wait until it is warm."""
    monkeypatch.setattr(session, "Session", lambda device: SimpleNamespace(handle=lambda asked: asked, close=lambda: None))  # fmt: skip

    def make(trainer, may_train=lambda: None):
        found = WarmSession(
            SimpleNamespace(trainer=trainer, may_train=may_train), threading.Event()
        )
        found.begin()
        assert found.handle("asked") == "asked"
        found.close()
        return found

    return make


def test_the_trainer_is_there_before_the_first_question(warmed):
    loaded = []
    warmed(lambda: loaded.append("trainer"))
    assert loaded == ["trainer"]


def test_where_the_owner_lets_nothing_train_now_none_is_loaded(warmed):
    loaded = []

    def may_train():
        raise PolicyRefusal(RefusalCode.POLICY_WHEN, "on battery")

    warmed(lambda: loaded.append("trainer"), may_train)
    assert loaded == []


@pytest.mark.parametrize(
    "error", [ImportError("no torch"), ConfigError("no such device"), OSError("torn")]
)
def test_a_trainer_that_cannot_be_loaded_is_told_when_it_is_needed_and_not_before(warmed, error):
    def trainer():
        raise error

    assert warmed(trainer).failure is None


def test_a_device_that_awaits_the_roster_loads_what_it_will_train_and_connect_with():
    look = "from edgeveil.agent.rounds import run; run._warm_up(); import sys; print({'torch', 'flwr'} <= set(sys.modules))"
    found = subprocess.run([sys.executable, "-c", look], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "True"
