"""A federation in one process: the real driver, sessions, ledgers and stores; only the wire is memory.

MemoryWire implements coordinator.machine.transport.Transport. Tests say who falls silent from which stage on
and read every byte the coordinator's side was given.
"""

import threading
import time
from collections import deque
from dataclasses import replace
from pathlib import Path

import numpy as np
from public_data_bench import mnist_5000, stratified_order
from store_bench import add_agent
from thin_bench import Unasked

from edgeveil.agent.home.data import DataShelf
from edgeveil.agent.home.home import AgentHome, Pinned
from edgeveil.agent.home.policy import Policy, SecaggPolicy
from edgeveil.agent.home.records.record_policy import DataPolicy
from edgeveil.agent.rounds.device import Device
from edgeveil.agent.rounds.session import Session
from edgeveil.coordinator.machine.transport import Incoming, Lost, Presence
from edgeveil.coordinator.plan.plan import Plan
from edgeveil.coordinator.records.records import EnrolledAgent, RunState
from edgeveil.coordinator.rounds.attempt_runner import Surroundings
from edgeveil.coordinator.rounds.driver import Driver
from edgeveil.coordinator.rounds.sums import machine_for, shards_of
from edgeveil.coordinator.runs.open_run import Progress
from edgeveil.coordinator.runs.runs import open_run, submit
from edgeveil.coordinator.store.store import Store
from edgeveil.shared.base.clock import SystemClock
from edgeveil.shared.base.errors import DataError
from edgeveil.shared.base.files import private_directory
from edgeveil.shared.events.log import EventLog
from edgeveil.shared.wire.identity import Identity
from edgeveil.shared.wire.messages import Asking, Stage
from edgeveil.shared.wire.roster import Roster, SignedRoster, agent_id, federation_id

POLICY = Policy(n_ref=60, secagg=SecaggPolicy(n_min=3, c_min=0))
DIGITS = DataPolicy(height=28, width=28, labels=tuple("0123456789"))


def write_digits(folder, pieces, records):
    """`pieces` disjoint, balanced files of `records` real digits each, and one of 200 to test on."""
    digits = mnist_5000()
    order = stratified_order(digits.labels, 3)
    paths = []
    for piece in range(pieces + 1):
        rows = order[:200] if piece == pieces else order[200 + piece * records :][:records]
        path = folder / ("test.npz" if piece == pieces else f"piece-{piece}.npz")
        part = digits.take(rows)
        np.savez(path, X=part.pixels, y=part.labels)
        paths.append(path)
    return paths


def plan_for(agents, **changes):
    """A plan of two short rounds; `changes` are given as section__key=value."""
    values = {
        "task": {"id": "feature-head", "options": {"variant": "fixed"}},
        "training": {
            "steps": 2,
            "clip_norm": 0.3,
            "learning_rate": 100.0,
            "epsilon": 8.0,
            "delta": 1e-5,
        },
        "rounds": {"count": 2, "goal": agents, "minimum": 3, "deadline_s": 60.0, "attempts": 2},
        "secagg": {"c_min": 0},
    }
    for name, value in changes.items():
        section, key = name.split("__")
        values.setdefault(section, {})[key] = value
    return Plan.model_validate(values)


class MemoryWire:
    """Delivers every request to its session and keeps what came back. `silent`: agent → stage."""

    def __init__(self, sessions):
        self.sessions = sessions
        self.silent = {}
        self.conditions = {}  # agent → what it tells of power and load
        self.captured = []  # (agent, request, reply): all the coordinator was given
        self.requests = []
        self._queue = deque()
        self._traffic = [0, 0]

    def alive(self):
        return True

    def presence(self):
        return {
            agent: Presence(True, time.time(), self.conditions.get(agent))
            for agent in self.sessions
        }

    def send(self, requests, *, ttl_s, reply_limit=None):
        self._queue.extend(requests.items())
        self.requests.extend(requests.items())
        return frozenset(requests)

    def receive(self, timeout_s):
        if not self._queue:
            return []
        agent, request = self._queue.popleft()
        if self._is_silent(agent, request.stage):
            return [Incoming(agent, lost=Lost.UNAVAILABLE)]
        reply = self.sessions[agent].handle(request)
        self.captured.append((agent, request, reply))
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

    def _is_silent(self, agent, stage):
        order = list(Stage)
        if isinstance(stage, Asking):
            return False
        return agent in self.silent and order.index(stage) >= order.index(self.silent[agent])


class Federation:
    """n agents with real homes and ledgers under `folder`, and a coordinator's store beside them."""

    def __init__(
        self,
        folder,
        agents=4,
        *,
        records=60,
        policy=POLICY,
        pieces=None,
        data=DIGITS,
        own=(),
        offline=False,
    ):
        """`pieces`: one data file per agent and the one to test on, in place of MNIST digits.

        `data`: what the records are by every agent's policy; made-up pieces are of no kind it knows.
        `own`: what single agents' policies say otherwise, by name. `offline`: what their tokens said of the key.
        """
        self.folder, self.offline = Path(folder), offline
        *self.pieces, self.test = pieces or write_digits(self.folder, agents, records)
        self.coordinator = Identity.generate()
        self.federation = Identity.generate()
        self.home = private_directory(self.folder / "coordinator")
        self.store = Store.open(self.home, create=True)
        self.statuses = []
        pinned = None if pieces else data
        self.policy = policy.model_copy(update={"data": policy.data or pinned})
        self.policies = {}  # of single homes
        self.may_train = {}  # of single homes: the owner's rule on power and load
        self.homes = [self._agent_home(number) for number in range(1, agents + 1)]
        for home in self.homes:
            if changes := dict(own).get(home.pinned().name):
                self.policies[home] = self.policy.model_copy(update=changes)
        self._sign_roster()
        self.sessions = {}
        self.unready = {}  # name → why that device did not start
        for number, home in enumerate(self.homes):
            try:
                self.sessions[home.pinned().agent_id] = self.session(home, number)
            except DataError as error:
                self.unready[home.pinned().name] = str(error)
        self.wire = MemoryWire(self.sessions)
        self.events = EventLog(self.folder / "events.jsonl")

    @property
    def names(self):
        return {home.pinned().agent_id: home.pinned().name for home in self.homes}

    def id_of(self, name):
        return next(agent for agent, known in self.names.items() if known == name)

    def tell(self, home):
        """The owner of this home lets its budget be told, and says yes to that; starts the agent anew."""
        self.policies[home] = self.policy.model_copy(update={"tell_budget": True})
        self.restart(home.pinned().name)

    def allow_without_noise(self, *names):
        """The owners of these agents let their coordinator ask for it, and say yes to that; all of them if none is named."""
        word = {"dp_required": False, "without_noise_for": (self.coordinator.public.hex(),)}
        self.allow(word, *names)

    def allow(self, word, *names):
        """The owners of these agents, or of all, change so much of their policy, and say yes to that."""
        for home in self.homes:
            if not names or home.pinned().name in names:
                self.policies[home] = self.policies.get(home, self.policy).model_copy(update=word)
                self.restart(home.pinned().name)

    def session(self, home, number):
        def may_train():
            if home in self.may_train:
                self.may_train[home]()

        policy = self.policies.get(home, self.policy)
        schema = None if policy.data is None else policy.data.as_schema()
        device = Device(
            home=home,
            pinned=home.pinned(),
            signer=home.identity(),
            policy=policy,
            dataset_id="data",
            shelf=DataShelf(self.pieces[number], self.statuses.append, schema),
            clock=SystemClock(),
            on_status=self.statuses.append,
            may_train=may_train,
            accept_looser=home in self.policies,
        )
        return Session(device)

    def restart(self, name):
        """The agent's process ends and starts again on the same home."""
        number = next(n for n, home in enumerate(self.homes) if home.pinned().name == name)
        agent = self.homes[number].pinned().agent_id
        self.sessions[agent].close()
        self.sessions[agent] = self.session(self.homes[number], number)

    def hands(self):
        """What a run and a check reach this federation with."""
        return Surroundings(
            transport=self.wire,
            events=self.events,
            clock=SystemClock(),
            stop=threading.Event(),
            names=self.names,
            note_head=lambda agent, head: self.store.set_ledger_head(agent, head.encode()),
            housekeeping=lambda: None,
        )

    def driver(self, plan, *, ask=True):
        """Without `ask` the first thing that agents hear is an offer."""
        run, _ = submit(self.store, plan)
        self.store.set_run_state(run.run_id, RunState.RUNNING)
        opened, model, first = open_run(self.store, self.home, run)
        driver = Driver(
            opened,
            model,
            store=self.store,
            signer=self.coordinator,
            around=self.hands(),
            progress=Progress(),
        )
        if not ask:
            driver._sums._selection._willing = Unasked()
        return driver, first

    def train(self, plan, *, ask=True):
        driver, first = self.driver(plan, ask=ask)
        driver.drive(first)
        return driver

    def close(self):
        for session in self.sessions.values():
            session.close()
        self.events.close()
        self.store.close()

    def _agent_home(self, number):
        home = AgentHome(self.folder / f"agent-{number}")
        home.ensure_keys()
        identity = home.identity()
        home.save_pinned(
            Pinned(
                url="https://127.0.0.1:1",
                ca_pem=b"not used here",
                coordinator_public=self.coordinator.public,
                federation_public=self.federation.public,
                name=f"agent-{number}",
                agent_id=agent_id(identity.public),
                token_id=bytes(16),
                state="member",
                offline=self.offline,
            )
        )
        add_agent(
            self.store,
            EnrolledAgent(
                agent_id(identity.public),
                f"agent-{number}",
                identity.public,
                home.node_public_pem(),
                time.time(),
            ),
        )
        return home

    def _sign_roster(self):
        now = int(time.time())
        members = {agent_id(home.identity().public): home.identity().public for home in self.homes}
        roster = Roster(federation_id(self.federation.public), 1, now, now + 86_400, members)
        self.store.save_roster(SignedRoster.sign(roster, self.federation))


def on_device(session, **changes):
    """What a session and its work know of the device, changed."""
    device = replace(session._device, **changes)
    for part in (session, session._work, session._work._training, session._work._evaluating):
        part._device = device


def proposal_of(driver, attempt, selected):
    """What this driver would propose to these agents in that attempt."""
    shards = shards_of(attempt, selected, driver.run.plan)
    return driver._training.propose(attempt, driver._sums._roster(), shards)


def machine_of(driver, proposal):
    return machine_for(proposal, driver.run.plan, driver._memory.records)
