"""Many thin agents with the real coordinator, protocol, ledgers and store: on an in-memory link, or over TLS.

A thin agent has no torch: its training is one line of numpy (crash_bench.ThinTrainer), everything
after it is the product's. MemoryFederation holds all parties in one process. TlsFederation starts a
coordinator with its SuperLink and a few processes of agents, each with a link and a thread of its own.
"""

import os
import signal
import threading
import time
from functools import lru_cache
from pathlib import Path

from store_bench import add_agent

from edgeveil.shared.flower import environment as flower_environment  # noqa: F401 - first: Flower reads its switches

# isort: split
import numpy as np
from events_bench import read_events
from forks_bench import end_with
from ports_bench import free_port
from thin_bench import SPEC, ThinShelf, ThinTask, ThinTrainer, thin_plan

import edgeveil.coordinator.serving.execution as execution_module
import edgeveil.coordinator.serving.serve as serve_module
import edgeveil.shared.wire.identity as identity_module
import edgeveil.shared.wire.messages as messages_module
from edgeveil.agent.flower_link.client_app import build
from edgeveil.agent.flower_link.link import FlowerLink
from edgeveil.agent.home.home import AgentHome, Pinned
from edgeveil.agent.home.policy import Policy, SecaggPolicy, SharedNoise
from edgeveil.agent.rounds.device import Device
from edgeveil.agent.rounds.session import Session
from edgeveil.coordinator.cli.setup import initialise
from edgeveil.coordinator.federation.roster_files import load_federation_key
from edgeveil.coordinator.federation.tls import tls_folder
from edgeveil.coordinator.machine.transport import Incoming, Presence
from edgeveil.coordinator.plan.config import identity_path
from edgeveil.coordinator.records.records import EnrolledAgent, RunState
from edgeveil.coordinator.rounds.attempt_runner import Surroundings
from edgeveil.coordinator.rounds.driver import Driver
from edgeveil.coordinator.runs import run_files
from edgeveil.coordinator.runs.learner import Learned
from edgeveil.coordinator.runs.open_run import OpenRun, Progress
from edgeveil.coordinator.store.store import Store
from edgeveil.shared.base.clock import SystemClock
from edgeveil.shared.base.errors import EdgeveilError
from edgeveil.shared.base.files import private_directory
from edgeveil.shared.events.log import EventLog
from edgeveil.shared.secagg.primitives import keys
from edgeveil.shared.wire.identity import Identity
from edgeveil.shared.wire.roster import Roster, SignedRoster, agent_id, federation_id

TICKS = os.sysconf("SC_CLK_TCK")
POLICY = Policy(rounds_max=1_000_000, secagg=SecaggPolicy(n_min=3, c_min=0))
WORD = SharedNoise(epsilon_sum_max=3.0, federation_key="offline")


def plan_of(agents, rounds, **changes):
    """One step a round, everybody asked, one sum over all."""
    wanted = {
        "rounds__spare": 1, "rounds__deadline_s": 600.0, "rounds__attempts": 3,
        "training__steps": 1, "secagg__n_max": agents,
    }  # fmt: skip
    return thin_plan(agents, rounds=rounds, **wanted | changes)


def in_shares(agents):
    """Changes of a plan: half of the agents hold each other's noise, and of ten at most two may be missing."""
    honest = max(2, agents // 2)
    return {
        "privacy__noise": "shared", "privacy__honest": honest, "privacy__epsilon_sum": 3.0,
        "rounds__minimum": agents - agents // 5,
    }  # fmt: skip


class Members:
    """One folder: coordinator/, federation/ and agent-N/, enrolled and with a signed roster."""

    def __init__(self, folder, agents, size, plan, *, draws=False):
        self.draws = draws
        self.folder, self.agents, self.plan = private_directory(Path(folder)), agents, plan
        self.home = self.folder / "coordinator"
        self.task = ThinTask(size)
        self.port = free_port()
        where = f"127.0.0.1:{self.port}"
        key = self.folder / "federation"
        initialise(self.home, key, url=f"https://{where}", listen=where, hosts=(), passphrase=None)
        self.identity = Identity.load(identity_path(self.home))
        self.homes = [AgentHome(self.folder / f"agent-{number}") for number in range(agents)]
        self._enrol(load_federation_key(key / "federation.key", None))

    def _enrol(self, federation):
        authority = (tls_folder(self.home) / "ca.pem").read_bytes()
        members = {}
        with Store.open(self.home) as store:
            for number, home in enumerate(self.homes):
                home.ensure_keys()
                public, name = home.identity().public, f"agent-{number}"
                members[agent_id(public)] = public
                home.save_pinned(
                    Pinned(
                        url=f"https://127.0.0.1:{self.port}",
                        ca_pem=authority,
                        coordinator_public=self.identity.public,
                        federation_public=federation.public,
                        name=name,
                        agent_id=agent_id(public),
                        token_id=bytes(16),
                        state="member",
                        offline=self.plan.privacy.noise == "shared",
                    )
                )
                add_agent(
                    store,
                    EnrolledAgent(agent_id(public), name, public, home.node_public_pem(), 1.0),
                )
            now = int(time.time())
            roster = Roster(federation_id(federation.public), 1, now, now + 864_000, members)
            store.save_roster(SignedRoster.sign(roster, federation))
            self.run_id = store.create_run(self.plan.model_dump_json(), "0" * 64).run_id

    def device(self, number):
        home, shared = self.homes[number], self.plan.privacy.noise == "shared"
        return Device(
            home=home,
            pinned=home.pinned(),
            signer=home.identity(),
            policy=POLICY.model_copy(update={"shared_noise": WORD}) if shared else POLICY,
            accept_looser=shared,
            dataset_id="data",
            shelf=ThinShelf(),
            clock=SystemClock(),
            on_status=lambda _sentence: None,
            trainer=lambda: ThinTrainer(number % 16, draws=self.draws),
            load_task=lambda _spec: self.task,
        )

    def open_run(self, store, _home=None, _run=None, **_more):
        """What coordinator.runs.runs.open_run does, without torch: start at zeros or after the last round."""
        folder = private_directory(self.home / "runs" / self.run_id)
        tensors = self.task.tensors(None)
        last = store.last_committed(self.run_id)
        if last is None:
            learned = Learned(np.zeros(self.task.size, np.float32))
        else:
            learned = run_files.load(folder, last, tensors)
        opened = OpenRun(self.run_id, self.plan, SPEC, tensors, folder, None)
        return opened, learned, 1 if last is None else last.round + 1

    def records(self):
        with Store.open(self.home, read_only=True) as store:
            return store.rounds(self.run_id)

    @property
    def events(self):
        return self.home / "runs" / self.run_id / "events.jsonl"


# In one process


class Memory:
    """The wire: a request is answered when it is waited for, so one agent works at a time."""

    def __init__(self, sessions):
        self.sessions = sessions
        self._queue = []
        self._traffic = [0, 0]

    def alive(self):
        return True

    def presence(self):
        return {agent: Presence(True, time.time()) for agent in self.sessions}

    def send(self, requests, *, ttl_s, reply_limit=None):
        self._queue = [*reversed(requests.items()), *self._queue]
        return frozenset(requests)

    def receive(self, timeout_s):
        if not self._queue:
            time.sleep(min(timeout_s, 0.001))
            return []
        agent, request = self._queue.pop()
        reply = self.sessions[agent].handle(request)
        self._traffic[0] += len(reply.body) + len(reply.bulk or b"")
        self._traffic[1] += len(request.body) + len(request.bulk or b"")
        self.sessions[agent].accepted(reply)
        return [Incoming(agent, reply=reply)]

    def forget(self):
        self._queue.clear()

    def take_traffic(self):
        taken = tuple(self._traffic)
        self._traffic = [0, 0]
        return taken


class MemoryFederation:
    """All parties of `members` in this process; drive() is one run from its next round to its last."""

    def __init__(self, members):
        self.members = members
        self.sessions = {}
        self.names = {}
        for number in range(members.agents):
            device = members.device(number)
            self.sessions[device.pinned.agent_id] = Session(device)
            self.names[device.pinned.agent_id] = device.pinned.name
        self.store = Store.open(members.home)
        self.store.set_run_state(members.run_id, RunState.RUNNING)
        self.log = EventLog(private_directory(members.events.parent) / members.events.name)

    def driver(self):
        opened, learned, self.first = self.members.open_run(self.store)
        around = Surroundings(
            transport=Memory(self.sessions),
            events=self.log,
            clock=SystemClock(),
            stop=threading.Event(),
            names=self.names,
            note_head=lambda agent, head: self.store.set_ledger_head(agent, head.encode()),
            housekeeping=lambda: None,
        )
        return Driver(
            opened,
            learned,
            store=self.store,
            signer=self.members.identity,
            around=around,
            progress=Progress(),
        )

    def close(self):
        for session in self.sessions.values():
            session.close()
        self.log.close()
        self.store.close()


def verify_once():
    """Each distinct signature costs one verification in this process from now on."""
    keys.verifies = lru_cache(maxsize=1 << 18)(keys.verifies)
    verify = lru_cache(maxsize=1 << 18)(identity_module.verify)
    identity_module.verify = verify
    messages_module.verify = verify


# Over TLS


class TlsFederation:
    """`serve` in a process of its own (and SuperLink in another), the agents in `processes` more."""

    def __init__(self, members, processes=2, pace_s=0.0):
        """`pace_s`: a round begins that long after the one before it, if that took less."""
        self.members, self.processes, self.pace_s = members, processes, pace_s
        self.pids = {}

    def start(self):
        self._fork("coordinator", self._serve)
        for place in range(self.processes):
            numbers = range(place, self.members.agents, self.processes)
            self._fork(f"agents-{place}", lambda numbers=numbers: self._work(numbers))

    def superlink(self):
        path = self.members.home / "runtime" / "superlink.pid"
        return int(path.read_text()) if path.exists() else 0

    def parties(self):
        """{role: process id} of everybody that lives."""
        return self.pids | {"superlink": self.superlink()}

    def committed(self):
        log = self.members.events  # and what it was rotated to
        return sum(
            path.read_bytes().count(b'"round.commit"') for path in log.parent.glob(f"{log.name}*")
        )

    def wait_for(self, rounds, seconds):
        until = time.monotonic() + seconds
        while self.committed() < rounds:
            if time.monotonic() > until or not all(_lives(pid) for pid in self.pids.values()):
                logs = sorted(self.members.folder.glob("*.log"))
                raise RuntimeError("\n".join(path.read_text()[-2000:] for path in logs))
            time.sleep(0.05)

    def stop(self):
        for name in ("coordinator", *(name for name in self.pids if name != "coordinator")):
            pid = self.pids.pop(name, 0)
            if pid and _lives(pid):
                os.kill(pid, signal.SIGTERM)
                until = time.monotonic() + 15
                while _lives(pid) and time.monotonic() < until:
                    time.sleep(0.05)
                if _lives(pid):
                    os.kill(pid, signal.SIGKILL)

    def _fork(self, name, action):
        parent, pid = os.getpid(), os.fork()
        if pid:
            self.pids[name] = pid
            return
        code = 70
        try:
            end_with(parent)
            flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
            handle = os.open(self.members.folder / f"{name}.log", flags, 0o600)
            os.dup2(handle, 1)
            os.dup2(handle, 2)
            action()
            code = 0
        except BaseException:
            import traceback

            traceback.print_exc()
        finally:
            os._exit(code)

    def _serve(self):
        execution_module.open_run = self.members.open_run
        Driver._complete = _paced(Driver._complete, self.pace_s)
        serve_module.serve(self.members.home, None, quiet=True)

    def _work(self, numbers):
        stop = threading.Event()
        signal.signal(signal.SIGTERM, lambda *_: stop.set())
        signal.signal(signal.SIGINT, lambda *_: stop.set())
        threads = [threading.Thread(target=self._link, args=(n, stop)) for n in numbers]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def _link(self, number, stop):
        device = self.members.device(number)
        session = Session(device)
        link = FlowerLink(
            url=device.pinned.url,
            ca_pem=device.pinned.ca_pem,
            node_key=device.home.node_key(),
            signer=device.signer,
            session=device.home.next_session(),
            app=build(session.handle),
            on_status=device.on_status,
            accepted=session.accepted,
        )
        try:
            link.run(stop)
        except EdgeveilError as error:
            # In one write: threads' tracebacks mix in the middle of a line.
            os.write(2, f"{type(error).__name__}: {error}\n".encode())
        finally:
            session.close()


# What a process costs


def cpu_seconds(pid):
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def memory_mb(pid, what="VmRSS"):
    """VmRSS or VmHWM."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(what + ":"):
            return int(line.split()[1]) / 1024
    return 0.0


def descriptors(pid):
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


def stage_seconds(path):
    """Per committed round: seconds of each stage, from the run's event log."""
    rounds, current = [], {}
    for line in read_events(path):
        if line.event == "round.start":
            current = {}
        if line.event == "stage.finish":
            current[line.stage] = line.dur_ms / 1000
        if line.event == "round.commit":
            rounds.append(current | {"whole": line.dur_ms / 1000})
    return rounds


def _paced(complete, pace_s):
    began = time.monotonic() - pace_s

    def completing(driver, number):
        nonlocal began
        time.sleep(max(0.0, began + pace_s - time.monotonic()))
        began = time.monotonic()
        complete(driver, number)

    return completing


def _lives(pid):
    try:
        done, _ = os.waitpid(pid, os.WNOHANG)
    except ChildProcessError:
        return False
    return done == 0
