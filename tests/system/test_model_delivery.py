"""Real processes: published while a coordinator serves or is dead, fetched by hand and by a service that follows."""

import json
import re
import signal
import urllib.request

import pytest
from delivery_bench import CNN, newer
from models_bench import KEY
from processes_bench import Machine, run, wait_until

from edgeveil.shared.models.package import read_package

pytestmark = pytest.mark.system


@pytest.fixture(scope="module")
def machine(tmp_path_factory):
    """A coordinator that signs as the vectors are signed, and one device that is a member and trains nothing."""
    made = Machine(tmp_path_factory.mktemp("delivery"), agents=1)
    (made.home / "identity.key").write_bytes(KEY)
    try:
        made.serve()
        token = run("coordinator", "invite", "agent-1", home=made.home).stdout.strip()
        made.device = made.agent_home("agent-1")
        join = ("agent", "join", token, "--data", made.pieces[0])
        run(*join, home=made.device)
        run("coordinator", "roster", "sign", "--yes", home=made.home)
        run(*join, home=made.device)
        yield made
    finally:
        made.close()


def publish(machine, path):
    return json.loads(
        run("coordinator", "model", "publish", path, "--json", home=machine.home).stdout
    )


def get(machine):
    return json.loads(run("agent", "model", "get", "--json", home=machine.device).stdout)["fetched"]


def test_a_model_outlives_its_coordinator_and_one_published_meanwhile_is_offered(machine, tmp_path):
    first = publish(machine, CNN)
    assert first["live"] is True
    machine.stop("coordinator", signal.SIGKILL)
    second = publish(machine, newer(tmp_path / "b.evm", 2))
    assert second["live"] is False
    assert run("agent", "model", "get", home=machine.device, check=False).returncode == 69
    machine.serve()
    assert get(machine) == second["model"]
    run("coordinator", "model", "withdraw", second["serial"], home=machine.home)
    assert get(machine) is None
    (row,) = json.loads(
        run("coordinator", "model", "published", "--json", home=machine.home).stdout
    )
    assert (row["serial"], row["model"]) == (first["serial"], read_package(CNN).digest)
    assert row["fetched"] == []


def test_a_service_that_follows_serves_what_is_published(machine, tmp_path):
    publish(machine, newer(tmp_path / "c.evm", 3))
    get(machine)
    run(
        "agent",
        "policy",
        "set",
        "model.fetch=true",
        "tell_model=true",
        "--yes",
        home=machine.device,
    )
    machine.spawn("agent-1", "agent", "serve", "--listen", "127.0.0.1:0")
    wait_until(lambda: "http://" in machine.log("agent-1"), 120, lambda: machine.log("agent-1"))
    base = re.search(r"http://[0-9.:]+", machine.log("agent-1"))[0]
    token = (machine.device / "serve.token").read_text().strip()

    def served():
        asked = urllib.request.Request(f"{base}/v1/model", headers={"Authorization": f"Bearer {token}"})  # fmt: skip
        with urllib.request.urlopen(asked, timeout=20) as answer:
            return json.load(answer)["model"]

    found = publish(machine, newer(tmp_path / "d.evm", 4))["model"]
    wait_until(lambda: served() == found, 60, lambda: machine.log("agent-1"))

    def told():
        rows = json.loads(run("coordinator", "model", "published", "--json", home=machine.home).stdout)  # fmt: skip
        return rows[-1]["in_use"]

    wait_until(lambda: told() == ["agent-1"], 60, told)
    assert machine.stop("agent-1") == 0
