"""One life of a simulated federation, or its death at a failpoint and what became of it after a restart."""

import collections
import json
import os
import shutil
import signal
import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import scaffold_bench
from crash_bench import World
from forks_bench import end_with
from promises_bench import violations

from edgeveil.agent.home.home import AgentHome
from edgeveil.agent.rounds import work
from edgeveil.coordinator.rounds import training_round
from edgeveil.coordinator.store.store import Store
from edgeveil.shared.base import failpoints
from edgeveil.shared.base.failpoints import Crash, Failpoint

RUN_SECONDS = 120.0  # a life takes one; an alarm ends what hangs


def tap(world):
    """Let the witness see vectors, sums and commits; for the life of this (child) process."""
    lanes, averaged = work.vector_lanes, training_round.mean_update
    advance = AgentHome.advance
    current = {}

    def keep_attempt(home, attempt):
        advance(home, attempt)
        current["attempt"] = attempt
        current["agent"] = int(home.path.name.rpartition("-")[2])

    def keep_lanes(update, params, n_ref):
        made = lanes(update, params, n_ref)
        attempt = current["attempt"]
        np.save(
            world.side / f"{attempt.round}-{attempt.attempt}-agent-{current['agent']}.npy",
            made,
        )  # fmt: skip
        return made

    def keep_sum(result, params):
        current["sum"] = [int(lane) for lane in result.lanes]
        return averaged(result, params)

    work.vector_lanes, training_round.mean_update = keep_lanes, keep_sum
    AgentHome.advance = keep_attempt
    record = Store.record_round

    def keep_record(store, given):
        stored = record(store, given)
        if stored.outcome == "committed":
            world.witness("commit", round=stored.round, attempt=stored.attempt, sha256=stored.model_sha256, sum=current["sum"])  # fmt: skip
        return stored

    Store.record_round = keep_record
    unwatch = scaffold_bench.watch(world)

    def undo():
        unwatch()
        work.vector_lanes, training_round.mean_update = lanes, averaged
        AgentHome.advance, Store.record_round = advance, record

    return undo


def in_child(action, seconds=RUN_SECONDS, log=None):
    """Fork, run `action`, return (exit code or −signal, seconds)."""
    began, parent = time.monotonic(), os.getpid()
    pid = os.fork()
    if pid == 0:
        code = 3
        try:
            end_with(parent)
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
