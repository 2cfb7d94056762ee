"""A federation of thin agents that can be killed at any failpoint, and the rules it must keep.

Real driver, store, sessions, ledgers and checkpoints; the wire is memory and training is one line of
numpy, so that a process can be forked, killed with SIGKILL and continued within milliseconds. What
happened is written to a witness file that the product does not know; `violations` compares it with
what the product says afterwards.
"""

import collections
import json
import os
import random
import shutil
import signal
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace

import numpy as np

import agent.session as session_module
import coordinator.driver as driver_module
from agent.device import Device
from agent.dp.ledger_file import ledger_records, read_ledger
from agent.policy import Policy, SecaggPolicy
from agent.session import Session
from agent.state import AgentHome, Pinned
from coordinator import checkpoint, run_files
from coordinator.attempt import Surroundings
from coordinator.config import Plan
from coordinator.driver import Driver
from coordinator.learning import Learned
from coordinator.offers import secagg_params, training_plan
from coordinator.records import EnrolledAgent, RunState
from coordinator.store import Store
from coordinator.transport import Incoming, Lost, Presence
from coordinator.underway import OpenRun, Progress
from shared import failpoints
from shared.clock import SystemClock
from shared.event_log import EventLog, read_events
from shared.failpoints import Crash, Failpoint
from shared.files import private_directory
from shared.identity import Identity
from shared.messages import Stage, Tensor
from shared.privacy.rdp import Segment, epsilon
from shared.privacy.records import Kind
from shared.quantization import dequantise
from shared.roster import Roster, SignedRoster, agent_id, federation_id
from shared.tasks import registry
from shared.tasks.spec import Examples, Options

SPEC = registry.find("feature-head", "1.0.0")
POLICY = Policy(secagg=SecaggPolicy(n_min=3, c_min=0))
RUN_SECONDS = 30.0


class ThinTask:
    """The task protocol without torch: `size` parameters and nothing to learn."""

    spec = SPEC

    def __init__(self, size):
        self.size = size

    def parse_options(self, raw):
        return Options(variant=str(raw["variant"]))

    def tensors(self, _options):
        return (Tensor("weight", (self.size,)),)


class ThinTrainer:
    """The update of agent i is i + 1 in every place, times a thousandth; `seen` hears of each."""

    def __init__(self, number, seen=None):
        self.number = number
        self.seen = seen or (lambda _plan: None)

    def check_trainable(self, *_arguments, **_options):
        return None

    def train(self, _task, _options, _examples, start, _tensors, plan, _n_ref, **_more):
        self.seen(plan)
        update = np.full(start.size, (self.number + 1) / 1000, np.float32)
        return SimpleNamespace(update=update, steps=plan.steps, gradient_mode="hooks")


class ThinShelf:
    def count(self):
        return 100

    def load(self, _task, _options):
        return Examples(np.zeros((100, 1), np.float32), np.zeros(100, np.int64), ("0", "1"))


def thin_plan(agents, *, rounds=2, **changes):
    values = {
        "task": {"id": "feature-head", "options": {"variant": "thin"}},
        "training": {"steps": 2, "clip_norm": 0.3, "learning_rate": 1.0, "epsilon": 8.0},
        "rounds": {"count": rounds, "goal": agents, "minimum": 3, "deadline_s": 20.0, "attempts": 100, "spare": 8},
        "secagg": {"c_min": 0},
    }  # fmt: skip
    for name, value in changes.items():
        section, key = name.split("__")
        values.setdefault(section, {})[key] = value
    return Plan.model_validate(values)


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
        if request.attempt != self._attempt:
            self._attempt = request.attempt
            self.world.revive()
        world = self.world
        number = world.number[agent]
        silent = world.scenario.silent(request.attempt)
        order = list(Stage)
        if world.sessions[agent] is None or (
            number in silent and order.index(request.stage) >= order.index(silent[number])
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
            scenario.agents, rounds=scenario.rounds, rounds__attempts=scenario.attempts
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
    def make(cls, folder, scenario, **options):
        """Enrol everybody on disk; the folder can be copied afterwards and opened elsewhere."""
        world = cls(folder, scenario, **options)
        private_directory(world.folder)
        private_directory(world.home)
        private_directory(world.side)
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
                store.add_agent(
                    EnrolledAgent(agent_id(identity.public), f"agent-{number}", identity.public, home.node_public_pem(), 1.0)
                )  # fmt: skip
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
        self.store = Store.open(self.home)
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
        self.driver._pause = self.driver._selection._pause = lambda _seconds: None
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
            trainer=lambda: ThinTrainer(number, lambda _plan: self.witness("train", agent=number)),
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


# One process that may die


def tap(world):
    """Let the witness see vectors, sums and commits; for the life of this (child) process."""
    lanes, averaged = session_module.vector_lanes, driver_module.mean_update
    advance = AgentHome.advance
    current = {}

    def keep_attempt(home, attempt):
        advance(home, attempt)
        current["attempt"] = attempt
        current["agent"] = int(home.path.name.rpartition("-")[2])

    def keep_lanes(update, params):
        made = lanes(update, params)
        attempt = current["attempt"]
        np.save(
            world.side / f"{attempt.round}-{attempt.attempt}-agent-{current['agent']}.npy",
            made,
        )  # fmt: skip
        return made

    def keep_sum(result, params):
        current["sum"] = [int(lane) for lane in result.lanes]
        return averaged(result, params)

    session_module.vector_lanes, driver_module.mean_update = keep_lanes, keep_sum
    AgentHome.advance = keep_attempt
    record = Store.record_round

    def keep_record(store, given):
        stored = record(store, given)
        if stored.outcome == "committed":
            world.witness("commit", round=stored.round, attempt=stored.attempt, sha256=stored.model_sha256, sum=current["sum"])  # fmt: skip
        return stored

    Store.record_round = keep_record

    def undo():
        session_module.vector_lanes, driver_module.mean_update = lanes, averaged
        AgentHome.advance, Store.record_round = advance, record

    return undo


def in_child(action, seconds=RUN_SECONDS, log=None):
    """Fork, run `action`, return (exit code or −signal, seconds)."""
    began = time.monotonic()
    pid = os.fork()
    if pid == 0:
        code = 3
        try:
            signal.signal(signal.SIGALRM, signal.SIG_DFL)
            signal.alarm(int(seconds))
            if log is not None:
                handle = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
                os.dup2(handle, 1)
                os.dup2(handle, 2)
            action()
            code = 0
        except Crash:
            code = 4
        except BaseException:
            import traceback

            traceback.print_exc()
        finally:
            os._exit(code)
    _, status = os.waitpid(pid, 0)
    return os.waitstatus_to_exitcode(status), time.monotonic() - began


def live(folder, scenario, hook=None):
    """What one process does from its start to the end of the run; `hook` may kill it."""

    def action():
        world = World(folder, scenario)
        tap(world)
        failpoints.install(hook)
        world.open()
        world.work()
        world.close()

    return action


@dataclass
class Trial:
    kills: int = 0
    rounds: int = 0
    seconds_to_finish: float = 0.0
    violations: list = field(default_factory=list)


def kill_trial(template, folder, point, passage, scenario):
    """Kill both sides at the n-th passage of `point`, restart without an operator, check."""
    folder = Path(folder)
    shutil.copytree(template, folder)
    trial = Trial()
    schedule = failpoints.Schedule(f"{point}=kill@{passage}")
    code, _ = in_child(live(folder, scenario, schedule), log=folder / "side" / "log")
    if code == -signal.SIGKILL:
        trial.kills = 1
        code, trial.seconds_to_finish = in_child(
            live(folder, scenario), log=folder / "side" / "log"
        )
    if code != 0:
        trial.violations.append(f"the process after the crash ended with {code}")
    trial.violations += violations(folder, scenario)
    trial.rounds = scenario.rounds
    return trial


def single_trial(template, folder, point, passage, scenario):
    """One party alone crashes: an agent inside its handler, or the coordinator while agents live on."""
    folder = Path(folder)
    shutil.copytree(template, folder)
    trial = Trial(rounds=scenario.rounds)

    def action():
        world = World(folder, scenario)
        tap(world)
        schedule = failpoints.Schedule(f"{point}=raise@{passage}")
        failpoints.install(schedule)
        try:
            world.open()
            world.work()
        except Crash:
            world.close_coordinator()
            if len(world.sessions) < scenario.agents:
                world.close()
                world = World(folder, scenario)
                world.open()
            else:
                world.open_coordinator()
            world.work()
        world.close()
        if not schedule._items:
            os._exit(5)

    code, trial.seconds_to_finish = in_child(action, log=Path(folder) / "side" / "log")
    trial.kills = int(code == 5)
    if code not in {0, 5}:
        trial.violations.append(f"the process ended with {code}")
    trial.violations += violations(folder, scenario)
    return trial


def passages(template, folder, scenario):
    """How often each failpoint is passed by an undisturbed life: {name: count}."""
    shutil.copytree(template, folder)
    counts = collections.Counter()

    def count(point):
        counts[point] += 1

    def action():
        try:
            live(folder, scenario, count)()
        finally:
            failpoints.install(None)
            (Path(folder) / "passages.json").write_text(json.dumps(counts))

    code, _ = in_child(action, log=Path(folder) / "side" / "log")
    if code != 0:
        raise AssertionError(f"seed {scenario.seed}: an undisturbed run ended with {code}")
    return {
        Failpoint(k): n for k, n in json.loads((Path(folder) / "passages.json").read_text()).items()
    }


# The rules


def violations(folder, scenario, *, size=16, plan=None):
    """Every broken promise as a sentence; empty when all hold."""
    folder = Path(folder)
    if not (folder / "side" / "witness.jsonl").exists():
        return ["nothing ever happened"]
    witness = [
        json.loads(line) for line in (folder / "side" / "witness.jsonl").read_text().splitlines()
    ]
    found = []
    with Store.open(folder / "coordinator", read_only=True) as store:
        run = store.runs()[-1]
        records = store.rounds(run.run_id)
    committed = {row.round: row for row in records if row.outcome == "committed"}
    if sorted(committed) != list(range(1, scenario.rounds + 1)):
        found.append(f"rounds {sorted(committed)} are committed, not 1 to {scenario.rounds}")
    attempts = [(row.round, row.attempt) for row in records]
    if len(set(attempts)) != len(attempts):
        found.append("an attempt was recorded twice")
    found += _lost_commits(witness, committed)
    found += _wrong_sums(World(folder, scenario, size=size), plan, run.run_id, committed)
    found += _event_faults(folder / "coordinator" / "runs" / run.run_id / "events.jsonl", committed)
    for number in range(scenario.agents):
        found += _ledger_faults(folder, number, witness)
    return found


def _lost_commits(witness, committed):
    for line in (line for line in witness if line["kind"] == "commit"):
        row = committed.get(line["round"])
        if row is None or (row.attempt, row.model_sha256) != (line["attempt"], line["sha256"]):
            yield f"round {line['round']} was acknowledged as {line['sha256'][:8]} and is {row}"


def _wrong_sums(world, plan, run_id, committed):
    """Each checkpoint is the one before plus the mean of exactly the survivors' vectors."""
    folder, plan = world.folder, plan or world.plan
    params = secagg_params(plan, training_plan(plan), world.size)
    segment = next(item for item in params.segments if item.name == "params")
    model = np.zeros(world.size, np.float32)
    for number, row in sorted(committed.items()):
        vectors = [
            np.load(folder / "side" / f"{number}-{row.attempt}-{name}.npy") for name in row.survived
        ]
        total = np.sum(vectors, axis=0)
        if total[0] != len(row.survived) or len(row.survived) < 3:
            yield f"round {number}: weight {total[0]} of {len(row.survived)} survivors"
        mean = dequantise(total[1:], segment) / int(total[0])
        model = (model.astype(np.float64) + mean).astype(np.float32)
        path = folder / "coordinator" / "runs" / run_id / f"round-{number:04d}.safetensors"
        saved = checkpoint.load(path, sha256=row.model_sha256).vector
        if not np.array_equal(saved, model):
            yield f"round {number}: the checkpoint is not the sum of its survivors"


def _event_faults(path, committed):
    seen = collections.Counter(
        line.round for line in read_events(path) if line.event == "round.commit"
    )
    for number, times in seen.items():
        if times > 1 or number not in committed:
            yield f"round {number} is in the event log {times} times"


def _ledger_faults(folder, number, witness):
    """Charged at least what was trained, nothing twice, and nothing submitted that is not recorded."""
    home = AgentHome(folder / f"agent-{number}")
    ledger = home.ledger_folder / "data"
    trained = sum(line["kind"] == "train" and line["agent"] == number for line in witness)
    masked = {(line["round"], line["attempt"]) for line in witness if line["kind"] == "masked" and line["agent"] == number}  # fmt: skip
    if not (ledger / "ledger.jsonl").exists():
        if trained or masked:
            yield f"agent-{number} trained without a ledger"
        return
    public = home.identity().public
    records = list(ledger_records(ledger, public))
    state = read_ledger(ledger, public)

    def attempts(kind):
        return [(row.number("round"), row.number("attempt")) for row in records if row.kind is kind]

    reserved = attempts(Kind.RESERVE)
    if len(reserved) < trained:
        yield f"agent-{number} trained {trained} times and charged {len(reserved)}"
    if len(set(reserved)) != len(reserved):
        yield f"agent-{number} charged one attempt twice: {reserved}"
    submitted = attempts(Kind.SUBMIT)
    if not masked <= set(submitted):
        yield f"agent-{number} submitted {masked - set(submitted)} without a record"
    if len(set(submitted)) != len(submitted):
        yield f"agent-{number} recorded a submission twice: {submitted}"
    segments = [
        Segment(record.real("sigma"), record.real("q"), record.number("steps_planned"))
        for record in records
        if record.kind is Kind.RESERVE
    ]
    if segments and state.epsilon_spent < epsilon(segments, state.delta)[0] - 1e-9:
        yield f"agent-{number}: epsilon {state.epsilon_spent} is below what was charged"
