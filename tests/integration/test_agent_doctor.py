"""`agent doctor` asks the coordinator about its own device: revoked, copied, other tasks, too large a plan."""

import httpx
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from fleet_raw_bench import RawAgent, code
from transport_bench import Bench, BenchAgent

from edgeveil.agent.cli.doctor_standing import standing
from edgeveil.agent.flower_link.fleet_client import public_pem
from edgeveil.agent.home.home import AgentHome, Pinned
from edgeveil.agent.joining.whoami import ask
from edgeveil.coordinator.machine.transport import Member
from edgeveil.shared.doctor import checks as doctor
from edgeveil.shared.doctor.checks import Level
from edgeveil.shared.tasks.backbone import asset
from edgeveil.shared.tasks.registry import installed_tasks
from edgeveil.shared.wire.certificates import pinned_context
from edgeveil.shared.wire.identity import Identity
from edgeveil.shared.wire.roster import agent_id
from edgeveil.shared.wire.standing import PATH, Standing


@pytest.fixture(scope="module")
def bench():
    running = Bench(0)
    running.start(links=False)
    yield running
    running.stop()


@pytest.fixture
def home(bench, tmp_path):
    """A device that is on the roster and whose agent does not run."""
    made = AgentHome(tmp_path / "device")
    made.ensure_keys()
    made.next_session()
    made.save_pinned(
        Pinned(
            url=bench.url,
            ca_pem=bench.certificate,
            coordinator_public=bench.coordinator.public,
            federation_public=bytes(32),
            name="cam-1",
            agent_id=agent_id(made.identity().public),
            token_id=bytes(16),
            state="member",
        )
    )
    bench.runtime.set_members([member(made)])
    tell(bench)
    return made


def member(home, **changes):
    identity = home.identity().public
    values = {"agent_id": agent_id(identity), "name": "cam-1", "identity_public": identity}
    return Member(**(values | {"node_public": home.node_public_pem()} | changes))


def tell(bench, **changes):
    about = {"epoch": 1, "tasks": [task.model_dump() for task in installed_tasks()], "plan": None}
    bench.gateway._routes._about = lambda: about | changes


def findings(home):
    return list(standing(home, home.pinned()))


def test_a_known_device_is_told_its_name_and_nothing_changes(bench, home):
    (found,) = findings(home)
    assert (found.level, found.text) == (Level.GREEN, "the coordinator knows this device as cam-1")
    assert home.last_session() == 1
    assert bench.gateway._nodes.find(home.node_public_pem()).session is None


def test_asking_beside_a_running_agent_neither_fences_it_nor_raises_an_alarm(bench, home):
    agent = running(home, session=1)
    raw = RawAgent(bench, agent)
    assert raw.activate().status_code == 200
    assert ask(home, home.pinned()).connected
    assert raw.heartbeat().status_code == 200
    assert "session.clone" not in bench.events.names()


def running(home, session):
    """The same device as something RawAgent can play."""
    agent = BenchAgent("cam-1")
    agent.identity, agent.node_key = home.identity(), home.node_key()
    agent.member = member(home)
    agent.session = session
    return agent


def test_a_revoked_device_is_told_so(bench, home):
    bench.runtime.set_members([], frozenset({home.node_public_pem()}))
    (found,) = findings(home)
    assert found.level is Level.RED
    assert "has been revoked" in found.text
    assert "new invitation" in found.fix


def test_a_device_on_no_roster_is_red_and_a_waiting_one_yellow(bench, home):
    bench.runtime.set_members([])
    bench.gateway._nodes._revoked = frozenset()
    assert findings(home)[0].level is Level.RED
    home.save_pinned(home.pinned().model_copy(update={"state": "pending"}))
    assert findings(home)[0].level is Level.YELLOW


def test_keys_that_are_not_the_enrolled_ones_are_red(bench, home):
    other = Identity.generate().public
    bench.runtime.set_members([member(home, identity_public=other)])
    (found,) = findings(home)
    assert found.level is Level.RED
    assert "not the enrolled ones" in found.text


def test_an_older_copy_of_a_device_is_told_that_a_newer_one_is_in_use(bench, home):
    assert RawAgent(bench, running(home, 7), session=7).activate().status_code == 200
    found = {item.check: item for item in findings(home)}
    assert found["copies"].level is Level.RED
    assert "start 7" in found["copies"].text


def test_another_code_of_a_task_is_told(bench, home):
    first, *rest = (task.model_dump() for task in installed_tasks())
    tell(bench, tasks=[first | {"code": "0" * 64}, *rest, first | {"id": "new-task"}])
    found = [item for item in findings(home) if item.check == "tasks"]
    assert [item.level for item in found] == [Level.YELLOW] * 2
    assert "other code under the same version" in found[0].text
    assert "not installed here" in found[1].text


@pytest.mark.parametrize(("free", "wanted"), [(64 << 30, Level.GREEN), (1 << 20, Level.RED)])
def test_the_planned_model_is_held_against_the_memory_of_the_device(bench, home, monkeypatch, free, wanted):  # fmt: skip
    tell(bench, plan={"id": "feature-head", "version": "1.2.0", "options": {"variant": "fixed"}})
    monkeypatch.setattr(doctor, "available_memory", lambda: free)
    found = {item.check: item for item in findings(home)}
    assert found["memory"].level is wanted
    assert "feature-head with 5,890 parameters" in found["memory"].text


def test_a_planned_task_whose_weights_are_not_here_is_red_and_the_fix_installs_them(
    bench, home, monkeypatch
):
    options = {"features": asset.NAME, "height": 96, "width": 96, "channels": 3}
    tell(bench, plan={"id": "feature-head", "version": "1.2.0", "options": options})
    assert {item.check: item for item in findings(home)}["memory"].level is not Level.RED
    asset.check_weights.cache_clear()
    monkeypatch.setattr(asset, "PACKAGE", "weights_that_nobody_has")
    found = {item.check: item for item in findings(home)}["tasks"]
    assert (found.level, found.fix) == (Level.RED, asset.INSTALL)


def test_only_a_member_s_own_signature_is_answered(bench, home):
    with httpx.Client(base_url=bench.url, verify=pinned_context(bench.certificate), trust_env=False) as stranger:  # fmt: skip
        assert code(stranger.post(PATH)) == (401, "signature")
        assert stranger.get(PATH).status_code == 404
        agent = RawAgent(bench, running(home, 1))
        headers = agent.headers(PATH, b"")
        assert Standing.decode(stranger.post(PATH, headers=headers).content).name == "cam-1"
        assert code(stranger.post(PATH, headers=headers)) == (401, "signature"), "a replay"
        assert code(stranger.post(PATH, headers=agent.headers(PATH, b"x"), content=b"x")) == (413, "oversize")  # fmt: skip
        agent.agent.node_key = ec.generate_private_key(ec.SECP256R1())
        agent.agent.member = member(home, node_public=public_pem(agent.agent.node_key))
        assert code(stranger.post(PATH, headers=agent.headers(PATH, b""))) == (401, "unknown_key")
