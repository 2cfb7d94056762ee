"""A federation of thin agents in one process that can be killed at any failpoint.

Real driver, store, sessions, ledgers and checkpoints; the wire is memory and training is one line of
numpy, so that a process can be forked, killed with SIGKILL and continued within milliseconds. What
happened is written to a witness file that the product does not know; promises_bench compares it with
what the product says afterwards, trials_bench kills.
"""

import collections
import json
import os
import random
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from postgres_bench import configure
from store_bench import add_agent
from thin_bench import POLICY, SPEC, ThinShelf, ThinTask, ThinTrainer, thin_plan

from edgeveil.agent.home.home import AgentHome, Pinned
from edgeveil.agent.rounds.device import Device
from edgeveil.agent.rounds.session import Session
from edgeveil.coordinator.machine.transport import Incoming, Lost, Presence
from edgeveil.coordinator.records.records import EnrolledAgent, RunState
from edgeveil.coordinator.rounds.attempt_runner import Surroundings
from edgeveil.coordinator.rounds.driver import Driver
from edgeveil.coordinator.runs import run_files
from edgeveil.coordinator.runs.learner import Learned
from edgeveil.coordinator.runs.open_run import OpenRun, Progress
from edgeveil.coordinator.store.store import Store
from edgeveil.shared.base.clock import SystemClock
from edgeveil.shared.base.failpoints import Crash
from edgeveil.shared.base.files import private_directory
from edgeveil.shared.events.log import EventLog
from edgeveil.shared.wire.identity import Identity
from edgeveil.shared.wire.messages import Asking, Stage
from edgeveil.shared.wire.roster import Roster, SignedRoster, agent_id, federation_id


@dataclass
class Scenario:
    """What one seed decides besides the crash: who falls silent from which stage on, per attempt.

    In the first attempt so many that it aborts, so that every life passes an abort.
    """

    seed: int
    agents: int = 4
    rounds: int = 2
    attempts: int = 100
    quiet: bool = False  # nobody falls silent
    strategy: str = "fedavg"

    def silent(self, attempt):
        chance = random.Random(f"{self.seed}/{attempt.round}/{attempt.attempt}")
        if self.quiet:
            return {}
        if attempt.round == attempt.attempt == 1:
            lost = chance.sample(range(self.agents), self.agents - 2)
            return dict.fromkeys(lost, chance.choice(list(Stage)))
        if chance.random() < 0.6:
            return {}
        return {chance.randrange(self.agents): chance.choice(list(Stage))}


class Wire:
    """Memory, with agents that fall silent or die; a dead one comes back with the next attempt."""

    def __init__(self, world):
        self.world = world
        self._queue = collections.deque()
        self._attempt = None

    def alive(self):
        return True

    def presence(self):
        return {agent: Presence(True, time.time()) for agent in self.world.sessions}

    def send(self, requests, *, ttl_s, reply_limit=None):
        self._queue.extend(requests.items())
        return frozenset(requests)

    def receive(self, timeout_s):
        if not self._queue:
            time.sleep(min(timeout_s, 0.001))
            return []
        agent, request = self._queue.popleft()
        asking = isinstance(request.stage, Asking)
        if request.attempt != self._attempt or asking:
            self._attempt = request.attempt
            self.world.revive()
        world = self.world
        number = world.number[agent]
        silent = world.scenario.silent(request.attempt)
        order = list(Stage)
        if world.sessions[agent] is None or (
            not asking
            and number in silent
            and order.index(request.stage) >= order.index(silent[number])
        ):
            return [Incoming(agent, lost=Lost.UNAVAILABLE)]
        try:
            request = world.hearing(agent, request)
            reply = world.sessions[agent].handle(request)
        except Crash:
            world.bury(agent)
            return [Incoming(agent, lost=Lost.UNAVAILABLE)]
        if request.stage is Stage.MASKED and reply.refusal is None:
            world.witness("masked", agent=number, round=request.attempt.round, attempt=request.attempt.attempt)  # fmt: skip
        try:
            world.sessions[agent].accepted(reply)
        except Crash:
            world.bury(agent)
        return [Incoming(agent, reply=reply)]

    def forget(self):
        self._queue.clear()

    def take_traffic(self):
        return 0, 0


class World:
    """One folder: coordinator/, agent-N/, witness.jsonl, vectors/. Open it, `work`, close it."""

    def __init__(self, folder, scenario, *, size=16):
        self.folder = Path(folder)
        self.scenario = scenario
        self.size = size
        self.task = ThinTask(size)
        self.plan = thin_plan(
            scenario.agents,
            rounds=scenario.rounds,
            rounds__attempts=scenario.attempts,
            server__strategy=scenario.strategy,
        )
        self.side = self.folder / "side"  # what the product does not know
        self.home = self.folder / "coordinator"
        self.sessions = {}
        self.number = {}
        self.names = {}
        self.clock = SystemClock()
        self.evaluate = None
        self.hearing = lambda _agent, request: request  # a test may change what an agent is asked

    # Making and opening

    @classmethod
    def make(cls, folder, scenario, *, url=None, **options):
        """Enrol everybody on disk; the folder can be copied afterwards and opened elsewhere.

        `url`: of the coordinator's database, when it is not a file in its home.
        """
        world = cls(folder, scenario, **options)
        private_directory(world.folder)
        private_directory(world.home)
        private_directory(world.side)
        if url is not None:
            configure(world.home, url)
        coordinator, federation = Identity.generate(), Identity.generate()
        world.federation = federation
        coordinator.save(world.home / "identity.key")
        members = {}
        with Store.open(world.home, create=True) as store:
            for number in range(scenario.agents):
                home = AgentHome(world.folder / f"agent-{number}")
                home.ensure_keys()
                identity = home.identity()
                members[agent_id(identity.public)] = identity.public
                home.save_pinned(_pin(home, number, coordinator.public, federation.public))
                enrolled = EnrolledAgent(agent_id(identity.public), f"agent-{number}", identity.public, home.node_public_pem(), 1.0)  # fmt: skip
                add_agent(store, enrolled)
            now = int(time.time())
            roster = Roster(federation_id(federation.public), 1, now, now + 86_400, members)
            store.save_roster(SignedRoster.sign(roster, federation))
            text = world.plan.model_dump_json()
            store.create_run(text, "0" * 64)
        return world

    def open(self):
        """Both sides start: this is what a process does first, so it may be killed in here, too."""
        for number in range(self.scenario.agents):
            home = AgentHome(self.folder / f"agent-{number}")
            agent = home.pinned().agent_id
            self.number[agent], self.names[agent] = number, f"agent-{number}"
            self.sessions[agent] = self._session(number)
        self.open_coordinator()
        return self

    def open_coordinator(self):
        self.store = Store.open(self.home, serving=True)
        run = self.store.runs()[-1]
        self.store.set_run_state(run.run_id, RunState.RUNNING)
        self.store.abandon_open_attempts(run.run_id, "COORDINATOR_RESTART")
        folder = private_directory(self.home / "runs" / run.run_id)
        self.events = EventLog(folder / "events.jsonl")
        tensors = self.task.tensors(None)
        last = self.store.last_committed(run.run_id)
        if last is None:
            learned, first = Learned(np.zeros(self.size, np.float32)), 1
        else:
            learned, first = run_files.load(folder, last, tensors), last.round + 1
        around = Surroundings(
            transport=Wire(self),
            events=self.events,
            clock=self.clock,
            stop=threading.Event(),
            names=self.names,
            note_head=lambda agent, head: self.store.set_ledger_head(agent, head.encode()),
            housekeeping=lambda: None,
        )
        self.driver = Driver(
            OpenRun(run.run_id, self.plan, SPEC, tensors, folder, self.evaluate),
            learned,
            store=self.store,
            signer=Identity.load(self.home / "identity.key"),
            around=around,
            progress=Progress(),
        )
        # Back-off and waiting cost wall time and prove nothing here.
        self.driver._pause = self.driver._sums._selection._pause = lambda _seconds: None
        self.first = first

    def work(self):
        """Run to the end of the plan, as `serve` would."""
        self.ended = self.driver.drive(self.first)
        self.store.set_run_state(self.driver.run.run_id, RunState.FINISHED)

    def close(self):
        for session in self.sessions.values():
            if session is not None:
                session.close()
        self.close_coordinator()

    def close_coordinator(self):
        for thing in (getattr(self, "events", None), getattr(self, "store", None)):
            if thing is not None:
                thing.close()

    # Single parties that die

    def bury(self, agent):
        """The agent's process is gone: its memory and its locks with it, its files stay."""
        self.sessions[agent].close()
        self.sessions[agent] = None

    def revive(self):
        for agent, session in self.sessions.items():
            if session is None:
                self.sessions[agent] = self._session(self.number[agent])

    def witness(self, kind, **facts):
        line = json.dumps({"kind": kind, **facts}) + "\n"
        handle = os.open(self.side / "witness.jsonl", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        os.write(handle, line.encode())
        os.close(handle)

    def trainer(self, number):
        unlike = self.scenario.strategy == "scaffold"
        return ThinTrainer(number, lambda _plan: self.witness("train", agent=number), unlike=unlike)

    def _session(self, number):
        home = AgentHome(self.folder / f"agent-{number}")
        device = Device(
            home=home,
            pinned=home.pinned(),
            signer=home.identity(),
            policy=POLICY,
            dataset_id="data",
            shelf=ThinShelf(),
            clock=self.clock,
            on_status=lambda _sentence: None,
            trainer=lambda: self.trainer(number),
            load_task=lambda _spec: self.task,
        )
        return Session(device)


def _pin(home, number, coordinator_public, federation_public):
    return Pinned(
        url="https://127.0.0.1:1",
        ca_pem=b"not used here",
        coordinator_public=coordinator_public,
        federation_public=federation_public,
        name=f"agent-{number}",
        agent_id=agent_id(home.identity().public),
        token_id=bytes(16),
        state="member",
    )
