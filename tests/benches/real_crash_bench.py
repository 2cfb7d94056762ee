"""Real processes, real TLS, a real SuperLink: kill the coordinator and one agent again and again.

    python tests/benches/real_crash_bench.py --seed 1 [--points N] [--strategy scaffold]
    python tests/benches/real_crash_bench.py --seed 1 --only agent.push.before coordinator.flower.after --times 200

One run that never stops; every death arms the next failpoint on the side that died. Agents are thin:
training is one line of numpy, so that a process is forked in milliseconds. Prints JSON: deaths per
failpoint, seconds from each restart of the coordinator to its next round, and broken promises.
With --only, Flower's run is renewed after every round, so that it dies in the middle of ours as well.
"""

import argparse
import json
import os
import random
import signal
import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "tests/benches")]

from edgeveil.shared.flower import environment as flower_environment  # noqa: E402, F401 - first: Flower reads its switches

# isort: split
from crash_bench import Scenario, World  # noqa: E402
from forks_bench import end_with  # noqa: E402
from load_bench import slowed  # noqa: E402
from ports_bench import free_port  # noqa: E402
from promises_bench import violations  # noqa: E402
from store_bench import add_agent  # noqa: E402
from thin_bench import POLICY, SPEC, ThinShelf, ThinTask, thin_plan  # noqa: E402
from trials_bench import tap  # noqa: E402

import edgeveil.agent.rounds.run as agent_run  # noqa: E402
import edgeveil.coordinator.flower_runtime.runtime as runtime_module  # noqa: E402
import edgeveil.coordinator.serving.execution as execution_module  # noqa: E402
import edgeveil.coordinator.serving.serve as serve_module  # noqa: E402
from edgeveil.agent.flower_link.link import FlowerLink  # noqa: E402, F401 - imported before the forks
from edgeveil.agent.home.home import AgentHome, Pinned  # noqa: E402
from edgeveil.agent.rounds.condition import Conditions  # noqa: E402
from edgeveil.agent.rounds.device import Device  # noqa: E402
from edgeveil.coordinator.cli.setup import initialise  # noqa: E402
from edgeveil.coordinator.federation.roster_files import load_federation_key  # noqa: E402
from edgeveil.coordinator.federation.tls import tls_folder  # noqa: E402
from edgeveil.coordinator.plan.config import identity_path  # noqa: E402
from edgeveil.coordinator.records.records import EnrolledAgent  # noqa: E402
from edgeveil.coordinator.runs import run_files  # noqa: E402
from edgeveil.coordinator.runs.learner import Learned  # noqa: E402
from edgeveil.coordinator.runs.open_run import OpenRun  # noqa: E402
from edgeveil.coordinator.store.store import Store  # noqa: E402
from edgeveil.shared.base import failpoints  # noqa: E402
from edgeveil.shared.base.clock import SystemClock  # noqa: E402
from edgeveil.shared.base.failpoints import Failpoint, Schedule  # noqa: E402
from edgeveil.shared.base.files import private_directory  # noqa: E402
from edgeveil.shared.wire.identity import Identity  # noqa: E402
from edgeveil.shared.wire.roster import Roster, SignedRoster, agent_id, federation_id  # noqa: E402

AGENTS, SIZE = 4, 16
GENEROUS = POLICY.model_copy(update={"epsilon_max": 50.0})
AGENT_POINTS = [p for p in Failpoint if p.startswith(("agent.", "ledger.")) and "keys" not in p]
COORDINATOR_POINTS = [
    p for p in Failpoint if p.startswith(("coordinator.", "database.", "events.", "file."))
]
OFTEN = ("file.", "events.", "database.")  # passed many times in a round
FLOWER_POINTS = (Failpoint.COORDINATOR_FLOWER_BEFORE, Failpoint.COORDINATOR_FLOWER_AFTER)
FEW_MESSAGES = 20  # a round's worth
MOST_S = 90.0  # an armed process that lives longer on an idle machine was not reached
FREEZES = 5


class Bench:
    """`address` is the coordinator's; `enter(name)` moves a forked process to its machine."""

    def __init__(
        self, folder, seed, *, address="127.0.0.1", enter=lambda _name: None, strategy="fedavg"
    ):
        self.folder = private_directory(Path(folder) / "federation")
        self.seed = seed
        self.address, self.enter = address, enter
        self.home = self.folder / "coordinator"
        self.scenario = Scenario(seed, agents=AGENTS, rounds=1, strategy=strategy)
        self.plan = thin_plan(
            AGENTS, rounds=400, rounds__attempts=100, rounds__deadline_s=15.0,
            training__epsilon=50.0, training__steps=1, rounds__spare=400, server__strategy=strategy,
        )  # fmt: skip
        self.task = ThinTask(SIZE)
        self.pids = {}
        self.restarts = []
        self.deaths = []  # (failpoint, exit code), in their order
        self.codes = {}
        self._make()

    def _make(self):
        port = free_port()
        keys = self.folder / "federation"
        initialise(
            self.home, keys, url=f"https://{self.address}:{port}", listen=f"{self.address}:{port}",
            hosts=(), passphrase=None,
        )  # fmt: skip
        private_directory(self.folder / "side")
        coordinator = Identity.load(identity_path(self.home))
        federation = load_federation_key(keys / "federation.key", None)
        members = {}
        with Store.open(self.home) as store:
            for number in range(AGENTS):
                home = AgentHome(self.folder / f"agent-{number}")
                home.ensure_keys()
                public = home.identity().public
                members[agent_id(public)] = public
                home.save_pinned(
                    Pinned(
                        url=f"https://{self.address}:{port}",
                        ca_pem=(tls_folder(self.home) / "ca.pem").read_bytes(),
                        coordinator_public=coordinator.public,
                        federation_public=federation.public,
                        name=f"agent-{number}",
                        agent_id=agent_id(public),
                        token_id=bytes(16),
                        state="member",
                    )
                )
                add_agent(
                    store,
                    EnrolledAgent(
                        agent_id(public), f"agent-{number}", public, home.node_public_pem(), 1.0
                    ),
                )
            now = int(time.time())
            roster = Roster(federation_id(federation.public), 1, now, now + 86_400, members)
            store.save_roster(SignedRoster.sign(roster, federation))
            self.run_id = store.create_run(self.plan.model_dump_json(), "0" * 64).run_id

    # Processes

    def fork(self, name, action, point=None, passage=1):
        parent, pid = os.getpid(), os.fork()
        if pid:
            self.pids[name] = pid
            return
        code = 70
        try:
            end_with(parent)
            handle = os.open(
                self.folder / "side" / f"{name}.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600
            )
            os.dup2(handle, 1)
            os.dup2(handle, 2)
            self.enter(name)
            if point is not None:
                failpoints.install(Schedule(f"{point}=kill@{passage}"))
            action()
            code = 0
        except BaseException:
            import traceback

            traceback.print_exc()
        finally:
            os._exit(code)

    def serve(self):
        tap(self._world())
        execution_module.open_run = self._open_run
        serve_module.serve(self.home, None)

    def _world(self):
        world = World(self.folder, self.scenario, size=SIZE)
        world.plan = self.plan
        return world

    def _open_run(self, store, _home, run, **_more):
        folder = private_directory(self.home / "runs" / run.run_id)
        tensors = self.task.tensors(None)
        last = store.last_committed(run.run_id)
        learned = Learned(_zeros()) if last is None else run_files.load(folder, last, tensors)
        opened = OpenRun(run.run_id, self.plan, SPEC, tensors, folder, None)
        return opened, learned, 1 if last is None else last.round + 1

    def work(self, number):
        world = self._world()
        tap(world)
        stop = agent_run._stop_on_signals()
        home = AgentHome(self.folder / f"agent-{number}")
        with home.lock():
            device = Device(
                home=home,
                pinned=home.pinned(),
                signer=home.identity(),
                policy=GENEROUS,
                dataset_id="data",
                shelf=ThinShelf(),
                clock=SystemClock(),
                on_status=print,
                trainer=lambda: world.trainer(number),
                load_task=lambda _spec: self.task,
            )
            agent_run._answer_rounds(device, stop, Conditions(device.policy.when), watch=False)

    # The campaign

    def start(self):
        """Everybody, unarmed."""
        self.fork("coordinator", self.serve)
        for number in range(AGENTS):
            self.fork(f"agent-{number}", lambda number=number: self.work(number))

    def await_rounds(self, more, seconds):
        """Wait for so many more committed rounds; how long it took, or None if it was in vain."""
        began, before = time.monotonic(), self._count("round.commit")
        while self._count("round.commit") < before + more:
            if time.monotonic() - began > seconds:
                return None
            time.sleep(0.05)
        return round(time.monotonic() - began, 2)

    def campaign(self, points, times=1):
        chance = random.Random(self.seed)
        self.often = OFTEN if times == 1 else (*OFTEN, *FLOWER_POINTS, "agent.push")
        aborting = Failpoint.COORDINATOR_ABORT_BEFORE  # needs a round that fails
        coordinator = [p for p in COORDINATOR_POINTS if p in points and p != aborting] * times
        agents = [p for p in AGENT_POINTS if p in points] * times
        chance.shuffle(coordinator)
        chance.shuffle(agents)
        for number in range(1, AGENTS):
            self.fork(f"agent-{number}", lambda number=number: self.work(number))
        threads = [
            threading.Thread(
                target=self._side, args=("coordinator", coordinator, self.serve, chance)
            ),
            threading.Thread(
                target=self._side, args=("agent-0", agents, lambda: self.work(0), chance)
            ),
        ]
        # Two threads only wait for processes; the forks are taken one at a time.
        self._forking = threading.Lock()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if aborting in points:
            self._die_aborting()
        self._one_more_round()

    def _die_aborting(self):
        """Half of the agents freeze in a round, so that it is aborted, and with it the coordinator ends."""
        point, frozen = (
            Failpoint.COORDINATOR_ABORT_BEFORE,
            [self.pids["agent-2"], self.pids["agent-3"]],
        )
        self.await_rounds(1, 60)
        self._end("coordinator")
        before = self._count("round.start")
        self.fork("coordinator", self.serve, point)
        for _ in range(FREEZES):
            # A round may end before they are frozen, and the next one waits for more agents.
            self._await_start(before)
            before = self._count("round.start")
            for pid in frozen:
                os.kill(pid, signal.SIGSTOP)
            dead = self._dies("coordinator", 2 * self.plan.rounds.deadline_s)
            for pid in frozen:
                os.kill(pid, signal.SIGCONT)
            if dead:
                break
        self._await_death("coordinator", point)
        began, before = time.monotonic(), self._count("round.start")
        self.fork("coordinator", self.serve)
        self._note_restart(None, began, before)

    def _await_start(self, before):
        until = time.monotonic() + 60
        while self._count("round.start") == before and time.monotonic() < until:
            time.sleep(0.01)

    def _end(self, name):
        os.kill(self.pids[name], signal.SIGKILL)
        while not self._ended(name):
            time.sleep(0.01)

    def _side(self, name, points, action, chance):
        for point in [*points, None]:
            often = point is not None and point.startswith(self.often)
            passage = chance.randint(1, 4) if often else 1
            with self._forking:
                began = time.monotonic()
                before = self._count("round.start")
                self.fork(name, action, point, passage)
            if name == "coordinator" and self.deaths:
                self._note_restart(point, began, before)
            if point is None:
                return
            self._await_death(name, point)

    def _note_restart(self, point, began, before):
        """Seconds from this start to the first round it opens; None if it is killed before that."""
        limit_s = 30 * slowed()
        while time.monotonic() - began < limit_s:
            if self._count("round.start") > before:
                self.restarts.append(round(time.monotonic() - began, 2))
                return
            if self._ended("coordinator"):
                return
            time.sleep(0.02)
        self.restarts.append(limit_s)

    def _await_death(self, name, point):
        if self._dies(name, MOST_S * slowed()):
            self.deaths.append((str(point), self.codes[name]))
            return
        self._end(name)
        self.deaths.append((str(point), "never reached"))

    def _dies(self, name, seconds):
        until = time.monotonic() + seconds
        while not self._ended(name):
            if time.monotonic() > until:
                return False
            time.sleep(0.01)
        return True

    def _ended(self, name):
        if name in self.codes and self.codes[name + "/pid"] == self.pids[name]:
            return True
        pid, status = os.waitpid(self.pids[name], os.WNOHANG)
        if pid:
            self.codes[name] = os.waitstatus_to_exitcode(status)
            self.codes[name + "/pid"] = pid
        return pid != 0

    def kill_superlink(self):
        """Seconds from SuperLink's death to the next committed round; the coordinator lives on."""
        pid = int((self.home / "runtime" / "superlink.pid").read_text())
        began, before = time.monotonic(), self._count("round.commit")
        os.kill(pid, signal.SIGKILL)
        while self._count("round.commit") <= before and time.monotonic() - began < 120:
            time.sleep(0.02)
        return round(time.monotonic() - began, 2)

    def _one_more_round(self):
        before, until = self._count("round.commit"), time.monotonic() + 60
        while self._count("round.commit") < before + 2 and time.monotonic() < until:
            time.sleep(0.1)

    def _count(self, event):
        path = self.home / "runs" / self.run_id / "events.jsonl"
        return path.read_bytes().count(f'"{event}"'.encode()) if path.exists() else 0

    def stop(self):
        """SIGTERM to everybody: {name: (exit code, seconds)}; what does not end is killed."""
        found = {}
        for name in ("coordinator", *(f"agent-{number}" for number in range(AGENTS))):
            began, pid = time.monotonic(), self.pids[name]
            try:
                os.kill(pid, signal.SIGTERM)
            except ProcessLookupError:
                found[name] = ("gone", 0.0)
                continue
            while time.monotonic() - began < 60 and not self._ended(name):
                time.sleep(0.02)
            if not self._ended(name):
                os.kill(pid, signal.SIGKILL)
            found[name] = (self.codes.get(name), round(time.monotonic() - began, 2))
        return found

    def verdict(self):
        with Store.open(self.home, read_only=True) as store:
            rows = store.rounds(self.run_id)
        committed = [row.round for row in rows if row.outcome == "committed"]
        self.scenario.rounds = max(committed, default=0)
        return {"committed": len(committed), "attempts": len(rows)}, violations(
            self.folder, self.scenario, size=SIZE, plan=self.plan
        )


def _zeros():
    import numpy as np

    return np.zeros(SIZE, np.float32)


def orphans(folder, seconds=20):
    """Processes that still have our folder on their command line, after so long to end."""
    until = time.monotonic() + seconds
    while (left := _with_words(folder)) and time.monotonic() < until:
        time.sleep(0.1)
    return left


def _with_words(folder):
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if str(folder).encode() in path.read_bytes() and int(path.parent.name) != os.getpid():
                found.append(int(path.parent.name))
        except OSError:
            continue
    return found


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument(
        "--points", type=int, default=0, help="only so many of each side, drawn by the seed"
    )
    parser.add_argument("--strategy", choices=("fedavg", "scaffold"), default="fedavg")
    parser.add_argument("--only", nargs="+", type=Failpoint, metavar="NAME", help="only these")
    parser.add_argument("--times", type=int, default=1, help="deaths at each of --only")
    memory = Path("/dev/shm")
    parser.add_argument(
        "--folder", type=Path, default=memory if memory.is_dir() else None, help="where to work"
    )
    options = parser.parse_args()
    points = set(Failpoint)
    if options.points:
        chance = random.Random(options.seed)
        abort = Failpoint.COORDINATOR_ABORT_BEFORE
        some = chance.sample([p for p in COORDINATOR_POINTS if p != abort], options.points)
        points = {*some, *chance.sample(AGENT_POINTS, options.points), abort}
    if options.only:
        points = set(options.only)
        runtime_module._MESSAGES_PER_RUN = FEW_MESSAGES
    began, busy = time.monotonic(), slowed()
    with tempfile.TemporaryDirectory(dir=options.folder, prefix="edgeveil-real-") as name:
        bench = Bench(name, options.seed, strategy=options.strategy)
        bench.campaign(points, options.times)
        revival = bench.kill_superlink()
        stopped = bench.stop()
        counts, found = bench.verdict()
        unreached = [point for point, code in bench.deaths if code != -signal.SIGKILL]
        left = orphans(name)
        logs = {}
        if found or unreached or left:
            logs = {p.name: p.read_text()[-1500:] for p in (bench.folder / "side").glob("*.log")}
    sys.stdout.write(
        json.dumps(
            {
                "seed": options.seed, "slowed": max(busy, slowed()), "seconds": round(time.monotonic() - began, 1),
                "kills": len(bench.deaths) - len(unreached), "unreached": unreached,
                "deaths": Counter(point for point, _ in bench.deaths), **counts,
                "restart_s": sorted(bench.restarts), "superlink_revival_s": revival, "stopped": stopped, "orphans": left,
                "violations": found, "logs": logs,
                "replay": "python tests/benches/real_crash_bench.py " + " ".join(sys.argv[1:]),
            },
            indent=2,
        )
    )  # fmt: skip
    return 1 if found or left else 0


if __name__ == "__main__":
    sys.exit(main())
